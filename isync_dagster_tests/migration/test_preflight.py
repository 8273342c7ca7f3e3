"""Planted violations of each kind: all found, none invented, each row listed; caps and decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from isync_dagster.errors import PreflightError
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.automation.picklists import valid_for
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.migration.extract import extract
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.reference_check import check_references
from isync_dagster.migration.writing import release_all
from isync_dagster.schema.model import Field, PicklistValue, RecordTypeInfo, SObject
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.store import files
from isync_dagster.template import Template, parse_template
from isync_dagster.template.kinds import KINDS
from isync_dagster_tests.migration.world import World, current, migrate, send, serving_world, some, template, together

KEY = "Key__c string(40) cune"
THING = (
    f"Name string({{name}}) cu{{name_null}}N; {KEY}; Code__c string(20) cunx; RecordTypeId reference cun > RecordType as "
    "RecordType; Size__c double({size}) cun; Born__c date cun; Mail__c {mail} cun; Web__c {web} cun; Call__c {call} cun; "
    "Tone__c picklist cun{restricted} {{a|b|c{extra}}}; Tags__c multipicklist cun{restricted} {{x|y{extra}}}; "
    "Match__c string(40) cun; Count__c {count} cun; Boss__c reference cun > Boss__c as Boss__r < Things__r"
)
BOSS = "Name string(80) cuN; Rank__c string(10) cun"
SHUT = "Name string(80) cuN"


def things(side: str) -> tuple[SObject, ...]:
    own = (
        {"name": 80, "name_null": "n", "size": "16,2", "mail": "string(80)", "web": "string(255)",
         "call": "string(40)", "restricted": "", "extra": "|old", "count": "double(8,2)"}
        if side == "source"
        else {"name": 20, "name_null": "", "size": "6,2", "mail": "email", "web": "url", "call": "phone",
              "restricted": "R", "extra": "", "count": "int"}
    )  # fmt: skip
    text = THING.format(**own).replace("{{", "{").replace("}}", "}")
    types = [RecordTypeInfo("", name, name, active=True, available=side == "source" or name != "Closed")
             for name in ("One", "Two", "Closed")]  # fmt: skip
    thing, notes = sobject("Thing__c", text, prefix="a01", record_types=types)
    shade = Field("Shade__c", "picklist", label="Shade", length=255, custom=True, nillable=True,
                  restricted_picklist=side == "target", dependent_picklist=True, controller_name="Tone__c",
                  picklist_values=(
                      PicklistValue("light", valid_for=valid_for(["a", "b", "c"], ["a", "b"])),
                      PicklistValue("dark", valid_for=valid_for(["a", "b", "c"], ["b", "c"]))))  # fmt: skip
    shut, shut_notes = sobject("Shut__c", SHUT)
    return linked(
        [
            (replace(thing, fields=(*thing.fields, shade)), notes),
            sobject("Boss__c", BOSS),
            (replace(shut, createable=side == "source"), shut_notes),
        ]
    )


USERS = {
    "source": [{"Username": "jane@corp.example", "LastName": "Doe", "Email": "jane@corp.example"},
               {"Username": "gone@corp.example", "LastName": "Gone", "Email": "gone@corp.example"}],
    "target": [{"Username": "jane@corp.example", "LastName": "Doe", "Email": "jane@corp.example"}],
}  # fmt: skip
TYPE_VALUES = Automation.model_validate(
    {"record_type_values": [{"object": "Thing__c", "name": "Tone__c", "record_type": "Two", "values": ["a", "b"]}],
     "duplicate_rules": [{"object": "Thing__c", "name": "Alike", "match": ["Name"]}],
     "lookup_filters": [{"object": "Thing__c", "name": "Boss__c",
                         "filters": [{"field": "Boss__c.Rank__c", "value": "chief, head"}]}]}
)  # fmt: skip

GOOD: Mapping[str, Any] = {
    "Name": "fine", "RecordTypeId": "RecordType/Thing__c.One", "Size__c": "1234.50", "Born__c": "2001-02-03",
    "Mail__c": "a@b.example", "Web__c": "https://example.com/a?b", "Call__c": "+1 (555) 0100", "Tone__c": "a",
    "Tags__c": "x;y", "Shade__c": "light", "OwnerId": "User/jane@corp.example", "Count__c": "7", "Boss__c": "chief",
}  # fmt: skip
BAD: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("required", "Name"): {"Name": None},
    ("length", "Name"): {"Name": "much longer than twenty characters"},
    ("range", "Size__c"): {"Size__c": "10000"},
    ("range", "Born__c"): {"Born__c": "1699-01-01"},
    ("picklist", "Tone__c"): {"Tone__c": "old", "Shade__c": None},
    ("picklist", "Tags__c"): {"Tags__c": "x;old"},
    ("dependent_picklist", "Shade__c"): {"Tone__c": "a", "Shade__c": "dark"},
    ("record_type_picklist", "Tone__c"): {
        "RecordTypeId": "RecordType/Thing__c.Two",
        "Tone__c": "c",
        "Shade__c": "dark",
    },
    ("email", "Mail__c"): {"Mail__c": "a@b"},
    ("url", "Web__c"): {"Web__c": "not a url"},
    ("phone", "Call__c"): {"Call__c": "ask Jane"},
    ("unique", "Code__c"): {"Code__c": "twice"},
    ("owner", "OwnerId"): {"OwnerId": "User/gone@corp.example"},
    ("type", "Count__c"): {"Count__c": "1.5"},
    ("record_type", "RecordTypeId"): {"RecordTypeId": "RecordType/Thing__c.Closed"},
    ("lookup_filter", "Boss__c"): {"Boss__c": "clerk"},
    ("match_key", "Match__c"): {"Match__c": "shared"},
}
"""(kind, field) -> what makes a good row one with just this finding."""
WARNED = {"url", "phone", "owner", "duplicate_rule", "api_budget"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Things]:
    folder = tmp_path_factory.mktemp("preflight")
    with (
        LocalOrg.create(folder / "source", things("source"), name="source", seed=3, users=USERS["source"]) as source,
        LocalOrg.create(folder / "target", things("target"), name="target", seed=4, is_sandbox=True,
                        users=USERS["target"], automation=TYPE_VALUES) as target,
        source.serve() as one,
        target.serve() as two,
    ):  # fmt: skip
        made = Things(folder, source, target, {"source": one, "target": two})
        yield made
        release_all()


class Things(World):
    """The two orgs of these tests."""

    @property
    def snapshots(self) -> Any:  # type: ignore[override]
        found = {}
        for side in ("source", "target"):
            org = self.client(side)
            names = ("Thing__c", "Boss__c", "Shut__c", "User", "RecordType")
            known = {name: org.describe(name) for name in names}
            # The snapshot was taken while the user could create these.
            known["Shut__c"] = replace(known["Shut__c"], createable=True)
            if side == "source":
                # And before the source's field took decimals.
                thing = known["Thing__c"]
                whole = {"Count__c": {"precision": 6, "scale": 0}}
                fields = tuple(replace(field, **whole.get(field.name, {})) for field in thing.fields)
                known["Thing__c"] = replace(thing, fields=fields)
            found[side] = Snapshot(org.identity(), datetime.now(UTC), known)
        return found

    def plant(self, rows: int, every: int) -> dict[tuple[str, str], set[str]]:
        """Fill the source with good rows and, every so many, one with the next violation; gives the keys of each."""
        release_all()
        kinds = list(BAD)
        place = pl.int_range(pl.len())
        bad = (place % every == 0).alias("bad")
        which = (place // every % len(kinds)).alias("which")
        frame = pl.select(n=pl.int_range(rows)).with_columns(bad, which)
        columns = dict.fromkeys([*GOOD, "Code__c", "Match__c"])
        values = {}
        for name in columns:
            expr = pl.lit(GOOD.get(name), dtype=pl.String)
            if name in ("Code__c", "Match__c"):
                expr = pl.format("c{}", pl.col("n"))
            for number, key in enumerate(kinds):
                if name in BAD[key]:
                    expr = (
                        pl.when(pl.col("bad") & (pl.col("which") == number))
                        .then(pl.lit(BAD[key][name], dtype=pl.String))
                        .otherwise(expr)
                    )
            values[name] = expr
        key = pl.format("t{}", pl.col("n"))
        data = DataSet()
        jane = "User/jane@corp.example"
        bosses = {
            "_ref": ["chief", "clerk"],
            "Name": ["A", "B"],
            "Rank__c": ["Chief", "clerk"],
            "OwnerId": [jane, jane],
        }
        data.add("Boss__c", pl.DataFrame(bosses))
        data.add("Shut__c", pl.DataFrame({"_ref": ["shut"], "Name": ["S"], "OwnerId": [jane]}))
        data.add("Thing__c", frame.select(_ref=key, Key__c=key, **values))
        for org in (self.source, self.target):
            with org.storage.transaction() as cursor:
                for name in ("Thing__c", "Boss__c", "Shut__c"):
                    cursor.execute(f'DELETE FROM "{name}"')
        apply(self.source, data, keep_nulls=True)
        self.stores += 1
        planted = frame.filter("bad").select("which", Key=key)
        return {
            kind: set(planted.filter(pl.col("which") == number)["Key"].to_list()) for number, kind in enumerate(kinds)
        }


def recipe(*, shut: bool = False, keyed: bool = False, **settings: Any) -> Template:
    values = {"name": "things", "source": "source", "target": "target",
              "lines": [{"object": "Boss__c"}, *([{"object": "Shut__c"}] if shut else []), {"object": "Thing__c"}],
              "objects": {"Thing__c": {"match_key": "Match__c"}} if keyed else {},
              "references": {"User": {"default": "admin@target.example"}}, "settings": settings}  # fmt: skip
    return parse_template(json.dumps(values))


def found_in(job: Any) -> tuple[dict[tuple[str, str], set[str]], list[dict[str, Any]], PreflightError | None]:
    """What the gate says: (kind, field) -> keys of the rows listed as Parquet, the table, and the error."""
    for item in job.plan.objects:
        extract(job, item.object)
    error = None
    try:
        table = list(preflight(job).errors)
    except PreflightError as raised:
        error, table = raised, raised.table
    folder = current(job).folder / "preflight"
    listed: dict[tuple[str, str], set[str]] = {}
    for row in table:
        path = folder / row["kind"] / f"Thing__c{'.source' if row['kind'] == 'match_key' else ''}.parquet"
        if not files.exists(path):
            continue
        rows = files.scan(path).filter(pl.col("field") == row["field"]).select("_source_id").collect()["_source_id"]
        listed[row["kind"], row["field"]] = set(rows)
    return listed, table, error


def assert_all_found(world: Things, rows: int, every: int) -> None:
    planted = world.plant(rows, every)
    of_rows = {("Thing__c", *kind): len(keys) for kind, keys in planted.items()} | {
        ("Thing__c", "match_key", "Match__c"): 1
    }
    total = rows + 3
    of_the_org = {("Shut__c", "access", ""): 1, ("Thing__c", "duplicate_rule", ""): rows} | dict.fromkeys(
        [("", "storage", ""), ("", "api_budget", ""), ("", "cap", "rows")], total
    )
    service, limits = world.served["target"].service, world.source.settings.daily_requests
    job = world.job(recipe(shut=True, keyed=True, caps={"rows": total - 1}, api_budget="100%"))
    # The next to last record fits, the last does not; the calls left do for the gate and not for the run.
    world.target.storage.rows_left = (total - 1) // 2
    service.call_limit = service.calls_made + 90
    try:
        listed, table, error = found_in(job)
    finally:
        world.target.storage.rows_left, service.call_limit = None, limits
    names = dict(world.source.table("Thing__c").select("Id", "Key__c").iter_rows())
    assert {kind: {names[one] for one in ids} for kind, ids in listed.items()} == planted
    counts = {(row["object"], row["kind"], row["field"]): row["rows"] for row in table}
    assert len(counts) == len(table)
    assert counts == of_rows | of_the_org
    assert {kind for _, kind, _ in counts} == set(KINDS), "a kind that nobody planted proves nothing"
    severities = {row["kind"]: row["severity"] for row in table}
    assert {kind for kind, how in severities.items() if how == "warn"} == WARNED
    assert error is not None
    assert "nothing was written" in str(error)


def test_planted_violations_are_all_found_and_none_is_invented(world: Things) -> None:
    assert_all_found(world, 300, 5)


@pytest.mark.slow
def test_planted_violations_in_100_000_rows(world: Things) -> None:
    assert_all_found(world, 100_000, 250)


def test_good_rows_pass_and_a_value_that_the_target_holds_does_not(world: Things) -> None:
    world.plant(3, 10_000)  # the first row is the one without a name
    client = world.client("source")
    first = client.query("SELECT Id FROM Thing__c WHERE Key__c = 't0'")["Id"][0]
    client.request("PATCH", f"sobjects/Thing__c/{first}", json={"Name": "fine"})
    listed, table, error = found_in(world.job(recipe()))
    assert (listed, error) == ({}, None)
    assert [row["kind"] for row in table] == ["duplicate_rule"]
    release_all()
    world.stores += 1
    target = world.client("target")
    target.request("POST", "sobjects/Thing__c", json={"Name": "there", "Code__c": "C1"})
    listed, _, error = found_in(world.job(recipe()))
    names = dict(world.source.table("Thing__c").select("Id", "Key__c").iter_rows())
    assert {kind: [names[one] for one in ids] for kind, ids in listed.items()} == {("unique", "Code__c"): ["t1"]}
    assert error is not None


def test_decisions_silence_or_change_a_kind_and_are_kept(world: Things) -> None:
    world.plant(80, 2)
    decisions = [
        {"check": kind, "severity": "warn", "why": "looked at"} for kind in dict.fromkeys(kind for kind, _ in BAD)
    ]
    decisions += [
        {"check": "length", "object": "Thing__c", "fields": ["Name"], "severity": "off", "why": "cut by a trigger"},
        {"check": "duplicate_rule", "severity": "off", "why": "switched off by hand"},
        {"check": "phone", "object": "Other__c", "severity": "error", "why": "not this object"},
    ]
    listed, table, error = found_in(world.job(recipe(preflight=decisions)))
    assert error is None
    assert {row["severity"] for row in table} == {"warn"}
    assert set(listed) == set(BAD) - {("length", "Name"), ("match_key", "Match__c")}
    outcome = files.read_json(current(world.job(recipe(preflight=decisions))).folder / "preflight" / "outcome.json")
    assert outcome is not None
    assert "decision: length of Thing__c.Name counts as off: cut by a trigger" in outcome["notes"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with serving_world(tmp_path_factory.mktemp("caps")) as made:
        yield made


def test_caps_stop_before_anything_is_written(plain: World) -> None:
    plain.reset(some("Account", 5, Zip__c="1"))
    with pytest.raises(PreflightError, match=r"phase 'all' has 5 rows, the template's caps allow 4"):
        migrate(plain.job(template(("Account",), caps={"rows": 4})))
    assert plain.counts("Account") == {"Account": 0}
    plain.reset(some("Account", 5, Zip__c="1"), some("Account", 2, Zip__c="2"))
    keyed = {"Account": {"match_key": "Key__c"}}
    with pytest.raises(
        PreflightError, match=r"Account: 2 of 5 rows \(40.0%\) are to be updated in 'target'; the templ"
    ):
        migrate(plain.job(template(("Account",), keyed, caps={"updates": "20%"})))
    assert plain.counts("Account") == {"Account": 2}
    assert set(plain.values("target", "Account", "Zip__c").values()) == {"2"}
    plain.reset(some("Account", 5, Zip__c="1"), some("Account", 1, Zip__c="2"))
    done = migrate(plain.job(template(("Account",), keyed, caps={"updates": "20%", "rows": 5, "deletes": "1%"})))
    assert done.states("Account") == {"inserted": 4, "updated": 1}


def test_references_are_checked_after_remap(plain: World) -> None:
    data = together(some("Account", 2), some("Part__c", 3, Account__c=lambda n: f"a{n % 2}"))
    plain.reset(data)
    only = {"Account": {"where": "Key__c = 'a0'"}}
    job = plain.job(template(("Account", "Part__c"), conditions=only, continue_on_error=True))
    send(job)
    verdict = check_references(job, "Part__c")
    assert (verdict.passed, verdict.severity, dict(verdict.numbers)) == (
        False,
        "error",
        {"unresolved": 1, "blocked": 1},
    )
    listed = files.scan(current(job).folder / "preflight" / "references" / "Part__c.parquet").collect()
    assert listed["value"].to_list() == [plain.ids("source", "Account")["a1"]]
    assert check_references(job, "Account").passed
