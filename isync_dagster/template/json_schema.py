"""The JSON schema of a template, for completion and checks in editors.

A template names it in its first line: `# yaml-language-server: $schema=...`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from isync_dagster.template.models import Template

SCHEMA_FILE = Path(__file__).with_name("template.schema.json")
"""The schema as it is shipped."""


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a template file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Template.model_json_schema()}


def write_schema(file: Path = SCHEMA_FILE) -> None:
    """Write the schema to a file, as it is shipped."""
    file.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
