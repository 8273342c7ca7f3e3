"""Templates from YAML files: every error says file, line and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from isync_dagster.errors import TemplateError
from isync_dagster.schema.snapshot import did_you_mean
from isync_dagster.template.checks import check_template
from isync_dagster.template.models import Template
from isync_dagster.template.source import Loc, YamlSource

NO_TEMPLATES = frozenset({"orgs.yaml", "orgs.yml"})


def load_template(path: Path) -> Template:
    """The template in a file; raises `TemplateError` that lists everything wrong, a line each, as file:line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"{path}: the template cannot be read: {error}.", file=str(path), line=1) from error
    return parse_template(text, file=str(path), name=Path(path).stem)


def parse_template(text: str, *, file: str = "<template>", name: str | None = None) -> Template:
    """The template in a YAML text; `name`, where given, is the name it must have."""
    source = YamlSource(file, text)
    try:
        template = Template.model_validate(source.value)
    except ValidationError as error:
        raise _errors(source, _explained(source, error)) from error
    findings = [(finding.path, finding.message) for finding in check_template(template)]
    if name is not None and template.name != name:
        findings.insert(0, (("name",), f"the name is {template.name!r} and the file is {name}: they must be the same"))
    if findings:
        raise _errors(source, findings)
    return template


def load_templates(folder: Path) -> dict[str, Template]:
    """Every template of a folder by name: all its YAML files but orgs.yaml, in the order of their names.

    Raises one `TemplateError` that lists what is wrong in all of them.
    """
    templates: dict[str, Template] = {}
    errors: list[TemplateError] = []
    files = sorted(file for pattern in ("*.yaml", "*.yml") for file in Path(folder).glob(pattern))
    for file in files:
        if file.name in NO_TEMPLATES:
            continue
        try:
            template = load_template(file)
        except TemplateError as error:
            errors.append(error)
            continue
        if template.name in templates:
            message = f"{file}:1: there is a {template.name}.yaml and a {template.name}.yml: keep one of them."
            errors.append(TemplateError(message, file=str(file), line=1))
        templates[template.name] = template
    if errors:
        message = "\n".join(str(error) for error in errors)
        raise TemplateError(message, file=errors[0].file, line=errors[0].line)
    return templates


def _errors(source: YamlSource, findings: list[tuple[Loc, str]]) -> TemplateError:
    placed = [(source.line(path), path, message) for path, message in findings]
    placed.sort(key=lambda item: item[0])
    text = "\n".join(
        f"{source.file}:{line}: {_dotted(path)}{message}" + ("" if message[-1] in ".?" else ".")
        for line, path, message in placed
    )
    return TemplateError(text, file=source.file, line=placed[0][0])


def _dotted(path: Loc) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return f"{text}: " if text else ""


def _explained(source: YamlSource, error: ValidationError) -> list[tuple[Loc, str]]:
    seen: dict[tuple[Loc, str], None] = {}
    for item in error.errors():
        if item["type"] == "too_short" and item["input"]:
            continue  # pydantic counts only the valid ones; what is wrong with the others is said of them
        path = _place(source.value, item["loc"])
        seen[path, _message(item, path)] = None
    return list(seen)


def _place(value: Any, loc: Loc) -> Loc:
    """The part of a pydantic location that leads through the YAML: tags of unions and of key checks are not in it."""
    path: Loc = ()
    for step in loc:
        if step in _steps(value):
            value = value[step]
        else:
            # A missing key is named after its block; anything else that is not in the file is pydantic's own.
            if isinstance(value, dict) and isinstance(step, str) and step == loc[-1] and step.isidentifier():
                path = (*path, step)
            break
        path = (*path, step)
    return path


def _steps(value: Any) -> Iterable[str | int]:
    """The keys or positions that lead into a value."""
    if isinstance(value, dict):
        return value.keys()
    return range(len(value)) if isinstance(value, list) else ()


def _message(item: ErrorDetails, path: Loc) -> str:
    kind = item["type"]
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        guess = did_you_mean(str(path[-1]), known)
        return "there is no such key" + (guess if guess != "." else f"; known are {', '.join(known)}")
    if kind == "missing":
        return "this key is needed and missing"
    if kind == "too_short":
        return "at least one entry is needed"
    if kind in {"model_type", "dict_type"}:
        return f"a block of keys is expected here, not {item['input']!r}"
    if kind == "string_pattern_mismatch":
        return f"{item['input']!r} does not have the form {item.get('ctx', {}).get('pattern', '')}"
    if kind == "value_error":
        return str(item.get("ctx", {}).get("error", item["msg"]))
    return f"{item['msg']}, found {item['input']!r}"


def _known_keys(path: Loc) -> list[str]:
    """The keys that the block at a place may have."""
    model: Any = Template
    for step in path:
        model = next(_inner(model, step), None)
        if model is None:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _inner(kind: Any, step: str | int) -> Iterator[Any]:
    """The type of what stands at a key or position inside a value of type `kind`."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = kind.model_fields.get(str(step))
        if field is not None:
            yield field.annotation
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _inner(arguments[0], step)
    elif origin in {Union, UnionType}:
        for argument in arguments:
            yield from _inner(argument, step)
    elif origin is dict:
        yield arguments[1]
    elif origin in {tuple, list}:
        yield arguments[0]
