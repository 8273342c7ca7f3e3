"""Describe snapshots from live orgs: what `isync orgs snapshot` and the snapshot assets do."""

# No `from __future__ import annotations`: Dagster reads the annotations of asset functions at run time.

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from isync_dagster.assets import keys
from isync_dagster.assets.markdown import table
from isync_dagster.assets.resources import Workbench
from isync_dagster.assets.work import RETRY, boundary
from isync_dagster.errors import SnapshotError

if TYPE_CHECKING:
    from isync_dagster.salesforce.org import Org
    from isync_dagster.schema.snapshot import Snapshot
    from isync_dagster.template.models import Template

REFERENCES = ("User", "Group", "RecordType", "Profile", "UserRole", "Pricebook2")
"""Objects that templates refer to by natural key without a word about them."""

DESCRIBES = 8
"""Describe calls at the same time."""


def objects_needed(templates: Iterable["Template"], alias: str) -> tuple[list[str], list[str]]:
    """(objects that must be in the org, objects taken where the org has them) for planning these templates."""
    needed: dict[str, None] = {}
    wished: dict[str, None] = dict.fromkeys(REFERENCES)
    for template in templates:
        if alias == template.source:
            needed |= dict.fromkeys(line.object for line in template.lines)
        if alias == template.target:
            names = (line.object for line in template.lines)
            settings = template.objects
            needed |= dict.fromkeys(
                (settings[name].target_object if name in settings else None) or name for name in names
            )
        wished |= dict.fromkeys(template.references)
    return list(needed), [name for name in wished if name not in needed]


def take_snapshot(org: "Org", folder: Path, needed: Sequence[str], wished: Sequence[str] = ()) -> "Snapshot":
    """Describe the objects and write the snapshot of the org under `folder`; objects kept there already stay.

    Raises `SnapshotError` with the nearest names where the org does not have (or show) what is needed.
    """
    from isync_dagster.schema.snapshot import Snapshot, did_you_mean, save_snapshot

    listed = {str(item["name"]).lower(): str(item["name"]) for item in org.describe_global()}
    unknown = [name for name in needed if name.lower() not in listed]
    if unknown:
        raise SnapshotError(
            "\n".join(
                f"The org {org.alias!r} shows its user no object {name!r}{did_you_mean(name, listed.values())}"
                for name in unknown
            )
        )
    names = [listed[name.lower()] for name in (*needed, *wished) if name.lower() in listed]
    with ThreadPoolExecutor(DESCRIBES, thread_name_prefix="describe") as pool:
        described = list(pool.map(org.describe, names))
    snapshot = Snapshot(org.identity(), datetime.now(UTC), {sobject.name: sobject for sobject in described})
    save_snapshot(folder, snapshot)
    return snapshot


def known_objects(folder: Path, alias: str) -> list[str]:
    """The objects that the snapshot of the alias holds now; none where there is no snapshot."""
    from isync_dagster.schema.snapshot import load_snapshot

    try:
        return sorted(load_snapshot(folder, alias).objects)
    except SnapshotError:
        return []


def snapshot_assets(aliases: Iterable[str]) -> list[dg.AssetsDefinition]:
    """One asset an org: materializing it refreshes the describes beside the templates."""
    return [_snapshot(alias) for alias in aliases]


def _snapshot(alias: str) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.snapshot_key(alias),
        group_name="orgs",
        description=(
            f"The describes of `{alias}` that templates are planned with, kept beside the templates. Materialize it "
            "after the org's schema has changed, review the difference, then reload the code location. Reads only."
        ),
        kinds={"salesforce", "json"},
        owners=[keys.OWNER],
        tags={keys.STAGE_TAG: keys.SNAPSHOT},
        pool=keys.pool(alias),
        retry_policy=RETRY,
    )
    def snapshot(
        context: dg.AssetExecutionContext, workbench: dg.ResourceParam[Workbench]
    ) -> dg.MaterializeResult[Any]:
        from isync_dagster.template import load_templates

        with boundary():
            folder = workbench.settings.snapshots
            needed, wished = objects_needed(load_templates(workbench.settings.templates).values(), alias)
            wished = [*wished, *(name for name in known_objects(folder, alias) if name not in {*needed, *wished})]
            taken = take_snapshot(workbench.org(alias), folder, needed, wished)
        rows = [
            {"object": name, "label": item.label, "fields": len(item.fields), "lookups": len(item.references)}
            for name, item in sorted(taken.objects.items())
        ]
        return dg.MaterializeResult(
            metadata={
                "org id": taken.identity.org_id,
                "org": taken.identity.name,
                "api version": taken.identity.api_version,
                "objects": len(rows),
                "dagster/uri": str(folder / alias),
                "described": dg.MetadataValue.md(table(rows)),
            }
        )

    return snapshot
