"""A small project on disk, and verbs that keep real runs in its store without an org."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.assets import resources, verbs

# Commands that are imported while a project's `connect` is in place would keep it for the tests after it.
from isync_dagster.cli import comparing, inventory, orgs, resolving, scan  # noqa: F401
from isync_dagster.migration.model import ObjectSummary, Outcome, Progress, Summary, SyncJob, Verdict
from isync_dagster.report import summary_to_json, write_report
from isync_dagster.schema.model import Field, SObject
from isync_dagster.schema.snapshot import OrgIdentity, Snapshot, save_snapshot

TEMPLATE = """\
name: core
description: accounts, then their contacts
source: source
target: target
lines:
  - {object: Account, sequence: 10}
  - {object: Contact, sequence: 20}
objects:
  Account: {match_key: Name}
phases:
  - {name: accounts, lines: [Account]}
  - {name: contacts, lines: [Contact], after: [accounts]}
"""

ORGS = """\
orgs:
  source: {auth: access_token, instance_url: "http://127.0.0.1:1", access_token: "${TOKEN}"}
  target: {auth: access_token, instance_url: "http://127.0.0.1:1", access_token: "${TOKEN}"}
"""


def schema() -> list[SObject]:
    """Accounts with a hierarchy, contacts with an account."""
    ident = Field("Id", "id", nillable=False, createable=False, updateable=False)
    account = SObject(
        "Account",
        "Account",
        key_prefix="001",
        fields=(
            ident,
            Field("Name", length=255, nillable=False, name_field=True),
            Field("ParentId", "reference", reference_to=("Account",), relationship_name="Parent"),
        ),
    )
    contact = SObject(
        "Contact",
        "Contact",
        key_prefix="003",
        fields=(
            ident,
            Field("LastName", length=80, nillable=False),
            Field("AccountId", "reference", reference_to=("Account",), relationship_name="Account"),
        ),
    )
    return [account, contact]


@dataclass
class StoreVerbs:
    """Verbs that open, judge and close real runs in the store, and send nothing."""

    trouble: dict[tuple[str, str], Exception] = field(default_factory=dict)
    failing: set[tuple[str, str]] = field(default_factory=set)
    refused: int = 0
    options: list[str] = field(default_factory=list)

    def _check(self, verb: str, object: str) -> None:
        if (verb, object) in self.trouble:
            raise self.trouble[(verb, object)]

    def stage(self, name: str) -> Callable[[SyncJob, str], Outcome]:
        def run(job: SyncJob, object: str) -> Outcome:
            self._check(name, object)
            self.options.append(job.options.confirm_production)
            if name == "extract":
                job.store.runs(job.key).open_or_resume(
                    job.plan.to_json(), job.plan.hash, datetime.now(UTC), job.opened_by
                )
            if name == "load" and self.refused:
                self._refuse(job, object)
            job.progress(Progress(object, name, "5 rows", 5, 10))
            return Outcome(object, name, 1, rows=10)

        return run

    def _refuse(self, job: SyncJob, object: str) -> None:
        """Leave refused rows in the audit log."""
        import polars as pl

        run = job.store.runs(job.key).current()
        assert run is not None
        row = {
            "state": "failed",
            "code": "DUPLICATE_VALUE",
            "message": "twice",
            "stage": "load",
            "at": datetime.now(UTC),
        }
        rows = [{"source_id": f"00300000000000{number}AAA", **row} for number in range(self.refused)]
        run.audit(object).append("part", pl.DataFrame(rows))

    def preflight(self, job: SyncJob) -> Outcome:
        self._check("preflight", "")
        return Outcome("", "preflight", 1)

    def check(self, *names: str) -> Callable[[SyncJob, str], Any]:
        def run(job: SyncJob, object: str) -> Any:
            run = job.store.runs(job.key).latest()
            assert run is not None
            found = tuple(
                Verdict(name, object, job.phase, run.number, (name, object) not in self.failing, f"{name} of {object}.")
                for name in names
                if name != "relinked" or job.object(object).has_relink
            )
            for verdict in found:
                run.write_verdict(object, verdict.name, verdict.to_json())
            return found if len(found) > 1 else found[0]

        return run

    def finish(self, job: SyncJob) -> Summary:
        run = job.store.runs(job.key).current()
        assert run is not None
        verdicts = [Verdict.from_json(verdict) for verdict in run.verdicts()]
        errors = ({"code": "DUPLICATE_VALUE", "message": "twice", "rows": self.refused, "advice": "merge"},)
        objects = tuple(
            ObjectSummary(
                item.object,
                item.target_object,
                item.level,
                10,
                {"inserted": 10 - self.refused, "failed": self.refused},
                {"linked": 4},
                4,
                0,
                errors if self.refused else (),
                (),
                tuple(verdict for verdict in verdicts if verdict.object == item.object),
            )
            for item in job.plan.objects_in(job.phase)
        )
        plan = job.plan
        summary = Summary(
            plan.template,
            job.phase,
            run.number,
            "closed",
            plan.source_alias,
            plan.target_alias,
            plan.source_org_id,
            plan.target_org_id,
            run.t0.isoformat(),
            "",
            objects,
            (),
            {},
            report_path=str(run.report_folder / "report.html"),
        )
        write_report(summary, run.report_folder)
        run.close(summary_to_json(summary))
        return summary


def make_project(folder: Path, patch: pytest.MonkeyPatch, home: Path, template: str = TEMPLATE) -> StoreVerbs:
    """Write the project, make it the working folder, put the verbs in place; gives the verbs.

    `home` is an initialised Dagster home that the project gets a copy of: initialising takes longer than a test.
    """
    shutil.copytree(home, folder / ".isync" / "dagster")
    templates = folder / "templates"
    templates.mkdir()
    (templates / "core.yaml").write_text(template)
    (templates / "orgs.yaml").write_text(ORGS)
    for alias, number in (("source", 1), ("target", 2)):
        identity = OrgIdentity(alias, f"00D00000000000{number}AAA", alias, "62.0", "http://127.0.0.1:1")
        objects = {item.name: item for item in schema()}
        save_snapshot(templates / "orgs", Snapshot(identity, datetime(2026, 1, 1, tzinfo=UTC), objects))
    for name in ("ISYNC_TEMPLATES", "ISYNC_STORE", "ISYNC_ORGS", "ISYNC_EXECUTOR", "DAGSTER_HOME", "TOKEN"):
        patch.delenv(name, raising=False)
    patch.setenv("DAGSTER_HOME", str(folder / ".isync" / "dagster"))
    patch.chdir(folder)
    # The code location is imported anew for each project.
    patch.delitem(sys.modules, "isync_dagster.definitions", raising=False)
    patch.setattr(resources, "connect", lambda _, alias: alias)
    fake = StoreVerbs()
    for stage in ("extract", "remap", "load", "relink"):
        patch.setitem(verbs.VERBS, stage, fake.stage(stage))
    patch.setitem(verbs.VERBS, "preflight", fake.preflight)
    patch.setitem(verbs.VERBS, "finish", fake.finish)
    patch.setitem(verbs.VERBS, "check_references", fake.check("references"))
    patch.setitem(verbs.VERBS, "check_states", fake.check("conservation", "rejected_rows"))
    names = ("record_count", "relationships", "relinked", "fields", "totals")
    patch.setitem(verbs.VERBS, "check_target", fake.check(*names))
    return fake
