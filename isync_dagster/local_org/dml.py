"""Insert, update, upsert: whole frames of rows through the platform's checks into the tables.

Every function works inside one write transaction and gives an outcome frame: `_row` UInt32, `id` String,
`created` Boolean, `error` String (null: success; else code, message, fields separated by `values.PART`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

import duckdb
import polars as pl

from isync_dagster.local_org import special
from isync_dagster.local_org.automation import engine
from isync_dagster.local_org.automation.defaults import fill_default_formulas
from isync_dagster.local_org.automation.picklists import fill_usual, refuse_unavailable
from isync_dagster.local_org.defaults import Actor, fill_defaults, fill_insert
from isync_dagster.local_org.derive import derive_insert, derive_update
from isync_dagster.local_org.ids import to18_expr
from isync_dagster.local_org.org_schema import OrgSchema, columns, quote
from isync_dagster.local_org.references import refuse_bad_references
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.rules import (
    SET,
    fields_of,
    refuse_bad_values,
    refuse_missing,
    refuse_nulled,
    refuse_read_only,
    required_on_insert,
    type_columns,
)
from isync_dagster.local_org.storage import Storage, insert_frame, registered, select
from isync_dagster.local_org.unique import CHUNK, key, match_key, refuse_duplicates
from isync_dagster.local_org.values import CLEAR, error, malformed_id
from isync_dagster.schema.model import SObject

OUTCOME = {"_row": pl.UInt32, "id": pl.String, "created": pl.Boolean, "error": pl.String}


@dataclass(frozen=True)
class Writer:
    """The write side of one org for one transaction."""

    schema: OrgSchema
    storage: Storage
    cursor: duckdb.DuckDBPyConnection
    actor: Actor
    positions: Mapping[str, int] = dataclass_field(default_factory=dict)

    def insert(self, sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
        """Create rows from text columns named by field (null: not given, `CLEAR`: null)."""
        rows = Rows(frame)
        refuse_read_only(rows, sobject, "insert")
        type_columns(rows, sobject, self.positions)
        refuse_bad_values(rows, sobject)
        refuse_unavailable(self, sobject, rows, update=False)
        return self._insert_typed(rows, sobject)

    def _insert_typed(self, rows: Rows, sobject: SObject) -> pl.DataFrame:
        engine.before_save(self, sobject, rows, update=False)
        refuse_missing(rows, required_on_insert(sobject))
        refuse_bad_references(rows, self.cursor, self.schema, sobject)
        special.before_insert(self, sobject, rows)
        self._refuse_beyond_storage(rows)
        if not rows.good.height:
            return _outcome(rows, created=True)
        given = rows.good.columns
        usual = fill_usual(self, sobject, rows.good)
        rows.good = fill_default_formulas(self, sobject, fill_defaults(usual, sobject))
        special.fill_special(self, sobject, rows)
        full = derive_insert(rows.good, sobject, given)
        rows.good = fill_insert(full, sobject, self.storage, self.actor)
        refuse_duplicates(rows, self.cursor, sobject)
        engine.check(self, sobject, rows, update=False)
        insert_frame(self.cursor, sobject, rows.good)
        special.after_insert(self, sobject, rows.good)
        engine.after_save(self, sobject, rows.good)
        return _outcome(rows, created=True)

    def _refuse_beyond_storage(self, rows: Rows) -> None:
        """Take out the new rows for which the data storage has no room."""
        fit = self.storage.claim_rows(len(rows))
        if fit < len(rows):
            full = error("STORAGE_LIMIT_EXCEEDED", "storage limit exceeded").alias("error")
            rows.refuse_rows(rows.good.slice(fit).select("_row", full))

    def store_new(self, sobject: SObject, frame: pl.DataFrame) -> None:
        """Store rows that the platform itself makes (typed columns, no Id), with what follows from them."""
        full = self.fill(sobject, frame)
        insert_frame(self.cursor, sobject, full)
        special.after_insert(self, sobject, full)

    def store_changes(self, frame: pl.DataFrame, sobject: SObject) -> None:
        """Store changes that the platform itself makes (`Id`, typed columns, their `_set.` flags)."""
        self._write_update(frame, sobject)

    def fill(self, sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
        """Everything the server adds to rows that are about to be stored."""
        full = derive_insert(fill_defaults(frame, sobject), sobject, frame.columns)
        return fill_insert(full, sobject, self.storage, self.actor)

    def update(self, sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
        """Change rows named by `Id`; null cells are left alone, `CLEAR` empties."""
        ids = frame.select("_row", pl.col("Id").alias("given"))
        rows = Rows(frame.with_columns(to18_expr(pl.col("Id"))))
        self.refuse_unknown_ids(rows, sobject)
        refuse_read_only(rows, sobject, "update")
        type_columns(rows, sobject, self.positions)
        refuse_bad_values(rows, sobject)
        refuse_unavailable(self, sobject, rows, update=True)
        outcome = self._update_in_waves(rows, sobject)
        return outcome.join(ids, on="_row", how="left").select(
            "_row", pl.coalesce("id", "given").alias("id"), "created", "error"
        )

    def refuse_unknown_ids(self, rows: Rows, sobject: SObject) -> None:
        """Take out rows whose `Id` is missing, malformed, of another object, unknown or deleted."""
        identity = pl.col("Id")
        malformed = pl.concat_str([pl.lit(f"{sobject.label} ID: id value of incorrect type: "), identity])
        rows.refuse(
            [
                (
                    identity.is_null() | (identity == CLEAR),
                    error("MISSING_ARGUMENT", "Id not specified in an update call", "Id"),
                ),
                (
                    malformed_id(identity) | (identity.str.slice(0, 3) != (sobject.key_prefix or "")),
                    error("MALFORMED_ID", malformed, "Id"),
                ),
            ]
        )
        if not rows.good.height:
            return
        with registered(self.cursor, _wanted=rows.good.select(pl.col("Id").alias("value")).unique()):
            bad = select(
                self.cursor,
                f'SELECT w.value, t."Id" IS NULL AS missing FROM _wanted w LEFT JOIN {quote(sobject.name)} t '
                f'ON t."Id" = w.value WHERE t."Id" IS NULL OR t."IsDeleted"',
            )
        rows.refuse_values(
            "Id",
            bad.select(
                "value",
                pl.when(pl.col("missing"))
                .then(error("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id"))
                .otherwise(error("ENTITY_IS_DELETED", "entity is deleted"))
                .alias("error"),
            ),
        )

    def _update_in_waves(self, rows: Rows, sobject: SObject) -> pl.DataFrame:
        """Update each row once a pass: an id that comes again in a later chunk is applied after the first."""
        chunk = pl.col("_row") // CHUNK
        message = pl.concat_str([pl.lit("Duplicate id specified: "), pl.col("Id")])
        rows.refuse([(pl.len().over("Id", chunk) > 1, error("DUPLICATE_VALUE", message, "Id"))])
        if not rows.good.height:
            return _outcome(rows, created=False)
        turn = rows.good.select(pl.int_range(pl.len()).over("Id")).to_series()
        turns = turn.unique().sort().to_list()
        if len(turns) == 1:
            return self._update_typed(rows, sobject)
        outcomes = [self._update_typed(Rows(rows.good.filter(turn == number)), sobject) for number in turns]
        return pl.concat([*outcomes, _refusals(rows)])

    def _update_typed(self, rows: Rows, sobject: SObject) -> pl.DataFrame:
        engine.before_save(self, sobject, rows, update=True)
        refuse_nulled(rows, sobject)
        refuse_bad_references(rows, self.cursor, self.schema, sobject)
        special.before_update(self, sobject, rows)
        refuse_duplicates(rows, self.cursor, sobject)
        engine.check(self, sobject, rows, update=True)
        if rows.good.height:
            saving = engine.before_write(self, sobject, rows)
            self._write_update(rows.good, sobject)
            engine.after_write(saving)
        return _outcome(rows, created=False)

    def _write_update(self, frame: pl.DataFrame, sobject: SObject) -> None:
        table = quote(sobject.name)
        changed = [item.name for item in fields_of(sobject, frame.columns) if item.name != "Id"]
        # A time of a frame is a TIME_NS, which does not meet the table's TIME by itself.
        kinds = columns(sobject)
        given = {name: f"CAST(n.{quote(name)} AS {kinds[name]})" for name in changed}
        sets = [
            f"{quote(name)} = CASE WHEN n.{quote(SET + name)} THEN {given[name]} ELSE t.{quote(name)} END"
            if SET + name in frame.columns
            else f"{quote(name)} = coalesce({given[name]}, t.{quote(name)})"
            for name in changed
        ]
        booleans = [item.name for item in fields_of(sobject, frame.columns) if item.type == "boolean"]
        frame = frame.with_columns([pl.when(pl.col(SET + name)).then(pl.col(name).fill_null(False)).alias(name)
                                    for name in booleans if SET + name in frame.columns])  # fmt: skip
        with registered(self.cursor, _changes=frame):
            sets += ['"LastModifiedDate" = $now', '"LastModifiedById" = $user', '"SystemModstamp" = $now']
            self.cursor.execute(
                f'UPDATE {table} AS t SET {", ".join(sets)} FROM _changes n WHERE t."Id" = n."Id"',
                {"now": self.actor.now, "user": self.actor.user_id},
            )
        derive_update(self.cursor, sobject, frame.select("Id"), changed)
        special.after_update(self, sobject, frame.select("Id", *changed))

    def upsert(self, sobject: SObject, frame: pl.DataFrame, key_field: str) -> pl.DataFrame:
        """Update the row that has the key's value, else insert; `key_field` is an external id, idLookup or Id."""
        field = sobject.field(key_field)
        assert field is not None
        if field.name == "Id":
            given = frame.filter(pl.col("Id").is_not_null()).with_columns(to18_expr(pl.col("Id")))
            given = self._without_same_parents(sobject, given)
            fresh = frame.filter(pl.col("Id").is_null()).drop("Id")
            parts = [self.update(sobject, given)] if given.height else []
            parts += [self.insert(sobject, fresh)] if fresh.height else []
            return pl.concat(parts) if parts else pl.DataFrame(schema=OUTCOME)
        chunk = pl.col("_row") // CHUNK
        again = frame.select("_row", key(field, pl.col(field.name)).alias("key")).drop_nulls("key")
        later = again.filter(chunk != chunk.first().over("key"))
        if later.height:
            # A key that returns in a later chunk finds the row of the earlier one: save chunk by chunk.
            return pl.concat(
                [self._upsert(sobject, part, key_field) for _, part in frame.group_by(chunk, maintain_order=True)]
            )
        return self._upsert(sobject, frame, key_field)

    def _upsert(self, sobject: SObject, frame: pl.DataFrame, key_field: str) -> pl.DataFrame:
        field = sobject.field(key_field)
        assert field is not None
        keys = frame.select("_row", field.name)
        probe = Rows(keys)
        type_columns(probe, sobject, self.positions)
        match_key(probe, self.cursor, sobject, field)
        matched = frame.join(probe.good.select("_row", "Id"), on="_row", how="inner", maintain_order="left")
        fresh = matched.filter(pl.col("Id").is_null()).drop("Id")
        known = matched.filter(pl.col("Id").is_not_null())
        outcomes = [_refusals(probe)]
        if fresh.height:
            outcomes.append(self.insert(sobject, fresh))
        if known.height:
            if not field.updateable:
                known = known.drop(field.name)
            known = self._without_same_parents(sobject, known)
            outcomes.append(self.update(sobject, known))
        return pl.concat(outcomes)

    def _without_same_parents(self, sobject: SObject, known: pl.DataFrame) -> pl.DataFrame:
        """An upsert may repeat the parent that a row has already, though the lookup cannot be changed."""
        closed = [
            field.name
            for field in fields_of(sobject, known.columns)
            if field.is_reference and field.createable and not field.updateable
        ]
        if not closed:
            return known
        listed = ", ".join(f"t.{quote(name)} AS {quote('_old.' + name)}" for name in closed)
        with registered(self.cursor, _known=known.select("Id").unique()):
            stored = select(
                self.cursor,
                f'SELECT t."Id", {listed} FROM {quote(sobject.name)} t WHERE t."Id" IN (SELECT "Id" FROM _known)',
            )
        joined = known.join(stored, on="Id", how="left", maintain_order="left")
        kept = [
            pl.when(to18_expr(pl.col(name)).eq_missing(pl.col(f"_old.{name}")).not_()).then(pl.col(name)).alias(name)
            for name in closed
        ]
        return joined.with_columns(kept).drop([f"_old.{name}" for name in closed])


def _outcome(rows: Rows, *, created: bool) -> pl.DataFrame:
    good = rows.good
    identity = pl.col("Id") if "Id" in good.columns else pl.lit(None, dtype=pl.String)
    done = good.select(
        pl.col("_row").cast(pl.UInt32),
        identity.alias("id"),
        pl.lit(created).alias("created"),
        pl.lit(None, dtype=pl.String).alias("error"),
    )
    return pl.concat([done, _refusals(rows)])


def _refusals(rows: Rows) -> pl.DataFrame:
    return rows.refused().select(
        pl.col("_row").cast(pl.UInt32),
        pl.lit(None, dtype=pl.String).alias("id"),
        pl.lit(False).alias("created"),
        "error",
    )
