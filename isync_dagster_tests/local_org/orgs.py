"""What the tests of the local org's server share: an org to test against, and a client for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import requests

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.local_org.server import Served
from isync_dagster.schema.model import Field, PicklistValue, RecordTypeInfo, SObject

STANDARD = (
    "Account", "Contact", "Lead", "Campaign", "CampaignMember", "CampaignMemberStatus", "Opportunity",
    "OpportunityContactRole", "OpportunityLineItem", "Product2", "Pricebook2", "PricebookEntry", "Case", "Task",
    "Event", "Contract", "Order", "OrderItem", "Attachment", "AccountContactRelation",
    "LeadStatus", "OpportunityStage",
)  # fmt: skip

PROJECT = SObject(
    "Project__c",
    label="Project",
    label_plural="Projects",
    custom=True,
    fields=(
        Field("Name", "string", label="Project Name", length=80, nillable=False, name_field=True),
        Field("Key__c", "string", label="Key", length=20, external_id=True, id_lookup=True, unique=True),
        Field("Code__c", "string", label="Code", length=20, unique=True, case_sensitive=True),
        Field("Budget__c", "currency", label="Budget", precision=8, scale=2),
        Field("Share__c", "percent", label="Share", precision=5, scale=1),
        Field("Count__c", "double", label="Count", precision=6, scale=0),
        Field("Start__c", "date", label="Start"),
        Field("Moment__c", "datetime", label="Moment"),
        Field("At__c", "time", label="At"),
        Field("Mail__c", "email", label="Mail", length=80),
        Field("Open__c", "boolean", label="Open", default_value=True),
        Field("Kind__c", "picklist", label="Kind", length=255, restricted_picklist=True, picklist_values=(
            PicklistValue("A", default_value=True), PicklistValue("B"), PicklistValue("Old", active=False))),
        Field("Tags__c", "multipicklist", label="Tags", length=4099, restricted_picklist=True, picklist_values=(
            PicklistValue("x"), PicklistValue("y"), PicklistValue("z"))),
        Field("Account__c", "reference", label="Account", reference_to=("Account",), relationship_name="Account__r"),
        Field("Parent__c", "reference", label="Parent", reference_to=("Project__c",), relationship_name="Parent__r"),
        Field("RecordTypeId", "reference", label="Record Type ID", reference_to=("RecordType",),
              relationship_name="RecordType"),
        Field("OwnerId", "reference", label="Owner ID", nillable=False, defaulted_on_create=True,
              reference_to=("Group", "User"), relationship_name="Owner", polymorphic_foreign_key=True),
        Field("Total__c", "double", label="Total", precision=18, scale=2, calculated=True, createable=False,
              updateable=False),
    ),
    record_type_infos=(
        RecordTypeInfo("012000000000001", "Small", name="Small", default_record_type_mapping=True),
        RecordTypeInfo("012000000000002", "Closed", name="Closed", available=False),
    ),
)  # fmt: skip

STEP = SObject(
    "Step__c",
    label="Step",
    label_plural="Steps",
    custom=True,
    fields=(
        Field("Name", "string", label="Step Name", length=80, name_field=True, auto_number=True, createable=False,
              updateable=False),
        Field("Project__c", "reference", label="Project", nillable=False, updateable=False, cascade_delete=True,
              relationship_order=0, reference_to=("Project__c",), relationship_name="Project__r"),
        Field("Note__c", "textarea", label="Note", length=32768),
    ),
)  # fmt: skip


def make_org(folder: Path, *, seed: int = 5, **switches: Any) -> LocalOrg:
    """A small org: the usual standard objects, a custom parent and its master-detail child."""
    users: list[dict[str, Any]] = [
        {"Username": "bea@example.com", "LastName": "Bee", "FirstName": "Bea", "Email": "bea@example.com"},
        {"Username": "idle@example.com", "LastName": "Idle", "IsActive": False, "Email": "idle@example.com"},
    ]
    objects = [_with_record_type(item) if item.name == "Account" else item for item in standard(STANDARD)]
    return LocalOrg.create(folder, [*objects, PROJECT, STEP], name="Test Org", seed=seed, users=users, **switches)


def _with_record_type(item: SObject) -> SObject:
    return replace(item, record_type_infos=(*item.record_type_infos, RecordTypeInfo("0120000000000AB", "Household")))


class Client:
    """Plain HTTP against a served org, logged in."""

    def __init__(self, served: Served, version: str = "62.0") -> None:
        self.served = served
        self.base = f"{served.url}/services/data/v{version}"
        self.http = requests.Session()
        self.http.trust_env = False
        self.log_in()

    def log_in(self) -> str:
        """Log in by the password flow; gives the token."""
        answer = self.http.post(
            f"{self.served.url}/services/oauth2/token",
            data={
                "grant_type": "password",
                "client_id": self.served.consumer_key,
                "client_secret": self.served.consumer_secret,
                "username": self.served.username,
                "password": self.served.password + self.served.security_token,
            },
        )
        assert answer.status_code == 200, answer.text
        token = str(answer.json()["access_token"])
        self.http.headers["Authorization"] = f"Bearer {token}"
        return token

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A call under `/services/data/vNN.0`, or of a path that starts with `/services` or `/__`."""
        whole = path.startswith(("/services", "/__", "/id"))
        return self.http.request(method, (self.served.url if whole else self.base) + path, **options)

    def create(self, name: str, **values: Any) -> str:
        """Create a record; gives its id."""
        answer = self.call("POST", f"/sobjects/{name}", json=values)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def refusal(self, name: str, **values: Any) -> tuple[str, str, list[str]]:
        """Try to create a record that is refused: code, message, fields."""
        answer = self.call("POST", f"/sobjects/{name}", json=values)
        assert answer.status_code == 400, (answer.status_code, answer.text)
        problem = answer.json()[0]
        return problem["errorCode"], problem["message"], problem.get("fields", [])

    def query(self, soql: str) -> list[dict[str, Any]]:
        """The records of a query."""
        answer = self.call("GET", "/query", params={"q": soql})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["records"])

    def ingest(self, name: str, operation: str, csv: str, **options: Any) -> dict[str, Any]:
        """Run a Bulk 2.0 ingest job to its end; gives its last info."""
        job = self.call("POST", "/jobs/ingest", json={"object": name, "operation": operation, **options})
        assert job.status_code == 200, job.text
        job_id = job.json()["id"]
        put = self.call(
            "PUT", f"/jobs/ingest/{job_id}/batches", data=csv.encode(), headers={"Content-Type": "text/csv"}
        )
        assert put.status_code == 201, put.text
        done = self.call("PATCH", f"/jobs/ingest/{job_id}", json={"state": "UploadComplete"})
        assert done.status_code == 200, done.text
        return self.wait("ingest", job_id)

    def wait(self, kind: str, job_id: str) -> dict[str, Any]:
        """Poll a job until it ends."""
        for _ in range(1500):
            info: dict[str, Any] = self.call("GET", f"/jobs/{kind}/{job_id}").json()
            if info["state"] in ("JobComplete", "Failed", "Aborted"):
                return info
            time.sleep(0.02)
        raise AssertionError(f"job {job_id} did not end")

    def results(self, job_id: str, kind: str = "successfulResults") -> pl.DataFrame:
        """A result file of an ingest job."""
        answer = self.call("GET", f"/jobs/ingest/{job_id}/{kind}")
        assert answer.status_code == 200, answer.text
        return read_csv(answer.content)

    def bulk_query(self, soql: str, **options: Any) -> pl.DataFrame:
        """All rows of a Bulk 2.0 query."""
        job = self.call("POST", "/jobs/query", json={"operation": "query", "query": soql, **options})
        assert job.status_code == 200, job.text
        info = self.wait("query", job.json()["id"])
        assert info["state"] == "JobComplete", info
        return read_csv(self.call("GET", f"/jobs/query/{info['id']}/results").content)


def read_csv(content: bytes) -> pl.DataFrame:
    """CSV as String columns, empty cells as empty text."""
    return pl.read_csv(content, infer_schema=False).with_columns(pl.all().fill_null(""))


def errors_of(frame: pl.DataFrame) -> Sequence[str]:
    """The `sf__Error` column of a failed-results frame."""
    return frame["sf__Error"].to_list()
