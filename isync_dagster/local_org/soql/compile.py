"""SOQL to one DuckDB statement: parse, look names up, check Salesforce's rules, write SQL with parameters."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.soql.grammar import parse
from isync_dagster.local_org.soql.level import Level, is_aggregate, is_count, root_object
from isync_dagster.local_org.soql.result import CompiledQuery
from isync_dagster.local_org.soql.rules import check_bulk, check_clauses, check_needed_filters
from isync_dagster.local_org.soql.scope import LATEST, Context


def compile_query(
    text: str,
    schema: OrgSchema,
    *,
    now: datetime,
    include_deleted: bool = False,
    bulk: bool = False,
    zone: tzinfo = UTC,
    fiscal_start: int = 1,
    fiscal_named_by_start: bool = False,
    user_id: str | None = None,
    version: float = LATEST,
    namespace: str | None = None,
) -> CompiledQuery:
    """The statement of a query over the org's tables.

    `now` (with a time zone) is what relative dates start from, `zone` the user's time zone, `fiscal_start` the
    first month of the fiscal year (which carries the number of the year it ends in, or begins in if
    `fiscal_named_by_start`), `user_id` whom USING SCOPE mine means, `version` the API version, `namespace` what
    the default namespace of Sforce-Call-Options says. `include_deleted` is queryAll; `bulk` applies the
    restrictions of Bulk 2.0. Raises SoqlError with Salesforce's errorCode and message.
    """
    query = parse(text)
    context = Context(
        text,
        schema,
        now,
        zone,
        include_deleted,
        bulk,
        fiscal_start,
        user_id,
        fiscal_named_by_start,
        version,
        namespace,
    )
    check_clauses(query)
    sobject = root_object(context, query)
    if bulk:
        check_bulk(query, sobject, aggregate=is_count(query) or is_aggregate(query))
    check_needed_filters(query, sobject)
    level = Level(context, query, sobject)
    return CompiledQuery(
        text=text,
        sobject=sobject,
        columns=tuple(level.columns),
        params=context.params,
        body=level.body,
        record=level.record,
        order=level.order,
        tie=level.tie,
        limit=query.limit,
        offset=query.offset_rows,
        is_count=is_count(query),
        is_aggregate=is_aggregate(query) and not is_count(query),
        children=level.children,
        scope=query.scope,
    )
