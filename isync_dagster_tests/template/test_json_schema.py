from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from isync_dagster.template.json_schema import SCHEMA_FILE, json_schema


def test_the_shipped_schema_is_current() -> None:
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == json_schema(), (
        "write it anew with isync_dagster.template.json_schema.write_schema()"
    )


def test_every_key_has_a_description_and_no_block_takes_others() -> None:
    schema = json_schema()
    for name, block in [("Template", schema), *schema["$defs"].items()]:
        if "properties" in block:
            assert block["additionalProperties"] is False, name
            for key, entry in block["properties"].items():
                named = schema["$defs"].get(entry.get("$ref", "").removeprefix("#/$defs/"), {})
                assert entry.get("description") or named.get("description"), f"{name}.{key}"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = json_schema()
    assert {ref.removeprefix("#/$defs/") for ref in references(schema)} <= schema["$defs"].keys()
    assert schema["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
