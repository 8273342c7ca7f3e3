// One feature of jsforce against the org that the environment names; prints what it saw as JSON.
import { createRequire } from "node:module";
import { Readable } from "node:stream";

const require = createRequire(process.env.CLIENTS + "/");
const jsforce = require("jsforce");
const { Connection, OAuth2 } = jsforce;
const org = JSON.parse(process.env.ORG);
const version = "62.0";
const label = `js ${process.pid} ${Date.now()}`;

function oauth2() {
  return new OAuth2({
    loginUrl: org.url, clientId: org.consumer_key, clientSecret: org.consumer_secret,
    redirectUri: "http://localhost:1717/OauthRedirect", useVerifier: true,
  });
}

async function connect() {
  const conn = new Connection({ oauth2: oauth2(), version });
  await conn.login(org.username, org.password + org.security_token);
  return conn;
}

async function refused(work) {
  try {
    await work();
  } catch (error) {
    return { code: error.errorCode ?? error.name, message: error.message };
  }
  throw new Error("nothing was refused");
}

const features = {
  async login() {
    const soap = new Connection({ loginUrl: org.url, version });
    const info = await soap.login(org.username, org.password + org.security_token);
    const wrong = await refused(() => new Connection({ loginUrl: org.url, version }).login(org.username, "no"));
    const oauth = await connect();
    const identity = await oauth.identity();
    const old = new Connection({ instanceUrl: org.url, accessToken: soap.accessToken, version });
    await soap.logout();
    const after = await refused(() => old.query("SELECT Id FROM User"));
    return { info, wrong, username: identity.username, after };
  },
  async refresh() {
    const conn = new Connection({
      oauth2: oauth2(), instanceUrl: org.url, accessToken: "gone", refreshToken: org.refresh_token, version,
    });
    let refreshed = 0;
    conn.on("refresh", () => { refreshed += 1; });
    const found = await conn.query("SELECT Id FROM Organization");
    return { refreshed, id: found.records[0].Id };
  },
  async webServer() {
    const flow = oauth2();
    const address = flow.getAuthorizationUrl({ scope: "api refresh_token", state: "s1" });
    const page = await fetch(address);
    const form = new URLSearchParams({ username: org.username, password: org.password });
    const answer = await fetch(address, { method: "POST", body: form, redirect: "manual" });
    const target = new URL(answer.headers.get("location"));
    const conn = new Connection({ oauth2: flow, version });
    const user = await conn.authorize(target.searchParams.get("code"));
    const again = await refused(() => conn.authorize(target.searchParams.get("code")));
    const fresh = await flow.refreshToken(conn.refreshToken);
    return { page: page.status, state: target.searchParams.get("state"), user, again, fresh: !!fresh.access_token };
  },
  async crud() {
    const conn = await connect();
    const one = await conn.sobject("Account").create({ Name: label });
    const many = await conn.sobject("Account").create(
      [{ Name: label + " a" }, { Name: label + " b" }, {}], { allowRecursive: true });
    const read = await conn.sobject("Account").retrieve(one.id);
    const several = await conn.sobject("Account").retrieve([many[0].id, many[1].id]);
    const updated = await conn.sobject("Account").update([{ Id: many[0].id, Site: "x" }, { Id: many[1].id, Site: "y" }]);
    const key = `k${process.pid}${Date.now() % 100000}`;
    const upserts = [await conn.sobject("Project__c").upsert({ Key__c: key, Name: "p" }, "Key__c")];
    upserts.push(await conn.sobject("Project__c").upsert({ Key__c: key, Name: "q" }, "Key__c"));
    const upsertMany = await conn.sobject("Project__c").upsert(
      [{ Key__c: key, Name: "r" }, { Key__c: key + "2", Name: "s" }], "Key__c");
    const gone = await conn.sobject("Account").destroy([many[0].id, many[1].id]);
    const wrong = await refused(() => conn.sobject("Account").create({}));
    const missing = await refused(() => conn.sobject("Account").retrieve(many[0].id));
    return { label, one, many, read: read.Name, several: several.map((row) => row.Name), updated, upserts, upsertMany,
      gone, wrong, missing };
  },
  async query() {
    const conn = await connect();
    const account = await conn.sobject("Account").create({ Name: label });
    await conn.sobject("Contact").create([{ LastName: "a", AccountId: account.id }, { LastName: "b", AccountId: account.id }]);
    const nested = await conn.sobject("Account").find({ Id: account.id }, "Id, Name, (SELECT LastName FROM Contacts)");
    const dates = await conn.sobject("Account")
      .find({ CreatedDate: { $gte: jsforce.SfDate.toDateTimeLiteral(new Date(Date.now() - 3600e3)) }, Name: { $like: label + "%" } })
      .sort({ Name: 1 }).limit(5).execute();
    const count = await conn.sobject("Contact").count({ AccountId: account.id });
    const wrong = await refused(() => conn.query("SELECT Nope FROM Account"));
    const search = await conn.search(`FIND {"${label}"} IN ALL FIELDS RETURNING Account(Id, Name)`);
    const events = [];
    await new Promise((good, bad) => {
      conn.query(`SELECT Id FROM Account WHERE Name = '${label}'`)
        .on("record", (row) => events.push(row.Id)).on("end", good).on("error", bad).run({ autoFetch: true });
    });
    const more = await conn.query("SELECT Id FROM Account", { autoFetch: true, maxFetch: 5000, headers: { "Sforce-Query-Options": "batchSize=200" } });
    return { nested: nested[0].Contacts.records.map((row) => row.LastName), dates: dates.length, count, wrong,
      search: search.searchRecords.map((row) => row.Name), events: events.length, more: more.records.length, total: more.totalSize, label };
  },
  async describe() {
    const conn = await connect();
    const account = await conn.describe("Account");
    const again = await conn.describe$("Account");
    const cached = await conn.describe$("Account");
    const global = await conn.describeGlobal();
    const layouts = await conn.sobject("Account").layouts();
    const one = await conn.request(`/sobjects/Account/describe/layouts/012000000000000AAA`);
    const compact = await conn.sobject("Account").compactLayouts();
    const approval = await conn.sobject("Account").approvalLayouts();
    return { fields: account.fields.length, same: again === cached, global: global.sobjects.length,
      mappings: layouts.recordTypeMappings.length, one: one.id, compact: compact.compactLayouts.length, approval };
  },
  async misc() {
    const conn = await connect();
    const made = await conn.sobject("Account").create({ Name: label });
    const recent = await conn.recent(undefined, 5);
    const limits = await conn.limits();
    const now = new Date(Date.now() + 120e3), before = new Date(Date.now() - 300e3);
    const updated = await conn.sobject("Account").updated(before.toISOString(), now.toISOString());
    await conn.sobject("Account").destroy(made.id);
    const deleted = await conn.sobject("Account").deleted(before.toISOString(), now.toISOString());
    const usage = conn.limitInfo;
    return { made: made.id, recent: recent.map((row) => row.Id), limit: limits.DailyApiRequests.Max,
      updated: updated.ids.includes(made.id), deleted: deleted.deletedRecords.map((row) => row.id).includes(made.id), usage };
  },
  async composite() {
    const conn = await connect();
    const base = `/services/data/v${version}`;
    const answer = await conn.requestPost(`${base}/composite`, { compositeRequest: [
      { method: "POST", url: `${base}/sobjects/Account`, referenceId: "a", body: { Name: label } },
      { method: "GET", url: `${base}/query?q=SELECT+Id+FROM+Account+WHERE+Id='@{a.id}'`, referenceId: "q" }] });
    const tree = await conn.requestPost(`${base}/composite/tree/Account`, { records: [
      { attributes: { type: "Account", referenceId: "r1" }, Name: label }] });
    const graph = await conn.requestPost(`${base}/composite/graph`, { graphs: [{ graphId: "1", compositeRequest: [
      { method: "POST", url: `${base}/sobjects/Account`, referenceId: "a", body: { Name: label } }] },
      { graphId: "2", compositeRequest: [
      { method: "POST", url: `${base}/sobjects/Account`, referenceId: "a", body: {} }] }] });
    return { codes: answer.compositeResponse.map((item) => item.httpStatusCode),
      found: answer.compositeResponse[1].body.totalSize, tree: tree.hasErrors,
      graphs: graph.graphs.map((item) => item.isSuccessful) };
  },
  async soap() {
    const conn = await connect();
    const made = await conn.soap.create([{ type: "Account", Name: label }, { type: "Account", Name: label + " 2" }, { type: "Account", Name: label + " 3" }]);
    const ids = made.map((item) => item.id);
    const updated = await conn.soap.update([{ type: "Account", Id: ids[0], Site: "s" }]);
    const upserted = await conn.soap.upsert("Key__c", [{ type: "Project__c", Key__c: `s${process.pid}`, Name: "x" }]);
    const contact = await conn.sobject("Contact").create({ LastName: "moved", AccountId: ids[1] });
    const merged = await conn.soap.merge({ masterRecord: { type: "Account", Id: ids[0], Site: "merged" }, recordToMergeIds: [ids[1]] });
    const after = await conn.query(`SELECT Id, Site, (SELECT Id FROM Contacts) FROM Account WHERE Id = '${ids[0]}'`);
    const deleted = await conn.soap.delete([ids[2]]);
    const back = await conn.soap.undelete([ids[2]]);
    const alive = await conn.query(`SELECT Id FROM Account WHERE Id = '${ids[2]}'`);
    await conn.soap.delete([ids[2]]);
    const emptied = await conn.soap.emptyRecycleBin([ids[2]]);
    const purged = await conn.query(`SELECT Id FROM Account WHERE Id = '${ids[2]}'`, { scanAll: true });
    const lead = await conn.sobject("Lead").create({ LastName: "Lee", Company: label });
    const converted = await conn.soap.convertLead({ leadId: lead.id, convertedStatus: "Closed - Converted" });
    const row = await conn.sobject("Lead").retrieve(lead.id);
    const stamp = await conn.soap.getServerTimestamp();
    const info = await conn.soap.getUserInfo();
    return { ids, made, updated, upserted, merged, contact: contact.id, after: after.records[0], deleted, back, alive: alive.totalSize, emptied,
      purged: purged.totalSize, converted, lead: row, stamp, info };
  },
  async bulk1() {
    const conn = await connect();
    conn.bulk.pollInterval = 50;
    conn.bulk.pollTimeout = 60000;
    const rows = Array.from({ length: 5 }, (_, number) => ({ Name: `${label} ${number}` }));
    const inserted = await conn.bulk.load("Account", "insert", [...rows, { Site: "no name" }]);
    const ids = inserted.slice(0, 5).map((item) => item.id);
    const names = await conn.sobject("Account").retrieve(ids);
    const updated = await conn.bulk.load("Account", "update", ids.map((id) => ({ Id: id, Site: "b" })));
    const upserted = await conn.bulk.load("Project__c", "upsert", { extIdField: "Key__c" }, [{ Key__c: `u${process.pid}`, Name: "x" }]);
    const stream = await conn.bulk.query(`SELECT Id, Name FROM Account WHERE Site = 'b' AND Name LIKE '${label}%'`);
    const found = [];
    await new Promise((good, bad) => { stream.on("record", (row) => found.push(row)).on("end", good).on("error", bad); });
    const deleted = await conn.bulk.load("Account", "delete", ids.map((id) => ({ Id: id })));
    const job = conn.bulk.createJob("Account", "insert");
    await job.open();
    const info = await job.check();
    await job.abort();
    const wrong = await refused(() => conn.bulk.createJob("Nothing__c", "insert").open());
    return { inserted, names: names.map((row) => row.Name), rows: rows.map((row) => row.Name), updated, upserted,
      found: found.length, deleted, info, wrong };
  },
  async bulk2() {
    const conn = await connect();
    conn.bulk2.pollInterval = 50;
    conn.bulk2.pollTimeout = 60000;
    const rows = Array.from({ length: 1500 }, (_, number) => ({ Name: `${label} ${number}` }));
    const done = await conn.bulk2.loadAndWaitForResults({ object: "Account", operation: "insert", input: [...rows, { Name: "" }] });
    const stream = await conn.bulk2.query(`SELECT Id, Name FROM Account WHERE Name LIKE '${label}%'`);
    const found = [];
    for await (const row of stream) found.push(row);
    const ids = found.slice(0, 3).map((row) => ({ Id: row.Id }));
    const gone = await conn.bulk2.loadAndWaitForResults({ object: "Account", operation: "delete", input: ids });
    const hard = await conn.bulk2.loadAndWaitForResults({ object: "Account", operation: "hardDelete", input: found.slice(3, 5).map((row) => ({ Id: row.Id })) });
    const job = conn.bulk2.createJob({ object: "Account", operation: "insert" });
    await job.open();
    await job.uploadData(Readable.from("Name\nx\n"));
    await job.abort();
    const state = (await job.check()).state;
    await job.delete();
    const csv = conn.bulk2.createJob({ object: "Account", operation: "insert", lineEnding: "CRLF", columnDelimiter: "SEMICOLON" });
    await csv.open();
    await csv.uploadData("Name;Site\r\n" + label + " c;x\r\n");
    await csv.close();
    await csv.poll(50, 60000);
    const results = await csv.getAllResults();
    const wrong = await refused(() => conn.bulk2.query("SELECT COUNT() FROM Account"));
    return { success: done.successfulResults.length, failed: done.failedResults, unprocessed: done.unprocessedRecords.length,
      found: found.length, gone: gone.successfulResults.length, hard: hard.successfulResults.length, state,
      csv: results.successfulResults, wrong };
  },
  async bulk2Pages() {
    const conn = await connect();
    conn.bulk2.pollInterval = 50;
    await conn.sobject("Account").create(Array.from({ length: 5 }, (_, number) => ({ Name: `${label} ${number}` })));
    const stream = await conn.bulk2.query("SELECT Id FROM Account");
    const found = [];
    for await (const row of stream) found.push(row);
    return { found: found.length };
  },
  async tooling() {
    const conn = await connect();
    const found = await conn.tooling.query("SELECT Id, Name FROM ApexClass LIMIT 1");
    const global = await conn.tooling.describeGlobal();
    const field = await conn.tooling.query("SELECT Id, DeveloperName FROM CustomField WHERE EntityDefinitionId = 'Account'");
    const made = await conn.tooling.sobject("CustomField").create(
      { FullName: "Account.Js_Tool__c", Metadata: { type: "Text", label: "Tool", length: 12 } });
    const one = await conn.tooling.sobject("CustomField").retrieve(made.id);
    const changed = await conn.tooling.sobject("CustomField").update(
      { Id: made.id, Metadata: { ...one.Metadata, length: 14 } });
    const after = (await conn.describe("Account")).fields.find((item) => item.name === "Js_Tool__c");
    const gone = await conn.tooling.sobject("CustomField").destroy(made.id);
    const left = (await conn.describe("Account")).fields.some((item) => item.name === "Js_Tool__c");
    return { classes: found.totalSize, global: global.sobjects.map((item) => item.name), fields: field.totalSize,
      made, changed, length: after.length, gone, left };
  },
  async metadata() {
    const conn = await connect();
    const described = await conn.metadata.describe(version);
    const listed = await conn.metadata.list([{ type: "CustomObject" }], version);
    const read = await conn.metadata.read("CustomObject", ["Project__c", "Nothing__c"]);
    const object = { fullName: "Js__c", label: "Js", pluralLabel: "Jss", deploymentStatus: "Deployed",
      sharingModel: "ReadWrite", nameField: { type: "Text", label: "Js Name" } };
    const created = await conn.metadata.create("CustomObject", object);
    const again = await conn.metadata.create("CustomObject", object);
    const field = { fullName: "Js__c.Size__c", label: "Size", type: "Number", precision: 6, scale: 2 };
    const made = await conn.metadata.create("CustomField", [field]);
    const stored = await conn.sobject("Js__c").create({ Name: "row", Size__c: 1.25 });
    const updated = await conn.metadata.update("CustomField", [{ ...field, label: "Width" }]);
    const width = (await conn.metadata.read("CustomField", "Js__c.Size__c")).label;
    const upserted = await conn.metadata.upsert("CustomField", [field,
      { fullName: "Js__c.Note__c", label: "Note", type: "Text", length: 20 }]);
    const fields = (await conn.sobject("Js__c").describe()).fields.map((item) => item.name);
    const row = await conn.sobject("Js__c").retrieve(stored.id);
    const gone = await conn.metadata.delete("CustomField", ["Js__c.Note__c", "Js__c.Nothing__c"]);
    return { described: described.metadataObjects.length, listed: listed.map((item) => item.fullName), read, created,
      again, made, updated, width, upserted, fields, row, gone };
  },
  async deploy() {
    const conn = await connect();
    conn.metadata.pollInterval = 50;
    const result = await conn.metadata.deploy(org.archive, { singlePackage: true }).complete(true);
    const wrong = await conn.metadata.deploy(org.broken, { singlePackage: true }).complete(true);
    const status = await conn.metadata.checkDeployStatus(result.id, true);
    const request = { apiVersion: version, singlePackage: true,
      unpackaged: { types: [{ members: ["Deployed__c"], name: "CustomObject" }], version } };
    const retrieved = await conn.metadata.retrieve(request).complete();
    return { result, wrong, status: status.status, zip: retrieved.zipFile };
  },
};

features[process.argv[2]]().then(
  (found) => console.log(JSON.stringify(found)),
  (error) => { console.error(error.stack ?? error); process.exit(1); },
);
