"""What Dagster promises of an executor, held for the threaded one; a new Dagster version must pass this unchanged."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from isync_dagster.assets.cancellation import Token
from isync_dagster.assets.executor import TICK, _Finished, _Threads, executor, threaded_executor

ATTEMPTS: Counter[str] = Counter()
RELEASED = threading.Event()
RUNNING: Counter[str] = Counter()
PEAK: Counter[str] = Counter()
_lock = threading.Lock()


def busy(name: str, seconds: float) -> None:
    """Hold a place for a moment, and remember how many held it together."""
    with _lock:
        RUNNING[name] += 1
        PEAK[name] = max(PEAK[name], RUNNING[name])
    time.sleep(seconds)
    with _lock:
        RUNNING[name] -= 1


@pytest.fixture(autouse=True)
def fresh() -> None:
    for counter in (ATTEMPTS, RUNNING, PEAK):
        counter.clear()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides = {"concurrency": {"pools": {"default_limit": 2, "granularity": "op"}}, "telemetry": {"enabled": False}}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=overrides) as made:
        yield made


def run(make: object, instance: dg.DagsterInstance, **options: object) -> dg.JobExecutionResult:
    return dg.execute_job(dg.reconstructable(make), instance=instance, **options)  # type: ignore[arg-type]


def job(*definitions: object, limits: list[dict[str, object]] | None = None, many: int = 8) -> dg.JobDefinition:
    assets = [item for item in definitions if not isinstance(item, dg.AssetChecksDefinition)]
    checks = [item for item in definitions if isinstance(item, dg.AssetChecksDefinition)]
    config = {"max_concurrent": many, "tag_concurrency_limits": limits or []}
    made = dg.Definitions(
        assets=assets,  # type: ignore[arg-type]
        asset_checks=checks,
        jobs=[dg.define_asset_job("all", selection="*")],
        executor=threaded_executor.configured(config, name="threads"),
    )
    return made.resolve_job_def("all")


def keys(result: dg.JobExecutionResult, kind: dg.DagsterEventType) -> set[str]:
    return {str(event.step_key) for event in result.all_events if event.event_type == kind}


# -- steps wait together ------------------------------------------------------------------------------------------


def wide() -> dg.JobDefinition:
    def one(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"wide_{number}")
        def body() -> None:
            busy("wide", 0.3)

        return body

    return job(*(one(number) for number in range(12)), many=6)


def test_steps_run_at_the_same_time_up_to_the_limit(instance: dg.DagsterInstance) -> None:
    result = run(wide, instance)
    assert result.success
    assert 2 < PEAK["wide"] <= 6


# -- retry --------------------------------------------------------------------------------------------------------


def flaky() -> dg.JobDefinition:
    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2, delay=0.2))
    def recovers() -> None:
        ATTEMPTS["recovers"] += 1
        if ATTEMPTS["recovers"] < 3:
            raise RuntimeError("a lock")

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def never() -> None:
        ATTEMPTS["never"] += 1
        raise RuntimeError("again a lock")

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=2))
    def fatal() -> None:
        ATTEMPTS["fatal"] += 1
        raise dg.Failure("no retry helps", allow_retries=False)

    @dg.asset(deps=[recovers])
    def after() -> None:
        ATTEMPTS["after"] += 1

    return job(recovers, never, fatal, after)


def test_a_retry_policy_is_honoured_with_its_delay(instance: dg.DagsterInstance) -> None:
    started = time.monotonic()
    result = run(flaky, instance)
    assert not result.success
    assert ATTEMPTS == {"recovers": 3, "never": 3, "fatal": 1, "after": 1}
    assert keys(result, dg.DagsterEventType.STEP_FAILURE) == {"never", "fatal"}
    assert time.monotonic() - started > 0.4


# -- pools --------------------------------------------------------------------------------------------------------


def pooled() -> dg.JobDefinition:
    def one(number: int) -> dg.AssetsDefinition:
        @dg.asset(name=f"pooled_{number}", pool="sf_target")
        def body() -> None:
            busy("pooled", 0.2)
            if number == 1:
                raise RuntimeError("gives its slot back")

        return body

    return job(*(one(number) for number in range(6)))


def test_a_pool_limit_is_never_exceeded_and_every_slot_comes_back(instance: dg.DagsterInstance) -> None:
    result = run(pooled, instance)
    assert keys(result, dg.DagsterEventType.STEP_FAILURE) == {"pooled_1"}
    assert PEAK["pooled"] == 2
    info = instance.event_log_storage.get_concurrency_info("sf_target")
    assert (info.slot_count, info.active_slot_count, info.pending_step_count) == (2, 0, 0)


# -- blocking checks and failure isolation ------------------------------------------------------------------------


def gated() -> dg.JobDefinition:
    @dg.asset
    def load() -> None: ...

    @dg.asset
    def neighbour() -> None: ...

    @dg.asset_check(asset=load, blocking=True)
    def conservation() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset_check(asset=neighbour)
    def informative() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    @dg.asset(deps=[load])
    def relink() -> None:
        ATTEMPTS["relink"] += 1

    @dg.asset(deps=[neighbour])
    def child() -> None:
        ATTEMPTS["child"] += 1

    return job(load, neighbour, conservation, informative, relink, child)


def test_a_failed_blocking_check_stops_what_follows_and_nothing_else(instance: dg.DagsterInstance) -> None:
    result = run(gated, instance)
    assert not result.success
    assert ATTEMPTS == {"child": 1}
    assert keys(result, dg.DagsterEventType.STEP_FAILURE) == {"load_conservation"}


def broken() -> dg.JobDefinition:
    @dg.asset
    def sick() -> None:
        raise RuntimeError("refused")

    @dg.asset(deps=[sick])
    def sick_child() -> None:
        ATTEMPTS["sick_child"] += 1

    @dg.asset
    def healthy() -> None:
        time.sleep(0.3)

    @dg.asset(deps=[healthy])
    def healthy_child() -> None:
        ATTEMPTS["healthy_child"] += 1

    return job(sick, sick_child, healthy, healthy_child)


def test_a_failed_step_stops_its_children_only(instance: dg.DagsterInstance) -> None:
    result = run(broken, instance)
    assert not result.success
    assert ATTEMPTS == {"healthy_child": 1}
    assert keys(result, dg.DagsterEventType.STEP_SUCCESS) == {"healthy", "healthy_child"}


# -- limits by tag ------------------------------------------------------------------------------------------------


def huge() -> dg.JobDefinition:
    def one(number: int) -> dg.AssetsDefinition:
        size = "huge" if number < 4 else "small"

        @dg.asset(name=f"{size}_{number}", op_tags={"isync/size": size})
        def body() -> None:
            busy(size, 0.3)

        return body

    return job(*(one(number) for number in range(8)), limits=[{"key": "isync/size", "value": "huge", "limit": 1}])


def test_steps_of_a_tag_are_limited_apart_from_the_others(instance: dg.DagsterInstance) -> None:
    assert run(huge, instance).success
    assert PEAK["huge"] == 1
    assert PEAK["small"] > 1


# -- cancellation -------------------------------------------------------------------------------------------------


def long() -> dg.JobDefinition:
    @dg.asset(pool="sf_target")
    def polls(context: dg.AssetExecutionContext) -> None:
        token = Token(context.run_id)
        ATTEMPTS["polls"] += 1
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        for _ in range(100):
            if token.is_set():
                ATTEMPTS["saw the token"] += 1
                raise dg.Failure("stopped cleanly", allow_retries=False)
            time.sleep(0.05)

    @dg.asset
    def finishes() -> None:
        time.sleep(0.6)
        ATTEMPTS["finishes"] += 1

    @dg.asset(deps=[finishes])
    def never_starts() -> None:
        ATTEMPTS["never_starts"] += 1

    return job(polls, finishes, never_starts)


def test_an_interrupt_reaches_running_verbs_and_starts_nothing_new(instance: dg.DagsterInstance) -> None:
    result = run(long, instance)
    assert ATTEMPTS == {"polls": 1, "saw the token": 1, "finishes": 1}
    assert not result.success
    assert keys(result, dg.DagsterEventType.STEP_SUCCESS) == {"finishes"}
    assert instance.event_log_storage.get_concurrency_info("sf_target").active_slot_count == 0
    texts = [event.message or "" for event in result.all_events]
    assert any("no new steps; waiting for" in text for text in texts)


def hangs() -> dg.JobDefinition:
    @dg.asset(pool="sf_target")
    def deaf(context: dg.AssetExecutionContext) -> None:
        token = Token(context.run_id)

        def interrupt_twice() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            # Two interrupts at one look would count as one: the second comes once the first has been seen.
            while not token.is_set():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Timer(0.2, interrupt_twice).start()
        RELEASED.wait()

    return job(deaf)


def test_a_second_interrupt_does_not_wait_and_frees_the_slots(instance: dg.DagsterInstance) -> None:
    RELEASED.clear()
    # The step listens to nobody: the run can only come back because it does not wait for it.
    try:
        result = run(hangs, instance)
        assert not RELEASED.is_set()
    finally:
        RELEASED.set()
    assert not result.success
    assert instance.event_log_storage.get_concurrency_info("sf_target").active_slot_count == 0


def test_a_signal_at_the_end_of_a_tick_does_not_hold_the_run_up() -> None:
    """The signal comes within a tick and is dealt with after it: under load that is what an interrupt does."""
    threads = _Threads()
    before = signal.signal(signal.SIGUSR1, lambda *_: time.sleep(2 * TICK))
    threading.Timer(TICK / 2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    rescue = threading.Timer(10, threads.reports.put, (_Finished("rescue", None),))
    rescue.start()
    try:
        assert threads.take() is None
    finally:
        rescue.cancel()
        signal.signal(signal.SIGUSR1, before)


# -- hooks, outputs, one setting ----------------------------------------------------------------------------------


def hooked() -> dg.JobDefinition:
    @dg.success_hook
    def remember(context: dg.HookContext) -> None:
        ATTEMPTS[f"hook {context.op.name}"] += 1

    @dg.op
    def first() -> int:
        return 41

    @dg.op
    def second(number: int) -> None:
        ATTEMPTS["second"] = number + 1

    @dg.job(executor_def=threaded_executor, hooks={remember})
    def hooks() -> None:
        second(first())

    return hooks


def test_op_jobs_pass_values_and_run_hooks(instance: dg.DagsterInstance) -> None:
    assert run(hooked, instance).success
    assert ATTEMPTS == {"second": 42, "hook first": 1, "hook second": 1}


def test_one_setting_chooses_the_executor() -> None:
    assert executor("threads").name == "threads"
    assert executor("processes").name == "processes"
    assert executor("in_process") is dg.in_process_executor
