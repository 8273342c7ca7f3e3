"""What the source's rows hold: from the newest extract, from aggregate queries, or by reading columns on demand.

extract     rows of the newest run of the template, read already: exact, and no call
query       COUNT and GROUP BY in the source: exact, a call or two a field
columns     what no query can tell (lengths, decimals, long text) is read, where the caller asks for it
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration import reading
from isync_dagster.migration.reading import REST_ROWS
from isync_dagster.records.typing import typed
from isync_dagster.records.usage import answers_of
from isync_dagster.salesforce.bulk_query import BulkQuery
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.rows import select_paths
from isync_dagster.schema.compare import Answer, Ask, Question
from isync_dagster.schema.model import TEXT_TYPES, Field, SObject
from isync_dagster.store.runs import Run
from isync_dagster.store.scratch import scratch

_NOT_COUNTED = frozenset({"boolean", "multipicklist", "textarea", "encryptedstring", "address", "location", "base64"})
"""Types that COUNT(field) does not take."""
_NOT_GROUPED = frozenset({"multipicklist", "textarea", "double", "currency", "percent", "encryptedstring", "datetime"})
"""Types that GROUP BY does not take."""
_COUNTS = 40
"""Fields counted by one query."""


@dataclass
class Usage:
    """Answers, where the counts of each object come from, and what could not be counted."""

    answers: dict[Question, Answer] = field(default_factory=dict)
    counted_by: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: dict[str, None] = field(default_factory=dict)

    def add(self, found: Mapping[Question, Answer], by: str) -> None:
        """Take answers over and note where they come from."""
        self.answers.update(found)
        for question in found:
            self.counted_by[question.object].add(by)

    def left(self, questions: Iterable[Question]) -> list[Question]:
        """The questions that have no answer yet."""
        return [question for question in questions if question not in self.answers]


@dataclass(frozen=True)
class RowsOf:
    """Where the rows of the source's objects are asked: by object, the condition of the lines and the runs to look at."""

    org: Org | None
    """The source; None where only extracts are looked at."""
    objects: Mapping[str, SObject]
    where: Mapping[str, str] = field(default_factory=dict)
    """Lower-case object -> SOQL condition."""
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Lower-case object -> key prefix."""
    runs: Callable[[str], Sequence[Run]] = lambda _: ()
    """Source object -> the newest run of each of its phases; none where one of them has no run."""

    def condition(self, object: str) -> str:
        """The condition of an object's lines, empty where every row is in scope."""
        return self.where.get(object.lower(), "")


def find_out(rows: RowsOf, questions: Iterable[Question], *, with_data: bool = False) -> Usage:
    """Answer what can be answered; `with_data` reads the columns of what is left then."""
    usage = Usage()
    by_object: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_object[question.object].append(question)
    for name, asked in by_object.items():
        sobject = rows.objects[name]
        frame, label = _extract(rows.runs(name), sobject)
        if frame is not None:
            usage.add(answers_of(frame, sobject, asked, rows.prefixes), label)
        if rows.org is None:
            continue
        _ask_org(rows, rows.org, sobject, usage.left(asked), usage)
        left = usage.left(asked)
        if with_data and left:
            _read_columns(rows, rows.org, sobject, left, usage)
    return usage


# ── the newest extract ───────────────────────────────────────────────────────────────────────────────────


def _extract(runs: Sequence[Run], sobject: SObject) -> tuple[pl.LazyFrame | None, str]:
    """The rows of an object in these runs, the columns that all of them have; None where one has not read them."""
    frames: list[pl.LazyFrame] = []
    for run in runs:
        folder = run.extract_folder(sobject.name)
        done = reading.recorded(folder)
        paths = select_paths(done.soql) if done is not None else None
        if paths is None:
            return None, ""
        fields = [known for path in paths if (known := sobject.field(path)) is not None]
        frames.append(reading.scan(folder, fields))
    if not frames:
        return None, ""
    common = [name for name in frames[0].collect_schema().names() if all(name in f.collect_schema() for f in frames)]
    numbers = ", ".join(f"{run.job.phase} {run.number}" for run in runs)
    return pl.concat([frame.select(common) for frame in frames]), f"extract of run {numbers}"


# ── aggregate queries ────────────────────────────────────────────────────────────────────────────────────


def _ask_org(rows: RowsOf, org: Org, sobject: SObject, questions: Sequence[Question], usage: Usage) -> None:
    counting = [q for q in questions if q.ask in (Ask.FILLED, Ask.EMPTY) and _countable(sobject.field(q.field))]
    for start in range(0, len(counting), _COUNTS):
        part = counting[start : start + _COUNTS]
        _guarded(usage, sobject, lambda part=part: _counts(rows, org, sobject, part))  # type: ignore[misc]
    for question in usage.left(questions):
        _guarded(usage, sobject, lambda question=question: _one(rows, org, sobject, question))  # type: ignore[misc]


def _guarded(usage: Usage, sobject: SObject, ask: Callable[[], Mapping[Question, Answer]]) -> None:
    """A query that the org refuses leaves its question open, and is told."""
    try:
        found = ask()
    except RequestError as error:
        usage.refused[f"{sobject.name}: {error}"] = None
        return
    usage.add(found, "query")


def _countable(item: Field | None) -> bool:
    return item is not None and item.filterable and item.type not in _NOT_COUNTED


def _counts(rows: RowsOf, org: Org, sobject: SObject, questions: Sequence[Question]) -> Mapping[Question, Answer]:
    """Filled and empty of many fields with one query."""
    names = list(dict.fromkeys(question.field for question in questions))
    selected = ", ".join(f"COUNT({name}) n{place}" for place, name in enumerate(names))
    condition = rows.condition(sobject.name)
    where = f" WHERE {condition}" if condition else ""
    row = org.query(f"SELECT COUNT(Id) total, {selected} FROM {sobject.name}{where}").row(0, named=True)
    total = int(row["total"])
    filled = {name: int(row[f"n{place}"]) for place, name in enumerate(names)}
    return {q: filled[q.field] if q.ask is Ask.FILLED else total - filled[q.field] for q in questions}


def _one(rows: RowsOf, org: Org, sobject: SObject, question: Question) -> Mapping[Question, Answer]:
    condition, item = rows.condition(sobject.name), sobject.field(question.field)

    def count(more: str) -> int:
        return org.count(sobject.name, " AND ".join(f"({part})" for part in (condition, more) if part) or None)

    if question.ask is Ask.ROWS:
        return {question: count("")}
    if item is None or not item.filterable:
        return {}
    name = item.name
    match question.ask:
        case Ask.FILLED:
            return {question: count(f"{name} = true" if item.type == "boolean" else f"{name} != null")}
        case Ask.EMPTY:
            return {question: count(f"{name} = null")}
        case Ask.WHOLE_DIGITS:
            bound = "1" + "0" * question.limit
            return {question: count(f"{name} >= {bound}.0 OR {name} <= -{bound}.0")}
        case Ask.PARENTS if item.relationship_name:
            named = ", ".join(f"'{parent}'" for parent in question.names)
            return {question: count(f"{item.relationship_name}.Type IN ({named})")}
        case Ask.VALUES if item.type == "multipicklist":
            return {question: {value: count(f"{name} INCLUDES ({_quoted(value)})") for value in question.names}}
        case Ask.VALUES if item.type not in _NOT_GROUPED and item.groupable:
            return {question: dict(_groups(rows, org, sobject, name, ""))}
        case Ask.DUPLICATES if item.type not in _NOT_GROUPED and item.groupable:
            found = sum(n for _, n in _groups(rows, org, sobject, name, " HAVING COUNT(Id) > 1 LIMIT 2000"))
            # Whether a group tells upper from lower case is not documented, so that none is no proof.
            return {question: found} if found or question.limit or item.type not in TEXT_TYPES else {}
    return {}


def _groups(rows: RowsOf, org: Org, sobject: SObject, name: str, tail: str) -> list[tuple[str, int]]:
    condition = rows.condition(sobject.name)
    where = " AND ".join(part for part in (f"({condition})" if condition else "", f"{name} != null") if part)
    soql = f"SELECT {name} value, COUNT(Id) n FROM {sobject.name} WHERE {where} GROUP BY {name}{tail}"
    # An aggregate query has at most 2,000 rows.
    frame = org.query(soql)
    return [] if frame.is_empty() else [(str(value), int(n)) for value, n in frame.select("value", "n").iter_rows()]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# ── columns on demand ────────────────────────────────────────────────────────────────────────────────────


def _read_columns(rows: RowsOf, org: Org, sobject: SObject, questions: Sequence[Question], usage: Usage) -> None:
    """Read the columns of these questions once, page by page into a scratch folder, and count there."""
    fields = [item for name in dict.fromkeys(q.field for q in questions) if (item := sobject.field(name)) is not None]
    fields = [item for item in fields if item.bulk_selectable]
    if not fields:
        return
    condition = rows.condition(sobject.name)
    where = f" WHERE {condition}" if condition else ""
    soql = f"SELECT {', '.join(item.name for item in fields)} FROM {sobject.name}{where}"
    with scratch() as place:
        if org.count(sobject.name, condition or None) <= REST_ROWS:
            raw = org.query(soql).lazy()
        else:
            raw = _by_bulk(org, soql, place)
        usage.add(answers_of(typed(raw, fields), sobject, questions, rows.prefixes), "columns read")


def _by_bulk(org: Org, soql: str, scratch: Path) -> pl.LazyFrame:
    bulk = BulkQuery(org)
    with org.job_slot():
        job = bulk.wait(bulk.create(soql).id)
        pages = [page.path for page in bulk.download_all(job.id, scratch)]
    return pl.scan_csv(pages, infer_schema=False, null_values="")
