"""What the load is to do with each row, by comparing it with the target's record as Salesforce would store both."""

from __future__ import annotations

import polars as pl

from isync_dagster.plan.model import Lookup, ObjectPlan
from isync_dagster.records.canonical import canonical
from isync_dagster.records.words import decision, link
from isync_dagster.schema.model import Field
from isync_dagster.schema.types import dtype

_UNCHANGED = pl.lit([], dtype=pl.List(pl.String))


def decide(frame: pl.LazyFrame, plan: ObjectPlan, target_rows: pl.LazyFrame) -> pl.LazyFrame:
    """`frame` (resolved and matched) with the decision of each row, in order.

    `target_rows` has `Id` and the fields of `target_fields(plan)`. Added: `_now.F` in the dtype of the target field,
    the value that the matched record has now, for every F that an update or relink may write (null in a row that the
    load does not update, unless the second pass looks at F); `_changed` List(String), the fields that an update must
    send. `_decision` is final: insert, update, identical, existing (matched, updates are off), skipped (not matched,
    inserts are off), blocked or dropped; `_reason` says why a row is blocked or dropped.

    An update never touches what an insert alone may set, nor staged fields and deferred lookups (relink does), nor a
    lookup that could not be resolved: it stays what it is in the target until its parent arrives.
    """
    current = target_rows.select(
        pl.col("Id").alias("_target_id"), *(pl.col(field.name).alias(f"_now.{field.name}") for field in _now(plan))
    )
    frame = frame.join(current, on="_target_id", how="left", maintain_order="left")
    differing = [pl.when(differs).then(pl.lit(name)) for name, differs in _differences(plan).items()]
    changed = pl.concat_list(differing).list.drop_nulls() if differing else _UNCHANGED
    matched = pl.col("_target_id").is_not_null()
    decided = _decided(frame.with_columns(pl.when(matched).then(changed).otherwise(_UNCHANGED).alias("_changed")), plan)
    updated = pl.col("_decision") == decision("update")
    late = {lookup.target.name for lookup in late_lookups(plan)} | {item.target for item in plan.staged}
    done_with = [f"_now.{field.name}" for field in _now(plan) if field.name not in late]
    return decided.with_columns(
        pl.when(updated).then(pl.col("_changed")).otherwise(_UNCHANGED).alias("_changed"),
        # What nobody asks for again is not sorted and written.
        *(pl.when(updated).then(pl.col(name)).alias(name) for name in done_with),
    )


def decide_unmatched(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """As `decide` where no row of `frame` is matched, without `_now.F` and `_changed` (`uncompared` adds them).

    Nothing is compared, and what is sorted next has half the columns.
    """
    return _decided(frame.with_columns(_changed=_UNCHANGED), plan).drop("_changed")


def uncompared(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    """`frame` with the `_now.F` and `_changed` of rows that no record of the target was compared with."""
    nothing = {f"_now.{field.name}": pl.lit(None, dtype=dtype(field)) for field in _now(plan)}
    return frame.with_columns(**nothing, _changed=_UNCHANGED)


def _decided(frame: pl.LazyFrame, plan: ObjectPlan) -> pl.LazyFrame:
    matched = pl.col("_target_id").is_not_null()
    before, conflict = pl.col("_decision"), pl.col("_conflict").is_not_null()
    # Where nothing would be written, a missing parent holds nothing up.
    found = matched if not plan.update_existing else pl.lit(False)
    unfound = pl.lit(not plan.insert_new and not any(part.is_lookup for part in plan.match_key)) & ~matched & ~conflict
    chosen = (
        pl.when(before.eq_missing(decision("dropped")))
        .then(decision("dropped"))
        .when(found)
        .then(decision("existing"))
        .when(unfound)
        .then(decision("skipped"))
        .when(before.eq_missing(decision("blocked")) | conflict)
        .then(decision("blocked"))
        .when(matched & (pl.col("_changed").list.len() == 0))
        .then(decision("identical"))
        .when(matched)
        .then(decision("update"))
        .otherwise(decision("insert" if plan.insert_new else "skipped"))
    )
    rejected = pl.col("_decision").is_in(["blocked", "dropped"])
    return frame.with_columns(chosen.alias("_decision")).with_columns(
        pl.when(rejected)
        .then(pl.concat_str(["_reason", "_conflict"], separator="; ", ignore_nulls=True))
        .alias("_reason")
    )


def _now(plan: ObjectPlan) -> tuple[Field, ...]:
    """The fields of which it is kept what the target has now."""
    watched = _watched(plan)
    return tuple(field for field in target_fields(plan) if field.name in watched)


def target_fields(plan: ObjectPlan) -> tuple[Field, ...]:
    """The target fields that `match`, `decide` and relink look at (without Id), each once, in the plan's order."""
    watched = _watched(plan)
    wanted = watched | {part.target for part in plan.match_key}
    known = [mapping.target for mapping in plan.fields]
    if plan.migration_key is not None:
        known.append(Field(plan.migration_key))
    known += [lookup.target for lookup in plan.lookups]
    return tuple({field.name: field for field in known if field.name in wanted}.values())


def updated_fields(plan: ObjectPlan) -> dict[str, Field]:
    """The target fields that an update of the load may send, by name."""
    staged = {item.target for item in plan.staged}
    fields = {
        mapping.target.name: mapping.target
        for mapping in plan.fields
        if mapping.updateable and mapping.target.name not in staged
    }
    if plan.migration_key is not None:
        fields[plan.migration_key] = Field(plan.migration_key)
    return fields | {
        lookup.target.name: lookup.target for lookup in plan.lookups if lookup.updateable and not lookup.deferred
    }


def late_lookups(plan: ObjectPlan) -> list[Lookup]:
    """The lookups that relink fills: deferred ones, and those that no insert may set."""
    return [lookup for lookup in plan.lookups if lookup.deferred or (lookup.updateable and not lookup.insertable)]


def _watched(plan: ObjectPlan) -> set[str]:
    """The fields whose present value matters: what an update or relink may write."""
    return {
        *updated_fields(plan),
        *(lookup.target.name for lookup in plan.deferred),
        *(item.target for item in plan.staged),
    }


def _differences(plan: ObjectPlan) -> dict[str, pl.Expr]:
    lookups = {lookup.target.name: lookup for lookup in plan.lookups}
    return {name: _differs(field, lookups.get(name)) for name, field in updated_fields(plan).items()}


def _differs(field: Field, lookup: Lookup | None) -> pl.Expr:
    """True where the target must change to hold the row's value."""
    value, now = pl.col(field.name), pl.col(f"_now.{field.name}")
    differs = differing(field, value, now)
    if lookup is not None:
        state = pl.col(f"_link.{field.name}")
        settled = state.is_in(["linked", "kept", "empty"]) | (state.eq(link("defaulted")) & value.is_not_null())
        differs = differs & settled
    if not field.nillable and field.defaulted_on_create and dtype(field) != pl.Boolean:
        # The server fills such a field (owner, status): an empty source is no reason to send what it would refuse.
        differs = differs & value.is_not_null()
    return differs.fill_null(False)


def differing(field: Field, value: pl.Expr, now: pl.Expr) -> pl.Expr:
    """True where two typed columns of a field would be stored differently; two nulls are the same."""
    # What is the same as it stands is not looked at more closely: a null costs nothing.
    unlike = value.ne_missing(now)
    one, other = (pl.when(unlike).then(side) for side in (value, now))
    return canonical(one, field).ne_missing(canonical(other, field))
