from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.errors import SnapshotError
from isync_dagster.schema.model import ChildRelationship, Field, PicklistValue, RecordTypeInfo, SObject
from isync_dagster.schema.snapshot import (
    OrgIdentity,
    Snapshot,
    did_you_mean,
    load_snapshot,
    nearest,
    save_snapshot,
)

ORG = OrgIdentity("dev", "00D000000000001EAA", "Dev", "62.0", "https://dev.example", True, "Developer Edition")
FETCHED = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)
ACCOUNT = SObject(
    "Account",
    label="Account",
    key_prefix="001",
    fields=(
        Field("Id", "id", length=18, nillable=False, createable=False, updateable=False, soap_type="tns:ID"),
        Field("Name", length=255, nillable=False, inline_help_text="Die Firma “selbst”"),
        Field("Rating", "picklist", picklist_values=(PicklistValue("Hot", "Heiß", default_value=True),)),
        Field("ParentId", "reference", reference_to=("Account",), filtered_lookup_info={"dependent": False}),
    ),
    child_relationships=(ChildRelationship("Contact", "AccountId", "Contacts", cascade_delete=True),),
    record_type_infos=(RecordTypeInfo("012000000000000AAA", "Master", master=True),),
)
CONTACT = SObject("Contact", fields=(Field("LastName", length=80, nillable=False),))


def snapshot(*objects: SObject, org: OrgIdentity = ORG) -> Snapshot:
    return Snapshot(org, FETCHED, {item.name: item for item in objects})


def test_a_snapshot_survives_the_disk(tmp_path: Path) -> None:
    home = save_snapshot(tmp_path, snapshot(ACCOUNT, CONTACT))
    assert home == tmp_path / "dev"
    found = load_snapshot(tmp_path, "dev")
    assert (found.identity, found.fetched_at) == (ORG, FETCHED)
    assert list(found.objects) == ["Account", "Contact"] and len(found.objects) == 2
    assert found.object("Contact") == CONTACT
    account = found.object("Account")
    assert account.child_relationships == ACCOUNT.child_relationships
    assert account.record_type_infos == ACCOUNT.record_type_infos
    assert account.by_name["Rating"] == ACCOUNT.by_name["Rating"]
    # What no plan depends on is not kept, which the content hash must agree on.
    assert account.by_name["Name"] == replace(ACCOUNT.by_name["Name"], inline_help_text=None)
    assert found.content_hash("Account") == snapshot(ACCOUNT).content_hash("Account")


def test_content_hash_tells_schemas_apart() -> None:
    shorter = replace(ACCOUNT, fields=(*ACCOUNT.fields[:1], replace(ACCOUNT.fields[1], length=80), *ACCOUNT.fields[2:]))
    assert snapshot(ACCOUNT).content_hash("account") == snapshot(ACCOUNT).content_hash("Account")
    assert snapshot(shorter).content_hash("Account") != snapshot(ACCOUNT).content_hash("Account")


def test_files_are_made_for_review(tmp_path: Path) -> None:
    home = save_snapshot(tmp_path, snapshot(ACCOUNT))
    lines = (home / "Account.json").read_text(encoding="utf-8").splitlines()
    assert sum('"name": "Name"' in line for line in lines) == 1
    assert "Heiß" in "".join(lines)
    assert sorted(item.name for item in home.iterdir()) == ["Account.json", "_org.json"]
    assert json.loads((home / "_org.json").read_text(encoding="utf-8"))["org_id"] == ORG.org_id


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    home = save_snapshot(tmp_path, snapshot(ACCOUNT, CONTACT))
    before = {item.name: item.stat().st_ino for item in home.iterdir()}
    later = Snapshot(
        ORG, datetime(2026, 2, 1, tzinfo=UTC), {"Account": ACCOUNT, "Contact": replace(CONTACT, custom=True)}
    )
    save_snapshot(tmp_path, later)
    after = {item.name: item.stat().st_ino for item in home.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"Contact.json", "_org.json"}
    assert load_snapshot(tmp_path, "dev").fetched_at == later.fetched_at


def test_a_partial_refresh_keeps_the_other_objects_of_the_org(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot(ACCOUNT, CONTACT))
    save_snapshot(tmp_path, snapshot(CONTACT))
    assert list(load_snapshot(tmp_path, "dev").objects) == ["Account", "Contact"]


def test_another_org_under_the_alias_takes_the_old_objects_away(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot(ACCOUNT, CONTACT))
    save_snapshot(tmp_path, snapshot(CONTACT, org=replace(ORG, org_id="00D000000000009EAA")))
    assert list(load_snapshot(tmp_path, "dev").objects) == ["Contact"]


def test_describes_are_read_only_when_asked_for(tmp_path: Path) -> None:
    home = save_snapshot(tmp_path, snapshot(ACCOUNT, CONTACT))
    (home / "Contact.json").write_text("damaged", encoding="utf-8")
    found = load_snapshot(tmp_path, "dev")
    assert found.object("Account").name == "Account"
    assert "contact" in found and "Lead" not in found
    with pytest.raises(SnapshotError, match=r"Contact\.json cannot be used: .* `isync orgs snapshot dev`"):
        found.object("Contact")


def test_an_edited_file_is_told(tmp_path: Path) -> None:
    file = save_snapshot(tmp_path, snapshot(CONTACT)) / "Contact.json"
    file.write_text(file.read_text(encoding="utf-8").replace("80", "90"), encoding="utf-8")
    with pytest.raises(SnapshotError, match="does not match its content hash"):
        load_snapshot(tmp_path, "dev").object("Contact")


@pytest.mark.parametrize("text", ["", "[]", '{"alias": "dev"}', '{"org_id": 5, "fetched_at": "now"}'])
def test_a_damaged_identity_is_told(tmp_path: Path, text: str) -> None:
    (save_snapshot(tmp_path, snapshot(CONTACT)) / "_org.json").write_text(text, encoding="utf-8")
    with pytest.raises(SnapshotError, match=r"_org\.json cannot be used"):
        load_snapshot(tmp_path, "dev")


def test_missing_snapshots_and_objects_are_answered_with_the_nearest(tmp_path: Path) -> None:
    save_snapshot(tmp_path, snapshot(ACCOUNT))
    with pytest.raises(SnapshotError, match=r"no describe snapshot of org 'dve' .*; did you mean 'dev'"):
        load_snapshot(tmp_path, "dve")
    with pytest.raises(SnapshotError, match="isync orgs snapshot dev --objects Acount") as caught:
        load_snapshot(tmp_path, "dev").object("Acount")
    assert "did you mean 'Account'?" in str(caught.value)
    with pytest.raises(SnapshotError, match=r"nowhere\. Make one"):
        load_snapshot(tmp_path / "nowhere", "dev")


def test_object_names_are_found_in_any_case() -> None:
    found = snapshot(ACCOUNT)
    assert found.object("aCCount") is ACCOUNT
    assert found.find("Lead") is None
    assert nearest("zzz", ["Account"]) is None
    assert did_you_mean("zzz", ["Account"]) == "."


fields = st.builds(
    Field,
    name=st.from_regex(r"[A-Z][A-Za-z0-9]{0,8}(__c)?", fullmatch=True),
    type=st.sampled_from(["string", "double", "reference", "picklist"]),
    label=st.text(max_size=10),
    length=st.integers(0, 300),
    nillable=st.booleans(),
    createable=st.booleans(),
    unique=st.booleans(),
    default_value=st.one_of(st.none(), st.booleans(), st.text(max_size=5)),
    reference_to=st.lists(st.sampled_from(["A", "B"]), unique=True).map(tuple),
    picklist_values=st.lists(st.builds(PicklistValue, st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(fields, max_size=6))
def test_any_object_survives_the_disk(tmp_path_factory: pytest.TempPathFactory, found: list[Field]) -> None:
    item = SObject("Any__c", fields=tuple(found))
    folder = tmp_path_factory.mktemp("any")
    save_snapshot(folder, snapshot(item))
    assert load_snapshot(folder, "dev").object("Any__c") == item
