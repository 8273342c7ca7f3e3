"""Limits that Salesforce sets on a query as a whole."""

from __future__ import annotations

from isync_dagster.local_org.soql.ast import And, Condition, Membership, Not, Or, Query, Subquery
from isync_dagster.local_org.soql.errors import SoqlError, unexpected_token
from isync_dagster.local_org.soql.scope import Context

LARGEST_OFFSET = 2000
MOST_SEMI_JOINS = 2
MOST_SUBQUERIES = 20
WITH_CLAUSES = frozenset({"SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE", "DATA CATEGORY", "PRICEBOOKID", "NETWORK"})
FOR_CLAUSES = frozenset({"VIEW", "REFERENCE", "UPDATE", "UPDATE TRACKING", "UPDATE VIEWSTAT"})


def check_clauses(query: Query) -> None:
    """Refuses clauses that the API does not know or that hold too much."""
    for clause in query.with_clauses:
        if clause not in WITH_CLAUSES:
            raise unexpected_token(clause)
    for clause in query.for_clauses:
        if clause not in FOR_CLAUSES:
            raise unexpected_token(clause.removeprefix("UPDATE "))
    if query.all_rows:
        # Only Apex knows it; the API has queryAll.
        raise SoqlError("ALL ROWS not allowed in this context")
    if (query.offset_rows or 0) > LARGEST_OFFSET:
        raise SoqlError(f"Maximum SOQL offset allowed is {LARGEST_OFFSET}", code="NUMBER_OUTSIDE_VALID_RANGE")
    subqueries = [item for item in query.select if isinstance(item, Subquery)]
    if len(subqueries) > MOST_SUBQUERIES:
        raise SoqlError(f"A query can hold no more than {MOST_SUBQUERIES} subqueries", code="QUERY_TOO_COMPLICATED")


def check_semi_joins(context: Context, condition: Condition) -> None:
    """Refuses more than two sub-selects, nested ones, and ones under OR."""
    found = _semi_joins(condition, under_or=False)
    for node, under_or in found:
        if under_or:
            raise context.error(
                node.offset, "Semi join sub-selects are not allowed with the 'OR' operator", "MALFORMED_QUERY"
            )
        if isinstance(node.values, Query) and node.values.where is not None:
            nested = _semi_joins(node.values.where, under_or=False)
            if nested:
                raise context.error(
                    nested[0][0].offset, "Nesting of semi join sub-selects is not supported", "MALFORMED_QUERY"
                )
    if len(found) > MOST_SEMI_JOINS:
        raise context.error(
            found[MOST_SEMI_JOINS][0].offset,
            f"Maximum {MOST_SEMI_JOINS} semi join sub-selects are allowed",
            "MALFORMED_QUERY",
        )


def _semi_joins(condition: Condition, *, under_or: bool) -> list[tuple[Membership, bool]]:
    if isinstance(condition, And | Or):
        inside = under_or or isinstance(condition, Or)
        return [found for item in condition.conditions for found in _semi_joins(item, under_or=inside)]
    if isinstance(condition, Not):
        return _semi_joins(condition.condition, under_or=under_or)
    if isinstance(condition, Membership) and isinstance(condition.values, Query):
        return [(condition, under_or)]
    return []
