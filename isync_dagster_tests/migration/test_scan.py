"""A scan says what a run then does, writes nothing, and leaves no run; its forecast learns."""

from __future__ import annotations

import polars as pl
import pytest

from isync_dagster.errors import OrgsError
from isync_dagster.migration import scan_missing
from isync_dagster.migration.forecast import past_errors
from isync_dagster.migration.scan import scan
from isync_dagster_tests.migration.world import EVERYTHING, World, migrate, rich_data, rows_of, some, template, together

WRITES = "(POST|PATCH|PUT|DELETE) .*/(sobjects|jobs/ingest|composite|parameterizedSearch|Soap/m|tooling)"
BECOMES = {"insert": "inserted", "update": "updated"}


def test_scan_draft(world: World) -> None:
    world.reset(rich_data())
    found = scan(world.job(template()))
    import json; print(json.dumps(found, indent=1, default=str)[:6000])
    assert 0
