"""What a scenario file may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from isync_dagster.local_org.faults import Fault

Order = Literal["shuffled", "sent", "reversed"]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Locks(_Block):
    """Row locks (UNABLE_TO_LOCK_ROW): contention of one job's parallel batches, and rows that somebody else holds.

    The platform saves a batch in chunks of 200 rows; a chunk locks the parents of its rows. Batches of a job run
    side by side, so chunks at the same place of their batches run at the same moment. A parent that more than
    `degree` of them ask for is refused to the rest. Rows sorted by parent meet within one batch and do not contend;
    neither do the batches of a serial job.
    """

    parallel: Annotated[int, Field(ge=1, description="Batches of a job that run side by side; 1 is serial.")] = 4
    degree: Annotated[int, Field(ge=1, description=(
        "Batches that get the lock of one parent within the wait of 10 seconds; those beyond are refused."
    ))] = 1  # fmt: skip
    batch_rows: Annotated[int, Field(ge=1, description="Rows of a batch; the platform's are 10,000.")] = 10_000
    chunk_rows: Annotated[int, Field(ge=1, description="Rows that are saved together.")] = 200
    objects: Annotated[tuple[str, ...], Field(description="Only when these are loaded; empty: all.")] = ()
    held: Annotated[float, Field(ge=0, le=1, description="Share of parents and of rows that somebody holds.")] = 0.0
    held_writes: Annotated[int, Field(ge=1, description=(
        "Writes of each object (a batch window, a collections call) for which they are held."))] = 1  # fmt: skip


class Timeouts(_Block):
    """Batches that do not end within their 10 minutes: a part is committed, and the platform tries again.

    Without `fails` the batch ends at the last retry: the job is JobComplete with `retries` above zero. With it the
    job is Failed after ten retries; the part is committed and yet listed as unprocessed, as is all that follows.
    """

    batches: Annotated[tuple[int, ...], Field(description="Which batches of a job, from 0.")] = (0,)
    batch_rows: Annotated[int, Field(ge=1, description="Rows of a batch; the platform's are 10,000.")] = 10_000
    committed_rows: Annotated[int, Field(ge=1, description="Rows that each try commits before its end.")] = 200
    retries: Annotated[int, Field(ge=1, le=10, description="Tries that time out before one ends.")] = 1
    fails: Annotated[bool, Field(description="No try ends: the job fails.")] = False
    objects: Annotated[tuple[str, ...], Field(description="Only when these are loaded; empty: all.")] = ()
    jobs: Annotated[int | None, Field(ge=1, description="How many jobs meet it; null: all.")] = 1


class Limits(_Block):
    """What is left of the org's allowances."""

    requests: Annotated[int | None, Field(ge=0, description="API calls: then 403 REQUEST_LIMIT_EXCEEDED.")] = None
    concurrent: Annotated[int | None, Field(ge=1, description="Calls at the same time; more get 403.")] = None
    batches: Annotated[int | None, Field(ge=0, description="Batches of Bulk ingest jobs.")] = None
    query_jobs: Annotated[int | None, Field(ge=0, description="Bulk query jobs.")] = None
    storage_rows: Annotated[int | None, Field(ge=0, description=(
        "New rows that fit; more get STORAGE_LIMIT_EXCEEDED."))] = None  # fmt: skip


class Scenario(_Block):
    """A named set of troubles; the same seed gives the same trouble."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="Name, as the file's.")]
    description: Annotated[str, Field(min_length=1, description="One line: what happens.")]
    seed: Annotated[int, Field(description="Decides everything that looks random.")] = 1
    calls: Annotated[tuple[Fault, ...], Field(description="Rules that single calls meet.")] = ()
    locks: Annotated[Locks | None, Field(description="Row locks.")] = None
    timeouts: Annotated[Timeouts | None, Field(description="Batches that time out.")] = None
    results: Annotated[Order, Field(description="Order of the rows in an ingest job's result files.")] = "shuffled"
    limits: Annotated[Limits | None, Field(description="What is left of the allowances.")] = None

    @property
    def kills(self) -> bool:
        """True where it ends the server's process."""
        return any(rule.kind == "kill" for rule in self.calls)
