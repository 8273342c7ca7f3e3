"""What a later run reads of the target is the same as a whole read, whatever happened in between, and so are its decisions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from isync_dagster.migration import changes, reading, target
from isync_dagster.migration.changes import Base, base_in
from isync_dagster.migration.extract import extract
from isync_dagster.migration.model import SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.remap import remap, remapped
from isync_dagster.migration.target import match_fields
from isync_dagster.migration.writing import release_all
from isync_dagster.schema.model import Field, SObject
from isync_dagster.store import files
from isync_dagster_tests.migration.world import World, current, forget_end, migrate, some, template, together

NAMES = ("Account", "Contact", "Part__c")
KEYS = {name: {"match_key": ["Key__c"]} for name in NAMES}
ROWS = 12


def recipe(reads: str = "changes", **objects: Any) -> Any:
    return template(NAMES, {**KEYS, **objects}, target_reads=reads)


def age(world: World) -> None:
    """As if all that is in the target had been saved yesterday."""
    for name in NAMES:
        world.execute(
            "target",
            f"""UPDATE "{name}" SET "SystemModstamp" = "SystemModstamp" - INTERVAL 1 DAY, """
            '"LastModifiedDate" = "LastModifiedDate" - INTERVAL 1 DAY',
        )


@pytest.fixture(scope="module")
def prepared(served_world: World) -> Callable[[], None]:
    """Two runs: one that inserted, one that found all of it as it was and has read it whole."""
    served_world.reset(
        together(
            some("Account", ROWS),
            some("Contact", ROWS, AccountId=lambda n: f"a{n % 4}", Email="p@example.com"),
            some("Part__c", ROWS, Account__c=lambda n: f"a{n % 4}"),
        )
    )
    done = migrate(served_world.job(recipe()))
    assert done.failed() == []
    forget_end(done.job)
    age(served_world)
    assert migrate(served_world.job(recipe())).failed() == []
    return served_world.checkpoint()


@pytest.fixture
def twice(served_world: World, prepared: Callable[[], None]) -> World:
    prepared()
    return served_world


# ── what happens in the target between two runs ──────────────────────────────────────────────────────────


def save(world: World, name: str, key: str, **values: Any) -> None:
    client, record = world.client("target"), world.ids("target", name)[key]
    client.request("PATCH", f"sobjects/{name}/{record}", json=values)


def insert(world: World, name: str, **values: Any) -> None:
    world.client("target").request("POST", f"sobjects/{name}", json=values)


def soap(world: World, body: str) -> None:
    client = world.client("target")
    token = client._login.grant().token
    text = (
        '<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/" xmlns:urn="urn:partner.soap.sforce.com" '
        'xmlns:so="urn:sobject.partner.soap.sforce.com">'
        f"<env:Header><urn:SessionHeader><urn:sessionId>{token}</urn:sessionId></urn:SessionHeader></env:Header>"
        f"<env:Body>{body}</env:Body></env:Envelope>"
    )
    headers = {"Content-Type": "text/xml", "SOAPAction": '""', "Accept": "text/xml"}
    answer = client.request("POST", "/services/Soap/u/62.0", body=text.encode(), headers=headers)
    assert "<success>true</success>" in answer.text, answer.text


def merge(world: World, loser: str, winner: str) -> None:
    ids = world.ids("target", "Account")
    soap(
        world,
        f"<urn:merge><urn:request><urn:masterRecord><so:type>Account</so:type><so:Id>{ids[winner]}</so:Id>"
        f"</urn:masterRecord><urn:recordToMergeIds>{ids[loser]}</urn:recordToMergeIds></urn:request></urn:merge>",
    )


def undelete(world: World, record: str) -> None:
    soap(world, f"<urn:undelete><urn:ids>{record}</urn:ids></urn:undelete>")


def decide(job: SyncJob) -> None:
    for name in NAMES:
        extract(job, name)
    preflight(job)
    for name in NAMES:
        remap(job, name)


def run_between(world: World) -> None:
    """A run that takes the target as it is by now."""
    assert migrate(world.job(recipe())).failed() == []


def nothing(world: World) -> None:
    pass


def saved(world: World) -> None:
    save(world, "Contact", "c3", Email="other@example.com")


def saved_in_both(world: World) -> None:
    save(world, "Account", "a1", Name="Theirs")
    save(world, "Contact", "c3", LastName="Theirs")


def lookup_moved(world: World) -> None:
    save(world, "Contact", "c3", AccountId=world.ids("target", "Account")["a0"])


def deleted(world: World) -> None:
    world.delete("Contact", "c5")


def leaf_deleted(world: World) -> None:
    """No lookup can have pointed at it."""
    world.delete("Part__c", "p5")
    save(world, "Part__c", "p6", Name="Theirs")


def parent_deleted(world: World) -> None:
    world.delete("Account", "a1")


def merged(world: World) -> None:
    merge(world, "a1", "a2")


def inserted(world: World) -> None:
    insert(world, "Contact", LastName="Theirs", Key__c="theirs")


def key_moved(world: World) -> None:
    save(world, "Contact", "c3", Key__c="elsewhere")
    insert(world, "Contact", LastName="Person 3", Key__c="c3")


def purged(world: World) -> None:
    world.execute("target", """DELETE FROM "Contact" WHERE "Key__c" = 'c5'""")


def purged_and_inserted(world: World) -> None:
    purged(world)
    inserted(world)


def hidden_and_inserted(world: World) -> None:
    """A record disappears without a stamp (as one that is shared no more), and another one comes."""
    world.execute("target", """UPDATE "Contact" SET "IsDeleted" = true WHERE "Key__c" = 'c5'""")
    inserted(world)


def undeleted(world: World) -> None:
    insert(world, "Contact", LastName="Theirs", Key__c="theirs")
    record = world.ids("target", "Contact")["theirs"]
    run_between(world)
    world.delete("Contact", "theirs")
    run_between(world)
    undelete(world, record)


def undeleted_without_a_stamp(world: World) -> None:
    insert(world, "Contact", LastName="Theirs", Key__c="theirs")
    world.delete("Contact", "theirs")
    run_between(world)
    age(world)
    world.execute("target", """UPDATE "Contact" SET "IsDeleted" = false WHERE "Key__c" = 'theirs'""")


def updated_by_a_run(world: World) -> None:
    """What the run before wrote itself is saved after it had read the target."""
    save(world, "Contact", "c3", Email="other@example.com")
    run_between(world)


def many_saved(world: World) -> None:
    for number in range(ROWS // 2):
        save(world, "Contact", f"c{number}", Email=f"p{number}@other.example.com")


CHANGES, WHOLE = "changes", "whole"
CASES: dict[Callable[[World], None], tuple[str, str]] = {
    nothing: ("Contact", CHANGES),
    saved: ("Contact", CHANGES),
    saved_in_both: ("Account", CHANGES),
    lookup_moved: ("Contact", CHANGES),
    leaf_deleted: ("Part__c", CHANGES),
    deleted: ("Contact", WHOLE),
    parent_deleted: ("Contact", WHOLE),
    merged: ("Contact", WHOLE),
    inserted: ("Contact", CHANGES),
    key_moved: ("Contact", CHANGES),
    purged: ("Contact", WHOLE),
    purged_and_inserted: ("Contact", WHOLE),
    hidden_and_inserted: ("Contact", WHOLE),
    undeleted: ("Contact", CHANGES),
    undeleted_without_a_stamp: ("Contact", WHOLE),
    updated_by_a_run: ("Contact", CHANGES),
    many_saved: ("Contact", CHANGES),
}
"""What happened, and how an object is read then."""


SOON = (saved, leaf_deleted, merged, inserted, purged_and_inserted, undeleted_without_a_stamp)
"""Those that every test run looks at; the others are slow ones, all together."""


@pytest.mark.parametrize(
    "happened",
    [pytest.param(case, id=case.__name__, marks=() if case in SOON else pytest.mark.slow) for case in CASES],
)
def test_the_rows_and_the_decisions_are_those_of_a_whole_read(twice: World, happened: Callable[[World], None]) -> None:
    happened(twice)
    name, expected = CASES[happened]
    assert compared(twice, name) == expected


@pytest.mark.parametrize(("share", "expected"), [(1, CHANGES), (4, WHOLE)])
def test_many_changes_are_read_by_bulk_and_too_many_as_a_whole(
    twice: World, monkeypatch: pytest.MonkeyPatch, share: int, expected: str
) -> None:
    monkeypatch.setattr(reading, "REST_ROWS", 2)
    monkeypatch.setattr(changes, "SHARE", share)
    many_saved(twice)
    assert compared(twice, "Contact") == expected


def compared(world: World, name: str) -> str:
    """How the object was read, the rows of all objects and the decisions on them being those of a whole read."""
    back = world.checkpoint("both")
    found = {}
    for reads in (CHANGES, WHOLE):
        back()
        job = world.job(recipe(reads))
        decide(job)
        found[reads] = job, current(job)
    (job, run), (_, other) = found.values()
    for each in NAMES:
        fields = match_fields(job.object(each))
        rows = [reading.scan(one.folder / "target" / each, fields).sort("Id").collect() for one in (run, other)]
        assert_frame_equal(*rows)
        decisions = [remapped(one, each).sort("_source_id").collect() for one in (run, other)]
        assert_frame_equal(*decisions)
    read = reading.recorded(run.folder / "target" / name)
    assert read is not None
    whole = files.read_json(run.folder / "target" / name / "whole.json")
    assert (read.by == "changes") != (whole is not None)
    return CHANGES if read.by == "changes" else WHOLE


def test_what_is_saved_again_within_the_second_of_the_read_is_seen(twice: World) -> None:
    """Orgs stamp whole seconds: the later value has the stamp that was read with the earlier one."""
    save(twice, "Contact", "c3", Email="first@example.com")
    job = twice.job(recipe())
    decide(job)
    twice.execute("target", """UPDATE "Contact" SET "Email" = 'second@example.com' WHERE "Key__c" = 'c3'""")
    base = _base(job)
    stamp = base.scan().filter(pl.col("Key__c") == "c3").select(changes.STAMP).collect().item()
    # The read began in that second.
    base = replace(base, since=stamp)
    folder = current(job).folder / "again"
    assert changes.lay(job, [(base, job.object("Contact"), folder)]) == {}
    rows = reading.scan(folder, base.fields).filter(pl.col("Key__c") == "c3").collect()
    assert rows["Email"].to_list() == ["second@example.com"]


def test_a_repeat_takes_few_calls_and_no_row_of_the_target(twice: World) -> None:
    job = twice.job(recipe())
    migrate(job)
    twice.watch("target", "jobs/query")
    done = migrate(twice.job(recipe()))
    assert done.failed() == []
    assert twice.met("target") == 0
    assert done.states("Contact") == {"identical": ROWS}
    # The re-read that verifies rests on it too, and finds what is wrong all the same.
    assert done.verdicts["Contact", "record_count"].numbers["found"] == ROWS


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The objects that the target was asked for what changed, or read whole, in order."""
    seen: list[str] = []
    lay, read = target.lay, reading.read

    def laid(job: SyncJob, wanted: Any) -> Any:
        seen.extend(base.object for base, _, _ in wanted)
        return lay(job, wanted)

    def whole(job: SyncJob, org: Any, **options: Any) -> Any:
        if org is job.target:
            seen.append(f"{options['object']} whole")
        return read(job, org, **options)

    monkeypatch.setattr(target, "lay", laid)
    monkeypatch.setattr(target.reading, "read", whole)
    return seen


@pytest.mark.parametrize(
    ("reads", "wanted"),
    # A master-detail cannot be updated, so that a match does not read it: the whole re-read of the part does.
    [("changes", NAMES), ("whole", (*NAMES, *(f"{name} whole" for name in (*NAMES, "Part__c"))))],
)
def test_checks_of_a_run_that_sent_nothing_judge_by_its_own_read(
    twice: World, looks: list[str], reads: str, wanted: tuple[str, ...]
) -> None:
    """The target is read once, whatever the run before had read; what others have added is seen."""
    insert(twice, "Contact", LastName="Theirs", Key__c="theirs")
    done = migrate(twice.job(recipe(reads)))
    assert sorted(looks) == sorted(wanted)
    assert done.failed() == []
    assert done.states("Contact") == {"identical": ROWS}
    assert done.verdicts["Contact", "record_count"].numbers["found"] == ROWS
    assert done.verdicts["Contact", "relationships"].numbers["verified"] == 2 * ROWS  # account and owner


def test_what_a_run_sent_of_one_object_has_all_looked_at_again(twice: World, looks: list[str]) -> None:
    save(twice, "Account", "a3", Name="Other")
    done = migrate(twice.job(recipe()))
    assert done.failed() == []
    assert done.states("Account") == {"identical": ROWS - 1, "updated": 1}
    assert sorted(looks) == sorted(2 * NAMES)


def test_a_read_of_a_while_ago_is_not_judged_by(
    twice: World, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "OVERLAP", timedelta(0))
    assert migrate(twice.job(recipe())).failed() == []
    assert sorted(looks) == sorted(2 * NAMES)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda folder: files.remove_tree(folder), id="cleaned up"),
        pytest.param(lambda folder: files.remove(folder / "base.json"), id="of an older version"),
        pytest.param(lambda folder: files.remove(folder / "manifest.json"), id="cut off"),
    ],
)
def test_without_an_earlier_read_all_is_read(twice: World, spoil: Callable[[Any], None]) -> None:
    for run in twice.job(recipe()).store.runs(twice.job(recipe()).key).list():
        spoil(run.folder / "target" / "Contact")
    job = twice.job(recipe())
    decide(job)
    read = reading.recorded(current(job).folder / "target" / "Contact")
    assert read is not None and read.by != "changes" and read.rows == ROWS


def test_another_mapping_reads_all(twice: World) -> None:
    job = twice.job(recipe(Contact={"match_key": ["Key__c"], "exclude_fields": ["Email"]}))
    decide(job)
    read = reading.recorded(current(job).folder / "target" / "Contact")
    assert read is not None and read.by != "changes"


@pytest.mark.parametrize(
    ("field", "told"),
    [
        (Field("Email", "email", calculated=True), "Email can change without the record being saved"),
        (Field("Email", "email", createable=False, updateable=False), "Email can change without"),
        (None, "the object has no SystemModstamp"),
    ],
)
def test_what_a_stamp_does_not_tell_is_read_whole(
    twice: World, monkeypatch: pytest.MonkeyPatch, field: Field | None, told: str
) -> None:
    job = twice.job(recipe())
    decide(job)
    base = _base(job)
    there = job.target.describe("Contact")
    kept = tuple(item for item in there.fields if item.name not in ("Email", changes.STAMP))
    stamp = there.field(changes.STAMP)
    assert stamp is not None
    changed = SObject("Contact", fields=(*kept, stamp, field) if field is not None else kept)
    monkeypatch.setattr(changes, "live", lambda *_: changed)
    assert told in str(changes.obstacle(job, base))


def test_a_read_that_is_too_old_or_of_another_user_is_not_rested_on(twice: World) -> None:
    job = twice.job(recipe())
    decide(job)
    base = _base(job)
    assert changes.obstacle(job, base) is None
    assert "another user" in str(changes.obstacle(job, replace(base, user="005000000000001AAA")))
    old = replace(base, whole_at=base.whole_at - changes.WHOLE_EVERY)
    assert "the last whole read is of" in str(changes.obstacle(job, old))


def _base(job: SyncJob) -> Base:
    fields = changes.stamped(job, "Contact", match_fields(job.object("Contact")))
    base = base_in(current(job).folder / "target" / "Contact", "Contact", fields)
    assert base is not None
    return base


@pytest.fixture(autouse=True)
def _released() -> Any:
    yield
    release_all()
