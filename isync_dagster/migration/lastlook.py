"""The last look at an object: are all values, and the totals of the business, what they should be?"""

from __future__ import annotations

from typing import Any

import polars as pl

from isync_dagster.migration.deviations import LATER
from isync_dagster.migration.model import SyncJob, Verdict
from isync_dagster.migration.record_count import keep_verdict
from isync_dagster.migration.totals import Totals
from isync_dagster.migration.values import Compared, Values
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.store import files
from isync_dagster.store.runs import Run

AT_LAST = ("fields", "totals")
"""The names of its verdicts."""

CELLS_SHOWN = 20
"""Differing cells that a verdict lists; all are in the file that it names."""
TEXT = 120
"""Characters of a value that a verdict shows."""


class LastLook:
    """Made before the target is read again (`wanted`), asked for its verdicts after; `states` are `link_states`."""

    def __init__(self, job: SyncJob, run: Run, plan: ObjectPlan, states: pl.LazyFrame) -> None:
        self.job, self.run, self.plan = job, run, plan
        self.values = Values(job, run, plan, states)
        self.totals = Totals(self.values)

    def wanted(self) -> list[str]:
        """The target fields that the re-read must bring, each once."""
        return list(dict.fromkeys([*self.values.wanted(), *self.totals.wanted()]))

    def verdicts(self, there: pl.LazyFrame) -> tuple[Verdict, ...]:
        """`fields` and `totals`, kept in the run; `there` is the re-read."""
        return self._fields(self.values.compare(there)), self._totals(there)

    def _fields(self, found: Compared) -> Verdict:
        records = found.records if found.sampled is None else found.sampled
        numbers = {"migrated": found.records, "compared records": records, "compared values": found.cells}
        names = found.columns.height
        if not found.different:
            text = (
                f"{found.cells:,} values in {names} fields of {records:,} records are what was migrated.{found.missed}"
            )
            table = [
                {
                    "field": row["field"],
                    "compared": row["compared"],
                    "checksum of what was migrated": f"{row['expected']:016x}",
                    "checksum of the target": f"{row['found']:016x}",
                }
                for row in found.columns.to_dicts()
            ]
            return self._verdict("fields", True, text, {**numbers, "different": 0}, table)
        assert found.differences is not None
        cells = files.scan(found.differences)
        # Bounded: one row of counts, CELLS_SHOWN cells.
        counts, shown = pl.collect_all(
            [
                cells.select(by_target=pl.col("by_target").sum(), listed=pl.len()),
                cells.sort("by_target", "field", "source_id").head(CELLS_SHOWN),
            ]
        )
        by_target, listed = int(counts["by_target"][0]), int(counts["listed"][0])
        later = listed - by_target
        bad = found.columns.filter(pl.col("different") > 0).sort("different", descending=True)
        which = ", ".join(f"{row['field']} ({row['different']:,})" for row in bad.head(5).to_dicts())
        more = f" and {bad.height - 5} more fields" if bad.height > 5 else ""
        text = f"{found.different:,} of {found.cells:,} values differ from what was migrated: {which}{more}."
        if later:
            text += f" {later:,} were {LATER} by somebody."
        if by_target:
            text += (
                f" {by_target:,} were changed by the target itself as the records were saved (trigger, flow, workflow); "
                "where that is meant, name the field in `settings.validation.exclude_fields`."
            )
        text += f" Every cell: {found.differences}.{found.missed}"
        mild = not later and listed == found.different and self._lenient
        table = [_cell(row) for row in shown.to_dicts()]
        numbers |= {"different": found.different, "changed since": later, "changed by the target": by_target}
        return self._verdict("fields", False, text, numbers, table, "warn" if mild else "error")

    def _totals(self, there: pl.LazyFrame) -> Verdict:
        table = self.totals.table(there)
        metrics = len(self.totals.metrics)
        bad = list(dict.fromkeys(row["metric"] for row in table if row["difference"] is not None))
        numbers = {"metrics": metrics, "different": len(bad)}
        if not metrics:
            text = (
                "The object has no record type, status or owner, and the template no metric of it: nothing to add up."
            )
            return self._verdict("totals", True, text, numbers, table)
        if not bad:
            names = ", ".join(metric.name for metric in self.totals.metrics)
            return self._verdict("totals", True, f"The same in both orgs: {names}.", numbers, table)
        text = f"{len(bad)} of {metrics} totals differ between the orgs: {', '.join(bad)}."
        return self._verdict("totals", False, text, numbers, table, "warn" if self._lenient else "error")

    @property
    def _lenient(self) -> bool:
        return self.job.plan.settings.validation.changed_by_target == "warning"

    def _verdict(
        self,
        name: str,
        passed: bool,
        text: str,
        numbers: dict[str, int],
        table: list[dict[str, Any]],
        severity: str = "error",
    ) -> Verdict:
        return keep_verdict(self.job, self.run, self.plan.object, name, passed, text, numbers, table, severity)


def _cell(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": row["object"],
        "source id": row["source_id"],
        "target id": row["target_id"],
        "field": row["field"],
        "expected": _short(row["expected"]),
        "found": _short(row["found"]),
        "why": row["why"],
    }


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= TEXT else value[: TEXT - 1] + "…"
