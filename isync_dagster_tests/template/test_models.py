from __future__ import annotations

import pytest
from pydantic import ValidationError

from isync_dagster.template.models import (
    MissingParents,
    ObjectSettings,
    Pins,
    Policy,
    PolicyRule,
    Settings,
    Template,
    parse_policy,
)

MINIMAL = {"name": "demo", "source": "a", "target": "b", "lines": [{"object": "Account"}]}


def test_the_usual_settings_are_the_careful_ones() -> None:
    template = Template.model_validate(MINIMAL)
    assert not template.settings.continue_on_error
    assert not template.settings.skip_missing_fields
    assert template.settings.rejected_rows_threshold == 0
    assert template.settings.missing_parents == MissingParents(
        required=PolicyRule(Policy.BLOCK), optional=PolicyRule(Policy.NULL)
    )
    settings = ObjectSettings()
    assert settings.update_existing and settings.insert_new


@pytest.mark.parametrize(
    ("threshold", "extracted", "allowed"),
    [(0, 1000, 0), (25, 10, 25), ("25", 10, 25), ("0.5%", 1000, 5), ("0.5%", 199, 0), ("100%", 3, 3)],
)
def test_threshold_is_a_number_of_rows_or_a_share(threshold: int | str, extracted: int, allowed: int) -> None:
    assert Settings(rejected_rows_threshold=threshold).rejected_rows_allowed(extracted) == allowed


@pytest.mark.parametrize("threshold", [-1, "-1", "half", "0.5", "120%", True, None])
def test_other_thresholds_are_refused(threshold: object) -> None:
    with pytest.raises(ValidationError, match="neither a number of rows"):
        Settings.model_validate({"rejected_rows_threshold": threshold})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("block", PolicyRule(Policy.BLOCK)),
        (None, PolicyRule(Policy.NULL)),
        ("null", PolicyRule(Policy.NULL)),
        ("fetch_parent", PolicyRule(Policy.FETCH_PARENT)),
        ("default:005x", PolicyRule(Policy.DEFAULT, "005x")),
        ("default: admin@target.example", PolicyRule(Policy.DEFAULT, "admin@target.example")),
        ("default:a:b", PolicyRule(Policy.DEFAULT, "a:b")),
    ],
)
def test_policies_are_read_and_written_as_the_template_says_them(text: str | None, rule: PolicyRule) -> None:
    assert parse_policy(text) == rule
    assert parse_policy(str(rule)) == rule


@pytest.mark.parametrize("text", ["default", "default:", "block:5", "blok", 5, ["block"]])
def test_other_policies_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no policy"):
        parse_policy(text)


@pytest.mark.parametrize(
    ("key", "pairs"),
    [
        ("Email", [("Email", "Email")]),
        ("Name, City=Town__c", [("Name", "Name"), ("City", "Town__c")]),
        (["Name", "City = Town__c"], [("Name", "Name"), ("City", "Town__c")]),
        (["Name, City"], [("Name", "Name"), ("City", "City")]),
        ([], []),
    ],
)
def test_match_keys_have_one_meaning_in_each_spelling(key: object, pairs: list[tuple[str, str]]) -> None:
    assert ObjectSettings.model_validate({"match_key": key}).key_pairs == tuple(pairs)


def test_picklist_values_that_become_nothing_are_empty() -> None:
    settings = ObjectSettings.model_validate({"picklists": {"Kind": {"Old": None, "A": "B"}}})
    assert settings.picklists == {"Kind": {"Old": "", "A": "B"}}


def test_org_ids_are_kept_with_18_characters() -> None:
    assert Pins(source_org_id="00D000000000001").source_org_id == "00D000000000001EAA"
    with pytest.raises(ValidationError):
        Pins(source_org_id="001000000000001AAA")


def test_blocks_are_frozen_and_closed() -> None:
    template = Template.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        template.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra_forbidden"):
        Template.model_validate(MINIMAL | {"more": 1})


def test_a_template_survives_json() -> None:
    template = Template.model_validate(
        MINIMAL
        | {
            "settings": {"rejected_rows_threshold": "1%", "missing_parents": {"optional": "default:x"}},
            "objects": {"Account": {"match_key": "A=B", "missing_parents": {"ParentId": "stop"}}},
            "references": {"User": {"by": "Email"}},
            "phases": [{"name": "one", "lines": "Account"}],
        }
    )
    assert Template.model_validate(template.model_dump(mode="json")) == template
    assert Template.model_validate_json(template.model_dump_json()) == template


def test_metrics_and_validation() -> None:
    template = Template.model_validate(
        MINIMAL
        | {
            "settings": {"validation": {"rows": "all", "run_rows": 50, "exclude_fields": {"Account": "Rating, Site"}}},
            "metrics": [{"name": "pipeline", "object": "Opportunity", "measure": "SUM  Amount", "by": "StageName"}],
        }
    )
    (metric,) = template.metrics
    assert (metric.function, metric.field, metric.by) == ("sum", "Amount", "StageName")
    validation = template.settings.validation
    assert (validation.rows, validation.run_rows) == (None, 50)
    assert validation.exclude_fields == {"Account": ("Rating", "Site")}
    assert Template.model_validate_json(template.model_dump_json()) == template


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"metrics": [{"name": "m", "object": "Account", "measure": "median Amount"}]}, "is no measure"),
        ({"metrics": [{"name": "m", "object": "Account", "over": "x"}]}, "extra_forbidden"),
        ({"settings": {"validation": {"rows": 0}}}, "neither a number of rows"),
        ({"settings": {"validation": {"sample": 10}}}, "extra_forbidden"),
    ],
)
def test_metrics_and_validation_that_mean_nothing_are_refused(more: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        Template.model_validate(MINIMAL | more)
