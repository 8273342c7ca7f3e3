"""What changed and what was deleted in a span of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from isync_dagster.local_org.org_schema import quote
from isync_dagster.local_org.routes_schema import known
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

KEPT_DELETES: Final = 15  # days that getDeleted looks back
KEPT_UPDATES: Final = 30  # days that getUpdated looks back
MOST_IDS: Final = 600_000


def _span(call: Call, days: int) -> tuple[datetime, datetime]:
    try:
        start, end = (
            datetime.fromisoformat(call.query[name].replace(" ", "+")).astimezone(UTC).replace(tzinfo=None)
            for name in ("start", "end")
        )
    except (KeyError, ValueError, OverflowError) as error:
        raise ApiError(400, "INVALID_REPLICATION_DATE", "start and end must be dates with a time zone") from error
    start, end = start.replace(second=0), end.replace(second=0)
    if end - start < timedelta(minutes=1):
        raise ApiError(400, "INVALID_REPLICATION_DATE", "startDate before endDate by at least one minute required")
    if start < call.org.now().replace(second=0, microsecond=0) - timedelta(days=days):
        raise ApiError(400, "INVALID_REPLICATION_DATE", f"start is more than {days} days ago")
    return start, end


def _refuse_many(count: int) -> None:
    if count > MOST_IDS:
        raise ApiError(400, "EXCEEDED_ID_LIMIT", f"More than {MOST_IDS} ids in this span; ask for a shorter one")


def updated(call: Call) -> Reply:
    """GET sobjects/{Object}/updated."""
    sobject = known(call)
    start, end = _span(call, KEPT_UPDATES)
    rows = call.org.storage.rows(
        f'SELECT "Id" FROM {quote(sobject.name)} WHERE "SystemModstamp" >= ? AND "SystemModstamp" < ? '
        'AND NOT "IsDeleted"',
        [start, end],
    )
    _refuse_many(len(rows))
    return Reply({"ids": [row[0] for row in rows], "latestDateCovered": _json_time(end)})


def deleted(call: Call) -> Reply:
    """GET sobjects/{Object}/deleted."""
    sobject = known(call)
    start, end = _span(call, KEPT_DELETES)
    earliest = call.org.now() - timedelta(days=KEPT_DELETES)
    rows = call.org.storage.rows(
        f'SELECT "Id", "SystemModstamp" FROM {quote(sobject.name)} WHERE "IsDeleted" AND "SystemModstamp" >= ? '
        'AND "SystemModstamp" < ?',
        [start, end],
    )
    _refuse_many(len(rows))
    return Reply(
        {
            "deletedRecords": [{"id": row[0], "deletedDate": _json_time(row[1])} for row in rows],
            "earliestDateAvailable": _json_time(earliest),
            "latestDateCovered": _json_time(end),
        }
    )


def _json_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def routes() -> list[Route]:
    """The resources of this module."""
    one = r"~/sobjects/(?P<object>\w+)"
    return [route(f"{one}/updated", GET=updated), route(f"{one}/deleted", GET=deleted)]
