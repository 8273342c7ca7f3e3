"""The rows of one write while they are checked: those still good, and those refused with their error."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

REFUSED = {"_row": pl.UInt32, "error": pl.String}


class Rows:
    """Good rows in `.good` (`_row` UInt32 + columns); each refusal takes rows out with one error each."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.good = frame
        self._refused: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return self.good.height

    def refuse(self, checks: Iterable[tuple[pl.Expr, pl.Expr]]) -> None:
        """Refuse rows for which a condition holds; each takes the error of its first such check.

        Messages are built for refused rows only, so that healthy rows cost one boolean a check.
        """
        wanted = list(checks)
        if not wanted or not self.good.height:
            return
        flags = self.good.select(
            pl.any_horizontal([condition.fill_null(False) for condition, _ in wanted]).alias("bad")
        ).to_series()
        if not flags.any():
            return
        # Conditions may look at other rows (a value that comes twice), so they are asked of all rows, once.
        marks = [f"_refused.{number}" for number in range(len(wanted))]
        bad = self.good.with_columns(
            [condition.fill_null(False).alias(mark) for (condition, _), mark in zip(wanted, marks, strict=True)]
        ).filter(flags)
        errors = pl.coalesce(
            [pl.when(pl.col(mark)).then(message) for (_, message), mark in zip(wanted, marks, strict=True)]
        )
        self._refused.append(bad.select("_row", errors.alias("error")))
        self.good = self.good.filter(~flags)

    def refuse_values(self, column: str, bad: pl.DataFrame) -> None:
        """Refuse rows whose value in `column` is listed in `bad` (columns `value`, `error`)."""
        if not bad.height or not self.good.height:
            return
        hit = self.good.select("_row", pl.col(column).alias("value")).join(bad, on="value", how="inner")
        self.refuse_rows(hit.select("_row", "error"))

    def refuse_rows(self, hit: pl.DataFrame) -> None:
        """Refuse the rows listed by `_row` with their `error`; of several errors a row keeps the first."""
        if not hit.height:
            return
        hit = hit.unique("_row", keep="first", maintain_order=True).select(
            pl.col("_row").cast(pl.UInt32), pl.col("error").cast(pl.String)
        )
        self._refused.append(hit.join(self.good.select("_row"), on="_row", how="semi"))
        self.good = self.good.join(hit, on="_row", how="anti", maintain_order="left")

    def refused(self) -> pl.DataFrame:
        """All refusals so far: `_row`, `error`."""
        return pl.concat(self._refused) if self._refused else pl.DataFrame(schema=REFUSED)
