"""Which automation of the target may have changed a value as it was saved: by name, as far as the metadata says so.

What a piece of automation may have done is told by what it sets, by the save that starts it (an insert, an update), by
what was sent of the cell, and by whether the run had it switched off. Where several fit, all are named: which of them it
was, the org does not tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from isync_dagster.errors import RequestError
from isync_dagster.migration.automation import record_of
from isync_dagster.migration.model import State, SyncJob
from isync_dagster.migration.target import described
from isync_dagster.plan.model import ObjectPlan
from isync_dagster.salesforce.automation import key_of
from isync_dagster.salesforce.automation_effects import CREATE, UPDATE, Writer, writers
from isync_dagster.schema.model import Field
from isync_dagster.store.runs import Run

BY_TARGET = "the target itself changed it as the record was saved"
NOT_SENT = (
    "changed while the run was at work, and nothing of it was sent (it was equal when it was compared): by automation that "
    "the save of another record starts, or by somebody as the migrating user"
)
CAUSES = pl.Schema({"field": pl.String(), "state": pl.String(), "empty": pl.Boolean(), "cause": pl.String()})


@dataclass(frozen=True)
class Suspects:
    """What an object's automation was like when it was asked."""

    writers: tuple[Writer, ...] = ()
    fields: dict[str, Field] = field(default_factory=dict)
    """The object's fields by name, as the target describes them now."""
    off: frozenset[str] = frozenset()
    """What the run had switched off."""
    relinked: bool = False
    """Whether records that were inserted were updated too, by the second pass."""
    unread: str = ""
    """Why the automation could not be read."""

    def cause(self, name: str, state: str, empty: bool) -> str:
        """A sentence on a field of a record in that state; `empty` where nothing was sent, or it was cleared."""
        if state == State.IDENTICAL:
            return NOT_SENT
        if self.unread:
            return f"{BY_TARGET}: which automation is not known ({self.unread})"
        events = {CREATE} | ({UPDATE} if self.relinked else set()) if state == State.INSERTED else {UPDATE}
        mine = [item for item in self.writers if item.events & events and item.key not in self.off]
        sure = [item.told(name) for item in mine if name.lower() in item.fields]
        known = self.fields.get(name)
        if known is not None and known.calculated:
            sure.insert(0, "the formula that the field is now")
        if empty and known is not None and _default(known):
            sure.append(f"the field's default ({_default(known)}), since nothing was sent")
        maybe = [item.told(name) for item in mine if name.lower() not in item.fields and item.open]
        return f"{BY_TARGET}: {_sentence(sure, maybe)}"


def _default(known: Field) -> str:
    if known.default_value_formula:
        return str(known.default_value_formula)
    if known.default_value not in (None, "", False):
        return str(known.default_value)
    picked = [item.value for item in known.picklist_values if item.default_value]
    return picked[0] if picked else ""


def _sentence(sure: Sequence[str], maybe: Sequence[str]) -> str:
    if len(sure) == 1:
        text = sure[0]
    elif sure:
        text = "one of " + ", ".join(sure)
    elif maybe:
        return "nothing that may be read names the field; possible are " + ", ".join(maybe)
    else:
        return (
            "no active trigger, flow or workflow rule that the user may read sets the field; left are automation of other "
            "objects, managed packages and the platform"
        )
    return text + (f"; possible too: {', '.join(maybe)}" if maybe else "")


def suspects(job: SyncJob, run: Run, plan: ObjectPlan) -> Suspects:
    """The automation of the object as the target has it now, less what the run had off."""
    record = record_of(run)
    off = frozenset(key_of(item) for item in record.items) if record is not None else frozenset()
    known = {item.name: item for item in described(job, plan.target_object).fields}
    try:
        found = writers(job.target, plan.target_object)
    except RequestError as error:
        return Suspects(fields=known, unread=f"the user may not read it: {error}")
    return Suspects(found, known, off, plan.has_relink)


def causes(found: Suspects, names: Iterable[str]) -> pl.DataFrame:
    """`CAUSES` for every field named and every way in which it may have been sent; bounded by the fields."""
    rows = [
        (name, str(state), empty, found.cause(name, state, empty))
        for name in names
        for state in (State.INSERTED, State.UPDATED, State.IDENTICAL)
        for empty in (False, True)
    ]
    return pl.DataFrame(rows, schema=CAUSES, orient="row")
