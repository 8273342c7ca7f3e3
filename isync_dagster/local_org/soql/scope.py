"""Names to tables: the object of a query, the parents that its paths reach, and one join for each."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as data_field
from datetime import UTC, datetime, tzinfo
from typing import Any

from isync_dagster.local_org.automation.names import Moment
from isync_dagster.local_org.org_schema import OrgSchema, quote
from isync_dagster.local_org.request import current
from isync_dagster.local_org.soql.ast import Path
from isync_dagster.local_org.soql.errors import SoqlError, positioned
from isync_dagster.schema.model import Field, SObject

REFERENCE = "Please reference your WSDL or the describe call for the appropriate names."
LEVELS_UP = 5
MOST_PARENTS = 55
LATEST = 67.0

_NAME_TEXTS = (
    "FirstName",
    "LastName",
    "MiddleName",
    "Suffix",
    "Alias",
    "Email",
    "Phone",
    "Title",
    "Username",
    "NameOrAlias",
)

# What a path through a polymorphic lookup sees (`Owner.Name`, `What.Type`): Salesforce's own pseudo object.
NAME_OBJECT = SObject(
    name="Name",
    label="Name",
    fields=(
        Field("Id", "id", length=18),
        Field("Name", "string", length=255),
        Field("Type", "picklist", length=40),
        *(Field(name, "string", length=255) for name in _NAME_TEXTS),
        Field("IsActive", "boolean"),
        Field("ProfileId", "reference", reference_to=("Profile",), relationship_name="Profile"),
        Field("UserRoleId", "reference", reference_to=("UserRole",), relationship_name="UserRole"),
        Field("RecordTypeId", "reference", reference_to=("RecordType",), relationship_name="RecordType"),
    ),
)


@dataclass
class Context:
    """What one compilation shares between a query and its subqueries: the schema, the clock, the parameters."""

    text: str
    schema: OrgSchema
    now: datetime
    zone: tzinfo = UTC
    include_deleted: bool = False
    bulk: bool = False
    fiscal_start: int = 1
    user_id: str | None = None
    fiscal_named_by_start: bool = False
    version: float = LATEST
    namespace: str | None = None
    params: list[Any] = data_field(default_factory=list)
    aliases: int = 0
    parents: int = 0

    def param(self, value: Any) -> str:
        """The placeholder of a value that travels as a parameter."""
        self.params.append(value)
        return f"${len(self.params)}"

    def alias(self) -> str:
        """A table alias that no other table of the statement has."""
        self.aliases += 1
        return f"t{self.aliases - 1}"

    def spellings(self, name: str) -> tuple[str, ...]:
        """The names that a written one may mean: with the default namespace first, where it has none of its own."""
        if self.namespace is None or name.count("__") != 1:
            return (name,)
        return f"{self.namespace}__{name}", name

    def shown(self, name: str) -> str:
        """A name as the answer carries it: a client with a default namespace sees its own names without it."""
        prefix = f"{self.namespace}__".lower()
        return name[len(prefix) :] if self.namespace is not None and name.lower().startswith(prefix) else name

    def sobject(self, name: str) -> SObject | None:
        """The object that a name of the query means."""
        found = (self.schema.get(spelling) for spelling in self.spellings(name))
        return next((item for item in found if item is not None), None)

    @property
    def moment(self) -> Moment:
        """Who asks and when, as computed fields need to know."""
        return Moment(self.now.astimezone(UTC).replace(tzinfo=None), self.user_id or current().user_id)

    def error(self, offset: int, problem: str, code: str = "INVALID_FIELD") -> SoqlError:
        """An error with row and column of the query's text."""
        return positioned(self.text, offset, problem, code)


@dataclass
class Table:
    """One table of the statement; `wanted` are the fields asked of a polymorphic parent, whose union is built last.

    On other tables `wanted` are the computed fields (formulas, roll-ups) that the statement reads.
    """

    context: Context
    alias: str
    sobject: SObject
    link: str = ""
    targets: tuple[SObject, ...] = ()
    wanted: dict[str, Field] = data_field(default_factory=dict)

    def column(self, field: Field) -> str:
        """The SQL of a field of this table."""
        if self.targets or self.context.schema.is_computed(self.sobject, field):
            self.wanted.setdefault(field.name, field)
        return f"{self.alias}.{quote(field.name)}"

    @property
    def id_column(self) -> str:
        return f'{self.alias}."Id"'

    @property
    def join(self) -> str:
        """The LEFT JOIN that brings a parent in."""
        return f" LEFT JOIN {self.relation()} {self.alias} ON {self.id_column} = {self.link}"

    def relation(self) -> str:
        """What FROM or JOIN names; complete only after all names were read."""
        if not self.targets:
            return self.context.schema.relation(self.sobject, self.wanted, self.context.moment)
        fields = [field for name, field in self.wanted.items() if name != "Id"]
        parts = [
            "SELECT "
            + ", ".join(['"Id"', *(f"{_of_target(target, field)} AS {quote(field.name)}" for field in fields)])
            + f" FROM {quote(target.name)}"
            for target in self.targets
        ]
        return "(" + " UNION ALL ".join(parts) + ")"


def _of_target(target: SObject, field: Field) -> str:
    """A field of the Name pseudo object, taken from one of the objects behind it."""
    if field.name == "Type":
        # An object's API name comes from the schema; quotes cannot be in it.
        return "'" + target.name.replace("'", "''") + "'"
    found = target.field(field.name)
    if field.name == "Name":
        found = target.name_field or found
    if found is None:
        return "CAST(NULL AS BOOLEAN)" if field.type == "boolean" else "CAST(NULL AS VARCHAR)"
    return quote(found.name) if field.type == "boolean" else f"CAST({quote(found.name)} AS VARCHAR)"


class Scope:
    """The tables of one query level, grown as its paths are read."""

    def __init__(self, context: Context, sobject: SObject, names: tuple[str, ...] = ()) -> None:
        self.context = context
        self.sobject = sobject
        self.root = Table(context, context.alias(), sobject)
        self.names: dict[str, tuple[str, ...]] = {name.lower(): () for name in names}
        self.joined: dict[tuple[str, ...], Table] = {}

    @property
    def from_sql(self) -> str:
        """FROM with every join; complete only after all names were read."""
        joins = "".join(table.join for table in self.joined.values())
        return f"FROM {self.root.relation()} {self.root.alias}{joins}"

    def split(self, path: Path) -> tuple[tuple[str, ...], int]:
        """A path's parts below this query's object, and how many leading parts were an alias."""
        first = path.parts[0].lower()
        if len(path.parts) > 1:
            if first in self.names:
                return (*self.names[first], *path.parts[1:]), 1
            if first == self.sobject.name.lower() and self.context.schema.relationship(self.sobject, first) is None:
                return path.parts[1:], 1
        return path.parts, 0

    def find(
        self, path: Path, start: Table | None = None, base: tuple[str, ...] = ()
    ) -> tuple[Table, Field, tuple[str, ...]]:
        """The table and field of a path, and the path in the org's spelling; raises SoqlError INVALID_FIELD.

        A path inside a TYPEOF branch begins at the table `start`, whose joins are kept under the key `base`.
        """
        parts = self.split(path)[0] if start is None else path.parts
        *steps, last = parts
        table, spelled = self.walk(tuple(steps), path, start, base)
        named = (table.sobject.field(spelling) for spelling in self.context.spellings(last))
        field = next((item for item in named if item is not None), None)
        if field is None or field.deprecated_and_hidden:
            raise self.context.error(
                path.offset,
                f"No such column '{last}' on entity '{table.sobject.name}'. If you are attempting to use a custom "
                f"field, be sure to append the '__c' after the custom field name. {REFERENCE}",
            )
        return table, field, (*spelled, self.context.shown(field.name))

    def walk(
        self, steps: tuple[str, ...], path: Path, start: Table | None = None, base: tuple[str, ...] = ()
    ) -> tuple[Table, tuple[str, ...]]:
        """The table that relationship names lead to, and the names in the org's spelling."""
        if len(steps) > LEVELS_UP:
            raise self.context.error(
                path.offset,
                f"SOQL statements cannot follow more than {LEVELS_UP} child-to-parent relationships: {path.text}",
                "MALFORMED_QUERY",
            )
        table, spelled = start or self.root, tuple[str, ...]()
        for step in steps:
            lookup, targets = self.lookup(table, step, path)
            spelled = (*spelled, self.context.shown(lookup.relationship_name or step))
            key = (*base, *(part.lower() for part in spelled))
            known = self.joined.get(key)
            if known is None:
                self.context.parents += 1
                if self.context.parents > MOST_PARENTS:
                    raise SoqlError(
                        f"Cannot have more than {MOST_PARENTS} relationship fields in a query", code="MALFORMED_QUERY"
                    )
                known = self._join(table, lookup, targets)
                self.joined[key] = known
            table = known
        return table, spelled

    def lookup(self, table: Table, name: str, path: Path) -> tuple[Field, tuple[SObject, ...]]:
        """The lookup field that a relationship name means and the objects of this org behind it."""
        schema = self.context.schema
        found = (schema.relationship(table.sobject, spelling) for spelling in self.context.spellings(name))
        lookup = next((item for item in found if item is not None), None)
        targets = schema.parents(lookup) if lookup is not None else ()
        if lookup is None or not targets:
            raise self.context.error(
                path.offset,
                f"Didn't understand relationship '{name}' in field path. If you are attempting to use a custom "
                f"relationship, be sure to append the '__r' after the custom relationship name. {REFERENCE}",
            )
        return lookup, targets

    def _join(self, table: Table, lookup: Field, targets: tuple[SObject, ...]) -> Table:
        link = table.column(lookup)
        if is_polymorphic(lookup):
            return Table(self.context, self.context.alias(), NAME_OBJECT, link, targets)
        return Table(self.context, self.context.alias(), targets[0], link)

    def join_one(self, table: Table, lookup: Field, target: SObject, key: tuple[str, ...]) -> Table:
        """The join of one object behind a polymorphic lookup, as a TYPEOF branch reads it."""
        known = self.joined.get(key)
        if known is None:
            known = Table(self.context, self.context.alias(), target, table.column(lookup))
            self.joined[key] = known
        return known


def is_polymorphic(lookup: Field) -> bool:
    """True where a path through the lookup sees the Name pseudo object instead of one object."""
    return lookup.polymorphic or lookup.polymorphic_foreign_key
