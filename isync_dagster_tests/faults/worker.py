"""Workers that can be killed: processes that are forked from one that has everything imported.

Run as a program it reads commands, a JSON line each (`{"run": recipe}`, `{"wait": pid}`), and ends, with all its
children, when its input does. Nothing is computed before a fork: polars' threads do not survive one.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl
import pytest
from polars.io.plugins import register_io_source
from upath import UPath

from isync_dagster.store import files
from isync_dagster_tests.faults.deeds import DEEDS, job_of
from isync_dagster_tests.faults.points import Watch

ROOT = Path(__file__).parents[2]
PR_SET_PDEATHSIG = 1


class Workers:
    """The forking process; a context manager that ends it and whatever it has started."""

    def __enter__(self) -> Workers:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "isync_dagster_tests.faults.worker"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def start(self, recipe: Path) -> int:
        """Begin the deed of a recipe in a new process; its pid."""
        return int(self._ask({"run": str(recipe)}))

    def start_endless_write(self, path: str) -> int:
        """Begin to write a Parquet file that does not end; the pid."""
        return int(self._ask({"write": path}))

    def wait(self, pid: int) -> int:
        """The exit status of a worker, negative where a signal ended it."""
        return int(self._ask({"wait": pid}))

    def run(self, recipe: Path) -> int:
        """Begin and wait."""
        return self.wait(self.start(recipe))

    def _ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    """Answer commands until the input ends."""
    children: set[int] = set()
    for line in sys.stdin:
        command = json.loads(line)
        if "wait" not in command:
            pid = os.fork()
            if pid == 0:
                _live(command)
            children.add(pid)
            answer = pid
        else:
            _, status = os.waitpid(command["wait"], 0)
            children.discard(command["wait"])
            answer = os.waitstatus_to_exitcode(status)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _write_without_end(path: str) -> None:
    """Rows that never stop coming, streamed into one file of the store."""

    def rows(*_: Any) -> Iterator[pl.DataFrame]:
        while True:
            yield pl.select(n=pl.int_range(50_000)).with_columns(text=pl.col("n").hash(1).cast(pl.String))

    files.write_parquet(UPath(path), register_io_source(rows, schema={"n": pl.Int64, "text": pl.String}))


def _live(command: dict[str, Any]) -> None:
    """The life of a worker; what went wrong lies beside the recipe."""
    status = 1
    path = Path(command.get("run", os.devnull))
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        if "write" in command:
            _write_without_end(command["write"])
        recipe = json.loads(path.read_text())
        os.environ.update(recipe.get("env", {}))
        log = Path(recipe["log"]) if "log" in recipe else None
        Watch(recipe["store"], log, recipe.get("fatal")).put_on(pytest.MonkeyPatch())
        DEEDS[recipe["deed"]].act(job_of(recipe))
        status = 0
    except BaseException as error:  # noqa: BLE001 - the end of a process: all is written down
        told = {"type": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}
        path.with_suffix(".error").write_text(json.dumps(told))
    finally:
        from isync_dagster.migration.writing import release_all

        release_all()
        os._exit(status)


if __name__ == "__main__":
    serve()
