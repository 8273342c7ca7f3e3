"""A local org with its data, from the sources that a person names: whole, or not at all."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.local_org import LocalOrg

Say = Callable[[str], object]


@dataclass(frozen=True)
class Recipe:
    """What an org is made from; without `schema` it has the standard objects."""

    schema: Sequence[Path] = ()
    namespace: str | None = None
    data: Sequence[Path] = ()
    mapping: Path | None = None
    name: str | None = None
    seed: int | None = None
    sandbox: bool = False


def is_new(folder: Path) -> bool:
    """True where a folder is free to become an org."""
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def make(folder: Path, recipe: Recipe, say: Say) -> None:
    """A new org with its data; a folder that could not be filled is taken away again."""
    from isync_dagster.local_org.automation.model import Automation
    from isync_dagster.local_org.seeds.sources import Source, source_from
    from isync_dagster.local_org.seeds.standard import standard, standard_objects

    if not is_new(folder):
        raise ConfigError(f"{folder} is not empty; name a new folder, or `isync local-org fill` the org in it.")
    seed = zlib.crc32(str(folder.resolve()).encode()) if recipe.seed is None else recipe.seed
    source = (
        source_from(list(recipe.schema), namespace=recipe.namespace)
        if recipe.schema
        else Source(standard(standard_objects()), Automation())
    )
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"The folder {folder} cannot be made: {error.strerror}. Name another one.") from error
    try:
        with LocalOrg.create(
            folder,
            source.objects,
            name=recipe.name or folder.name,
            seed=seed,
            is_sandbox=recipe.sandbox,
            automation=source.automation,
        ) as org:
            say(f"made {folder}: org {org.org_id}, {len(source.objects)} objects")
            for item, problem in org.schema.problems.items():
                say(f"does not work: {item}: {problem}")
            fill(org, recipe.data, recipe.mapping, say)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def fill(org: LocalOrg, paths: Sequence[Path], mapping: Path | None, say: Say) -> None:
    """Load data sets one after the other."""
    from isync_dagster.local_org.seeds.dataset import apply
    from isync_dagster.local_org.seeds.sources import data_from

    for path in paths:
        made = apply(org, data_from(path, org.schema, mapping=mapping))
        rows = ", ".join(f"{name} {frame.height:,}" for name, frame in made.items())
        say(f"loaded {path}: {rows or 'no rows'}")
