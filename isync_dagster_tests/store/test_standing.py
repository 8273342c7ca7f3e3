"""How a log stands is worked out once, and anew when it was written to."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from upath import UPath

from isync_dagster.store import audit, files
from isync_dagster.store.audit import STANDING, AuditLog
from isync_dagster.store.remembered import Remembered


def rows(stage: str, *given: tuple[str, str, str | None]) -> pl.DataFrame:
    """(source id, state, code) as rows of a stage."""
    frame = pl.DataFrame(
        list(given), schema={"source_id": pl.String, "state": pl.String, "code": pl.String}, orient="row"
    )
    return frame.with_columns(stage=pl.lit(stage), attempt=pl.lit(1), at=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.fixture
def log(root: UPath) -> AuditLog:
    return AuditLog(root / "audit" / "Account")


def test_an_empty_log_stands_empty(log: AuditLog) -> None:
    assert log.standing().schema == STANDING
    assert log.states() == {}


def test_the_last_stage_counts_and_a_later_part_is_seen(log: AuditLog) -> None:
    log.append("remap", rows("remap", ("a", "pending", None), ("b", "pending", None), ("c", "identical", None)))
    assert log.states() == {"identical": 1, "pending": 2}
    log.append("load", rows("load", ("a", "inserted", None), ("b", "failed", "DUPLICATE_VALUE")))
    assert log.states() == {"failed": 1, "identical": 1, "inserted": 1}
    failed = log.standing().row(by_predicate=pl.col("state") == "failed", named=True)
    assert (failed["code"], failed["rows"], failed["source_id"]) == ("DUPLICATE_VALUE", 1, "b")


def test_a_part_that_another_process_wrote_anew_is_seen(log: AuditLog) -> None:
    log.append("load", rows("load", ("a", "failed", "UNABLE_TO_LOCK_ROW")))
    assert log.states() == {"failed": 1}
    other = AuditLog(log.folder.parent / "Other")
    other.append("load", rows("load", ("a", "inserted", None), ("b", "inserted", None)))
    files.copy(other.folder / "load.parquet", log.folder / "load.parquet")
    assert log.states() == {"inserted": 2}


def test_a_part_that_is_written_anew_is_seen(log: AuditLog) -> None:
    log.append("load", rows("load", ("a", "failed", "UNABLE_TO_LOCK_ROW")))
    assert log.states() == {"failed": 1}
    log.append("load", rows("load", ("a", "failed", "UNABLE_TO_LOCK_ROS")))
    assert log.standing()["code"].to_list() == ["UNABLE_TO_LOCK_ROS"]


def test_a_long_log_is_told_apart_in_parts(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"record {number}" for number in range(50)]
    log.append("remap", rows("remap", *((name, "pending", None) for name in ids)))
    refused = (f"CODE_{number % 3}" for number in range(20))
    log.append("load", rows("load", *((name, "failed", code) for name, code in zip(ids, refused, strict=False))))
    counts = ["state", "code", "fields", "rows"]
    whole = AuditLog(log.folder).standing().select(counts)
    monkeypatch.setattr(audit, "ROWS_AT_ONCE", 9)
    monkeypatch.setattr(audit, "_standing", Remembered[pl.DataFrame]())
    apart = AuditLog(log.folder).standing()
    assert apart.select(counts).equals(whole)
    assert apart.schema == STANDING
    assert apart["rows"].sum() == len(ids)


def test_some_rows_are_those_that_count(log: AuditLog) -> None:
    log.append("remap", rows("remap", ("a", "pending", None), ("b", "pending", None)))
    log.append("load", rows("load", ("a", "inserted", None), ("b", "inserted", None)))
    found = log.some(1).collect()
    assert found["state"].to_list() == ["inserted"]
