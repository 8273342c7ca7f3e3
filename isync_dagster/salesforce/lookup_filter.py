"""The filter of a lookup, which a describe tells of and only the Tooling API spells out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isync_dagster.salesforce.org import Org


def lookup_filter(org: Org, object: str, field: str) -> Mapping[str, Any] | None:
    """`lookupFilter` of a field's metadata, or None where it has none or the user may not see the field.

    Read from `FieldDefinition`, which has standard fields too; an answer with `Metadata` holds one record only (Tooling
    API). Raises `RequestError` where the user may not read metadata.
    """
    soql = (
        f"SELECT Metadata FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = '{object}' "
        f"AND QualifiedApiName = '{field}'"
    )
    records = org.request("GET", "tooling/query", params={"q": soql}).json()["records"]
    found: Mapping[str, Any] | None = (records[0].get("Metadata") or {}).get("lookupFilter") if records else None
    return found
