from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from isync_dagster_tests.local_org.soql.org import database


@pytest.fixture(scope="module")
def org() -> Iterator[duckdb.DuckDBPyConnection]:
    """The small org; tests only read it."""
    connection = database()
    yield connection
    connection.close()
