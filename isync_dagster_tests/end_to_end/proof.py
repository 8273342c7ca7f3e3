"""The proof that a migration arrived: both orgs' tables compared through the id map, field by field.

It trusts nothing that the migration says of itself but the id map, and that only after each pair has been
found in both orgs. All comparisons are joins over whole columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.plan.model import FieldMapping, Lookup, ObjectPlan, Plan
from isync_dagster.schema.model import Field

NATURAL = {
    "User": ("Username",),
    "Group": ("Type", "DeveloperName"),
    "RecordType": ("SobjectType", "DeveloperName"),
    "Profile": ("Name",),
    "UserRole": ("DeveloperName",),
    "Pricebook2": ("IsStandard",),
}


@dataclass(frozen=True)
class Proof:
    """Both orgs, the id map, and what a test knows beside them.

    `users` (`source_id`, `target_id`) is who stands for whom where user names do not say it; `untouched` are ids of
    target records that the template leaves as they were.
    """

    source: LocalOrg
    target: LocalOrg
    id_map: pl.DataFrame
    users: pl.DataFrame | None = None
    untouched: pl.Series | None = None

    def problems(self, plan: Plan) -> list[str]:
        """Everything that did not arrive, a sentence each; an empty list is the proof."""
        return [problem for item in plan.objects for problem in _object(self, item)]


def prove_arrived(source: LocalOrg, target: LocalOrg, id_map: pl.DataFrame, plan: Plan) -> list[str]:
    """Everything that did not arrive, a sentence each; an empty list is the proof.

    `id_map` has the columns `object`, `source_id`, `target_id`. Every source record of the plan must have one
    counterpart, each written field must hold what the source holds (after picklist mapping), and each lookup must
    point at the counterpart of the source's parent.
    """
    return Proof(source, target, id_map).problems(plan)


def _object(proof: Proof, item: ObjectPlan) -> Iterator[str]:
    source, target, id_map = proof.source, proof.target, proof.id_map
    here, there = _live(source, item.object), _live(target, item.target_object)
    if item.object == "Pricebook2":
        here = here.filter(~pl.col("IsStandard"))
    pairs = id_map.filter(pl.col("object") == item.object).select("source_id", "target_id")
    lost = here.join(pairs, left_on="Id", right_on="source_id", how="anti")
    if lost.height:
        yield f"{item.object}: {lost.height} of {here.height} records have no counterpart, e.g. {lost['Id'][0]}"
    if pairs["source_id"].is_duplicated().any() or pairs["target_id"].is_duplicated().any():
        yield f"{item.object}: the id map is not one to one"
    gone = pairs.join(there, left_on="target_id", right_on="Id", how="anti")
    if gone.height:
        yield f"{item.object}: {gone.height} counterparts are not in the target, e.g. {gone['target_id'][0]}"
    both = (
        here.select(pl.all().name.prefix("s."))
        .join(pairs, left_on="s.Id", right_on="source_id")
        .join(there.select(pl.all().name.prefix("t.")), left_on="target_id", right_on="t.Id")
    )
    if not item.update_existing and proof.untouched is not None:
        both = both.filter(~pl.col("target_id").is_in(proof.untouched.implode()))
    for mapping in item.fields:
        yield from _field(both, item, mapping)
    for lookup in item.lookups:
        yield from _lookup(proof, both, item, lookup)


def _live(org: LocalOrg, name: str) -> pl.DataFrame:
    return org.table(name).filter(~pl.col("IsDeleted"))


def _field(both: pl.DataFrame, item: ObjectPlan, mapping: FieldMapping) -> Iterator[str]:
    left, right = f"s.{mapping.source.name}", f"t.{mapping.target.name}"
    value = pl.col(left)
    if mapping.picklist:
        value = value.replace(dict(mapping.picklist)).replace("", None)
    wrong = both.filter(_plain(value, mapping.source).ne_missing(_plain(pl.col(right), mapping.target)))
    if wrong.height:
        row = wrong.row(0, named=True)
        yield (
            f"{item.object}.{mapping.source.name}: {wrong.height} of {both.height} values differ, "
            f"e.g. {row['s.Id']}: {row[left]!r} -> {row[right]!r}"
        )


def _plain(value: pl.Expr, field: Field) -> pl.Expr:
    """A value as it counts: ends of lines and spaces around a text do not, nor does the case of an address."""
    if field.type in ("boolean", "int", "date", "datetime", "time"):
        return value
    if field.type in ("double", "currency", "percent"):
        return value.cast(pl.Decimal(38, 15))
    text = value.str.replace_all("\r\n", "\n", literal=True).str.strip_chars()
    text = text.str.to_lowercase() if field.type == "email" else text
    return pl.when(text != "").then(text)


def _lookup(proof: Proof, both: pl.DataFrame, item: ObjectPlan, lookup: Lookup) -> Iterator[str]:
    if lookup.kept:
        return
    left, right = f"s.{lookup.source.name}", f"t.{lookup.target.name}"
    counterparts = [proof.id_map.select("source_id", "target_id")]
    counterparts += [_natural(proof, name) for name in lookup.references]
    index = pl.concat(counterparts).unique("source_id", keep="first").rename({"target_id": "expected"})
    joined = both.select("s.Id", left, right).join(index, left_on=left, right_on="source_id", how="left")
    filled = joined.filter(pl.col(left).is_not_null())
    unlinked = filled.filter(pl.col("expected").is_null() | (pl.col("expected") != pl.col(right).fill_null("")))
    if unlinked.height:
        row = unlinked.row(0, named=True)
        yield (
            f"{item.object}.{lookup.source.name}: {unlinked.height} of {filled.height} lookups do not point at their "
            f"parent's counterpart, e.g. {row['s.Id']}: {row[left]} -> {row[right]} instead of {row['expected']}"
        )
    invented = joined.filter(pl.col(left).is_null() & pl.col(right).is_not_null())
    if invented.height and not lookup.target.has_default and lookup.target.name != "RecordTypeId":
        yield f"{item.object}.{lookup.source.name}: {invented.height} lookups are set that the source leaves empty"


def _natural(proof: Proof, name: str) -> pl.DataFrame:
    """Counterparts of records that are not migrated, by their natural keys; other users become the administrator."""
    keys = NATURAL[name]
    left = _live(proof.source, name).select(pl.col("Id").alias("source_id"), *keys)
    right = _live(proof.target, name).select(pl.col("Id").alias("target_id"), *keys)
    if name == "Pricebook2":
        left, right = left.filter("IsStandard"), right.filter("IsStandard")
    found = left.join(right, on=keys, how="left")
    if name == "User":
        if proof.users is not None:
            found = left.join(proof.users, on="source_id", how="left")
        found = found.with_columns(pl.col("target_id").fill_null(proof.target.settings.user_id))
    return found.drop_nulls("target_id").select("source_id", "target_id")
