"""What a run has sent is not compared by the next one, where the run's own stamps are all there are; else it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from isync_dagster.migration import carried
from isync_dagster.migration import left as left_module
from isync_dagster.migration.carried import taken_from
from isync_dagster.migration.checks import verify_target
from isync_dagster.migration.closing import stamps_folder
from isync_dagster.migration.extract import extract
from isync_dagster.migration.finish import finish
from isync_dagster.migration.left import is_left, why_not_left
from isync_dagster.migration.load import load
from isync_dagster.migration.memory import Memory
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.relink import relink
from isync_dagster.migration.remap import remap, remapped
from isync_dagster.migration.slicing import part_name
from isync_dagster.migration.writing import release_all
from isync_dagster.store import files
from isync_dagster_tests.migration.world import (
    STAMPED,
    Migration,
    World,
    check,
    current,
    left_alone,
    migrate,
    send,
    some,
    template,
    together,
)

NAMES = ("Account", "Contact", "Node__c", "Alpha__c", "Beta__c")
OBJECTS = {
    # Kept as it is in the target, once it is there.
    "Alpha__c": {"update_existing": False, "match_key": ["Key__c"]},
    # Upserted by a key of the tool's own, where the others are inserted.
    "Account": {"migration_key": "Legacy__c"},
}
ROWS = 12
OTHER = "005000000000001AAA"


def recipe(**settings: Any) -> Any:
    return template(NAMES, OBJECTS, **settings)


def rows() -> Any:
    return together(
        some("Account", ROWS, ParentId=lambda n: f"a{n // 3}" if n else None),
        some("Contact", ROWS, AccountId=lambda n: f"a{n % 4}", Email="p@example.com"),
        some("Node__c", ROWS, Parent__c=lambda n: f"n{n // 3}" if n else None),
        some("Alpha__c", ROWS, Key__c=lambda n: f"al{n}", Beta__c=lambda n: f"b{n}"),
        some("Beta__c", ROWS, Alpha__c=lambda n: f"al{n}" if n % 2 else None),
    )


@pytest.fixture(scope="module")
def prepared(served_world: World) -> Callable[[], None]:
    """One run that inserted, or upserted, all of it."""
    served_world.reset(rows())
    left_alone(served_world.job(recipe()))
    return served_world.checkpoint()


@pytest.fixture
def world(served_world: World, prepared: Callable[[], None]) -> World:
    prepared()
    return served_world


@pytest.fixture(autouse=True)
def _released() -> Any:
    yield
    release_all()


def left(done: Migration) -> set[str]:
    """Objects that stood as they were left, and whose decisions were taken over."""
    run = current(done.job)
    found = {name for name in NAMES if is_left(run, done.job.object(name))}
    assert found == {name for name in NAMES if taken_from(done.job, run, name) is not None}
    return found


def why(done: Migration, name: str) -> str:
    return why_not_left(current(done.job), done.job.object(name))


def states(done: Migration) -> dict[str, dict[str, int]]:
    return {name: done.states(name) for name in NAMES}


UNCHANGED = {name: {"existing" if name == "Alpha__c" else "identical": ROWS} for name in NAMES}


def test_of_what_was_left_no_value_is_read_and_nothing_decided(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("worked out anew")

    for name in ("target._read_whole", "preflight._judged", "remap.write_decided", "relink._decide"):
        monkeypatch.setattr(f"isync_dagster.migration.{name}", never)
    done = migrate(world.job(recipe()))
    assert done.failed() == []
    assert left(done) == set(NAMES)
    assert states(done) == UNCHANGED
    assert done.verdicts["Contact", "fields"].text.endswith("Judged in run 1: nothing has changed since.")
    # What was inserted is none of this run's business where updates are off: its lookups are judged as kept.
    assert "Judged in run" not in done.verdicts["Alpha__c", "fields"].text
    assert done.summary is not None
    links = {item.object: dict(item.links) for item in done.summary.objects}
    assert set(links["Alpha__c"]) == {"kept"}
    assert links["Contact"]["linked"] >= ROWS


def test_it_is_what_a_run_decides_that_compares(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With levels, an upsert, a cycle, and an object that is left as it is."""
    back = world.checkpoint("both")
    back()
    done = migrate(world.job(recipe()))
    assert left(done) == set(NAMES)
    run = current(done.job)
    back()
    monkeypatch.setattr(carried, "_base", lambda *_: (None, ""))
    anew = migrate(world.job(recipe()))
    other = current(anew.job)
    for name in NAMES:
        frames = [remapped(one, name).sort("_source_id").collect().drop("_row") for one in (run, other)]
        assert_frame_equal(*frames, check_column_order=False)
        audits = [one.audit(name).latest().sort("source_id").collect().drop("at") for one in (run, other)]
        assert_frame_equal(*audits)
        late = [one.folder / "relink" / name / "part-00000.parquet" for one in (run, other)]
        if files.exists(late[0]):
            pair = [files.scan(path).sort("_source_id").collect().drop("_row") for path in late]
            assert_frame_equal(*pair, check_column_order=False)
    assert done.summary is not None and anew.summary is not None
    assert [(item.object, item.states, item.links) for item in done.summary.objects] == [
        (item.object, item.states, item.links) for item in anew.summary.objects
    ]
    for key, verdict in done.verdicts.items():
        assert (verdict.passed, verdict.numbers) == (anew.verdicts[key].passed, anew.verdicts[key].numbers), key


@pytest.mark.slow
def test_part_by_part_it_comes_to_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the log of an object does not fit a share of the memory; its rows are in several parts then."""
    back = world.checkpoint("both")
    frames = []
    for little in (False, True):
        back()
        job = world.job(recipe())
        base = current(job)
        for name in NAMES:
            place = base.remap_folder(name)
            whole = remapped(base, name).collect()
            for number, at in enumerate(range(0, ROWS, 5)):
                files.write_parquet(place / part_name(number), whole[at : at + 5])
        if little:
            monkeypatch.setattr(left_module, "memory", lambda: Memory(1))
        done = migrate(job)
        assert left(done) == set(NAMES)
        assert states(done) == UNCHANGED
        run = current(done.job)
        assert len([name for name in files.names(run.remap_folder("Contact")) if name.startswith("beside-")]) == 3
        frames.append({name: remapped(run, name).collect() for name in NAMES})
    for name in NAMES:
        assert_frame_equal(frames[0][name], frames[1][name])


@pytest.mark.slow
def test_from_run_to_run_until_something_changes(world: World) -> None:
    for number in (2, 3):
        done = migrate(world.job(recipe()))
        assert (current(done.job).number, left(done)) == (number, set(NAMES))
    assert done.verdicts["Contact", "fields"].text.endswith("Judged in run 1: nothing has changed since.")
    world.execute(
        "source", """UPDATE "Contact" SET "FirstName" = 'Other', "SystemModstamp" = now() WHERE "Key__c" = 'c3'"""
    )
    done = left_alone(world.job(recipe()))
    assert left(done) == set(NAMES) - {"Contact"}
    assert done.states("Contact") == {"identical": ROWS - 1, "updated": 1}
    assert world.values("target", "Contact", "FirstName")["c3"] == "Other"
    # What that run updated is left as it is, too.
    done = migrate(world.job(recipe()))
    assert left(done) == set(NAMES)
    assert states(done) == UNCHANGED
    assert done.failed() == []


def test_checks_alone_look_at_all_of_it(world: World) -> None:
    """Of a run that has compared nothing they compare every value, by the rows that it took over."""
    done = migrate(world.job(recipe()))
    assert left(done) == set(NAMES)
    found = check(world.job(recipe(), thorough=True))
    assert [key for key, verdict in found.items() if not verdict.passed] == []
    assert found["Contact", "fields"].numbers["compared records"] == ROWS
    assert "Judged in run" not in found["Contact", "fields"].text
    world.execute("target", """UPDATE "Contact" SET "Email" = 'x@example.com' WHERE "Key__c" = 'c3'""")
    found = check(world.job(recipe(), thorough=True))
    assert [key for key, verdict in found.items() if not verdict.passed] == [("Contact", "fields")]


# ── what keeps the next run from resting on it ───────────────────────────────────────────────────────────


def interrupted(world: World, happens: Callable[[SyncJob], None], at: str = "check") -> SyncJob:
    """A first run in the course of which something happens, before its checks (`check`) or before its end."""
    world.reset(rows())
    job = world.job(recipe())
    send(job)
    if at == "check":
        happens(job)
    check(job)
    if at != "check":
        happens(job)
    finish(job)
    return job


def saved(world: World, how: str) -> None:
    """A contact was saved, with no value of it another one."""
    world.execute("target", f"""UPDATE "Contact" SET {how} WHERE "Key__c" = 'c3'""")


@pytest.mark.parametrize(
    ("how", "at"),
    [
        pytest.param(f"\"LastModifiedById\" = '{OTHER}'", "check", id="by another user"),
        pytest.param(
            '"SystemModstamp" = "SystemModstamp" + INTERVAL 1 MINUTE',
            "check",
            id="by us while nothing was sent",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            f"\"LastModifiedById\" = '{OTHER}', \"SystemModstamp\" = now() AT TIME ZONE 'UTC'",
            "end",
            id="at the end",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_somebody_else_saved_meanwhile_is_compared(served_world: World, how: str, at: str) -> None:
    interrupted(served_world, lambda _: saved(served_world, how), at)
    done = migrate(served_world.job(recipe()))
    assert "Contact" not in left(done)
    told = why(done, "Contact")
    assert told == "somebody else saved records of it while run 1 was under way" or at == "end"
    assert told in (
        "somebody else saved records of it while run 1 was under way",
        "records of it were saved after its checks had read them",
        "records of it were saved or removed since run 1",
    )
    assert done.states("Contact") == {"identical": ROWS}


@pytest.mark.slow
def test_what_was_saved_after_its_check_had_looked_is_compared(served_world: World) -> None:
    """By us, while another object was being loaded: a roll-up, or a flow of the child's save. No check has seen it."""
    served_world.reset(rows())
    job = served_world.job(recipe())
    for name in NAMES:
        extract(job, name)
    preflight(job)
    for item in job.plan.objects_in(job.phase):
        remap(job, item.object)
        load(job, item.object)
        if item.object == "Account":
            relink(job, "Account")
            verify_target(job, "Account")
            time.sleep(2)
            sql = f"""UPDATE "Account" SET "Zip__c" = 'flow', {STAMPED} WHERE "Key__c" = 'a3'"""
            served_world.execute("target", sql)
    for item in job.plan.objects_in(job.phase):
        if item.object != "Account":
            if item.has_relink:
                relink(job, item.object)
            verify_target(job, item.object)
    time.sleep(3)
    finish(job)
    done = migrate(served_world.job(recipe()))
    assert left(done) == set(NAMES) - {"Account"}
    assert why(done, "Account") == "records of it were saved after its checks had read them"
    assert done.states("Account") == {"identical": ROWS - 1, "updated": 1}
    assert served_world.values("target", "Account", "Zip__c")["a3"] is None


def test_what_a_check_found_to_be_other_is_compared_and_sent(served_world: World) -> None:
    """A trigger of the target writes something else, with the stamp of our own save; by the next run it is switched off."""
    interrupted(served_world, lambda _: saved(served_world, "\"Email\" = 'trigger@example.com'"))
    done = migrate(served_world.job(recipe()))
    assert "Contact" not in left(done)
    assert why(done, "Contact") == "the check fields did not pass in run 1"
    assert done.states("Contact") == {"identical": ROWS - 1, "updated": 1}
    assert served_world.values("target", "Contact", "Email")["c3"] == "p@example.com"


@pytest.mark.parametrize(("seconds", "stands"), [pytest.param(3, True, marks=pytest.mark.slow), pytest.param(1, False)])
def test_what_may_have_been_saved_twice_within_a_second_is_compared(world: World, seconds: int, stands: bool) -> None:
    """Its stamp would be the one that the end of the run has seen, so many seconds later."""
    folder = stamps_folder(current(world.job(recipe())), "Contact")
    newest: datetime = files.scan(folder / "part-*.parquet").select(pl.col("SystemModstamp").max()).collect().item()
    noted = files.read_json(folder / "base.json")
    assert noted is not None
    files.write_json(folder / "base.json", {**noted, "since": newest + timedelta(seconds=seconds)})
    done = migrate(world.job(recipe()))
    assert ("Contact" in left(done)) == stands
    assert done.states("Contact") == {"identical": ROWS}


@pytest.mark.parametrize("what", ["SystemModstamp", pytest.param("LastModifiedById", marks=pytest.mark.slow)])
def test_an_object_that_does_not_tell_who_saved_it_is_compared(
    world: World, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    known = left_module.stamp_fields
    monkeypatch.setattr(left_module, "stamp_fields", lambda *args: tuple(f for f in known(*args) if f.name != what))
    done = migrate(world.job(recipe()))
    assert left(done) == set()
    assert why(done, "Contact") == "the object does not tell when and by whom a record was saved"
    assert states(done) == UNCHANGED


@pytest.mark.slow
def test_a_template_that_says_so_compares(served_world: World) -> None:
    served_world.reset(rows())
    left_alone(served_world.job(recipe(target_reads="whole")))
    done = migrate(served_world.job(recipe(target_reads="whole")))
    assert left(done) == set()
    assert why(done, "Contact") == "the template says `target_reads: whole`"
    assert states(done) == UNCHANGED


@pytest.mark.slow
def test_refused_rows_are_decided_anew(served_world: World) -> None:
    """And what stands beside them in other objects is not."""
    served_world.reset(rows())
    served_world.execute("source", """UPDATE "Contact" SET "LastName" = NULL WHERE "Key__c" = 'c3'""")
    settings = {"continue_on_error": True, "rejected_rows_threshold": 5}
    left_alone(served_world.job(recipe(**settings)), failing=True)
    done = migrate(served_world.job(recipe(**settings)))
    assert left(done) == set(NAMES) - {"Contact"}
    assert done.states("Contact") == {"failed": 1, "identical": ROWS - 1}
    run = current(done.job)
    noted = files.read_json(run.folder / "carried" / "Contact.json")
    assert noted is not None and noted["why"] == "run 1 sent rows of it"
