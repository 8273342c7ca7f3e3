"""The id map as files: what other systems read, and what another tool brings."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, DataError, LeaseHeldError
from isync_dagster.migration.idmap_files import COLUMNS, export_idmap, import_idmap
from isync_dagster_tests.migration.world import World, migrate, some, template, together

RECIPE = template(["Account", "Contact"])


@pytest.fixture(scope="module")
def _prepared(served_world: World) -> World:
    served_world.reset(
        together(some("Account", 3), some("Contact", 3, AccountId=lambda n: f"a{n}")), some("Account", 3)
    )
    return served_world


@pytest.fixture
def other_tool(_prepared: World) -> World:
    """Accounts that somebody brought already, as a store that knows nothing of them finds them."""
    _prepared.stores += 1
    return _prepared


def pairs(world: World) -> pl.DataFrame:
    source, target = world.ids("source", "Account"), world.ids("target", "Account")
    return pl.DataFrame({"source_id": [source[key] for key in source], "target_id": [target[key] for key in source]})


def test_what_another_tool_brought_is_taken_and_used(other_tool: World, tmp_path: Path) -> None:
    job = other_tool.job(RECIPE)
    mine = pairs(other_tool)
    # 15 characters, as reports show them, and a column more.
    mine.with_columns(pl.col("source_id").str.slice(0, 15), note=pl.lit("x")).write_csv(tmp_path / "map.csv")
    assert import_idmap(job, "Account", tmp_path / "map.csv") == (3, 0)
    assert import_idmap(job, "Account", tmp_path / "map.csv") == (0, 3)
    done = migrate(job)
    assert done.failed() == []
    assert done.states("Account") == {"identical": 3}
    assert other_tool.counts("Account") == {"Account": 3}
    assert other_tool.values("target", "Contact", "AccountId") == {"c0": "a0", "c1": "a1", "c2": "a2"}
    orgs = job.plan.source_org_id, job.plan.target_org_id
    for name in ("all.csv", "all.parquet"):
        assert export_idmap(job.store, *orgs, [], tmp_path / "out" / name) == 6
    assert export_idmap(job.store, *orgs, ["Account"], tmp_path / "accounts.csv") == 3
    table = pl.read_csv(tmp_path / "out" / "all.csv", infer_schema=False)
    assert tuple(table.columns) == COLUMNS
    assert set(table.filter(pl.col("object") == "Account").select("source_id", "target_id").rows()) == set(mine.rows())
    typed = pl.read_parquet(tmp_path / "out" / "all.parquet")
    assert set(typed["source_id"]) == set(table["source_id"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"all.csv", "all.parquet"}
    # What comes out goes in again: it changes nothing.
    assert import_idmap(job, "Account", tmp_path / "accounts.csv") == (0, 3)


def test_everything_that_is_wrong_is_told_and_nothing_is_written(other_tool: World, tmp_path: Path) -> None:
    job = other_tool.job(RECIPE)
    mine = pairs(other_tool)
    a, b, c = mine["source_id"].to_list()
    x, y, z = mine["target_id"].to_list()
    contact = other_tool.ids("source", "Contact")["c0"]
    file = tmp_path / "map.parquet"

    def refused(*rows: tuple[str | None, str | None]) -> str:
        pl.DataFrame(list(rows), schema=["source_id", "target_id"], orient="row").write_parquet(file)
        with pytest.raises(DataError, match="is not imported, nothing was written") as raised:
            import_idmap(job, "Account", file)
        return str(raised.value)

    text = refused((a, x), ("short", y), (None, z), (contact, y), (c[:15] + "ZZZ", z))
    assert "3 rows have no source_id of 15 or 18 characters with the right ending: short, (empty)" in text
    assert f"1 rows have a source_id that is no Account of 'source', which begin with 001: {contact}" in text
    assert f"1 source records have several targets in the file: {a}" in refused((a, x), (a, y))
    assert f"1 target records have several sources in the file: {x}" in refused((a, x), (b, x))
    absent = x[:12] + "zzz"
    assert f"1 target records are not in 'target' (deleted, or of another org): {absent}" in refused(
        (a, absent), (b, y)
    )
    pl.DataFrame({"source_id": [a], "target_id": [x]}).write_parquet(file)
    assert import_idmap(job, "Account", file) == (1, 0)
    assert f"1 source records are mapped to another target record already: {a}" in refused((a, y), (b, z))
    assert f"1 target records are the counterpart of another source record already: {x}" in refused((c, x))
    known = job.store.idmap(job.plan.source_org_id, job.plan.target_org_id).read("Account").collect()
    assert known.select("source_id", "target_id", "how", "phase").rows() == [(a, x, "import", "import")]


def test_files_that_are_no_map(other_tool: World, tmp_path: Path) -> None:
    job = other_tool.job(RECIPE)
    (tmp_path / "map.csv").write_text("old,new\n1,2\n")
    with pytest.raises(ConfigError, match=r"no column source_id and target_id.*it has: old, new"):
        import_idmap(job, "Account", tmp_path / "map.csv")
    (tmp_path / "map.parquet").write_text("no parquet")
    with pytest.raises(ConfigError, match="cannot be read as parquet"):
        import_idmap(job, "Account", tmp_path / "map.parquet")
    with pytest.raises(ConfigError, match="There is no file"):
        import_idmap(job, "Account", tmp_path / "none.csv")
    with pytest.raises(ConfigError, match=r"neither \.csv nor \.parquet"):
        export_idmap(job.store, job.plan.source_org_id, job.plan.target_org_id, [], tmp_path / "map.xlsx")
    with pytest.raises(ConfigError, match=r"no object Lead \(it has: nothing yet\)"):
        export_idmap(job.store, job.plan.source_org_id, job.plan.target_org_id, ["Lead"], tmp_path / "map.csv")


def test_no_import_while_a_run_writes_to_the_target(other_tool: World, tmp_path: Path) -> None:
    job = other_tool.job(RECIPE)
    pairs(other_tool).write_csv(tmp_path / "map.csv")
    with (
        job.store.lease(job.plan.target_org_id).acquire("world/all/1", "somebody"),
        pytest.raises(LeaseHeldError, match="somebody"),
    ):
        import_idmap(job, "Account", tmp_path / "map.csv")
