"""Whatever a path holds, schema and rows come out of it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, DataError
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.sources import data_from, schema_from
from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard

FIELD = """<CustomField xmlns="http://soap.sforce.com/2006/04/metadata"><fullName>Seats__c</fullName>
<type>Number</type><precision>4</precision><scale>0</scale></CustomField>"""


@pytest.fixture
def schema() -> OrgSchema:
    return OrgSchema(standard(["Account", "Contact"]))


def test_source_metadata_lies_over_describes_read_before(tmp_path: Path) -> None:
    fields = [{"name": "Name", "type": "string", "nillable": False}, {"name": "Own__c", "type": "date", "nillable": True},
              {"name": "BookId", "type": "reference", "nillable": True, "referenceTo": ["Pricebook2"]}]  # fmt: skip
    (tmp_path / "Account.json").write_text(json.dumps({"name": "Account", "fields": fields}))
    place = tmp_path / "force-app" / "objects" / "Account" / "fields"
    place.mkdir(parents=True)
    (place / "Seats__c.field-meta.xml").write_text(FIELD)
    found = {item.name: item for item in schema_from([tmp_path / "Account.json", tmp_path / "force-app"])}
    assert {"Own__c", "Seats__c"} <= set(found["Account"].by_name)
    assert set(found) == {*SETUP_OBJECTS, "Account", "Pricebook2"}
    with pytest.raises(ConfigError, match="does not exist"):
        schema_from([tmp_path / "nowhere"])


def test_each_form_of_data_is_recognised(tmp_path: Path, schema: OrgSchema) -> None:
    record = {"attributes": {"type": "Account", "referenceId": "A"}, "Name": "Acme"}
    (tmp_path / "Account.json").write_text(json.dumps({"records": [record]}))
    (tmp_path / "plan.json").write_text(json.dumps([{"sobject": "Account", "files": ["Account.json"]}]))
    (tmp_path / "d.sql").write_text('CREATE TABLE "Account" (id, "Name"); INSERT INTO "Account" VALUES (1, \'Acme\');')
    (tmp_path / "a.mapping.yml").write_text("A: {sf_object: Account, fields: [Name]}")
    project, tables = tmp_path / "project", tmp_path / "tables"
    for folder in (project, tables):
        folder.mkdir()
        (folder / "Account.csv").write_text("Name\nAcme\n")
    (project / "export.json").write_text(json.dumps({"objects": [{"query": "SELECT Name FROM Account"}]}))
    for path in ("Account.json", "plan.json", "d.sql", "project", "tables"):
        frame = data_from(tmp_path / path, schema).frames["Account"]
        assert frame.select(pl.col("Name")).rows() == [("Acme",)], path


def test_what_is_no_data_set_is_named(tmp_path: Path, schema: OrgSchema) -> None:
    with pytest.raises(DataError, match=r"notes\.txt is no data set"):
        data_from(tmp_path / "notes.txt", schema)
    (tmp_path / "d.sql").write_text("")
    with pytest.raises(DataError, match="needs its mapping: 0 files"):
        data_from(tmp_path / "d.sql", schema)
