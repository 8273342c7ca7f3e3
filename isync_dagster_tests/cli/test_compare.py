"""`isync compare` and `isync orgs drift` against two local orgs: shown, filtered, written, resolved, deployed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.local_org.seeds.overlay import lay_over
from isync_dagster.local_org.seeds.sfdx import read_source
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.schema.snapshot import load_snapshot
from isync_dagster.template import load_template
from isync_dagster_tests.end_to_end.workbench import Bench, serving

BLOCKS, LOSES, COSMETIC = 12, 11, 10
TEMPLATE = """\
# Projects and what hangs on them.
name: core
source: source
target: target
lines:
  - {object: Account}
  - {object: Project__c}   # the parent
  - {object: Visit__c}     # its child

objects:
  Project__c:
    match_key: [Name]      # names are unique here
    picklists:
      Kind__c: {Old: A}    # renamed last year
references:
  User: {default: admin@target.example}
"""


def field(name: str, kind: str = "string", **more: object) -> dict[str, object]:
    return {"name": name, "type": kind, **more}


def values(*names: str) -> dict[str, object]:
    return {"restrictedPicklist": True, "picklistValues": [{"value": name} for name in names]}


RECORD_TYPE = field("RecordTypeId", "reference", referenceTo=["RecordType"], relationshipName="RecordType")
SOURCE = {
    "Project__c": {
        "recordTypes": ["Small", "Big"],
        "fields": [
            RECORD_TYPE,
            field("Kind__c", "picklist", **values("A", "B", "Old")),
            field("Code__c", length=40),
            field("Size__c", "double", precision=10, scale=2),
            field("Need__c", length=20),
            field("Twice__c", length=20),
            field("Gone__c", length=30, label="Gone"),
            field("Open__c", "boolean"),
            field("Mood__c", "picklist", **values("good", "bad")),
            field("Account__c", "reference", referenceTo=["Account"]),
        ],
    },
    "Visit__c": {
        "fields": [
            field("Project__c", "reference", referenceTo=["Project__c"]),
            field("Day__c", "date"),
            field("Notes__c", "textarea", length=5000),
        ]
    },
}
TARGET = {
    "Project__c": {
        "recordTypes": ["Small"],
        "fields": [
            RECORD_TYPE,
            field("Kind__c", "picklist", **values("A")),
            field("Code__c", length=5),
            field("Size__c", "double", precision=4, scale=0),
            field("Need__c", length=20, nillable=False),
            field("Twice__c", length=20, unique=True),
        ],
    },
}


def rows() -> DataSet:
    data = DataSet()
    data.add("Account", pl.DataFrame({"_ref": ["a"], "Name": ["A"]}))
    projects = {
        "_ref": ["p1", "p2"], "Name": ["P1", "P2"], "Kind__c": ["Old", "B"], "Code__c": ["c", "longer than five"],
        "Size__c": [1.25, 123456.5], "Need__c": ["n", None], "Twice__c": ["t", "t"], "Gone__c": ["g", None],
        "Open__c": [True, False], "Mood__c": ["good", None], "Account__c": ["a", None],
        "RecordTypeId": ["RecordType/Project__c.Small", "RecordType/Project__c.Big"],
    }  # fmt: skip
    data.add("Project__c", pl.DataFrame(projects))
    visits = {"_ref": ["v"], "Name": ["V"], "Project__c": ["p2"], "Day__c": ["2026-01-31"], "Notes__c": ["n" * 400]}
    data.add("Visit__c", pl.DataFrame(visits))
    return data


class Project:
    """A project folder with its two orgs."""

    def __init__(self, folder: Path, bench: Bench) -> None:
        self.folder, self.bench = folder, bench

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def change(self, side: str, name: str, column: str, **attributes: object) -> None:
        """Change a field of a running org."""
        org: LocalOrg = getattr(self.bench, side)
        item = org.schema[name]
        fields = tuple(replace(one, **attributes) if one.name == column else one for one in item.fields)  # type: ignore[arg-type]
        objects = [replace(one, fields=fields) if one.name == name else one for one in org.schema]
        org.change_schema(objects, org.schema.automation)

    def kinds(self, *arguments: str) -> set[tuple[str, str, str, str]]:
        answer = self.run("compare", "core", "--json", *arguments)
        found = json.loads(answer.stdout)["differences"]
        return {(item["severity"], item["kind"], item["field"], item["value"]) for item in found}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    base = {item.name: item for item in standard(("Account",))}
    made = []
    for name, objects in (("source", SOURCE), ("target", TARGET)):
        file = tmp_path / f"{name}-overlay.yaml"
        file.write_text(yaml.safe_dump({"objects": objects}))
        made.append(lay_over(file, base)[0].values())
    with (
        LocalOrg.create(tmp_path / "source", made[0], name="source", seed=11) as source,
        LocalOrg.create(tmp_path / "target", made[1], name="target", seed=22, is_sandbox=True) as target,
    ):
        apply(source, rows())
        with serving(tmp_path, source, target) as bench:
            templates = tmp_path / "templates"
            templates.mkdir()
            (templates / "core.yaml").write_text(TEMPLATE)
            (tmp_path / "orgs.yaml").rename(templates / "orgs.yaml")
            for side, client in (("SOURCE", bench.source_client), ("TARGET", bench.target_client)):
                credentials = client.config.credentials(client.alias)
                monkeypatch.setenv(f"{side}_PASSWORD", str(credentials.password))
                monkeypatch.setenv(f"{side}_TOKEN", str(credentials.security_token or ""))
            for name in ("ISYNC_TEMPLATES", "ISYNC_STORE", "ISYNC_ORGS", "COLUMNS"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("ISYNC_STORE", str(tmp_path / "store"))
            monkeypatch.chdir(tmp_path)
            yield Project(tmp_path, bench)


def test_a_package_makes_the_target_take_every_row(project: Project) -> None:
    assert project.kinds() == {
        ("blocks", "field length", "Code__c", ""),
        ("blocks", "field precision", "Size__c", ""),
        ("blocks", "field required", "Need__c", ""),
        ("blocks", "field unique", "Twice__c", ""),
        ("blocks", "field missing", "Gone__c", ""),
        ("blocks", "field missing", "Open__c", ""),
        ("blocks", "field missing", "Mood__c", ""),
        ("blocks", "field missing", "Account__c", ""),
        ("blocks", "picklist value", "Kind__c", "B"),
        ("loses data", "record type", "RecordTypeId", "Big"),
        ("blocks", "object missing", "", ""),
    }
    # The page and the table for people, filtered.
    shown = project.run("compare", "core", "--severity", "loses-data", "--html", "c.html", "--csv", "c.csv")
    assert shown.exit_code == LOSES, shown.output
    assert "Big" in shown.output
    assert "Code__c" not in shown.output
    page = Path("c.html").read_text()
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "http" not in page
    with Path("c.csv").open() as file:
        assert [row["value"] for row in csv.DictReader(file)] == ["Big"]
    # The package, as files that a deploy from source takes, and into the org.
    before = project.bench.target.schema["Project__c"]
    written = project.run("compare", "core", "--package", "sfdx")
    assert written.exit_code == 0, written.output
    tree = read_source(Path("sfdx"), base={"Project__c": before})
    assert {"Gone__c", "Open__c", "Mood__c", "Account__c"} <= {item.name for item in tree.objects["Project__c"].fields}
    assert tree.objects["Visit__c"].field("Notes__c") is not None
    assert Path("sfdx/force-app/main/default/permissionsets/Isync_Migration.permissionset-meta.xml").is_file()
    checked = project.run("compare", "core", "--deploy", "--check-only", "--yes")
    assert checked.exit_code == 0, checked.output
    assert project.bench.target.schema["Project__c"].field("Gone__c") is None
    refused = project.run("compare", "core", "--deploy")  # nobody says yes
    assert refused.exit_code == 1
    assert project.bench.target.schema["Project__c"].field("Gone__c") is None
    deployed = project.run("compare", "core", "--deploy", "--yes")
    assert deployed.exit_code == 0, deployed.output
    assert project.kinds("--with-data") == set()
    assert project.run("compare", "core", "--with-data").exit_code == 0
    assert load_snapshot(Path("templates/orgs"), "target").object("Visit__c").field("Day__c") is not None
    assigned = project.bench.target_client.query("SELECT PermissionSet.Name FROM PermissionSetAssignment")
    assert "Isync_Migration" in assigned["PermissionSet.Name"].to_list()
    # And the migration runs.
    plan = project.bench.plan(load_template(Path("templates/core.yaml")))
    (summary,) = project.bench.run(plan)
    assert summary.kept
    projects = project.bench.target.table("Project__c").sort("Name")
    assert projects["Code__c"].to_list() == ["c", "longer than five"]
    assert projects["Kind__c"].to_list() == ["A", "B"]
    assert [float(size) for size in projects["Size__c"]] == [1.25, 123456.5]
    assert project.bench.target.table("Visit__c")["Notes__c"].to_list() == ["n" * 400]
    # What no query tells, the extract of that run does.
    project.change("target", "Project__c", "Code__c", length=8)
    answer = json.loads(project.run("compare", "core", "--json").stdout)
    assert answer["counted_by"] == {"Project__c": "extract of run all 1"}
    assert [(item["severity"], item["field"], item["rows"]) for item in answer["differences"]] == [
        ("blocks", "Code__c", 1)
    ]


def test_a_patch_is_shown_first_and_keeps_the_text(project: Project) -> None:
    target = project.bench.target
    renamed = target.schema["Project__c"]
    twin = replace(renamed.fields[-1], name="Lost__c", label="Gone", length=30, unique=False)
    project.bench.target.change_schema(
        [item if item.name != "Project__c" else replace(item, fields=(*item.fields, twin)) for item in target.schema],
        target.schema.automation,
    )
    shown = project.run("compare", "core", "--resolve", "--object", "Project__c")
    assert shown.exit_code == 0, shown.output
    assert Path("templates/core.yaml").read_text() == TEMPLATE
    patch = yaml.safe_load(Path("templates/patches/core.patch.yaml").read_text())["objects"]["Project__c"]
    assert patch["fields"] == {"Gone__c": "Lost__c"}
    assert sorted(patch["exclude_fields"]) == ["Account__c", "Mood__c", "Open__c"]
    assert patch["picklists"] == {"Kind__c": {"B": ""}}
    assert "field length: the template cannot resolve it" in shown.output
    applied = project.run("compare", "core", "--apply", "--object", "Project__c")
    assert applied.exit_code == 0, applied.output
    text = Path("templates/core.yaml").read_text()
    for line in TEMPLATE.splitlines():
        assert line.split("#")[0].rstrip("} \n") in text
    assert text.count("#") == TEMPLATE.count("#")
    made = load_template(Path("templates/core.yaml")).objects["Project__c"]
    assert (made.picklists["Kind__c"], made.fields) == ({"Old": "A", "B": ""}, {"Gone__c": "Lost__c"})
    left = project.kinds("--object", "Project__c")
    assert {kind for _, kind, _, _ in left} == {
        "field length", "field precision", "field required", "field unique", "record type",
    }  # fmt: skip


def test_drift_and_any_objects_of_two_orgs(project: Project) -> None:
    assert project.run("orgs", "snapshot", "target", "--objects", "Account,Project__c").exit_code == 0
    same = project.run("orgs", "drift", "target")
    assert (same.exit_code, "No difference" in same.output) == (0, True), same.output
    project.change("target", "Project__c", "Need__c", length=10)
    drifted = project.run("orgs", "drift", "target", "--json")
    assert drifted.exit_code == BLOCKS
    (found,) = json.loads(drifted.stdout)["differences"]
    assert (found["kind"], found["field"], found["target"]) == ("field length", "Need__c", "10 characters")
    raw = project.run("compare", "--source", "source", "--target", "target", "--objects", "Account,Visit__c", "--json")
    assert raw.exit_code == BLOCKS, raw.output
    (missing,) = json.loads(raw.stdout)["differences"]
    assert (missing["kind"], missing["object"], missing["rows"]) == ("object missing", "Visit__c", 1)
    alike = project.run("compare", "--source", "source", "--target", "target", "--objects", "Account")
    assert alike.exit_code == 0, alike.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Say what to compare"),
        (("core", "--source", "source"), "not both"),
        (("nope",), "There is no template 'nope'"),
        (("core", "--severity", "bad"), "It takes blocks, loses data, cosmetic"),
        (("core", "--kind", "field lenght"), "did you mean 'field length'"),
        (("core", "--snapshots", "--with-data"), "take one of them"),
        (("--source", "a", "--target", "b", "--all", "--resolve"), "name it"),
        (("core", "--snapshots"), "There is no describe snapshot"),
    ],
)
def test_bad_input_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "core.yaml").write_text(TEMPLATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ISYNC_TEMPLATES", raising=False)
    answer = CliRunner().invoke(app, ["compare", *arguments])
    assert answer.exit_code == 2, answer.output
    assert words in " ".join(answer.output.split())
