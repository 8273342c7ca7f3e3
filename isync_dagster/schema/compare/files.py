"""A package as files: in SFDX source format for people and version control, as an archive for the Metadata API."""

from __future__ import annotations

import io
import json
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from isync_dagster.schema.compare.package import Package, Part
from isync_dagster.schema.compare.written import Value, document

SOURCE = "force-app/main/default"
_FOLDERS: Mapping[str, tuple[str, str]] = {
    "PermissionSet": ("permissionsets", "permissionset"),
    "StandardValueSet": ("standardValueSets", "standardValueSet"),
}
_INSIDE: Mapping[str, tuple[str, str, str]] = {
    "CustomField": ("fields", "field", "fields"),
    "RecordType": ("recordTypes", "recordType", "recordTypes"),
}
"""Metadata type -> its folder and suffix in source format, its element in the one-file form."""


def source_files(package: Package, api_version: str) -> dict[str, str]:
    """Path -> text of an SFDX project that deploys with `sf project deploy start`."""
    project = {
        "packageDirectories": [{"path": "force-app", "default": True}],
        "sourceApiVersion": api_version,
    }
    files = {
        "sfdx-project.json": json.dumps(project, indent=2) + "\n",
        "manifest/package.xml": manifest(package, api_version),
    }
    for part in package.parts:
        files[f"{SOURCE}/{_source_path(part)}"] = document(part.kind, part.elements)
    return files


def write_source(package: Package, folder: Path, api_version: str) -> list[Path]:
    """Write the project into a folder; gives the files. Files of an earlier package that have other names stay."""
    written = []
    for name, text in source_files(package, api_version).items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        written.append(file)
    return written


def archive(package: Package, api_version: str) -> bytes:
    """The package as a zip file in the form that the Metadata API deploys."""
    objects: dict[str, list[tuple[str, Value]]] = defaultdict(list)
    files = {"package.xml": manifest(package, api_version)}
    for part in package.parts:
        if part.kind in _INSIDE:
            objects[part.object].append((_INSIDE[part.kind][2], part.elements))
        elif part.kind == "CustomObject":
            objects[part.name] = [*part.elements, *objects[part.name]]
        else:
            folder, suffix = _FOLDERS[part.kind]
            files[f"{folder}/{part.name}.{suffix}"] = document(part.kind, part.elements)
    for name, elements in objects.items():
        files[f"objects/{name}.object"] = document("CustomObject", elements)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in sorted(files.items()):
            made.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


def manifest(package: Package, api_version: str) -> str:
    """The package.xml that lists every component."""
    members: dict[str, list[str]] = defaultdict(list)
    for part in package.parts:
        members[part.kind].append(part.full_name)
    types: list[tuple[str, Value]] = [
        ("types", [*(("members", name) for name in sorted(names)), ("name", kind)])
        for kind, names in sorted(members.items())
    ]
    return document("Package", [*types, ("version", api_version)])


def _source_path(part: Part) -> str:
    if part.kind in _INSIDE:
        folder, suffix, _ = _INSIDE[part.kind]
        return f"objects/{part.object}/{folder}/{part.name}.{suffix}-meta.xml"
    if part.kind == "CustomObject":
        return f"objects/{part.name}/{part.name}.object-meta.xml"
    folder, suffix = _FOLDERS[part.kind]
    return f"{folder}/{part.name}.{suffix}-meta.xml"
