"""Rows about to be saved as a relation that formulas can be worked out over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from isync_dagster.local_org.automation.computed import result_sql
from isync_dagster.local_org.automation.names import Moment, RecordNames
from isync_dagster.local_org.formula import Compiled, FormulaError, compile_formula, compile_value
from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.schema.model import NUMBER_TYPES, Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

SET = "_set."


class Saving:
    """Whole new rows (`_row`, columns of the table) with the stored ones beside them where there are any."""

    def __init__(
        self, writer: Writer, sobject: SObject, frame: pl.DataFrame, *, update: bool, old: bool = False
    ) -> None:
        self.writer = writer
        self.sobject = sobject
        self.update = update
        self.frame = frame
        self.moment = Moment(writer.actor.now, writer.actor.user_id)
        # Rows that are stored before the formulas are worked out keep their former selves in a frame.
        self.old = stored_rows(writer, sobject, frame) if old else None

    def names(self) -> RecordNames:
        """The names of these rows."""
        return RecordNames(
            self.writer.schema,
            self.sobject,
            self.moment,
            "n",
            prior="o" if self.update else None,
            columns=self.frame.columns,
        )

    def select(self, listed: str, names: RecordNames, where: str) -> pl.DataFrame:
        """Rows of SQL over the new rows (`n`), the stored ones (`o`) and their parents."""
        from isync_dagster.local_org.storage import registered, select

        table = '"' + self.sobject.name.replace('"', '""') + '"' if self.old is None else "_stored_before"
        stored = f' LEFT JOIN {table} o ON o."Id" = n."Id"' if self.update else ""
        frames = {"_saving": self.frame} | ({} if self.old is None else {"_stored_before": self.old})
        with registered(self.writer.cursor, **frames):
            return select(
                self.writer.cursor,
                f"SELECT {listed} FROM {self._source(names.inner)} n{stored}{names.joins} WHERE {where}",
            )

    def _source(self, inner: Collection[str], depth: int = 0) -> str:
        """The new rows with the computed fields that the formulas read, in layers as a read has them."""
        fields = self.writer.schema.computed_of(self.sobject)
        if not inner:
            return "_saving"
        alias = f"s{depth}"
        names = RecordNames(
            self.writer.schema, self.sobject, self.moment, alias, columns=self.frame.columns, depth=depth + 1
        )
        made = {name: result_sql(fields[name], names) for name in sorted(inner)}
        below = self._source(names.inner, depth + 1)
        present = {*self.frame.columns, *names.inner}
        replaced = ", ".join(f'{sql} AS "{name}"' for name, sql in made.items() if name in present - names.inner)
        added = "".join(f', {sql} AS "{name}"' for name, sql in made.items() if name not in present)
        listed = f"{alias}.*{f' REPLACE ({replaced})' if replaced else ''}{added}"
        return f"(SELECT {listed} FROM {below} {alias}{names.joins})"

    def hits(self, conditions: Sequence[str]) -> pl.DataFrame:
        """For each row that meets any of the conditions: `_row`, and `hit`, the number of the first one it meets."""
        names = self.names()
        tests = [compile_value(text, names, "boolean").sql for text in conditions]
        return self.hits_sql(tests, names)

    def hits_sql(self, tests: Sequence[str], names: RecordNames) -> pl.DataFrame:
        """The same for conditions that are SQL already."""
        arms = " ".join(f"WHEN {test} THEN {number}" for number, test in enumerate(tests))
        found = self.select(f"n._row, CASE {arms} END AS hit", names, " OR ".join(f"({test})" for test in tests))
        return found.select(pl.col("_row").cast(pl.UInt32), pl.col("hit").cast(pl.Int64))

    def values(
        self, target: SObject, assigned: Mapping[str, str], condition: str, *, record: str | None = None
    ) -> pl.DataFrame:
        """The rows that meet the condition with the assigned fields of `target` in the types of their columns.

        Beside `_row` there is `Id` where `record` names a parent by relationship: the parent's, rows without one left
        out.
        """
        names = self.names()
        where = compile_value(condition, names, "boolean").sql
        listed = ["n._row"]
        if record:
            parent = names.value(Reference((*record.split("."), "Id"))).sql
            listed.append(f'{parent} AS "Id"')
            where = f"({where}) AND {parent} IS NOT NULL"
        for name, formula in assigned.items():
            field = target.field(name)
            assert field is not None
            sql = cast_sql(compile_formula(formula, names), field, self.writer.schema.column_type(field) or "VARCHAR")
            listed.append(f'{sql} AS "{field.name}"')
        return self.select(", ".join(listed), names, where).with_columns(pl.col("_row").cast(pl.UInt32))


def whole_rows(writer: Writer, sobject: SObject, changes: pl.DataFrame) -> pl.DataFrame:
    """The rows as an update leaves them: `_row` and every column but binary ones."""
    from isync_dagster.local_org.org_schema import columns, quote
    from isync_dagster.local_org.storage import registered, select

    listed: list[str] = []
    for name, kind in columns(sobject).items():
        if kind == "BLOB":
            continue
        column = quote(name)
        if name == "Id" or name not in changes.columns:
            listed.append(f"t.{column}")
        elif SET + name in changes.columns:
            listed.append(f"CASE WHEN n.{quote(SET + name)} THEN n.{column} ELSE t.{column} END AS {column}")
        else:
            listed.append(f"coalesce(n.{column}, t.{column}) AS {column}")
    with registered(writer.cursor, _changes=changes):
        found = select(
            writer.cursor,
            f'SELECT n._row, {", ".join(listed)} FROM _changes n JOIN {quote(sobject.name)} t ON t."Id" = n."Id"',
        )
    return found.with_columns(pl.col("_row").cast(pl.UInt32))


def stored_rows(writer: Writer, sobject: SObject, rows: pl.DataFrame) -> pl.DataFrame:
    """The stored rows of these `Id`s, every column but binary ones."""
    from isync_dagster.local_org.org_schema import columns, quote
    from isync_dagster.local_org.storage import registered, select

    listed = ", ".join(quote(name) for name, kind in columns(sobject).items() if kind != "BLOB")
    with registered(writer.cursor, _wanted=rows.select("Id")):
        return select(
            writer.cursor, f'SELECT {listed} FROM {quote(sobject.name)} WHERE "Id" IN (SELECT "Id" FROM _wanted)'
        )


def cast_sql(made: Compiled, field: Field, column: str) -> str:
    """A formula's value in the type of a field's column; FormulaError where it cannot be."""
    sql = made.sql
    if field.type in NUMBER_TYPES | {"int"}:
        if made.kind not in ("number", "null"):
            raise FormulaError(f"Formula result is data type ({made.kind}), incompatible with {field.name}")
        if field.type == "percent":
            sql = f"({sql} * 100)"
        if column.startswith("DECIMAL"):
            return f"TRY_CAST(round(CAST({sql} AS DOUBLE), {max(field.scale, 0)}) AS {column})"
        return f"TRY_CAST({sql} AS {column})"
    if column == "VARCHAR" and made.kind == "boolean":
        raise FormulaError(f"Formula result is data type (Boolean), incompatible with {field.name}")
    return f"TRY_CAST({sql} AS {column})"
