"""Forty-odd ways in which a target org is made to differ from its source, each with what a comparison must say of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.local_org.seeds.overlay import lay_over
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster_tests.end_to_end.workbench import Bench, serving

OBJECTS = ("Account", "Contact", "Project__c", "Extra__c", "Idle__c")
BLOCKS, LOSES, COSMETIC = "blocks", "loses data", "cosmetic"


@dataclass(frozen=True)
class Plant:
    """A difference: the field as the source and as the target have it, the rows' values, and what must be found."""

    kind: str
    severity: str
    field: str = ""
    source: dict[str, Any] | None = None
    target: dict[str, Any] | None = None
    values: tuple[Any, Any] = (None, None)
    """The value of every row but one, and of that one."""
    value: str = ""
    rows: int | None = 0
    object: str = "Project__c"

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.kind, self.object, self.field, self.value


def text(length: int = 20, **more: Any) -> dict[str, Any]:
    return {"type": "string", "length": length, **more}


def number(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "double", "precision": precision, "scale": scale}


def picks(*values: str, restricted: bool = True, kind: str = "picklist", inactive: str = "") -> dict[str, Any]:
    entries: list[dict[str, Any]] = [{"value": value} for value in values]
    if inactive:
        entries.append({"value": inactive, "active": False})
    return {"type": kind, "restrictedPicklist": restricted, "picklistValues": entries}


def lookup(to: str, **more: Any) -> dict[str, Any]:
    return {"type": "reference", "referenceTo": [to], **more}


TEXT = text()
PLANTS = (
    Plant("field missing", LOSES, "Gone_Used__c", TEXT, None, ("a", "b"), rows=10),
    Plant("field missing", COSMETIC, "Gone_Empty__c", TEXT, None),
    Plant("field missing", LOSES, "Gone_Check__c", {"type": "boolean"}, None, (False, True), rows=1),
    Plant("field missing", COSMETIC, "Gone_Formula__c", {"type": "double", "calculatedFormula": "1 + 1"}, None, rows=None),
    Plant("field type", BLOCKS, "To_Date__c", TEXT, {"type": "date"}, ("x", "y"), rows=10),
    Plant("field type", COSMETIC, "To_Date_Empty__c", TEXT, {"type": "date"}),
    Plant("field type", COSMETIC, "To_Text__c", number(5, 0), text(), (1, 2), rows=None),
    Plant("field type", BLOCKS, "To_Mail__c", text(80), {"type": "email", "length": 80}, (None, "no mail"), rows=1),
    Plant("field length", BLOCKS, "Short_Used__c", text(100), text(10), ("fits", "far too long for ten"), rows=1),
    Plant("field length", COSMETIC, "Short_Fit__c", text(100), text(10), ("fits", "too")),
    Plant("field length", COSMETIC, "Longer__c", text(20), text(40)),
    Plant("field length", BLOCKS, "Note__c", {"type": "textarea", "length": 32768}, {"type": "textarea", "length": 255},
          ("n", "n" * 300), rows=1),
    Plant("field precision", BLOCKS, "Digits_Used__c", number(10, 0), number(4, 0), (1, 123456), rows=1),
    Plant("field precision", COSMETIC, "Digits_Fit__c", number(10, 0), number(4, 0), (1, 9999)),
    Plant("field precision", LOSES, "Decimals_Used__c", number(10, 2), number(8, 0), (1, 1.25), rows=1),
    Plant("field precision", COSMETIC, "Decimals_Fit__c", number(10, 2), number(8, 0), (1, 2)),
    Plant("field precision", COSMETIC, "Wider__c", number(8, 0), number(10, 2), (1, 2)),
    Plant("field required", BLOCKS, "Required_Empty__c", TEXT, text(nillable=False), ("a", None), rows=1),
    Plant("field required", COSMETIC, "Required_Full__c", TEXT, text(nillable=False), ("a", "b")),
    Plant("field required", COSMETIC, "Relaxed__c", text(nillable=False), TEXT, ("a", "b")),
    Plant("field required", BLOCKS, "Demand__c", None, text(nillable=False), rows=10),
    Plant("field unique", BLOCKS, "Unique_Double__c", TEXT, text(unique=True), (None, None), rows=2),
    Plant("field unique", COSMETIC, "Unique_Fine__c", TEXT, text(unique=True), (None, "only")),
    Plant("field unique", COSMETIC, "Not_Unique__c", text(unique=True), TEXT, (None, "only")),
    Plant("field external id", COSMETIC, "Key__c", text(externalId=True), TEXT, ("k", "l")),
    Plant("field external id", COSMETIC, "Target_Key__c", TEXT, text(externalId=True), ("k", "l")),
    Plant("field computed", LOSES, "Sum__c", number(8, 0), {**number(8, 0), "calculatedFormula": "1 + 1"}, (1, 2), rows=10),
    Plant("field computed", COSMETIC, "Sum_Empty__c", number(8, 0), {**number(8, 0), "calculatedFormula": "1 + 1"}),
    Plant("field access", LOSES, "Closed__c", TEXT, text(createable=False, updateable=False), (None, "b"), rows=1),
    Plant("field access", COSMETIC, "Closed_Empty__c", TEXT, text(createable=False, updateable=False)),
    Plant("field access", LOSES, "No_Update__c", TEXT, text(updateable=False), ("a", "b"), rows=10),
    Plant("picklist value", BLOCKS, "Kind__c", picks("A", "B"), picks("A"), ("A", "B"), "B", 1),
    Plant("picklist value", COSMETIC, "Idle_Kind__c", picks("A", "B"), picks("A"), ("A", "A"), "B"),
    Plant("picklist value", COSMETIC, "Open__c", picks("A", "B", restricted=False), picks("A", restricted=False),
          ("A", "B"), "B", None),
    Plant("picklist value", BLOCKS, "Off__c", picks("A", "B"), picks("A", inactive="B"), ("A", "B"), "B", 1),
    Plant("picklist value", BLOCKS, "Tags__c", picks("x", "y", "z", kind="multipicklist"),
          picks("x", "z", kind="multipicklist"), ("x", "x;y"), "y", 1),
    Plant("picklist value", BLOCKS, "Free__c", picks("A", restricted=False), picks("A"), ("A", "Own words"), "Own words", 1),
    Plant("picklist restricted", COSMETIC, "Free__c"),
    Plant("picklist restricted", COSMETIC, "Loose__c", picks("A"), picks("A", restricted=False), ("A", "A")),
    Plant("record type", LOSES, "RecordTypeId", value="Big", rows=1),
    Plant("record type", COSMETIC, "RecordTypeId", value="Never"),
    Plant("relationship", BLOCKS, "Points__c", lookup("Account"), lookup("Contact"), (None, "account"), "Account", 1),
    Plant("relationship", COSMETIC, "Idle_Points__c", lookup("Account"), lookup("Contact"), value="Account"),
    Plant("relationship", BLOCKS, "Detail__c", lookup("Account"),
          lookup("Account", relationshipOrder=0, cascadeDelete=True, nillable=False), ("account", None), rows=1),
    Plant("relationship", COSMETIC, "Cascade__c", lookup("Account"), lookup("Account", cascadeDelete=True)),
    Plant("object missing", BLOCKS, object="Extra__c", rows=3),
    Plant("object missing", COSMETIC, object="Idle__c"),
    Plant("object access", BLOCKS, object="Contact", rows=2),
    Plant("picklist value", BLOCKS, "Industry", value="Energy", rows=2, object="Account"),
    Plant("field missing", LOSES, "Fax", rows=2, object="Account"),
)  # fmt: skip
ROWS = 10


def overlays() -> tuple[dict[str, Any], dict[str, Any]]:
    """The overlay of the source and that of the target, from the plants."""
    record_type = {"name": "RecordTypeId", "relationshipName": "RecordType", **lookup("RecordType")}
    plain = [{"name": "Same__c", **text()}, {"name": "Same_Kind__c", **picks("A", "B")}, record_type]
    sides: list[list[dict[str, Any]]] = [list(plain), list(plain)]
    for plant in PLANTS:
        for fields, given in zip(sides, (plant.source, plant.target), strict=True):
            if given is not None:
                fields.append({"name": plant.field, **given})
    usual = {
        "Account": {"fields": [{"name": "Industry", "restrictedPicklist": True, **_industries("Banking", "Energy")}]}
    }
    source = {
        "objects": {
            **usual,
            "Project__c": {"fields": sides[0], "recordTypes": ["Small", "Big", "Never"]},
            "Extra__c": {},
            "Idle__c": {},
        }
    }
    target = {
        "objects": {
            "Account": {
                "fields": [{"name": "Industry", "restrictedPicklist": True, **_industries("Banking")}],
                "removeFields": ["Fax"],
            },
            "Contact": {"createable": False},
            "Project__c": {"fields": sides[1], "recordTypes": ["Small"]},
        }
    }
    return source, target


def _industries(*values: str) -> dict[str, Any]:
    return {"picklistValues": [{"value": value} for value in values]}


def rows() -> DataSet:
    """Ten projects, two accounts, two contacts, three extras."""
    data = DataSet()
    data.add("Account", pl.DataFrame({"_ref": ["account", "other"], "Name": ["A", "B"], "Industry": ["Energy"] * 2,
                                      "Fax": ["1", "2"]}))  # fmt: skip
    data.add("Contact", pl.DataFrame({"_ref": ["c1", "c2"], "LastName": ["C", "D"]}))
    columns: dict[str, list[Any]] = {"_ref": [f"p{n}" for n in range(ROWS)], "Name": [f"P{n}" for n in range(ROWS)]}
    for plant in PLANTS:
        if plant.object == "Project__c" and plant.source and not plant.source.get("calculatedFormula"):
            usual, one = plant.values
            if plant.source.get("unique"):
                columns[plant.field] = [None] * (ROWS - 1) + [one]
            else:
                columns[plant.field] = [usual] * (ROWS - 1) + [one]
    columns["Unique_Double__c"] = [None] * (ROWS - 2) + ["Twice", "twice"]
    columns["Same_Kind__c"] = ["A"] * ROWS
    columns["RecordTypeId"] = ["RecordType/Project__c.Small"] * (ROWS - 1) + ["RecordType/Project__c.Big"]
    data.add("Project__c", pl.DataFrame(columns, strict=False))
    data.add("Extra__c", pl.DataFrame({"_ref": ["e1", "e2", "e3"], "Name": ["1", "2", "3"]}))
    return data


@contextmanager
def planted(folder: Path) -> Iterator[Bench]:
    """Both orgs, served; the target's schema is the base with its overlay laid over."""
    base = {item.name: item for item in standard(("Account", "Contact"))}
    made = []
    for name, overlay in zip(("source", "target"), overlays(), strict=True):
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(overlay))
        made.append(lay_over(file, base)[0])
    with (
        LocalOrg.create(folder / "source", made[0].values(), name="source", seed=11) as source,
        LocalOrg.create(folder / "target", made[1].values(), name="target", seed=22, is_sandbox=True) as target,
    ):
        apply(source, rows())
        with serving(folder, source, target) as bench:
            yield bench
