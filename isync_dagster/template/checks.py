"""What a template must hold by itself, before any org is asked: names that belong together, whole SOQL texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from isync_dagster.schema.snapshot import did_you_mean
from isync_dagster.template.models import Phase, Template

Path = tuple[str | int, ...]


class Finding(NamedTuple):
    """One thing that is wrong: `path` leads to the place in the YAML (keys and positions)."""

    path: Path
    message: str


def check_template(template: Template) -> tuple[Finding, ...]:
    """Everything that is wrong with a template by itself, in the order of the file."""
    return (
        *_orgs(template),
        *_lines(template),
        *_objects(template),
        *_references(template),
        *_phases(template),
    )


def soql_problem(text: str, *, order: bool = False) -> str | None:
    """What is wrong with the shape of a SOQL condition (or order): None where nothing is.

    Only the shape is looked at; the org judges names and types when the extract counts its rows.

    >>> soql_problem("Name = 'O")
    'a quote is not closed'
    """
    bare, problem = _without_literals(text)
    if not text.strip():
        return "is empty"
    if problem:
        return problem
    depth = 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return "a ) closes nothing"
    if depth:
        return "a ( is not closed"
    first = "order by" if order else "where"
    words = " ".join(_top_level(bare).lower().split())
    if words == first or words.startswith(f"{first} "):
        return f"leave out the words {first.upper()}: they are added"
    clauses = ("limit", "offset") if order else ("order by", "limit", "offset", "group by", "for update")
    for clause in clauses:
        if re.search(rf"\b{clause}\b", words):
            key = f": a line has the key {clause.replace(' ', '_')}" if clause in {"order by", "limit"} else ""
            return f"{clause.upper()} does not belong here{key}"
    return None


def _without_literals(text: str) -> tuple[str, str | None]:
    """The text with every string literal emptied, and what is wrong with its quotes."""
    bare = re.sub(r"'(?:[^'\\]|\\.)*'", "''", text, flags=re.DOTALL)
    return bare, "a quote is not closed" if bare.replace("''", "").count("'") else None


def _top_level(bare: str) -> str:
    """The text outside all parentheses."""
    previous = None
    while previous != bare:
        previous, bare = bare, re.sub(r"\([^()]*\)", " ", bare)
    return bare


def _soql(path: Path, text: str | None, *, order: bool = False) -> Iterator[Finding]:
    if text is not None and (problem := soql_problem(text, order=order)):
        yield Finding(path, f"{text!r}: {problem}")


def _orgs(template: Template) -> Iterator[Finding]:
    if template.source == template.target:
        yield Finding(("target",), f"source and target are both {template.source!r}: they must be two orgs")
    pins = template.pins
    if pins.source_org_id and pins.source_org_id == pins.target_org_id:
        yield Finding(("pins",), f"source and target are pinned to the same org {pins.source_org_id}")


def _lines(template: Template) -> Iterator[Finding]:
    count = Counter(line.object.lower() for line in template.lines)
    for index, line in enumerate(template.lines):
        path: Path = ("lines", index)
        if count[line.object.lower()] > 1 and line.limit is not None:
            yield Finding(
                (*path, "limit"),
                f"{line.object} has {count[line.object.lower()]} lines, and their conditions are joined by OR, which "
                "leaves no meaning to a limit: remove the limit, or write one line",
            )
        yield from _soql((*path, "where"), line.where)
        yield from _soql((*path, "order_by"), line.order_by, order=True)


def _objects(template: Template) -> Iterator[Finding]:
    known = [line.object for line in template.lines]
    huge = template.settings.huge_objects
    yield from _unknown(("settings", "huge_objects"), huge, known, "has no line: add one, or take it from the list")
    yield from _twice(("objects",), template.objects)
    yield from _unknown(("objects",), template.objects, known, "has no line: add one, or remove the settings")
    for name, settings in template.objects.items():
        path: Path = ("objects", name)
        excluded = {field.lower() for field in settings.exclude_fields}
        for key in ("fields", "picklists", "missing_parents"):
            block: Mapping[str, object] = getattr(settings, key)
            yield from _twice((*path, key), block)
            for field in block:
                if field.lower() in excluded:
                    yield Finding((*path, key, field), f"{field} is in exclude_fields too: it can only be one of them")
        for part in settings.match_key:
            source, equals, target = part.partition("=")
            if not source.strip() or (equals and not target.strip()) or "=" in target:
                yield Finding((*path, "match_key"), f'{part!r} is neither "Field" nor "SourceField=TargetField"')
            elif source.strip().lower() in excluded:
                yield Finding(
                    (*path, "match_key"), f"{source.strip()} is in exclude_fields: a match key must be carried"
                )


def _references(template: Template) -> Iterator[Finding]:
    yield from _twice(("references",), template.references)
    for name, reference in template.references.items():
        yield from _soql(("references", name, "where"), reference.where)
        for key in reference.by:
            if not all(part.strip() for part in key.split("+")):
                yield Finding(("references", name, "by"), f"{key!r}: a field is missing beside the +")


def _phases(template: Template) -> Iterator[Finding]:
    lines = [line.object for line in template.lines]
    earlier: list[str] = []
    for index, phase in enumerate(template.phases):
        path: Path = ("phases", index)
        if phase.name in earlier:
            yield Finding((*path, "name"), f"two phases have the name {phase.name!r}")
        yield from _unknown((*path, "lines"), phase.lines, lines, "has no line in this template")
        yield from _twice((*path, "lines"), phase.lines)
        yield from _after(path, phase, earlier, [other.name for other in template.phases])
        yield from _unknown((*path, "where"), phase.where, phase.lines, f"is not in the phase {phase.name!r}")
        for name, text in phase.where.items():
            yield from _soql((*path, "where", name), text)
        earlier.append(phase.name)


def _after(path: Path, phase: Phase, earlier: list[str], everyone: list[str]) -> Iterator[Finding]:
    for name in phase.after:
        if name in earlier:
            continue
        if name == phase.name:
            yield Finding((*path, "after"), f"the phase {name!r} cannot come after itself")
        elif name in everyone:
            yield Finding((*path, "after"), f"the phase {name!r} stands further down: move it above {phase.name!r}")
        else:
            yield Finding((*path, "after"), f"there is no phase {name!r}{did_you_mean(name, everyone)}")


def _unknown(path: Path, names: Iterable[str], known: Iterable[str], what: str) -> Iterator[Finding]:
    spelled = list(known)
    lower = {name.lower() for name in spelled}
    for name in names:
        if name.lower() not in lower:
            yield Finding((*path, name), f"{name} {what}{did_you_mean(name, spelled)}")


def _twice(path: Path, names: Iterable[str]) -> Iterator[Finding]:
    """Names that differ in case only, or not at all, mean the same in Salesforce."""
    seen: dict[str, str] = {}
    for name in names:
        if name.lower() in seen:
            yield Finding((*path, name), f"{name} is the same name as {seen[name.lower()]}: keep one of them")
        seen.setdefault(name.lower(), name)
