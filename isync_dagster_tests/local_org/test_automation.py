"""What an org does by itself, seen through its API: computed fields, rules, duplicates, triggers, flows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.automation.picklists import valid_for
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.schema.model import Field, PicklistValue, RecordTypeInfo, SObject
from isync_dagster_tests.local_org.orgs import Client, errors_of
from isync_dagster_tests.local_org.test_soap import Soap

AUTOMATION = Automation.model_validate(
    {
        "validation_rules": [
            {"object": "Account", "name": "No_X", "message": "Names do not start with X.", "field": "Name",
             "formula": 'BEGINS(Name, "X") && NOT($Permission.Data_Bypass) && NOT($Setup.Switch__c.Bypass__c)'},
            {"object": "Account", "name": "Kept", "message": "Site stays.",
             "formula": "ISCHANGED(Site) && NOT(ISBLANK(PRIORVALUE(Site)))"},
            {"object": "Contact", "name": "Parent_closed", "message": "The account is closed.",
             "formula": 'Account.Score__c < -1'},
            {"object": "Account", "name": "Sleeping", "message": "never", "formula": "TRUE", "active": False},
            {"object": "Account", "name": "Broken", "message": "never", "formula": "Missing__c = 1"},
        ],
        "roll_ups": [
            {"object": "Account", "name": "Open_Deals__c", "operation": "sum", "child": "Opportunity",
             "lookup": "AccountId", "summarized": "Amount",
             "filters": [{"field": "Opportunity.StageName", "operation": "notEqual", "value": "Closed Lost"}]},
            {"object": "Account", "name": "People__c", "operation": "count", "child": "Contact", "lookup": "AccountId"},
        ],
        "lookup_filters": [
            {"object": "Opportunity", "name": "AccountId", "message": "Only customers have deals.",
             "filters": [{"field": "Account.Type", "value": "Customer"}]},
        ],
        "record_type_values": [
            {"object": "Account", "name": "Color__c", "record_type": "Household", "values": ["red"],
             "default": "red"},
        ],
        "number_formats": [{"object": "Ticket__c", "name": "Name", "format": "T-{YYYY}-{0000}", "start": 7}],
        "triggers": [
            {"object": "Contact", "name": "Guard", "events": ["before insert"], "condition": 'LastName = "Bad"',
             "throws": "System.NullPointerException: Attempt to de-reference a null object"},
            {"object": "Contact", "name": "Keep", "events": ["before delete"], "condition": 'LastName = "Keep"',
             "error": "This contact stays."},
            {"object": "Lead", "name": "Limits", "events": ["after insert"], "condition": 'Company = "Heavy"',
             "throws": "System.LimitException: Too many SOQL queries: 101", "whole_chunk": True},
        ],
        "flows": [
            {"object": "Contact", "name": "Tidy", "when": "before",
             "assign": [{"field": "Title", "formula": "UPPER(Title)"}]},
            {"object": "Contact", "name": "Tell_Account", "events": ["create"],
             "condition": "NOT(ISBLANK(AccountId))",
             "assign": [{"record": "Account", "field": "Description", "formula": '"last " & LastName'}],
             "create": [{"object": "Task", "values": {"Subject": '"Call " & LastName', "WhoId": "Id"}}]},
            {"object": "Contact", "name": "Moved", "events": ["update"], "condition": "ISCHANGED(Department)",
             "assign": [{"field": "Description", "formula": '"was " & PRIORVALUE(Department)'}]},
            {"object": "Campaign", "name": "Falls", "fault": "An element failed.", "condition": 'Name = "F"'},
        ],
        "duplicate_rules": [
            {"object": "Lead", "name": "Same_Email", "match": ["Email"], "message": "Use one of these records?"},
            {"object": "Campaign", "name": "Same_Name", "match": ["Name"], "action_on_insert": "Block"},
        ],
        "custom_permissions": ["Data_Bypass"],
    }
)  # fmt: skip

COLOR = Field("Color__c", "picklist", label="Color", length=255, restricted_picklist=True, custom=True,
              picklist_values=(PicklistValue("red"), PicklistValue("blue")))  # fmt: skip
SHADE = Field("Shade__c", "picklist", label="Shade", length=255, restricted_picklist=True, custom=True,
              dependent_picklist=True, controller_name="Color__c", picklist_values=(
                  PicklistValue("rose", valid_for=valid_for(["red", "blue"], ["red"])),
                  PicklistValue("navy", valid_for=valid_for(["red", "blue"], ["blue"]))))  # fmt: skip


def _computed(name: str, kind: str, formula: str | None = None, **more: object) -> Field:
    return Field(name, kind, label=name, calculated=True, calculated_formula=formula, createable=False,
                 updateable=False, custom=True, **more)  # type: ignore[arg-type]  # fmt: skip


ACCOUNT_FIELDS = (
    COLOR,
    SHADE,
    _computed("Open_Deals__c", "currency", precision=18, scale=2),
    _computed("People__c", "double", precision=18, scale=0),
    _computed("Score__c", "double", "Open_Deals__c / 10 - People__c", precision=18, scale=1),
    _computed("Card__c", "string", 'Name & " of " & Owner.Alias & IF(Score__c > 1, "!", "")', length=1300),
    Field("Born__c", "string", label="Born", length=80, default_value_formula='"by " & $User.Alias', custom=True),
)
TICKET = SObject("Ticket__c", label="Ticket", custom=True, fields=(
    Field("Name", "string", label="Number", length=80, name_field=True, auto_number=True, createable=False,
          updateable=False),))  # fmt: skip
SWITCH = SObject("Switch__c", label="Switch", custom=True, custom_setting=True, fields=(
    Field("Name", "string", label="Name", length=38), Field("Bypass__c", "boolean", label="Bypass"),
    Field("SetupOwnerId", "reference", label="Location", reference_to=("Organization", "Profile", "User"),
          relationship_name="SetupOwner")))  # fmt: skip
NAMES = ("Account", "Contact", "Opportunity", "Lead", "Campaign", "CampaignMember", "Task")


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalOrg]:
    objects = [
        replace(
            item,
            fields=(*item.fields, *ACCOUNT_FIELDS),
            record_type_infos=(*item.record_type_infos, RecordTypeInfo("", "Household", "Household")),
        )
        if item.name == "Account"
        else item
        for item in standard(NAMES)
    ]
    folder = tmp_path_factory.mktemp("automation") / "org"
    with LocalOrg.create(folder, [*objects, TICKET, SWITCH], name="Auto", seed=8, automation=AUTOMATION) as made:
        yield made


@pytest.fixture(scope="module")
def client(org: LocalOrg) -> Iterator[Client]:
    with org.serve() as served:
        made = Client(served)
        yield made
        made.http.close()


def test_what_does_not_work_is_listed(org: LocalOrg) -> None:
    assert org.schema.problems == {"ValidationRule Account.Broken": "Field Missing__c does not exist. Check spelling."}


def test_formulas_and_roll_ups_are_worked_out_wherever_they_are_read(client: Client, org: LocalOrg) -> None:
    account = client.create("Account", Name="Acme", Type="Customer")
    for stage, amount in (("Prospecting", 12.5), ("Closed Lost", 100), ("Closed Won", 30)):
        client.create(
            "Opportunity", Name="D", StageName=stage, CloseDate="2026-01-01", Amount=amount, AccountId=account
        )
    client.create("Contact", LastName="A", AccountId=account)
    row = client.call("GET", f"/sobjects/Account/{account}").json()
    assert (row["Open_Deals__c"], row["People__c"], row["Score__c"]) == (42.5, 1.0, 3.3)
    assert row["Card__c"] == "Acme of admin!"
    found = client.query(
        "SELECT Account.Card__c, Account.Score__c FROM Contact WHERE Account.Score__c > 3 ORDER BY Account.Card__c"
    )
    assert found[0]["Account"]["Card__c"] == "Acme of admin!"
    grouped = client.query(f"SELECT Card__c, SUM(Open_Deals__c) s FROM Account WHERE Id = '{account}' GROUP BY Card__c")
    assert grouped[0]["s"] == 42.5
    bulk = client.bulk_query(f"SELECT Card__c, Open_Deals__c FROM Account WHERE Id = '{account}'")
    assert bulk.row(0) == ("Acme of admin!", "42.5")
    assert org.table("Account").filter(pl.col("Id") == account)["Card__c"].to_list() == ["Acme of admin!"]
    refusal = client.refusal("Account", Name="n", Score__c=1)
    assert (refusal[0], refusal[2]) == ("INVALID_FIELD_FOR_INSERT_UPDATE", ["Score__c"])


def test_validation_rules_refuse_new_rows_and_changes(client: Client) -> None:
    assert client.refusal("Account", Name="Xeno") == (
        "FIELD_CUSTOM_VALIDATION_EXCEPTION", "Names do not start with X.", ["Name"]
    )  # fmt: skip
    account = client.create("Account", Name="Site", Site="here")
    answer = client.call("PATCH", f"/sobjects/Account/{account}", json={"Site": "there"})
    assert answer.json()[0]["message"] == "Site stays."
    assert client.call("PATCH", f"/sobjects/Account/{account}", json={"Phone": "1"}).status_code == 204
    # Required fields are looked at first, and parents are read across the lookup.
    assert client.refusal("Account")[0] == "REQUIRED_FIELD_MISSING"
    for name in ("a", "b"):
        client.create("Contact", LastName=name, AccountId=account)
    assert client.refusal("Contact", LastName="c", AccountId=account)[1] == "The account is closed."


def test_bulk_rows_are_refused_one_by_one(client: Client) -> None:
    info = client.ingest("Account", "insert", "Name\nXa\nGood\nXb\n")
    assert (info["numberRecordsProcessed"], info["numberRecordsFailed"]) == (3, 2)
    assert set(errors_of(client.results(info["id"], "failedResults"))) == {
        "FIELD_CUSTOM_VALIDATION_EXCEPTION:Names do not start with X.:Name --"
    }


def test_a_custom_permission_or_setting_lets_the_loader_pass(client: Client) -> None:
    user = client.query("SELECT Id FROM User WHERE Alias = 'admin'")[0]["Id"]
    permission = client.query("SELECT Id FROM CustomPermission WHERE DeveloperName = 'Data_Bypass'")[0]["Id"]
    permission_set = client.create("PermissionSet", Name="Loader", Label="Loader")
    client.create("SetupEntityAccess", ParentId=permission_set, SetupEntityId=permission)
    assert client.refusal("Account", Name="Xeno")[1] == "Names do not start with X."
    assigned = client.create("PermissionSetAssignment", PermissionSetId=permission_set, AssigneeId=user)
    client.create("Account", Name="Xeno")
    assert client.call("DELETE", f"/sobjects/PermissionSetAssignment/{assigned}").status_code == 204
    assert client.refusal("Account", Name="Xeno")[1] == "Names do not start with X."
    setting = client.create("Switch__c", Name="s", SetupOwnerId=user, Bypass__c=True)
    client.create("Account", Name="Xeno")
    client.call("DELETE", f"/sobjects/Switch__c/{setting}")


def test_a_lookup_filter_is_told_by_describe_and_tooling(client: Client) -> None:
    fields = client.call("GET", "/sobjects/Opportunity/describe").json()["fields"]
    told = {field["name"]: field["filteredLookupInfo"] for field in fields if field["filteredLookupInfo"]}
    assert told == {"AccountId": {"controllingFields": [], "dependent": False, "optionalFilter": False}}
    soql = (
        "SELECT Metadata FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Opportunity' "
        "AND QualifiedApiName = 'AccountId'"
    )
    (found,) = client.call("GET", "/tooling/query", params={"q": soql}).json()["records"]
    assert found["Metadata"]["lookupFilter"] == {
        "active": True, "booleanFilter": None, "errorMessage": "Only customers have deals.", "isOptional": False,
        "filterItems": [{"field": "Account.Type", "operation": "equals", "value": "Customer", "valueField": None}],
    }  # fmt: skip


def test_lookup_filters_record_types_and_dependent_picklists(client: Client) -> None:
    account = client.create("Account", Name="Other", Type="Prospect")
    assert client.refusal(
        "Opportunity", Name="D", StageName="Prospecting", CloseDate="2026-01-01", AccountId=account
    ) == ("FIELD_FILTER_VALIDATION_EXCEPTION", "Only customers have deals.", ["AccountId"])
    household = client.query("SELECT Id FROM RecordType WHERE DeveloperName = 'Household'")[0]["Id"]
    bad = "Color: bad value for restricted picklist field: blue"
    assert client.refusal("Account", Name="n", Color__c="blue", RecordTypeId=household) == (
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", bad, ["Color__c"]
    )  # fmt: skip
    made = client.create("Account", Name="n", Color__c="red", RecordTypeId=household)
    answer = client.call("PATCH", f"/sobjects/Account/{made}", json={"Color__c": "blue"})
    assert answer.json()[0]["message"] == bad
    assert client.call("PATCH", f"/sobjects/Account/{made}", json={"Shade__c": "rose"}).status_code == 204
    answer = client.call("PATCH", f"/sobjects/Account/{made}", json={"Shade__c": "navy"})
    assert answer.json()[0]["message"] == "Shade: bad value for restricted picklist field: navy"


def test_defaults_by_formula_and_written_numbers(client: Client, org: LocalOrg) -> None:
    account = client.create("Account", Name="n")
    assert client.call("GET", f"/sobjects/Account/{account}").json()["Born__c"] == "by admin"
    account = client.create("Account", Name="n", Born__c=None)
    assert client.call("GET", f"/sobjects/Account/{account}").json()["Born__c"] is None
    ticket = client.create("Ticket__c")
    assert client.call("GET", f"/sobjects/Ticket__c/{ticket}").json()["Name"] == f"T-{org.now().year}-0007"


def test_triggers_throw_refuse_and_take_their_chunk_along(client: Client) -> None:
    code, message, fields = client.refusal("Contact", LastName="Bad")
    assert (code, fields) == ("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", [])
    assert message.startswith("Guard: execution of BeforeInsert\n\ncaused by: System.NullPointerException: ")
    contact = client.create("Contact", LastName="Keep")
    answer = client.call("DELETE", f"/sobjects/Contact/{contact}")
    assert answer.json()[0]["message"] == "This contact stays."
    rows = "".join(f"L{number},{'Heavy' if number == 250 else 'Light'}\n" for number in range(300))
    info = client.ingest("Lead", "insert", "LastName,Company\n" + rows)
    assert info["numberRecordsFailed"] == 100
    failed = client.results(info["id"], "failedResults")
    assert set(failed["LastName"]) == {f"L{number}" for number in range(200, 300)}


def test_flows_set_fields_write_parents_and_make_rows(client: Client) -> None:
    account = client.create("Account", Name="Flow")
    contact = client.create("Contact", LastName="Good", Title="boss", AccountId=account, Department="one")
    row = client.query(
        f"SELECT Title, Account.Description, (SELECT Subject FROM Tasks) FROM Contact WHERE Id = '{contact}'"
    )
    assert row[0]["Title"] == "BOSS"
    assert row[0]["Account"]["Description"] == "last Good"
    assert [task["Subject"] for task in row[0]["Tasks"]["records"]] == ["Call Good"]
    client.call("PATCH", f"/sobjects/Contact/{contact}", json={"Department": "two"})
    assert client.query(f"SELECT Description FROM Contact WHERE Id = '{contact}'")[0]["Description"] == "was one"
    code, message, _ = client.refusal("Campaign", Name="F")
    assert code == "CANNOT_EXECUTE_FLOW_TRIGGER"
    assert message.startswith("We can't save this record because the “Falls” process failed.")


def test_duplicate_rules_alert_or_block(client: Client) -> None:
    first = client.create("Lead", LastName="L", Company="C", Email="same@example.com")
    again = {"LastName": "L", "Company": "C", "Email": "SAME@example.com"}
    answer = client.call("POST", "/sobjects/Lead", json=again)
    (problem,) = answer.json()
    assert (answer.status_code, problem["errorCode"]) == (400, "DUPLICATES_DETECTED")
    result = problem["duplicateResut"]
    assert (result["allowSave"], result["duplicateRule"]) == (True, "Same_Email")
    assert result["matchResults"][0]["matchRecords"][0]["record"]["Id"] == first
    listed = client.call(
        "POST", "/composite/sobjects", json={"records": [{"attributes": {"type": "Lead"}, **again}]}
    ).json()
    assert listed[0]["errors"] == [
        {"statusCode": "DUPLICATES_DETECTED", "message": "Use one of these records?", "fields": []}
    ]
    allow = {"Sforce-Duplicate-Rule-Header": "allowSave=true"}
    assert client.call("POST", "/sobjects/Lead", json=again, headers=allow).status_code == 201
    client.create("Campaign", Name="Spring")
    answer = client.call("POST", "/sobjects/Campaign", json={"Name": "spring"}, headers=allow)
    assert answer.json()[0]["duplicateResut"]["allowSave"] is False
    assert client.query("SELECT DeveloperName FROM DuplicateRule WHERE IsActive = true ORDER BY DeveloperName")[1][
        "DeveloperName"
    ] == "Same_Name"  # fmt: skip


ROWS = st.lists(st.tuples(st.sampled_from(["Xa", "b", "Bad", ""]), st.integers(-5, 5)), min_size=1, max_size=12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_every_row_of_a_write_is_saved_or_refused_for_its_own_reason(
    client: Client, rows: list[tuple[str, int]]
) -> None:
    records = [{"attributes": {"type": "Account"}, "Name": name, "NumberOfEmployees": number} for name, number in rows]
    answers = client.call("POST", "/composite/sobjects", json={"records": records}).json()
    expected = ["REQUIRED_FIELD_MISSING" if not name else "FIELD_CUSTOM_VALIDATION_EXCEPTION" if name == "Xa" else None
                for name, _ in rows]  # fmt: skip
    assert [item["errors"][0]["statusCode"] if item["errors"] else None for item in answers] == expected
    ids = [item["id"] for item in answers if item["success"]]
    if ids:
        listed = "','".join(ids)
        found = {row["Id"]: row["NumberOfEmployees"]
                 for row in client.query(f"SELECT Id, NumberOfEmployees FROM Account WHERE Id IN ('{listed}')")}  # fmt: skip
        assert [found[one] for one in ids] == [
            number for (_, number), code in zip(rows, expected, strict=True) if code is None
        ]


def test_an_org_keeps_its_automation(org: LocalOrg) -> None:
    text = (org.folder / "automation.json").read_text()
    assert Automation.model_validate_json(text) == org.schema.automation


def household(client: Client) -> str:
    return str(client.query("SELECT Id FROM RecordType WHERE DeveloperName = 'Household'")[0]["Id"])


def test_a_record_type_offers_its_values_and_gives_its_default(client: Client) -> None:
    kind = household(client)
    plain = client.create("Account", Name="plain")
    usual = client.create("Account", Name="usual", RecordTypeId=kind)
    colors = [client.call("GET", f"/sobjects/Account/{item}").json()["Color__c"] for item in (plain, usual)]
    assert colors == [None, "red"]
    told = client.call("GET", f"/ui-api/object-info/Account/picklist-values/{kind}/Color__c").json()
    assert [item["value"] for item in told["values"]] == ["red"]
    assert told["defaultValue"]["value"] == "red"
    mappings = client.call("GET", "/sobjects/Account/describe/layouts").json()["recordTypeMappings"]
    shown = {
        item["recordTypeId"]: [entry["value"] for entry in part["picklistValues"]]
        for item in mappings
        for part in item["picklistsForRecordType"]
        if part["picklistName"] == "Color__c"
    }
    assert shown[kind] == ["red"]
    assert shown["012000000000000AAA"] == ["red", "blue"]


def test_soap_calls_meet_duplicate_rules_and_their_header(client: Client) -> None:
    soap = Soap(client)
    record = (
        "<sObjects><type>Lead</type><LastName>S</LastName><Company>C</Company><Email>s@example.com</Email></sObjects>"
    )
    assert soap.results(f"<create>{record}</create>")[0]["success"] == "true"
    refused = soap.results(f"<create>{record}</create>")[0]
    assert (refused["success"], refused["errors"]["statusCode"]) == ("false", "DUPLICATES_DETECTED")
    header = "<DuplicateRuleHeader><allowSave>true</allowSave></DuplicateRuleHeader>"
    assert soap.results(f"<create>{record}</create>", header=header)[0]["success"] == "true"
    assert soap.results(f"<create>{record}</create>")[0]["success"] == "false"
