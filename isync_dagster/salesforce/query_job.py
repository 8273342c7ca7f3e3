"""A Bulk query job and its pages, as values: what can be written down and read back by a resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_FINISHED = frozenset({"JobComplete", "Failed", "Aborted"})


@dataclass(frozen=True)
class QueryJob:
    """A query job as the org describes it; `processed` is known once it is complete."""

    id: str
    state: str
    object: str = ""
    operation: str = "query"
    api_version: str = ""
    processed: int | None = None
    retries: int = 0
    error_message: str | None = None
    pk_chunking: bool | None = None
    total_processing_ms: int | None = None

    @property
    def finished(self) -> bool:
        """True in a state that does not change any more."""
        return self.state in _FINISHED

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> QueryJob:
        """Read a job info."""
        processed, spent = answer.get("numberRecordsProcessed"), answer.get("totalProcessingTime")
        version = answer.get("apiVersion")
        return cls(
            id=str(answer["id"]),
            state=str(answer.get("state") or ""),
            object=str(answer.get("object") or ""),
            operation=str(answer.get("operation") or "query"),
            api_version=f"{float(version):.1f}" if version else "",
            processed=None if processed is None else int(processed),
            retries=int(answer.get("retries") or 0),
            error_message=answer.get("errorMessage") or None,
            pk_chunking=answer.get("isPkChunkingSupported"),
            total_processing_ms=None if spent is None else int(spent),
        )


@dataclass(frozen=True)
class PageRef:
    """A page of a result: its place and locator (None: the first one). `chained`: the next one is known after it."""

    index: int
    locator: str | None
    chained: bool = False
    path: str | None = None


@dataclass(frozen=True)
class PageFile:
    """A page on disk, header row first: proved whole. `next_locator` is None on the last one of a chain."""

    index: int
    locator: str | None
    rows: int
    path: Path
    next_locator: str | None
    bytes: int
    chained: bool = False

    def to_json(self) -> dict[str, Any]:
        """The page for a cursor file."""
        return {**asdict(self), "path": str(self.path)}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> PageFile:
        """A page read back from a cursor file."""
        return cls(**{**item, "path": Path(item["path"])})
