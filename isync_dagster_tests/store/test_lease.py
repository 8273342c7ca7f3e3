from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from isync_dagster.errors import LeaseHeldError
from isync_dagster.store import files
from isync_dagster.store.lease import LeaseDesk
from isync_dagster.store.process import Process
from isync_dagster.store.store import Store
from isync_dagster_tests.store import racing
from isync_dagster_tests.store.conftest import TARGET


class Time:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = datetime(2024, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def desk(url: str, time: Time) -> LeaseDesk:
    """The lease as this machine sees it."""
    return Store.open(url, clock=time).lease(TARGET)


@pytest.fixture
def far(desk: LeaseDesk) -> LeaseDesk:
    """The same lease as another machine sees it."""
    return replace(desk, me=Process("far", 1, "another boot", 1))


def test_a_second_writer_is_refused_and_told_who_holds_it(desk: LeaseDesk, far: LeaseDesk) -> None:
    with (
        desk.acquire("demo/all/1", "ada"),
        pytest.raises(
            LeaseHeldError, match=rf"{TARGET} is being written to by ada \(demo/all/1\) on .*since 2024"
        ) as caught,
    ):
        far.acquire("other/all/1", "bob")
    assert (caught.value.holder, caught.value.label) == ("ada", "demo/all/1")
    far.acquire("other/all/1", "bob").release()


def test_the_holder_can_be_looked_up(desk: LeaseDesk) -> None:
    assert desk.holder() is None
    assert desk.copy is not None
    with desk.acquire("demo/all/1", "ada"):
        holder = desk.holder()
        assert holder is not None
        assert (holder["holder"], holder["label"], holder["live"], holder["members"]) == ("ada", "demo/all/1", True, 1)
        shown = files.read_json(desk.copy)
        assert shown is not None and shown["holder"] == "ada"
    assert desk.holder() is None
    assert files.read_json(desk.copy) is None


def test_workers_of_one_run_share_it_until_the_last_leaves(desk: LeaseDesk, far: LeaseDesk) -> None:
    one, two = desk.acquire("demo/all/1", "one"), far.acquire("demo/all/1", "two")
    one.check()
    one.release()
    two.check()
    with pytest.raises(LeaseHeldError, match="two"):
        desk.acquire("other/all/1", "bob")
    two.release()
    desk.acquire("other/all/1", "bob").release()


def test_releasing_twice_is_harmless(desk: LeaseDesk) -> None:
    lease = desk.acquire("a", "ada")
    lease.release()
    other = desk.acquire("b", "bob")
    lease.release()
    other.check()
    with pytest.raises(LeaseHeldError, match=r"ada .* has lost the lease"):
        lease.check()


def test_a_refused_taker_leaves_nothing_behind(desk: LeaseDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    create = files.create_if_absent
    rival: list[Any] = []

    def come_second(path: UPath, data: Mapping[str, Any]) -> bool:
        if not rival:
            rival.append("once")
            rival.append(desk.acquire("b", "bob"))
        return create(path, data)

    monkeypatch.setattr(files, "create_if_absent", come_second)
    with pytest.raises(LeaseHeldError, match="bob"):
        desk.acquire("a", "ada")
    assert files.names(desk.folder / "alive") == [f"{rival[1].member}.json"]


def test_a_lease_of_another_machine_is_stale_after_the_ttl(desk: LeaseDesk, far: LeaseDesk, time: Time) -> None:
    old = far.acquire("demo/all/1", "ada")
    time.forward(119)
    with pytest.raises(LeaseHeldError):
        desk.acquire("other/all/1", "bob")
    old.renew()
    time.forward(119)
    with pytest.raises(LeaseHeldError):
        desk.acquire("other/all/1", "bob")
    time.forward(1)
    new = desk.acquire("other/all/1", "bob")
    new.check()
    for act in (old.check, old.renew):
        with pytest.raises(LeaseHeldError, match=r"has lost the lease.*held by bob \(other/all/1\) now"):
            act()
    old.release()
    new.check()


def test_the_patient_take_over_from_another_machine_when_it_is_silent(
    desk: LeaseDesk, far: LeaseDesk, time: Time
) -> None:
    far.acquire_alone("the one whose machine went down")
    time.forward(60)
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        time.forward(seconds)

    replace(desk, pause=pause).acquire_alone("ada", patient=True).check()
    assert 60 <= sum(waited) < 63, "no longer than it takes to be sure"


def test_the_patient_are_refused_once_the_other_machine_renews(desk: LeaseDesk, far: LeaseDesk, time: Time) -> None:
    other = far.acquire_alone("bob")

    def pause(seconds: float) -> None:
        time.forward(seconds)
        other.renew()

    with pytest.raises(LeaseHeldError, match="written to by bob"):
        replace(desk, pause=pause).acquire_alone("ada", patient=True)
    other.check()


def test_the_patient_do_not_wait_for_a_process_that_they_see(desk: LeaseDesk) -> None:
    desk.acquire_alone("bob")
    with pytest.raises(LeaseHeldError, match="written to by bob"):
        replace(desk, pause=_never).acquire_alone("ada", patient=True)


def _never(_: float) -> None:
    raise AssertionError("nobody is waited for")


def test_a_living_process_of_this_machine_keeps_it_whatever_the_clock(desk: LeaseDesk, time: Time) -> None:
    desk.acquire("demo/all/1", "ada")
    time.forward(10**6)
    with pytest.raises(LeaseHeldError):
        desk.acquire("other/all/1", "bob")
    desk.acquire("other/all/1", "bob", takeover=True).check()


def test_a_resumed_run_does_not_wait_for_its_dead_worker(desk: LeaseDesk) -> None:
    replace(desk, me=replace(desk.me, started=desk.me.started - 1)).acquire("demo/all/1", "the one that was killed")
    desk.acquire("demo/all/1", "ada").release()
    assert desk.holder() is None
    assert files.names(desk.folder / "alive") == []


def test_a_process_with_the_same_id_is_another_one(desk: LeaseDesk) -> None:
    replace(desk, me=replace(desk.me, started=desk.me.started - 1)).acquire("demo/all/1", "ada")
    desk.acquire("other/all/1", "bob").check()


def test_the_history_stays_short(desk: LeaseDesk) -> None:
    for _ in range(5):
        desk.acquire("a", "ada").release()
        desk.acquire("b", "bob").release()
    lease = desk.acquire("c", "cyd")
    assert len(desk.generations()) == 1
    assert len(files.names(desk.folder / "alive")) == 1
    lease.release()


def test_a_pruned_generation_made_again_gives_nothing(desk: LeaseDesk) -> None:
    # A slow taker that listed long ago makes a slot that was pruned since.
    for _ in range(3):
        desk.acquire("a", "ada").release()
    desk.acquire("a", "ada")
    files.create_if_absent(desk.slot_path(1), {"action": "take", "label": "slow"})
    holder = desk.holder()
    assert holder is not None and holder["label"] == "a"


def test_keep_renews_in_the_background(url: str) -> None:
    desk = Store.open(url).lease(TARGET, ttl=timedelta(milliseconds=40))
    lease = desk.acquire("a", "ada")
    first = files.read_json(desk.alive_path(lease.member))
    with lease.keep():
        while files.read_json(desk.alive_path(lease.member)) == first:
            threading.Event().wait(0.01)
        lease.check()
    lease.release()


def test_keep_notices_a_loss(url: str) -> None:
    desk = Store.open(url).lease(TARGET, ttl=timedelta(milliseconds=40))
    lease = desk.acquire("a", "ada")
    with lease.keep():
        desk.acquire("b", "bob", takeover=True)
        while lease._lost is None:
            threading.Event().wait(0.01)
        with pytest.raises(LeaseHeldError, match="held by bob"):
            lease.check()


class TestProcesses:
    def test_of_many_takers_one_wins(self, shared: Store) -> None:
        results = racing.race(racing.take_lease_once, 4, str(shared.root), TARGET)
        winner = results.index("held")
        expected = [f"worker {winner}"] * 4
        expected[winner] = "held"
        assert results == expected

    def test_writers_of_different_runs_are_never_inside_together(self, shared: Store, tmp_path: Path) -> None:
        (tmp_path / "inside").mkdir()
        seen = racing.race(write_as_own_run, 3, str(shared.root), TARGET, 4, str(tmp_path / "inside"))
        assert seen == [[], [], []]

    def test_a_sharing_run_keeps_others_out(self, shared: Store, tmp_path: Path) -> None:
        (tmp_path / "inside").mkdir()
        seen = racing.race(write_as_pair, 4, str(shared.root), TARGET, 4, str(tmp_path / "inside"))
        assert seen == [[], [], [], []]

    def test_a_killed_holder_is_no_holder_even_as_a_zombie(self, local: Store) -> None:
        desk = local.lease(TARGET)
        with racing.paused(racing.stop_with_lease, local.root.path, TARGET) as process:
            with pytest.raises(LeaseHeldError, match="the one that was killed"):
                desk.acquire("other/all/1", "bob")
            racing.kill(process)
            while _is_running(process.pid):
                threading.Event().wait(0.01)
            desk.acquire("other/all/1", "bob").check()


def write_as_own_run(worker: int, url: str, target: str, rounds: int, inside: str) -> list[str]:
    return racing.write_under_lease(worker, url, target, f"run {worker}", rounds, inside)


def write_as_pair(worker: int, url: str, target: str, rounds: int, inside: str) -> list[str]:
    return racing.write_under_lease(worker, url, target, f"run {worker % 2}", rounds, inside)


def _is_running(pid: int | None) -> bool:
    """False once the kernel has ended the process, reaped or not."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
