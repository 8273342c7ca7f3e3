"""What a Salesforce status code means for the row or call that got it, and what to do about it.

Codes are the contract: messages are in the user's language. The catalogue names the codes that a migration
meets; families of codes are told by their words; whatever is left is `unknown` and treated as final.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Kind(StrEnum):
    """Whose turn it is when a code comes back."""

    TRANSIENT = "transient"
    DATA = "data"
    PERMISSION = "permission"
    LIMIT = "limit"
    DUPLICATE = "duplicate"
    PARENT = "parent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Advice:
    """The kind of a code and one sentence for the person who reads the report."""

    kind: Kind
    text: str


_T, _D, _P, _L, _U, _R = (
    Kind.TRANSIENT,
    Kind.DATA,
    Kind.PERMISSION,
    Kind.LIMIT,
    Kind.DUPLICATE,
    Kind.PARENT,
)

_BUSY = "Salesforce was busy; the row or call is sent again."
_AUTOMATION = (
    "A trigger, flow or process of the target refused the row: read its message, then fix the automation, "
    "switch it off while loading, or correct the data."
)
_ACCESS = "Give the migration user the right that is missing (object, field or record access) and retry."
_TYPE = "The value does not fit the target field: correct the data or the mapping."
_SPACE = "The target org has no room left for this: free or buy capacity, then retry."

_CATALOGUE: dict[str, Advice] = {
    # the row or call itself was not judged
    "UNABLE_TO_LOCK_ROW": Advice(
        _T, "Another process held the record or its parent; it is sent again. If it persists, load with fewer jobs."
    ),
    "SERVER_UNAVAILABLE": Advice(_T, _BUSY),
    "UNKNOWN_EXCEPTION": Advice(_T, "Salesforce failed inside; it is sent again. If it persists, report its ErrorId."),
    "INTERNAL_ERROR": Advice(_T, "Salesforce failed inside; it is sent again."),
    "QUERY_TIMEOUT": Advice(_T, "The query took too long; it is asked again. If it persists, narrow the filter."),
    "REQUEST_RUNNING_TOO_LONG": Advice(_T, "The call took too long; it is sent again in smaller parts."),
    "TOO_MANY_JOBS": Advice(_T, "Too many jobs wait in the org; it is sent again later."),
    "TOO_MANY_APEX_REQUESTS": Advice(_T, _BUSY),
    "ALREADY_IN_PROCESS": Advice(_T, "The record is being worked on elsewhere; it is sent again."),
    "RECORD_IN_USE_BY_WORKFLOW": Advice(_T, "The record is held by a workflow; it is sent again."),
    "TERRITORY_REALIGN_IN_PROGRESS": Advice(_T, "Territories are being realigned; it is sent again later."),
    "INSERT_UPDATE_DELETE_NOT_ALLOWED_DURING_MAINTENANCE": Advice(
        _T, "The org is in maintenance; it is sent again later."
    ),
    "TXN_SECURITY_METERING_ERROR": Advice(_T, _BUSY),
    "ALL_OR_NONE_OPERATION_ROLLED_BACK": Advice(
        _T, "Another row of the same call failed; this one was not judged and is sent again."
    ),
    "PROCESSING_HALTED": Advice(_T, "Another part of the same call failed; this one is sent again."),
    "BATCH_PROCESSING_HALTED": Advice(_T, "Another part of the same call failed; this one is sent again."),
    "COLLISION_DETECTED": Advice(_T, "Someone changed the record at the same moment; it is sent again."),
    # the data does not fit
    "REQUIRED_FIELD_MISSING": Advice(_D, "Fill the named fields in the source, or map a value or default to them."),
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": Advice(
        _D, "A validation rule of the target refused the row: correct the data, or switch the rule off while loading."
    ),
    "FIELD_FILTER_VALIDATION_EXCEPTION": Advice(
        _R, "The parent does not pass the lookup filter of the field: correct the link, or make the filter optional."
    ),
    "RELATED_ENTITY_FILTER_VALIDATION_EXCEPTION": Advice(_R, "The parent does not pass the lookup filter."),
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": Advice(
        _D, "The value is not active in the target picklist or record type: map it (picklists), or add it there."
    ),
    "TOO_MANY_ENUM_VALUE": Advice(_D, "The multi-select picklist takes at most 100 values."),
    "STRING_TOO_LONG": Advice(_D, "The text is longer than the target field: lengthen the field or cut the value."),
    "NUMBER_OUTSIDE_VALID_RANGE": Advice(_D, "The number has more digits than the target field holds."),
    "INVALID_EMAIL_ADDRESS": Advice(_D, "The e-mail address is not valid: correct or empty it in the source."),
    "INVALID_TYPE_ON_FIELD_IN_RECORD": Advice(_D, _TYPE),
    "JSON_PARSER_ERROR": Advice(_D, _TYPE),
    "FIELD_INTEGRITY_EXCEPTION": Advice(
        _D, "The fields of the row contradict each other or a parent: read the message."
    ),
    "STANDARD_PRICE_NOT_DEFINED": Advice(_R, "Load the standard price of the product before its custom prices."),
    "MISSING_ARGUMENT": Advice(_D, "The row came without its Id or key."),
    "MALFORMED_ID": Advice(_D, "The Id is damaged or of another object."),
    "INVALID_ID_FIELD": Advice(_D, "The Id belongs to another object."),
    "INVALID_STATUS": Advice(_D, "The record may not change to this status: load it in its first status, then relink."),
    "INVALID_CURRENCY_ISO": Advice(_D, "The currency is not active in the target: activate or map it."),
    "MIXED_DML_OPERATION": Advice(_D, "Setup objects (users, groups) and records cannot be written in one call."),
    "CANNOT_UPDATE_CONVERTED_LEAD": Advice(_D, "A converted lead is read-only in the target."),
    "CANNOT_REPARENT_RECORD": Advice(_D, "The master of the record cannot be changed in the target."),
    "CIRCULAR_DEPENDENCY": Advice(_R, "The parents form a circle: break it in the source."),
    "INVALID_FIELD": Advice(_D, "The field or key is not known there: refresh the snapshot (`isync orgs snapshot`)."),
    "NOT_FOUND": Advice(_D, "The org has no such object, field, record or path, or hides it from this user."),
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": Advice(_D, _AUTOMATION),
    "CANNOT_EXECUTE_FLOW_TRIGGER": Advice(_D, _AUTOMATION),
    "FLOW_EXCEPTION": Advice(_D, _AUTOMATION),
    "APEX_ERROR": Advice(_D, _AUTOMATION),
    "CUSTOM_APEX_ERROR": Advice(_D, _AUTOMATION),
    "SELF_REFERENCE_FROM_TRIGGER": Advice(_D, _AUTOMATION),
    "SELF_REFERENCE_FROM_FLOW": Advice(_D, _AUTOMATION),
    "DELETE_FAILED": Advice(_D, "Children still refer to the record: delete or move them first."),
    "DEPENDENCY_EXISTS": Advice(_D, "The record is used elsewhere and cannot be deleted."),
    # the parent is not there
    "INVALID_CROSS_REFERENCE_KEY": Advice(
        _R, "A lookup points at a record that the target or the migration user does not know: load the parent first."
    ),
    "INVALID_CROSS_REFERENCE_TYPE_FOR_FIELD": Advice(_R, "A lookup points at a record of the wrong object."),
    "ENTITY_IS_DELETED": Advice(_R, "The record or a parent of it was deleted in the target."),
    "ENTITY_IS_ARCHIVED": Advice(_R, "The record or a parent of it is archived in the target."),
    "INACTIVE_OWNER_OR_USER": Advice(
        _R,
        "The owner is an inactive user: activate it, map another (references: User), or allow inactive owners "
        "(Set Audit Fields and Update Records with Inactive Owners).",
    ),
    "INVALID_OWNER": Advice(_R, "The owner may not own such records: map another user or queue."),
    "OP_WITH_INVALID_USER_TYPE_EXCEPTION": Advice(_R, "A user of this type may not own such records: map another."),
    "MISSING_RECORD": Advice(_R, "A record that the row refers to is not there."),
    "UNAVAILABLE_REF": Advice(_R, "A record that the row refers to is not available."),
    "UNAVAILABLE_RECORDTYPE_EXCEPTION": Advice(
        _P, "Assign the record type to the profile of the migration user in the target."
    ),
    # the user may not
    "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY": Advice(
        _P, "The migration user may not see or use a record that the row refers to: " + _ACCESS[0].lower() + _ACCESS[1:]
    ),
    "INSUFFICIENT_ACCESS_OR_READONLY": Advice(_P, _ACCESS),
    "INSUFFICIENT_ACCESS": Advice(_P, _ACCESS),
    "INVALID_FIELD_FOR_INSERT_UPDATE": Advice(
        _P, "The migration user cannot write the named fields: give it field access, or exclude_fields them."
    ),
    "FIELD_NOT_UPDATABLE": Advice(_P, "The field cannot be changed in the target: exclude it from updates."),
    "TRANSFER_REQUIRES_READ": Advice(_P, "The new owner lacks read access to the object."),
    "ENTITY_IS_LOCKED": Advice(_P, "The record is locked by an approval: unlock it or finish the approval."),
    "FUNCTIONALITY_NOT_ENABLED": Advice(_P, "The feature is not enabled in the target org."),
    "FEATURENOTENABLED": Advice(_P, "The feature or permission is not enabled for the migration user."),
    "API_DISABLED_FOR_ORG": Advice(_P, "The org or the user has no API access: enable 'API Enabled'."),
    "API_CURRENTLY_DISABLED": Advice(_P, "The API is switched off for this user or object."),
    "INVALID_READ_ONLY_USER_DML": Advice(_P, "The user is read-only at the moment."),
    "INVALID_SESSION_ID": Advice(_P, "The session expired: log in again."),
    # no room or no allowance
    "REQUEST_LIMIT_EXCEEDED": Advice(_L, "The org's API calls of 24 hours are used up: resume when they recover."),
    "LIMIT_EXCEEDED": Advice(_L, "A limit of the org was reached: read which, wait or raise it, then retry."),
    "STORAGE_LIMIT_EXCEEDED": Advice(_L, _SPACE),
    "EXCEEDED_QUOTA": Advice(_L, _SPACE),
    "LICENSE_LIMIT_EXCEEDED": Advice(_L, "All licences of the target are in use: free one, or load the user inactive."),
    "EXCEEDED_MAX_SIZE_REQUEST": Advice(_L, "The call was larger than Salesforce takes: send fewer rows a call."),
    "INSUFFICIENT_CREDITS": Advice(_L, _SPACE),
    # it is there already
    "DUPLICATE_VALUE": Advice(
        _U, "A unique value is taken by the record that the message names: use it as match key, or correct the value."
    ),
    "DUPLICATE_EXTERNAL_ID": Advice(_U, "Several records carry this external id: make it unique first."),
    "DUPLICATES_DETECTED": Advice(
        _U, "A duplicate rule of the target refused the row: exempt the migration user from it, or match the record."
    ),
    "DUPLICATE_USERNAME": Advice(_U, "Usernames are unique in all of Salesforce: give the user another one."),
}

_FAMILIES: tuple[tuple[re.Pattern[str], Advice], ...] = (
    (
        re.compile(r"^DUPLICATE|ALREADY_(IN|EXISTS)|NONUNIQUE|SUBDOMAIN_IN_USE|INDEX_EXISTS"),
        Advice(_U, "It exists already."),
    ),
    (
        re.compile(
            r"^(MATCH|XCLEAN)_.*(?<!NON_)(RETRIABLE|TIMED_OUT|UNAVAILABLE)|_TRANSPORT_CONNECTION|_TOO_MANY_REQUESTS"
        ),
        Advice(_T, _BUSY),
    ),
    (
        re.compile(r"LIMIT|EXCEE?EEDED|EXCEEDED|^MAX_|^MAXIMUM_|_TOO_LARGE|TOO_MANY"),
        Advice(_L, "A limit of the org was reached."),
    ),
    (
        re.compile(
            r"ACCESS|PERMISSION|NOT_ALLOWED|_NOT_ENABLED|RESTRICT|FORBIDDEN|_DISABLED|LICENSE|NO_.*_TOKEN|INVALID_.*TOKEN"
            r"|^REQUIRE_|REQUIRED_FEATURE|MODIFY_MANAGED|DELETE_MANAGED"
        ),
        Advice(_P, _ACCESS),
    ),
    (
        re.compile(r"NO_SUCH_USER|_NOT_FOUND$|NO_RECORDS_FOUND|SHARE_FAILS_PARENT"),
        Advice(_R, "A record it refers to is not there."),
    ),
    (
        re.compile(
            r"^(INVALID|MALFORMED|MISSING|FIELD|CANNOT|CANT|UNSAFE|UNSPECIFIED|UNSUPPORTED|TEXT_DATA|WEBLINK|STRING|NUMBER)_"
            r"|VALIDATION|INTEGRITY|FORMULA"
        ),
        Advice(_D, "The row does not fit the target: read the message."),
    ),
)

_UNKNOWN = Advice(Kind.UNKNOWN, "Read the message; the row is not sent again by itself.")

TRANSIENT_CODES: frozenset[str] = frozenset(code for code, advice in _CATALOGUE.items() if advice.kind is _T)


@lru_cache(maxsize=4096)
def classify(code: str | None) -> Advice:
    """The advice for a status code; a code that nobody knows is `unknown`, never an error.

    >>> classify("UNABLE_TO_LOCK_ROW").kind
    <Kind.TRANSIENT: 'transient'>
    >>> classify("SOMETHING_NEW").kind
    <Kind.UNKNOWN: 'unknown'>
    """
    name = (code or "").strip().upper()
    known = _CATALOGUE.get(name)
    if known is not None:
        return known
    return next((advice for pattern, advice in _FAMILIES if pattern.search(name)), _UNKNOWN)
