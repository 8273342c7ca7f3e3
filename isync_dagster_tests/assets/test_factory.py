"""The graph of a template and what its assets do, without orgs: keys, dependencies, metadata, retries, options."""

from dataclasses import replace

import dagster as dg
import pytest
from syrupy.assertion import SnapshotAssertion

from isync_dagster.assets import work
from isync_dagster.assets.factory import definitions
from isync_dagster.assets.settings import Settings
from isync_dagster.errors import RequestError, TransientError
from isync_dagster.plan.model import Plan
from isync_dagster_tests.assets.plans import FakeVerbs, FakeWorkbench, fake_verbs, small_plan


@pytest.fixture
def known():
    with fake_verbs() as verbs:
        yield verbs


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def made(plan: Plan, known: FakeVerbs | None = None) -> dg.Definitions:
    defs = definitions({plan.template: plan}, Settings.from_env({}))
    if known is None:
        return defs
    return dg.Definitions(
        assets=defs.assets,
        asset_checks=defs.asset_checks,
        jobs=defs.jobs,
        resources={**defs.resources, "workbench": FakeWorkbench(plan, known)},
    )


def migrate(
    known: FakeVerbs, instance: dg.DagsterInstance, phase: str = "people", plan: Plan | None = None, **options: object
) -> dg.ExecuteInProcessResult:
    job = made(plan or small_plan(), known).resolve_job_def("migrate_core")
    return job.execute_in_process(partition_key=phase, instance=instance, raise_on_error=False, **options)  # type: ignore[arg-type]


def test_the_whole_graph(snapshot: SnapshotAssertion) -> None:
    graph = made(small_plan()).resolve_asset_graph()
    shown = {
        key.to_user_string(): {
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "group": graph.get(key).group_name,
            "kinds": sorted(graph.get(key).kinds),
            "pool": sorted(graph.get(key).pools),
            "checks": sorted(check.name for check in graph.get(key).check_keys),
            "version": graph.get(key).code_version,
        }
        for key in sorted(graph.get_all_asset_keys())
    }
    assert shown == snapshot


def test_partitions_are_the_phases_and_checks_have_none() -> None:
    graph = made(small_plan()).resolve_asset_graph()
    load = graph.get(dg.AssetKey(["core", "Account", "load"]))
    assert load.partitions_def is not None
    assert load.partitions_def.get_partition_keys() == ["people", "sales"]
    assert all(graph.get(key).partitions_def is None for key in graph.asset_check_keys)


@pytest.mark.parametrize("goes_on", [True, False])
def test_rejected_rows_block_unless_the_template_continues_on_error(goes_on: bool) -> None:
    graph = made(small_plan(continue_on_error=goes_on)).resolve_asset_graph()
    gate = dg.AssetKey(["core", "preflight"])
    blocking = {key.name: graph.get(key).blocking for key in graph.asset_check_keys if key.asset_key != gate}
    assert blocking == {
        "references": False,
        "conservation": True,
        "rejected_rows": not goes_on,
        "record_count": False,
        "relationships": False,
        "relinked": False,
        "fields": False,
        "totals": False,
        "schema": False,
    }


def test_descriptions_are_for_people(snapshot: SnapshotAssertion) -> None:
    graph = made(small_plan()).resolve_asset_graph()
    assert {key.to_user_string(): graph.get(key).description for key in sorted(graph.get_all_asset_keys())} == snapshot


def test_two_templates_live_side_by_side() -> None:
    plans = {name: small_plan(name) for name in ("core", "core-2")}
    defs = definitions(plans, Settings.from_env({}))
    jobs = {job.name for job in defs.resolve_all_job_defs()}
    assert {"migrate_core", "migrate_core_2", "validate_core_2", "migrate_phases_core", "refresh_snapshots"} <= jobs


def test_a_run_calls_the_verbs_in_the_order_of_the_lookups(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    assert migrate(known, instance, "sales").success
    verbs = [(verb, object) for verb, _, object in known.calls]
    gate = verbs.index(("preflight", ""))
    assert all(verbs.index(("extract", name)) < gate for name in ("Account", "Order", "OrderItem"))
    assert verbs.index(("extract", "OrderItem")) < verbs.index(("extract", "Order"))
    assert gate < verbs.index(("remap", "Account")) < verbs.index(("load", "Account"))
    assert verbs.index(("check_states", "Account")) < verbs.index(("remap", "Order"))
    assert verbs.index(("load", "OrderItem")) < verbs.index(("relink", "Order"))
    assert verbs[-1] == ("finish", "")


def test_objects_outside_the_phase_materialize_empty(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    result = migrate(known, instance, "sales")
    assert "Contact" not in {object for _, _, object in known.calls}
    events = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    metadata = events["core/Contact/load"].materialization.metadata
    assert metadata["dagster/partition_row_count"] == dg.MetadataValue.int(0)
    assert metadata["notes"].value == "not in phase sales"


def test_phases_that_an_object_is_not_in_are_materialized_empty_once(
    known: FakeVerbs, instance: dg.DagsterInstance
) -> None:
    key = dg.AssetKey(["core", "Order", "load"])
    for _ in range(2):
        assert migrate(known, instance, "sales").success
    found = instance.fetch_materializations(dg.AssetRecordsFilter(key), limit=10).records
    assert [record.partition_key for record in found] == ["sales", "sales", "people"], "the newest first"
    newest = found[0].asset_materialization
    assert newest is not None
    assert newest.metadata["dagster/partition_row_count"] == dg.MetadataValue.int(10)


def test_the_report_holds_every_verdict_and_none_is_made_twice(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    assert migrate(known, instance).success
    run = known.runs("people").run
    assert run is not None
    names = [(verdict["object"], verdict["name"]) for verdict in run.verdicts()]
    assert len(names) == len(set(names)) == 16


def test_metadata_of_a_load(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    result = migrate(known, instance)
    event = next(e for e in result.get_asset_materialization_events() if e.asset_key.path[1:] == ["Account", "load"])
    metadata = event.materialization.metadata
    assert metadata["dagster/partition_row_count"] == dg.MetadataValue.int(10)
    assert metadata["states/inserted"] == dg.MetadataValue.int(7)
    assert metadata["api_calls"] == dg.MetadataValue.int(3)
    assert metadata["rows_per_second"] == dg.MetadataValue.float(5.0)
    outcome = metadata["outcome"].value
    assert "| failed | 1 | refused by Salesforce |" in outcome
    assert outcome.splitlines()[-1] == "| sum | 10 |  |"
    assert "a \\| b &lt;b&gt;" in metadata["refused"].value
    assert "A \\| &lt;b&gt;" in metadata["preview"].value
    schema = metadata["dagster/column_schema"].value
    assert [(column.name, column.type) for column in schema.columns] == [("Id", "String")]
    lineage = metadata["dagster/column_lineage"].value
    assert lineage.deps_by_column["Id"][0].asset_key == dg.AssetKey(["core", "Account", "extract"])


def test_only_transient_errors_are_retried(
    known: FakeVerbs, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.trouble[("extract", "Account")] = [TransientError("a lock")]
    known.trouble[("extract", "Order")] = [RequestError("no access to Order"), RequestError("never seen")]
    known.trouble[("extract", "OrderItem")] = [ZeroDivisionError("a bug\nmany lines"), ZeroDivisionError("never seen")]
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(work.RETRY.__class__, "calculate_delay", lambda self, attempt: 0)
    plan = small_plan()
    plan = replace(plan, objects=tuple(replace(item, fetched_by=()) for item in plan.objects))
    result = migrate(known, instance, "sales", plan)
    failed = {event.step_key: event.step_failure_data.user_failure_data for event in result.get_step_failure_events()}
    assert {key: data.description for key, data in failed.items() if data} == {
        "core__Order__extract": "no access to Order",
        "core__OrderItem__extract": "ZeroDivisionError: a bug",
    }
    assert failed["core__Order__extract"].metadata["error"] == dg.MetadataValue.text("RequestError")  # type: ignore[union-attr]
    extracts = [object for verb, _, object in known.calls if verb == "extract"]
    assert sorted(extracts) == ["Account", "Account", "Order", "OrderItem"]


def test_run_options_reach_every_verb(known: FakeVerbs, instance: dg.DagsterInstance) -> None:
    config = {
        "resources": {"run_options": {"config": {"confirm_production": " 00D000000000002AAA ", "spot_checks": 3}}}
    }
    assert migrate(known, instance, run_config=config).success
    assert {(options.confirm_production, options.spot_checks) for options in known.options} == {
        ("00D000000000002AAA", 3)
    }


def test_long_steps_report_progress_as_observations(
    known: FakeVerbs, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, int]] = []
    monkeypatch.setattr(work, "OBSERVE_EVERY", 0.0)
    monkeypatch.setattr(work, "listeners", [lambda template, phase, p: seen.append((template, p.object, p.done))])
    result = migrate(known, instance)
    assert ("core", "Account", 10) in seen
    observed = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert observed
    observation = observed[0].asset_observation_data.asset_observation  # type: ignore[union-attr]
    assert observation.partition == "people"
    assert observation.metadata["rows_done"] == dg.MetadataValue.int(10)
