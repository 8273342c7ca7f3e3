"""Memory and processor time of a command with all its processes, sampled while it runs."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

EVERY = 0.1


@dataclass
class Usage:
    """What a command used: seconds, bytes, and (seconds since start, bytes resident) samples."""

    wall: float = 0.0
    cpu: float = 0.0
    peak_rss: int = 0
    status: int = 0
    samples: list[tuple[float, int]] = field(default_factory=list)


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Usage:
    """Run a command to its end and measure it with every process it starts. Its output goes to `log`."""
    usage = Usage()
    started = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(environment), cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        watcher = threading.Thread(target=_watch, args=(process.pid, usage, started), daemon=True)
        watcher.start()
        usage.status = process.wait()
    usage.wall = time.perf_counter() - started
    watcher.join()
    return usage


def _watch(pid: int, usage: Usage, started: float) -> None:
    cpu: dict[int, float] = {}
    try:
        root = psutil.Process(pid)
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            resident = 0
            for process in (root, *root.children(recursive=True)):
                try:
                    resident += process.memory_info().rss
                    times = process.cpu_times()
                    cpu[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
            usage.samples.append((time.perf_counter() - started, resident))
            usage.peak_rss = max(usage.peak_rss, resident)
            usage.cpu = sum(cpu.values())
            time.sleep(EVERY)
    except psutil.NoSuchProcess:
        return
