"""Make the two demo orgs."""

from __future__ import annotations

from pathlib import Path

from isync_dagster.local_org.demo.generate import source_data
from isync_dagster.local_org.demo.schema import SOURCE_SEED, TARGET_SEED, source_schema, target_schema
from isync_dagster.local_org.demo.target import target_data
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import apply

SOURCE = "demo_source"
TARGET = "demo_target"


def make_demo(folder: Path, rows: int = 20_000, seed: int = 7) -> tuple[Path, Path]:
    """Make `<folder>/demo_source` and `<folder>/demo_target`, closed and ready to be served; gives both paths.

    The source holds about `rows` records, the target a few of them that match by key. Org ids, user names and
    passwords do not depend on rows or seed.
    """
    data = source_data(rows, seed)
    source, target = Path(folder) / SOURCE, Path(folder) / TARGET
    with LocalOrg.create(
        source, source_schema(), name=SOURCE, organization_type="Enterprise Edition", seed=SOURCE_SEED
    ) as org:
        apply(org, data, keep_nulls=True)
    with LocalOrg.create(
        target,
        target_schema(),
        name=TARGET,
        organization_type="Enterprise Edition",
        is_sandbox=True,
        seed=TARGET_SEED,
    ) as org:
        apply(org, target_data(data), keep_nulls=True)
    return source, target
