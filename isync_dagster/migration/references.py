"""References to records that are not migrated, resolved by natural key in both orgs.

Users by federation id, user name (less a sandbox suffix) or e-mail, record types by object and developer
name, queues by type and developer name, the standard price book: what the plan's rules say. Keys compare
without case; a blank matches nothing; a key that two target records share matches nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
from upath import UPath

from isync_dagster.errors import ConfigError, RequestError
from isync_dagster.migration.live import live
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.names import remember
from isync_dagster.plan.model import Lookup, ReferenceRule
from isync_dagster.records.ids import to18
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.model import SObject
from isync_dagster.store import files
from isync_dagster.store.runs import Run

SCHEMA = pl.Schema({"source_id": pl.String(), "target_id": pl.String(), "how": pl.String()})
NAMED = 5_000
"""Up to so many records of a reference object are remembered by name."""
_ID = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")


def reference_map(job: SyncJob, run: Run, name: str) -> pl.LazyFrame:
    """`source_id`, `target_id`, `how` of every record of the reference object that has a counterpart.

    Asked of both orgs once a run and kept in the store. A source record without counterpart gets the rule's
    default where it has one (`how` is "default").
    """
    path = references_path(run, name)
    if not files.exists(path):
        files.write_parquet(path, _resolve(job, job.plan.references[name]))
    return files.scan(path, SCHEMA)


def resolve_references(job: SyncJob, run: Run) -> None:
    """As `reference_map` of every reference of the plan, with the orgs asked for several objects at once."""
    missing = [rule for name, rule in job.plan.references.items() if not files.exists(references_path(run, name))]
    sources, targets = _rows(job, job.source, missing), _rows(job, job.target, missing)
    for rule, source, target in zip(missing, sources, targets, strict=True):
        files.write_parquet(references_path(run, rule.object), _resolved(job, rule, source, target))


def resolved_anew(job: SyncJob, name: str) -> pl.DataFrame:
    """As `reference_map`, asked of both orgs now and kept nowhere."""
    return _resolve(job, job.plan.references[name])


def standard_price_book(job: SyncJob, run: Run) -> pl.LazyFrame:
    """The pair of the two orgs' standard price books, which always exist and cannot be inserted."""
    path = references_path(run, "StandardPricebook2")
    if not files.exists(path):
        rule = ReferenceRule("Pricebook2", by=(("IsStandard",),), where="IsStandard = true")
        files.write_parquet(path, _resolve(job, rule))
    return files.scan(path, SCHEMA)


def references_path(run: Run, name: str) -> UPath:
    """Where a run keeps the pairs of a reference object."""
    return run.folder / "references" / f"{name}.parquet"


def _resolve(job: SyncJob, rule: ReferenceRule) -> pl.DataFrame:
    (source,), (target,) = _rows(job, job.source, [rule]), _rows(job, job.target, [rule])
    return _resolved(job, rule, source, target)


def _resolved(job: SyncJob, rule: ReferenceRule, source: pl.DataFrame, target: pl.DataFrame) -> pl.DataFrame:
    if "SobjectType" in source.columns:
        renamed = {plan.object: plan.target_object for plan in job.plan.objects}
        source = source.with_columns(pl.col("SobjectType").replace(renamed))
    if "IsActive" in target.columns:
        # An inactive user cannot own records (INACTIVE_OWNER_OR_USER): no counterpart, so the default applies.
        target = target.filter(pl.col("IsActive") != "false")
    found = pl.DataFrame(schema=SCHEMA)
    if rule.map_file:
        found = _by_map_file(job, rule, source, target)
    for key in rule.by:
        if any(name not in source.columns or name not in target.columns for name in key):
            continue
        for left, right in _spellings(key, both_sandboxes=_both_sandboxes(job)):
            open_rows = source.join(found, left_on="Id", right_on="source_id", how="anti")
            found = pl.concat([found, _by_key(open_rows, target, left, right, "+".join(key))])
    if rule.default is not None:
        target_id = _default_id(rule, target)
        rest = source.join(found, left_on="Id", right_on="source_id", how="anti")
        found = pl.concat(
            [found, rest.select(source_id="Id", target_id=pl.lit(target_id), how=pl.lit("default")).cast(SCHEMA)]
        )
    return found


def _rows(job: SyncJob, org: Org, rules: Sequence[ReferenceRule]) -> list[pl.DataFrame]:
    """Id and the key fields that this org has of each rule's object, all text, ids of 18 characters."""
    columns = [_columns(job, org, rule) for rule in rules]
    asked = [
        f"SELECT {', '.join(names)} FROM {rule.object}{f' WHERE {rule.where}' if rule.where else ''}"
        for rule, names in zip(rules, columns, strict=True)
        if names
    ]
    answers = iter([org.query(asked[0])] if len(asked) == 1 else org.queries(asked))
    found: list[pl.DataFrame] = []
    for rule, names in zip(rules, columns, strict=True):
        rows = next(answers) if names else None
        if isinstance(rows, pl.DataFrame) and rows.height:
            found.append(rows.with_columns(to18(pl.col("Id"))))
            named = live(job, org, rule.object).name_field
            if named is not None and rows.height <= NAMED:
                remember(org, rows, named.name)
        else:
            found.append(pl.DataFrame(schema=dict.fromkeys(names or ["Id"], pl.String)))
    return found


def _columns(job: SyncJob, org: Org, rule: ReferenceRule) -> list[str]:
    """Id and those key fields of a rule that the org has; none where it lacks the object."""
    try:
        described = live(job, org, rule.object)
    except RequestError as error:
        if error.details.get("code") != "NOT_FOUND":
            raise
        # An org without the feature (price books, say) has no such record: its lookups get a state like any other
        # whose parent is missing.
        return []
    wanted = [*rule.fields, *(["IsActive"] if rule.object == "User" else [])]
    known = [field.name for name in wanted if (field := described.field(name)) is not None]
    # The name is for people: an owner is shown by it later.
    named = [described.name_field.name] if described.name_field is not None else []
    return list(dict.fromkeys(["Id", *known, *named]))


def _both_sandboxes(job: SyncJob) -> bool:
    return job.source.identity().is_sandbox and job.target.identity().is_sandbox


def _spellings(key: tuple[str, ...], *, both_sandboxes: bool) -> list[tuple[list[pl.Expr], list[pl.Expr]]]:
    """The ways in which the parts of a key may be spelled on either side, the plainest first."""

    def plain(name: str) -> pl.Expr:
        text = pl.col(name).str.strip_chars().str.to_lowercase()
        if name == "Email":
            text = text.str.strip_suffix(".invalid")
        # A blank part of a composite key (NamespacePrefix) is a value of its own there.
        return text.fill_null("") if len(key) > 1 else text

    same = [plain(name) for name in key]
    ways = [(same, same)]
    if key == ("Username",):
        cut = [plain("Username").str.replace(r"^(.+@.+)\.[^.]+$", "$1")]
        ways += [(same, cut), (cut, same)]
        if both_sandboxes:
            ways.append((cut, cut))
    return ways


def _by_key(
    source: pl.DataFrame, target: pl.DataFrame, left: list[pl.Expr], right: list[pl.Expr], how: str
) -> pl.DataFrame:
    names = [f"_key{number}" for number in range(len(left))]
    filled = pl.any_horizontal([(pl.col(name) != "") & pl.col(name).is_not_null() for name in names])
    mine = source.select(
        pl.col("Id").alias("source_id"), *[part.alias(name) for part, name in zip(left, names, strict=True)]
    )
    theirs = (
        target.select(
            pl.col("Id").alias("target_id"), *[part.alias(name) for part, name in zip(right, names, strict=True)]
        )
        .filter(filled)
        .unique(subset=names, keep="none")
    )
    joined = mine.filter(filled).join(theirs, on=names, how="inner")
    return joined.select("source_id", "target_id", how=pl.lit(how)).cast(SCHEMA)


def _by_map_file(job: SyncJob, rule: ReferenceRule, source: pl.DataFrame, target: pl.DataFrame) -> pl.DataFrame:
    """Pairs from a CSV with the columns source and target: ids, or values of any one key field."""
    path = job.templates_folder / str(rule.map_file)
    if not path.is_file():
        raise ConfigError(f"References of {rule.object}: the map file {path} does not exist.")
    pairs = pl.read_csv(path, infer_schema=False)
    if not {"source", "target"} <= set(pairs.columns):
        raise ConfigError(
            f"References of {rule.object}: {Path(path).name} needs the columns source and target; it has {pairs.columns}."
        )
    left, right = _by_any_value(source, rule), _by_any_value(target, rule)
    lowered = pairs.with_columns(pl.col("source", "target").str.strip_chars().str.to_lowercase())
    joined = lowered.join(left, left_on="source", right_on="value", how="left").join(
        right, left_on="target", right_on="value", how="left", suffix="_target"
    )
    unknown = pairs.filter(joined["Id_target"].is_null()) if joined.height == pairs.height else pairs.clear()
    if unknown.height:
        raise ConfigError(
            f"References of {rule.object}: {Path(path).name} names targets that are not in the org {job.plan.target_alias!r} "
            f"(or are inactive): {', '.join(unknown['target'].head(5).to_list())}."
        )
    return (
        joined.drop_nulls(["Id", "Id_target"])
        .unique(subset="Id", keep="first", maintain_order=True)
        .select(source_id="Id", target_id="Id_target", how=pl.lit("map file"))
        .cast(SCHEMA)
    )


def _by_any_value(rows: pl.DataFrame, rule: ReferenceRule) -> pl.DataFrame:
    """`value` (lower case), `Id`: every id and every key value that names exactly one record."""
    known = [name for name in rule.fields if name in rows.columns]
    values = [rows.select(value=pl.col("Id").str.to_lowercase(), Id="Id")]
    values += [rows.select(value=pl.col(name).str.strip_chars().str.to_lowercase(), Id="Id") for name in known]
    return pl.concat(values).drop_nulls().unique().unique(subset="value", keep="none")


def _default_id(rule: ReferenceRule, target: pl.DataFrame) -> str:
    wanted = str(rule.default)
    named = _by_any_value(target, rule).filter(pl.col("value") == wanted.strip().lower())
    if named.height == 1:
        return str(named["Id"][0])
    if _ID.fullmatch(wanted):
        full = str(pl.select(to18(pl.lit(wanted))).item())
        if target.filter(pl.col("Id") == full).height == 1:
            return full
    raise ConfigError(
        f"References of {rule.object}: the default {wanted!r} names no (active) {rule.object} of the target org, or more "
        f"than one. Give an id, or a value of {', '.join(rule.fields)}, that exists there."
    )


def default_target_id(job: SyncJob, lookup: Lookup) -> str:
    """The target id that `default:<id or key>` of a lookup means; `ConfigError` where it names no one record."""
    wanted = str(lookup.default)
    for name in lookup.references:
        rule = replace(job.plan.references[name], default=wanted)
        try:
            return _default_id(rule, _rows(job, job.target, [rule])[0])
        except ConfigError:
            if name == lookup.references[-1] and not lookup.parents and not lookup.others:
                raise
    for name in lookup.target.reference_to:
        described = live(job, job.target, name)
        condition = f"Id = '{wanted}'" if _ID.fullmatch(wanted) else _name_equals(described, wanted)
        if condition is None:
            continue
        found = job.target.query(f"SELECT Id FROM {name} WHERE {condition} LIMIT 2")
        if found.height == 1:
            return str(found.select(to18(pl.col("Id"))).item())
    raise ConfigError(
        f"The default {wanted!r} of the lookup {lookup.source.name} names no record, or more than one, of "
        f"{', '.join(lookup.target.reference_to)} in the org {job.plan.target_alias!r}. Give the target's record id, or a "
        "name that only one record has."
    )


def _name_equals(described: SObject, wanted: str) -> str | None:
    field = described.name_field
    escaped = wanted.replace("\\", "\\\\").replace("'", "\\'")
    return f"{field.name} = '{escaped}'" if field is not None else None
