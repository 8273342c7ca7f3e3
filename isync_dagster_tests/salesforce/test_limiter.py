"""Room in an org: bounded by what is configured, halved by a refusal, given back step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from isync_dagster.errors import ApiLimitError
from isync_dagster.salesforce.limiter import Limiter
from isync_dagster.salesforce.org import Org
from isync_dagster_tests.salesforce.scripted_org import Reply, ScriptedOrg

Connect = Callable[..., Org]


def _work(limiter: Limiter, times: int = 1, *, crowded: bool = False) -> None:
    for _ in range(times):
        with limiter.place() as place:
            if crowded:
                place.crowded()


def test_a_refusal_halves_the_room_down_to_one_place() -> None:
    limiter = Limiter(8)
    found = []
    for _ in range(5):
        _work(limiter, crowded=True)
        found.append(limiter.room)
    assert found == [4, 2, 1, 1, 1]


def test_a_round_of_good_work_gives_back_about_one_place_and_never_more_than_configured() -> None:
    limiter = Limiter(4)
    _work(limiter, 2, crowded=True)
    assert limiter.room == 1
    _work(limiter)
    assert limiter.room == 2
    _work(limiter, 3)
    assert limiter.room == 3
    _work(limiter, 100)
    assert limiter.room == 4


def test_refusals_of_one_moment_count_once() -> None:
    limiter = Limiter(8)
    begun, end = threading.Barrier(5), threading.Event()

    def refused() -> None:
        with limiter.place() as place:
            begun.wait()
            end.wait()
            place.crowded()

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(refused) for _ in range(4)]
        begun.wait()
        end.set()
        for future in running:
            future.result()
    assert limiter.room == 4


def test_work_that_fails_for_another_reason_changes_nothing() -> None:
    limiter = Limiter(4)
    _work(limiter, crowded=True)
    with pytest.raises(RuntimeError), limiter.place():
        raise RuntimeError
    assert limiter.room == 2


@pytest.mark.parametrize("refusals", [0, 2])
def test_never_more_are_at_work_than_there_is_room_for(refusals: int) -> None:
    limiter = Limiter(4)
    _work(limiter, refusals, crowded=True)
    lock, running, peak = threading.Lock(), 0, 0
    over = []

    def work(_: int) -> None:
        nonlocal running, peak
        with limiter.place():
            with lock:
                running += 1
                peak = max(peak, running)
                over.append(running > 4)
            threading.Event().wait(0.002)
            with lock:
                running -= 1

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert not any(over)
    assert peak > 1
    assert limiter.room == 4


def test_work_inside_of_work_needs_no_place_of_its_own() -> None:
    """A job that reads the target to settle its rows has a place; with one place it would wait for itself."""
    limiter = Limiter(1)
    with limiter.place(), limiter.place() as inner:
        inner.crowded()
    _work(limiter)


# ── what an org says ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (503, "SERVER_UNAVAILABLE", "Too many requests waiting for connections"),
        (403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
        (429, "", "slow down"),
    ],
)
def test_an_org_that_is_asked_too_much_is_asked_less(
    server: ScriptedOrg, connect: Connect, status: int, code: str, message: str
) -> None:
    org = connect(concurrency={"calls": 8, "jobs": 2})
    refusal = Reply(status, [{"errorCode": code, "message": message}])
    server.on("GET", "limits", [refusal, Reply(200, {})])
    org.limits()
    # Halved by the refusal, and a little given back by the repeat.
    assert 4 <= org.room[0] <= 5
    assert org.room[1] == 2
    for _ in range(40):
        org.limits()
    assert org.room == (8, 2)


def test_a_used_up_allowance_is_another_matter(server: ScriptedOrg, connect: Connect) -> None:
    org = connect(concurrency={"calls": 8, "jobs": 2})
    refusal = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
    server.on("GET", "limits", Reply(403, refusal))
    with pytest.raises(ApiLimitError):
        org.limits()
    assert org.room == (8, 2)
