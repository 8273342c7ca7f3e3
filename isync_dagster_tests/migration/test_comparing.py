"""Two local orgs that differ in fifty planted ways: all are found, none is invented, each is judged by the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from isync_dagster.migration.comparing import Compared, compare_orgs, live_snapshot
from isync_dagster.schema.compare import Severity
from isync_dagster.schema.snapshot import Snapshot
from isync_dagster_tests.end_to_end.workbench import Bench
from isync_dagster_tests.migration.plants import OBJECTS, PLANTS, Plant, planted

Key = tuple[str, str, str, str]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with planted(tmp_path_factory.mktemp("compare")) as made:
        yield made


@pytest.fixture(scope="module")
def compared(bench: Bench) -> Compared:
    source = live_snapshot(bench.source_client, OBJECTS, required=True)
    target = live_snapshot(bench.target_client, OBJECTS, required=False)
    return compare_orgs(source, target, org=bench.source_client, with_data=True)


def found(compared: Compared) -> dict[Key, tuple[str, int | None]]:
    return {
        (item.kind.value, item.object, item.field or item.target_field, item.value): (item.severity.value, item.rows)
        for item in compared.result.differences
    }


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: " ".join(part for part in plant.key if part))
def test_a_planted_difference_is_found_and_judged_by_its_rows(compared: Compared, plant: Plant) -> None:
    assert found(compared).get(plant.key) == (plant.severity, plant.rows)


def test_nothing_else_is_found(compared: Compared) -> None:
    assert len(PLANTS) >= 40
    assert set(found(compared)) == {plant.key for plant in PLANTS}
    assert len(compared.result.differences) == len(PLANTS)
    assert compared.result.notes == ()


def test_what_was_not_counted_is_taken_for_the_worst_and_said(bench: Bench, compared: Compared) -> None:
    result = compare_orgs(compared.source, compared.target, org=bench.source_client).result
    lengths = {item.field: (item.severity, item.rows) for item in result.differences if item.kind == "field length"}
    assert lengths["Short_Fit__c"] == (Severity.BLOCKS, None)
    assert lengths["Longer__c"] == (Severity.COSMETIC, 0)
    kinds = {(item.field, item.value): item for item in result.differences if item.kind == "picklist value"}
    assert kinds["Idle_Kind__c", "B"].severity is Severity.COSMETIC
    assert "--with-data" in result.notes[0]


def test_an_org_compared_with_itself_differs_in_nothing(bench: Bench, compared: Compared) -> None:
    identity = replace(compared.source.identity, alias="twin", org_id="00D000000000009AAA")
    twin = Snapshot(identity, compared.source.fetched_at, compared.source.objects)
    assert compare_orgs(compared.source, twin, org=bench.source_client).result.differences == ()
