"""Business totals of the migrated records in both orgs: counts by record type, status and owner, and the template's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import polars as pl

from isync_dagster.migration.model import LinkState, State
from isync_dagster.migration.names import names_of
from isync_dagster.migration.values import Values
from isync_dagster.plan.metrics import carried_fields
from isync_dagster.plan.model import FieldMapping, Lookup
from isync_dagster.records.canonical import canonical
from isync_dagster.records.reconcile import compared_columns, totals
from isync_dagster.records.typing import write
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype
from isync_dagster.template.models import Metric

GROUPS = 12
"""Values of one metric that are shown, those that differ first."""

BY = {"RecordTypeId": "record type", "Status": "status", "StageName": "stage", "OwnerId": "owner"}
"""Target fields by which the records of every object that carries them are counted."""


class Totals:
    """The totals of one object, from the re-read that all its checks share."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.plan, self.job = values.plan, values.job
        self.fields = {mapping.source.name: mapping for mapping in self.plan.fields}
        self.lookups = {lookup.source.name: lookup for lookup in self.plan.lookups}
        left_out = set(self.job.plan.settings.validation.exclude_fields.get(self.plan.object, ()))
        self.bound = {column.target.name: column.bound for column in compared_columns(self.plan)}
        own = [metric for metric in self.job.plan.metrics if metric.object == self.plan.object]
        usual = [
            Metric(name=f"records by {BY[target.name]}", object=self.plan.object, by=source)
            for source, target in carried_fields(self.plan).items()
            if target.name in BY and source not in left_out
        ]
        self.metrics = [*own, *sorted(usual, key=lambda metric: list(BY.values()).index(metric.name[11:]))]

    def wanted(self) -> list[str]:
        """The target fields that the re-read must bring."""
        names = [name for metric in self.metrics for name in (metric.field, metric.by) if name is not None]
        return list(dict.fromkeys(self._target(name).name for name in names))

    def table(self, there: pl.LazyFrame) -> list[dict[str, Any]]:
        """A row for each shown value of each metric: metric, value, source, target, difference (None where equal).

        A metric with more values ends in one row that says how many were left out.
        """
        found: list[dict[str, Any]] = []
        for metric in self.metrics:
            by = None if metric.by is None else self._target(metric.by)
            joined = self._joined(there, metric)
            both = totals(joined, metric.function, by is not None)
            unequal = pl.col("expected").ne_missing(pl.col("found"))
            weight = pl.coalesce("expected", "found")
            if metric.function in ("min", "max"):
                weight = pl.col("value")
            shown = both.with_columns(_differs=unequal).sort(
                "_differs", weight, descending=[True, metric.function not in ("min", "max")], nulls_last=True
            )
            # Bounded: GROUPS rows and one of counts; `both` has a row a value.
            rows, counts = pl.collect_all([shown.head(GROUPS), both.select(groups=pl.len(), bad=unequal.sum())])
            found += self._rows(metric, by, rows)
            groups, bad = int(counts["groups"][0]), int(counts["bad"][0])
            if groups > GROUPS:
                rest = bad - int(rows["_differs"].sum())
                found.append(
                    {
                        "metric": metric.name,
                        "value": f"{groups - GROUPS:,} more values",
                        "source": None,
                        "target": None,
                        "difference": f"{rest:,} of them differ" if rest else None,
                    }
                )
            if metric.whole_org and self.job.options.thorough:
                found += self._whole_org(metric)
        return found

    def _target(self, source: str) -> Field:
        return self.lookups[source].target if source in self.lookups else self.fields[source].target

    def _joined(self, there: pl.LazyFrame, metric: Metric) -> pl.LazyFrame:
        """`e.value`, `f.value`, `e.by`, `f.by` of every migrated record that is in the target.

        Where the value is not the tool's to decide, the target's own stands on both sides.
        """
        values = self.values
        plain = [name for name in (metric.field, metric.by) if name is not None and name in self.fields]
        names = list(dict.fromkeys(self.fields[name].target.name for name in plain))
        ours = values.who
        if names:
            ours = ours.join(values.rows.select("_source_id", "_decision", *names), on="_source_id", how="inner")
        kept = list(dict.fromkeys(self._target(n).name for n in (metric.field, metric.by) if n is not None))
        theirs = there.select(pl.col("Id").alias("_target_id"), *(pl.col(name).alias(f"_f.{name}") for name in kept))
        joined = ours.join(theirs, on="_target_id", how="inner")
        chosen: dict[str, pl.Expr] = {}
        for key, name in (("value", metric.field), ("by", metric.by)):
            if name is None:
                continue
            expected, found = self._pair(name)
            if key == "by":
                kind = dtype(self._target(name))
                expected, found = write(expected, kind).cast(pl.String), write(found, kind).cast(pl.String)
            chosen |= {f"e.{key}": expected, f"f.{key}": found}
        return joined.select(**chosen) if chosen else joined.select("_target_id")

    def _pair(self, source: str) -> tuple[pl.Expr, pl.Expr]:
        if source in self.lookups:
            return self._lookup_pair(self.lookups[source])
        mapping: FieldMapping = self.fields[source]
        name = mapping.target.name
        expected = canonical(pl.col(name), mapping.target)
        found = canonical(pl.col(f"_f.{name}"), mapping.target)
        return pl.when(self.bound[name].fill_null(False)).then(expected).otherwise(found), found

    def _lookup_pair(self, lookup: Lookup) -> tuple[pl.Expr, pl.Expr]:
        name = lookup.target.name
        found = pl.col(f"_f.{name}")
        known = pl.col(f"_link.{name}").is_in([LinkState.LINKED, LinkState.DEFAULTED, LinkState.KEPT])
        bound = known & pl.col(name).is_not_null()
        if not lookup.updateable:
            bound = bound & (pl.col("_state") == State.INSERTED)
        return pl.when(bound).then(pl.col(name)).otherwise(found), found

    def _rows(self, metric: Metric, by: Field | None, rows: pl.DataFrame) -> list[dict[str, Any]]:
        listed = rows.to_dicts()
        names: Mapping[str, str] = {}
        if by is not None and by.is_reference:
            names = names_of(self.job.target, [row["value"] for row in listed])
        return [
            {
                "metric": metric.name,
                "value": "" if by is None else names.get(row["value"], row["value"] or "(empty)"),
                "source": plain(row["expected"]),
                "target": plain(row["found"]),
                "difference": _difference(row) if row["_differs"] else None,
            }
            for row in listed
        ]

    def _whole_org(self, metric: Metric) -> list[dict[str, Any]]:
        """The metric over every record of both orgs, by aggregate SOQL; the source's values as the mapping translates them."""
        sides = []
        for org, object, name, by in (
            (self.job.source, self.plan.object, metric.field, metric.by),
            (
                self.job.target,
                self.plan.target_object,
                metric.field and self._target(metric.field).name,
                metric.by and self._target(metric.by).name,
            ),
        ):
            measure = "COUNT(Id)" if name is None else f"{metric.function.upper()}({name})"
            head = f"SELECT {by} groupValue, {measure} measured" if by else f"SELECT {measure} measured"
            rows = org.query(f"{head} FROM {object}{f' GROUP BY {by}' if by else ''}")
            sides.append({str(row.get("groupValue") or ""): row["measured"] for row in rows.to_dicts()})
        here: dict[str, Decimal] = {}
        translated = dict(self.fields[metric.by].picklist) if metric.by in self.fields else {}
        for value, number in sides[0].items():
            key = translated.get(value, value)
            here[key] = here.get(key, Decimal(0)) + Decimal(number or 0)
        there = {value: Decimal(number or 0) for value, number in sides[1].items()}
        shown = sorted({*here, *there}, key=lambda value: -here.get(value, there.get(value, Decimal(0))))[:GROUPS]
        return [
            {
                "metric": f"{metric.name} (whole org)",
                "value": value or ("(empty)" if metric.by else ""),
                "source": plain(here.get(value)),
                "target": plain(there.get(value)),
                "difference": None,
            }
            for value in shown
        ]


def plain(value: Any) -> int | float | str | None:
    """A total as JSON keeps it: a whole number, a number, or the text of a date.

    >>> plain(Decimal("12.500000")), plain(Decimal("12.0")), plain(None)
    (12.5, 12, None)
    """
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, int | float) else str(value)


def _difference(row: Mapping[str, Any]) -> int | float | str | None:
    expected, found = plain(row["expected"]), plain(row["found"])
    if isinstance(expected, str) or isinstance(found, str):
        return "differs"
    difference = (found or 0) - (expected or 0)
    # A value that one side lacks differs, even where it adds nothing.
    return difference or "differs"
