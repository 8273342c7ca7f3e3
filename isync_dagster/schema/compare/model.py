"""What a comparison of two schemas speaks of: pairs of objects, differences, questions about the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from isync_dagster.schema.model import SObject


class Severity(StrEnum):
    """What a difference does to a migration, worst first."""

    BLOCKS = "blocks"
    """Rows would be refused by Salesforce, or the plan refuses the template."""
    LOSES_DATA = "loses data"
    """Rows arrive without something that the source holds."""
    COSMETIC = "cosmetic"
    """Nothing of the data at hand is touched."""


ORDER: Mapping[Severity, int] = {severity: place for place, severity in enumerate(Severity)}
"""Severity -> its place, the worst first."""


class Kind(StrEnum):
    """What differs."""

    OBJECT_MISSING = "object missing"
    OBJECT_ACCESS = "object access"
    FIELD_MISSING = "field missing"
    FIELD_TYPE = "field type"
    FIELD_LENGTH = "field length"
    FIELD_PRECISION = "field precision"
    FIELD_REQUIRED = "field required"
    FIELD_UNIQUE = "field unique"
    FIELD_EXTERNAL_ID = "field external id"
    FIELD_COMPUTED = "field computed"
    FIELD_ACCESS = "field access"
    PICKLIST_VALUE = "picklist value"
    PICKLIST_RESTRICTED = "picklist restricted"
    RECORD_TYPE = "record type"
    RELATIONSHIP = "relationship"
    FIELD_ADDED = "field added"
    PICKLIST_VALUE_ADDED = "picklist value added"
    RECORD_TYPE_ADDED = "record type added"


class Ask(StrEnum):
    """What can be asked of the rows in scope of an object."""

    ROWS = "rows"
    """How many there are."""
    FILLED = "filled"
    """How many have a value in the field."""
    EMPTY = "empty"
    """How many have none."""
    VALUES = "values"
    """Each value of the field with its rows; of a multi-select picklist, each single value."""
    LONGER = "longer"
    """How many have more characters than the limit."""
    WHOLE_DIGITS = "whole digits"
    """How many have more digits before the decimal point than the limit."""
    DECIMALS = "decimals"
    """How many have more decimals than the limit."""
    DUPLICATES = "duplicates"
    """How many share their value with another row; a limit of 1 tells upper from lower case."""
    PARENTS = "parents"
    """How many point at records of one of the named objects."""


@dataclass(frozen=True)
class Question:
    """One question about the source's rows; `field` is empty for the object itself."""

    object: str
    field: str
    ask: Ask
    limit: int = 0
    names: tuple[str, ...] = ()
    """The objects of `PARENTS`; the values that matter of `VALUES` where not all can be had."""


Answer = int | Mapping[str, int]
Answers = Mapping[Question, Answer]


@dataclass(frozen=True)
class Pair:
    """One object of the source and where its rows go; names in any case, as the template spells them.

    `carried` are the lower-case names of the source fields that are compared, None for all that can be written.
    """

    source: str
    target: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """Source field -> target field, where the names differ."""
    picklists: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Source field -> {source value: target value}; an empty target value empties the field."""
    carried: frozenset[str] | None = None
    filled: frozenset[str] = frozenset()
    """Lower-case target fields that get a value by another way, such as the migration key."""
    migration_key: str = ""
    planned: bool = False
    """True where the pair comes from a template, whose plan refuses what cannot go over whatever the rows hold."""
    missing_fields_refused: bool = False
    """True where the plan refuses a field that the target lacks, too."""
    record_type_refused: bool = False
    """True where a row without its record type is not sent."""
    record_type_defaulted: bool = False
    """True where the template names the record type that takes the place of a missing one."""
    inserts: bool = True
    updates: bool = True


@dataclass(frozen=True)
class Difference:
    """One way in which the target is not as the source.

    `field` and `target_field` are empty where it is about the object; `value` is the picklist value, record type or
    parent object it is about. `rows` counts the source's rows that it touches, None where they were not counted.
    """

    kind: Kind
    object: str
    target_object: str
    field: str
    target_field: str
    value: str
    source: str
    target: str
    severity: Severity
    rows: int | None
    what_to_do: str

    @property
    def place(self) -> str:
        """Where it is, for people: `Account.Tier__c`."""
        return f"{self.object}.{self.field}" if self.field else self.object

    def to_json(self) -> dict[str, Any]:
        """Plain data, a key an attribute."""
        return {
            "kind": str(self.kind),
            "severity": str(self.severity),
            "object": self.object,
            "target_object": self.target_object,
            "field": self.field,
            "target_field": self.target_field,
            "value": self.value,
            "source": self.source,
            "target": self.target,
            "rows": self.rows,
            "what_to_do": self.what_to_do,
        }


COLUMNS = (
    "kind", "severity", "object", "target_object", "field", "target_field", "value", "source", "target", "rows",
    "what_to_do",
)  # fmt: skip
"""The keys of `Difference.to_json`, in order."""


@dataclass(frozen=True)
class Matched:
    """A pair with both describes; `target` is None where the target has no such object."""

    pair: Pair
    source: SObject
    target: SObject | None
