"""What Salesforce would refuse of the transformed rows, as far as it shows without an id map.

One table of rules: each is a condition on a field with a kind, a severity and a sentence. All rules of an object are
counted in one pass over its frame; what is wrong is listed in another, which holds rows with findings alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import polars as pl

from isync_dagster.plan.model import ObjectPlan, Policy
from isync_dagster.records.canonical import canonical
from isync_dagster.records.typing import write
from isync_dagster.schema.model import NUMBER_TYPES, TEXT_TYPES, Field
from isync_dagster.schema.types import dtype
from isync_dagster.template.kinds import WARNINGS
from isync_dagster.template.models import CheckSeverity, PreflightDecision

SHOWN = 255
"""Characters of a value that a finding shows."""

FINDINGS = {name: pl.String() for name in ("check", "severity", "field", "_source_id", "value", "message")}

_INT_MAX = 2**31 - 1
_FIRST, _LAST = date(1700, 1, 1), date(4000, 12, 31)
# Salesforce wants one @, something on both sides, and a domain with a dot; it takes more than the mail standards do.
_URL = r"^(?i)(?:[a-z][a-z0-9+.-]*://)?[^\s/?#]+\.[^\s/?#]+(?:[/?#]\S*)?$"
_EMAIL = r"^[^\s@,;:<>()\[\]\\\"]+@[^\s@,;:<>()\[\]\\\"]+\.[^\s@.,;:<>()\[\]\\\"]+$"


@dataclass(frozen=True)
class Known:
    """What the rules compare with besides the plan, read from the orgs before; empty where nothing is known."""

    record_types: Mapping[str, str] = field(default_factory=dict)
    """Source record type id -> the target's."""
    available: frozenset[str] | None = None
    """Target record type ids that the loading user may use."""
    values: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    """Target record type id -> field -> the values that it offers."""
    owners: pl.Series | None = None
    """Source ids of users and queues that have an active counterpart of their own in the target."""
    rows: tuple[tuple[str, str, pl.Series, str], ...] = ()
    """(kind, field, source ids, message) of rows that a look at other rows found; bounded by the findings."""
    decisions: tuple[PreflightDecision, ...] = ()
    """The template's decisions on kinds of findings."""

    def severity(self, kind: str, object: str, name: str) -> CheckSeverity:
        """How a finding of that kind on a field counts: the last decision that fits, else the kind's own."""
        found = CheckSeverity.WARN if kind in WARNINGS else CheckSeverity.ERROR
        for item in self.decisions:
            if item.check == kind and item.object in (None, object) and (not item.fields or name in item.fields):
                found = item.severity
        return found


@dataclass(frozen=True)
class _Check:
    """One thing that may be wrong with a field: where it is, what it is about, and how to say it."""

    name: str
    field: str
    bad: pl.Expr
    value: pl.Expr
    message: str
    severity: str = "error"


_NOTHING_KNOWN = Known()


def find(frame: pl.LazyFrame, plan: ObjectPlan, known: Known = _NOTHING_KNOWN) -> pl.LazyFrame:
    """The findings of a transformed frame, one row each; rows of `frame` without any do not appear.

    Columns: `check` (one of `template.kinds.KINDS`), `severity` (error: Salesforce would refuse the row; warn: it takes it), `field`
    (target name), `_source_id`, `value` (what the target would get, its first 255 characters) and `message`, all
    String. One pass over `frame` counts what is wrong; where something is, another lists it, by the checks that hit.
    """
    of_type = known.severity("type", plan.object, "")
    unfit = pl.lit(False) if of_type is CheckSeverity.OFF else pl.col("_unfit").is_not_null()
    checks = _checks(plan, known)
    counts = frame.select(_unfit=unfit.sum(), **{str(number): check.bad.sum() for number, check in enumerate(checks)})
    unfitting, *numbers = counts.collect(engine="streaming").row(0)
    hits = [check for check, number in zip(checks, numbers, strict=True) if number]
    listed = [pl.LazyFrame(schema=FINDINGS)]
    if hits:
        listed.append(_listed(frame, hits))
    if unfitting:
        listed.append(_misfits(frame, of_type))
    return pl.concat(listed)


def _listed(frame: pl.LazyFrame, checks: Sequence[_Check]) -> pl.LazyFrame:
    """The findings of these checks: a row is looked at once, and a text is made of what is wrong alone."""
    wrong = {f"_wrong{number}": check.bad.fill_null(False) for number, check in enumerate(checks)}
    said = [
        # Of a value that is missing there is something to say too: a text in front tells it from no finding.
        pl.when(pl.col(column))
        .then(pl.concat_str(pl.lit("="), check.value.str.slice(0, SHOWN)).fill_null("-"))
        .alias(str(number))
        for number, (column, check) in enumerate(zip(wrong, checks, strict=True))
    ]
    words = pl.LazyFrame(
        [(str(number), check.name, check.severity, check.field, check.message) for number, check in enumerate(checks)],
        schema=dict.fromkeys(("_check", "check", "severity", "field", "message"), pl.String),
        orient="row",
    )
    return (
        frame.with_columns(**wrong)
        .filter(pl.any_horizontal(*wrong))
        .select("_source_id", *said)
        .unpivot(index="_source_id", variable_name="_check", value_name="_said")
        .drop_nulls("_said")
        .join(words, on="_check", how="left", maintain_order="left")
        .with_columns(value=pl.when(pl.col("_said").str.starts_with("=")).then(pl.col("_said").str.slice(1)))
        .select(*FINDINGS)
    )


def _misfits(frame: pl.LazyFrame, severity: CheckSeverity) -> pl.LazyFrame:
    """A finding a value that the target's type cannot hold."""
    return (
        frame.filter(pl.col("_unfit").is_not_null())
        .select("_source_id", "_unfit")
        .explode("_unfit")
        .unnest("_unfit")
        .select(
            check=pl.lit("type"),
            severity=pl.lit(str(severity)),
            field="field",
            _source_id="_source_id",
            value=pl.col("value").str.slice(0, SHOWN),
            message=pl.lit("the value does not fit the target's type"),
        )
    )


def _checks(plan: ObjectPlan, known: Known) -> list[_Check]:
    """Every check of every field that may be sent, less those that the template has silenced."""
    found: list[_Check] = []
    for mapping in plan.fields:
        if mapping.insertable or mapping.updateable:
            found += _of_field(mapping.target, plan, known)
    found += [
        _required(lookup.target)
        for lookup in plan.lookups
        if plan.insert_new and lookup.target.required and not lookup.deferred
    ]
    found += [*_record_type(plan, known), *_owner(plan, known)]
    for kind, name, ids, message in known.rows:
        value = pl.col(name).cast(pl.String) if name else pl.lit(None, dtype=pl.String)
        found.append(_Check(kind, name, pl.col("_source_id").is_in(ids.implode()), value, message))
    judged = ((check, known.severity(check.name, plan.object, check.field)) for check in found)
    return [replace(check, severity=str(how)) for check, how in judged if how is not CheckSeverity.OFF]


RULES: tuple[Callable[[Field], _Check | None], ...]
"""Rules that a field's own describe decides, in the order of their findings."""


def _of_field(field: Field, plan: ObjectPlan, known: Known) -> Iterator[_Check]:
    if plan.insert_new and field.required:
        yield _required(field)
    for rule in RULES:
        check = rule(field)
        if check is not None:
            yield check
    yield from _dependent(field, plan)
    yield from _offered(field, plan, known)


def _required(field: Field) -> _Check:
    nothing = canonical(pl.col(field.name), field).is_null()
    empty = pl.lit(None, dtype=pl.String)
    return _Check("required", field.name, nothing, empty, "the target requires a value and has no default")


def _length(field: Field) -> _Check | None:
    if field.type not in TEXT_TYPES or field.length <= 0:
        return None
    text = pl.col(field.name)
    return _Check(
        "length", field.name, text.str.len_chars() > field.length, text, f"longer than {field.length} characters"
    )


def _range(field: Field) -> _Check | None:
    value = pl.col(field.name)
    if field.type in NUMBER_TYPES and field.precision:
        digits = field.precision - field.scale
        # Beyond 20 digits nothing is read at all, so no wider limit can be passed.
        if digits >= 20:
            return None
        bad = canonical(value, field).abs() >= 10**digits
        message = f"more than {digits} digits before the decimal point"
    elif field.type == "int":
        limit = 10**field.digits - 1 if 0 < field.digits < 10 else _INT_MAX
        bad, message = value.abs() > limit, f"outside ±{limit}"
    elif field.type == "date":
        bad, message = (value < _FIRST) | (value > _LAST), "before the year 1700 or after 4000"
    elif field.type == "datetime":
        first, last = datetime(1700, 1, 1, tzinfo=UTC), datetime(4001, 1, 1, tzinfo=UTC)
        bad, message = (value < first) | (value >= last), "before the year 1700 or after 4000"
    else:
        return None
    return _Check("range", field.name, bad, write(value, dtype(field)), message)


def _is_restricted(field: Field) -> bool:
    return field.restricted_picklist and bool(field.picklist_values) and field.type in ("picklist", "multipicklist")


def _outside(field: Field, accepted: Iterable[str]) -> tuple[pl.Expr, pl.Expr]:
    """Where a picklist field holds a value that is not accepted, and the values that are not."""
    allowed = pl.Series(sorted(accepted), dtype=pl.String)
    value = pl.col(field.name)
    if field.type == "picklist":
        trimmed = value.str.strip_chars()
        return (trimmed != "") & ~trimmed.is_in(allowed.implode()), value
    members = value.str.split(";").list.eval(pl.element().str.strip_chars())
    refused = members.list.eval(pl.element().filter((pl.element() != "") & ~pl.element().is_in(allowed.implode())))
    return refused.list.len() > 0, refused.list.join(";")


def _picklist(field: Field) -> _Check | None:
    if not _is_restricted(field):
        return None
    bad, shown = _outside(field, field.active_values())
    return _Check(
        "picklist", field.name, bad, shown, "not an active value of the restricted picklist; map it (picklists)"
    )


def _dependent(field: Field, plan: ObjectPlan) -> Iterator[_Check]:
    """A restricted dependent picklist against the bitmaps of `validFor`, where the controlling field travels too."""
    controller = controller_of(field, plan)
    if controller is None:
        return
    controls = pl.col(controller.name).cast(pl.String).fill_null("")
    general, _ = _outside(field, field.active_values())
    bad, shown = pl.lit(False), pl.col(field.name)
    if field.type == "picklist":
        pairs = [f"{name}\x1f{value}" for name, values in fitting(field, controller).items() for value in values]
        pair = pl.concat_str(controls, pl.lit("\x1f"), pl.col(field.name).str.strip_chars())
        bad = (pl.col(field.name).str.strip_chars() != "") & ~pair.is_in(pl.Series(pairs, dtype=pl.String).implode())
    else:
        known = fitting(field, controller)
        nothing, _ = _outside(field, ())
        bad = nothing & ~controls.is_in(pl.Series(list(known), dtype=pl.String).implode())
        for name, values in known.items():
            bad = bad | ((controls == name) & _outside(field, values)[0])
    yield _Check(
        "dependent_picklist", field.name, bad & ~general, shown, f"does not go with the value of {controller.name}"
    )


def controller_of(field: Field, plan: ObjectPlan) -> Field | None:
    """The controlling field of a restricted dependent picklist, where the plan carries it; else None."""
    if not (_is_restricted(field) and field.dependent_picklist and field.controller_name):
        return None
    wanted = field.controller_name.lower()
    return next((item.target for item in plan.fields if item.target.name.lower() == wanted), None)


def fitting(field: Field, controller: Field) -> dict[str, frozenset[str]]:
    """Value of the controlling field -> the values that go with it, read from the bitmaps of `validFor`."""
    names = ["false", "true"] if controller.type == "boolean" else [item.value for item in controller.picklist_values]
    found: dict[str, set[str]] = {name: set() for name in names}
    for entry in field.picklist_values:
        bits = base64.b64decode(entry.valid_for or "")
        for number, name in enumerate(names):
            if entry.active and number >> 3 < len(bits) and bits[number >> 3] & (0x80 >> (number % 8)):
                found[name].add(entry.value)
    return {name: frozenset(values) for name, values in found.items()}


def _offered(field: Field, plan: ObjectPlan, known: Known) -> Iterator[_Check]:
    """A restricted picklist against what the row's record type offers, for record types that are known."""
    name = record_type_lookup(plan)
    if name is None or not _is_restricted(field):
        return
    general, _ = _outside(field, field.active_values())
    shown, bad = pl.col(field.name), pl.lit(False)
    for source_id, target_id in known.record_types.items():
        offered = known.values.get(target_id, {}).get(field.name)
        if offered is not None and not field.active_values() <= offered:
            bad = bad | ((pl.col(name) == source_id) & _outside(field, offered)[0])
    yield _Check("record_type_picklist", field.name, bad & ~general, shown, "not offered by the record's record type")


def record_type_lookup(plan: ObjectPlan) -> str | None:
    """The target field that holds the record type, where the plan carries it over."""
    return next((item.target.name for item in plan.lookups if "RecordType" in item.references and not item.kept), None)


def _record_type(plan: ObjectPlan, known: Known) -> Iterator[_Check]:
    name = record_type_lookup(plan)
    if name is None or known.available is None:
        return
    closed = [source for source, target in known.record_types.items() if target not in known.available]
    bad = pl.col(name).is_in(pl.Series(closed, dtype=pl.String).implode())
    yield _Check("record_type", name, bad, pl.col(name), "the loading user may not use its record type in the target")


def _owner(plan: ObjectPlan, known: Known) -> Iterator[_Check]:
    owner = next((item for item in plan.lookups if item.target.name == "OwnerId" and "User" in item.references), None)
    if owner is None or known.owners is None or owner.kept:
        return
    value = pl.col("OwnerId")
    bad = value.is_not_null() & ~value.is_in(known.owners.implode())
    then = "the row is blocked" if owner.policy is Policy.BLOCK else "the default or the loading user becomes its owner"
    yield _Check("owner", "OwnerId", bad, value, f"no active user or queue of the target corresponds to it: {then}")


def _email(field: Field) -> _Check | None:
    if field.type != "email":
        return None
    text = pl.col(field.name).str.strip_chars()
    bad = (text != "") & ~text.str.contains(_EMAIL)
    return _Check("email", field.name, bad, pl.col(field.name), "not an e-mail address")


def _url(field: Field) -> _Check | None:
    if field.type != "url":
        return None
    text = pl.col(field.name).str.strip_chars()
    bad = (text != "") & ~text.str.contains(_URL)
    return _Check("url", field.name, bad, pl.col(field.name), "has not the shape of a URL; stored as it is")


def _phone(field: Field) -> _Check | None:
    if field.type != "phone":
        return None
    text = pl.col(field.name).str.strip_chars()
    bad = (text != "") & ~text.str.contains(r"\d")
    return _Check("phone", field.name, bad, pl.col(field.name), "holds no digit; stored as it is")


RULES = (_length, _range, _picklist, _email, _url, _phone)


def doubled(frame: pl.LazyFrame, target: Field) -> pl.LazyFrame:
    """`_source_id`, `_key` of the rows whose value of a unique field another row of the frame has too."""
    keyed = unique_keys(frame, target, "_source_id")
    shared = keyed.group_by("_key").len().filter(pl.col("len") > 1)
    return keyed.join(shared, on="_key", how="semi")


def unique_keys(frame: pl.LazyFrame, target: Field, id_column: str) -> pl.LazyFrame:
    """`id_column`, `_key`: values of a unique field as Salesforce compares them; blanks are not unique."""
    text = write(canonical(pl.col(target.name), target), dtype(target))
    key = text if target.case_sensitive else text.str.to_lowercase()
    return frame.select(id_column, _key=key).drop_nulls("_key")
