"""Data sets of every form come into an org with their references."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import DataError
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.cumulusci import read_cumulusci
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.local_org.seeds.inference import complete
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.local_org.seeds.standard import standard, standard_pairs
from isync_dagster.local_org.seeds.tables import read_sfdmu, read_table, read_tables
from isync_dagster.local_org.seeds.tree import read_plan, read_tree
from isync_dagster.schema.model import RecordTypeInfo

PAIR = """
    Name string(80) cundIN; Kind__c picklist(40) cun {{A*|B}}; Code__c string(20) cun
    Other__c reference cun > {other} as Other__r < {children}
    Self__c reference cun > {self} as Self__r < {children}_Below__r
"""


@pytest.fixture
def org(tmp_path: Path) -> Iterator[LocalOrg]:
    pairs = [
        *((item, notes) for item, notes in standard_pairs() if item.name in ("Account", "Contact", "Case", "Task")),
        sobject("Left__c", PAIR.format(other="Right__c", self="Left__c", children="Lefts__r"), owner="queue",
                record_types=[RecordTypeInfo("", "Special", "Special")]),
        sobject("Right__c", PAIR.format(other="Left__c", self="Right__c", children="Rights__r"), owner="queue"),
    ]  # fmt: skip
    with LocalOrg.create(tmp_path / "org", linked(pairs), name="seeds") as made:
        yield made


def _names(org: LocalOrg, child: str, lookup: str, parent: str) -> dict[str, str]:
    """Name of each child -> name of the parent that the lookup points at."""
    parents = org.table(parent).select(pl.col("Id").alias(lookup), pl.col("Name").alias("parent"))
    return dict(org.table(child).join(parents, on=lookup).select("Name", "parent").iter_rows())


def test_cycles_and_self_references_resolve_whatever_the_order(org: LocalOrg) -> None:
    left = pl.DataFrame({"_ref": ["l1", "l2"], "Name": ["L1", "L2"], "Other__c": ["r1", None], "Self__c": ["l2", "l2"]})
    right = pl.DataFrame({"_ref": ["r1"], "Name": ["R1"], "Other__c": ["l2"]})
    made = apply(org, DataSet({"Left__c": left, "Right__c": right}))
    assert _names(org, "Left__c", "Self__c", "Left__c") == {"L1": "L2", "L2": "L2"}
    assert _names(org, "Left__c", "Other__c", "Right__c") == {"L1": "R1"}
    assert _names(org, "Right__c", "Other__c", "Left__c") == {"R1": "L2"}
    assert made["Left__c"]["_ref"].to_list() == ["l1", "l2"]


def test_a_missing_reference_names_file_record_and_field(org: LocalOrg) -> None:
    frame = pl.DataFrame({"_ref": ["l1"], "Name": ["L1"], "Other__c": ["nowhere"]})
    with pytest.raises(DataError, match=r"left\.csv: Left__c record l1 refers by Other__c to 'nowhere'") as caught:
        apply(org, DataSet({"Left__c": frame}, {"Left__c": "left.csv"}))
    assert (caught.value.record, caught.value.field) == ("l1", "Other__c")
    assert org.counts()["Left__c"] == 0


def test_an_id_of_another_org_is_a_missing_reference(org: LocalOrg) -> None:
    frame = pl.DataFrame({"Name": ["x"], "ParentId": ["001000000000009AAA"]})
    with pytest.raises(DataError, match="ParentId"):
        apply(org, DataSet({"Account": frame}))
    # People are the exception: records of somebody unknown belong to the one who loads them.
    apply(org, DataSet({"Account": frame.select("Name", pl.lit("005000000000009AAA").alias("OwnerId"))}))
    assert org.table("Account")["OwnerId"].to_list() == [org.settings.user_id]


def test_known_keys_and_ids_of_the_org(org: LocalOrg) -> None:
    first = apply(org, DataSet({"Left__c": pl.DataFrame({"_ref": ["a"], "Name": ["A"]})}))["Left__c"]["Id"][0]
    frame = pl.DataFrame({"Name": ["B"], "Self__c": [first], "RecordTypeId": ["RecordType/Left__c.Special"]})
    with pytest.raises(Exception, match="RecordTypeId"):
        apply(org, DataSet({"Left__c": frame}))  # the object has no such field
    apply(org, DataSet({"Left__c": frame.drop("RecordTypeId")}))
    assert _names(org, "Left__c", "Self__c", "Left__c") == {"B": "A"}


def test_empty_cells_take_the_default_unless_kept(org: LocalOrg) -> None:
    frame = pl.DataFrame({"Name": ["x"], "Kind__c": [None]}, schema={"Name": pl.String, "Kind__c": pl.String})
    apply(org, DataSet({"Left__c": frame, "Right__c": frame}))
    assert org.table("Left__c")["Kind__c"].to_list() == ["A"]
    apply(org, DataSet({"Right__c": frame}), keep_nulls=True)
    assert org.table("Right__c")["Kind__c"].to_list() == ["A", None]


def _record(kind: str, key: str, **values: object) -> dict[str, object]:
    return {"attributes": {"type": kind, "referenceId": key}, **values}


def test_a_plan_with_references_across_files(org: LocalOrg, tmp_path: Path) -> None:
    # The child stands before its parent, keys of fields in any case, values of every JSON type.
    files = {
        "c.json": [_record("Contact", "C1", lastname="Ng", AccountId="@A1", HasOptedOut=None)],
        "a.json": [_record("account", "A1", NAME="Acme", NumberOfEmployees=7, AnnualRevenue=1.5, Site="@handle")],
    }
    files["c.json"][0].pop("HasOptedOut")
    for name, records in files.items():
        (tmp_path / name).write_text(json.dumps({"records": records}))
    steps = [{"sobject": "Contact", "files": ["c.json"]}, {"sobject": "Account", "files": [{"file": "a.json"}]}]
    (tmp_path / "plan.json").write_text(json.dumps(steps))
    apply(org, read_plan(tmp_path / "plan.json", org.schema))
    assert _names(org, "Contact", "AccountId", "Account") == {"Ng": "Acme"}
    account = org.table("Account").row(0, named=True)
    assert (account["NumberOfEmployees"], account["Site"]) == (7, "@handle")


def test_nested_children_take_the_lookup_of_their_relationship(org: LocalOrg, tmp_path: Path) -> None:
    child = _record("Contact", "C1", LastName="Ng")
    records = [_record("Account", "A1", Name="Acme", Contacts={"records": [child]})]
    file = tmp_path / "tree.json"
    file.write_text(json.dumps({"records": records}))
    apply(org, read_tree(file, org.schema))
    assert _names(org, "Contact", "AccountId", "Account") == {"Ng": "Acme"}
    file.write_text(json.dumps({"records": [_record("Account", "A1", Name="Acme", Wheels={"records": []})]}))
    with pytest.raises(DataError, match="Wheels"):
        read_tree(file, org.schema)


def test_a_cumulusci_dump(org: LocalOrg, tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text(
        """BEGIN TRANSACTION;
        CREATE TABLE accounts (sf_id VARCHAR(255) NOT NULL, "Name" VARCHAR(255), parent_id VARCHAR(255), PRIMARY KEY (sf_id));
        INSERT INTO accounts VALUES('001a','It''s; Acme','001b'),('001b','Parent',''),('001c','Left out','');
        CREATE TABLE "Contact" (id INTEGER NOT NULL, "LastName" VARCHAR(255), account_id VARCHAR(255), PRIMARY KEY (id));
        INSERT INTO "Contact" VALUES(1,'Ng','001a');
        CREATE TABLE tasks (id INTEGER NOT NULL, "Subject" VARCHAR(255), who VARCHAR(255), PRIMARY KEY (id));
        INSERT INTO tasks VALUES(1,'Call','Contact-1');
        COMMIT;"""
    )
    (tmp_path / "m.yml").write_text(
        """
Accounts:
    sf_object: Account
    table: accounts
    filters: ["Name != 'Left out'"]
    fields: {Id: sf_id, Name: Name}
    static: {Site: HQ}
    lookups: {ParentId: {table: accounts, after: Accounts}}
Contacts: {sf_object: Contact, fields: [LastName], lookups: {AccountId: {table: accounts}}}
Tasks: {sf_object: Task, table: tasks, fields: [Subject], lookups: {WhoId: {table: [leads, Contact], key_field: who}}}
Missing: {sf_object: Lead, fields: [LastName]}
"""
    )
    # The columns parent_id and account_id are the snake-case spelling of the lookups.
    apply(org, read_cumulusci(tmp_path / "d.sql", tmp_path / "m.yml"))
    assert _names(org, "Account", "ParentId", "Account") == {"It's; Acme": "Parent"}
    assert _names(org, "Contact", "AccountId", "Account") == {"Ng": "It's; Acme"}
    assert org.table("Task")["WhoId"][0] == org.table("Contact")["Id"][0]
    assert org.table("Account")["Site"].to_list() == ["HQ", "HQ"]


def test_a_dump_reaches_no_file(tmp_path: Path) -> None:
    (tmp_path / "d.sql").write_text(f"ATTACH DATABASE '{tmp_path / 'made.db'}' AS other; CREATE TABLE other.t (a);")
    (tmp_path / "m.yml").write_text("A: {sf_object: Account, fields: [Name]}")
    with pytest.raises(DataError, match=r"d\.sql"):
        read_cumulusci(tmp_path / "d.sql", tmp_path / "m.yml")
    assert not (tmp_path / "made.db").exists()


def test_csv_and_parquet_with_ids_and_paths(org: LocalOrg, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "Account.csv").write_text(
        'Id;Name;Parent.Name\n001x;"A;1\nsecond line";Top\n001y;Top;\n', encoding="utf-8-sig"
    )
    contact = pl.DataFrame({"LastName": ["Ng"], "AccountId": ["001x"], "Birthdate": ["1990-02-28"]})
    contact.write_parquet(folder / "Contact.parquet")
    apply(org, read_tables(folder, org.schema))
    assert _names(org, "Account", "ParentId", "Account") == {"A;1\nsecond line": "Top"}
    assert _names(org, "Contact", "AccountId", "Account") == {"Ng": "A;1\nsecond line"}


def test_a_path_to_a_missing_parent_is_named(org: LocalOrg, tmp_path: Path) -> None:
    (tmp_path / "Account.csv").write_text("Name,Parent.Name\nA,Nobody\n")
    with pytest.raises(DataError, match=r"Account\.csv: Account record Account#0 refers by Parent\.Name to 'Nobody'"):
        read_tables(tmp_path, org.schema)


def test_an_sfdmu_project_with_a_second_pass_and_composite_keys(org: LocalOrg, tmp_path: Path) -> None:
    def entry(name: str, fields: str, key: str) -> dict[str, object]:
        return {"query": f"SELECT {fields} FROM {name}", "operation": "Upsert", "externalId": key}

    sets = [
        {"objects": [entry("Left__c", "Name, Code__c", "Name;Code__c"), entry("Right__c", "Name, Other__c", "Name")]},
        {"objects": [entry("Left__c", "Name, Code__c, Kind__c", "Name;Code__c")]},
    ]
    (tmp_path / "export.json").write_text(json.dumps({"objectSets": sets}))
    (tmp_path / "Left__c.csv").write_text("Name,Code__c,Kind__c\nL,1,A\nL,2,#N/A\n")
    (tmp_path / "Right__c.csv").write_text("Name,Other__r.$$Name$Code__c\nR,L;2\n")
    second = tmp_path / "objectset_source" / "object-set-2"
    second.mkdir(parents=True)
    (second / "Left__c.csv").write_text("Name,Code__c,Kind__c\nL,2,B\n")
    apply(org, read_sfdmu(tmp_path, org.schema))
    lefts = org.table("Left__c").select("Id", "Code__c", "Kind__c")
    assert dict(lefts.select("Code__c", "Kind__c").iter_rows()) == {"1": "A", "2": "B"}
    assert org.table("Right__c")["Other__c"][0] == lefts.filter(pl.col("Code__c") == "2")["Id"][0]


@pytest.mark.parametrize("mark", [",", ";", "\t", "|", "^", "`"])
def test_the_separator_is_read_from_the_header(mark: str, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f'Name{mark}Site\n"a{mark}""b"""{mark}\n')
    assert read_table(file).rows() == [(f'a{mark}"b"', None)]


def test_what_no_metadata_defines_is_guessed_from_the_rows() -> None:
    frame = pl.DataFrame(
        {
            "_ref": ["a", "b"],
            "Flag__c": ["True", "false"],
            "Day__c": ["2024-01-31", None],
            "At__c": ["2024-01-31T10:00:00.000Z", None],
            "Ratio__c": ["1.25", "-300"],
            "Zip__c": ["01234", "99999"],
            "Text__c": ["x" * 300, "y"],
            "To__c": ["b", None],
            "RecordTypeId": ["RecordType/New__c.One", None],
        }
    )
    data = DataSet({"New__c": frame}, links={("New__c", "To__c"): ("New__c",)})
    found = {item.name: item for item in complete(standard([]), data)}["New__c"]
    kinds = {field.name: field.type for field in found.fields if field.custom}
    assert kinds == {
        "Flag__c": "boolean",
        "Day__c": "date",
        "At__c": "datetime",
        "Ratio__c": "double",
        "Zip__c": "string",
        "Text__c": "textarea",
        "To__c": "reference",
    }
    assert found.record_type_infos[0].developer_name == "One"
