"""One org for all clients, and the table that their runs fill.

The clients from npm are installed by `make conformance` into an ignored folder; without them their tests say why
they are skipped. `ISYNC_CONFORMANCE_PAGE` names the file that the table goes to.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from isync_dagster.local_org.server import Served
from isync_dagster_tests.conformance.table import Row, markdown, write
from isync_dagster_tests.local_org.orgs import make_org

ROOT = Path(__file__).parents[2]
NODE = ROOT / ".conformance" / "node"
QUICK = {
    "test_soap_login",
    "test_client_credentials",
    "test_rows",
    "test_refusals",
    "test_external_id",
    "test_composite",
}
ROWS: list[Row] = []
REPLAY: list[tuple[str, ...]] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "feature(client, name): a row of the conformance table")
    config.addinivalue_line("markers", "differs(why): the client sees another answer here than from the platform")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only the quick ones run with the rest of the tests: the others wait for pages, batches and node."""
    if os.environ.get("ISYNC_CONFORMANCE_PAGE") or any("conformance" in argument for argument in config.args):
        return
    here = Path(__file__).parent
    slow = [item for item in items if item.path.parent == here and not _quick(item)]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def _quick(item: pytest.Item) -> bool:
    return item.path.stem == "test_simple_salesforce" and item.name in QUICK


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    report = yield
    mark = item.get_closest_marker("feature")
    if mark is None or (report.when != "call" and not report.skipped):
        return report
    differs = item.get_closest_marker("differs")
    if report.skipped:
        outcome, why = (
            "skipped",
            str(report.longrepr[-1]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else "",
        )
    elif report.failed:
        outcome, why = "**fails**", str(call.excinfo.value).splitlines()[0] if call.excinfo else ""
    else:
        outcome, why = ("differs", differs.args[0]) if differs else ("works", "")
    ROWS.append(Row(*mark.args, outcome=outcome, why=why))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    page = os.environ.get("ISYNC_CONFORMANCE_PAGE")
    if page and ROWS:
        write(Path(page), markdown(ROWS, REPLAY))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROWS or not os.environ.get("ISYNC_CONFORMANCE_PAGE"):
        return
    terminalreporter.write_sep("=", "clients and features")
    for row in ROWS:
        terminalreporter.write_line(f"{row.client:<28} {row.feature:<58} {row.outcome} {row.why}".rstrip())
    for cells in REPLAY:
        terminalreporter.write_line("  ".join(cells))


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The org of all clients, over http and https with its own certificate."""
    from isync_dagster_tests.conformance.keys import jwt_keys

    _, public = jwt_keys()
    folder = tmp_path_factory.mktemp("conformance") / "org"
    with (
        make_org(folder, hard_delete=True, jwt_public_key=public) as org,
        org.serve(https=True) as running,
    ):
        yield running
