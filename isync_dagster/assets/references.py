"""Where an asset comes from, for the UI's links to code: its place in the template, and the verb that does its work."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import dagster as dg

from isync_dagster.assets import keys

VERBS: Mapping[str, str] = {**dict.fromkeys(keys.STAGES, ""), keys.PREFLIGHT: "", keys.REPORT: "finish"}
"""Stage -> the file of `migration/` that does it, where that has another name."""
_MIGRATION = Path(__file__).resolve().parent.parent / "migration"


def with_code_references(
    assets: Iterable[dg.AssetsDefinition], templates: Path, template: str
) -> list[dg.AssetsDefinition]:
    """The assets of a template with references to its file and to the code of their stage; paths of this machine."""
    file = next(
        (path for path in (templates / f"{template}.yaml", templates / f"{template}.yml") if path.is_file()), None
    )
    text = file.read_text(encoding="utf-8") if file is not None else ""

    def of(key: dg.AssetKey) -> list[dg.LocalFileCodeReference]:
        stage = key.path[-1]
        found = []
        if file is not None:
            line = _line(text, key.path[1]) if len(key.path) == 3 else 1
            found.append(dg.LocalFileCodeReference(file_path=str(file.resolve()), line_number=line, label="template"))
        if stage in VERBS:
            code = _MIGRATION / f"{VERBS[stage] or stage}.py"
            found.append(dg.LocalFileCodeReference(file_path=str(code), line_number=1, label="what the stage does"))
        return found

    def told(spec: dg.AssetSpec) -> dg.AssetSpec:
        references = of(spec.key)
        if not references:
            return spec
        value = dg.CodeReferencesMetadataValue(code_references=list(references))
        return spec.merge_attributes(metadata={"dagster/code_references": value})

    with warnings.catch_warnings():
        # Reviewed: both classes are beta in Dagster 1.13; the UI's links are all that hangs on them.
        warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*CodeReference.*")
        return [asset.map_asset_specs(told) for asset in assets]


def _line(text: str, object: str) -> int:
    """The line where a template says how an object is migrated, else where its line is, else the first.

    >>> _line("lines:\\n  - {object: A}\\n  - {object: B}\\nobjects:\\n  B:\\n    update_existing: false\\n", "B")
    5
    """
    name = re.escape(object)
    for pattern in (rf"^\s+[\"']?{name}[\"']?\s*:", rf"\bobject:\s*[\"']?{name}\b"):
        found = re.search(pattern, text, re.MULTILINE)
        if found is not None:
            return text.count("\n", 0, found.start()) + 1 + found.group().count("\n")
    return 1
