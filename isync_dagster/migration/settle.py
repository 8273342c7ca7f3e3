"""Settle: what became of rows that were sent and whose outcome is `unknown`.

First the target is looked at once more, by content: what it held against a row may be gone by now. What is left is
for a person to say, row by row: it is this record, or it was not sent. Either way the decision is an entry of the
ledger (`settled`), a row of the audit log, and the run goes on from it: rows that were not sent are sent then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.migration.answers import AGAIN, OUTCOME_SCHEMA
from isync_dagster.migration.load import claimed_ids
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.sending import Sender
from isync_dagster.migration.settling import candidates_since, match_content, sent_fields, settle_inserts
from isync_dagster.migration.steps import sender_of
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.ids import to18
from isync_dagster.store import files
from isync_dagster.store.runs import Run

NOT_SENT = "not-sent"
SENT = "sent:"
CANDIDATES = 20
"""Candidates that are shown of a chunk; all are in the target."""

UNKNOWN_SCHEMA: dict[str, Any] = {
    "object": pl.String,
    "source_id": pl.String,
    "step": pl.String,
    "chunk": pl.Int64,
    "sf_job_id": pl.String,
    "sent_at": pl.String,
    "sent": pl.String,
    "candidates": pl.String,
    "decision": pl.String,
}
"""One row a record whose outcome is unknown: `sent` is what was sent as JSON, `candidates` the target ids it might be
(with spaces between them), `decision` is empty, for a person to fill in."""


@dataclass(frozen=True)
class Settlement:
    """What settling did: rows found in the target, rows to be sent again, and what is left (UNKNOWN_SCHEMA)."""

    run: int
    found: int
    not_sent: int
    left: pl.DataFrame


@dataclass(frozen=True)
class _Chunk:
    """A chunk of the ledger that holds rows of unknown outcome."""

    plan: ObjectPlan
    sender: Sender
    number: int
    attempt: int
    payload: Mapping[str, Any]
    rows: pl.DataFrame
    """The rows as they were sent: `_row`, `_source_id`, the columns."""
    outcome: pl.DataFrame

    @property
    def columns(self) -> list[str]:
        return [name for name in self.rows.columns if not name.startswith("_")]

    @property
    def since(self) -> datetime:
        return datetime.fromisoformat(self.payload["sent_at"])


def settle(
    job: SyncJob, objects: Sequence[str] = (), decisions: pl.DataFrame | None = None, *, look: bool = True
) -> Settlement:
    """Settle the unknown rows of the phase's newest run (of some objects): by a second look, then by a person's word.

    `decisions` has `source_id` and `decision` (`not-sent`, or `sent:<target id>`), and may have `object`. Nothing is
    written to an org. Raises `ConfigError` over a decision that cannot be right: a record that is not there, that
    another source record has, or a row whose outcome is known; then nothing at all is decided.
    """
    run = _run(job)
    plans = [job.object(name) for name in objects] or list(job.plan.objects_in(job.phase))
    found = again = 0
    if look:
        for chunk in _chunks(job, run, plans):
            settled = settle_inserts(
                job,
                chunk.plan,
                chunk.rows,
                columns=chunk.columns,
                since=chunk.since,
                taken=claimed_ids(job, run, chunk.plan),
                folder=_scratch(run, chunk, "look"),
            )
            named = chunk.rows.select("_row", "_source_id")
            here = settled.found.join(named, on="_row").select("_source_id", "target_id")
            gone = settled.absent.join(named, on="_row").select("_source_id")
            _decide(
                job, chunk, here, gone, "found by a second look at the target", "not in the target by a second look"
            )
            found, again = found + here.height, again + gone.height
    if decisions is not None and decisions.height:
        chunks = _chunks(job, run, plans)
        checked = _checked(job, chunks, decisions)
        for chunk in chunks:
            mine = checked.join(chunk.rows.select("_source_id"), on="_source_id", how="semi")
            here = mine.filter(pl.col("target_id").is_not_null()).select("_source_id", "target_id")
            gone = mine.filter(pl.col("target_id").is_null()).select("_source_id")
            by = job.opened_by
            _decide(job, chunk, here, gone, f"sent, by the word of {by}", f"not sent, by the word of {by}")
            found, again = found + here.height, again + gone.height
    return Settlement(run.number, found, again, _shown(job, run, _chunks(job, run, plans)))


def unknown_rows(job: SyncJob, objects: Sequence[str] = ()) -> pl.DataFrame:
    """The rows of the phase's newest run whose outcome is unknown (UNKNOWN_SCHEMA), with what they might be."""
    run = _run(job)
    plans = [job.object(name) for name in objects] or list(job.plan.objects_in(job.phase))
    return _shown(job, run, _chunks(job, run, plans))


def read_decisions(path: Path) -> pl.DataFrame:
    """The decisions in a CSV file: `source_id`, `decision`, and `object` where it has one; empty decisions are left out.

    Raises `ConfigError` where the file cannot be read or lacks a column.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"The decisions {path} cannot be read: {error}") from error
    missing = sorted({"source_id", "decision"} - set(frame.columns))
    if missing:
        raise ConfigError(
            f"The decisions {path} have no column {', '.join(missing)} (found: {', '.join(frame.columns)}). `isync settle "
            "… --export FILE` writes a file to fill in."
        )
    names = [name for name in ("object", "source_id", "decision") if name in frame.columns]
    return frame.select(names).filter(pl.col("decision").str.strip_chars() != "")


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────


def _run(job: SyncJob) -> Run:
    run = job.store.runs(job.key).latest()
    if run is None:
        raise ConfigError(f"Phase {job.phase!r} of {job.plan.template!r} has never run: there is nothing to settle.")
    return run


def _chunks(job: SyncJob, run: Run, plans: Sequence[ObjectPlan]) -> list[_Chunk]:
    """The chunks with unknown rows: few, since each stops the run."""
    found = []
    names = {plan.object for plan in plans}
    for step, name in run.ledgers():
        if name not in names or step.startswith(("heal", "rollback")):
            continue  # updates and deletions are repeated: their outcome is never unknown
        plan = job.object(name)
        sender = sender_of(job, run, plan, step)
        for number, (attempt, state) in sender.ledger.states().items():
            if state in ("settled", "paired"):
                sender.finish_decision(number)
            elif state != "done":
                continue
            if sender.in_flight(number):
                continue
            outcome = sender.outcome(number)
            unknown = outcome.filter(pl.col("state") == State.UNKNOWN).select("_row")
            if unknown.is_empty():
                continue
            entry = sender.ledger.last(number)
            assert entry is not None
            rows = sender.ledger.rows(number, attempt).join(unknown.lazy(), on="_row", how="semi").collect()
            found.append(_Chunk(plan, sender, number, attempt, entry.payload, rows, outcome))
    return found


def _decide(job: SyncJob, chunk: _Chunk, found: pl.DataFrame, absent: pl.DataFrame, here: str, gone: str) -> None:
    """Record decisions about rows of a chunk (`_source_id`, and `target_id` of those that are there)."""
    if found.is_empty() and absent.is_empty():
        return
    open_rows = chunk.outcome.filter(pl.col("state").is_in([str(State.UNKNOWN), AGAIN]))
    said = pl.concat(
        [found.select("_source_id", _to="target_id"), absent.select("_source_id", _to=pl.lit(None, pl.String))]
    )
    said = said.with_columns(_said=pl.lit(True))
    joined = open_rows.join(said, on="_source_id", how="left", maintain_order="left")
    decided = pl.col("_said").eq_missing(True)
    there = decided & pl.col("_to").is_not_null()
    outcome = joined.with_columns(
        target_id=pl.when(decided).then(pl.col("_to")).otherwise(pl.col("target_id")),
        state=pl.when(there)
        .then(pl.lit(str(State.INSERTED)))
        .when(decided)
        .then(pl.lit(AGAIN))
        .otherwise(pl.col("state")),
        message=pl.when(there).then(pl.lit(here)).when(decided).then(pl.lit(gone)).otherwise(pl.col("message")),
    ).select([pl.col(name).cast(kind) for name, kind in OUTCOME_SCHEMA.items()])
    payload = {
        "by": job.opened_by,
        "found": found.height,
        "not_sent": absent.height,
        "how": here if found.height else gone,
    }
    chunk.sender.decide(chunk.number, chunk.attempt + 1, outcome, payload)


def _checked(job: SyncJob, chunks: Sequence[_Chunk], decisions: pl.DataFrame) -> pl.DataFrame:
    """The decisions as `_source_id`, `target_id` (null: not sent), each proved to be possible."""
    word = pl.col("decision").str.strip_chars()
    said = decisions.select(
        to18(pl.col("source_id")).alias("_source_id"),
        word.alias("decision"),
        to18(word.str.strip_prefix(SENT)).alias("target_id"),
    ).with_columns(target_id=pl.when(pl.col("decision").str.starts_with(SENT)).then(pl.col("target_id")))
    wrong = said.filter((pl.col("decision") != NOT_SENT) & pl.col("target_id").is_null())
    if wrong.height:
        raise ConfigError(
            f"A decision is `{NOT_SENT}` or `{SENT}<target id>`, not {wrong['decision'][0]!r} (of {wrong['_source_id'][0]})."
        )
    for column, what in (("_source_id", "source record"), ("target_id", "target record")):
        twice = said.drop_nulls(column).filter(pl.col(column).is_duplicated())
        if twice.height:
            raise ConfigError(f"The {what} {twice[column][0]} is in two decisions: one of them must be wrong.")
    unknown = (
        pl.concat([chunk.rows.select("_source_id") for chunk in chunks])
        if chunks
        else said.select("_source_id").clear()
    )
    strange = said.join(unknown, on="_source_id", how="anti")
    if strange.height:
        raise ConfigError(
            f"The outcome of {strange['_source_id'][0]} is known, or it was never sent: there is nothing to decide. "
            f"`isync settle {job.plan.template} --phase {job.phase}` lists the rows whose outcome is not."
        )
    for chunk in chunks:
        mine = said.join(chunk.rows.select("_source_id"), on="_source_id", how="semi").drop_nulls("target_id")
        if mine.height:
            _prove(job, chunk, mine["target_id"])
    return said.select("_source_id", "target_id")


def _prove(job: SyncJob, chunk: _Chunk, ids: pl.Series) -> None:
    """Raise `ConfigError` unless every id is a record of the object in the target that no other source record has."""
    for start in range(0, len(ids), 300):
        some = ids.slice(start, 300).to_list()
        if not all(item.isalnum() for item in some):
            raise ConfigError(f"{next(item for item in some if not item.isalnum())!r} is no id of Salesforce.")
        listed = ", ".join(f"'{item}'" for item in some)
        there = job.target.query(f"SELECT Id FROM {chunk.plan.target_object} WHERE Id IN ({listed})")
        known = there.select(to18(pl.col("Id")))["Id"].to_list() if there.height else []
        for item in some:
            if item not in known:
                raise ConfigError(f"The target has no {chunk.plan.target_object} {item}: it cannot be what was sent.")
    id_map = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read(chunk.plan.object)
    taken = id_map.filter(pl.col("target_id").is_in(ids.implode())).head(1).collect()
    if taken.height:
        raise ConfigError(
            f"{taken['target_id'][0]} is the counterpart of {taken['source_id'][0]} already: it cannot be what was sent."
        )


def _shown(job: SyncJob, run: Run, chunks: Sequence[_Chunk]) -> pl.DataFrame:
    """The rows of chunks for people (UNKNOWN_SCHEMA)."""
    frames = [pl.DataFrame(schema=UNKNOWN_SCHEMA)]
    for chunk in chunks:
        candidates = _candidates(job, run, chunk)
        sent = pl.struct(chunk.columns).struct.json_encode()
        frames.append(
            chunk.rows.select(
                object=pl.lit(chunk.plan.object),
                source_id="_source_id",
                step=pl.lit(chunk.sender.stage),
                chunk=pl.lit(chunk.number, dtype=pl.Int64),
                sf_job_id=pl.lit(chunk.payload.get("job_id"), dtype=pl.String),
                sent_at=pl.lit(chunk.payload["sent_at"]),
                sent=sent,
                candidates=pl.lit(" ".join(candidates)),
                decision=pl.lit("", dtype=pl.String),
            )
        )
    return pl.concat(frames)


def _candidates(job: SyncJob, run: Run, chunk: _Chunk) -> list[str]:
    """Records that this user made since the send and that no source record has: what the rows might be."""
    fields = [field for field in sent_fields(chunk.plan, chunk.columns) if field.bulk_selectable]
    there = candidates_since(job, chunk.plan, fields, since=chunk.since, folder=_scratch(run, chunk, "shown"))
    free = there.filter(~pl.col("Id").is_in(claimed_ids(job, run, chunk.plan).implode()))
    exact = match_content(chunk.rows, free, fields).found["target_id"].to_list()
    return list(dict.fromkeys([*exact, *free["Id"].sort().to_list()]))[:CANDIDATES]


def _scratch(run: Run, chunk: _Chunk, what: str) -> Any:
    """Where the target is read to: anew each time, since it has changed since the last look."""
    folder = run.folder / "settle" / chunk.sender.stage / chunk.plan.object / f"{chunk.number:06d}-{what}"
    files.remove_tree(folder)
    return folder


def as_csv(rows: pl.DataFrame, path: Path) -> None:
    """Write unknown rows for a person to fill in the column `decision`."""
    try:
        rows.write_csv(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def describe(row: Mapping[str, Any]) -> str:
    """What was sent of one row as people read it: the filled columns.

    >>> describe({"sent": '{"Name":"Ann","Zip__c":null}'})
    'Name=Ann'
    """
    cells = json.loads(row["sent"])
    return ", ".join(f"{name}={value}" for name, value in cells.items() if value is not None)
