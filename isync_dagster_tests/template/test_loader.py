from __future__ import annotations

import pickle
from pathlib import Path
from textwrap import dedent

import pytest

from isync_dagster.errors import TemplateError
from isync_dagster.template import Template, load_template, load_templates, parse_template
from isync_dagster.template.models import Policy

WHOLE = """\
# yaml-language-server: $schema=template.schema.json
name: demo
description: everything a template can say
source: demo_source
target: demo_target
pins: {source_org_id: 00D000000000001EAA, target_org_id: 00D000000000002EAA}
settings:
  continue_on_error: true
  skip_missing_fields: yes
  skip_transactional_objects: off
  transactional_objects: [Task, Event]
  rejected_rows_threshold: 0.5%
  missing_parents: {required: block, optional: null}
lines:
  - {object: Account, sequence: 10, where: "Name LIKE 'A(%' AND (Rating = 'Hot')", order_by: Name DESC, limit: 100}
  - {object: Contact, sequence: 20, exclude_parents: [OwnerId]}
objects:
  Account:
    target_object: Account
    match_key: [Name, "BillingCity=City__c"]
    update_existing: true
    insert_new: false
    exclude_fields: [Fax]
    exclude_parent_fields: OwnerId
    fields: {Source__c: Target__c}
    picklists: {Industry: {Yes: No, 010: 1.10, Gone: null}}
    migration_key: Legacy_Id__c
    missing_parents: {ParentId: drop_row, OwnerId2: "default:005000000000001AAA"}
references:
  User: {by: [FederationIdentifier, Username, Email], default: "admin@target.example", map_file: users.csv}
phases:
  - {name: wave1, lines: [Account, Contact], where: {Account: "X = 1"}, after: []}
  - {name: wave2, lines: [Contact], after: [wave1]}
"""


def read(text: str) -> Template:
    return parse_template(dedent(text), file="demo.yaml")


def problems(text: str) -> list[str]:
    with pytest.raises(TemplateError) as caught:
        read(text)
    assert caught.value.file == "demo.yaml"
    assert str(caught.value).startswith(f"demo.yaml:{caught.value.line}: ")
    return str(caught.value).splitlines()


HEAD = "name: demo\nsource: a\ntarget: b\n"
LINES = "lines:\n  - {object: Account}\n"


def test_every_key_is_read() -> None:
    template = parse_template(WHOLE, name="demo")
    assert template.settings.continue_on_error and template.settings.skip_missing_fields
    assert not template.settings.skip_transactional_objects
    assert template.settings.rejected_rows_allowed(1000) == 5
    assert template.settings.missing_parents.optional.policy is Policy.NULL
    assert (template.lines[0].limit, template.lines[0].order_by) == (100, "Name DESC")
    account = template.objects["Account"]
    assert account.key_pairs == (("Name", "Name"), ("BillingCity", "City__c"))
    assert account.exclude_parent_fields == ("OwnerId",)
    assert account.missing_parents["OwnerId2"] == (Policy.DEFAULT, "005000000000001AAA")
    assert template.references["User"].default == "admin@target.example"
    assert [phase.after for phase in template.phases] == [(), ("wave1",)]


def test_picklist_values_mean_what_is_written() -> None:
    assert parse_template(WHOLE).objects["Account"].picklists == {"Industry": {"Yes": "No", "010": "1.10", "Gone": ""}}


def test_an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() -> None:
    text = HEAD + "settings:\n  continue_on_eror: true\nlines:\n  - object: Account\n    wehre: X = 1\nfases: []\n"
    assert problems(text) == [
        "demo.yaml:5: settings.continue_on_eror: there is no such key; did you mean 'continue_on_error'?",
        "demo.yaml:8: lines[0].wehre: there is no such key; did you mean 'where'?",
        "demo.yaml:9: fases: there is no such key; did you mean 'phases'?",
    ]


def test_a_key_like_no_other_is_told_with_all_known_ones() -> None:
    found = problems(HEAD + LINES + "objects:\n  Account:\n    zzz: 1\n")
    assert found[0].startswith(
        "demo.yaml:8: objects.Account.zzz: there is no such key; known are target_object, match_key"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD, "demo.yaml:1: lines: this key is needed and missing."),
        (HEAD + "lines: []\n", "demo.yaml:4: lines: at least one entry is needed."),
        (HEAD + "lines:\n  - {sequence: 1}\n", "demo.yaml:5: lines[0].object: this key is needed and missing."),
        (HEAD + "lines:\n  - Account\n", "demo.yaml:5: lines[0]: a block of keys is expected here, not 'Account'."),
        (HEAD + LINES + "settings: 5\n", "demo.yaml:6: settings: a block of keys is expected here, not '5'."),
        (
            HEAD + LINES + "settings:\n  rejected_rows_threshold: some\n",
            "demo.yaml:7: settings.rejected_rows_threshold: 'some' is neither a number of rows (25) nor a share of "
            'them ("0.5%").',
        ),
        (
            HEAD + LINES + "objects:\n  Account:\n    missing_parents:\n      ParentId: blok\n",
            "demo.yaml:9: objects.Account.missing_parents.ParentId: 'blok' is no policy; write block, null, stop, "
            "drop_row, fetch_parent or default:<target id or key>.",
        ),
        (HEAD + LINES + "name: again\n", "demo.yaml:6: the key 'name' stands here a second time (first in line 1)."),
        (HEAD + LINES + "phases: {a: [\n", "demo.yaml:7: this is no YAML:"),
        ("", "demo.yaml:1: the file is empty."),
        ("- a\n", "demo.yaml:1: a block of keys is expected here, not ['a']."),
        (HEAD + "lines: &a\n  - *a\n", "demo.yaml:4: an alias (*) stands inside the block that it repeats."),
        (HEAD + LINES + "? [a]\n: b\n", "demo.yaml:6: a key must be a plain word."),
    ],
)
def test_messages_say_file_line_and_what_to_write(text: str, message: str) -> None:
    assert problems(text)[0].startswith(message)


def test_blocks_may_be_repeated_by_anchor_and_merged() -> None:
    template = read(
        """\
        name: demo
        source: a
        target: b
        lines:
          - &base {object: Account, where: X = 1, sequence: 5}
          - {<<: *base, object: Contact, sequence: 6}
        """
    )
    assert [(line.object, line.where, line.sequence) for line in template.lines] == [
        ("Account", "X = 1", 5),
        ("Contact", "X = 1", 6),
    ]


def test_the_name_must_be_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(HEAD + LINES, encoding="utf-8")
    with pytest.raises(TemplateError, match=r"other\.yaml:1: name: the name is 'demo' and the file is other"):
        load_template(file)
    with pytest.raises(TemplateError, match="cannot be read"):
        load_template(tmp_path / "nowhere.yaml")


def test_a_folder_gives_its_templates_and_no_orgs(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.yaml").write_text((HEAD + LINES).replace("demo", name), encoding="utf-8")
    (tmp_path / "orgs.yaml").write_text("demo_source: {}", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no template", encoding="utf-8")
    assert list(load_templates(tmp_path)) == ["a", "b"]
    assert load_templates(tmp_path / "nowhere") == {}


def test_all_bad_templates_of_a_folder_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nam: a\n", encoding="utf-8")
    (tmp_path / "b.yaml").write_text(": :\n", encoding="utf-8")
    with pytest.raises(TemplateError) as caught:
        load_templates(tmp_path)
    assert "a.yaml:1: nam: there is no such key; did you mean 'name'?" in str(caught.value)
    assert "b.yaml:1:" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).file == caught.value.file
