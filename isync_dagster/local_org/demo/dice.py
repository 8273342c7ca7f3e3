"""Random columns that depend on nothing but seed, table, column and row number.

The same call gives the same column on every machine and for every number of rows, so that a small demo is the
beginning of a big one. Everything is an expression over the row number `_i` (UInt64): no loop, no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from hashlib import blake2b

import polars as pl

ROW = "_i"


class Dice:
    """The random columns of one table."""

    def __init__(self, seed: int, table: str) -> None:
        self._seed = seed
        self._table = table

    def bits(self, column: str, row: pl.Expr | None = None) -> pl.Expr:
        """64 even bits a row (UInt64): the splitmix64 finish of the row number, salted with the column's name."""
        salt = blake2b(f"{self._seed}/{self._table}/{column}".encode(), digest_size=8).digest()
        mixed = ((pl.col(ROW) if row is None else row) + _u64(int.from_bytes(salt, "big"))) * _u64(0x9E3779B97F4A7C15)
        mixed = mixed.xor(mixed // _u64(1 << 30)) * _u64(0xBF58476D1CE4E5B9)
        mixed = mixed.xor(mixed // _u64(1 << 27)) * _u64(0x94D049BB133111EB)
        return mixed.xor(mixed // _u64(1 << 31))

    def below(self, column: str, limit: int) -> pl.Expr:
        """An even whole number from 0 to `limit - 1` (UInt64)."""
        return self.bits(column) % _u64(max(limit, 1))

    def few(self, column: str, limit: int, row: pl.Expr | None = None) -> pl.Expr:
        """A whole number below `limit` that is small more often than large: big customers have most of the rows."""
        even = (self.bits(column, row) // _u64(1 << 11)).cast(pl.Float64) / float(1 << 53)
        return (even * even * limit).floor().cast(pl.UInt64).clip(0, max(limit - 1, 0))

    def chance(self, column: str, share: float) -> pl.Expr:
        """True for about `share` of the rows."""
        return self.below(column, 1_000_000) < int(share * 1_000_000)

    def pick(self, column: str, words: Sequence[str]) -> pl.Expr:
        """One of the words (String); a word that stands there twice comes twice as often."""
        return gather(words, self.below(column, len(words)))

    def whole(self, column: str, low: int, high: int) -> pl.Expr:
        """A whole number from `low` to `high`, both included (Int64)."""
        return self.below(column, high - low + 1).cast(pl.Int64) + low

    def money(self, column: str, low: int, high: int, *, scale: int = 2) -> pl.Expr:
        """A decimal number between `low` and `high` with `scale` decimals (Decimal)."""
        cents = self.whole(column, low * 10**scale, high * 10**scale)
        return decimal(cents, scale)

    def day(self, column: str, first: date, last: date) -> pl.Expr:
        """A day from `first` to `last` (Date)."""
        return pl.lit(first).dt.offset_by(pl.concat_str([self.below(column, (last - first).days + 1), pl.lit("d")]))

    def moment(self, column: str, first: datetime, last: datetime) -> pl.Expr:
        """A moment of UTC, to the second (Datetime, no zone)."""
        seconds = int((last - first).total_seconds())
        return pl.lit(first, dtype=pl.Datetime("us")) + pl.duration(seconds=self.below(column, seconds).cast(pl.Int64))


def decimal(units: pl.Expr, scale: int) -> pl.Expr:
    """Whole hundredths (or whatever `scale` says) as the decimal number they stand for."""
    # Dividing decimals rounds; moving the point in text is exact whatever the size.
    text = units.abs().cast(pl.String).str.zfill(scale + 1)
    sign = pl.when(units < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    if scale == 0:
        return units.cast(pl.Decimal(38, 0))
    return pl.concat_str([sign, text.str.head(-scale), pl.lit("."), text.str.tail(scale)]).cast(pl.Decimal(38, scale))


def gather(words: Sequence[str], index: pl.Expr) -> pl.Expr:
    """The word at each index (String)."""
    return pl.lit(pl.Series(list(words), dtype=pl.String)).gather(index)


def ref(table: str, index: pl.Expr) -> pl.Expr:
    """The local key of a row of a table: `Account-12`."""
    return pl.concat_str([pl.lit(f"{table}-"), index.cast(pl.String)])


def where(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    """The value where the condition holds, else null."""
    return pl.when(condition).then(value)


def _u64(number: int) -> pl.Expr:
    return pl.lit(number, dtype=pl.UInt64)
