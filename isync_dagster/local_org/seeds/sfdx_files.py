"""The files of a source by their kind, in the source form (`*.flow-meta.xml`) and that of the Metadata API (`*.flow`)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.sfdx_fields import Xml


def parse_xml(file: Path) -> Xml:
    """A metadata file; ConfigError where it is no well-formed XML, or declares a document type."""
    text = file.read_text(encoding="utf-8")
    if "<!DOCTYPE" in text:
        raise ConfigError(f"{file} declares a document type, which source metadata never does")
    try:
        return Xml(ElementTree.fromstring(text), str(file))
    except ElementTree.ParseError as error:
        raise ConfigError(f"{file} is not well-formed XML: {error}") from error


def files_of(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    """The files of a metadata kind under a folder, with their full names: `*.flow-meta.xml` and `*.flow`."""
    for file in sorted({*folder.rglob(f"*.{kind}-meta.xml"), *folder.rglob(f"*.{kind}")}):
        yield file.name.removesuffix("-meta.xml").removesuffix(f".{kind}"), file


def standard_value_sets(folder: Path) -> Iterator[tuple[str, list[Xml]]]:
    """The standard value sets of a source, each with its values."""
    for name, file in files_of(folder, "standardValueSet"):
        yield name, parse_xml(file).all("standardValue")
