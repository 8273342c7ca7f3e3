from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from isync_dagster.errors import StoreError
from isync_dagster.store.audit import COLUMNS, AuditLog
from isync_dagster.store.store import Store
from isync_dagster_tests.store.conftest import JOB
from isync_dagster_tests.store.racing import T0


@pytest.fixture
def audit(store: Store) -> AuditLog:
    return store.runs(JOB).open_or_resume({}, "h", T0, "me").audit("Account")


def row(source_id: str, state: str, stage: str, attempt: int | None = 1, **more: object) -> pl.DataFrame:
    return pl.DataFrame([{"source_id": source_id, "state": state, "stage": stage, "attempt": attempt, **more}])


def latest(audit: AuditLog) -> dict[str, str]:
    return dict(audit.latest().select("source_id", "state").collect().iter_rows())


def test_an_empty_log_has_its_columns(audit: AuditLog) -> None:
    for frame in (audit.read(), audit.latest()):
        assert frame.collect().height == 0
        assert frame.collect_schema() == COLUMNS
    assert audit.parts() == []


def test_what_is_written_is_read(audit: AuditLog) -> None:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    frame = row("a", "failed", "load", fields=["Name", "Phone"], code="REQUIRED_FIELD_MISSING", at=at, chunk=3)
    assert audit.append("load-1", frame.lazy()) == 1
    found = audit.read().collect().row(0, named=True)
    assert (found["fields"], found["code"], found["at"], found["chunk"], found["target_id"]) == (
        "Name,Phone",
        "REQUIRED_FIELD_MISSING",
        at,
        3,
        None,
    )


def test_a_repeat_takes_its_own_place(audit: AuditLog) -> None:
    for _ in range(2):
        audit.append("load 1", row("a", "inserted", "load"))
    assert audit.read().collect().height == 1
    assert audit.parts() == ["load 1"]


def test_the_last_attempt_of_the_last_stage_counts(audit: AuditLog) -> None:
    audit.append("retry-2", row("a", "inserted", "retry-2"))
    audit.append("retry-1", row("a", "failed", "retry-1", attempt=4))
    audit.append("relink-1", row("a", "updated", "relink"))
    audit.append("load-2", pl.concat([row("a", "failed", "load", 9), row("b", "inserted", "load", 2)]))
    audit.append("load-1", pl.concat([row("a", "failed", "load", 1), row("b", "failed", "load", 1)]))
    audit.append("remap", row("c", "skipped", "remap", None))
    assert latest(audit) == {"a": "inserted", "b": "inserted", "c": "skipped"}


def test_at_equal_attempts_time_decides(audit: AuditLog) -> None:
    for day, state in ((2, "inserted"), (1, "failed")):
        audit.append(f"p{day}", row("a", state, "load", at=datetime(2024, 1, day, tzinfo=UTC)))
    assert latest(audit) == {"a": "inserted"}


def test_all_columns_of_latest_are_of_one_row(audit: AuditLog) -> None:
    audit.append("1", row("a", "failed", "load", 1, code="X", message="no"))
    audit.append("2", row("a", "inserted", "load", 2, target_id="t"))
    found = audit.latest().collect().row(0, named=True)
    assert (found["state"], found["target_id"], found["code"], found["message"]) == ("inserted", "t", None, None)


@pytest.mark.parametrize("column", ["source_id", "state", "stage"])
def test_a_row_must_say_what_and_where(audit: AuditLog, column: str) -> None:
    with pytest.raises(StoreError, match=f"1 of 1 rows have no {column}"):
        audit.append("1", row("a", "inserted", "load").drop(column))


def test_an_unknown_column_is_refused(audit: AuditLog) -> None:
    with pytest.raises(StoreError, match="no column colour"):
        audit.append("1", row("a", "inserted", "load", colour="red"))


def test_a_heal_counts_after_the_load_and_before_a_rollback(audit: AuditLog) -> None:
    audit.append("heal-1", row("a", "updated", "heal-1"))
    audit.append("load-1", row("a", "identical", "load", attempt=3))
    assert latest(audit) == {"a": "updated"}
    audit.append("rollback-1", row("a", "pending", "rollback-1"))
    assert latest(audit) == {"a": "pending"}


def test_the_latest_of_some_records(audit: AuditLog) -> None:
    for name in "abc":
        audit.append(f"load-{name}", row(name, "inserted", "load", target_id=f"t{name}"))
    some = pl.LazyFrame({"source_id": ["a", "c", "z"]})
    assert sorted(audit.latest(some).collect()["source_id"]) == ["a", "c"]
    assert audit.latest(where=pl.col("target_id") == "tb").collect()["source_id"].to_list() == ["b"]


def test_what_was_decided_alone_is_told_as_it_stands(audit: AuditLog) -> None:
    """It has each record once, so that a record that is in it twice shows; with what was sent the last row counts."""
    decided = pl.concat([row(name, "identical", "remap", attempt=0) for name in "aab"])
    audit.append("remap", decided)
    assert audit.states() == {"identical": 3}
    assert audit.latest(where=pl.col("source_id") == "b").collect().height == 1
    audit.append("load-1", row("a", "updated", "load"))
    assert latest(audit) == {"a": "updated", "b": "identical"}
    assert audit.states() == {"identical": 1, "updated": 1}
