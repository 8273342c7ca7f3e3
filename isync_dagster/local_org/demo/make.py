"""Make the two demo orgs, and the describe snapshots that the demo's template is planned with."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from isync_dagster.local_org.demo.generate import source_data
from isync_dagster.local_org.demo.schema import SOURCE_SEED, TARGET_SEED, source_schema, target_schema
from isync_dagster.local_org.demo.target import target_data
from isync_dagster.local_org.describe import full
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import OrgIdentity, Snapshot, save_snapshot

SOURCE: Final = "demo_source"
TARGET: Final = "demo_target"
RENAMED: Final = {"Time_Entry__c": "Work_Log__c"}
# What the snapshots hold beside the migrated objects: what is referred to by natural key.
REFERENCES: Final = ("User", "Group", "RecordType", "Profile", "UserRole")
API_VERSION: Final = "64.0"


def make_demo(folder: Path, rows: int = 20_000, seed: int = 7) -> tuple[Path, Path]:
    """Make `<folder>/demo_source` and `<folder>/demo_target`, closed and ready to be served; gives both paths.

    The source holds about `rows` records, the target a few of them that match by key. Org ids, user names and
    passwords do not depend on rows or seed.
    """
    data = source_data(rows, seed)
    with _source_org(Path(folder)) as org:
        apply(org, data, keep_nulls=True)
    with _target_org(Path(folder)) as org:
        apply(org, target_data(data), keep_nulls=True)
    return Path(folder) / SOURCE, Path(folder) / TARGET


def save_demo_snapshots(folder: Path) -> None:
    """Write the describe snapshots of both demo orgs under `folder`, as `isync orgs snapshot` would."""
    migrated = [name for name in source_data(0).frames if name not in (*REFERENCES, "QueueSobject")]
    with TemporaryDirectory() as place:
        with _source_org(Path(place)) as org:
            save_snapshot(folder, _snapshot(org, SOURCE, migrated))
        with _target_org(Path(place)) as org:
            save_snapshot(folder, _snapshot(org, TARGET, [RENAMED.get(name, name) for name in migrated]))


def _snapshot(org: LocalOrg, alias: str, names: Iterable[str]) -> Snapshot:
    identity = OrgIdentity(
        alias=alias,
        org_id=org.org_id,
        name=org.settings.name,
        api_version=API_VERSION,
        is_sandbox=org.settings.is_sandbox,
        organization_type=org.settings.organization_type,
        is_production=not org.settings.is_sandbox,
    )
    described = {name: SObject.from_json(full(org.describe(name), "")) for name in (*names, *REFERENCES)}
    return Snapshot(identity, datetime(2025, 7, 1, tzinfo=UTC), described)


def _source_org(folder: Path) -> LocalOrg:
    return _org(folder, SOURCE, source_schema(), SOURCE_SEED)


def _target_org(folder: Path) -> LocalOrg:
    return _org(folder, TARGET, target_schema(), TARGET_SEED, is_sandbox=True)


def _org(folder: Path, name: str, schema: Iterable[SObject], seed: int, **switches: Any) -> LocalOrg:
    return LocalOrg.create(
        folder / name, schema, name=name, organization_type="Enterprise Edition", seed=seed, **switches
    )
