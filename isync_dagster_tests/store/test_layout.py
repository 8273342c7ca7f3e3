from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from isync_dagster.errors import StoreError
from isync_dagster.store.layout import JobKey, Layout, batch, decode, encode
from isync_dagster_tests.store.conftest import JOB, SOURCE, TARGET

NAMES = st.text(min_size=1, max_size=12)


@given(NAMES)
def test_a_name_is_one_component_and_comes_back(name: str) -> None:
    component = encode(name)
    assert decode(component) == name
    assert not set(component) & set("/\\.%*?[]: ")


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_two_jobs_never_share_a_folder(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert (batch(*one, 1) == batch(*two, 1)) == (one == two)


@pytest.mark.parametrize("name", ["", "x" * 121, "é" * 41])
def test_names_that_cannot_be_folders_are_refused(name: str) -> None:
    with pytest.raises(StoreError, match="cannot be a folder's name"):
        encode(name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Account.Name", "9x", "Account "])
def test_objects_are_api_names(name: str) -> None:
    with pytest.raises(StoreError, match="not an object's API name"):
        Layout(UPath("/s")).run(JOB, 1).extract(name)


@pytest.mark.parametrize("org", ["", "00D000000000001", "../../../etc/passwd", "00D00000000000100/"])
def test_org_ids_have_18_characters(org: str) -> None:
    layout = Layout(UPath("/s"))
    for make in (layout.lease, lambda org: layout.idmap(org, TARGET), lambda org: layout.pending(SOURCE, org)):
        with pytest.raises(StoreError, match="18-character org id"):
            make(org)


def test_paths_are_those_of_the_architecture() -> None:
    layout = Layout(UPath("/s"))
    run = layout.run(JobKey(SOURCE, TARGET, "demo", "Wave 1"), 7)
    folder = f"/s/runs/{SOURCE}--{TARGET}/demo/Wave~201/00007"
    assert str(layout.format) == "/s/format.json"
    assert str(layout.lease(TARGET)) == f"/s/leases/{TARGET}"
    assert str(layout.idmap(SOURCE, TARGET)) == f"/s/idmap/{SOURCE}--{TARGET}"
    assert str(run.plan) == f"{folder}/plan.json"
    assert str(run.extract("Account")) == f"{folder}/extract/Account"
    assert str(run.ledger("retry-1", "Account")) == f"{folder}/ledger/retry-1/Account"
    assert str(run.verdict("Account", "record count")) == f"{folder}/verdicts/Account/record~20count.json"
