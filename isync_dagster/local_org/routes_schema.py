"""Resources about the org itself: versions, directory, limits, record counts, describes."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final

from isync_dagster.local_org import describe
from isync_dagster.local_org.conditions import DAILY_BATCHES, DAILY_QUERY_JOBS
from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route
from isync_dagster.schema.model import SObject

DATA_STORAGE_MB: Final = 1_000_000
ROW_KB: Final = 2  # what most rows count
OLDEST: Final = 31  # versions below are retired
NEWEST: Final = 67


def label_of(version: int) -> str:
    """The release that a version came with: three a year.

    >>> label_of(31), label_of(59), label_of(67)
    ("Summer '14", "Winter '24", "Summer '26")
    """
    season = ("Spring", "Summer", "Winter")[version % 3]
    return f"{season} '{(version + 11) // 3 + (season != 'Summer')}"


def check_version(text: str) -> None:
    """Refuse a version that is retired (410) or not there (404)."""
    number = float(text)
    if number < OLDEST:
        raise ApiError(410, "UNSUPPORTED_API_VERSION", f"API version {text} is retired")
    if number > NEWEST or number != int(number):
        raise not_found()


def versions(call: Call) -> Reply:
    """GET /services/data: no login needed."""
    return Reply(
        [
            {"label": label_of(number), "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
            for number in range(OLDEST, NEWEST + 1)
        ]
    )


def directory(call: Call) -> Reply:
    """GET /services/data/vNN.0/."""
    names = ("sobjects", "query", "queryAll", "limits", "composite", "jobs", "tooling", "search", "recent")
    own = call.service.instance_url(call)
    answer = {name: f"{call.base}/{name}" for name in names}
    answer["identity"] = f"{own}/id/{call.org.org_id}/{call.session.user_id if call.session else ''}"
    return Reply(answer)


def limits(call: Call) -> Reply:
    """GET limits."""
    service = call.service
    remaining = max(service.call_limit - service.calls_made, 0)

    def whole(number: int) -> dict[str, int]:
        return {"Max": number, "Remaining": number}

    conditions = call.org.conditions
    free = call.org.storage.rows_left
    storage_left = DATA_STORAGE_MB if free is None else free * ROW_KB // 1024
    return Reply(
        {
            "DailyApiRequests": {"Max": service.call_limit, "Remaining": remaining},
            "DailyAsyncApexExecutions": whole(250_000),
            "DailyBulkApiBatches": {"Max": DAILY_BATCHES, "Remaining": conditions.batches_left},
            "DailyBulkV2QueryFileStorageMB": whole(976_562),
            "DailyBulkV2QueryJobs": {"Max": DAILY_QUERY_JOBS, "Remaining": conditions.query_jobs_left},
            "DailyDurableStreamingApiEvents": whole(10_000),
            "DataStorageMB": {"Max": DATA_STORAGE_MB, "Remaining": storage_left},
            "FileStorageMB": whole(1_000_000),
            "HourlyPublishedPlatformEvents": whole(50_000),
            "MassEmail": whole(10),
            "PermissionSets": {"Max": 1500, "Remaining": 1500, "CreateCustom": whole(1000)},
            "SingleEmail": whole(15),
        }
    )


def record_count(call: Call) -> Reply:
    """GET limits/recordCount."""
    wanted = [name for name in call.query.get("sObjects", "").split(",") if name]
    objects = [call.org.schema.get(name) for name in wanted] if wanted else list(call.org.schema)
    counted: list[dict[str, Any]] = []
    for item in objects:
        if item is not None:
            found = call.org.storage.rows(f'SELECT count(*) FROM {quote(item.name)} WHERE NOT "IsDeleted"')
            counted.append({"count": found[0][0], "name": item.name})
    return Reply({"sObjects": sorted(counted, key=lambda entry: entry["name"])})


def describe_global(call: Call) -> Reply:
    """GET sobjects."""
    if unchanged := _unchanged(call):
        return unchanged
    entries = [describe.global_entry(item, call.base) for item in call.org.schema]
    body = {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": sorted(entries, key=lambda entry: entry["name"])}
    return Reply(body, headers=_modified(call))


def describe_object(call: Call) -> Reply:
    """GET sobjects/{Object}/describe."""
    if unchanged := _unchanged(call):
        return unchanged
    return Reply(describe.full(known(call), call.base), headers=_modified(call))


def known(call: Call, name: str | None = None) -> SObject:
    """The object that the path names; 404 where the org has none of that name."""
    found = call.org.schema.get(name or call.path["object"])
    if found is None:
        raise not_found()
    return found


def basic(call: Call) -> Reply:
    """GET sobjects/{Object}."""
    item = known(call)
    rows: list[dict[str, Any]] = []
    return Reply({"objectDescribe": describe.global_entry(item, call.base), "recentItems": rows})


def _modified(call: Call) -> dict[str, str]:
    return {"Last-Modified": format_datetime(datetime.fromtimestamp(int(call.service.modified), UTC), usegmt=True)}


def _unchanged(call: Call) -> Reply | None:
    since = call.headers.get("if-modified-since")
    if not since:
        return None
    try:
        asked = parsedate_to_datetime(since)
    except ValueError:
        return None
    return Reply(None, status=304) if asked.timestamp() >= int(call.service.modified) else None


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("/services/data", open=True, GET=versions),
        route("~", GET=directory),
        route("~/limits", GET=limits),
        route("~/limits/recordCount", GET=record_count),
        route("~/sobjects", GET=describe_global),
        route(r"~/sobjects/(?P<object>\w+)/describe", GET=describe_object),
    ]
