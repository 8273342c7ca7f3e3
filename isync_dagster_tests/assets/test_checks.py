"""Checks judge the phase of their run, or alone all phases; a phase that passes never hides one that failed."""

import dagster as dg
import pytest

from isync_dagster_tests.assets.plans import FakeRun, FakeVerbs, fake_verbs, small_plan
from isync_dagster_tests.assets.test_factory import made, migrate


@pytest.fixture
def known():
    with fake_verbs() as verbs:
        yield verbs


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made_instance:
        yield made_instance


def validate(known: FakeVerbs, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = made(small_plan(), known).resolve_job_def("validate_core")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def evaluation(result: dg.ExecuteInProcessResult, name: str, object: str = "Account") -> dg.AssetCheckEvaluation:
    found = [e for e in result.get_asset_check_evaluations() if e.check_name == name and e.asset_key.path[1] == object]
    assert len(found) == 1
    return found[0]


def text(found: dg.AssetCheckEvaluation, key: str) -> str:
    return str(found.metadata[key].value)


def test_a_check_in_a_run_judges_the_phase_of_the_run(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    result = migrate(known, instance)
    found = evaluation(result, "record_count")
    assert found.passed
    assert {phase for verb, phase, _ in known.calls if verb == "check_target"} == {"people"}
    assert "| people | 1 | passed | As it should be. |" in text(found, "phases")
    assert "| sales | not run yet |" in text(found, "phases")


def test_a_failed_conservation_stops_what_depends_on_it(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    known.fail("conservation", "people", "Account")
    result = migrate(known, instance)
    assert not result.success
    calls = {(verb, object) for verb, _, object in known.calls}
    assert ("load", "Account") in calls
    assert ("remap", "Contact") not in calls
    assert ("finish", "") not in calls
    found = evaluation(result, "conservation")
    assert (found.passed, found.severity, found.description) == (False, dg.AssetCheckSeverity.ERROR, "3 rows are gone.")
    assert found.metadata["missing"] == dg.MetadataValue.int(3)
    assert "| 003 |" in text(found, "sample")


def test_a_failed_re_read_is_seen_and_lets_the_run_go_on(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    known.fail("relationships", "people", "Account")
    result = migrate(known, instance)
    assert result.success
    assert not evaluation(result, "relationships").passed
    assert evaluation(result, "record_count").passed


def test_a_passing_phase_does_not_hide_a_failed_one(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    known.fail("conservation", "people", "Account")
    assert not migrate(known, instance).success
    result = migrate(known, instance, phase="sales")
    found = evaluation(result, "conservation")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "But people failed before" in str(found.description)
    assert ("load", "sales", "Order") in known.calls, "a warning does not block the phase"


def test_an_object_outside_the_phase_passes_without_a_look(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    result = migrate(known, instance)
    found = evaluation(result, "record_count", "Order")
    assert found.passed
    assert str(found.description).startswith("Order is not in phase people.")
    assert ("check_target", "people", "Order") not in known.calls


def test_alone_a_check_judges_every_phase_that_has_run(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    known.runs("people").run = FakeRun(1)
    known.runs("sales").run = FakeRun(2)
    known.fail("record_count", "people", "Account", "2 records are missing.")
    result = validate(known, instance)
    found = evaluation(result, "record_count")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert found.description == "people: 2 records are missing."
    assert "| people | 1 | failed | 2 records are missing. |" in text(found, "phases")
    assert "| sales | 1 | passed |" in text(found, "phases")
    assert evaluation(result, "conservation").description == "All 2 phases that have run pass."


def test_alone_without_any_run_nothing_is_proved(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    found = evaluation(validate(known, instance), "record_count")
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert known.calls == []


def test_alone_the_checks_are_thorough_and_in_a_run_they_are_not(
    known: FakeVerbs, instance: dg.DagsterInstance
) -> None:
    migrate(known, instance)
    assert not any(options.thorough for options in known.options)
    known.options.clear()
    validate(known, instance)
    assert known.options and all(options.thorough for options in known.options)
