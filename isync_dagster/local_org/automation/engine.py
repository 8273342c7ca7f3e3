"""The moments of a save at which an org's automation works, in Salesforce's order of execution.

Before-save flows and before triggers; after the system's own checks lookup filters, validation rules, duplicate
rules and what after triggers and flows refuse; after the save workflow rules and after-save flows. All of it is
set-based over the rows of one write, and nothing is asked of an object without rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.automation.duplicates import refuse_similar
from isync_dagster.local_org.automation.model import Assignment, Flow, Trigger
from isync_dagster.local_org.automation.rules import ObjectRules, lookup_filter_sql
from isync_dagster.local_org.automation.saving import SET, Saving, whole_rows
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.values import error
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

CHUNK: Final = 200
NO_MATCH: Final = "Value does not exist or does not match filter criteria."


def before_save(writer: Writer, sobject: SObject, rows: Rows, *, update: bool) -> None:
    """Before-save flows, then before triggers: they set fields of the rows, or refuse rows."""
    rules = writer.schema.rules(sobject)
    if rules is None or not rows.good.height:
        return
    event = "update" if update else "create"
    moment = f"before {'update' if update else 'insert'}"
    for flow in rules.flows_on("before", event):
        _fault(writer, sobject, rows, flow, update)
        _assign(writer, sobject, rows, flow.assign, flow.condition, update)
    for trigger in rules.triggers_on(moment):
        _refuse(writer, sobject, rows, trigger, moment, update)
        _assign(writer, sobject, rows, trigger.assign, trigger.condition, update)


def check(writer: Writer, sobject: SObject, rows: Rows, *, update: bool) -> None:
    """Lookup filters, validation rules, duplicate rules, and the refusals of what would run after the save."""
    rules = writer.schema.rules(sobject)
    if rules is None or not rows.good.height:
        return
    event = "update" if update else "create"
    moment = f"after {'update' if update else 'insert'}"
    triggers = rules.triggers_on(moment)
    flows = [flow for flow in rules.flows_on("after", event) if flow.fault is not None]
    if not (rules.lookup_filters or rules.validation or rules.duplicates or triggers or flows):
        return
    given = set(rows.good.columns)
    saving = _saving(writer, sobject, rows, update)
    _refuse_filtered(writer, sobject, rows, rules, saving, given)
    if rules.validation and rows.good.height:
        found = saving.hits([rule.formula for rule in rules.validation])
        messages = [(rule.message, rule.field or "") for rule in rules.validation]
        _refuse_hits(rows, found, "FIELD_CUSTOM_VALIDATION_EXCEPTION", messages)
    if rules.duplicates and rows.good.height:
        refuse_similar(saving, rows, rules.duplicates)
    for trigger in triggers:
        _refuse(writer, sobject, rows, trigger, moment, update)
    for flow in flows:
        _fault(writer, sobject, rows, flow, update)


def after_save(writer: Writer, sobject: SObject, frame: pl.DataFrame) -> None:
    """What after-save flows and workflow rules write for new rows; `frame` are the rows just stored."""
    rules = writer.schema.rules(sobject)
    if rules is None or not frame.height:
        return
    flows = [flow for flow in rules.flows_on("after", "create") if flow.assign or flow.create]
    if flows:
        _write(Pending(writer, sobject, Saving(writer, sobject, frame, update=False), tuple(flows)))


@dataclass(frozen=True)
class Pending:
    """An update whose after-save flows are still to run, with the rows as they were before it."""

    writer: Writer
    sobject: SObject
    saving: Saving
    flows: tuple[Flow, ...]


def before_write(writer: Writer, sobject: SObject, rows: Rows) -> Pending | None:
    """Keep what the after-save flows of an update compare with: it is called just before the rows are stored."""
    rules = writer.schema.rules(sobject)
    flows = () if rules is None else rules.flows_on("after", "update")
    flows = tuple(flow for flow in flows if flow.assign or flow.create)
    if not flows or not rows.good.height:
        return None
    whole = whole_rows(writer, sobject, rows.good)
    # Whether a row meets the condition is decided while the old row can still be seen.
    saving = Saving(writer, sobject, whole, update=True, old=True)
    return Pending(writer, sobject, saving, flows)


def after_write(pending: Pending | None) -> None:
    """Run the after-save flows of an update that was just stored."""
    if pending is not None:
        _write(pending)


def _write(pending: Pending) -> None:
    for flow in pending.flows:
        _write_assigned(pending.writer, pending.sobject, pending.saving, flow)
        _write_created(pending.writer, pending.saving, flow)


def before_delete(writer: Writer, sobject: SObject, rows: Rows) -> None:
    """Refuse deletes that a before delete trigger does not let pass; rows carry `_row` and `Id`."""
    rules = writer.schema.rules(sobject)
    if rules is None or not rows.good.height:
        return
    for trigger in rules.triggers_on("before delete"):
        _refuse(writer, sobject, rows, trigger, "before delete", True)


def _saving(writer: Writer, sobject: SObject, rows: Rows, update: bool) -> Saving:
    if update:
        return Saving(writer, sobject, whole_rows(writer, sobject, rows.good), update=True)
    binary = [name for name, dtype in rows.good.schema.items() if dtype == pl.Binary or name.startswith(SET)]
    return Saving(writer, sobject, rows.good.drop(binary), update=False)


def _early(writer: Writer, sobject: SObject, rows: Rows, update: bool) -> Saving:
    """New rows as before triggers see them: defaults filled, no Id yet."""
    from isync_dagster.local_org.defaults import fill_defaults

    if update:
        return _saving(writer, sobject, rows, True)
    filled = Rows(fill_defaults(rows.good, sobject))
    return _saving(writer, sobject, filled, False)


def _refuse_hits(rows: Rows, found: pl.DataFrame, code: str, messages: Sequence[tuple[str, str]]) -> None:
    """Refuse rows by the first condition that they meet; `messages` are text and field of each condition."""
    for number in found["hit"].unique().sort():
        text, field = messages[number]
        hit = found.filter(pl.col("hit") == number)
        rows.refuse_rows(hit.select("_row", error(code, text, field).alias("error")))


def _refuse_filtered(
    writer: Writer, sobject: SObject, rows: Rows, rules: ObjectRules, saving: Saving, given: set[str]
) -> None:
    """Refuse rows whose lookups point at parents that a lookup filter excludes."""
    for item in rules.lookup_filters:
        field = sobject.field(item.name)
        if field is None or field.name not in given or not rows.good.height:
            continue
        names = saving.names()
        test = lookup_filter_sql(writer.schema, sobject, item, names)
        column = f'n."{field.name}"'
        found = saving.hits_sql([f"({column} IS NOT NULL AND NOT coalesce({test}, FALSE))"], names)
        touched = rows.good.filter(pl.col(field.name).is_not_null()).select("_row")
        found = found.join(touched, on="_row", how="semi")
        _refuse_hits(rows, found, "FIELD_FILTER_VALIDATION_EXCEPTION", [(item.message or NO_MATCH, field.name)])


def _assign(
    writer: Writer, sobject: SObject, rows: Rows, assign: Sequence[Assignment], condition: str, update: bool
) -> None:
    """Put assigned values into the rows that meet a condition."""
    own = {item.field: item.formula for item in assign if not item.record}
    if not own or not rows.good.height:
        return
    made = _early(writer, sobject, rows, update).values(sobject, own, condition)
    if not made.height:
        return
    fresh = {name: f"_fresh.{name}" for name in made.columns if name != "_row"}
    joined = rows.good.join(
        made.rename(fresh).with_columns(pl.lit(True).alias("_hit")), on="_row", how="left", maintain_order="left"
    )
    hit = pl.col("_hit").fill_null(False)
    sets: list[pl.Expr] = []
    for name, column in fresh.items():
        old = pl.col(name) if name in rows.good.columns else pl.lit(None, dtype=made.schema[name])
        if SET + name in rows.good.columns:
            before = pl.col(SET + name)
        else:
            before = old.is_not_null() if name in rows.good.columns else pl.lit(False)
        sets.append(pl.when(hit).then(pl.col(column)).otherwise(old).alias(name))
        sets.append((hit | before).alias(SET + name))
    rows.good = joined.with_columns(sets).drop("_hit", *fresh.values())
    from isync_dagster.local_org.rules import refuse_bad_values

    refuse_bad_values(rows, sobject)


def _refuse(writer: Writer, sobject: SObject, rows: Rows, trigger: Trigger, moment: str, update: bool) -> None:
    """Refuse the rows that a trigger throws for, or puts an error on."""
    if (trigger.throws is None and trigger.error is None) or not rows.good.height:
        return
    saving = (
        _early(writer, sobject, rows, update) if moment.startswith("before") else _saving(writer, sobject, rows, update)
    )
    found = saving.hits([trigger.condition])
    if trigger.whole_chunk and found.height:
        chunks = found.select((pl.col("_row") // CHUNK).alias("chunk")).unique()
        found = (
            rows.good.select("_row", (pl.col("_row") // CHUNK).alias("chunk"))
            .join(chunks, on="chunk", how="semi")
            .select(pl.col("_row").cast(pl.UInt32), pl.lit(0, dtype=pl.Int64).alias("hit"))
        )
    if trigger.error is not None:
        _refuse_hits(rows, found, "FIELD_CUSTOM_VALIDATION_EXCEPTION", [(trigger.error, trigger.field or "")])
        return
    event = "".join(word.capitalize() for word in moment.split())
    text = (
        f"{trigger.name}: execution of {event}\n\ncaused by: {trigger.throws}\n\n"
        f"Trigger.{trigger.name}: line 1, column 1"
    )
    _refuse_hits(rows, found, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", [(text, "")])


def _fault(writer: Writer, sobject: SObject, rows: Rows, flow: Flow, update: bool) -> None:
    """Refuse the rows for which a flow fails."""
    if flow.fault is None or not rows.good.height:
        return
    make = _early if flow.when == "before" else _saving
    found = make(writer, sobject, rows, update).hits([flow.condition])
    text = (
        f"We can't save this record because the “{flow.label or flow.name}” process failed. Give your Salesforce "
        f"admin these details. {flow.fault} Error ID: 1-1 (1)"
    )
    _refuse_hits(rows, found, "CANNOT_EXECUTE_FLOW_TRIGGER", [(text, "")])


def _write_assigned(writer: Writer, sobject: SObject, saving: Saving, flow: Flow) -> None:
    """Update the saved rows or their parents; of several rows that set one parent the last counts."""
    for record in dict.fromkeys(item.record for item in flow.assign):
        fields = {item.field: item.formula for item in flow.assign if item.record == record}
        target = saving.names().target_of(record) if record else sobject
        made = saving.values(target, fields, flow.condition, record=record)
        if not record:
            made = made.join(saving.frame.select("_row", "Id"), on="_row", how="left")
        if not made.height:
            continue
        made = made.sort("_row").unique("Id", keep="last", maintain_order=True)
        names = [name for name in made.columns if name not in ("_row", "Id")]
        writer.store_changes(made.with_columns([pl.lit(True).alias(SET + name) for name in names]), target)


def _write_created(writer: Writer, saving: Saving, flow: Flow) -> None:
    """Make the rows of other objects that a flow makes."""
    for creation in flow.create:
        other = writer.schema[creation.sobject]
        made = saving.values(other, creation.values, flow.condition).drop("_row")
        if made.height:
            writer.store_new(other, made)
