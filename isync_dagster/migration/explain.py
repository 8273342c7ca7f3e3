"""Explain: all that the store knows of one record, by its source or target id. No org is asked.

Everything is found by predicates that Parquet pushes down: of each file only the rows of the record are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from isync_dagster.errors import ConfigError, PlanError
from isync_dagster.migration.cleanup import missing_of
from isync_dagster.migration.links import link_states
from isync_dagster.migration.remap import has_rows, remapped
from isync_dagster.migration.rollback_audit import ATTEMPTS, HELD
from isync_dagster.plan.model import ObjectPlan, Plan
from isync_dagster.records.ids import to18
from isync_dagster.salesforce.outcome import classify
from isync_dagster.store import files
from isync_dagster.store.layout import JobKey
from isync_dagster.store.ledger import ChunkState
from isync_dagster.store.rollbacks import rollbacks
from isync_dagster.store.runs import Run
from isync_dagster.store.store import Store

_ID = re.compile(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?")


@dataclass(frozen=True)
class Link:
    """One lookup of the record in one run."""

    field: str
    state: str
    """linked, pending, defaulted, dropped, kept, failed or empty, as it is now"""
    policy: str
    source_parent_id: str | None
    target_parent_id: str | None


@dataclass(frozen=True)
class Event:
    """What one stage of a run did with the record, as the audit log has it."""

    stage: str
    state: str
    rule: str | None
    code: str | None
    message: str | None
    fields: str | None
    advice: str
    attempt: int | None
    job_id: str | None
    sent_at: str | None
    at: str | None
    sent: Mapping[str, str] = field(default_factory=dict)
    """The cells that went out, by field; empty where nothing was sent or the rows were cleaned up."""


@dataclass(frozen=True)
class Visit:
    """One run that touched the record."""

    template: str
    phase: str
    run: int
    state: str
    opened_at: str
    opened_by: str
    source_id: str
    target_id: str | None
    decision: str | None
    matched_by: str | None
    reason: str | None
    links: tuple[Link, ...]
    events: tuple[Event, ...]
    before: Mapping[str, Mapping[str, Any]]
    """Before-images by step: the values that an update replaced."""
    missing: tuple[str, ...]
    """What of the run was cleaned up, when and why."""


@dataclass(frozen=True)
class Explanation:
    """One record of one org pair."""

    object: str
    source_org_id: str
    target_org_id: str
    source_id: str
    target_id: str | None
    """Its counterpart by the id map now; None where it has none."""
    id_map: tuple[Mapping[str, Any], ...]
    """Every entry that the id map ever had of it, oldest first; `gone` says why an entry ended."""
    pending: tuple[Mapping[str, Any], ...]
    """Its lookups that waited or wait: field, source_parent_id, healed."""
    visits: tuple[Visit, ...]


def explain(store: Store, record_id: str, template: str = "") -> tuple[Explanation, ...]:
    """All that is known of the record with this source or target id (15 or 18 characters), oldest run first.

    A target record that several source records were matched to gives an explanation for each. Only runs of
    `template`, where it is given. Raises `ConfigError` for a text that is no id and for an id that the store does not
    know.
    """
    wanted = _id(record_id)
    jobs = [key for key in store.jobs() if not template or key.template == template]
    found: list[Explanation] = []
    for pair in sorted({(key.source_org_id, key.target_org_id) for key in store.jobs()}):
        own = [key for key in jobs if (key.source_org_id, key.target_org_id) == pair]
        records = _records(store, pair, own, wanted)
        found += [_explained(store, pair, own, name, source_id) for name, source_id in records]
    if not found:
        where = f" in runs of template {template!r}" if template else ""
        raise ConfigError(
            f"No run has met the record {wanted}{where}: it is in no id map and in no audit log of {store.root}. Is it of "
            "an object that is migrated, and is ISYNC_STORE the store of that migration?",
            id=wanted,
        )
    return tuple(found)


def _id(text: str) -> str:
    stripped = text.strip()
    if not _ID.fullmatch(stripped):
        raise ConfigError(f"{text!r} is no Salesforce id: it has 15 or 18 letters and digits.")
    full = str(pl.select(to18(pl.lit(stripped))).item())
    if len(stripped) == 18 and str(pl.select(to18(pl.lit(stripped[:15]))).item()) != stripped:
        raise ConfigError(
            f"{text!r} is no Salesforce id: its last three characters do not fit the others. Was the case changed on the "
            "way? Give the first 15 characters as Salesforce shows them.",
        )
    return full


# ── which records ────────────────────────────────────────────────────────────────────────────────────────


def _records(store: Store, pair: tuple[str, str], jobs: Sequence[JobKey], wanted: str) -> list[tuple[str, str]]:
    """(object, source id) of the records that the id has to do with."""
    id_map = store.idmap(*pair)
    named = (pl.col("source_id") == wanted) | (pl.col("target_id") == wanted)
    hits: dict[tuple[str, str], None] = {}
    for name in id_map.objects():
        rows = id_map.history(name).filter(named).select(pl.col("source_id").unique()).collect()
        hits |= dict.fromkeys((name, source_id) for source_id in rows["source_id"])
    # A record that never got a counterpart is in the audit logs only.
    if not hits:
        for run in _runs(store, jobs):
            for name in files.names(run.folder / "audit"):
                rows = run.audit(name).read().filter(named).select(pl.col("source_id").unique()).collect()
                hits |= dict.fromkeys((name, source_id) for source_id in rows["source_id"])
    return list(hits)


def _runs(store: Store, jobs: Sequence[JobKey]) -> Iterator[Run]:
    runs = [run for key in jobs for run in store.runs(key).list()]
    yield from sorted(runs, key=lambda run: run.opened_at)


def _explained(store: Store, pair: tuple[str, str], jobs: Sequence[JobKey], object: str, source_id: str) -> Explanation:
    mine = pl.col("source_id") == source_id
    entries = store.idmap(*pair).history(object).filter(mine).sort("_sequence").collect()
    last = entries.tail(1).to_dicts()
    pending = store.pending(*pair).history(object).filter(mine).sort("_sequence").collect()
    visits = [_visit(run, object, source_id) for run in _runs(store, jobs)]
    return Explanation(
        object,
        *pair,
        source_id,
        str(last[0]["target_id"]) if last and last[0]["gone"] is None else None,
        tuple(_plain(row) for row in entries.drop("_sequence", "source_id").to_dicts()),
        tuple(_plain(row) for row in pending.drop("_sequence", "source_id").to_dicts()),
        tuple(visit for visit in visits if visit is not None),
    )


# ── what a run did with it ───────────────────────────────────────────────────────────────────────────────


def _visit(run: Run, object: str, source_id: str) -> Visit | None:
    rows = run.audit(object).read().filter(pl.col("source_id") == source_id).sort("at", "attempt").collect().to_dicts()
    decided = _decided(run, object, source_id)
    if not rows and not decided:
        return None
    target_id = next((row["target_id"] for row in reversed(rows) if row["target_id"]), decided.get("_target_id"))
    return Visit(
        template=run.job.template,
        phase=run.job.phase,
        run=run.number,
        state=str(run.state),
        opened_at=run.opened_at.isoformat(timespec="seconds"),
        opened_by=run.opened_by,
        source_id=source_id,
        target_id=target_id,
        decision=decided.get("_decision"),
        matched_by=decided.get("_matched_by"),
        reason=decided.get("_reason"),
        links=tuple(_links(run, object, source_id)),
        events=(*(_event(run, object, row) for row in rows), *_undone(run, object, source_id)),
        before=_before(run, object, target_id),
        missing=(*missing_of(run), *_unreadable(run)),
    )


def _undone(run: Run, object: str, source_id: str) -> Iterator[Event]:
    """What rollbacks of the run did with the record."""
    for rollback in rollbacks(run):
        rows = rollback.audit(object).read().filter(pl.col("source_id") == source_id).sort("attempt").collect()
        said: tuple[Any, ...] = ()
        for row in rows.to_dicts():
            # The first row says what is to be done; the last one repeats what the steps said, unless it knows better.
            now = (row["state"], row["code"], row["message"])
            planned = row["attempt"] == 0 and row["state"] == "pending"
            if not planned and now != said:
                own = row["attempt"] % ATTEMPTS if row["chunk"] is not None and row["attempt"] < HELD else 0
                yield _event(run, object, {**row, "attempt": own})
                said = now


def _decided(run: Run, object: str, source_id: str) -> dict[str, Any]:
    """What remap decided: the row's own columns that start with an underscore."""
    if not has_rows(run, object):
        return {}
    rows = remapped(run, object).filter(pl.col("_source_id") == source_id)
    found = rows.select("_target_id", "_decision", "_matched_by", "_reason").collect().to_dicts()
    return found[0] if found else {}


def _links(run: Run, object: str, source_id: str) -> Iterator[Link]:
    plan = _plan(run, object)
    if plan is None or not has_rows(run, object) or not run.audit(object).parts():
        return
    rows = link_states(run, plan, source_id).collect().to_dicts()
    for row in rows:
        for lookup in plan.lookups:
            name = lookup.target.name
            policy = str(lookup.policy) + (f":{lookup.default}" if lookup.default else "")
            yield Link(
                name,
                str(row[f"_link.{name}"]),
                "exclude_parents" if lookup.kept else policy,
                row[f"_from.{name}"],
                row[name],
            )


def _plan(run: Run, object: str) -> ObjectPlan | None:
    if any(_unreadable(run)):
        return None
    plan = Plan.from_json(run.plan())
    return next((item for item in plan.objects if item.object == object), None)


def _unreadable(run: Run) -> Iterator[str]:
    """Why the lookups of a run cannot be told, where its plan is of another version of the tool."""
    try:
        Plan.from_json(run.plan())
    except PlanError as error:
        yield f"its lookups: {error}"


def _event(run: Run, object: str, row: Mapping[str, Any]) -> Event:
    return Event(
        stage=row["stage"],
        state=row["state"],
        rule=row["rule"],
        code=row["code"],
        message=row["message"],
        fields=row["fields"],
        advice=classify(row["code"]).text if row["code"] else "",
        attempt=row["attempt"],
        job_id=row["sf_job_id"],
        sent_at=_time(row["sent_at"]),
        at=_time(row["at"]),
        sent=_sent(run, object, row),
    )


def _sent(run: Run, object: str, row: Mapping[str, Any]) -> dict[str, str]:
    """The cells of the attempt: of its chunk's file only this record's row is read."""
    if row["chunk"] is None or not row["attempt"]:
        return {}
    ledger = run.ledger(row["stage"], object)
    if ledger.entry(row["chunk"], row["attempt"], ChunkState.PLANNED) is None:
        return {}
    path = ledger.rows_path(row["chunk"], row["attempt"])
    if not files.exists(path):
        return {}
    found = files.scan(path).filter(pl.col("_source_id") == row["source_id"]).collect().to_dicts()
    cells = found[0] if found else {}
    return {name: value for name, value in cells.items() if not name.startswith("_") and value is not None}


def _before(run: Run, object: str, target_id: str | None) -> dict[str, dict[str, Any]]:
    images = run.before(object)
    found = {}
    for part in images.parts() if target_id else ():
        for row in images.read(part).filter(pl.col("Id") == target_id).collect().to_dicts():
            changed = row.get("_changed")
            names = (
                changed if changed is not None else [name for name in row if name != "Id" and not name.startswith("_")]
            )
            found[part] = _plain({name: row.get(name) for name in names})
    return found


def _time(value: Any) -> str | None:
    return value.isoformat(timespec="milliseconds") if value is not None else None


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a row as JSON has them."""
    return {
        name: value if value is None or isinstance(value, str | int | float | bool | list) else str(value)
        for name, value in row.items()
    }
