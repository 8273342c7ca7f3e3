"""What several processes do at once to one store. Top-level functions, so that spawned processes find them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import polars as pl
from upath import UPath

from isync_dagster.errors import LeaseHeldError
from isync_dagster.store import disk, files
from isync_dagster.store.layout import JobKey
from isync_dagster.store.store import Store

_spawn = multiprocessing.get_context("spawn")
T0 = datetime(2024, 1, 1, tzinfo=UTC)


def race(act: Callable[..., Any], workers: int, *arguments: Any) -> list[Any]:
    """What `act(worker, *arguments)` gave in each of several processes that start at the same moment."""
    barrier = _spawn.Barrier(workers)
    pairs = [_spawn.Pipe(duplex=False) for _ in range(workers)]
    processes = [
        _spawn.Process(target=_run, args=(act, number, barrier, sender, arguments))
        for number, (_, sender) in enumerate(pairs)
    ]
    for process in processes:
        process.start()
    for _, sender in pairs:
        sender.close()
    try:
        results = [receiver.recv() for receiver, _ in pairs]
    finally:
        for process in processes:
            process.join()
        for receiver, _ in pairs:
            receiver.close()
    return results


def _run(act: Callable[..., Any], number: int, barrier: Any, sender: Connection, arguments: tuple[Any, ...]) -> None:
    barrier.wait()
    try:
        result = act(number, *arguments)
    except BaseException:
        barrier.abort()
        raise
    # Nobody leaves before all have acted: a process that is gone holds no lease.
    barrier.wait()
    sender.send(result)
    sender.close()


@contextmanager
def paused(act: Callable[..., None], *arguments: Any) -> Iterator[BaseProcess]:
    """A process that runs `act(say, *arguments)` and has said where it is; killed at the end of the block."""
    receiver, sender = _spawn.Pipe(duplex=False)
    process = _spawn.Process(target=_say_and_wait, args=(act, sender, arguments))
    process.start()
    sender.close()
    try:
        receiver.recv()
        yield process
    finally:
        kill(process)
        process.join()
        receiver.close()


def kill(process: BaseProcess) -> None:
    """kill -9; the process is a zombie until it is joined."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)


def _say_and_wait(act: Callable[..., None], sender: Connection, arguments: tuple[Any, ...]) -> None:
    def say() -> None:
        sender.send("here")
        while True:
            time.sleep(60)

    act(say, *arguments)


# ── what the workers do ──────────────────────────────────────────────────────────────────────────────────


def create_many(worker: int, folder: str, count: int) -> list[int]:
    """The numbers that this worker created first."""
    return [
        number for number in range(count) if files.create_if_absent(UPath(folder) / f"{number}.json", {"by": worker})
    ]


def open_runs(worker: int, url: str, job: JobKey, rounds: int) -> list[tuple[int, str, int]]:
    """(run, its plan hash, worker in its plan) each round; after each round the run is closed."""
    runs = Store.open(url).runs(job)
    seen = []
    for _ in range(rounds):
        run = runs.open_or_resume({"worker": worker}, f"plan of {worker}", T0, f"worker {worker}")
        seen.append((run.number, run.plan_hash, run.plan()["worker"]))
        run.close({"by": worker})
    return seen


def take_lease_once(worker: int, url: str, target: str) -> str:
    """'held', or the name of the holder that was in the way. Nobody releases."""
    try:
        Store.open(url).lease(target).acquire(f"run {worker}", f"worker {worker}")
    except LeaseHeldError as error:
        return str(error.details["holder"])
    return "held"


def write_under_lease(worker: int, url: str, target: str, label: str, rounds: int, inside: str) -> list[str]:
    """Labels of other runs that were seen at work while this worker held the lease."""
    desk = Store.open(url).lease(target)
    mine = Path(inside) / f"{label}.{worker}"
    trespassers = []
    for _ in range(rounds):
        while True:
            try:
                lease = desk.acquire(label, f"worker {worker}")
                break
            except LeaseHeldError:
                time.sleep(0.001)
        with lease:
            mine.touch()
            lease.check()
            trespassers += [name.name for name in Path(inside).iterdir() if name.name.split(".")[0] != label]
            mine.unlink()
    return trespassers


def record_transitions(worker: int, url: str, job: JobKey, chunks: int) -> list[int]:
    """Chunks that this worker planned first."""
    run = Store.open(url).runs(job).latest()
    assert run is not None
    ledger = run.ledger("load", "Account")
    rows = pl.DataFrame({"_row": [worker]})
    return [chunk for chunk in range(chunks) if ledger.plan(chunk, 1, rows, {"worker": worker})]


def append_parts(worker: int, url: str, source: str, target: str, count: int) -> int:
    """Rows added to the id map, a part at a time, each row of an id of its own."""
    idmap = Store.open(url).idmap(source, target)
    added = 0
    for number in range(count):
        frame = pl.DataFrame({"source_id": [f"{worker}-{number}"], "target_id": ["t"], "how": ["inserted"]})
        added += idmap.append("Account", "Account", frame, "demo", "all", 1, f"{worker}-{number}")
    return added


# ── where a worker is stopped ────────────────────────────────────────────────────────────────────────────


def stop_before_publish(say: Callable[[], None], path: str) -> None:
    """Write a JSON file, and stop when its bytes are written and its name is not."""
    disk.sync_file = lambda place: say()
    files.write_json(UPath(path), {"new": "x" * 10_000})


def stop_before_link(say: Callable[[], None], path: str) -> None:
    """Create a JSON file, and stop when its bytes are written and its name is not."""
    disk.sync_file = lambda place: say()
    files.create_if_absent(UPath(path), {"new": True})


def stop_in_sink(say: Callable[[], None], path: str) -> None:
    """Stream rows into a Parquet file, and stop in the middle of them."""

    def look(batch: pl.DataFrame) -> pl.DataFrame:
        if any(place.stat().st_size for place in Path(path).parent.iterdir()):
            say()
        return batch

    rows = pl.LazyFrame({"n": pl.int_range(0, 5_000_000, eager=True)}).select(pl.col("n").hash())
    files.write_parquet(UPath(path), rows.map_batches(look, streamable=True))


def stop_with_rows(say: Callable[[], None], url: str, job: JobKey) -> None:
    """Plan a chunk, and stop when its rows are written and the entry is not."""
    run = Store.open(url).runs(job).latest()
    assert run is not None

    def stop(path: UPath, data: bytes) -> bool:
        say()
        return True

    disk.write_new = stop
    run.ledger("load", "Account").plan(1, 1, pl.DataFrame({"_row": [1, 2, 3]}), {})


def stop_with_lease(say: Callable[[], None], url: str, target: str) -> None:
    """Take the lease and stop."""
    Store.open(url).lease(target).acquire("demo/all/1", "the one that was killed")
    say()
