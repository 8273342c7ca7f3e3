"""A run stops cleanly when the API calls are used up to its share, and goes on when they have recovered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from isync_dagster.assets.recovery import recovery_sensors
from isync_dagster.errors import ApiLimitError
from isync_dagster.migration import reading
from isync_dagster.migration.budget import has_recovered, stopped_by_budget
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.writing import release_all
from isync_dagster.salesforce import bulk_query
from isync_dagster.salesforce.org import Org
from isync_dagster.store.ledger import Ledger
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import World, assert_laws, current, migrate, send, some, template

OPTIONS: dict[str, Any] = {"chunk_bytes": 700, "parallel_jobs": 1}


@pytest.fixture
def accounts(world: World) -> Iterator[World]:
    world.reset(some("Account", 24, Zip__c=lambda n: f"{n:05d}"))
    services = [world.served[side].service for side in ("source", "target")]
    limits = [service.call_limit for service in services]
    yield world
    for service, limit in zip(services, limits, strict=True):
        service.call_limit = limit


def _job(world: World, **options: Any) -> SyncJob:
    return world.job(template(["Account"]), **{**OPTIONS, **options})


@contextmanager
def _when(state: str, act: Callable[[], None]) -> Iterator[None]:
    """Act when the first chunk has come to a state."""
    record = Ledger.record
    done = False

    def recorded(ledger: Ledger, chunk: int, attempt: int, to: str, payload: Any) -> bool:
        nonlocal done
        first = record(ledger, chunk, attempt, to, payload)
        if to == state and not done:
            done = True
            act()
        return first

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "record", recorded)
        yield


def _states(world: World) -> dict[str, int]:
    latest = current(_job(world)).audit("Account").latest().collect()
    return dict(latest.group_by("state").len().sort("state").iter_rows())


def _goes_on(world: World) -> None:
    release_all()
    done = migrate(_job(world))
    assert_laws(done)
    assert done.states("Account") == {"inserted": 24}
    assert world.counts("Account") == {"Account": 24}
    assert current(done.job).number == 1


def test_at_its_share_of_the_targets_calls_the_run_stops_and_goes_on_later(accounts: World) -> None:
    service = accounts.served["target"].service
    before = service.call_limit

    def others_use_calls() -> None:
        service.call_limit = int(service.calls_made * 1.9)

    said = r"org 'target' has used [\d,]+ of its [\d,]+ API calls.*may go to 50%.*isync migrate world --phase all"
    with _when("closed", others_use_calls), pytest.raises(ApiLimitError, match=said):
        send(_job(accounts, api_budget="50%"))
    arrived = accounts.counts("Account")["Account"]
    assert 0 < arrived < 24
    # What was in flight came to its end; the rest is left, in a state that a resume goes on from.
    assert _states(accounts) == {"inserted": arrived, "pending": 24 - arrived}
    # Too early it stops again, before it sends anything.
    release_all()
    with pytest.raises(ApiLimitError):
        send(_job(accounts, api_budget="50%"))
    assert accounts.counts("Account") == {"Account": arrived}
    service.call_limit = before
    _goes_on(accounts)


@pytest.mark.parametrize(
    "state",
    [
        "closed",
        *(pytest.param(state, marks=pytest.mark.slow) for state in ("planned", "created", "uploaded", "finished")),
    ],
)
def test_calls_that_are_used_up_are_the_same_clean_stop(accounts: World, state: str) -> None:
    service = accounts.served["target"].service
    before = service.call_limit
    with (
        _when(state, lambda: service.leave_calls(0)),
        pytest.raises(
            ApiLimitError, match=r"was stopped by the API budget: .*REQUEST_LIMIT_EXCEEDED.*all else is pending"
        ),
    ):
        send(_job(accounts, api_budget="100%"))
    assert _states(accounts) == {"pending": 24}
    service.call_limit = before
    _goes_on(accounts)


@pytest.mark.slow
def test_an_extract_stops_at_the_sources_share(accounts: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REST_ROWS", 0)
    monkeypatch.setattr(bulk_query, "IN_ONE", 0)
    monkeypatch.setattr(bulk_query, "CELLS_A_PAGE", 0)
    service = accounts.served["source"].service
    before = service.call_limit
    service.call_limit = int(service.calls_made / 0.95) + 8
    with pytest.raises(ApiLimitError, match="org 'source' has used"):
        send(_job(accounts))
    service.call_limit = before
    _goes_on(accounts)


class Bench:
    """What the sensor needs of a workbench."""

    def __init__(self, world: World, job: SyncJob) -> None:
        self.store: Store = job.store
        self.org: Callable[[str], Org] = lambda alias: world.client(alias)


@pytest.mark.slow
def test_the_sensor_goes_on_when_the_allowance_has_recovered(accounts: World) -> None:
    service = accounts.served["target"].service
    before = service.call_limit
    with _when("closed", lambda: service.leave_calls(0)), pytest.raises(ApiLimitError):
        send(_job(accounts))
    job = _job(accounts)
    waiting = list(stopped_by_budget(job.store, job.plan))
    assert [(item.phase, item.run.number) for item in waiting] == [("all", 1)]
    sensor = recovery_sensors(job.plan)[0]
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED

    def look() -> list[Any]:
        context = dg.build_sensor_context(resources={"workbench": Bench(accounts, job)})
        return list(sensor(context))  # type: ignore[call-overload]

    service.leave_calls(6)
    (skipped,) = look()
    assert isinstance(skipped, dg.SkipReason)
    assert "1 runs wait: " in str(skipped.skip_message)
    service.call_limit = before
    assert has_recovered(job.plan, accounts.client)[0]
    (asked,) = look()
    assert isinstance(asked, dg.RunRequest)
    assert (asked.partition_key, asked.tags["isync/phase"]) == ("all", "all")
    # Once somebody goes on with it, nobody waits any more.
    _goes_on(accounts)
    (nothing,) = look()
    assert isinstance(nothing, dg.SkipReason)
