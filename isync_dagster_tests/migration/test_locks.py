"""Row locks: the order that avoids them, and the rows that did not get one, sent again by themselves, once."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from isync_dagster.local_org.locks import contended_rows
from isync_dagster.local_org.scenarios.model import Locks, Scenario
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.migration import sending
from isync_dagster.migration.load import load
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.sending import Sender
from isync_dagster.migration.writing import release_all
from isync_dagster.salesforce.limiter import Limiter, Place
from isync_dagster.store.ledger import Ledger
from isync_dagster.template import Template
from isync_dagster_tests.migration.world import (
    Migration,
    World,
    assert_laws,
    current,
    migrate,
    send,
    some,
    template,
    together,
)

BATCH = 100
OPTIONS: dict[str, Any] = {"batch_rows": BATCH, "parallel_jobs": 2, "collections_rows": 0, "lock_attempts": 4}
LOCKS = Locks(parallel=4, degree=1, batch_rows=BATCH, chunk_rows=20)
CONTACTS = 1_200


def _data() -> DataSet:
    """Contacts of accounts in no order: one has 300, more than fit into a batch, a few have many, most have some; a
    tenth has no account."""
    dice = random.Random(5)
    crowd = [0] * 300 + [1] * 80 + [2] * 60 + [3] * 45 + [dice.randrange(4, 80) for _ in range(600)]
    parents: list[int | None] = [*crowd, *([None] * (CONTACTS - len(crowd)))]
    dice.shuffle(parents)
    return together(
        some("Account", 80),
        some("Contact", CONTACTS, AccountId=lambda n: None if parents[n] is None else f"a{parents[n]}"),
    )


def _template() -> Template:
    return template(["Account", "Contact"], {"Account": {"exclude_fields": ["RecordTypeId"]}})


def _in_trouble(world: World, locks: Locks = LOCKS) -> None:
    world.served["target"].service.apply(Scenario(name="contention", description="Locks.", seed=3, locks=locks))


def _ledger(job: SyncJob) -> Ledger:
    return current(job).ledger("load", "Contact")


def _refused(job: SyncJob, name: str = "Contact") -> int:
    """How often a row of an object did not get a lock, over all attempts."""
    log = current(job).audit(name).read()
    return int(log.filter(pl.col("code") == "UNABLE_TO_LOCK_ROW").select(pl.len()).collect().item())


def _whole(world: World, done: Migration) -> None:
    assert done.failed() == []
    assert_laws(done)
    assert done.states("Contact") == {"inserted": CONTACTS}
    assert world.counts("Contact") == {"Contact": CONTACTS}
    assert world.picture("source", "Contact") == world.picture("target", "Contact")


def test_siblings_meet_in_no_two_batches_where_a_random_order_fails(world: World) -> None:
    world.reset(_data())
    _in_trouble(world)
    job = world.job(_template(), **OPTIONS)
    done = migrate(job)
    _whole(world, done)
    ledger = _ledger(job)
    chunks = {number: ledger.rows(number, 1).collect() for number in ledger.chunks()}
    sent = pl.concat(chunks.values()).sample(fraction=1.0, shuffle=True, seed=1)
    contact = world.target.describe("Contact")
    at_random = contended_rows(sent.drop("_row").with_row_index("_row"), contact, LOCKS).height
    assert at_random > CONTACTS // 3
    assert _refused(job) == 0
    # Nothing was sent twice, and the crowd went by itself.
    assert {attempt for attempt, _ in ledger.states().values()} == {1}
    alone = [number for number in chunks if (entry := ledger.last(number)) and entry.payload["alone"]]
    assert sorted(chunks[number].height for number in alone) == [100, 100, 100]
    assert pl.concat([chunks[number] for number in alone])["AccountId"].n_unique() == 1
    # In every other job siblings share a batch.
    for number in set(chunks) - set(alone):
        rows = chunks[number].with_columns(batch=pl.int_range(pl.len()) // BATCH).drop_nulls("AccountId")
        assert rows.group_by("AccountId").agg(pl.col("batch").n_unique())["batch"].max() == 1
    notes = done.outcomes["Contact", "remap"].notes
    assert any(note.startswith("load order: siblings side by side by AccountId (optional;") for note in notes)


def test_two_jobs_share_no_parent(world: World) -> None:
    world.reset(_data())
    _in_trouble(world)
    job = world.job(_template(), chunk_bytes=9_000, **OPTIONS)
    _whole(world, migrate(job))
    ledger = _ledger(job)
    rows = [
        ledger.rows(number, 1).select("AccountId", chunk=pl.lit(number))
        for number in ledger.chunks()
        if (entry := ledger.last(number)) and not entry.payload["alone"]
    ]
    assert len(rows) > 5
    shared = pl.concat(rows).drop_nulls().collect().group_by("AccountId").agg(pl.col("chunk").n_unique())
    assert shared["chunk"].max() == 1
    assert _refused(job) == 0


def test_children_of_a_crowded_second_parent_go_alone(world: World) -> None:
    """Sorted by one lookup, the children of a crowded parent in another would stand everywhere."""
    dice = random.Random(7)
    bosses = ["c0" if dice.random() < 0.3 else None for _ in range(600)]
    data = together(
        some("Account", 10),
        some("Contact", 1),
        some("Memo__c", 600, WhatId=lambda n: bosses[n] or f"a{dice.randrange(10)}"),
    )
    world.reset(data)
    _in_trouble(world)
    job = world.job(
        template(["Account", "Contact", "Memo__c"], {"Account": {"exclude_fields": ["RecordTypeId"]}}), **OPTIONS
    )
    done = migrate(job)
    assert done.failed() == []
    assert _refused(job, "Memo__c") == 0


@pytest.fixture
def unsorted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are sent in the order of the source, siblings anywhere."""
    monkeypatch.setattr("isync_dagster.migration.remap.sorted_by", lambda found, plan: ())
    monkeypatch.setattr("isync_dagster.migration.load.locked_parents", lambda run, plan: ())


@pytest.mark.usefixtures("unsorted")
def test_rows_without_a_lock_are_sent_again_alone_a_batch_at_a_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.reset(_data())
    _in_trouble(world)
    job = world.job(_template(), **OPTIONS)
    rooms, halve = [], Limiter._halve

    def halved(limiter: Limiter, place: Place) -> None:
        halve(limiter, place)
        rooms.append(job.target.room)

    monkeypatch.setattr(Limiter, "_halve", halved)
    _whole(world, migrate(job))
    # Fewer jobs run beside each other for a while; calls are another matter.
    assert rooms == [(8, 2)]
    refused = _refused(job)
    assert refused > CONTACTS // 3
    ledger = _ledger(job)
    assert len(ledger.chunks()) == 1 + -(-refused // BATCH) - 1
    first, *others = ledger.chunks()
    assert [entry.payload["sent_rows"] for entry in ledger.entries(first) if entry.state == "planned"] == [
        CONTACTS,
        BATCH,
    ]
    handed = [entry for number in others for entry in ledger.entries(number) if entry.state == "planned"]
    assert all(entry.payload["alone"] and entry.payload["sent_rows"] <= BATCH for entry in handed)
    assert all(entry.attempt == 2 and entry.payload["part_of"] == [first, 1] for entry in handed)
    # One batch at a time meets no sibling, so that each row needed a second try and no third one.
    log = current(job).audit("Contact").read().filter(pl.col("stage") == "load").collect()
    assert log.filter(pl.col("state") == "inserted").height == CONTACTS
    assert log.height == CONTACTS + refused


@pytest.mark.usefixtures("unsorted")
@pytest.mark.parametrize("moment", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_while_it_parts_them_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Some of the new chunks are planned, the next attempt is not: no row is in two of them."""
    world.reset(_data())
    _in_trouble(world)
    job = world.job(_template(), **OPTIONS)
    plan, planned = Ledger.plan, []

    def killed(self: Ledger, chunk: int, attempt: int, rows: Any, payload: Any) -> bool:
        if "part_of" in payload:
            planned.append(chunk)
            if len(planned) > moment:
                raise KeyboardInterrupt
        return plan(self, chunk, attempt, rows, payload)

    monkeypatch.setattr(Ledger, "plan", killed)
    with pytest.raises(KeyboardInterrupt):
        send(job)
    monkeypatch.setattr(Ledger, "plan", plan)
    release_all()
    _whole(world, migrate(world.job(_template(), **OPTIONS)))
    ledger = _ledger(job)
    rows = pl.concat([ledger.rows(number, 2).select("_row") for number in ledger.chunks()]).collect()
    assert rows.height == rows["_row"].n_unique() == _refused(job)


def test_a_cut_that_was_interrupted_goes_on_as_it_began(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other sizes than the process that was killed had, rows would be in two chunks or in none."""
    world.reset(_data())
    job = world.job(_template(), chunk_bytes=9_000, **OPTIONS)
    plan_chunk, planned = Sender.plan_chunk, []

    def killed(self: Sender, chunk: Any, rows: Any) -> None:
        if self.plan.object == "Contact":
            planned.append(chunk.number)
            if len(planned) > 2:
                raise KeyboardInterrupt
        plan_chunk(self, chunk, rows)

    monkeypatch.setattr(sending.Sender, "plan_chunk", killed)
    with pytest.raises(KeyboardInterrupt):
        send(job)
    monkeypatch.setattr(sending.Sender, "plan_chunk", plan_chunk)
    release_all()
    other = world.job(_template(), **{**OPTIONS, "chunk_bytes": 20_000, "batch_rows": 40})
    load(other, "Contact")
    ledger = _ledger(other)
    rows = pl.concat([ledger.rows(number, 1).select("_row") for number in ledger.chunks()]).collect()
    assert rows["_row"].n_unique() == rows.height == CONTACTS
    assert world.counts("Contact") == {"Contact": CONTACTS}
