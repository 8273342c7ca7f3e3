"""What the user of an org may do there, as far as a migration needs it, and what the org has left."""

from __future__ import annotations

import re
from typing import Any

from isync_dagster.errors import RequestError
from isync_dagster.migration.settling import user_id
from isync_dagster.salesforce.bulk_ingest import BulkIngest
from isync_dagster.salesforce.org import Org

AUDIT_OBJECTS = ("Account", "Contact", "Lead", "Opportunity")
PERMISSIONS = {
    "view_all_data": "PermissionsViewAllData",
    "modify_all_data": "PermissionsModifyAllData",
    "bulk_hard_delete": "PermissionsBulkApiHardDelete",
    "metadata": "PermissionsModifyMetadata",
}
"""What is asked of `UserPermissionAccess`, the permissions of the user that asks."""
BYPASS = re.compile(
    r"bypass|skip_?(automation|trigger|validation|flow)|disable_?(automation|trigger|validation|flow)", re.I
)
LIMITS = ("DailyApiRequests", "DailyBulkApiBatches", "DailyBulkV2QueryJobs", "DataStorageMB", "FileStorageMB")


def standing(org: Org, *, deep: bool = False) -> dict[str, Any]:
    """Who is logged in where: `org_id`, `edition`, `kind`, `user`, `may`, `bypass`, `left`, `may_be_written_to`.

    Values of `may` are True, False, or None where the org does not let the user see it. With `deep` the right to hard
    delete is tried: an empty job is created and aborted. Nothing else is written.
    """
    identity = org.identity()
    me = user_id(org)
    limits = org.limits()
    reading = org.reading()
    may: dict[str, bool | None] = {"set_audit_fields": _audit_fields(reading), **_permissions(reading)}
    if deep:
        may["bulk_hard_delete"] = _hard_delete(org)
    user = reading.query(f"SELECT Username, Name FROM User WHERE Id = '{me}'").to_dicts()
    kind = "production" if identity.is_production else "sandbox" if identity.is_sandbox else "practice"
    return {
        "alias": org.alias,
        "org_id": identity.org_id,
        "name": identity.name,
        "edition": identity.organization_type,
        "kind": kind,
        "url": identity.instance_url,
        "api_version": identity.api_version,
        "may_be_written_to": not identity.is_production or org.config.allow_production,
        "user": {"id": me, **{key.lower(): value for row in user for key, value in row.items() if key != "Id"}},
        "may": may,
        "bypass": _bypass(reading, me),
        "left": {
            name: {"Max": int(limits[name]["Max"]), "Remaining": int(limits[name]["Remaining"])}
            for name in LIMITS
            if name in limits
        },
    }


def _audit_fields(org: Org) -> bool | None:
    """Whether CreatedDate may be given on insert ("Set Audit Fields upon Record Creation")."""
    for name in AUDIT_OBJECTS:
        try:
            field = org.describe(name).field("CreatedDate")
        except RequestError as error:
            if error.details.get("code") != "NOT_FOUND":
                raise
            continue
        return field is not None and field.createable
    return None


def _permissions(org: Org) -> dict[str, bool | None]:
    """Each by a query of its own where the org does not know them all: editions differ in what there is."""
    found: dict[str, bool | None] = {}
    for name, column in PERMISSIONS.items():
        try:
            rows = org.query(f"SELECT {column} FROM UserPermissionAccess LIMIT 1")
        except RequestError as error:
            if error.details.get("code") == "INVALID_TYPE":
                return dict.fromkeys(PERMISSIONS)
            if error.details.get("code") != "INVALID_FIELD":
                raise
            found[name] = None
        else:
            found[name] = rows[column][0] == "true" if rows.height else None
    return found


def _hard_delete(org: Org) -> bool | None:
    """Whether a hard delete job may be created: an empty one is, and aborted. None where there is no object to try."""
    for name in AUDIT_OBJECTS:
        ingest = BulkIngest(org)
        try:
            job = ingest.create(name, "hardDelete")
        except RequestError as error:
            if error.details.get("code") in ("INVALIDENTITY", "INVALID_TYPE", "NOT_FOUND"):
                continue
            if error.details.get("code") in ("FEATURENOTENABLED", "INVALIDOPERATION", "INSUFFICIENT_ACCESS"):
                return False
            raise
        ingest.abort(job.id)
        return True
    return None


def _bypass(org: Org, me: str) -> dict[str, bool]:
    """Checkboxes of the user that an org's automation looks at, by the words in their names, and their values."""
    fields = [field for field in org.describe("User").fields if field.type == "boolean" and BYPASS.search(field.name)]
    if not fields:
        return {}
    names = [field.name for field in fields]
    row = org.query(f"SELECT {', '.join(names)} FROM User WHERE Id = '{me}'").row(0, named=True)
    return {name: row[name] == "true" for name in names}
