"""Limits that Salesforce sets on a query as a whole."""

from __future__ import annotations

from isync_dagster.local_org.soql.ast import And, Comparison, Condition, Membership, Not, Or, Path, Query, Subquery
from isync_dagster.local_org.soql.errors import SoqlError, unexpected_token
from isync_dagster.local_org.soql.scope import Context
from isync_dagster.schema.model import SObject

LARGEST_OFFSET = 2000
MOST_SEMI_JOINS = 2
MOST_SUBQUERIES = 20
MOST_ORDERED = 32
SCOPES = frozenset(
    {"delegated", "everything", "mine", "mine_and_my_groups", "my_territory", "my_team_territory", "team"}
)
WITH_CLAUSES = frozenset({"SECURITY_ENFORCED", "USER_MODE", "SYSTEM_MODE", "DATA CATEGORY", "PRICEBOOKID", "NETWORK"})
# Objects that REST answers and Bulk does not (the list of a widely used connector, found by trying).
NOT_IN_BULK = frozenset(
    {
        *("AcceptedEventRelation", "AttachedContentNote", "CaseStatus", "ContractStatus", "DeclinedEventRelation"),
        *("FieldSecurityClassification", "OrderStatus", "PartnerRole", "RecentlyViewed", "ServiceAppointmentStatus"),
        *("ShiftStatus", "SolutionStatus", "TaskPriority", "TaskStatus", "UndecidedEventRelation", "UserRecordAccess"),
        *("WorkOrderLineItemStatus", "WorkOrderStatus"),
    }
)
# Objects that need a filter by one of these fields. Id is among them for reads of single records.
NEEDED_FILTERS = {"ContentDocumentLink": ("ContentDocumentId", "LinkedEntityId", "Id")}
FOR_CLAUSES = frozenset({"VIEW", "REFERENCE", "UPDATE", "UPDATE TRACKING", "UPDATE VIEWSTAT"})


def check_clauses(query: Query) -> None:
    """Refuses clauses that the API does not know or that hold too much."""
    for clause in query.with_clauses:
        if clause not in WITH_CLAUSES:
            raise unexpected_token(clause)
    if query.scope is not None and query.scope.lower() not in SCOPES:
        raise unexpected_token(query.scope)
    if len(query.order) > MOST_ORDERED:
        raise SoqlError(f"A query can be ordered by no more than {MOST_ORDERED} fields")
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


def check_bulk(query: Query, sobject: SObject, *, aggregate: bool) -> None:
    """Refuses what Bulk 2.0 does not run; columns are judged where they are selected."""
    if sobject.name in NOT_IN_BULK:
        raise SoqlError(f"Entity '{sobject.name}' is not supported by the Bulk API.", code="INVALIDENTITY")
    if aggregate:
        raise SoqlError("Aggregate Relationships not supported in Bulk Query", code="API_ERROR")
    if query.offset_rows is not None:
        raise SoqlError("OFFSET clause not supported in Bulk Query", code="API_ERROR")


def check_needed_filters(query: Query, sobject: SObject) -> None:
    """Refuses a query of an object that only answers for given ids."""
    needed = NEEDED_FILTERS.get(sobject.name)
    if needed is None:
        return
    parts = query.where.conditions if isinstance(query.where, And) else (query.where,)
    lower = {name.lower() for name in needed}
    for part in parts:
        equal = isinstance(part, Comparison) and part.operator == "="
        listed = isinstance(part, Membership) and not part.negated
        names = (
            isinstance(part, Comparison | Membership) and isinstance(part.left, Path) and part.left.parts[-1].lower()
        )
        if (equal or listed) and names in lower:
            return
    raise SoqlError(
        f"Implementation restriction: {sobject.name} requires a filter by a single Id on {needed[0]} or {needed[1]} "
        "using the equals operator or multiple Id's using the IN operator."
    )


def check_semi_joins(context: Context, condition: Condition) -> None:
    """Refuses more than two sub-selects, nested ones, and ones under OR or inside a group in parentheses."""
    found = _semi_joins(condition)
    for node, above in found:
        if above == (Or,):
            raise context.error(
                node.offset, "Semi join sub-selects are not allowed with the 'OR' operator", "MALFORMED_QUERY"
            )
        if len(above) > 1:
            raise context.error(
                node.offset,
                "Semi join sub-selects are only allowed at the top level WHERE expressions and not in nested WHERE "
                "expressions.",
                "MALFORMED_QUERY",
            )
        if isinstance(node.values, Query) and node.values.where is not None:
            nested = _semi_joins(node.values.where)
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


def _semi_joins(condition: Condition, above: tuple[type, ...] = ()) -> list[tuple[Membership, tuple[type, ...]]]:
    """Every sub-select with the ANDs and ORs that it stands under, outermost first."""
    if isinstance(condition, And | Or):
        inside = (*above, type(condition))
        return [found for item in condition.conditions for found in _semi_joins(item, inside)]
    if isinstance(condition, Not):
        return _semi_joins(condition.condition, above)
    if isinstance(condition, Membership) and isinstance(condition.values, Query):
        return [(condition, above)]
    return []
