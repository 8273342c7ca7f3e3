"""One query level: its object, conditions, grouping and order; a subquery is a level below it."""

from __future__ import annotations

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.soql.aggregate import Aggregation
from isync_dagster.local_org.soql.ast import Call, Expression, Item, Membership, Order, Path, Query
from isync_dagster.local_org.soql.conditions import Conditions, family
from isync_dagster.local_org.soql.errors import SoqlError, unexpected_token
from isync_dagster.local_org.soql.operands import AGGREGATES, Operand, Operands
from isync_dagster.local_org.soql.render import rest_value
from isync_dagster.local_org.soql.result import Column, Record
from isync_dagster.local_org.soql.rules import check_semi_joins
from isync_dagster.local_org.soql.scope import REFERENCE, Context, Scope
from isync_dagster.local_org.soql.selection import Selection
from isync_dagster.schema.model import COMPOUND_TYPES, SObject

LEVELS_DOWN = 5
DEEP_VERSION = 58.0  # before it a subquery could hold no other


def is_count(query: Query) -> bool:
    """True for `SELECT COUNT() FROM ...`, whose answer is a number and no record."""
    first = query.select[0]
    return (
        len(query.select) == 1
        and isinstance(first, Item)
        and isinstance(first.expression, Call)
        and first.expression.name == "COUNT"
        and not first.expression.arguments
        and first.alias is None
        and query.grouping is None
    )


def is_aggregate(query: Query) -> bool:
    """True where the answer is groups, not records."""
    return query.grouping is not None or any(
        isinstance(item, Item) and isinstance(item.expression, Call) and _aggregates(item.expression)
        for item in query.select
    )


def _aggregates(call: Call) -> bool:
    return call.name in AGGREGATES or any(isinstance(inner, Call) and _aggregates(inner) for inner in call.arguments)


def root_object(context: Context, query: Query) -> SObject:
    """The object that FROM names; raises SoqlError INVALID_TYPE with the place."""
    path = query.sources[0].path
    sobject = context.sobject(path.text) if len(path.parts) == 1 else None
    if sobject is None:
        raise context.error(
            path.offset,
            f"sObject type '{path.text}' is not supported. If you are attempting to use a custom object, be sure to "
            f"append the '__c' after the entity name. {REFERENCE}",
            "INVALID_TYPE",
        )
    if not sobject.queryable:
        raise context.error(
            path.offset, f"entity type {sobject.name} does not support query", "INVALID_TYPE_FOR_OPERATION"
        )
    return sobject


class Level:
    """Compiles one level; the parts of its statement are complete when the constructor returns."""

    def __init__(
        self, context: Context, query: Query, sobject: SObject, *, depth: int = 0, link: str | None = None
    ) -> None:
        self.context = context
        self.query = query
        self.sobject = sobject
        self.depth = depth
        self.scope = Scope(context, sobject, self._names())
        self._later_sources()
        self.operands = Operands(self.scope)
        self.columns: list[Column] = []
        self.children: tuple[str, ...] = ()
        self.record = Record(None, None, ())
        self.group = ""
        self.having = ""
        self.order = ""
        self._joins: list[str] = []
        self._filter = ""
        self.tie = self.scope.root.id_column
        self.link = f"{self.scope.root.alias}.{quote(link)}" if link is not None else None
        aggregation = Aggregation(self.operands, query) if is_aggregate(query) and not is_count(query) else None
        # The conditions come first: a subquery repeats them to read only the children of these records.
        self.where = self._where()
        if is_count(query):
            self._count()
        elif aggregation is not None:
            aggregation.read()
            self.columns, self.record = aggregation.columns, aggregation.record
            self.group, self.tie = aggregation.group, aggregation.tie
            self.having = self._having(aggregation)
            self.order = self._orders(aggregation)
        else:
            # Before the list is read: a subquery repeats the order too where this level is limited.
            self.order = self._orders(None)
            selection = Selection(self.operands, query, self._child)
            self.record = selection.read()
            self.columns, self.children = selection.columns, tuple(selection.children)

    @property
    def body(self) -> str:
        """FROM, the joins, WHERE, GROUP BY and HAVING."""
        return f"{self.scope.from_sql}{''.join(self._joins)}{self.where}{self.group}{self.having}"

    def _names(self) -> tuple[str, ...]:
        alias = self.query.sources[0].alias
        return (alias,) if alias is not None else ()

    def _later_sources(self) -> None:
        """`FROM Contact c, c.Account a`: each later source names a path from an earlier one."""
        for source in self.query.sources[1:]:
            parts, used = self.scope.split(source.path)
            if not used or source.alias is None:
                raise SoqlError(f"unexpected token: '{source.path.text}'")
            self.scope.walk(parts, source.path)
            self.scope.names[source.alias.lower()] = parts

    # conditions

    def _where(self) -> str:
        conditions = Conditions(self.operands, self._semi_join, self._no_aggregate)
        parts = [] if self.context.include_deleted else [f'{self.scope.root.alias}."IsDeleted" IS NOT TRUE']
        if self.query.where is not None:
            check_semi_joins(self.context, self.query.where)
            self._filter = conditions.sql(self.query.where)
            parts.append(self._filter)
        if (
            (self.query.scope or "").lower() == "mine"
            and self.context.user_id
            and (owner := self.sobject.field("OwnerId"))
        ):
            parts.append(f"{self.scope.root.column(owner)} = {self.context.param(self.context.user_id)}")
        if self.link is not None:
            parts.append(f"{self.link} IS NOT NULL")
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    def _no_aggregate(self, operand: Operand, expression: Expression) -> None:
        if operand.aggregate:
            raise self.context.error(
                expression.offset,
                "Aggregate functions are not allowed in a WHERE clause, use HAVING",
                "MALFORMED_QUERY",
            )

    def _having(self, aggregation: Aggregation) -> str:
        if self.query.having is None:
            return ""
        conditions = Conditions(self.operands, self._semi_join, aggregation.require)
        return f" HAVING {conditions.sql(self.query.having)}"

    def _semi_join(self, query: Query, operand: Operand, node: Membership) -> str:
        """The statement of `IN (SELECT ...)`; its rules are Salesforce's, in its words where they are known."""
        if family(operand.kind) != "id":
            raise self.context.error(
                node.offset,
                "The left operand field in the where expression for outer query should be an id field, "
                f"cannot use: '{operand.name}'",
                "MALFORMED_QUERY",
            )
        if isinstance(node.left, Path) and len(operand.path) > 1:
            raise self.context.error(
                node.offset,
                f"The left operand '{node.left.text}' cannot have more than one level of relationships",
                "MALFORMED_QUERY",
            )
        first = query.select[0]
        if len(query.select) != 1 or not isinstance(first, Item) or not isinstance(first.expression, Path):
            raise self.context.error(
                query.offset, "semi join sub-selects can only query one id field", "MALFORMED_QUERY"
            )
        if query.for_clauses:
            raise unexpected_token("FOR")
        sobject = root_object(self.context, query)
        if sobject is self.sobject:
            raise self.context.error(
                node.offset, "The inner and outer selects should not be on the same object type", "MALFORMED_QUERY"
            )
        level = Level(self.context, query, sobject, depth=LEVELS_DOWN)
        inner = level.operands.read(first.expression)
        if family(inner.kind) != "id":
            raise self.context.error(
                first.expression.offset,
                f"semi join sub-selects can only query id fields, cannot use: '{inner.name}'",
                "MALFORMED_QUERY",
            )
        if len(inner.path) > 2:
            raise self.context.error(
                first.expression.offset,
                f"The inner select field '{first.expression.text}' cannot have more than one level of relationships",
                "MALFORMED_QUERY",
            )
        here, there = _pointed_at(operand), _pointed_at(inner)
        if here and there and not here & there:
            raise self.context.error(
                node.offset,
                f"The selected field '{inner.name}' in the subquery and the left operand field in the where expression "
                f"in the outer query '{operand.name}' should point to the same object type",
                "MALFORMED_QUERY",
            )
        limited = ""
        if level.order or query.limit is not None:
            limited = f" ORDER BY {level.order + ', ' if level.order else ''}{level.tie}"
        limited += f" LIMIT {query.limit:d}" if query.limit is not None else ""
        # A null among the answers would make NOT IN unknown for every row.
        return f"SELECT {inner.sql} {level.body}{' AND' if level.where else ' WHERE'} {inner.sql} IS NOT NULL{limited}"

    # what is selected

    def _count(self) -> None:
        if self.query.order:
            ordered = self.operands.read(self.query.order[0].expression)
            raise self.context.error(
                self.query.order[0].expression.offset,
                f"Ordered field must be grouped or aggregated: {ordered.name}",
                "MALFORMED_QUERY",
            )
        sql = "count(*)"
        if self.query.offset_rows:
            sql = f"greatest({sql} - {self.query.offset_rows:d}, 0)"
        if self.query.limit is not None:
            sql = f"least({sql}, {self.query.limit:d})"
        self.columns = [Column("count", "c0", "int", sql)]
        self.tie = ""

    def _child(self, query: Query) -> tuple[str, str, Record]:
        """The rows of a child subquery as one list a parent; its join is added to this level."""
        source = query.sources[0].path
        parts = source.parts
        if len(parts) == 2 and (parts[0].lower() in self.scope.names or parts[0].lower() == self.sobject.name.lower()):
            parts = parts[1:]
        spelled = self.context.spellings(parts[0]) if len(parts) == 1 else ()
        children = (self.context.schema.child(self.sobject, name) for name in spelled)
        found = next((child for child in children if child is not None), None)
        sobject = self.context.schema.get(found.child_s_object) if found is not None else None
        if found is None or sobject is None or found.relationship_name is None:
            raise self.context.error(
                source.offset,
                f"Didn't understand relationship '{source.text}' in FROM part of query call. If you are attempting "
                "to use a custom relationship, be sure to append the '__r' after the custom relationship name. "
                f"{REFERENCE}",
                "INVALID_TYPE",
            )
        most = LEVELS_DOWN if self.context.version >= DEEP_VERSION else 2
        if self.depth + 1 >= most:
            raise self.context.error(
                source.offset, f"subqueries cannot be nested deeper than {most} levels", "MALFORMED_QUERY"
            )
        if query.offset_rows is not None and self.query.limit != 1:
            raise self.context.error(
                source.offset, "OFFSET in a subquery is only allowed if the parent query has LIMIT 1", "MALFORMED_QUERY"
            )
        if is_count(query) or is_aggregate(query):
            raise self.context.error(
                source.offset, "aggregate expressions are not allowed in a subquery", "MALFORMED_QUERY"
            )
        level = Level(self.context, query, sobject, depth=self.depth + 1, link=found.field)
        alias = self.context.alias()
        self._joins.append(
            f" LEFT JOIN ({self._rows_by_parent(level)}) {alias} ON {alias}.k = {self.scope.root.id_column}"
        )
        return self.context.shown(found.relationship_name), f"{alias}.rows", level.record

    def _rows_by_parent(self, level: Level) -> str:
        listed = ", ".join(f"'{item.name}': {rest_value(item.expression, item.kind)}" for item in level.columns)
        keys = ", ".join(part for part in (level.order, level.tie) if part)
        narrowed = ""
        if self._filter or (self.query.limit is not None and self.link is None):
            narrowed = f" AND {level.link} IN ({self._own_ids()})"
        numbered = (
            f"SELECT {level.link} AS k, {{{listed}}} AS entry, "
            f"row_number() OVER (PARTITION BY {level.link} ORDER BY {keys}) AS n {level.body}{narrowed}"
        )
        first = level.query.offset_rows or 0
        kept = [f"n > {first:d}"] if first else []
        if level.query.limit is not None:
            kept.append(f"n <= {first + level.query.limit:d}")
        where = f" WHERE {' AND '.join(kept)}" if kept else ""
        return f"SELECT k, list(entry ORDER BY n) AS rows FROM ({numbered}){where} GROUP BY k"

    def _own_ids(self) -> str:
        """The ids that this level's conditions leave, so that a subquery reads only their children."""
        page = ""
        if self.query.limit is not None and self.link is None:
            page = f" ORDER BY {self.order + ', ' if self.order else ''}{self.tie} LIMIT {self.query.limit:d}"
            page += f" OFFSET {self.query.offset_rows or 0:d}"
        return f"SELECT {self.scope.root.id_column} {self.scope.from_sql}{self.where}{page}"

    # order

    def _orders(self, aggregation: Aggregation | None) -> str:
        return ", ".join(self._order(item, aggregation) for item in self.query.order)

    def _order(self, item: Order, aggregation: Aggregation | None) -> str:
        operand = aggregation.aliased(item.expression) if aggregation is not None else None
        if operand is None:
            operand = self.operands.read(item.expression)
        field = operand.field
        if field is not None and (not field.sortable or field.type in COMPOUND_TYPES or field.type == "base64"):
            raise self.context.error(item.expression.offset, f"field '{field.name}' can not be sorted in a query call")
        if aggregation is not None:
            aggregation.require(operand, item.expression, "Ordered field must be grouped or aggregated")
        elif operand.aggregate:
            raise self.context.error(
                item.expression.offset,
                f"Ordered field must be grouped or aggregated: {operand.name}",
                "MALFORMED_QUERY",
            )
        # Text sorts without case; nulls come first in either direction unless the query says otherwise.
        keys = [f"lower({operand.sql})" if family(operand.kind) == "text" else operand.sql]
        if field is not None and field.type == "picklist" and field.picklist_values and not operand.aggregate:
            # A picklist sorts as its values are arranged; values that are not among them come after.
            known = self.context.param([value.value for value in field.picklist_values])
            place = (
                f"coalesce(list_position(CAST({known} AS VARCHAR[]), {operand.sql}), {len(field.picklist_values) + 1})"
            )
            keys.insert(0, f"CASE WHEN {operand.sql} IS NULL THEN NULL ELSE {place} END")
        first = item.nulls_first if item.nulls_first is not None else True
        direction = f"{'DESC' if item.descending else 'ASC'} NULLS {'FIRST' if first else 'LAST'}"
        return ", ".join(f"{key} {direction}" for key in keys)


def _pointed_at(operand: Operand) -> set[str]:
    """The objects that an id field's values belong to; empty where the describe does not say."""
    field = operand.field
    if field is None or operand.table is None:
        return set()
    return set(field.reference_to) if field.type == "reference" else {operand.table.sobject.name}
