"""What is wrong with the input is said before anything is written: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.errors import (
    AuthenticationError,
    ConfigError,
    IsyncError,
    JobError,
    OrgsError,
    PlanError,
    PreflightError,
    SnapshotError,
    StoreError,
)
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.migration.checks import verify_target
from isync_dagster.migration.extract import extract
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap
from isync_dagster.schema.model import Field
from isync_dagster.store.store import Store
from isync_dagster_tests.migration.world import World, current, rows_of, send, some, template, together

WRITES = "(POST|PATCH|PUT|DELETE) .*/(jobs/ingest|composite/(sobjects|tree|graph)|sobjects)"


@contextmanager
def untouched(world: World) -> Iterator[None]:
    """Nothing that writes is called in the target."""
    world.watch("target", WRITES)
    before = world.counts()
    yield
    assert world.met("target") == 0
    assert world.counts() == before


@contextmanager
def changed(world: World, side: str, name: str, column: str, change: Callable[[Field], Field | None]) -> Iterator[None]:
    """The org describes a field in another way than its snapshot, or no more (None)."""
    org = world.source if side == "source" else world.target
    before = org.schema

    def altered() -> Iterator[object]:
        for item in before:
            if item.name != name:
                yield item
                continue
            fields = (change(field) if field.name == column else field for field in item.fields)
            yield replace(item, fields=tuple(field for field in fields if field is not None))

    world.snapshots  # noqa: B018
    org.schema = OrgSchema(altered(), seed=org.settings.seed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        org.schema = before


# ── match keys ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_match_key_that_is_not_unique_in_the_source(world: World) -> None:
    world.reset(some("Account", 4, Zip__c=lambda n: "0815" if n < 3 else "4711"))
    with untouched(world), pytest.raises(PreflightError) as raised:
        send(world.job(template(["Account"], {"Account": {"match_key": "Zip__c"}}, continue_on_error=True)))
    text = str(raised.value)
    assert "Account.Zip__c: match key is not unique in the source" in text
    assert "'0815' in 3 rows" in text
    assert world.ids("source", "Account")["a0"] in text
    assert "nothing was written to the target" in text
    assert "isync runs abandon world --phase all" in text


def test_a_match_key_that_is_not_unique_in_the_target(world: World) -> None:
    world.reset(some("Account", 2), rows_of("Account", [{"Key__c": f"t{n}", "Name": "ACCOUNT 1"} for n in range(2)]))
    with untouched(world), pytest.raises(PreflightError) as raised:
        send(world.job(template(["Account"], {"Account": {"match_key": "Name"}})))
    assert "Account.Name: match key is not unique in the target" in str(raised.value)
    assert world.ids("target", "Account")["t0"] in str(raised.value)


def test_values_that_the_target_would_refuse_are_listed_first(world: World) -> None:
    rows: list[dict[str, Any]] = [
        {"Key__c": "ok", "Name": "Fine"},
        {"Key__c": "picklist", "Name": "P", "Industry": "Old"},
        {"Key__c": "unnamed", "Name": None},
    ]
    world.reset(rows_of("Account", rows))
    with untouched(world), pytest.raises(PreflightError) as raised:
        send(world.job(template(["Account"], {"Account": {"picklists": {}}})))
    text = str(raised.value)
    assert "Account.Industry: picklist (1 rows)" in text
    assert "Account.Name: required (1 rows)" in text
    assert "continue_on_error" in text


# ── orgs and credentials ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["source", "target"])
def test_wrong_credentials(world: World, side: str) -> None:
    world.reset(some("Account", 1))
    job = world.job(template(["Account"]))
    wrong = world.client(side, username="nobody@corp.example")
    bad = replace(job, source=wrong) if side == "source" else replace(job, target=wrong)
    with untouched(world), pytest.raises(AuthenticationError, match=side) as raised:
        send(bad)
    assert "orgs.yaml" in str(raised.value) or "password" in str(raised.value)
    assert job.store.runs(job.key).latest() is None


def test_one_org_on_both_sides(world: World) -> None:
    world.reset(some("Account", 1))
    job = world.job(template(["Account"]))
    with pytest.raises(PlanError, match=r"are the same org \(00D\w{15}\). Check the two entries in orgs.yaml"):
        send(replace(job, target=job.source))


def test_another_org_than_the_planned_one(world: World) -> None:
    world.reset(some("Account", 1))
    job = world.job(template(["Account"]))
    other = replace(job, plan=replace(job.plan, target_org_id="00D000000000001AAA"))
    with untouched(world), pytest.raises(PlanError, match="planned for 00D000000000001AAA") as raised:
        send(other)
    assert "target org 'target'" in str(raised.value)


def test_production_needs_consent_and_a_confirmation(world: World) -> None:
    world.reset(some("Account", 1))
    change = """UPDATE "Organization" SET "IsSandbox" = {}, "OrganizationType" = '{}'"""
    world.execute("target", change.format("false", "Enterprise Edition"))
    try:
        recipe = template(["Account"])
        with untouched(world), pytest.raises(OrgsError, match="allow_production"):
            send(world.job(recipe))
        allowed = world.client("target", allow_production="true")
        with untouched(world), pytest.raises(OrgsError, match="confirm_production"):
            send(replace(world.job(recipe), target=allowed))
        with untouched(world), pytest.raises(OrgsError, match="confirm_production"):
            send(replace(world.job(recipe, confirm_production="yes"), target=allowed))
        confirmed = world.job(recipe, confirm_production=world.target.org_id)
        send(replace(confirmed, target=allowed))
        assert world.counts("Account") == {"Account": 1}
    finally:
        world.execute("target", change.format("true", "Developer Edition"))


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_phase(world: World) -> None:
    world.reset(some("Account", 1))
    with untouched(world), pytest.raises(ConfigError, match="nope") as raised:
        send(world.job(template(["Account"]), "nope"))
    assert "all" in str(raised.value)


def test_an_unknown_object(world: World) -> None:
    world.reset(some("Account", 1))
    with untouched(world), pytest.raises(ConfigError, match="Acount") as raised:
        extract(world.job(template(["Account"])), "Acount")
    assert "Account" in str(raised.value)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("Nmae = 'x'", "Nmae"),
        ("Name = ", "does not understand the query of Account.*MALFORMED_QUERY.*\n.*\nCorrect `where`"),
        ("Name = 'x' AND", "does not understand the query of Account"),
    ],
)
def test_a_condition_that_the_org_does_not_understand(world: World, where: str, words: str) -> None:
    world.reset(some("Account", 1))
    with untouched(world), pytest.raises(IsyncError, match=words):
        send(world.job(template(["Account"], conditions={"Account": {"where": where}})))


def test_verbs_out_of_turn_say_what_comes_first(world: World) -> None:
    world.reset(some("Account", 1))
    job = world.job(template(["Account"]))
    for verb in (remap, load):
        with pytest.raises(ConfigError, match=r"has no open run\. Materialize its extract assets first"):
            verb(job, "Account")
    for whole in (preflight, finish):
        with pytest.raises(ConfigError, match="has no open run"):
            whole(job)
    unjudged = verify_target(job, "Account")[0]
    assert not unjudged.passed
    assert (unjudged.severity, unjudged.run) == ("warn", 0)
    assert "has not run yet: nothing was judged" in unjudged.text
    extract(job, "Account")
    with pytest.raises(ConfigError, match="not been remapped"):
        load(job, "Account")
    with pytest.raises(ConfigError, match="Account is not loaded in run 1"):
        verify_target(job, "Account")


# ── a snapshot that no longer fits ───────────────────────────────────────────────────────────────────────

Change = Callable[[Field], Field | None]
DRIFT: dict[str, tuple[str, str, Change, str]] = {
    "source field gone": ("source", "Zip__c", lambda _: None, "Zip__c: is not in the org"),
    "source type": ("source", "Zip__c", lambda field: replace(field, type="double"), "Zip__c: was string, is double"),
    "target field gone": ("target", "Zip__c", lambda _: None, "Zip__c: is not in the org"),
    "not createable": ("target", "Zip__c", lambda field: replace(field, createable=False), "can no longer be created"),
    "not updateable": ("target", "Zip__c", lambda field: replace(field, updateable=False), "can no longer be updated"),
    "required": ("target", "Zip__c", lambda field: replace(field, nillable=False), "Zip__c: is required now"),
    "shorter": ("target", "Zip__c", lambda field: replace(field, length=3), "Zip__c: takes 3 characters, was 20"),
    "fewer decimals": ("target", "Size__c", lambda field: replace(field, precision=18, scale=0), "Size__c: is double"),
    "fewer digits": ("target", "Size__c", lambda field: replace(field, precision=9), "Size__c: is double(9,2)"),
    "picklist": (
        "target",
        "Industry",
        lambda field: replace(field, picklist_values=()),
        "values are gone: Energy, New",
    ),
    "lookup elsewhere": ("target", "ParentId", lambda _: None, "ParentId: is not in the org"),
    "migration key": ("target", "Legacy__c", lambda _: None, "Legacy__c: is no external id"),
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift_is_named_with_the_command_that_mends_it(world: World, case: str) -> None:
    side, column, change, words = DRIFT[case]
    world.reset(some("Account", 1))
    job = world.job(template(["Account"], {"Account": {"migration_key": "Legacy__c"}}))
    with changed(world, side, "Account", column, change), untouched(world), pytest.raises(SnapshotError) as raised:
        send(job)
    text = str(raised.value)
    assert words in text
    assert f"isync orgs snapshot {side} --objects Account" in text


def test_an_object_that_is_gone(world: World) -> None:
    world.reset(some("Account", 1))
    job = world.job(template(["Account"]))
    before = world.source.schema
    world.source.schema = OrgSchema(
        (item for item in before if item.name != "Account"), seed=world.source.settings.seed
    )
    try:
        with untouched(world), pytest.raises(SnapshotError, match="has no object Account"):
            send(job)
    finally:
        world.source.schema = before


def test_a_field_that_goes_after_the_gate_fails_the_job_as_a_whole(world: World) -> None:
    world.reset(some("Account", 3, Zip__c="8000"))
    job = world.job(template(["Account"]))
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    with changed(world, "target", "Account", "Zip__c", lambda _: None):
        with pytest.raises(JobError, match=r"refused the whole job 750\w+: .*Zip__c.* No row was"):
            load(job, "Account")
        assert world.counts("Account") == {"Account": 0}
    # Put right, the same run goes on.
    assert load(job, "Account").states == {"inserted": 3}


def test_a_field_that_goes_and_is_empty_in_all_rows_holds_nothing_up(world: World) -> None:
    """A column without a value is not sent."""
    world.reset(some("Account", 3))
    job = world.job(template(["Account"]))
    extract(job, "Account")
    preflight(job)
    remap(job, "Account")
    with changed(world, "target", "Account", "Zip__c", lambda _: None):
        assert load(job, "Account").states == {"inserted": 3}
    rows = current(job).ledger("load", "Account").rows(0, 1).collect()
    assert "Name" in rows.columns
    assert "Zip__c" not in rows.columns
    assert not [name for name in rows.columns if not name.startswith("_") and rows[name].null_count() == rows.height]


# ── the plan and the store ───────────────────────────────────────────────────────────────────────────────


def test_an_open_run_refuses_another_plan(world: World) -> None:
    world.reset(some("Account", 1))
    extract(world.job(template(["Account"])), "Account")
    changed_job = world.job(template(["Account"], {"Account": {"match_key": "Key__c"}}))
    with untouched(world), pytest.raises(ConfigError, match="was opened with another plan") as raised:
        send(changed_job)
    assert "isync runs abandon world --phase all" in str(raised.value)


def test_two_runs_do_not_write_to_one_target(world: World) -> None:
    """The second run, of another phase, is told who holds the target."""
    from isync_dagster.errors import LeaseHeldError

    world.reset(together(some("Account", 1), some("Contact", 1)))
    recipe = template(
        ["Account", "Contact"], phases=[{"name": "one", "lines": ["Account"]}, {"name": "two", "lines": ["Contact"]}]
    )
    send(world.job(recipe, "one"))
    with untouched(world), pytest.raises(LeaseHeldError, match="is being written to by test"):
        send(world.job(recipe, "two"))


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StoreError, match="ISYNC_STORE"):
        Store.open(str(tmp_path / "file" / "store")).check_writable()


def test_rows_that_do_not_fit_their_type_stop_the_extract(world: World) -> None:
    """The snapshot says number, the org holds text: nothing is lost in silence."""
    world.reset(some("Account", 1, Zip__c="not a number"))
    job: SyncJob = world.job(template(["Account"]))
    (plan,) = job.plan.objects
    fields = tuple(
        replace(mapping, source=replace(mapping.source, type="double")) if mapping.source.name == "Zip__c" else mapping
        for mapping in plan.fields
    )
    odd = replace(job, plan=replace(job.plan, objects=(replace(plan, fields=fields),)))
    with untouched(world), pytest.raises(SnapshotError, match="Zip__c: was double, is string"):
        extract(odd, "Account")
