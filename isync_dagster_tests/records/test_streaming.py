"""The pipeline of this room runs in the streaming engine, with no step that holds whole columns by accident."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.records.decide import decide, target_fields
from isync_dagster.records.findings import find
from isync_dagster.records.match import match
from isync_dagster.records.order import load_order
from isync_dagster.records.pairing import pair
from isync_dagster.records.payload import insert_payload, update_payload
from isync_dagster.records.remap import resolve
from isync_dagster.records.transform import transform
from isync_dagster.records.typing import lossy_cells, typed, wire
from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field, PicklistValue
from isync_dagster.schema.types import schema
from isync_dagster_tests.records.builders import key, lookup, mapping, object_plan

KINDS = sorted(TEXT_TYPES | NUMBER_TYPES | {"id", "reference", "boolean", "int", "date", "datetime", "time"})
FIELDS = [Field(kind, type=kind, precision=18, scale=2, length=80) for kind in KINDS]
RESTRICTED = Field(
    "picklist", type="picklist", restricted_picklist=True, picklist_values=(PicklistValue("A"),), length=80
)
PLAN = object_plan(
    fields=(
        *(mapping(field) for field in FIELDS if field.type not in ("id", "reference", "picklist")),
        mapping(RESTRICTED, None, Old="New", Gone=""),
        mapping(Field("date", type="date"), Field("DateAsText")),
        mapping(Field("string"), Field("TextAsNumber", type="double")),
    ),
    lookups=(
        lookup("AccountId", "Account", source="reference"),
        lookup("B", "Account", source="reference", deferred=True),
    ),
    match_key=key("string", "email"),
    migration_key="Legacy__c",
)


def nodes(frame: pl.LazyFrame) -> set[str]:
    """The kinds of node in the physical plan."""
    graph = frame.show_graph(plan_stage="physical", engine="streaming", raw_output=True, show=False)
    assert graph is not None
    return {label.split("\\n")[0] for label in re.findall(r'label="([^"]*)', graph)}


HOLDING = ("columnar-function", "in-memory-join", "in-memory-map")


def assert_streams(frame: pl.LazyFrame, holding: tuple[str, ...] = HOLDING) -> None:
    found = nodes(frame)
    assert found
    assert not {node for node in found if node.startswith(holding)}


@pytest.fixture
def raw(tmp_path: Path) -> pl.LazyFrame:
    path = tmp_path / "raw.parquet"
    pl.DataFrame(schema={"Id": pl.String, **{field.name: pl.String for field in FIELDS}}).write_parquet(path)
    return pl.scan_parquet(path)


def stored(tmp_path: Path, name: str, frame: pl.DataFrame) -> pl.LazyFrame:
    frame.write_parquet(tmp_path / name)
    return pl.scan_parquet(tmp_path / name)


def test_the_check_sees_a_step_that_does_not_stream(raw: pl.LazyFrame) -> None:
    with pytest.raises(AssertionError):
        assert_streams(raw.with_columns(pl.col("string").replace({"a": "b"})))


def test_typing(raw: pl.LazyFrame) -> None:
    assert_streams(typed(raw, FIELDS))
    assert_streams(wire(typed(raw, FIELDS), FIELDS))
    assert_streams(lossy_cells(raw, FIELDS))


def test_from_extract_to_payload(raw: pl.LazyFrame, tmp_path: Path) -> None:
    transformed = transform(typed(raw, FIELDS), PLAN)
    assert_streams(find(transformed, PLAN))
    pairs = stored(tmp_path, "map.parquet", pl.DataFrame(schema={"source_id": pl.String, "target_id": pl.String}))
    target = stored(tmp_path, "target.parquet", pl.DataFrame(schema={"Id": pl.String, **schema(target_fields(PLAN))}))
    failed = stored(tmp_path, "failed.parquet", pl.DataFrame(schema={"source_id": pl.String, "reason": pl.String}))
    decided = decide(
        match(resolve(transformed, PLAN.lookups, lambda _: pairs, failed_parents=failed), PLAN, pairs, target),
        PLAN,
        target,
    )
    assert_streams(decided)
    ordered = load_order(decided, PLAN)
    assert_streams(insert_payload(ordered, PLAN))
    assert_streams(update_payload(ordered, PLAN))


def test_pairing(tmp_path: Path) -> None:
    sent = stored(tmp_path, "sent.parquet", pl.DataFrame(schema={"_row": pl.UInt32, "A": pl.String, "B": pl.String}))
    results = stored(
        tmp_path, "results.parquet", pl.DataFrame(schema={"sf__Id": pl.String, "B": pl.String, "A": pl.String})
    )
    paired = pair(sent, results)
    for frame in (paired.rows, paired.unpaired, paired.unanswered):
        # To explode two columns side by side holds them: results without values, of one job.
        assert_streams(frame, HOLDING[:2])
