"""The rooms of the package and who may import whom (docs/architecture.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import isync_dagster

PACKAGE = Path(isync_dagster.__file__).parent

MAY_IMPORT = {
    "template": {"schema", "errors"},
    "schema": {"errors"},
    "plan": {"schema", "template", "errors"},
    "records": {"schema", "template", "plan", "errors"},
    "salesforce": {"schema", "errors"},
    "store": {"errors"},
    "report": {"migration", "store", "errors"},
    "migration": {"template", "schema", "plan", "records", "salesforce", "store", "report", "errors"},
    "local_org": {"schema", "errors"},
    "assets": {"template", "schema", "plan", "records", "salesforce", "store", "migration", "report", "errors"},
}
NO_LIBRARY = {
    "template": {"dagster", "simple_salesforce", "requests", "polars", "duckdb"},
    "plan": {"dagster", "simple_salesforce", "requests", "polars", "duckdb"},
    "schema": {"dagster", "simple_salesforce", "requests", "duckdb"},
    "records": {"dagster", "simple_salesforce", "requests", "duckdb"},
    "salesforce": {"dagster", "duckdb"},
    "store": {"dagster", "simple_salesforce", "requests", "duckdb"},
    "migration": {"dagster", "simple_salesforce", "duckdb"},
    "local_org": {"dagster", "simple_salesforce"},
}


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file names in an import, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_a_room_imports_only_the_rooms_below_it(room: str) -> None:
    wrong = []
    for path in files_of(room):
        for name in imports_of(path):
            parts = name.split(".")
            if (
                parts[0] == "isync_dagster"
                and len(parts) > 1
                and parts[1] not in {*MAY_IMPORT[room], room, "__version__"}
            ):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("room", sorted(NO_LIBRARY))
def test_a_room_keeps_out_the_libraries_of_others(room: str) -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in files_of(room)
        for name in imports_of(path)
        if name.split(".")[0] in NO_LIBRARY[room]
    ]
    assert wrong == []


def test_every_room_has_files() -> None:
    assert all(len(files_of(room)) > 1 for room in MAY_IMPORT)
