"""A small plan and verbs that only remember: the Dagster layer is tested without orgs and without a store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.assets import judging, verbs
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.settings import Settings
from isync_dagster.migration.model import Outcome, Progress, RunOptions, Summary, SyncJob, Verdict
from isync_dagster.plan.model import KeyPart, Lookup, ObjectPlan, PhasePlan, Plan, StagedField
from isync_dagster.schema.model import Field
from isync_dagster.template.models import Settings as TemplateSettings


def lookup(name: str, *parents: str, deferred: bool = False) -> Lookup:
    """A lookup to objects of the template."""
    field = Field(name=name, type="reference", reference_to=parents)
    return Lookup(field, field, parents=parents, deferred=deferred)


def small_plan(template: str = "core", *, continue_on_error: bool = False) -> Plan:
    """Accounts with a hierarchy, contacts that report to each other, orders with items: two phases."""
    objects = (
        ObjectPlan(
            "Account",
            "Account",
            10,
            0,
            0,
            where="Type = 'Customer'",
            lookups=(lookup("ParentId", "Account", deferred=True),),
            match_key=(KeyPart("Name", "Name"), KeyPart("BillingCity", "City__c")),
            deferred_parents=("Account",),
            has_relink=True,
            source_label="Account",
            fingerprint="a1",
        ),
        ObjectPlan(
            "Contact",
            "Contact",
            20,
            1,
            1,
            lookups=(lookup("AccountId", "Account"), lookup("ReportsToId", "Contact", deferred=True)),
            parents=("Account",),
            deferred_parents=("Contact",),
            has_relink=True,
            source_label="Contact",
            fingerprint="c1",
        ),
        ObjectPlan(
            "Order",
            "Order",
            30,
            1,
            2,
            lookups=(lookup("AccountId", "Account"),),
            parents=("Account",),
            staged=(StagedField("Status", "Draft", after=("OrderItem",)),),
            has_relink=True,
            fetched_by=("OrderItem",),
            source_label="Order",
            fingerprint="o1",
        ),
        ObjectPlan(
            "OrderItem",
            "OrderItem",
            40,
            2,
            3,
            limit=500,
            order_by="Id",
            lookups=(lookup("OrderId", "Order"),),
            parents=("Order",),
            source_label="Order Product",
            fingerprint="i1",
        ),
    )
    return Plan(
        template=template,
        source_alias="source",
        target_alias="target",
        source_org_id="00D000000000001AAA",
        target_org_id="00D000000000002AAA",
        source_api_version="62.0",
        target_api_version="62.0",
        objects=objects,
        phases=(
            PhasePlan("people", ("Account", "Contact")),
            PhasePlan("sales", ("Account", "Order", "OrderItem"), after=("people",)),
        ),
        settings=TemplateSettings(continue_on_error=continue_on_error),
        hash="p1",
    )


@dataclass
class FakeRun:
    """A run of the fake store: its number and the verdicts on its objects."""

    number: int
    kept: list[dict[str, Any]] = field(default_factory=list)

    def verdicts(self) -> list[dict[str, Any]]:
        return self.kept

    def read(self, object: str, name: str) -> dict[str, Any] | None:
        found = [item for item in self.kept if (item["object"], item["name"]) == (object, name)]
        return found[-1] if found else None


@dataclass
class FakeRuns:
    """The runs of one phase."""

    run: FakeRun | None = None

    def current(self) -> FakeRun | None:
        return self.run

    def latest(self) -> FakeRun | None:
        return self.run


@dataclass
class FakeVerbs:
    """Verbs that note their calls and answer with small outcomes; `trouble` makes some of them raise."""

    calls: list[tuple[str, str, str]] = field(default_factory=list)
    trouble: dict[tuple[str, str], list[Exception]] = field(default_factory=dict)
    verdicts: dict[tuple[str, str, str], Verdict] = field(default_factory=dict)
    phases: dict[str, FakeRuns] = field(default_factory=dict)
    options: list[RunOptions] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def runs(self, phase: str) -> FakeRuns:
        return self.phases.setdefault(phase, FakeRuns())

    def note(self, verb: str, job: SyncJob, object: str = "") -> None:
        with self.lock:
            self.calls.append((verb, job.phase, object))
            self.options.append(job.options)
            troubles = self.trouble.get((verb, object))
            trouble = troubles.pop(0) if troubles else None
        if trouble is not None:
            raise trouble

    def stage(self, name: str) -> Callable[[SyncJob, str], Outcome]:
        def run(job: SyncJob, object: str) -> Outcome:
            self.note(name, job, object)
            if name == "extract":
                runs = self.runs(job.phase)
                runs.run = runs.run or FakeRun(1)
            job.progress(Progress(object, name, "10 rows", 10, 10))
            states = {"inserted": 7, "updated": 2, "failed": 1} if name == "load" else {}
            errors = ({"code": "REQUIRED_FIELD_MISSING", "message": "a | b <b>", "rows": 1},) if name == "load" else ()
            return Outcome(
                object,
                name,
                1,
                rows=10,
                states=states,
                numbers={"share": 0.5},
                calls=3,
                seconds=2.0,
                bytes=1024,
                preview=({"Id": "001", "Name": "A | <b>"},),
                columns=(("Id", "String", "the record's id"),),
                lineage={"Id": (object, "Id")},
                errors=errors,
                notes=("read by REST",),
            )

        return run

    def preflight(self, job: SyncJob) -> Outcome:
        self.note("preflight", job)
        return Outcome("", "preflight", 1)

    def finish(self, job: SyncJob) -> Summary:
        self.note("finish", job)
        return Summary(
            job.plan.template,
            job.phase,
            1,
            "closed",
            "source",
            "target",
            job.plan.source_org_id,
            job.plan.target_org_id,
            "2026-01-01T00:00:00+00:00",
            "2026-01-01T00:01:00+00:00",
            (),
            (),
            {},
            report_path="/store/report.html",
        )

    def check(self, verb: str, *names: str) -> Callable[[SyncJob, str], Any]:
        def run(job: SyncJob, object: str) -> Any:
            self.note(verb, job, object)
            found = tuple(
                self.verdicts.get((name, job.phase, object))
                or Verdict(name, object, job.phase, 1, True, "As it should be.")
                for name in names
                if name != "relinked" or job.object(object).has_relink
            )
            current = self.runs(job.phase).run
            if current is not None:
                with self.lock:
                    current.kept += [verdict.to_json() for verdict in found]
            return found if len(found) > 1 else found[0]

        return run

    def fail(self, name: str, phase: str, object: str, text: str = "3 rows are gone.") -> None:
        """Make a check give a failed verdict."""
        self.verdicts[(name, phase, object)] = Verdict(
            name, object, phase, 1, False, text, numbers={"missing": 3}, table=({"source id": "003"},)
        )


class FakeStore:
    """A store that knows runs only."""

    def __init__(self, known: FakeVerbs) -> None:
        self._known = known

    def runs(self, key: Any) -> FakeRuns:
        return self._known.runs(key.phase)


class FakeWorkbench(Workbench):
    """A workbench without orgs."""

    def __init__(self, plan: Plan, known: FakeVerbs) -> None:
        super().__init__(Settings(Path("templates"), "store", Path("orgs.yaml")), {plan.template: plan})
        self._known = known

    def org(self, alias: str) -> Any:
        return alias

    @property
    def store(self) -> Any:
        return FakeStore(self._known)


@contextmanager
def fake_verbs() -> Iterator[FakeVerbs]:
    """Put verbs that only remember in the place of the real ones."""
    fake = FakeVerbs()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("extract", "remap", "load", "relink"):
            patch.setitem(verbs.VERBS, name, fake.stage(name))
        patch.setitem(verbs.VERBS, "preflight", fake.preflight)
        patch.setitem(verbs.VERBS, "finish", fake.finish)
        for verb, names in (
            ("check_references", ("references",)),
            ("check_states", ("conservation", "rejected_rows")),
            ("check_target", ("record_count", "relationships", "relinked", "fields", "totals")),
        ):
            patch.setitem(verbs.VERBS, verb, fake.check(verb, *names))
        patch.setattr(judging, "read_verdict", FakeRun.read)
        yield fake
