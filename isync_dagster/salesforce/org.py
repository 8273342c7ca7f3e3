"""One org: which it is, whether it may be written to, and the small reads that are not Bulk jobs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote_plus

import polars as pl

from isync_dagster.errors import OrgsError, RequestError, TransientError
from isync_dagster.salesforce.calls import OrgCalls
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.salesforce.rows import frame_of
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import OrgIdentity

# A request line and headers of more than 16,384 bytes are refused with 414 or 431.
_LONGEST_SOQL = 15_000
HEARD_LATELY = 600.0
"""Seconds for which the clock of this machine stands in for the org's: it may go a little faster or slower."""
_COUNT = re.compile(r"\s*SELECT\s+COUNT\(\s*\)\s+FROM\s", re.IGNORECASE)


class Org(OrgCalls):
    """A Salesforce org, cheap to make: it logs in with the first call, once for all threads.

    Use it as a context manager, or `close()` it, to drop its connections.
    """

    def __init__(self, config: OrgConfig, alias: str, tuning: Tuning | None = None) -> None:
        super().__init__(config, alias, tuning)
        self._identity: OrgIdentity | None = None
        self._described: dict[str, SObject] = {}

    @classmethod
    def connect(cls, config: OrgConfig, alias: str, *, tuning: Tuning | None = None) -> Org:
        """The org of that entry of orgs.yaml; OrgsError where a credential is missing. Nothing is sent yet."""
        return cls(config, alias, tuning)

    def identity(self) -> OrgIdentity:
        """Which org this is, asked once."""
        if self._identity is None:
            columns = "Id, Name, InstanceName, OrganizationType, IsSandbox"
            try:
                rows = self.query(f"SELECT {columns}, TrialExpirationDate FROM Organization")
            except RequestError:
                rows = self.query(f"SELECT {columns} FROM Organization").with_columns(
                    TrialExpirationDate=pl.lit(None, pl.String)
                )
            if rows.height != 1:
                raise OrgsError(
                    f"org '{self.alias}': the user cannot read Organization, so it is not known which org this is"
                )
            row = rows.row(0, named=True)
            kind = str(row["OrganizationType"] or "")
            sandbox = row["IsSandbox"] == "true"
            # scratch orgs and trials end on a date; nobody's business runs in a Developer Edition
            practice = sandbox or "Developer" in kind or row["TrialExpirationDate"] is not None
            self._identity = OrgIdentity(
                alias=self.alias,
                org_id=str(row["Id"]),
                name=str(row["Name"] or ""),
                api_version=self.api_version,
                instance_url=self.instance_url,
                is_sandbox=sandbox,
                organization_type=kind,
                is_production=not practice,
            )
        return self._identity

    def require_writable(self) -> OrgIdentity:
        """The identity of an org that may be written to; OrgsError for production without `allow_production`."""
        identity = self.identity()
        if identity.is_production and not self.config.allow_production:
            raise OrgsError(
                f"org '{self.alias}' ({identity.name}, {identity.org_id}) is a production org "
                f"({identity.organization_type}): to write to it set `allow_production: true` in its orgs.yaml entry",
                alias=self.alias,
                org_id=identity.org_id,
            )
        return identity

    def server_time(self) -> datetime:
        """The org's own clock in UTC, to the second: the Date header of a call that reaches the org itself."""
        answer = self.request("GET", "query", params={"q": "SELECT Id FROM Organization LIMIT 1"})
        return parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)

    def time_passed(self) -> datetime:
        """A time that the org's own clock has passed by no more than a second or two, in UTC: no call, where it answered lately.

        It is the Date header of the latest answer and what has gone by since, so never ahead of `server_time`: what
        the org does from now on, it stamps later.
        """
        heard = self._heard
        if heard is None or (gone := time.monotonic() - heard[1]) > HEARD_LATELY:
            return self.server_time()
        return heard[0] + timedelta(seconds=gone)

    # small reads

    def describe(self, name: str) -> SObject:
        """The describe of an object; RequestError (NOT_FOUND) where the user does not see such an object."""
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise RequestError(
                f"org '{self.alias}': {name!r} is not the name of an object", code="NOT_FOUND", status=404
            )
        answer: Any = self.simple.restful(f"sobjects/{name}/describe")
        self._described[name] = SObject.from_json(answer)
        return self._described[name]

    def described(self, name: str) -> SObject:
        """As `describe`, asked once a connection."""
        return self._described.get(name) or self.describe(name)

    def describe_global(self) -> list[dict[str, Any]]:
        """The entries of the global describe: every object that the user sees, with its flags."""
        answer: Any = self.simple.describe()
        return [dict(item) for item in answer["sobjects"]]

    def limits(self) -> dict[str, Any]:
        """The org's limits by name, each with Max and Remaining."""
        answer: dict[str, Any] = self.request("GET", "limits").json()
        return answer

    def count(self, sobject: str, where: str | None = None) -> int:
        """The exact number of rows of an object that meet `where` (a SOQL condition)."""
        soql = f"SELECT COUNT() FROM {sobject}" + (f" WHERE {where}" if where else "")
        return int(self._query_page("query", {"q": soql})["totalSize"])

    def query(self, soql: str, *, include_deleted: bool = False) -> pl.DataFrame:
        """The rows of a query, every column String, a column for each path of the SELECT (`Owner.Name`).

        Values are spelled as the REST API spells them (`2024-01-31T10:00:00.000+0000`, `true`, `3.5E8`), null where
        empty. For up to some ten thousand rows; BulkQuery is the way for more.
        """
        if len(quote_plus(soql)) > _LONGEST_SOQL:
            raise RequestError(
                f"org '{self.alias}': a query of {len(soql):,} characters does not fit into a URL; split its IN list",
                code="URI_TOO_LONG",
                status=414,
            )

        def whole() -> pl.DataFrame:
            frames = list(self._query_frames("queryAll" if include_deleted else "query", soql))
            return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]

        return self.tuning.repeat(whole)

    def _query_frames(self, resource: str, soql: str) -> Iterator[pl.DataFrame]:
        """A frame a page. A cursor that the org dropped on the way is TransientError: the query starts anew."""
        answer = self._query_page(resource, {"q": soql})
        expected, found = int(answer["totalSize"]), 0
        if _COUNT.match(soql):
            # the one query whose result is not among its records
            yield pl.DataFrame({"count()": [str(expected)]})
            return
        while True:
            records = answer["records"]
            found += len(records)
            yield frame_of(records, soql)
            following = answer.get("nextRecordsUrl")
            if answer.get("done", True) or not following:
                break
            try:
                answer = self._query_page(str(following), None)
            except RequestError as error:
                if error.details.get("code") != "INVALID_QUERY_LOCATOR":
                    raise
                raise TransientError(f"{error} (the query starts anew)", code="INVALID_QUERY_LOCATOR") from None
        if found != expected:
            raise TransientError(f"org '{self.alias}': the query gave {found} of {expected} rows: {soql[:200]}")

    def _query_page(self, path: str, params: Mapping[str, str] | None) -> dict[str, Any]:
        answer = self.request("GET", path, params=params, headers={"Sforce-Query-Options": "batchSize=2000"})
        # numbers stay as they are spelled
        page: dict[str, Any] = json.loads(answer.content, parse_float=str, parse_int=str)
        return page
