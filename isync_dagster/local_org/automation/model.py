"""The declarations of an org's automation, as read from source metadata or written in an overlay file.

Names are Salesforce's own: those of the Metadata API where it has the thing, in snake case. Formulas are texts of
the formula language. Unknown keys are refused with the file and place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(min_length=1)]
Formula = Annotated[str, StringConstraints(min_length=1)]


class Declared(BaseModel):
    """A declaration: immutable, and strict about its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Of(Declared):
    """Something that belongs to an object and has a name on it."""

    sobject: Name = Field(alias="object", description="API name of the object")
    name: Name = Field(description="developer name, unique on its object")
    active: bool = Field(True, description="whether it works; Tooling and Metadata API can switch it")
    description: str = Field("", description="a note for people")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ValidationRule(Of):
    """Refuses rows for which its formula is true (FIELD_CUSTOM_VALIDATION_EXCEPTION)."""

    formula: Formula = Field(description="error condition")
    message: str = Field("", description="the text of the refusal")
    field: str | None = Field(None, description="the field the error is shown at")


class FilterItem(Declared):
    """One criterion: `field operation value`; `value_field` compares with another field (`$Source.AccountId`)."""

    field: Name
    operation: str = "equals"
    value: str = ""
    value_field: str | None = None


class RollUp(Of):
    """A roll-up summary field: `name` is the field of the parent."""

    operation: Literal["count", "sum", "min", "max"]
    child: Name = Field(description="the object of the details")
    lookup: Name = Field(description="the field of the detail that points here")
    summarized: str | None = Field(None, description="the field summed up; none for count")
    filters: tuple[FilterItem, ...] = ()


class LookupFilter(Of):
    """What a lookup's parent must be like; `name` is the lookup field (FIELD_FILTER_VALIDATION_EXCEPTION)."""

    filters: tuple[FilterItem, ...]
    boolean_filter: str | None = Field(None, description="such as `1 AND (2 OR 3)`; all criteria otherwise")
    message: str | None = None
    optional: bool = Field(False, description="an optional filter does not stop the API")


class RecordTypeValues(Of):
    """The values of a picklist that a record type offers; `name` is the field."""

    record_type: Name = Field(description="developer name")
    values: tuple[str, ...]
    default: str | None = None


class NumberFormat(Of):
    """How an auto-number field is written, such as `INV-{YYYY}-{0000}`; `name` is the field."""

    format: Annotated[str, StringConstraints(pattern=r"\{0+\}")]
    start: int = 1


class Assignment(Declared):
    """Gives a field the value of a formula; `record` names a parent by relationship (`Account`), else the record."""

    field: Name
    formula: Formula
    record: str | None = None


class Creation(Declared):
    """Makes a row of another object; the formulas see the record that was saved."""

    sobject: Name = Field(alias="object")
    values: dict[str, Formula]

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Trigger(Of):
    """An Apex trigger by its effect.

    Rows for which `condition` holds are refused: with `throws` as an unhandled exception
    (CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY), with `error` as `addError` does (FIELD_CUSTOM_VALIDATION_EXCEPTION);
    `whole_chunk` refuses all 200 rows saved together, as a governor limit does. `assign` sets fields before the save.
    """

    events: tuple[
        Literal[
            "before insert",
            "before update",
            "before delete",
            "after insert",
            "after update",
            "after delete",
            "after undelete",
        ],
        ...,
    ]
    condition: Formula = "TRUE"
    throws: str | None = None
    error: str | None = None
    field: str | None = None
    whole_chunk: bool = False
    assign: tuple[Assignment, ...] = ()
    body: str = ""


class Flow(Of):
    """A record-triggered flow, a process or a workflow rule by its effect.

    A `before` flow only sets fields of the record; an `after` flow may also set fields of parents and make rows.
    `fault` makes it fail for rows that meet the condition (CANNOT_EXECUTE_FLOW_TRIGGER).
    """

    kind: Literal["flow", "workflow"] = "flow"
    when: Literal["before", "after"] = "after"
    events: tuple[Literal["create", "update"], ...] = ("create", "update")
    condition: Formula = "TRUE"
    assign: tuple[Assignment, ...] = ()
    create: tuple[Creation, ...] = ()
    fault: str | None = None
    label: str = ""
    version: int = Field(1, description="the latest version")
    active_version: int | None = Field(None, description="the version that works; None while `active` says it")
    understood: bool = Field(True, description="false where the source holds more than the local org works out")


class DuplicateRule(Of):
    """Finds rows equal to a stored one in all of `match`: alerts (the header lets them pass) or blocks."""

    label: str = ""
    match: tuple[Name, ...] = Field(description="fields compared, ignoring case and outer blanks; a blank matches none")
    action_on_insert: Literal["Allow", "Block"] = "Allow"
    action_on_update: Literal["Allow", "Block"] = "Allow"
    alert_on_insert: bool = True
    alert_on_update: bool = True
    message: str = "Use one of these records?"
    matching_rule: str = ""


class CustomMetadataRow(Declared):
    """A record of a custom metadata type."""

    type: Name
    name: Name
    label: str = ""
    values: dict[str, Any] = {}


Item = TypeVar("Item", bound=Of)


class Automation(Declared):
    """Everything that is declared for an org."""

    validation_rules: tuple[ValidationRule, ...] = ()
    roll_ups: tuple[RollUp, ...] = ()
    lookup_filters: tuple[LookupFilter, ...] = ()
    record_type_values: tuple[RecordTypeValues, ...] = ()
    number_formats: tuple[NumberFormat, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    flows: tuple[Flow, ...] = ()
    duplicate_rules: tuple[DuplicateRule, ...] = ()
    custom_permissions: tuple[str, ...] = ()
    custom_metadata: tuple[CustomMetadataRow, ...] = ()
    labels: dict[str, str] = {}

    def plus(self, other: Automation) -> Automation:
        """Both together; of two declarations of the same thing the other's counts."""
        merged: dict[str, Any] = {}
        for key in type(self).model_fields:
            mine, theirs = getattr(self, key), getattr(other, key)
            if isinstance(mine, dict):
                merged[key] = {**mine, **theirs}
            elif theirs:
                merged[key] = tuple({_key(item): item for item in (*mine, *theirs)}.values())
        return self.model_copy(update=merged)

    def without(self, gone: Iterable[Declared]) -> Automation:
        """All but these declarations."""
        drop = {(type(item), _key(item)) for item in gone}
        merged = {
            key: tuple(item for item in getattr(self, key) if (type(item), _key(item)) not in drop)
            for key in type(self).model_fields
            if isinstance(getattr(self, key), tuple)
        }
        return self.model_copy(update=merged)


def _key(item: object) -> object:
    if isinstance(item, RecordTypeValues):
        return item.sobject.lower(), item.record_type.lower(), item.name.lower()
    if isinstance(item, Of):
        return item.sobject.lower(), item.name.lower()
    if isinstance(item, CustomMetadataRow):
        return item.type.lower(), item.name.lower()
    return item


def on(items: Iterable[Item], sobject: str) -> tuple[Item, ...]:
    """The declarations of one object."""
    lower = sobject.lower()
    return tuple(item for item in items if item.sobject.lower() == lower)
