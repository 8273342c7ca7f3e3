"""Compound fields (addresses, locations): not stored, but read together from the fields that make them up."""

from __future__ import annotations

from isync_dagster.local_org.org_schema import quote
from isync_dagster.schema.model import Field, SObject

# Key of an address answer -> what its component's name ends in; the two codes only where the org has them.
ADDRESS_PARTS = {
    "city": "City",
    "country": "Country",
    "geocodeAccuracy": "GeocodeAccuracy",
    "latitude": "Latitude",
    "longitude": "Longitude",
    "postalCode": "PostalCode",
    "state": "State",
    "street": "Street",
    "countryCode": "CountryCode",
    "stateCode": "StateCode",
}


def parts(sobject: SObject, field: Field) -> dict[str, Field]:
    """The component fields of a compound field by their key in an answer."""
    if field.type == "location":
        pair = coordinates(sobject, field)
        return {} if pair is None else {"latitude": pair[0], "longitude": pair[1]}
    listed = [item for item in sobject.fields if (item.compound_field_name or "").lower() == field.name.lower()]
    if listed:
        found = {}
        for key, ending in ADDRESS_PARTS.items():
            endings = (ending.lower(), f"__{ending.lower()}__s")
            component = next((item for item in listed if _ends(item, field, endings)), None)
            if component is not None:
                found[key] = component
        return found
    # Projected describes lose the link between the parts and the whole: the names still tell.
    stem = field.name.removesuffix("Address")
    named = {key: sobject.field(stem + ending) for key, ending in ADDRESS_PARTS.items()}
    return {key: item for key, item in named.items() if item is not None}


def _ends(item: Field, whole: Field, endings: tuple[str, ...]) -> bool:
    stem = whole.name.removesuffix("Address").removesuffix("__c").lower()
    return item.name.lower() in {stem + ending for ending in endings}


def coordinates(sobject: SObject, field: Field) -> tuple[Field, Field] | None:
    """Latitude and longitude of a location or address field."""
    stem = field.name.removesuffix("__c") + "__" if field.name.endswith("__c") else field.name.removesuffix("Address")
    ending = "__s" if field.name.endswith("__c") else ""
    latitude, longitude = sobject.field(f"{stem}Latitude{ending}"), sobject.field(f"{stem}Longitude{ending}")
    return (latitude, longitude) if latitude is not None and longitude is not None else None


def struct(alias: str, sobject: SObject, field: Field) -> str:
    """The SQL of a compound value: a struct of its parts, null where all of them are."""
    found = parts(sobject, field)
    if not found:
        return "NULL"
    columns = {key: f"{alias}.{quote(item.name)}" for key, item in found.items()}
    members = ", ".join(
        f"'{key}': CAST({column} AS DOUBLE)" if key in ("latitude", "longitude") else f"'{key}': {column}"
        for key, column in columns.items()
    )
    empty = " AND ".join(f"{column} IS NULL" for column in columns.values())
    return f"CASE WHEN {empty} THEN NULL ELSE {{{members}}} END"
