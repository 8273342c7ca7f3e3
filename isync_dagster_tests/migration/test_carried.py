"""What a repeat takes over from the run before is what it would have come to itself, and only where nothing has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from isync_dagster.errors import StoreError
from isync_dagster.migration import carried, extract, reading
from isync_dagster.migration.carried import taken_from
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.remap import remapped
from isync_dagster.migration.writing import release_all
from isync_dagster.store import files
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    current,
    forget_end,
    left_alone,
    migrate,
    some,
    template,
    together,
)

NAMES = ("Account", "Contact", "Part__c", "Alpha__c", "Beta__c", "Memo__c")
KEYS = {name: {"match_key": ["Key__c"]} for name in NAMES}
ROWS = 12
ALL = frozenset(NAMES)


def recipe(**settings: Any) -> Any:
    return template(NAMES, KEYS, **settings)


def age(world: World) -> None:
    """As if all that is in the target had been saved yesterday."""
    for name in NAMES:
        world.execute("target", f"""UPDATE "{name}" SET "SystemModstamp" = "SystemModstamp" - INTERVAL 1 DAY""")


@pytest.fixture(scope="module")
def prepared(served_world: World) -> dict[str, Callable[[], None]]:
    """Two runs: one that inserted (`sent`), one that found all as it was (`found`). Self references, a cycle, a missing parent, a
    polymorphic one."""
    world = served_world
    world.reset(
        together(
            some("Account", ROWS, ParentId=lambda n: f"a{n // 3}" if n else None),
            some("Contact", ROWS, AccountId=lambda n: f"a{n % 4}", Email="p@example.com"),
            some("Part__c", ROWS, Account__c=lambda n: f"a{n % 4}"),
            some("Alpha__c", ROWS, Key__c=lambda n: f"al{n}", Beta__c=lambda n: f"b{n}"),
            some("Beta__c", ROWS, Alpha__c=lambda n: f"al{n}" if n % 2 else None),
            some("Memo__c", ROWS, WhatId=lambda n: f"{'ac'[n % 2]}{n}"),
        )
    )
    done = left_alone(world.job(recipe()))
    sent = world.checkpoint("sent")
    sent()
    done = replace(done, job=world.job(recipe()))
    # The second reads it whole and compares.
    forget_end(done.job)
    age(world)
    assert migrate(world.job(recipe())).failed() == []
    return {"sent": sent, "found": world.checkpoint("found")}


@pytest.fixture
def twice(served_world: World, prepared: dict[str, Callable[[], None]]) -> World:
    """After the run that found all as it was."""
    prepared["found"]()
    return served_world


@pytest.fixture
def once(served_world: World, prepared: dict[str, Callable[[], None]]) -> World:
    """After the run that inserted, right after its end."""
    prepared["sent"]()
    return served_world


# ── what happens between two runs, and which objects keep their decisions ────────────────────────────────


def in_source(world: World, sql: str) -> None:
    world.execute("source", sql)


def nothing(world: World) -> None:
    pass


def source_saved(world: World) -> None:
    in_source(world, """UPDATE "Contact" SET "FirstName" = 'Other', "SystemModstamp" = now() WHERE "Key__c" = 'c3'""")


def source_touched(world: World) -> None:
    """No mapped value is another one, but the record was saved."""
    in_source(world, """UPDATE "Contact" SET "SystemModstamp" = now() WHERE "Key__c" = 'c3'""")


def source_deleted(world: World) -> None:
    in_source(world, """UPDATE "Part__c" SET "IsDeleted" = true WHERE "Key__c" = 'p3'""")


def source_orphaned(world: World) -> None:
    """A parent that rows of other objects point at leaves the scope: they still have its counterpart."""
    in_source(world, """UPDATE "Account" SET "IsDeleted" = true WHERE "Key__c" = 'a11'""")


def target_saved(world: World) -> None:
    record = world.ids("target", "Contact")["c3"]
    world.client("target").request("PATCH", f"sobjects/Contact/{record}", json={"Email": "other@example.com"})


def target_inserted(world: World) -> None:
    world.client("target").request("POST", "sobjects/Contact", json={"LastName": "Theirs", "Key__c": "theirs"})


def target_deleted(world: World) -> None:
    world.delete("Part__c", "p5")


def parent_deleted(world: World) -> None:
    """What points at it is read anew, and brings it back."""
    world.delete("Account", "a11")


def counterpart_declared_gone(world: World) -> None:
    """Another template has found that a counterpart is gone: a lookup that names it has no parent."""
    job = world.job(recipe())
    source = world.ids("source", "Beta__c")["b3"]
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    id_map.tombstone("Beta__c", pl.DataFrame({"source_id": [source]}), "deleted", "other", "all", 1, "x")


def unrelated_pair_added(world: World) -> None:
    """Another template has mapped a record that no row here names."""
    job = world.job(recipe())
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id)
    pair = pl.DataFrame({"source_id": ["001000000000XYZAAA"], "target_id": ["001000000000ABCAAA"]})
    id_map.append("Account", "Account", pair, "other", "all", 1, "x")


CASES: dict[Callable[[World], None], frozenset[str]] = {
    nothing: ALL,
    source_saved: ALL - {"Contact"},
    source_touched: ALL - {"Contact"},
    source_deleted: ALL - {"Part__c"},
    source_orphaned: ALL - {"Account"},
    target_saved: ALL - {"Contact"},
    target_inserted: ALL - {"Contact"},
    target_deleted: ALL - {"Part__c"},
    parent_deleted: frozenset({"Alpha__c", "Beta__c"}),
    # Alpha's lookup to it is one of the second pass, which is made anew.
    counterpart_declared_gone: ALL - {"Beta__c"},
    unrelated_pair_added: ALL,
}
SOON = {
    "found": (nothing, parent_deleted, counterpart_declared_gone),
    "sent": (parent_deleted,),
}
"""Those that every test run looks at, by what the run before did; the others are slow ones, all together."""


@pytest.mark.parametrize(
    ("before", "happened"),
    [
        pytest.param(before, case, id=f"{before}-{case.__name__}", marks=() if case in soon else pytest.mark.slow)
        for before, soon in SOON.items()
        for case in CASES
    ],
)
def test_a_repeat_that_takes_over_comes_to_the_same_as_one_that_decides_anew(
    request: pytest.FixtureRequest, before: str, happened: Callable[[World], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    twice: World = request.getfixturevalue({"found": "twice", "sent": "once"}[before])
    happened(twice)
    back = twice.checkpoint("both")
    back()
    done = migrate(twice.job(recipe()))
    run = current(done.job)
    assert {name for name in NAMES if taken_from(done.job, run, name) is not None} == CASES[happened]
    picture = {name: twice.picture("target", name) for name in NAMES}
    back()
    monkeypatch.setattr(carried, "_base", lambda *_: (None, ""))
    anew = migrate(twice.job(recipe()))
    other = current(anew.job)
    assert not any(taken_from(anew.job, other, name) for name in NAMES)
    compared(done, anew)
    assert picture == {name: twice.picture("target", name) for name in NAMES}


def compared(done: Migration, anew: Migration) -> None:
    run, other = current(done.job), current(anew.job)
    for name in NAMES:
        # What is inserted anew gets another id each time, and so do the lookups to it.
        taken = taken_from(done.job, run, name) is not None
        ids = [] if taken else ["_target_id", *(lookup.target.name for lookup in done.job.object(name).lookups)]
        decisions = [remapped(one, name).sort("_source_id").collect().drop("_row", *ids) for one in (run, other)]
        assert_frame_equal(*decisions, check_column_order=False)
        passing = ["at", "sent_at", "sf_job_id", *(["target_id"] if ids else [])]
        audits = [one.audit(name).latest().sort("source_id").collect().drop(passing) for one in (run, other)]
        assert_frame_equal(*audits)
        if files.exists(run.folder / "relink" / name / "part-00000.parquet"):
            late = [files.scan(one.folder / "relink" / name / "part-00000.parquet") for one in (run, other)]
            assert_frame_equal(
                *(frame.sort("_source_id").collect().drop("_row", *ids) for frame in late), check_column_order=False
            )
        found = [files.scan(one.folder / "preflight" / f"{name}.parquet").collect() for one in (run, other)]
        assert_frame_equal(*found, check_row_order=False)
    assert {key: verdict.passed for key, verdict in done.verdicts.items()} == {
        key: verdict.passed for key, verdict in anew.verdicts.items()
    }
    for key, verdict in done.verdicts.items():
        assert verdict.numbers == anew.verdicts[key].numbers, key
        assert verdict.run == run.number
    gates = [one.outcomes["", "preflight"] for one in (done, anew)]
    assert gates[0].numbers == gates[1].numbers
    assert sorted(map(str, gates[0].errors)) == sorted(map(str, gates[1].errors))
    assert done.summary is not None and anew.summary is not None
    rows = [
        [(item.object, item.extracted, item.states, item.links, item.lookups_verified) for item in one.summary.objects]
        for one in (done, anew)
        if one.summary is not None
    ]
    assert rows[0] == rows[1]


def test_what_nothing_has_changed_of_is_not_looked_at_again(twice: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither judged, nor decided, nor compared; nothing is sent, and the verdicts say what they rest on."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("worked out anew")

    for name in (
        "preflight._judged",
        "remap.write_decided",
        "relink._decide",
        "checks.LastLook",
        "load.insert_payload",
        "finish.link_totals",
    ):
        monkeypatch.setattr(f"isync_dagster.migration.{name}", never)
    done = migrate(twice.job(recipe()))
    assert done.failed() == []
    assert {name: done.states(name) for name in NAMES} == {key: {"identical": ROWS} for key in NAMES}
    assert done.verdicts["Contact", "fields"].text.endswith("Judged in run 2: nothing has changed since.")


def test_a_page_that_came_before_is_not_typed_again(twice: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Bulk: the text of the page tells, so that of many pages only those are typed that are other ones."""
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    typed: list[str] = []
    write = reading._write_part
    monkeypatch.setattr(
        reading, "_write_part", lambda raw, name, *rest: [typed.append(name), write(raw, name, *rest)][1]
    )
    for expected in (set(NAMES), {"Contact"}):
        source_saved(twice)
        typed.clear()
        migrate(twice.job(recipe()))
        assert expected <= set(typed)
        if expected == {"Contact"}:
            assert "Account" not in typed


def test_decisions_are_taken_over_from_run_to_run(twice: World) -> None:
    """Each run has all of it itself: what is removed of one takes nothing from the next."""
    for number in (3, 4):
        done = migrate(twice.job(recipe()))
        run = current(done.job)
        base = taken_from(done.job, run, "Contact")
        assert done.failed() == []
        assert base is not None and (run.number, base.number) == (number, number - 1)
        assert done.verdicts["Contact", "fields"].text.endswith("Judged in run 2: nothing has changed since.")
        files.remove_tree(base.folder)
    assert remapped(run, "Contact").collect().height == ROWS


@pytest.mark.slow
@pytest.mark.parametrize("before", ["found", "sent"])
def test_cut_off_at_every_file_it_goes_on(
    request: pytest.FixtureRequest, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that is taken over, or written beside one, is missing once when the run is cut off."""
    twice: World = request.getfixturevalue({"found": "twice", "sent": "once"}[before])
    copy, write, seen = files.copy, files.write_parquet, set[str]()

    def meet(to: Any) -> None:
        if str(to) not in seen:
            seen.add(str(to))
            raise StoreError("cut off")

    def copied(source: Any, to: Any) -> None:
        meet(to)
        copy(source, to)

    def written(path: Any, *args: Any, **more: Any) -> int:
        if any(part in str(path) for part in ("/remap/", "/left/", "/relink/")):
            meet(path)
        return write(path, *args, **more)

    monkeypatch.setattr(files, "copy", copied)
    monkeypatch.setattr(files, "write_parquet", written)
    for _ in range(200):
        try:
            done = migrate(twice.job(recipe()))
            break
        except StoreError:
            release_all()
    assert len(seen) > 2 * len(NAMES)
    assert done.failed() == []
    run = current(done.job)
    assert run.number == {"found": 3, "sent": 2}[before]
    assert {name for name in NAMES if taken_from(done.job, run, name) is not None} == ALL
    monkeypatch.undo()
    assert {name: done.states(name) for name in NAMES} == {key: {"identical": ROWS} for key in NAMES}


def test_the_metadata_say_what_was_taken_over_and_why_not(twice: World) -> None:
    source_saved(twice)
    done = migrate(twice.job(recipe()))
    assert "taken over from run 2: nothing has changed since" in done.outcomes["Account", "remap"].notes
    assert "decided anew: rows of the source have changed" in done.outcomes["Contact", "remap"].notes


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        pytest.param(lambda run: files.remove_tree(run.folder / "carried"), "another version", id="older version"),
        pytest.param(
            lambda run: files.write_json(run.folder / "retries" / "001" / "begun.json", {}), "sent again", id="retried"
        ),
        pytest.param(
            lambda run: files.write_json(run.folder / "cleaned" / "1-rows.json", CLEANED), "cleaned up", id="cleaned"
        ),
        pytest.param(lambda run: run.mark_rolled_back({}), "rolled_back", id="rolled back"),
    ],
)
def test_a_run_that_was_not_left_as_it_ended_is_not_rested_on(
    twice: World, spoil: Callable[[Any], None], why: str
) -> None:
    spoil(current(twice.job(recipe())))
    job = twice.job(recipe())
    decide(job)
    inputs = files.read_json(current(job).folder / "carried" / "inputs.json")
    assert inputs is not None and inputs["base"] is None
    assert why in inputs["why"]


CLEANED = {
    "kind": "rows",
    "at": "2026-01-01T00:00:00",
    "by": "x",
    "days": 1,
    "ended": "2026-01-01",
    "files": 1,
    "bytes": 1,
}


def decide(job: SyncJob) -> None:
    from isync_dagster.migration.preflight import preflight
    from isync_dagster.migration.remap import remap

    for name in reversed(NAMES):
        extract.extract(job, name)
    preflight(job)
    for item in job.plan.objects_in(job.phase):
        remap(job, item.object)


def test_another_template_decides_anew(twice: World) -> None:
    job = twice.job(recipe(mapped_gone="follow_merge"))
    decide(job)
    inputs = files.read_json(current(job).folder / "carried" / "inputs.json")
    assert inputs is not None and inputs["base"] is None
    assert "the template" in inputs["why"]


@pytest.fixture(autouse=True)
def _released() -> Any:
    yield
    release_all()
