"""Records that somebody else has a stake in: what is a conflict, and what each policy does with it."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from isync_dagster.errors import ConfigError, DataError
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.rollback import plan_rollback, rollback
from isync_dagster.migration.rollback_model import RollbackPlan
from isync_dagster.template import Template
from isync_dagster_tests.migration.test_rollback import keyed, tables, undo
from isync_dagster_tests.migration.world import World, current, migrate, rows_of, some, together

WRITES = "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph))"


OBJECTS = ("Account", "Contact", "Part__c")


@pytest.fixture(scope="module")
def back(served_world: World) -> Callable[[], None]:
    """One migration: accounts in a line below each other, one of them found, contacts and parts under
    them."""
    world = served_world
    data = together(
        some("Account", 4, ParentId=lambda n: f"a{n + 1}" if n in (1, 2) else None),
        some("Contact", 4, AccountId=lambda n: f"a{n}"),
        some("Part__c", 4, Account__c=lambda n: f"a{n}"),
    )
    world.reset(data, rows_of("Account", [{"Key__c": "a0", "Name": "Theirs"}, {"Key__c": "x", "Name": "X"}]))
    assert migrate(world.job(recipe())).failed() == []
    return world.checkpoint()


@pytest.fixture
def world(served_world: World, back: Callable[[], None]) -> World:
    """Both orgs and the store as the migration left them."""
    back()
    return served_world


@pytest.fixture
def migrated(world: World) -> SyncJob:
    """The job of the migration, as a new process has it."""
    return world.job(recipe())


def recipe() -> Template:
    return keyed(*OBJECTS)


def edit(world: World, name: str, key: str, column: str, value: str) -> None:
    """What a person does ten minutes after the run, as the user that migrated."""
    later = "now() AT TIME ZONE 'UTC' + INTERVAL 10 MINUTE"
    world.execute(
        "target",
        f"""UPDATE "{name}" SET "{column}" = '{value}', "SystemModstamp" = {later}, "LastModifiedDate" = {later} """
        f"WHERE \"Key__c\" = '{key}'",
    )


def add(world: World, name: str, key: str, lookup: str, parent: str, *, later: bool = True) -> None:
    """A record that a person (or, at the time of the run, automation) hangs on a record."""
    named = {"LastName": key} if name == "Contact" else {"Name": key}
    world.target.load(name, pl.DataFrame([{"Key__c": key, lookup: world.ids("target", "Account")[parent], **named}]))
    edit(world, name, key, "Key__c", key)
    made = "SystemModstamp" if later else f"(SELECT SystemModstamp FROM Account WHERE Key__c = '{parent}')"
    world.execute("target", f'UPDATE "{name}" SET CreatedDate = {made} WHERE "Key__c" = \'{key}\'')


def conflicts(plan: RollbackPlan) -> dict[str, dict[str, int]]:
    return {item.object: dict(item.conflicts) for item in plan.objects if item.conflicts}


def left(world: World, *names: str) -> set[str]:
    return {key for name in names for key in world.ids("target", name)}


def test_a_record_changed_since_is_left_and_what_it_hangs_on(world: World, migrated: SyncJob) -> None:
    """a1 hangs on a2, a2 on a3: a changed part keeps its account, which keeps the accounts above it."""
    edit(world, "Part__c", "p1", "Name", "Mine now")
    edit(world, "Account", "a0", "Zip__c", "12345")
    (plan,) = plan_rollback(migrated)
    assert conflicts(plan) == {
        "Part__c": {"CHANGED_SINCE": 1},
        "Account": {"CHANGED_SINCE": 1, "WOULD_CLEAR_LOOKUPS": 2, "WOULD_DELETE_OTHERS": 1},
    }
    result = undo(migrated)
    assert result.states == {
        "Part__c": {"deleted": 3, "skipped": 1},
        "Contact": {"deleted": 4},
        "Account": {"skipped": 4},
    }
    assert left(world, "Account", "Contact", "Part__c") == {"a0", "a1", "a2", "a3", "x", "p1"}
    assert world.values("target", "Account", "Zip__c")["a0"] == "12345"
    assert world.values("target", "Account", "ParentId")["a1"] == "a2"
    # What is left keeps its pair: the next run finds it, whatever its key says now.
    id_map = migrated.store.idmap(migrated.plan.source_org_id, migrated.plan.target_org_id)
    assert id_map.read("Account").collect().height == 4
    assert id_map.read("Part__c").collect().height == 1
    again = migrate(world.job(recipe()))
    assert again.failed() == []
    assert world.counts("Account", "Contact", "Part__c") == {"Account": 5, "Contact": 4, "Part__c": 4}


def test_force_undoes_them_all_the_same(world: World, migrated: SyncJob) -> None:
    edit(world, "Part__c", "p1", "Name", "Mine now")
    edit(world, "Account", "a0", "Name", "Mine too")
    add(world, "Part__c", "theirs", "Account__c", "a2")
    (plan,) = plan_rollback(migrated, conflicts="force")
    assert plan.in_conflict == 3
    assert plan.total("delete") == 11
    result = undo(migrated, conflicts="force")
    assert result.complete
    assert left(world, "Account", "Contact", "Part__c") == {"a0", "x"}
    assert world.values("target", "Account", "Name")["a0"] == "Theirs"


def test_stop_undoes_nothing(world: World, migrated: SyncJob) -> None:
    edit(world, "Contact", "c2", "FirstName", "Ada")
    before = tables(world)
    world.watch("target", WRITES)
    with pytest.raises(DataError, match=r"1 records are in conflict .* nothing was undone.* CHANGED_SINCE"):
        undo(migrated, conflicts="stop")
    assert world.met("target") == 0
    assert tables(world) == before
    assert current(migrated).state == "closed"
    assert undo(migrated, conflicts="skip").states["Contact"] == {"deleted": 3, "skipped": 1}


def test_records_of_others_keep_what_they_hang_on(world: World, migrated: SyncJob) -> None:
    """A part would be deleted with its account, a contact would lose it; what automation made goes along."""
    add(world, "Part__c", "theirs", "Account__c", "a1")
    add(world, "Contact", "their contact", "AccountId", "a3")
    add(world, "Part__c", "automatic", "Account__c", "a2", later=False)
    (plan,) = plan_rollback(migrated)
    # a2 is above a1, which is left.
    assert conflicts(plan) == {"Account": {"WOULD_CLEAR_LOOKUPS": 2, "WOULD_DELETE_OTHERS": 1}}
    messages = {str(sample["message"]) for item in plan.objects for sample in item.samples}
    assert any("1 Part__c by Account__c, such as " in message for message in messages)
    undo(migrated)
    assert left(world, "Contact", "Part__c") == {"theirs", "their contact", "automatic"}
    assert left(world, "Account") == {"a0", "a1", "a2", "a3", "x"}


def test_what_automation_made_goes_along_and_is_said(world: World, migrated: SyncJob) -> None:
    add(world, "Part__c", "automatic", "Account__c", "a2", later=False)
    (plan,) = plan_rollback(migrated)
    assert plan.in_conflict == 0
    assert any("1 records of Part__c that automation made" in note for note in plan.notes)
    assert undo(migrated).complete
    assert left(world, "Account", "Part__c") == {"a0", "x"}


def test_a_record_that_is_gone_is_accounted(world: World, migrated: SyncJob) -> None:
    world.execute("target", 'UPDATE "Contact" SET "IsDeleted" = true WHERE "Key__c" = \'c1\'')
    world.execute("target", "DELETE FROM \"Part__c\" WHERE \"Key__c\" IN ('p0', 'p1')")
    (plan,) = plan_rollback(migrated)
    assert {item.object: item.gone for item in plan.objects} == {"Part__c": 2, "Contact": 1, "Account": 0}
    result = undo(migrated)
    assert result.complete
    assert result.states["Part__c"] == {"deleted": 4}
    log = pl.scan_parquet(str(current(migrated).folder / "rollback/001/audit/Part__c/*.parquet"))
    assert log.filter(pl.col("code") == "ALREADY_GONE").select(pl.col("source_id").n_unique()).collect().item() == 2


def test_what_was_left_can_be_rolled_back_again(world: World, migrated: SyncJob) -> None:
    edit(world, "Contact", "c2", "FirstName", "Ada")
    before = undo(migrated)
    assert not before.complete
    assert before.codes["Contact"] == {"CHANGED_SINCE": 1}
    assert before.codes["Account"] == {"WOULD_CLEAR_LOOKUPS": 2}
    with pytest.raises(ConfigError, match="nothing to roll back"):
        rollback(migrated)
    again = undo(migrated, number=1, conflicts="force")
    assert (again.number, again.complete) == (2, True)
    assert again.states == {"Part__c": {}, "Contact": {"deleted": 1}, "Account": {"deleted": 2}}
    assert left(world, "Account", "Contact", "Part__c") == {"a0", "x"}
    id_map = migrated.store.idmap(migrated.plan.source_org_id, migrated.plan.target_org_id)
    assert id_map.reverse().collect().is_empty()
    with pytest.raises(ConfigError, match="run 1 is rolled back already, and nothing of it is left"):
        rollback(migrated, 1)
