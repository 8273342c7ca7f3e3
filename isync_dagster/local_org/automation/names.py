"""The names of a formula over rows of an object: fields, parents up the lookups, `$User`, `$Permission`, `$Setup`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from isync_dagster.local_org.formula import FormulaError, Value, compile_formula
from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.local_org.formula.kinds import quoted
from isync_dagster.schema.model import Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.org_schema import OrgSchema

KINDS: Final = {
    "boolean": "boolean", "int": "number", "long": "number", "double": "number", "currency": "number",
    "percent": "number", "date": "date", "datetime": "datetime", "time": "time", "id": "id", "reference": "id",
    "picklist": "picklist", "multipicklist": "multipicklist",
}  # fmt: skip
NO_VALUES: Final = frozenset({"address", "location", "base64", "complexvalue"})


@dataclass(frozen=True)
class Moment:
    """Who reads or writes, and when: what `$User`, NOW() and TODAY() depend on."""

    now: datetime
    user_id: str | None


@dataclass
class _Join:
    alias: str
    sobject: SObject
    link: str
    computed: set[str] = field(default_factory=set)


def kind_of(item: Field) -> str:
    """The kind of a field's values in a formula; FormulaError for a field that has none."""
    if item.type in NO_VALUES:
        raise FormulaError(f"Field {item.name} may not be used in this type of formula")
    return KINDS.get(item.type, "text")


class RecordNames:
    """Names over the rows of `alias`; parents become LEFT JOINs, complete once all formulas are compiled.

    `prior` is the alias of the stored row while a record is being saved; `columns` are those that the rows have,
    others are blank.
    """

    def __init__(
        self,
        schema: OrgSchema,
        sobject: SObject,
        moment: Moment,
        alias: str,
        *,
        prior: str | None = None,
        columns: Collection[str] | None = None,
        depth: int = 0,
    ) -> None:
        self.schema = schema
        self.sobject = sobject
        self.moment = moment
        self.alias = alias
        self.prior_alias = prior
        self.columns = columns
        self.depth = depth
        self.inner: set[str] = set()
        """Computed fields of the rows themselves that were read: `alias` must be a relation that has them."""
        self._joins: dict[tuple[str, ...], _Join] = {}
        self._extra: dict[str, str] = {}

    @property
    def now(self) -> str:
        """The SQL of the present moment."""
        return f"TIMESTAMP '{self.moment.now.replace(tzinfo=None):%Y-%m-%d %H:%M:%S}'"

    @property
    def joins(self) -> str:
        """The joins of all parents read so far."""
        return "".join(
            f" LEFT JOIN {self.schema.relation(join.sobject, join.computed, self.moment, self.depth + 1)} {join.alias} "
            f'ON {join.alias}."Id" = {join.link}'
            for join in self._joins.values()
        ) + "".join(self._extra.values())

    def once(self, relation: str, on: str = "TRUE") -> str:
        """The alias of a relation of one row a key that is joined once, however often it is asked for.

        Joins are planned in a blink where hundreds of subqueries are not.
        """
        key = f"{relation} ON {on}"
        alias = f"{self.alias}x{len(self._extra)}"
        if key not in self._extra:
            self._extra[key] = f" LEFT JOIN ({relation}) {alias} ON {on.replace('{}', alias)}"
            return alias
        return f"{self.alias}x{list(self._extra).index(key)}"

    def is_new(self) -> str:
        """Whether the record is being made: it has no stored row yet."""
        return "TRUE" if self.prior_alias is None else f'({self.prior_alias}."Id" IS NULL)'

    def value(self, reference: Reference) -> Value:
        """A field path or a global variable."""
        first, *rest = reference.path
        if first.startswith("$"):
            return self._global(first.lower(), tuple(rest), reference)
        return self._path(reference)

    def prior(self, reference: Reference) -> Value:
        """The stored value of a field of the record."""
        found = self.sobject.field(reference.path[0])
        if len(reference.path) != 1 or found is None:
            raise FormulaError(f"Field {reference.text} may not be used in this type of formula", reference.offset)
        if self.schema.is_computed(self.sobject, found):
            raise FormulaError(f"The local org does not keep former values of the computed field {found.name}")
        if self.prior_alias is None:
            return self.value(reference)
        return _stored(found, f"{self.prior_alias}.{_quote(found.name)}")

    def _path(self, reference: Reference) -> Value:
        *steps, last = reference.path
        if not steps:
            return self._own(last, reference)
        join = self._parent(tuple(steps), reference)
        found = join.sobject.field(last)
        if found is None:
            raise _unknown(reference)
        if self.schema.is_computed(join.sobject, found):
            join.computed.add(found.name)
        return _stored(found, f"{join.alias}.{_quote(found.name)}")

    def _own(self, name: str, reference: Reference) -> Value:
        found = self.sobject.field(name)
        if found is None:
            raise _unknown(reference)
        if self.schema.is_computed(self.sobject, found):
            self.inner.add(found.name)
            return _stored(found, f"{self.alias}.{_quote(found.name)}")
        if self.columns is not None and found.name not in self.columns:
            return _stored(found, f"CAST(NULL AS {self.schema.column_type(found) or 'VARCHAR'})")
        return _stored(found, f"{self.alias}.{_quote(found.name)}")

    def target_of(self, record: str) -> SObject:
        """The object that a relationship path leads to."""
        return self._parent(tuple(record.split(".")), Reference((*record.split("."), "Id"))).sobject

    def computed(self, item: Field) -> Value:
        """A formula or roll-up field of these rows, worked out from what it reads."""
        roll_up = self.schema.roll_up(self.sobject, item.name)
        if roll_up is not None:
            from isync_dagster.local_org.automation.computed import roll_up_sql

            return Value(roll_up_sql(self, roll_up), KINDS.get(item.type, "number"))
        made = compile_formula(
            item.calculated_formula or "", self, blanks_as_zero=item.formula_treat_null_number_as_zero
        )
        return Value(made.sql, kind_of(item) if made.kind == "null" else made.kind)

    def _parent(self, steps: tuple[str, ...], reference: Reference) -> _Join:
        sobject, link, key = self.sobject, "", tuple[str, ...]()
        join: _Join | None = None
        for step in steps:
            name, _, wanted = step.partition(":")
            lookup = self.schema.relationship(sobject, name)
            targets = self.schema.parents(lookup) if lookup is not None else ()
            if wanted:
                wanted = "Group" if wanted.lower() == "queue" else wanted
                targets = tuple(item for item in targets if item.name.lower() == wanted.lower())
            elif len(targets) > 1:
                targets = tuple(item for item in targets if item.name != "Group") or targets
            if lookup is None or not targets:
                raise _unknown(reference)
            link = self._own(lookup.name, reference).sql if join is None else f"{join.alias}.{_quote(lookup.name)}"
            key = (*key, step.lower())
            join = self._joins.get(key)
            if join is None:
                alias = f"{self.alias}_{len(self._joins)}"
                join = _Join(alias, targets[0], link)
                self._joins[key] = join
            sobject = targets[0]
        assert join is not None
        return join

    # global variables

    def _global(self, name: str, rest: tuple[str, ...], reference: Reference) -> Value:
        user = quoted(self.moment.user_id or "")
        if name == "$user" and len(rest) == 1:
            return self._row("User", rest[0], f't."Id" = {user}', reference)
        if name in ("$profile", "$userrole") and len(rest) == 1:
            target, lookup = ("Profile", "ProfileId") if name == "$profile" else ("UserRole", "UserRoleId")
            own = f'(SELECT u.{_quote(lookup)} FROM "User" u WHERE u."Id" = {user})'
            return self._row(target, rest[0], f't."Id" = {own}', reference)
        if name == "$organization" and len(rest) == 1:
            return self._row("Organization", rest[0], "TRUE", reference)
        if name == "$recordtype" and len(rest) == 1:
            return self._path(Reference(("RecordType", rest[0]), reference.offset))
        if name == "$permission" and len(rest) == 1:
            held = self.once(f"SELECT {_permission(rest[0], user)} AS v")
            return Value(f"{held}.v", "boolean")
        if name == "$setup" and len(rest) == 2:
            return self._setup(rest, user, reference)
        if name == "$custommetadata" and len(rest) == 3:
            return self._metadata(rest, reference)
        if name == "$label":
            return Value(quoted(self.schema.automation.labels.get(rest[-1], rest[-1])), "text")
        if name == "$system" and [part.lower() for part in rest] == ["origindatetime"]:
            return Value("TIMESTAMP '1900-01-01 00:00:00'", "datetime")
        if name == "$api":
            return Value("''", "text")
        raise _unknown(reference)

    def _row(self, target: str, name: str, where: str, reference: Reference) -> Value:
        sobject = self.schema.get(target)
        found = sobject.field(name) if sobject is not None else None
        if sobject is None or found is None:
            raise _unknown(reference)
        column = f"t.{_quote(found.name)}"
        row = self.once(f"SELECT {column} AS v FROM {_quote(sobject.name)} t WHERE {where} LIMIT 1")
        return _stored(found, f"{row}.v")

    def _setup(self, rest: tuple[str, ...], user: str, reference: Reference) -> Value:
        """A hierarchy custom setting: the user's row, else the profile's, else the org's."""
        sobject = self.schema.get(rest[0])
        found = sobject.field(rest[1]) if sobject is not None else None
        if sobject is None or found is None or sobject.field("SetupOwnerId") is None:
            raise _unknown(reference)
        profile = f'(SELECT u."ProfileId" FROM "User" u WHERE u."Id" = {user})'
        levels = (user, profile, '(SELECT "Id" FROM "Organization" LIMIT 1)')
        rows = [
            f'(SELECT t.{_quote(found.name)} FROM {_quote(sobject.name)} t WHERE t."SetupOwnerId" = {owner} '
            'AND NOT t."IsDeleted" LIMIT 1)'
            for owner in levels
        ]
        setting = self.once(f"SELECT coalesce({', '.join(rows)}) AS v")
        return _stored(found, f"{setting}.v")

    def _metadata(self, rest: tuple[str, ...], reference: Reference) -> Value:
        sobject = self.schema.get(rest[0])
        found = sobject.field(rest[2]) if sobject is not None else None
        if sobject is None or found is None:
            raise _unknown(reference)
        where = f't."DeveloperName" = {quoted(rest[1])}'
        return self._row(sobject.name, found.name, where, reference)


def _permission(name: str, user: str) -> str:
    """Whether a permission set of the user holds a custom permission."""
    return (
        'EXISTS (SELECT 1 FROM "PermissionSetAssignment" a JOIN "SetupEntityAccess" e ON e."ParentId" = '
        'a."PermissionSetId" JOIN "CustomPermission" c ON c."Id" = e."SetupEntityId" '
        f'WHERE a."AssigneeId" = {user} AND NOT a."IsDeleted" AND NOT e."IsDeleted" '
        f'AND lower(c."DeveloperName") = {quoted(name.split("__")[-1].lower())})'
    )


def _stored(item: Field, sql: str) -> Value:
    # Formulas see a percentage as the fraction that it means.
    return Value(f"({sql} / 100.0)" if item.type == "percent" else sql, kind_of(item))


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unknown(reference: Reference) -> FormulaError:
    return FormulaError(f"Field {reference.text} does not exist. Check spelling.", reference.offset)
