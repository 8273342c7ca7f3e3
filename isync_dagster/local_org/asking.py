"""A query as a user of the org asks it: with the user's time zone, the org's fiscal year and the call's headers."""

from __future__ import annotations

import re
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from isync_dagster.local_org.soql import CompiledQuery, compile_query
from isync_dagster.local_org.web import Call

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

_NAMESPACE: Final = re.compile(r"defaultNamespace\s*=\s*(\w+)", re.IGNORECASE)
# Where the user's clock and the fiscal year come from, and what they are where the org does not say.
_FISCAL_START: Final = "FiscalYearStartMonth"
_NAMED_BY_START: Final = "UsesStartDateAsFiscalYearName"


def ask(call: Call, text: str, *, include_deleted: bool = False) -> CompiledQuery:
    """The statement of a query that came by REST; raises SoqlError with Salesforce's errorCode and message.

    `Sforce-Call-Options: defaultNamespace=ns` lets the query name custom things without their namespace.
    """
    options = _NAMESPACE.search(call.headers.get("sforce-call-options", ""))
    return compile_as(
        call.org,
        text,
        user_id=call.session.user_id if call.session is not None else None,
        version=call.version,
        include_deleted=include_deleted,
        namespace=options.group(1) if options else None,
    )


def compile_as(
    org: LocalOrg,
    text: str,
    *,
    user_id: str | None,
    version: str,
    include_deleted: bool = False,
    bulk: bool = False,
    namespace: str | None = None,
) -> CompiledQuery:
    """The statement of a user's query; `bulk` applies the restrictions of Bulk 2.0. Raises SoqlError."""
    user_id = user_id or org.settings.user_id
    fiscal_start, named_by_start = _fiscal_year(org)
    return compile_query(
        text,
        org.schema,
        now=org.query_time(),
        include_deleted=include_deleted,
        bulk=bulk,
        zone=zone_of(org, user_id),
        fiscal_start=fiscal_start,
        fiscal_named_by_start=named_by_start,
        user_id=user_id,
        version=float(version),
        namespace=namespace,
    )


def zone_of(org: LocalOrg, user_id: str) -> tzinfo:
    """The user's time zone; UTC where the user has none that is known."""
    user = org.schema.get("User")
    if user is None or user.field("TimeZoneSidKey") is None:
        return UTC
    rows = org.storage.rows('SELECT "TimeZoneSidKey" FROM "User" WHERE "Id" = ?', [user_id])
    name = rows[0][0] if rows else None
    if name in (None, "", "GMT", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def _fiscal_year(org: LocalOrg) -> tuple[int, bool]:
    """The first month of the fiscal year, and whether it is named by the calendar year that it begins in."""
    organization = org.schema.get("Organization")
    known = [
        name
        for name in (_FISCAL_START, _NAMED_BY_START)
        if organization is not None and organization.field(name) is not None
    ]
    if not known:
        return 1, False
    columns = ", ".join(f'"{name}"' for name in known)
    rows = org.storage.rows(f'SELECT {columns} FROM "Organization" LIMIT 1')
    found = dict(zip(known, rows[0], strict=True)) if rows else {}
    start = int(found.get(_FISCAL_START) or 1)
    return (start if 1 <= start <= 12 else 1), bool(found.get(_NAMED_BY_START))
