from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import StoreError
from isync_dagster.store import files
from isync_dagster.store.idmap import COLUMNS, IdMap
from isync_dagster.store.store import Store
from isync_dagster_tests.store import racing
from isync_dagster_tests.store.conftest import SOURCE, TARGET

WAVE_1 = ("demo", "wave1", 1)
WAVE_2 = ("demo", "wave2", 1)


@pytest.fixture
def idmap(store: Store) -> IdMap:
    return store.idmap(SOURCE, TARGET)


def pairs(**ids: str) -> pl.DataFrame:
    """A frame source id -> target id."""
    return pl.DataFrame(
        {"source_id": list(ids), "target_id": list(ids.values()), "how": ["inserted"] * len(ids)},
        schema={"source_id": pl.String, "target_id": pl.String, "how": pl.String},
    )


def sources(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"source_id": list(ids)}, schema={"source_id": pl.String})


def known(idmap: IdMap, object: str = "Account") -> dict[str, str]:
    return dict(idmap.read(object).select("source_id", "target_id").collect().iter_rows())


def test_an_empty_map_has_its_columns(idmap: IdMap) -> None:
    for frame in (idmap.read("Account"), idmap.read_many([]).drop("object"), idmap.reverse([]).select(*COLUMNS)):
        assert frame.collect().height == 0
        assert frame.collect_schema() == COLUMNS
    assert idmap.objects() == []


def test_rows_carry_where_they_came_from(store: Store) -> None:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    idmap = Store.open(str(store.root), clock=lambda: now).idmap(SOURCE, TARGET)
    frame = pairs(a="x").with_columns(row_hash=pl.lit(7, dtype=pl.UInt64), more=pl.lit("left out"))
    assert idmap.append("Account", "Firm__c", frame.lazy(), *WAVE_1, "load-1") == 1
    assert idmap.read("Account").collect().rows(named=True) == [
        {
            "source_id": "a",
            "target_id": "x",
            "target_object": "Firm__c",
            "how": "inserted",
            "row_hash": "7",
            "template": "demo",
            "phase": "wave1",
            "run": 1,
            "at": now,
        }
    ]


def test_the_newest_row_wins_whatever_the_clocks_say(idmap: IdMap) -> None:
    now = datetime(2024, 5, 1, tzinfo=UTC)
    idmap.append("Account", "Account", pairs(a="old", b="old"), *WAVE_1, "load-1", now)
    idmap.append("Account", "Account", pairs(a="new"), *WAVE_2, "load-1", now - timedelta(days=900))
    assert known(idmap) == {"a": "new", "b": "old"}


def test_a_repeat_takes_its_own_place_and_overrules_nothing(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1", b="1"), *WAVE_1, "load-1")
    idmap.append("Account", "Account", pairs(a="2"), *WAVE_1, "load-2")
    idmap.append("Account", "Account", pairs(a="1", b="1"), *WAVE_1, "load-1")
    assert known(idmap) == {"a": "2", "b": "1"}
    assert len(idmap.parts("Account")) == 2


def test_part_names_of_different_jobs_do_not_meet(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1"), "a.b", "c", 1, "load-1")
    idmap.append("Account", "Account", pairs(b="2"), "a", "b.c", 1, "load-1")
    assert known(idmap) == {"a": "1", "b": "2"}


def test_tombstones_remove_and_a_later_row_brings_back(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1", b="1"), *WAVE_1, "load-1")
    idmap.tombstone("Account", sources("a"), "rolled back", *WAVE_1, "rollback-1")
    assert known(idmap) == {"b": "1"}
    idmap.append("Account", "Account", pairs(a="2"), *WAVE_2, "load-1")
    assert known(idmap) == {"a": "2", "b": "1"}
    assert idmap.history("Account").filter(pl.col("gone") == "rolled back").collect().height == 1


def test_within_one_run_a_tombstone_and_its_successor_keep_their_order(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(b="1"), *WAVE_1, "matched")
    idmap.tombstone("Account", sources("a"), "deleted", *WAVE_1, "remap")
    idmap.append("Account", "Account", pairs(a="2"), *WAVE_1, "load-1")
    assert known(idmap) == {"a": "2", "b": "1"}


def test_objects_and_org_pairs_are_apart(idmap: IdMap, store: Store) -> None:
    idmap.append("Account", "Account", pairs(a="1"), *WAVE_1, "1")
    idmap.append("Contact", "Contact", pairs(c="1"), *WAVE_1, "1")
    assert known(idmap, "Contact") == {"c": "1"}
    assert idmap.objects() == ["Account", "Contact"]
    assert store.idmap(TARGET, SOURCE).objects() == []


def test_polymorphic_reading_names_the_object(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1"), *WAVE_1, "1")
    idmap.append("Contact", "Contact", pairs(c="2"), *WAVE_1, "1")
    found = idmap.read_many(["Account", "Contact", "Lead"]).collect()
    assert dict(found.select("source_id", "object").iter_rows()) == {"a": "Account", "c": "Contact"}


def test_the_reverse_names_every_source(idmap: IdMap) -> None:
    idmap.append("Account", "Firm__c", pairs(a="1", b="1", c="2"), *WAVE_1, "1")
    idmap.append("Contact", "Contact", pairs(d="3"), *WAVE_1, "1")
    idmap.append("Account", "Firm__c", pairs(c="9"), *WAVE_2, "1")
    found = idmap.reverse().sort("source_id").collect()
    assert found.select("target_id", "source_id", "object").rows() == [
        ("1", "a", "Account"),
        ("1", "b", "Account"),
        ("9", "c", "Account"),
        ("3", "d", "Contact"),
    ]
    assert idmap.reverse(["Contact"]).collect().height == 1


@pytest.mark.parametrize("column", ["source_id", "target_id"])
def test_a_row_without_an_id_is_refused(idmap: IdMap, column: str) -> None:
    frame = pairs(a="1", b="2").with_columns(pl.when(pl.col("source_id") != "a").then(pl.col(column)).alias(column))
    with pytest.raises(StoreError, match=f"1 of 2 rows have no {column}"):
        idmap.append("Account", "Account", frame, *WAVE_1, "1")
    assert idmap.parts("Account") == []


def test_a_part_of_an_older_version_lacks_columns(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1"), *WAVE_1, "1")
    path = idmap.parts("Account")[0]
    files.write_parquet(path, files.scan(path).drop("row_hash").collect())
    assert idmap.read("Account").collect()["row_hash"].to_list() == [None]


def test_thousands_of_parts(local: Store) -> None:
    idmap = local.idmap(SOURCE, TARGET)
    idmap.append("Account", "Account", pairs(a="0", b="0"), *WAVE_1, "0")
    first = idmap.parts("Account")[0]
    frame = pl.read_parquet(first.path)
    for number in range(2, 2001):
        part = frame.with_columns(
            pl.lit(number, dtype=pl.Int64).alias("_sequence"),
            pl.lit(str(number)).alias("target_id"),
            pl.Series("source_id", ["a", f"x{number}"]),
        )
        part.write_parquet(Path(first.parent.path) / f"p{number}.{number:08d}.parquet")
    found = known(idmap)
    assert len(found) == 2001
    assert (found["a"], found["b"], found["x77"]) == ("2000", "0", "77")


def test_reading_asks_only_for_what_is_used(idmap: IdMap) -> None:
    idmap.append("Account", "Account", pairs(a="1"), *WAVE_1, "1")
    plan = idmap.read("Account").select("source_id", "target_id").explain()
    assert "row_hash" not in plan
    assert "template" not in plan


def test_workers_add_at_once(shared: Store) -> None:
    added = racing.race(racing.append_parts, 3, str(shared.root), SOURCE, TARGET, 10)
    assert added == [10, 10, 10]
    assert len(known(shared.idmap(SOURCE, TARGET))) == 30


def test_tombstones_say_what_is_gone_and_why(idmap: IdMap) -> None:
    assert not idmap.has_tombstones("Account")
    idmap.append("Account", "Account", pairs(a="x", b="y"), *WAVE_1, "load-1")
    gone = sources("a", "b").with_columns(target_id=pl.Series(["x", "y"]))
    idmap.tombstone("Account", gone, "merged", *WAVE_2, "merged")
    idmap.append("Account", "Account", pairs(b="z"), *WAVE_2, "followed")
    assert idmap.has_tombstones("Account")
    left = idmap.tombstones("Account").select("source_id", "target_id", "gone", "phase").collect()
    assert left.rows() == [("a", "x", "merged", "wave2")]
    assert known(idmap) == {"b": "z"}


class TestWhatIsAskedForWithoutReadingAll:
    """The questions that runs ask of a map of millions of rows answer as a look at every row would."""

    def test_a_map_is_empty_while_no_record_has_a_counterpart(self, idmap: IdMap) -> None:
        assert idmap.is_empty("Account")
        idmap.append("Account", "Account", pairs(a="x"), *WAVE_1, "load-1")
        assert not idmap.is_empty("Account")
        idmap.tombstone("Account", sources("a"), "deleted", *WAVE_1, "x")
        assert idmap.is_empty("Account")
        idmap.append("Account", "Account", pairs(a="y"), *WAVE_2, "load-1")
        assert not idmap.is_empty("Account")

    def test_others_are_runs_that_wrote_before(self, idmap: IdMap) -> None:
        assert not idmap.has_others("Account", *WAVE_1)
        idmap.append("Account", "Account", pairs(a="x"), *WAVE_1, "load-1")
        assert not idmap.has_others("Account", *WAVE_1)
        assert idmap.has_others("Account", *WAVE_2)

    def test_records_are_found_by_how_they_are_mapped_now(self, idmap: IdMap) -> None:
        merged = pairs(a="x", b="y", c="z").with_columns(how=pl.lit("merged"))
        idmap.append("Account", "Account", merged, *WAVE_1, "followed")
        idmap.append("Account", "Account", pairs(b="w"), *WAVE_2, "load-1")
        idmap.tombstone("Account", sources("c"), "deleted", *WAVE_2, "x")
        assert idmap.found("Account", "merged").collect()["source_id"].to_list() == ["a"]

    def test_missing_are_those_whose_counterpart_now_is_not_there(self, idmap: IdMap) -> None:
        idmap.append("Account", "Account", pairs(a="x", b="gone", c="gone", d="gone"), *WAVE_1, "load-1")
        idmap.append("Account", "Account", pairs(b="y"), *WAVE_2, "load-1")
        idmap.tombstone("Account", sources("d"), "deleted", *WAVE_2, "x")
        there = pl.LazyFrame({"Id": ["x", "y"]})
        assert idmap.missing("Account", there).collect()["source_id"].to_list() == ["c"]

    def test_target_objects_are_all_that_ever_were(self, idmap: IdMap) -> None:
        assert idmap.target_objects("Account") == []
        idmap.append("Account", "Firm__c", pairs(a="x"), *WAVE_1, "load-1")
        idmap.append("Account", "Account", pairs(b="y"), *WAVE_2, "load-1")
        assert idmap.target_objects("Account") == ["Account", "Firm__c"]

    def test_since_tells_who_has_another_counterpart(self, idmap: IdMap) -> None:
        assert idmap.sequence("Account") == 0
        idmap.append("Account", "Account", pairs(a="x", b="y", c="z", d="w"), *WAVE_1, "load-1")
        idmap.tombstone("Account", sources("d"), "deleted", *WAVE_1, "x")
        looked = idmap.sequence("Account")
        assert idmap.since("Account", looked) is None
        # The same once more, another one, a new one, one that is gone, one that is back.
        idmap.append("Account", "Account", pairs(a="x", b="other", e="v", d="w"), *WAVE_2, "load-1")
        idmap.tombstone("Account", sources("c"), "deleted", *WAVE_2, "x")
        changed = idmap.since("Account", looked)
        assert changed is not None
        assert sorted(changed.collect()["source_id"]) == ["b", "c", "d", "e"]
        everything = idmap.since("Account", -1)
        assert everything is not None
        assert sorted(everything.collect()["source_id"]) == ["a", "b", "c", "d", "e"]
