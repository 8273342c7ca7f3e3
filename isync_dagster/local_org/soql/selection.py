"""The SELECT list as columns of the statement and as the shape of a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as data_field

from isync_dagster.local_org.soql.ast import Call, Expression, Item, Path, Query, Subquery, TypeOf
from isync_dagster.local_org.soql.compound import struct
from isync_dagster.local_org.soql.errors import SoqlError
from isync_dagster.local_org.soql.operands import Operand, Operands
from isync_dagster.local_org.soql.result import Children, Column, Entry, Parent, Record, Value
from isync_dagster.local_org.soql.scope import NAME_OBJECT, Table, is_polymorphic
from isync_dagster.schema.model import COMPOUND_TYPES, Field

LARGEST_FIELDS_LIMIT = 200
FIELDS_VERSION = 51.0


@dataclass
class Node:
    """A parent record while the list is read: what it holds, and the table that tells whether it is there."""

    key: str
    table: Table
    entries: dict[str, Node | Value | Children] = data_field(default_factory=dict)
    branches: dict[str, Node] | None = None


class Selection:
    """Reads a SELECT list of a plain query; `child` compiles a subquery to (key, SQL of its rows, record)."""

    def __init__(self, operands: Operands, query: Query, child: Callable[[Query], tuple[str, str, Record]]) -> None:
        self.operands = operands
        self.scope = operands.scope
        self.context = operands.context
        self.query = query
        self.child = child
        self.columns: list[Column] = []
        self.children: list[str] = []
        self.root = Node("", self.scope.root)

    def read(self) -> Record:
        """The shape of a record; `columns` and the scope's joins are complete afterwards."""
        for selected in self.query.select:
            if isinstance(selected, Subquery):
                self._subquery(selected)
            elif isinstance(selected, TypeOf):
                self._typeof(selected)
            else:
                self._item(selected)
        # Hidden columns come last, so that what was selected keeps its order.
        return Record(self.scope.sobject.name, self._hidden(self.scope.root.id_column), self._entries(self.root))

    def _item(self, item: Item) -> None:
        expression = item.expression
        if isinstance(expression, Call) and expression.name == "FIELDS":
            self._fields(expression)
            return
        if isinstance(expression, Path):
            if item.alias is not None:
                raise self.context.error(
                    item.alias_offset, "only aggregate expressions use field aliasing", "MALFORMED_QUERY"
                )
            operand = self.operands.read(expression)
            self._add(self.root, operand, expression, len(operand.path) - 1)
            return
        if expression.name not in ("TOLABEL", "FORMAT", "CONVERTCURRENCY", "DISTANCE"):
            named = self.operands.read(expression).name
            raise self.context.error(
                expression.offset, f"Field must be grouped or aggregated: {named}", "MALFORMED_QUERY"
            )
        operand = self.operands.read(expression)
        alias = item.alias or (
            f"expr{sum(key.startswith('expr') for key in self.root.entries)}" if expression.name == "DISTANCE" else None
        )
        if alias is not None:
            self._leaf(self.root, alias, (alias,), operand, expression)
        else:
            self._add(self.root, operand, expression, len(operand.path) - 1)

    def _add(self, node: Node, operand: Operand, expression: Expression, levels: int) -> None:
        """A field under its parents: a node for each step of its path."""
        prefix: tuple[str, ...] = ()
        for step in operand.path[:levels]:
            prefix = (*prefix, step)
            inner = node.entries.get(step)
            if not isinstance(inner, Node):
                table = self.scope.joined[tuple(part.lower() for part in prefix)]
                inner = Node(step, table)
                node.entries[step] = inner
            node = inner
        self._leaf(node, operand.path[-1], operand.path, operand, expression)

    def _leaf(self, node: Node, key: str, path: tuple[str, ...], operand: Operand, expression: Expression) -> None:
        if key in node.entries:
            raise self.context.error(expression.offset, f"duplicate field selected: {'.'.join(path)}")
        node.entries[key] = Value(key, self._column(".".join(path), operand), operand.kind)

    def _column(self, path: str, operand: Operand) -> int:
        sql, kind, field = operand.sql, operand.kind, operand.field
        if self.context.bulk and kind in COMPOUND_TYPES:
            raise SoqlError("Selecting compound data not supported in Bulk Query", code="API_ERROR")
        if self.context.bulk and kind == "base64":
            raise SoqlError("Selecting binary data not supported in Bulk Query", code="API_ERROR")
        if field is not None and operand.table is not None:
            if kind in COMPOUND_TYPES:
                sql = struct(operand.table.alias, operand.table.sobject, field)
            elif kind == "base64":
                sql = self._blob_path(operand.table, field)
        self.columns.append(Column(path, f"c{len(self.columns)}", kind, sql, field))
        return len(self.columns) - 1

    def _blob_path(self, table: Table, field: Field) -> str:
        """Where the bytes are to be fetched, below the versioned root; only where there are any."""
        start = self.context.param(f"/sobjects/{table.sobject.name}/")
        ending = self.context.param(f"/{field.name}")
        return f"CASE WHEN {table.column(field)} IS NULL THEN NULL ELSE {start} || {table.id_column} || {ending} END"

    def _hidden(self, sql: str, kind: str = "id") -> int:
        for index, column in enumerate(self.columns):
            if column.expression == sql and column.kind == kind:
                return index
        self.columns.append(Column("", f"c{len(self.columns)}", kind, sql, hidden=True))
        return len(self.columns) - 1

    def _entries(self, node: Node) -> tuple[Entry, ...]:
        return tuple(self._parent(item) if isinstance(item, Node) else item for item in node.entries.values())

    def _parent(self, node: Node) -> Parent:
        table = node.table
        id_index = self._hidden(table.id_column)
        type_index: int | None = None
        if table.sobject is NAME_OBJECT:
            kind = NAME_OBJECT.by_name["Type"]
            type_index = self._hidden(table.column(kind), "picklist")
        if node.branches is not None:
            branches = {name: self._entries(branch) for name, branch in node.branches.items()}
            return Parent(node.key, id_index, type_index, None, (), branches)
        return Parent(node.key, id_index, type_index, table.sobject.name, self._entries(node))

    # the FIELDS function

    def _fields(self, call: Call) -> None:
        wanted = call.arguments[0] if len(call.arguments) == 1 else None
        kind = wanted.text.upper() if isinstance(wanted, Path) else ""
        if kind not in ("ALL", "STANDARD", "CUSTOM"):
            raise self.context.error(
                call.offset, "The SOQL FIELDS function takes ALL, STANDARD or CUSTOM", "MALFORMED_QUERY"
            )
        if self.context.version < FIELDS_VERSION:
            raise self.context.error(call.offset, f"unexpected token: '{call.function}'", "MALFORMED_QUERY")
        if kind != "STANDARD":
            if self.context.bulk:
                raise SoqlError(
                    f"The SOQL FIELDS function with {kind} is not supported in Bulk Query", code="API_ERROR"
                )
            if self.query.limit is None or self.query.limit > LARGEST_FIELDS_LIMIT:
                raise SoqlError(f"The SOQL FIELDS function must have a LIMIT of at most {LARGEST_FIELDS_LIMIT}")
        for field in self.scope.sobject.fields:
            if field.deprecated_and_hidden or (self.context.bulk and not field.bulk_selectable):
                continue
            if kind == "ALL" or field.custom == (kind == "CUSTOM"):
                path = Path((field.name,), call.offset)
                self._add(self.root, self.operands.read(path), path, 0)

    # subqueries and TYPEOF

    def _subquery(self, selected: Subquery) -> None:
        if self.context.bulk:
            raise SoqlError("Aggregate Relationships not supported in Bulk Query", code="API_ERROR")
        key, sql, record = self.child(selected.query)
        if key in self.root.entries:
            raise self.context.error(selected.query.offset, f"duplicate field selected: {key}")
        self.columns.append(Column(key, f"c{len(self.columns)}", "children", sql))
        self.root.entries[key] = Children(key, len(self.columns) - 1, record)
        self.children.append(key)

    def _typeof(self, selected: TypeOf) -> None:
        if self.context.bulk:
            raise SoqlError("TYPEOF not supported in Bulk Query", code="API_ERROR")
        parts, _ = self.scope.split(selected.path)
        holder, _ = self.scope.walk(parts[:-1], selected.path)
        lookup, targets = self.scope.lookup(holder, parts[-1], selected.path)
        if not is_polymorphic(lookup) or len(parts) > 1:
            raise self.context.error(
                selected.offset,
                f"TYPEOF is only supported on polymorphic relationships: {selected.path.text}",
                "MALFORMED_QUERY",
            )
        table, spelled = self.scope.walk(parts, selected.path)
        key = spelled[-1]
        if key in self.root.entries:
            raise self.context.error(selected.offset, f"duplicate field selected: {key}")
        node = Node(key, table, branches={})
        by_name = {target.name.lower(): target for target in targets}
        for branch in selected.branches:
            target = by_name.get(branch.type.text.lower())
            if target is None:
                raise self.context.error(
                    branch.type.offset,
                    f"entity type {branch.type.text} is not a valid type for the relationship {key}",
                    "INVALID_TYPE",
                )
            base = (*(part.lower() for part in spelled), f"@{target.name.lower()}")
            inner = self.scope.join_one(holder, lookup, target, base)
            self._branch(node, target.name, inner, base, branch.fields)
        if selected.otherwise:
            self._branch(node, "", table, tuple(part.lower() for part in spelled), selected.otherwise)
        self.root.entries[key] = node

    def _branch(
        self, node: Node, name: str, table: Table, base: tuple[str, ...], fields: tuple[Expression, ...]
    ) -> None:
        branch = Node(name, table)
        for expression in fields:
            if not isinstance(expression, Path):
                raise self.context.error(
                    expression.offset, f"unexpected token: '{expression.function}'", "MALFORMED_QUERY"
                )
            inner, field, spelled = self.scope.find(expression, table, base)
            operand = Operand(inner.column(field), field.type, field.name, spelled, field, inner)
            at = branch
            for depth, step in enumerate(spelled[:-1], start=1):
                below = at.entries.get(step)
                if not isinstance(below, Node):
                    below = Node(step, self.scope.joined[(*base, *(part.lower() for part in spelled[:depth]))])
                    at.entries[step] = below
                at = below
            self._leaf(at, spelled[-1], (node.key, *spelled), operand, expression)
        assert node.branches is not None
        node.branches[name] = branch
