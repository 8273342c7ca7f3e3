"""Queries over HTTP: pages that lie on disk, and what a query takes from its user, its org and its headers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from isync_dagster.local_org import cursors
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard, standard_objects
from isync_dagster.schema.model import Field, SObject
from isync_dagster_tests.local_org.orgs import Client

ROWS = 5300
PACKAGED = SObject(
    "acme__Box__c",
    custom=True,
    fields=(
        Field("Name", "string", length=80, name_field=True),
        Field("acme__Size__c", "double", precision=18, scale=0, custom=True),
        Field("acme__Account__c", "reference", reference_to=("Account",), relationship_name="acme__Account__r"),
    ),
)


@pytest.fixture(scope="module")
def org(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalOrg]:
    folder = tmp_path_factory.mktemp("queries") / "org"
    known = standard_objects()
    schema = [known["Account"], known["Contact"], PACKAGED]
    with LocalOrg.create(folder, schema, name="Queries", seed=9) as made:
        frame = pl.DataFrame({"Name": [f"a{number:05d}" for number in range(ROWS)]})
        parent = made.load("Account", frame)[0]
        made.load("Contact", pl.DataFrame({"LastName": ["many"] * 4100, "AccountId": [parent] * 4100}))
        boxes = pl.DataFrame({"Name": ["one"], "acme__Size__c": [3.0], "acme__Account__c": [parent]})
        made.load("acme__Box__c", boxes)
        yield made


def follow(client: Client, answer: dict[str, Any], **headers: str) -> Iterator[dict[str, Any]]:
    """An answer and the pages after it."""
    yield answer
    while not answer["done"]:
        answer = client.call("GET", answer["nextRecordsUrl"], headers=headers).json()
        yield answer


def files(org: LocalOrg) -> list[Path]:
    return sorted((org.folder / cursors.FOLDER).rglob("*.arrow"))


@pytest.mark.parametrize("size", [200, 333, 2000])
def test_pages_hold_every_row_once_and_in_order(client: Client, size: int) -> None:
    headers = {"Sforce-Query-Options": f"batchSize={size}"}
    text = "SELECT Name FROM Account WHERE Name != 'a00007' ORDER BY Name DESC"
    first = client.call("GET", "/query", params={"q": text}, headers=headers).json()
    pages = list(follow(client, first, **headers))
    assert {page["totalSize"] for page in pages} == {ROWS - 1}
    assert [len(page["records"]) for page in pages[:-1]] == [size] * ((ROWS - 1) // size)
    assert "nextRecordsUrl" not in pages[-1]
    found = [record["Name"] for page in pages for record in page["records"]]
    assert found == [f"a{number:05d}" for number in reversed(range(ROWS)) if number != 7]


def test_only_an_answer_of_several_pages_is_kept_and_the_oldest_gives_way(
    client: Client, org: LocalOrg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursors, "MOST", 2)
    before = set(files(org))
    assert len(client.query("SELECT Id FROM Account LIMIT 2000")) == 2000
    assert set(files(org)) == before
    ask = lambda: client.call("GET", "/query", params={"q": "SELECT Id FROM Account"}).json()["nextRecordsUrl"]  # noqa: E731
    urls = [ask() for _ in range(3)]
    assert len(files(org)) == 2
    gone = client.call("GET", urls[0])
    assert (gone.status_code, gone.json()[0]["errorCode"]) == (400, "INVALID_QUERY_LOCATOR")
    assert client.call("GET", urls[2]).json()["totalSize"] == ROWS


def test_a_row_changed_meanwhile_does_not_move_the_pages(client: Client, org: LocalOrg) -> None:
    first = client.call("GET", "/query", params={"q": "SELECT Id, Name FROM Account ORDER BY Name"}).json()
    client.call("DELETE", f"/sobjects/Account/{first['records'][5]['Id']}")
    names = [record["Name"] for page in follow(client, first) for record in page["records"]]
    assert names == [f"a{number:05d}" for number in range(ROWS)]
    with org.storage.transaction() as cursor:
        cursor.execute('UPDATE "Account" SET "IsDeleted" = false')


def test_a_long_child_list_has_pages_of_its_own(client: Client) -> None:
    text = "SELECT Name, (SELECT LastName, Account.Name FROM Contacts) FROM Account WHERE Name < 'a00002' ORDER BY Name"
    many, none = client.query(text)
    assert none["Contacts"] is None
    children = list(follow(client, many["Contacts"]))
    assert [len(page["records"]) for page in children] == [2000, 2000, 100]
    assert {page["totalSize"] for page in children} == {4100}
    rows = [record for page in children for record in page["records"]]
    assert len({record["attributes"]["url"] for record in rows}) == 4100
    assert {(record["LastName"], record["Account"]["Name"]) for record in rows} == {("many", "a00000")}


def test_groups_have_one_page_whatever_its_size(client: Client) -> None:
    refused = client.call("GET", "/query", params={"q": "SELECT Name, COUNT(Id) FROM Account GROUP BY Name"})
    assert (refused.status_code, refused.json()) == (400, [{
        "message": "Aggregate query does not support queryMore(), use LIMIT to restrict the results to a single batch",
        "errorCode": "EXCEEDED_ID_LIMIT",
    }])  # fmt: skip
    answer = client.call(
        "GET",
        "/query",
        params={"q": "SELECT Name, COUNT(Id) FROM Account GROUP BY Name LIMIT 2000"},
        headers={"Sforce-Query-Options": "batchSize=200"},
    ).json()
    assert (answer["totalSize"], answer["done"], len(answer["records"])) == (2000, True, 2000)


def test_days_are_those_of_the_user_who_asks(client: Client, org: LocalOrg) -> None:
    """Of the two zones at the ends of the world one is always a day ahead of the other."""
    now = datetime.now(UTC)
    counts = {}
    for zone, hours in (("Pacific/Kiritimati", 14), ("Pacific/Pago_Pago", -11)):
        with org.storage.transaction() as cursor:
            cursor.execute('UPDATE "User" SET "TimeZoneSidKey" = ?', [zone])
            midnight = (now + timedelta(hours=hours)).replace(hour=0, minute=0, second=0, microsecond=0)
            start = (midnight - timedelta(hours=hours)).replace(tzinfo=None)
            cursor.execute('UPDATE "Account" SET "CreatedDate" = ? WHERE "Name" >= \'a00010\'', [start])
            before = start - timedelta(seconds=1)
            cursor.execute('UPDATE "Account" SET "CreatedDate" = ? WHERE "Name" < \'a00010\'', [before])
        text = "SELECT COUNT() FROM Account WHERE CreatedDate = {}"
        counts[zone] = [
            client.call("GET", "/query", params={"q": text.format(day)}).json()["totalSize"]
            for day in ("TODAY", "YESTERDAY")
        ]
        assert len(client.bulk_query("SELECT Id FROM Account WHERE CreatedDate = YESTERDAY")) == 10
    assert counts == {"Pacific/Kiritimati": [ROWS - 10, 10], "Pacific/Pago_Pago": [ROWS - 10, 10]}


@pytest.mark.parametrize(("named_by_start", "years"), [(False, [2024, 2025]), (True, [2023, 2024])])
def test_fiscal_years_are_those_of_the_org(
    client: Client, org: LocalOrg, named_by_start: bool, years: list[int]
) -> None:
    with org.storage.transaction() as cursor:
        cursor.execute('UPDATE "Organization" SET "FiscalYearStartMonth" = 4')
        cursor.execute('UPDATE "Organization" SET "UsesStartDateAsFiscalYearName" = ?', [named_by_start])
        cursor.execute(
            'UPDATE "Account" SET "CreatedDate" = TIMESTAMP \'2024-03-31 10:00:00\' WHERE "Name" = \'a00001\''
        )
        cursor.execute(
            'UPDATE "Account" SET "CreatedDate" = TIMESTAMP \'2024-04-01 10:00:00\' WHERE "Name" = \'a00002\''
        )
    found = client.query(
        "SELECT FISCAL_YEAR(CreatedDate) y, FISCAL_QUARTER(CreatedDate) q, COUNT(Id) n FROM Account "
        "WHERE Name IN ('a00001', 'a00002') GROUP BY FISCAL_YEAR(CreatedDate), FISCAL_QUARTER(CreatedDate) "
        "ORDER BY FISCAL_YEAR(CreatedDate)"
    )
    assert [(row["y"], row["q"], row["n"]) for row in found] == [(years[0], 4, 1), (years[1], 1, 1)]


def test_a_default_namespace_stands_for_the_prefix(client: Client) -> None:
    text = "SELECT Name, Size__c, Account__r.Name FROM Box__c WHERE Size__c = 3"
    refused = client.call("GET", "/query", params={"q": text})
    assert refused.json()[0]["errorCode"] == "INVALID_TYPE"
    headers = {"Sforce-Call-Options": "client=loader, defaultNamespace=acme"}
    [record] = client.call("GET", "/query", params={"q": text}, headers=headers).json()["records"]
    assert record["attributes"]["type"] == "acme__Box__c"
    assert (record["Size__c"], record["Account__r"]["Name"]) == (3.0, "a00000")
    whole = client.query("SELECT acme__Size__c FROM acme__Box__c")
    assert whole[0]["acme__Size__c"] == 3.0


def test_cursors_end_with_their_server(org: LocalOrg) -> None:
    others = files(org)
    with org.serve() as running:
        client = Client(running)
        url = client.call("GET", "/query", params={"q": "SELECT Id FROM Account"}).json()["nextRecordsUrl"]
        assert len(files(org)) == len(others) + 1
        client.http.close()
    assert files(org) == others
    with org.serve() as running:
        client = Client(running)
        assert client.call("GET", url).json()[0]["errorCode"] == "INVALID_QUERY_LOCATOR"
        client.http.close()


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    with LocalOrg.create(tmp_path / "org", standard(["Account"]), name="Left"):
        left = tmp_path / "org" / cursors.FOLDER / "x" / "01g.arrow"
        left.parent.mkdir(parents=True)
        left.touch()
    with LocalOrg.open(tmp_path / "org"):
        assert not left.exists()
