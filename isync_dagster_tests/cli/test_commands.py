"""The commands: what they print, what they leave in the instance and the store, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.cli.console import Exit
from isync_dagster.cli.home import prepare
from isync_dagster.errors import PreflightError, RejectedRowsError
from isync_dagster_tests.cli.project import TEMPLATE, StoreVerbs, make_project


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(folder))
        return prepare()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> StoreVerbs:
    # A parallel pytest sets a narrow width; people's pipes have none.
    monkeypatch.delenv("COLUMNS", raising=False)
    return make_project(tmp_path, monkeypatch, home)


def isync(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))  # type: ignore[return-value]


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def runs() -> list[dg.DagsterRun]:
    with dg.DagsterInstance.get() as instance:
        return list(reversed(instance.get_runs()))


# -- plan and template --------------------------------------------------------------------------------------------


def test_plan_shows_order_and_what_is_filled_later(project: StoreVerbs) -> None:
    result = isync("plan", "core")
    assert result.exit_code == Exit.OK, result.output
    text = flat(result)
    assert text.index(" Account ") < text.index(" Contact ")
    assert "ParentId" in text
    assert "phase contacts: Contact, after accounts" in text
    assert "not migrated Account: Id (" in text


def test_an_unknown_template_is_a_configuration_error(project: StoreVerbs) -> None:
    result = isync("plan", "cora")
    assert result.exit_code == Exit.CONFIGURATION
    assert "There is no template 'cora'" in flat(result)
    assert "core" in result.output


def test_template_check_and_schema(project: StoreVerbs, tmp_path: Path) -> None:
    assert "✓ core 2 objects, 2 phases, source → target" in flat(isync("template", "check"))
    schema = json.loads(isync("template", "schema").output)
    assert "lines" in schema["properties"]
    assert isync("template", "schema", "--to", "schema.json").exit_code == Exit.OK
    assert json.loads((tmp_path / "schema.json").read_text()) == schema
    (tmp_path / "templates" / "core.yaml").write_text(TEMPLATE.replace("lines:", "linse:", 1))
    broken = isync("template", "check")
    assert broken.exit_code == Exit.CONFIGURATION
    assert "core.yaml:5" in broken.output


# -- migrate ------------------------------------------------------------------------------------------------------


def test_migrate_runs_every_phase_in_order_on_the_instance_of_the_ui(project: StoreVerbs, tmp_path: Path) -> None:
    result = isync("migrate", "core")
    assert result.exit_code == Exit.OK, result.output
    made = runs()
    assert [(run.job_name, run.tags["dagster/partition"], run.status.value) for run in made] == [
        ("migrate_core", "accounts", "SUCCESS"),
        ("migrate_core", "contacts", "SUCCESS"),
    ]
    assert all(run.remote_job_origin is not None for run in made), "the UI links the run to its job"
    assert all(run.tags["isync/template"] == "core" for run in made)
    assert [(run.tags["isync/sync-job"], run.tags["isync/run"]) for run in made] == [
        ("source to target: core, accounts", "1"),
        ("source to target: core, contacts", "1"),
    ]
    text = flat(result)
    assert "Every record is accounted for" in text
    assert "│Account │ 10 │ 10 │" in text
    assert "│sum │ 20 │ 20 │" in text
    for phase in ("accounts", "contacts"):
        path = text.split(f"report of {phase}: ")[1].split()[0]
        assert Path(path).read_text().startswith("<!doctype html>")
    assert (tmp_path / ".isync" / "dagster" / "dagster.yaml").exists()


def test_only_the_phases_that_are_named_run(project: StoreVerbs) -> None:
    assert isync("migrate", "core", "--phase", "accounts").exit_code == Exit.OK
    assert [run.tags["dagster/partition"] for run in runs()] == ["accounts"]
    unknown = isync("migrate", "core", "--phase", "acounts")
    assert unknown.exit_code == Exit.CONFIGURATION
    assert "accounts" in flat(unknown)


def test_a_failed_step_ends_the_command_and_starts_no_later_phase(project: StoreVerbs) -> None:
    project.trouble[("preflight", "")] = PreflightError("3 records lack a LastName: fill it in the source.")
    result = isync("migrate", "core")
    assert result.exit_code == Exit.FAILED
    text = flat(result)
    assert "✗ preflight 3 records lack a LastName: fill it in the source." in text
    assert "Not started: contacts" in text
    assert len(runs()) == 1


@pytest.mark.parametrize(
    ("failing", "code"),
    [
        ({("rejected_rows", "Account")}, Exit.REJECTED),
        ({("record_count", "Account")}, Exit.VERIFICATION),
        ({("conservation", "Account")}, Exit.VERIFICATION),
        ({("relinked", "Account")}, Exit.VERIFICATION),
        # What reads the target waits for the second pass, which refused rows hold up: this one does not.
        ({("rejected_rows", "Account"), ("conservation", "Account")}, Exit.VERIFICATION),
    ],
)
def test_the_exit_status_says_which_kind_of_check_failed(
    project: StoreVerbs, failing: set[tuple[str, str]], code: Exit
) -> None:
    project.failing = failing
    result = isync("migrate", "core", "--phase", "accounts")
    assert result.exit_code == code, result.output
    for name, object in failing:
        assert f"✗ {object} {name}" in flat(result)


def test_refused_rows_that_stop_a_load_are_refused_rows(project: StoreVerbs) -> None:
    project.trouble[("load", "Account")] = RejectedRowsError("4 rows were refused.")
    assert isync("migrate", "core").exit_code == Exit.REJECTED


def test_the_confirmation_reaches_the_verbs(project: StoreVerbs) -> None:
    assert isync("migrate", "core", "--confirm-production", "00D000000000002AAA").exit_code == Exit.OK
    assert set(project.options) == {"00D000000000002AAA"}


# -- validate -----------------------------------------------------------------------------------------------------


def test_validate_judges_alone_what_was_migrated(project: StoreVerbs) -> None:
    assert isync("migrate", "core").exit_code == Exit.OK
    good = isync("validate", "core")
    assert good.exit_code == Exit.OK, good.output
    assert "record_count" in good.output
    project.failing = {("relationships", "Contact")}
    bad = isync("validate", "core")
    assert bad.exit_code == Exit.VERIFICATION
    assert "relationships of Contact." in flat(bad)
    assert isync("validate", "core", "--phase", "accounts").exit_code == Exit.OK


# -- runs and errors ----------------------------------------------------------------------------------------------


def test_runs_are_listed_with_or_without_the_word(project: StoreVerbs) -> None:
    assert "No run of core yet" in isync("runs", "core").output
    project.refused = 2
    assert isync("migrate", "core", "--phase", "accounts").exit_code == Exit.OK
    text = flat(isync("runs", "core"))
    assert "│ accounts │ 1 │ closed │" in text
    assert "│ 10 │ 8 │ 2 │" in text
    assert flat(isync("runs", "list", "core")) == text


def test_a_script_gets_json_and_nothing_else(project: StoreVerbs) -> None:
    def said(*arguments: str) -> Any:
        return json.loads(isync(*arguments, "--json").output)

    assert [item["object"] for item in said("plan", "core")["objects"]] == ["Account", "Contact"]
    assert said("runs", "core") == said("errors", "core") == []
    project.refused = 2
    done = said("migrate", "core", "--phase", "accounts")
    assert (done["exit"], done["ended"], len(done["phases"])) == (0, "ok", 1)
    assert done["phases"][0]["objects"][0]["states"] == {"inserted": 8, "failed": 2}
    (run,) = said("runs", "core")
    assert (run["phase"], run["run"], run["state"]) == ("accounts", 1, "closed")
    assert run["summary"]["objects"][0]["extracted"] == 10
    (group,) = said("errors", "core")
    assert (group["object"], group["code"], group["rows"]) == ("Account", "DUPLICATE_VALUE", 2)
    project.failing = {("relationships", "Account")}
    judged = said("validate", "core")
    assert (judged["exit"], judged["ended"]) == (int(Exit.VERIFICATION), "verification")
    (one,) = [item for item in judged["checks"] if (item["object"], item["check"]) == ("Account", "relationships")]
    assert (one["passed"], one["severity"]) == (False, "error")


def test_errors_are_grouped_with_advice(project: StoreVerbs) -> None:
    assert "No refused rows" in isync("errors", "core").output
    project.refused = 2
    assert isync("migrate", "core", "--phase", "accounts").exit_code == Exit.OK
    text = flat(isync("errors", "core"))
    assert "Account phase accounts, run 1 (closed): 2 rows" in text
    assert "DUPLICATE_VALUE" in text
    assert "use it as match key" in text


def test_an_open_run_can_be_given_up(project: StoreVerbs) -> None:
    nothing = isync("runs", "abandon", "core", "--phase", "accounts", "--yes")
    assert nothing.exit_code == Exit.CONFIGURATION
    project.trouble[("load", "Account")] = PreflightError("stop")
    assert isync("migrate", "core").exit_code == Exit.FAILED
    assert "│ accounts │ 1 │ open │" in flat(isync("runs", "core"))
    declined = CliRunner().invoke(app, ["runs", "abandon", "core", "--phase", "accounts"], input="n\n")
    assert declined.exit_code != Exit.OK
    assert isync("runs", "abandon", "core", "--phase", "accounts", "--yes").exit_code == Exit.OK
    assert "│ accounts │ 1 │ abandoned │" in flat(isync("runs", "core"))


# -- orgs ---------------------------------------------------------------------------------------------------------


def test_orgs_without_credentials_are_named(project: StoreVerbs) -> None:
    result = isync("orgs", "check")
    assert "source skipped: set TOKEN" in flat(result)
    unknown = isync("orgs", "check", "sauce")
    assert unknown.exit_code == Exit.CONFIGURATION
    assert "source, target" in flat(unknown)


def test_an_org_that_does_not_answer_has_its_own_exit_status(
    project: StoreVerbs, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isync_dagster.cli import orgs
    from isync_dagster.errors import AuthenticationError

    def refuse(*_: object) -> None:
        raise AuthenticationError("the password is wrong")

    monkeypatch.setenv("TOKEN", "x")
    monkeypatch.setattr(orgs, "connect", refuse)
    result = isync("orgs", "check", "source")
    assert result.exit_code == Exit.ORG
    assert "the password is wrong" in flat(result)


def test_help_tells_the_exit_status() -> None:
    assert "3 more rows were refused" in flat(isync("migrate", "--help")).replace("│", "")
