"""Changes of a template's text: only what is meant changes, whatever style the file is written in."""

from __future__ import annotations

import pytest
import yaml

from isync_dagster.errors import TemplateError
from isync_dagster.template.patch import Change, as_patch, difference, patched

TEXT = """\
# head
name: t
lines: [{object: Account}]
objects:
  Account:                # the companies
    exclude_fields:
      - Fax               # nobody has one

    picklists: {Tier__c: {Gold: A}}
  Contact: {exclude_fields: [Jigsaw], match_key: Email}
  Lead:
  Case:
    exclude_fields: AssetId, SourceId   # a text of names
# ------ references
references:
  User: {default: x}
"""


def add(*path: str, value: str) -> Change:
    return Change(("objects", *path), value, "why", add=True)


def put(*path: str, value: str) -> Change:
    return Change(("objects", *path), value, "why")


@pytest.mark.parametrize(
    ("change", "gone", "new"),
    [
        (add("account", "exclude_fields", value="Site"), [], ["      - Site"]),
        (
            add("Contact", "exclude_fields", value="Title"),
            ["  Contact: {exclude_fields: [Jigsaw], match_key: Email}"],
            ["  Contact: {exclude_fields: [Jigsaw, Title], match_key: Email}"],
        ),
        (
            put("Account", "picklists", "Tier__c", "Silver: old", value="B"),
            ["    picklists: {Tier__c: {Gold: A}}"],
            ['    picklists: {Tier__c: {Gold: A, "Silver: old": B}}'],
        ),
        (
            put("Account", "picklists", "Tier__c", "Gold", value=""),
            ["    picklists: {Tier__c: {Gold: A}}"],
            ['    picklists: {Tier__c: {Gold: ""}}'],
        ),
        (put("Account", "fields", "A__c", value="B__c"), [], ["    fields:", "      A__c: B__c"]),
        (add("Lead", "exclude_fields", value="Jigsaw"), [], ["    exclude_fields: [Jigsaw]"]),
        (
            add("Case", "exclude_fields", value="Origin"),
            ["    exclude_fields: AssetId, SourceId   # a text of names"],
            ["    exclude_fields: [AssetId, SourceId, Origin]   # a text of names"],
        ),
        (add("Task", "exclude_fields", value="No"), [], ["  Task:", '    exclude_fields: ["No"]']),
        (add("Account", "exclude_fields", value="Fax"), [], []),
    ],
)
def test_one_change_touches_only_its_lines(change: Change, gone: list[str], new: list[str]) -> None:
    after = patched(TEXT, [change])
    lines = difference(TEXT, after, "t.yaml").splitlines()[2:]
    assert [line[1:] for line in lines if line.startswith("-")] == gone
    assert [line[1:] for line in lines if line.startswith("+")] == new
    yaml.safe_load(after)


def test_a_new_object_stands_before_the_comments_of_what_follows() -> None:
    after = patched(TEXT, [add("Task", "exclude_fields", value="A"), add("Task", "exclude_fields", value="B")])
    assert after.index("  Task:") < after.index("# ------ references")
    assert yaml.safe_load(after)["objects"]["Task"] == {"exclude_fields": ["A", "B"]}


def test_a_template_without_objects_gets_the_block() -> None:
    after = patched("name: t\nlines: [{object: A}]\n", [put("A", "picklists", "K", "null", value="")])
    assert yaml.safe_load(after)["objects"] == {"A": {"picklists": {"K": {"null": ""}}}}


def test_a_block_that_is_repeated_by_an_alias_is_left_to_people() -> None:
    text = "objects:\n  A: &same {exclude_fields: [X]}\n  B: *same\n"
    with pytest.raises(TemplateError, match=r"t\.yaml:3: B repeats another block by an alias"):
        patched(text, [add("B", "exclude_fields", value="Y")], file="t.yaml")
    with pytest.raises(TemplateError, match="holds no block of keys"):
        patched("objects:\n  A: text\n", [add("A", "exclude_fields", value="Y")])


def test_the_patch_as_a_document_says_the_same() -> None:
    changes = [
        add("B", "exclude_fields", value="Y"),
        add("B", "exclude_fields", value="Z"),
        put("B", "picklists", "K", "v w", value=""),
        put("A", "fields", "x", value="y"),
    ]
    text = as_patch(changes, ["head"])
    assert text.startswith("# head\n")
    assert text.count("# why") == 4
    assert yaml.safe_load(text) == {
        "objects": {
            "A": {"fields": {"x": "y"}},
            "B": {"exclude_fields": ["Y", "Z"], "picklists": {"K": {"v w": ""}}},
        }
    }
