"""The frame of one demo object, and the columns that several objects have alike."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from isync_dagster.local_org.demo import words
from isync_dagster.local_org.demo.dice import ROW, Dice, gather, ref, where
from isync_dagster.local_org.demo.people import USERS

FIRST_DAY: Final = datetime(2019, 1, 7, 8, 0, 0)
LAST_DAY: Final = datetime(2025, 6, 30, 18, 0, 0)
SALES: Final = [f"User-{n}" for n, (_, _, role) in enumerate(USERS) if role == 0]
SERVICE: Final = [f"User-{n}" for n, (_, _, role) in enumerate(USERS) if role == 1]


def table(name: str, count: int, *steps: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """`count` rows with `_ref` and the columns of each step; a step may use the columns of those before."""
    frame = pl.select(pl.int_range(count, dtype=pl.UInt64).alias(ROW)).lazy()
    frame = frame.with_columns(ref(name, pl.col(ROW)).alias("_ref"))
    for step in steps:
        frame = frame.with_columns([value.alias(column) for column, value in step.items()])
    return frame.collect().select(pl.exclude("^_[^r].*$"))


def row() -> pl.Expr:
    """The row number (UInt64)."""
    return pl.col(ROW)


def created(dice: Dice) -> dict[str, pl.Expr]:
    """When and by whom a record was made."""
    return {"CreatedDate": dice.moment("CreatedDate", FIRST_DAY, LAST_DAY)}


def prose(dice: Dice, column: str, *, empty: float = 0.4, hostile: float = 0.06) -> pl.Expr:
    """A free text: sentences, sometimes what breaks careless code, sometimes nothing."""
    two = pl.concat_str(
        [dice.pick(f"{column}/1", words.SENTENCES), dice.pick(f"{column}/2", words.SENTENCES)], separator=" "
    )
    kind = dice.below(f"{column}/kind", 1000)
    return (
        pl.when(kind < int(hostile * 1000))
        .then(dice.pick(f"{column}/hostile", words.HOSTILE))
        .when(kind < 1000 - int(empty * 1000))
        .then(two)
    )


def company(dice: Dice, column: str = "company") -> pl.Expr:
    """The name of a company (String)."""
    return pl.concat_str(
        [
            dice.pick(f"{column}/1", words.COMPANY_FIRST),
            dice.pick(f"{column}/2", words.COMPANY_SECOND),
            dice.pick(f"{column}/3", words.COMPANY_FORM),
        ],
        separator=" ",
    ).str.strip_chars()


def person(dice: Dice) -> dict[str, pl.Expr]:
    """First and last name, salutation, and the indexes from which `mail` makes an address."""
    return {
        "_first": dice.below("first", len(words.FIRST_NAMES)),
        "_last": dice.below("last", len(words.LAST_NAMES)),
        "FirstName": where(dice.chance("has first", 0.97), gather(words.FIRST_NAMES, dice.below("first", 50))),
        "LastName": gather(words.LAST_NAMES, dice.below("last", len(words.LAST_NAMES))),
        "Salutation": where(dice.chance("has salutation", 0.5), dice.pick("salutation", ["Mr.", "Ms.", "Dr.", "Mx."])),
    }


def mail(dice: Dice) -> pl.Expr:
    """An address that no other row of the table has (lower case, as orgs store them)."""
    return pl.concat_str(
        [
            gather(words.FIRST_ASCII, pl.col("_first")),
            pl.lit("."),
            gather(words.LAST_ASCII, pl.col("_last")),
            pl.lit("."),
            row().cast(pl.String),
            pl.lit("@"),
            dice.pick("domain", words.MAIL_DOMAINS),
        ]
    )


def address(dice: Dice, stem: str, *, share: float = 0.9) -> dict[str, pl.Expr]:
    """Street, city, state, postal code and country that belong together."""
    has = dice.chance(f"{stem}/has", share)
    city = dice.below(f"{stem}/city", len(words.CITIES))
    street = pl.concat_str(
        [
            dice.pick(f"{stem}/street", words.STREETS),
            pl.lit(" "),
            dice.whole(f"{stem}/number", 1, 240).cast(pl.String),
            pl.when(dice.chance(f"{stem}/floor", 0.1)).then(pl.lit("\n2nd floor")).otherwise(pl.lit("")),
        ]
    )
    return {
        f"{stem}Street": where(has, street),
        f"{stem}City": where(has, gather(words.CITIES, city)),
        f"{stem}State": where(has, gather(words.STATES, city)),
        f"{stem}PostalCode": where(has, gather(words.POST_CODES, city)),
        f"{stem}Country": where(has, gather(words.COUNTRIES, city)),
    }


def phone(dice: Dice, column: str, *, share: float = 0.8) -> pl.Expr:
    """A telephone number as people type them."""
    number = pl.concat_str(
        [
            dice.pick(f"{column}/code", words.DIAL_CODES),
            pl.lit(" "),
            dice.whole(f"{column}/number", 100_000, 9_999_999).cast(pl.String),
        ]
    )
    return where(dice.chance(f"{column}/has", share), number)


def several(dice: Dice, column: str, values: list[str], *, empty: float = 0.3) -> pl.Expr:
    """A multi-select value: some of the values in the order of their definition, joined by `;`."""
    chosen = [where(dice.chance(f"{column}/{value}", 0.4), pl.lit(value)) for value in values]
    joined = pl.concat_str(chosen, separator=";", ignore_nulls=True)
    return where(~dice.chance(f"{column}/empty", empty) & (joined != ""), joined)
