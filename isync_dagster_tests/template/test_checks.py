from __future__ import annotations

from typing import Any

import pytest

from isync_dagster.template.checks import check_template, soql_problem
from isync_dagster.template.models import Template


def findings(**blocks: Any) -> list[tuple[str, str]]:
    base = {"name": "demo", "source": "a", "target": "b", "lines": [{"object": "Account"}, {"object": "Contact"}]}
    found = check_template(Template.model_validate(base | blocks))
    return [(".".join(str(step) for step in finding.path), finding.message) for finding in found]


def test_a_sound_template_has_no_findings() -> None:
    assert findings() == []
    assert findings(lines=[{"object": "Account", "where": "A = 1"}, {"object": "account", "where": "B = 2"}]) == []


@pytest.mark.parametrize(
    ("blocks", "path", "message"),
    [
        ({"target": "a"}, "target", "they must be two orgs"),
        ({"pins": {"source_org_id": "00D000000000001", "target_org_id": "00D000000000001EAA"}}, "pins", "same org"),
        (
            {"lines": [{"object": "Account", "limit": 5}, {"object": "account"}]},
            "lines.0.limit",
            "conditions are joined by OR",
        ),
        ({"lines": [{"object": "Account", "where": ""}]}, "lines.0.where", "is empty"),
        ({"lines": [{"object": "Account", "order_by": "A LIMIT 5"}]}, "lines.0.order_by", "LIMIT does not belong here"),
        (
            {"settings": {"huge_objects": ["Contact", "Acount"]}},
            "settings.huge_objects.Acount",
            "did you mean 'Account'",
        ),
        ({"objects": {"Acount": {}}}, "objects.Acount", "did you mean 'Account'"),
        ({"objects": {"account": {}, "Account": {}}}, None, ""),
        (
            {"objects": {"Account": {"exclude_fields": ["Fax"], "fields": {"fax": "Fax2"}}}},
            "objects.Account.fields.fax",
            "in exclude_fields too",
        ),
        ({"objects": {"Account": {"fields": {"Fax": "A", "FAX": "B"}}}}, "objects.Account.fields.FAX", "the same name"),
        ({"objects": {"Account": {"match_key": "A="}}}, "objects.Account.match_key", "is neither"),
        ({"objects": {"Account": {"match_key": "A=B=C"}}}, "objects.Account.match_key", "is neither"),
        (
            {"objects": {"Account": {"match_key": "Fax", "exclude_fields": "Fax"}}},
            "objects.Account.match_key",
            "a match key must be carried",
        ),
        ({"references": {"User": {"by": "Type+"}}}, "references.User.by", "a field is missing beside the +"),
        ({"references": {"User": {"where": "("}}}, "references.User.where", "is not closed"),
        ({"phases": [{"name": "a", "lines": "Lead"}]}, "phases.0.lines.Lead", "has no line in this template"),
        ({"phases": [{"name": "a", "lines": "Account,account"}]}, "phases.0.lines.account", "the same name"),
        (
            {"phases": [{"name": "a", "lines": "Account"}, {"name": "a", "lines": "Contact"}]},
            "phases.1.name",
            "two phases",
        ),
        ({"phases": [{"name": "a", "lines": "Account", "after": "a"}]}, "phases.0.after", "cannot come after itself"),
        (
            {"phases": [{"name": "a", "lines": "Account", "after": "b"}, {"name": "b", "lines": "Contact"}]},
            "phases.0.after",
            "move it above 'a'",
        ),
        ({"phases": [{"name": "wave", "lines": "Account", "after": "wvae"}]}, "phases.0.after", "did you mean 'wave'"),
        (
            {"phases": [{"name": "a", "lines": "Account", "where": {"Contact": "A = 1"}}]},
            "phases.0.where.Contact",
            "is not in the phase 'a'",
        ),
        (
            {"phases": [{"name": "a", "lines": "Account", "where": {"account": "A = '"}}]},
            "phases.0.where.account",
            "quote",
        ),
    ],
)
def test_what_does_not_belong_together_is_found(blocks: dict[str, Any], path: str | None, message: str) -> None:
    found = findings(**blocks)
    if path is None:
        assert found == [("objects.Account", "Account is the same name as account: keep one of them")]
    else:
        assert [place for place, _ in found] == [path]
        assert message in found[0][1]


@pytest.mark.parametrize(
    "text",
    [
        "Name = 'O\\'Brien (not closed'",
        "Id IN (SELECT AccountId FROM Contact WHERE Email != null ORDER BY Name LIMIT 5)",
        "Limit__c > 5 AND Order_By__c = 'WHERE ORDER BY'",
        "Whereabouts__c = 'x'",
        "Name = ''",
        "((A = 1) OR (B = 2))",
    ],
)
def test_sound_conditions_pass(text: str) -> None:
    assert soql_problem(text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  ", "is empty"),
        ("Name = 'x", "quote"),
        ("Name = 'x''", "quote"),
        ("(A = 1", "( is not closed"),
        ("A = 1)", ") closes nothing"),
        ("where A = 1", "leave out the words WHERE"),
        ("A = 1\nORDER  BY Name", "ORDER BY does not belong here: a line has the key order_by"),
        ("A = 1 LIMIT 5", "LIMIT does not belong here: a line has the key limit"),
        ("A = 1 OFFSET 5", "OFFSET does not belong here"),
    ],
)
def test_broken_conditions_are_told(text: str, message: str) -> None:
    assert message in (soql_problem(text) or "")


def test_orders_are_checked_as_orders() -> None:
    assert soql_problem("Name DESC NULLS LAST, Id", order=True) is None
    assert "leave out the words ORDER BY" in (soql_problem("order by Name", order=True) or "")
