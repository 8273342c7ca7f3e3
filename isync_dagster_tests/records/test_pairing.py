"""Results find their rows: one to one, whatever the order, never wrong."""

from __future__ import annotations

import io
import random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isync_dagster.records import pairing
from isync_dagster.records.pairing import Paired, pair, pair_hashed, split_error

cells = st.sampled_from(
    [None, "", "a", "A", " a", "a\nb", "a\r\nb", "a\rb", '"', ",", "0", "1.0E7", "#N/A", "😀", "\0"]
)
rows = st.lists(st.tuples(cells, cells, cells), max_size=14)
COLUMNS = ["Name", "City", "Id2__c"]


def sent_frame(values: list[tuple[str | None, ...]], columns: list[str] = COLUMNS) -> pl.LazyFrame:
    frame = pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String), orient="row")
    return frame.with_row_index("_row").with_columns(_source_id=pl.format("s{}", "_row")).lazy()


def collect(paired: Paired) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    rows, unpaired, unanswered = pl.collect_all([paired.rows, paired.unpaired, paired.unanswered])
    return rows, unpaired, unanswered


def normal(cell: str | None) -> str:
    return (cell or "").replace("\r\n", "\n").replace("\r", "\n")


@settings(max_examples=150, deadline=None)
@given(rows, st.randoms(use_true_random=False), st.booleans())
def test_any_shuffle_of_any_multiset_pairs_one_to_one(
    values: list[tuple[str | None, ...]], rng: random.Random, windows_line_ends: bool
) -> None:
    """Each row gets the result of a row equal to it; every result is used once."""
    answers = [
        {"sf__Id": f"003{number:012d}", "sf__Created": "true", "row": value} for number, value in enumerate(values)
    ]
    rng.shuffle(answers)
    header = ["sf__Id", "sf__Created", *sorted(COLUMNS)]
    end = "\r\n" if windows_line_ends else "\n"
    echoed = [
        {name: normal(cell).replace("\n", end) for name, cell in zip(COLUMNS, answer["row"], strict=True)}
        for answer in answers
    ]
    lines = pl.DataFrame(
        [
            [answer["sf__Id"], "true", *(cells[name] for name in sorted(COLUMNS))]
            for answer, cells in zip(answers, echoed, strict=True)
        ],
        schema=dict.fromkeys(header, pl.String),
        orient="row",
    )
    csv = lines.write_csv(quote_style="always").encode()
    results = pl.read_csv(io.BytesIO(csv), infer_schema=False, null_values=rng.choice(["", None]))
    got, unpaired, unanswered = collect(pair(sent_frame(values), results.lazy()))
    assert unpaired.is_empty()
    assert unanswered.is_empty()
    assert sorted(got["_row"].to_list()) == list(range(len(values)))
    for row, target in got.select("_row", "target_id").rows():
        owner = values[int(target[3:15])]
        assert [normal(cell) for cell in owner] == [normal(cell) for cell in values[row]]
    assert got["target_id"].n_unique() == len(values)
    assert set(got["state"]) <= {"inserted"}


@settings(max_examples=100, deadline=None)
@given(rows, rows)
def test_nothing_is_guessed(sent: list[tuple[str | None, ...]], echoed: list[tuple[str | None, ...]]) -> None:
    """What the two sides share, counted with multiplicity, pairs; all else is handed back."""
    results = pl.DataFrame(
        [[f"003{number:012d}", *value] for number, value in enumerate(echoed)],
        schema=dict.fromkeys(["sf__Id", *COLUMNS], pl.String),
        orient="row",
    )
    got, unpaired, unanswered = collect(pair(sent_frame(sent), results.lazy()))
    left = [tuple(normal(cell) for cell in value) for value in sent]
    right = [tuple(normal(cell) for cell in value) for value in echoed]
    common = sum(min(left.count(value), right.count(value)) for value in set(left))
    assert got.height == common
    assert unpaired.height == len(right) - common
    assert unanswered.height == len(left) - common
    assert sorted([*got["_row"], *unanswered["_row"]]) == list(range(len(left)))
    for row, target in got.select("_row", "target_id").rows():
        assert right[int(target[3:15])] == left[row]
    assert unpaired.columns == ["sf__Id", "sf__Created", "sf__Error", *COLUMNS]


@settings(max_examples=150, deadline=None)
@given(rows, rows, st.booleans())
def test_the_quick_way_pairs_all_rows_with_results_of_equal_ones_or_says_nothing(
    sent: list[tuple[str | None, ...]], others: list[tuple[str | None, ...]], same: bool
) -> None:
    """It answers just where both sides hold the same rows, equal ones as often; then each result goes to one row."""
    echoed = list(reversed(sent)) if same else others
    results = pl.DataFrame(
        [[f"003{number:012d}", *value] for number, value in enumerate(echoed)],
        schema=dict.fromkeys(["sf__Id", *COLUMNS], pl.String),
        orient="row",
    )
    quick = pair_hashed(sent_frame(sent), results.lazy())
    left = [tuple(normal(cell) for cell in value) for value in sent]
    right = [tuple(normal(cell) for cell in value) for value in echoed]
    assert (quick is not None) == (sorted(left) == sorted(right))
    if quick is not None:
        thorough, _, _ = collect(pair(sent_frame(sent), results.lazy()))
        assert quick.schema == thorough.schema
        assert sorted(quick["_row"]) == list(range(len(left)))
        assert quick["target_id"].n_unique() == len(left)
        for row, target in quick.select("_row", "target_id").rows():
            assert right[int(target[3:15])] == left[row]
        assert quick.drop("_row", "target_id").equals(thorough.drop("_row", "target_id"))


def test_an_echo_that_differs_in_one_cell_is_left_to_the_thorough_way() -> None:
    sent = sent_frame([("x", "1", None), ("y", "2", None)])
    there = {"sf__Id": ["003000000000001", "003000000000002"], "Name": ["y", "x"], "Id2__c": [None, None]}
    assert (
        pair_hashed(sent, pl.LazyFrame({**there, "City": ["2", "1"]}, schema_overrides={"Id2__c": pl.String}))
        is not None
    )
    changed = pl.LazyFrame({**there, "City": ["2", "1 "]}, schema_overrides={"Id2__c": pl.String})
    assert pair_hashed(sent, changed) is None
    rows, unpaired, unanswered = collect(pair(sent, changed))
    assert rows["_row"].to_list() == [1]
    assert unpaired["sf__Id"].to_list() == ["003000000000002"]
    assert unanswered["_row"].to_list() == [0]


def test_successful_failed_and_unprocessed_of_equal_rows() -> None:
    sent = sent_frame([("x",), ("x",), ("x",), ("y",)], ["Name"])
    results = pl.concat(
        [
            pl.LazyFrame({"sf__Id": ["003000000000001"], "sf__Created": ["true"], "Name": ["x"]}),
            pl.LazyFrame({"Name": ["x", "y"], "sf__Id": ["", ""], "sf__Error": ["DUPLICATE_VALUE:no:Name --", "?"]}),
            pl.LazyFrame({"Name": ["x"]}),
        ],
        how="diagonal",
    )
    got, unpaired, unanswered = collect(pair(sent, results))
    assert unpaired.is_empty()
    assert unanswered.is_empty()
    assert sorted(got.filter(pl.col("_row") < 3)["state"]) == ["failed", "inserted", "pending"]
    assert got.filter(pl.col("_row") == 3)["code"].to_list() == ["UNKNOWN"]
    failed = got.filter((pl.col("state") == "failed") & (pl.col("_row") < 3)).row(0, named=True)
    assert (failed["code"], failed["message"], failed["fields"]) == ("DUPLICATE_VALUE", "no", "Name")
    assert failed["target_id"] is None
    assert got.filter(pl.col("state") == "inserted")["target_id"].to_list() == ["003000000000001AAA"]
    assert got.schema["_row"] == pl.UInt32


@pytest.mark.parametrize(
    ("operation", "created", "state"),
    [
        ("insert", "true", "inserted"),
        ("upsert", "true", "inserted"),
        ("upsert", "false", "updated"),
        ("update", "false", "updated"),
        ("update", "", "updated"),
        ("delete", "false", "deleted"),
        ("hardDelete", "false", "deleted"),
    ],
)
def test_state_by_operation(operation: str, created: str, state: str) -> None:
    sent = pl.LazyFrame({"_row": pl.Series([7], dtype=pl.UInt32), "Id": ["001000000000001AAA"]})
    results = pl.LazyFrame(
        {"sf__Id": ["001000000000001AAA"], "sf__Created": [created], "sf__Error": [""], "Id": ["001000000000001AAA"]}
    )
    got, _, _ = collect(pair(sent, results, operation))
    assert got.select("_row", "state").rows() == [(7, state)]


def test_no_results_at_all() -> None:
    sent = sent_frame([("x",)], ["Name"])
    got, unpaired, unanswered = collect(pair(sent, pl.LazyFrame(schema={"sf__Id": pl.String, "Name": pl.String})))
    assert (got.height, unpaired.height, unanswered["_row"].to_list()) == (0, 0, [0])


def test_a_renamed_column_pairs_nothing_rather_than_wrong() -> None:
    results = pl.LazyFrame({"sf__Id": ["003000000000001"], "Nam": ["x"]})
    got, unpaired, unanswered = collect(pair(sent_frame([("x",)], ["Name"]), results))
    assert (got.height, unpaired.height, unanswered.height) == (0, 1, 1)


@pytest.mark.parametrize(
    ("error", "code", "message", "fields"),
    [
        (
            "REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --",
            "REQUIRED_FIELD_MISSING",
            "Required fields are missing: [Name]",
            "Name",
        ),
        (
            "INVALID_CROSS_REFERENCE_KEY:invalid cross reference id:--",
            "INVALID_CROSS_REFERENCE_KEY",
            "invalid cross reference id",
            None,
        ),
        (
            "UNABLE_TO_LOCK_ROW:unable to obtain exclusive access to this record or 200 records: 001x,001y:--",
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access to this record or 200 records: 001x,001y",
            None,
        ),
        (
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY:T: execution\n\ncaused by: X\r\nline 10:A__c,B__c --\n",
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "T: execution\n\ncaused by: X\r\nline 10",
            "A__c,B__c",
        ),
        ("SOMETHING_NEW:no tail here", "SOMETHING_NEW", "no tail here", None),
        ("free text", "UNKNOWN", "free text", None),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_split_error(error: str | None, code: str | None, message: str | None, fields: str | None) -> None:
    frame = pl.DataFrame({"e": pl.Series([error], dtype=pl.String)})
    assert frame.select(split_error(pl.col("e")).alias("s")).unnest("s").row(0) == (code, message, fields)


def test_rows_of_one_hash_are_told_apart_by_a_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all rows met in the first, none may get another's result; equal rows stay interchangeable."""
    whole = pairing._row_hash

    def weak(columns: list[str], seed: int) -> pl.Expr:
        return whole(columns, seed) if seed else pl.col(columns[0]).hash(1) * 0

    monkeypatch.setattr(pairing, "_row_hash", weak)
    names = ["a", "b", "c", "b"]
    sent = pl.LazyFrame({"_row": [0, 1, 2, 3], "Name": names}, schema_overrides={"_row": pl.UInt32})
    there = {"sf__Id": ["t-c", "t-b1", "t-a", "t-b2"], "sf__Created": ["true"] * 4, "Name": ["c", "b", "a", "b"]}
    found = pair_hashed(sent, pl.LazyFrame(there))
    assert found is not None
    assert dict(found.sort("_row").select("_row", "target_id").iter_rows()) == {
        0: "t-a",
        1: "t-b1",
        2: "t-c",
        3: "t-b2",
    }
