"""Two local orgs, a template and the verbs: a whole migration in one process, as a test runs it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import DataSet, apply
from isync_dagster.migration.checks import (
    check_conservation,
    check_rejected_rows,
    verify_target,
)
from isync_dagster.migration.extract import extract
from isync_dagster.migration.finish import finish
from isync_dagster.migration.load import load
from isync_dagster.migration.model import Summary, SyncJob
from isync_dagster.migration.preflight import preflight
from isync_dagster.migration.relink import relink
from isync_dagster.migration.remap import remap
from isync_dagster.plan.build import build_plan
from isync_dagster.plan.model import Plan
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import load_orgs
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster.store.store import Store
from isync_dagster.template import Template, parse_template

ALIASES = ("source", "target")
REFERENCES = ("User", "Group", "RecordType", "Profile", "UserRole", "Pricebook2")
ORGS = """
orgs:
  source: {{auth: username_password, login_url: "{source[url]}", username: "{source[username]}",
            password: "${{SOURCE_PASSWORD}}", security_token: "${{SOURCE_TOKEN}}"}}
  target: {{auth: username_password, login_url: "{target[url]}", username: "{target[username]}",
            password: "${{TARGET_PASSWORD}}", security_token: "${{TARGET_TOKEN}}"}}
"""


@dataclass(frozen=True)
class Bench:
    """Both orgs, as folders that are open here and as clients that only know their URL."""

    source: LocalOrg
    target: LocalOrg
    source_client: Org
    target_client: Org
    store: Store

    def plan(self, template: Template) -> Plan:
        """The plan of a template from live describes of both orgs."""
        renamed = {name: settings.target_object or name for name, settings in template.objects.items()}
        names = [line.object for line in template.lines]
        return build_plan(
            template,
            _snapshot(self.source_client, names),
            _snapshot(self.target_client, [renamed.get(name, name) for name in names]),
        )

    def run(self, plan: Plan, pause: float = 0) -> list[Summary]:
        """Every phase from extract to finish, in order; `pause` as for `run_phase`."""
        return [self.run_phase(plan, phase.name, pause) for phase in plan.phases]

    def run_phase(self, plan: Plan, phase: str, pause: float = 0) -> Summary:
        """One phase: all extracts, the gate, then object by object, the second pass, every check; before the end of the run a
        `pause` of so many seconds, as there is one wherever there are many rows."""
        job = SyncJob(plan, phase, self.source_client, self.target_client, self.store, opened_by="test")
        objects = plan.objects_in(phase)
        for item in objects:
            extract(job, item.object)
        preflight(job)
        for item in objects:
            remap(job, item.object)
            load(job, item.object)
        for item in objects:
            if item.has_relink:
                relink(job, item.object)
        for item in objects:
            check_conservation(job, item.object)
            check_rejected_rows(job, item.object)
            verify_target(job, item.object)
        time.sleep(pause)
        return finish(job)

    def id_map(self, plan: Plan) -> pl.DataFrame:
        """`object`, `source_id`, `target_id` of everything that was migrated."""
        known = self.store.idmap(plan.source_org_id, plan.target_org_id)
        frames = [
            known.read(item.object).select(pl.lit(item.object).alias("object"), "source_id", "target_id")
            for item in plan.objects
        ]
        return pl.concat(frames).collect()


@contextmanager
def bench(
    folder: Path,
    source_objects: Iterable[SObject],
    target_objects: Iterable[SObject],
    data: DataSet,
    before: DataSet | None = None,
) -> Iterator[Bench]:
    """Make and serve a source org that holds `data` and a target org that holds `before`."""
    with (
        LocalOrg.create(folder / "source", source_objects, name="source", seed=11) as source,
        LocalOrg.create(folder / "target", target_objects, name="target", seed=22, is_sandbox=True) as target,
    ):
        apply(source, data)
        if before is not None:
            apply(target, before)
        with serving(folder, source, target) as made:
            yield made


@contextmanager
def serving(folder: Path, source: LocalOrg, target: LocalOrg) -> Iterator[Bench]:
    """Serve two orgs on loopback and connect a client to each."""
    with source.serve() as one, target.serve() as two:
        first, second = one.credentials(), two.credentials()
        file = folder / "orgs.yaml"
        file.write_text(ORGS.format(source=first, target=second))
        env = {
            "SOURCE_PASSWORD": first["password"],
            "SOURCE_TOKEN": first["security_token"],
            "TARGET_PASSWORD": second["password"],
            "TARGET_TOKEN": second["security_token"],
        }
        configs = load_orgs(file, env)
        source_client, target_client = (Org.connect(configs[alias], alias) for alias in ALIASES)
        yield Bench(source, target, source_client, target_client, Store.open(str(folder / "store")))


def template_of(
    objects: Iterable[str], settings: str = "", where: Mapping[str, str] | None = None, name: str = "real"
) -> Template:
    """A plain template over these objects; `settings` is YAML for its `objects:`."""
    conditions = where or {}
    lines = "\n".join(
        f'  - {{object: {item}, where: "{conditions[item]}"}}' if item in conditions else f"  - {{object: {item}}}"
        for item in objects
    )
    text = (
        f"name: {name}\nsource: source\ntarget: target\n"
        f"references:\n  User: {{default: admin@target.example}}\nlines:\n{lines}\n{settings}"
    )
    return parse_template(text)


def _snapshot(org: Org, names: Iterable[str]) -> Snapshot:
    listed = {str(item["name"]) for item in org.describe_global()}
    wanted = [*names, *(name for name in REFERENCES if name in listed)]
    return Snapshot(org.identity(), datetime.now(UTC), {name: org.describe(name) for name in dict.fromkeys(wanted)})
