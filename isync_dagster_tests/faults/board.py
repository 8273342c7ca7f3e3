"""The sweep's table: what was done to a run at which point, and how it ended."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

ARRIVED = "arrived"
"""The run came through by itself."""
WENT_ON = "stopped, went on"
"""The run stopped with a message, or its process died; done again, it came to the same end."""
REFUSED = "stopped, fixed, went on"
"""The run stopped, somebody did what the message says, and it came to the same end."""


class Board:
    """Outcomes by fault and point, kept in a file a process, so that parallel test processes add to one table."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"board-{worker}.jsonl"

    def add(self, fault: str, point: str, outcome: str, cases: int = 1) -> None:
        """One case, or several of a kind."""
        with self._path.open("a") as file:
            file.write(json.dumps([fault, point, outcome, cases]) + "\n")


def read(folder: Path) -> Counter[tuple[str, str, str]]:
    """(fault, point, outcome) -> cases, of all processes."""
    found: Counter[tuple[str, str, str]] = Counter()
    for path in sorted(folder.glob("board-*.jsonl")):
        for line in path.read_text().splitlines():
            fault, point, outcome, cases = json.loads(line)
            found[fault, point, outcome] += cases
    return found


def table(cases: Counter[tuple[str, str, str]]) -> list[str]:
    """The table as Markdown: a row a fault and point, the outcomes beside each other."""
    outcomes = [name for name in (ARRIVED, WENT_ON, REFUSED) if any(key[2] == name for key in cases)]
    outcomes += sorted({key[2] for key in cases} - set(outcomes))
    rows = sorted({key[:2] for key in cases})
    lines = [f"| fault | point | {' | '.join(outcomes)} |", f"|---|---|{'---:|' * len(outcomes)}"]
    for fault, point in rows:
        numbers = [str(cases[fault, point, outcome] or "") for outcome in outcomes]
        lines.append(f"| {fault} | {point} | {' | '.join(numbers)} |")
    return lines
