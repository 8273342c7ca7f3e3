"""Duplicate rules: rows that look like a stored one are refused, with the records that they look like."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from isync_dagster.local_org.automation.model import DuplicateRule
from isync_dagster.local_org.automation.saving import Saving
from isync_dagster.local_org.formula.kinds import quoted
from isync_dagster.local_org.request import current
from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.values import PART


def refuse_similar(saving: Saving, rows: Rows, rules: Sequence[DuplicateRule]) -> None:
    """Refuse rows equal to a stored row of the object in all compared fields.

    A rule that only alerts lets them pass where the call's duplicate rule header says `allowSave=true`. The error
    carries Salesforce's `duplicateResult` as a fourth part, which single-record calls show.
    """
    for rule in rules:
        action = rule.action_on_update if saving.update else rule.action_on_insert
        alert = rule.alert_on_update if saving.update else rule.alert_on_insert
        if not rows.good.height or (action == "Allow" and (not alert or current().allow_duplicates)):
            continue
        found = _similar(saving, rule, allow=action == "Allow")
        rows.refuse_rows(found)


def _similar(saving: Saving, rule: DuplicateRule, *, allow: bool) -> pl.DataFrame:
    """The rows (`_row`, `error`) that look like stored ones."""
    from isync_dagster.local_org.storage import registered, select

    name = saving.sobject.name
    table = '"' + name.replace('"', '""') + '"'
    fields = [field.name for item in rule.match if (field := saving.sobject.field(item)) is not None]
    if not set(fields) <= set(saving.frame.columns):
        return pl.DataFrame(schema={"_row": pl.UInt32, "error": pl.String})
    same = " AND ".join(f"{_key('t', item)} = {_key('n', item)}" for item in fields)
    changed = ""
    if saving.update:
        moved = " OR ".join(f'o."{item}" IS DISTINCT FROM n."{item}"' for item in fields)
        changed = f' AND EXISTS (SELECT 1 FROM {table} o WHERE o."Id" = n."Id" AND ({moved}))'
    base = current().base
    record = (
        f"{{'attributes': {{'type': {quoted(name)}, 'url': {quoted(f'{base}/sobjects/{name}/')} || t.\"Id\"}}, "
        "'Id': t.\"Id\"}"
    )
    match = (
        "{'additionalInformation': CAST([] AS VARCHAR[]), 'fieldDiffs': CAST([] AS VARCHAR[]), "
        f"'matchConfidence': 100.0, 'record': {record}}}"
    )
    result = (
        f"{{'entityType': {quoted(name)}, 'errors': CAST([] AS VARCHAR[]), 'matchEngine': 'ExactMatchEngine', "
        f"'matchRecords': list({match} ORDER BY t.\"Id\"), 'rule': {quoted(rule.matching_rule or rule.name)}, "
        "'size': count(*), 'success': TRUE}"
    )
    answer = (
        f"{{'allowSave': {str(allow).upper()}, 'duplicateRule': {quoted(rule.name)}, "
        f"'duplicateRuleEntityType': {quoted(name)}, 'errorMessage': {quoted(rule.message)}, "
        f"'matchResults': [{result}]}}"
    )
    head = f"DUPLICATES_DETECTED{PART}{rule.message}{PART}{PART}"
    with registered(saving.writer.cursor, _saving=saving.frame):
        return select(
            saving.writer.cursor,
            f"SELECT n._row, {quoted(head)} || CAST(to_json({answer}) AS VARCHAR) AS error FROM _saving n "
            f'JOIN {table} t ON {same} WHERE NOT t."IsDeleted" AND t."Id" <> n."Id"{changed} GROUP BY n._row',
        )


def _key(alias: str, field: str) -> str:
    return f"nullif(lower(trim(CAST({alias}.\"{field}\" AS VARCHAR))), '')"
