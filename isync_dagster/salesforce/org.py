"""One org: which it is, whether it may be written to, and the small reads that are not Bulk jobs."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote_plus

import polars as pl

from isync_dagster.errors import OrgsError, RequestError, TransientError
from isync_dagster.salesforce.calls import OrgCalls
from isync_dagster.salesforce.composite import QUERIES, together
from isync_dagster.salesforce.orgs import OrgConfig
from isync_dagster.salesforce.rows import frame_of
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import OrgIdentity

# A request line and headers of more than 16,384 bytes are refused with 414 or 431.
_LONGEST_SOQL = 15_000
DESCRIBES = 10
"""Describes in one call: one of a big object is a megabyte."""
HEARD_LATELY = 600.0
"""Seconds for which the clock of this machine stands in for the org's: it may go a little faster or slower."""
_COUNT = re.compile(r"\s*SELECT\s+COUNT\(\s*\)\s+FROM\s", re.IGNORECASE)


@dataclass(frozen=True)
class Deleted:
    """A query that shows the rows of the recycle bin and archived ones too."""

    soql: str


class Org(OrgCalls):
    """A Salesforce org, cheap to make: it logs in with the first call, once for all threads.

    Use it as a context manager, or `close()` it, to drop its connections.
    """

    def __init__(self, config: OrgConfig, alias: str, tuning: Tuning | None = None) -> None:
        super().__init__(config, alias, tuning)
        self._identity: OrgIdentity | None = None
        self._identifying = threading.Lock()
        self._described: dict[str, SObject] = {}

    @classmethod
    def connect(cls, config: OrgConfig, alias: str, *, tuning: Tuning | None = None) -> Org:
        """The org of that entry of orgs.yaml; OrgsError where a credential is missing. Nothing is sent yet."""
        return cls(config, alias, tuning)

    def identity(self) -> OrgIdentity:
        """Which org this is, asked once."""
        # All threads begin with it, and one of them asks.
        with self._identifying:
            if self._identity is None:
                self._identity = self._asked_identity()
        return self._identity

    def _asked_identity(self) -> OrgIdentity:
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
        return OrgIdentity(
            alias=self.alias,
            org_id=str(row["Id"]),
            name=str(row["Name"] or ""),
            api_version=self.api_version,
            instance_url=self.instance_url,
            is_sandbox=sandbox,
            organization_type=kind,
            is_production=not practice,
        )

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

    def is_described(self, name: str) -> bool:
        """True where `described` needs no call."""
        return name in self._described

    def object_of(self, record_id: str) -> str | None:
        """The object that an id belongs to, by its first three characters, of those that were described so far."""
        prefix = record_id[:3]
        return next((name for name, found in list(self._described.items()) if found.key_prefix == prefix), None)

    def describe_all(self, names: Iterable[str]) -> Mapping[str, SObject]:
        """The describes of these objects as they are now, several a call; what `described` gives from now on.

        An object that cannot be described like this is left out: `describe` says why.
        """
        listed = [name for name in dict.fromkeys(names) if re.fullmatch(r"[A-Za-z]\w*", name)]
        found: dict[str, SObject] = {}
        for start in range(0, len(listed), DESCRIBES):
            some = listed[start : start + DESCRIBES]
            for name, answer in zip(
                some, together(self, [self.path(f"sobjects/{name}/describe") for name in some]), strict=True
            ):
                if answer is not None:
                    found[name] = SObject.from_json(answer)
        self._described |= found
        return found

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
            return self._whole(soql, self._query_page("queryAll" if include_deleted else "query", {"q": soql}))

        return self.tuning.repeat(whole)

    def query_few(self, soql: str, most: int, *, include_deleted: bool = False) -> pl.DataFrame | int:
        """As `query` where there are no more than `most` rows, else how many there are: known from the first page."""
        if len(quote_plus(soql)) > _LONGEST_SOQL:
            return self.query(soql, include_deleted=include_deleted)

        def few() -> pl.DataFrame | int:
            answer = self._query_page("queryAll" if include_deleted else "query", {"q": soql})
            return int(answer["totalSize"]) if int(answer["totalSize"]) > most else self._whole(soql, answer)

        return self.tuning.repeat(few)

    def queries(self, asked: Sequence[str | Deleted], most: int | None = None) -> list[pl.DataFrame | int]:
        """The answers of several queries, five a call (`composite`): rows as `query` gives them.

        With `most` the number of rows where there are more. A text that is too long for a URL may be asked for like this.
        What the org refuses to answer among others is asked by itself, and its error is raised.
        """
        found: list[pl.DataFrame | int] = []
        for start in range(0, len(asked), QUERIES):
            some = asked[start : start + QUERIES]
            paths = [
                self.path(f"queryAll?q={quote_plus(item.soql)}")
                if isinstance(item, Deleted)
                else self.path(f"query?q={quote_plus(item)}")
                for item in some
            ]
            for item, answer in zip(some, together(self, paths, spelled=True), strict=True):
                found.append(self._answered(item, answer, most))
        return found

    def queries_that_may_fail(self, asked: Sequence[str]) -> list[pl.DataFrame | None]:
        """As `queries`, with None in the place of what the org refuses to answer."""
        found: list[pl.DataFrame | None] = []
        for start in range(0, len(asked), QUERIES):
            some = asked[start : start + QUERIES]
            answers = together(self, [self.path(f"query?q={quote_plus(soql)}") for soql in some], spelled=True)
            found += [
                None if answer is None else self._whole(soql, answer)
                for soql, answer in zip(some, answers, strict=True)
            ]
        return found

    def _answered(self, item: str | Deleted, answer: dict[str, Any] | None, most: int | None) -> pl.DataFrame | int:
        soql = item.soql if isinstance(item, Deleted) else item
        if answer is not None:
            if most is not None and not _COUNT.match(soql) and int(answer["totalSize"]) > most:
                return int(answer["totalSize"])
            try:
                return self._whole(soql, answer)
            except TransientError:
                # Its later pages were lost on the way: asked from the beginning.
                pass
        rows = self.query(soql, include_deleted=isinstance(item, Deleted))
        return rows.height if most is not None and rows.height > most else rows

    def _whole(self, soql: str, answer: dict[str, Any]) -> pl.DataFrame:
        frames = list(self._frames(soql, answer))
        return pl.concat(frames, how="diagonal") if len(frames) > 1 else frames[0]

    def _frames(self, soql: str, answer: dict[str, Any]) -> Iterator[pl.DataFrame]:
        """A frame a page from the first one on. A cursor that the org dropped is TransientError: the query starts anew."""
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
