"""The whole client against the embedded org: what the scripted tests assume is asked of a server nobody scripted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from isync_dagster.errors import AuthenticationError, JobError, OrgsError, RequestError, UnknownOutcome
from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.server import Served
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.salesforce.bulk_query import BulkQuery
from isync_dagster.salesforce.collections import Collections
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.schema.model import Field, SObject

PASSWORDS = {"P": "password", "T": "security_token", "S": "consumer_secret", "R": "refresh_token"}
FAST = Tuning(attempts=4, first_wait=0.01, longest_wait=0.05, first_poll=0.02, longest_poll=0.1)
ROWS = 2_500

ACCOUNT = SObject(
    "Account",
    "Account",
    key_prefix="001",
    fields=(
        Field("Id", "id", "Account ID", nillable=False, createable=False, updateable=False),
        Field("Name", "string", "Account Name", length=255, nillable=False, name_field=True),
        Field("Description", "textarea", "Description", length=32_000),
        Field("AnnualRevenue", "currency", "Annual Revenue", precision=18, scale=2),
        Field("NumberOfEmployees", "int", "Employees", digits=8),
        Field("Active__c", "boolean", "Active", nillable=False, custom=True),
        Field("Day__c", "date", "Day", custom=True),
        Field("Key__c", "string", "Key", length=40, unique=True, external_id=True, id_lookup=True, custom=True),
        Field("CreatedDate", "datetime", "Created Date", nillable=False, createable=False, updateable=False),
        Field("ParentId", "reference", "Parent", reference_to=("Account",), relationship_name="Parent"),
    ),
)

Make = Callable[..., Org]


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, key: rsa.RSAPrivateKey) -> Iterator[Served]:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    folder = tmp_path_factory.mktemp("org")
    with (
        LocalOrg.create(folder, [ACCOUNT], name="wire", jwt_public_key=public.decode(), query_page_rows=400) as local,
        local.serve(https=True) as running,
    ):
        frame = pl.DataFrame(
            {
                "Name": [f"Account {number}" for number in range(ROWS)],
                "Description": [f'line one\nline "two", {number}\r\nend' for number in range(ROWS)],
                "Active__c": [number % 2 == 0 for number in range(ROWS)],
            }
        )
        local.load("Account", frame)
        yield running


@pytest.fixture
def make(served: Served) -> Iterator[Make]:
    """Orgs on the running server; secrets come from an environment of the test's own."""
    made: list[Org] = []
    environment = {name: str(getattr(served, attribute)) for name, attribute in PASSWORDS.items()}

    def build(env: dict[str, str] | None = None, **entry: Any) -> Org:
        config = OrgConfig.model_validate(entry).bound(Path(), {**environment, **(env or {})})
        made.append(Org.connect(config, "wire", tuning=FAST))
        return made[-1]

    yield build
    for org in made:
        org.close()
    served.service.faults.set([])


@pytest.fixture
def org(served: Served, make: Make) -> Org:
    return make(
        auth="username_password",
        login_url=served.url,
        username=served.username,
        password="${P}",
        security_token="${T}",
    )


def fault(served: Served, kind: str, path: str, **more: Any) -> None:
    served.service.faults.add(Fault(kind=kind, path=path, **more))


# logging in


def test_every_way_to_log_in(served: Served, make: Make, key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    app = {"consumer_key": served.consumer_key, "consumer_secret": "${S}"}
    user = {"username": served.username, "password": "${P}", "security_token": "${T}"}
    ways: list[dict[str, Any]] = [
        {"auth": "username_password", **user},
        {"auth": "username_password", **user, **app},
        {"auth": "client_credentials", **app},
        {"auth": "refresh_token", "refresh_token": "${R}", **app},
        {
            "auth": "jwt",
            "username": served.username,
            "consumer_key": served.consumer_key,
            "key_file": str(tmp_path / "key.pem"),
        },
    ]
    for way in ways:
        with make(login_url=served.url, **way) as org:
            assert org.identity().org_id == served.org.org_id, way
            token = org.simple.session_id
    with make({"A": token}, auth="access_token", access_token="${A}", instance_url=served.url) as org:
        assert org.identity().org_id == served.org.org_id


def test_https_with_a_certificate_of_our_own(served: Served, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent.pem")
    user = {"username": served.username, "password": "${P}", "security_token": "${T}"}
    with make(auth="username_password", login_url=served.https_url, ca_file=served.ca_file, **user) as org:
        assert org.identity().instance_url == served.https_url
        assert org.count("Account") >= ROWS
    with (
        make(auth="username_password", login_url=served.https_url, **user) as org,
        pytest.raises(OrgsError, match="not trusted; set ca_file"),
    ):
        org.identity()


def test_a_wrong_password(served: Served, make: Make) -> None:
    org = make(
        {"P": "wrong"}, auth="username_password", login_url=served.url, username=served.username, password="${P}"
    )
    with pytest.raises(AuthenticationError, match="INVALID_LOGIN"):
        org.identity()


# reading


def test_identity_version_and_clock(served: Served, org: Org) -> None:
    identity = org.identity()
    assert (identity.name, identity.is_production) == ("wire", False)
    assert 58 <= float(identity.api_version) <= 64
    assert org.require_writable() == identity
    assert abs(org.server_time() - datetime.now(UTC)) < timedelta(seconds=5)
    assert org.usage is not None


def test_describe(org: Org) -> None:
    account = org.describe("Account")
    name = account.field("name")
    assert account.key_prefix == "001"
    assert name is not None and (name.length, name.nillable) == (255, False)
    assert "Account" in [item["name"] for item in org.describe_global()]
    with pytest.raises(RequestError) as caught:
        org.describe("Nope__c")
    assert caught.value.code == "NOT_FOUND"


def test_simple_salesforce_works_on_our_connections(org: Org) -> None:
    account: Any = org.simple.Account
    made = account.create({"Name": "By simple-salesforce"})
    assert account.get(made["id"])["Name"] == "By simple-salesforce"
    account.delete(made["id"])


def test_rest_query_pages(org: Org) -> None:
    frame = org.query("SELECT Id, Name, Active__c, Parent.Name, CreatedDate FROM Account ORDER BY Name")
    assert frame.height == org.count("Account") >= ROWS
    assert frame["Id"].n_unique() == frame.height
    assert frame["CreatedDate"][0].endswith("+0000")
    assert frame["Parent.Name"].null_count() == frame.height
    with pytest.raises(RequestError) as caught:
        org.query("SELECT Nope FROM Account")
    assert caught.value.code == "INVALID_FIELD"


@pytest.mark.parametrize("paged", ["resultPages", "locators"])
def test_bulk_query(org: Org, tmp_path: Path, paged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if paged == "locators":
        monkeypatch.setattr("isync_dagster.salesforce.bulk_query._FIRST_WITH_PAGES", 999.0)
    query = BulkQuery(org, max_records=300)
    job = query.wait(query.create("SELECT Id, Name, Description FROM Account").id)
    pages = list(query.download_all(job.id, tmp_path))
    assert len(pages) > 5
    frame = pl.concat(pl.read_csv(page.path, infer_schema=False) for page in pages)
    assert frame.height == job.processed == frame["Id"].n_unique()
    described = frame.filter(pl.col("Name") == "Account 7")["Description"][0]
    assert described.replace("\r\n", "\n") == 'line one\nline "two", 7\nend'
    query.delete(job.id)


def test_a_bulk_query_that_the_org_refuses(org: Org) -> None:
    with pytest.raises(RequestError):
        BulkQuery(org).create("SELECT Nope FROM Account")


def test_a_download_survives_the_end_of_the_session_and_cut_connections(
    served: Served, org: Org, tmp_path: Path
) -> None:
    query = BulkQuery(org)
    job = query.wait(query.create("SELECT Id, Name, Description FROM Account").id)
    fault(served, "expire_session", "GET .*/results", after=2)
    fault(served, "truncate", "GET .*/results", after=1, bytes=500)
    fault(served, "drop_before", "GET .*/results", after=3)
    fault(served, "status", "GET .*/results", times=2, status=503)
    pages = list(query.download_all(job.id, tmp_path, parallel=3))
    assert sum(page.rows for page in pages) == job.processed
    frame = pl.concat(pl.read_csv(page.path, infer_schema=False) for page in pages)
    assert frame["Id"].n_unique() == job.processed


# writing


def ingest_csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv(line_terminator="\n").encode()


def test_insert_update_and_results(org: Org, tmp_path: Path) -> None:
    ingest = BulkIngest(org)
    job = ingest.create("Account", "insert")
    assert job.state == "Open"
    file = tmp_path / "rows.csv"
    file.write_bytes(ingest_csv(pl.DataFrame({"Name": ["New 1", None, "New 3"], "Key__c": ["n1", "n2", "n3"]})))
    ingest.upload(job.id, file)
    ingest.close(job.id)
    ingest.close(job.id)
    job = ingest.wait(job.id)
    assert (job.state, job.processed, job.failed) == ("JobComplete", 3, 1)
    assert ingest.results(job.id, "successful", tmp_path / "good.csv", expected=2) == 2
    assert ingest.results(job.id, "failed", tmp_path / "bad.csv", expected=1) == 1
    assert ingest.results(job.id, "unprocessed", tmp_path / "none.csv", expected=0) == 0
    good = pl.read_csv(tmp_path / "good.csv", infer_schema=False)
    assert sorted(good["Key__c"]) == ["n1", "n3"]
    assert pl.read_csv(tmp_path / "bad.csv", infer_schema=False)["sf__Error"][0].startswith("REQUIRED_FIELD_MISSING:")
    assert job.id in [item.id for item in ingest.list()]
    with pytest.raises(RequestError):
        ingest.upload(job.id, b"Name\nAgain\n")

    update = ingest.create("Account", "update")
    ingest.upload(update.id, ingest_csv(good.select(Id="sf__Id", Name=pl.lit("Renamed"))))
    ingest.close(update.id)
    assert ingest.wait(update.id).failed == 0
    assert org.count("Account", "Name = 'Renamed'") == 2


def test_a_job_whose_file_the_org_cannot_read(org: Org) -> None:
    ingest = BulkIngest(org)
    job = ingest.create("Account", "insert")
    ingest.upload(job.id, b"Nope__c\nx\n")
    ingest.close(job.id)
    ended = ingest.wait(job.id)
    assert ended.state == "Failed"
    assert "Nope__c" in str(ended.error_message)
    assert not isinstance(ended, JobError)


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_lost_answers_of_create_and_upload(served: Served, org: Org, kind: str) -> None:
    ingest = BulkIngest(org)
    org.identity()
    fault(served, kind, "POST .*/jobs/ingest")
    with pytest.raises(UnknownOutcome):
        ingest.create("Account", "insert")
    job = ingest.create("Account", "insert")
    fault(served, kind, "PUT .*/batches")
    with pytest.raises(UnknownOutcome):
        ingest.upload(job.id, b"Name\nLost\n")
    assert ingest.get(job.id).state == "Open"
    assert ingest.abort(job.id).state == "Aborted"
    assert org.count("Account", "Name = 'Lost'") == 0


def test_a_lost_answer_of_close_is_found_out(served: Served, org: Org) -> None:
    ingest = BulkIngest(org)
    job = ingest.create("Account", "insert")
    ingest.upload(job.id, b"Name\nClosed once\n")
    fault(served, "drop_after", "PATCH .*/jobs/ingest")
    assert ingest.close(job.id).state in ("UploadComplete", "InProgress", "JobComplete")
    assert ingest.wait(job.id).processed == 1
    assert org.count("Account", "Name = 'Closed once'") == 1


def test_collections(org: Org) -> None:
    collections = Collections(org)
    frame = pl.DataFrame(
        {
            "Name": ['Direct "1"\nÄ', "#N/A", None],
            "AnnualRevenue": ["12345678901234.25", None, None],
            "NumberOfEmployees": ["12", None, None],
            "Active__c": ["true", "false", "false"],
            "Day__c": ["2024-01-31", None, None],
            "Key__c": ["d1", "d2", "d3"],
            "_clear": [[], [], []],
        },
        schema_overrides={"_clear": pl.List(pl.String)},
    )
    result = collections.insert("Account", frame, ACCOUNT.fields)
    assert result["created"].to_list() == [True, True, None]
    assert result["code"].to_list() == [None, None, "REQUIRED_FIELD_MISSING"]
    found = org.query(
        "SELECT Name, AnnualRevenue, NumberOfEmployees, Active__c, Day__c FROM Account "
        "WHERE Key__c IN ('d1', 'd2') ORDER BY Key__c"
    )
    assert found["Name"].to_list() == ['Direct "1"\nÄ', "#N/A"]
    assert float(found["AnnualRevenue"][0]) == 12345678901234.25
    assert found.row(0)[2:] == ("12", "true", "2024-01-31")

    upserted = collections.upsert(
        "Account", pl.DataFrame({"Key__c": ["d1", "d9"], "Name": ["Again", "Other"]}), ACCOUNT.fields, "Key__c"
    )
    assert upserted["created"].to_list() == [False, True]
    ids = upserted.select(Id="target_id")
    cleared = collections.update("Account", ids.with_columns(AnnualRevenue=pl.lit("#N/A")), ACCOUNT.fields)
    assert cleared["code"].null_count() == 2
    assert org.count("Account", "Key__c = 'd1' AND AnnualRevenue = null") == 1
    assert collections.delete("Account", ids)["code"].null_count() == 2
    assert org.count("Account", "Key__c IN ('d1', 'd9')") == 0


def test_a_lost_answer_of_a_collections_insert(served: Served, org: Org) -> None:
    org.identity()
    fault(served, "drop_after", "POST .*/composite/sobjects")
    with pytest.raises(UnknownOutcome):
        Collections(org).insert("Account", pl.DataFrame({"Name": ["Once only"]}), ACCOUNT.fields)
    assert org.count("Account", "Name = 'Once only'") == 1
