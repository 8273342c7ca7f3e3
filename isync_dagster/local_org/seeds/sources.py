"""One door to all forms: a path becomes objects, a path becomes rows, whatever wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from isync_dagster.errors import ConfigError, DataError
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.cumulusci import read_cumulusci
from isync_dagster.local_org.seeds.dataset import DataSet
from isync_dagster.local_org.seeds.describe import read_describes
from isync_dagster.local_org.seeds.overlay import lay_over
from isync_dagster.local_org.seeds.sfdx import read_source
from isync_dagster.local_org.seeds.standard import standard, standard_objects
from isync_dagster.local_org.seeds.tables import read_sfdmu, read_tables
from isync_dagster.local_org.seeds.tree import read_plan, read_tree
from isync_dagster.schema.model import SObject

OVERLAYS = (".yml", ".yaml")
SOURCE_FILES = ("*.object-meta.xml", "*.field-meta.xml", "*.object")


@dataclass(frozen=True)
class Source:
    """What schema paths say: the objects, and what the org does by itself."""

    objects: list[SObject]
    automation: Automation


def schema_from(paths: Iterable[Path], *, namespace: str | None = None) -> list[SObject]:
    """The objects of `source_from`."""
    return source_from(paths, namespace=namespace).objects


def source_from(paths: Iterable[Path], *, namespace: str | None = None) -> Source:
    """The objects and automation of describe files, folders of them, source folders and overlays; later paths win.

    Fields of source metadata lie over what was read before, and so does an overlay (a YAML file); one that comes
    first lies over all standard objects. Standard objects that lookups point at, and those that every org has, come
    along. ConfigError for a path that holds none of these.
    """
    found: dict[str, SObject] = {}
    automation = Automation()
    known = standard_objects()
    removed: set[str] = set()
    for path in map(Path, paths):
        if not path.exists():
            raise ConfigError(f"{path} does not exist; give describe JSON, a folder of source metadata or an overlay")
        if path.suffix in OVERLAYS:
            # An overlay may speak of standard objects that nothing has brought along yet.
            base = {**known, **found}
            made, more = lay_over(path, base)
            removed = (removed | (base.keys() - made.keys())) - made.keys()
            found = {
                name: item for name, item in made.items() if not found or name in found or item is not base.get(name)
            }
            automation = automation.plus(more)
        elif path.is_dir() and any(next(path.rglob(pattern), None) for pattern in SOURCE_FILES):
            tree = read_source(path, base=found, namespace=namespace)
            found |= tree.objects
            automation = automation.plus(tree.automation)
        else:
            found |= read_describes(path)
    parents = {name for item in found.values() for field in item.references for name in field.reference_to}
    spoken_of = {item.sobject for rules in (automation.validation_rules, automation.triggers, automation.flows,
                                            automation.duplicate_rules) for item in rules}  # fmt: skip
    along = ((parents | spoken_of) & known.keys()) - removed
    objects = {item.name: item for item in (*standard(sorted(along)), *found.values())}
    return Source(list(objects.values()), automation)


def data_from(path: Path, schema: OrgSchema, *, mapping: Path | None = None) -> DataSet:
    """The rows of an SFDX plan or tree file, a CumulusCI dump, an SFDMU project, or a folder of CSV or Parquet.

    A dump's mapping is `mapping`, or the one file `*mapping.yml` beside it. DataError for anything else.
    """
    path = Path(path)
    if path.is_dir():
        return read_sfdmu(path, schema) if (path / "export.json").exists() else read_tables(path, schema)
    if path.suffix == ".sql":
        return read_cumulusci(path, mapping or _mapping_beside(path), {item.name: item for item in schema})
    if path.suffix == ".json":
        try:
            answer = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}", file=str(path)) from error
        return read_plan(path, schema) if isinstance(answer, list) else read_tree(path, schema)
    raise DataError(
        f"{path} is no data set: give a plan or tree (.json), a dump (.sql), or a folder of .csv or .parquet files",
        file=str(path),
    )


def _mapping_beside(path: Path) -> Path:
    found = sorted({*path.parent.glob("*mapping.yml"), *path.parent.glob("*mapping.yaml")})
    if len(found) != 1:
        raise DataError(
            f"{path} needs its mapping: {len(found)} files named *mapping.yml are beside it; say which one it is",
            file=str(path),
        )
    return found[0]
