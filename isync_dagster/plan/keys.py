"""What identifies a record, and what it cannot be without: match keys and required fields."""

from __future__ import annotations

from dataclasses import replace

from isync_dagster.plan.conversion import refusal
from isync_dagster.plan.mapping import NO_VALUES, Draft
from isync_dagster.plan.model import FieldMapping, KeyPart
from isync_dagster.plan.problems import Problems, listed
from isync_dagster.plan.rules import AUDIT_FIELDS, SET_BY_SALESFORCE
from isync_dagster.schema.model import Field
from isync_dagster.schema.snapshot import did_you_mean


def add_match_key(draft: Draft, problems: Problems) -> None:
    """Resolve the match key; a part that nothing writes gets a mapping that is transformed and never sent."""
    item = draft.scoped
    written = {mapping.target.name: mapping.source for mapping in draft.fields}
    written |= {target.name: source for source, target in draft.lookups}
    parts = []
    for source_name, target_name in item.settings.key_pairs:
        source, target = item.source.field(source_name), item.target.field(target_name)
        where = f"{item.name}.{source_name}"
        if target is None:
            guess = did_you_mean(target_name, [field.name for field in item.target.fields])
            problems.add(where, f"match_key: the target has no field {target_name}{guess}")
        if source is None or target is None:
            continue
        what = _key_problem(source, target, written.get(target.name))
        if what is not None:
            problems.add(where, f"match_key: {what}")
            continue
        if target.name not in written:
            if target.createable:
                problems.warn(
                    where,
                    f"match_key: nothing fills {target.name}, so inserted records will not be found by it; map it "
                    f"(fields: {{{source.name}: {target.name}}})",
                )
            read_only = replace(target, createable=False, updateable=False)
            draft.fields.append(FieldMapping(source, read_only))
            draft.dropped[source.name] = f"read for the match key, not written ({draft.dropped.get(source.name, '')})"
        parts.append(KeyPart(source.name, target.name, target.case_sensitive, target.is_reference))
    draft.match_key = tuple(parts)


def _key_problem(source: Field, target: Field, writer: Field | None) -> str | None:
    if "id" in {source.type, target.type}:
        return "an id differs between orgs; use fields that hold the same value in both"
    for field, side in ((source, "source"), (target, "target")):
        if not field.filterable or field.type in NO_VALUES:
            return f"{field.name} cannot be filtered in the {side}"
    refused = refusal(source, target)
    if refused is not None:
        return refused
    if target.is_reference and (writer is None or not target.createable):
        return f"the lookup {target.name} is not written by inserts, so its remapped parent cannot be compared"
    if writer is not None and writer.name != source.name:
        return f"{target.name} is filled from {writer.name}, not from {source.name}; map {source.name} to it (fields)"
    return None


def check_required(draft: Draft, problems: Problems) -> None:
    """Refuse a plan that leaves a required target field without any source: every insert would fail."""
    item = draft.scoped
    if not item.settings.insert_new or not item.target.createable:
        return
    filled = {mapping.target.name for mapping in draft.fields if mapping.insertable}
    filled |= {target.name for _, target in draft.lookups} | {draft.migration_key or ""}
    empty = [
        f"{field.name} (binary content)" if field.type == "base64" else field.name
        for field in item.target.fields
        if field.required
        and not field.has_default
        and field.name not in filled
        and field.name not in SET_BY_SALESFORCE | AUDIT_FIELDS
        and field.type != "id"
        and not field.calculated
        and not field.auto_number
    ]
    if empty:
        problems.add(
            item.name,
            f"{item.target.name} requires {listed(empty)} in the target and nothing fills them: map source fields "
            "(fields), carry them (exclude_fields), or set insert_new: false",
        )
