"""What Salesforce says became of the rows of an attempt: its results, each paired with its row."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration.answers import LOST, from_answers, known_schema
from isync_dagster.migration.attempts import Attempts, cells
from isync_dagster.migration.memory import PASS, frame_bytes, memory
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.settling import made_since
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.records.pairing import pair, pair_hashed
from isync_dagster.salesforce.bulk_ingest import BulkIngest, ResultKind
from isync_dagster.store import files
from isync_dagster.store.ledger import Entry
from isync_dagster.store.scratch import scratch

KINDS: tuple[ResultKind, ...] = ("successful", "failed")
ROW_BYTES = 200
"""What a row's number, hash and result take while they are paired."""


class Results:
    """The results of the attempts of one object and step."""

    def __init__(self, job: SyncJob, plan: ObjectPlan, attempts: Attempts, bulk: BulkIngest) -> None:
        self.job = job
        self.plan = plan
        self.attempts = attempts
        self.ledger = attempts.ledger
        self.bulk = bulk

    def of(self, number: int, entry: Entry) -> tuple[pl.DataFrame, pl.Series]:
        """(Outcome of each row that pairs, target ids that were returned and pair with no row)."""
        none = pl.Series("target_id", [], dtype=pl.String)
        if entry.payload["state"] == LOST:
            return pl.DataFrame(schema=known_schema()), none
        if entry.payload["way"] == "collections":
            answers = files.scan(self.attempts.answers_path(number, entry.attempt)).collect()
            return from_answers(answers, entry.payload["operation"]), none
        nothing = pl.DataFrame(schema=known_schema()), none
        with scratch() as place:
            parts: list[pl.LazyFrame] = []
            for kind in KINDS:
                path = place / f"{kind}.csv"
                try:
                    count = self.bulk.results(entry.payload["job_id"], kind, path)
                except RequestError as error:
                    if error.details.get("status") != 404:
                        raise
                    # Results live 7 days; without them every row is settled against the target.
                    return nothing
                if count:
                    parts.append(pl.scan_csv(path, infer_schema=False, null_values=""))
                if kind == KINDS[0] and count == entry.payload["sent_rows"]:
                    known, ids = self._paired(number, entry, parts[0])
                    if known.height == count:
                        # Every row is answered: there is none that can be among the others.
                        return known, ids
            return self._paired(number, entry, pl.concat(parts, how="diagonal")) if parts else nothing

    def _paired(self, number: int, entry: Entry, results: pl.LazyFrame) -> tuple[pl.DataFrame, pl.Series]:
        rows, operation = self.ledger.rows(number, entry.attempt), entry.payload["operation"]
        columns = cells(rows.collect_schema().names())
        sent = rows.select("_row", *columns)
        schema = [pl.col(name).cast(kind) for name, kind in known_schema().items()]
        count = entry.payload["sent_rows"]
        text = entry.payload.get("bytes", self.job.options.chunk_bytes)
        size = frame_bytes(text, count * len(columns))
        with memory().share(count * ROW_BYTES + min(size, PASS)):
            quick = pair_hashed(sent, results, operation)
        if quick is not None:
            return quick.select(schema), pl.Series("target_id", [], dtype=pl.String)
        # Both sides, each with its text and its cells, grouped by all of them.
        with memory().share(4 * size):
            paired = pair(sent, results, operation)
            pairs, unpaired = pl.collect_all([paired.rows, paired.unpaired])
        ids = unpaired.get_column("sf__Id").drop_nulls().alias("target_id") if unpaired.height else None
        return pairs.select(schema), pl.Series("target_id", [], dtype=pl.String) if ids is None else ids

    def own_upserts(self, number: int, entry: Entry, known: pl.DataFrame) -> pl.DataFrame:
        """`known` of a repeated upsert: a record that the first, unanswered one made was inserted, not updated."""
        if entry.payload["operation"] != "upsert" or entry.attempt == 1:
            return known
        there = known.filter(pl.col("state") == State.UPDATED)["target_id"].drop_nulls()
        first = next((item for item in self.ledger.entries(number) if item.state == "created"), None)
        if there.is_empty() or first is None:
            return known
        made = made_since(
            self.job,
            self.plan,
            there,
            since=datetime.fromisoformat(first.payload["sent_at"]),
            folder=self.attempts.settle_folder(number, entry.attempt) / "upserted",
        )
        ours = (pl.col("state") == State.UPDATED) & pl.col("target_id").is_in(made.implode())
        return known.with_columns(state=pl.when(ours).then(pl.lit(str(State.INSERTED))).otherwise(pl.col("state")))
