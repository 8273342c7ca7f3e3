"""What a lookup with several kinds of parents is resolved by."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest

from isync_dagster.migration import decisions
from isync_dagster.migration.decisions import pairs_of
from isync_dagster.store.store import Store

AT = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE, TARGET = "00D000000000001EAA", "00D000000000002EAA"


def test_a_parent_with_two_counterparts_has_none(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    id_map = store.idmap(SOURCE, TARGET)
    for name, pairs in {
        "A__c": {"one": "x", "both": "y", "same": "s"},
        "B__c": {"two": "z", "both": "w", "same": "s"},
    }.items():
        rows = pl.DataFrame({"source_id": list(pairs), "target_id": list(pairs.values())})
        id_map.append(name, name, rows, "t", "p", 1, "1", AT)
    job = SimpleNamespace(store=store, plan=SimpleNamespace(source_org_id=SOURCE, target_org_id=TARGET))
    lookup = SimpleNamespace(parents=("A__c", "B__c"), others=(), references=())
    found = pairs_of(cast(Any, job), cast(Any, None), cast(Any, lookup)).sort("source_id").collect()
    assert found.rows() == [("one", "x"), ("same", "s"), ("two", "z")]


def test_an_id_map_alone_gives_one_counterpart_a_record_and_a_natural_key_none_where_it_gives_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join with the pairs must multiply no rows."""
    store = Store.open(str(tmp_path / "store"))
    id_map = store.idmap(SOURCE, TARGET)
    for number, pairs in enumerate([{"one": "x", "two": "y"}, {"two": "z"}]):
        rows = pl.DataFrame({"source_id": list(pairs), "target_id": list(pairs.values())})
        id_map.append("A__c", "A__c", rows, "t", "p", 1, str(number), AT)
    job = SimpleNamespace(store=store, plan=SimpleNamespace(source_org_id=SOURCE, target_org_id=TARGET))
    lookup = SimpleNamespace(parents=("A__c",), others=(), references=())
    found = pairs_of(cast(Any, job), cast(Any, None), cast(Any, lookup)).sort("source_id").collect()
    assert found.rows() == [("one", "x"), ("two", "z")]
    named = pl.LazyFrame({"source_id": ["u1", "u1", "u2"], "target_id": ["v1", "v9", "v2"]})
    monkeypatch.setattr(decisions, "reference_map", lambda *_: named)
    lookup = SimpleNamespace(parents=(), others=(), references=("User",))
    assert pairs_of(cast(Any, job), cast(Any, None), cast(Any, lookup)).collect().rows() == [("u2", "v2")]
