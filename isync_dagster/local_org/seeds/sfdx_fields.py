"""One field of the source metadata as the describe will show it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.seeds.fields import USUAL_LENGTHS, dressed, label_of
from isync_dagster.schema.model import ChildRelationship, Field, PicklistValue

NAMESPACE: Final = "{http://soap.sforce.com/2006/04/metadata}"

TYPES: Final = {
    "AutoNumber": "string",
    "Checkbox": "boolean",
    "Currency": "currency",
    "Date": "date",
    "DateTime": "datetime",
    "Email": "email",
    "EncryptedText": "encryptedstring",
    "ExternalLookup": "reference",
    "Hierarchy": "reference",
    "Html": "textarea",
    "IndirectLookup": "reference",
    "Location": "location",
    "LongTextArea": "textarea",
    "Lookup": "reference",
    "MasterDetail": "reference",
    "MetadataRelationship": "reference",
    "MultiselectPicklist": "multipicklist",
    "Number": "double",
    "Percent": "percent",
    "Phone": "phone",
    "Picklist": "picklist",
    "Summary": "double",
    "Text": "string",
    "TextArea": "textarea",
    "Time": "time",
    "Url": "url",
}


@dataclass(frozen=True)
class Names:
    """Puts a namespace before the custom names that have none.

    >>> Names("npsp").full("Level__c"), Names("npsp").full("npe01__X__c"), Names("npsp").full("Account")
    ('npsp__Level__c', 'npe01__X__c', 'Account')
    """

    namespace: str | None = None

    def full(self, name: str) -> str:
        """The name as an org with the package shows it."""
        if self.namespace and re.fullmatch(r"[A-Za-z]\w*?__[a-z]+", name) and name.count("__") == 1:
            return f"{self.namespace}__{name}"
        return name

    def path(self, text: str) -> str:
        """A field path with every name of it in full."""
        return ".".join(self.full(part) for part in text.split("."))

    def formula(self, text: str) -> str:
        """A formula with every custom name of it in full; texts inside it stay.

        >>> Names("npsp").formula('Level__c & "Level__c"')
        'npsp__Level__c & "Level__c"'
        """
        if not self.namespace:
            return text
        parts = re.split(r"(\"(?:\\\\.|[^\"\\\\])*\"|'(?:\\\\.|[^'\\\\])*')", text)
        return "".join(
            part if number % 2 else re.sub(r"\b[A-Za-z]\w*?__[a-z]+\b", lambda found: self.full(found[0]), part)
            for number, part in enumerate(parts)
        )


@dataclass(frozen=True)
class Xml:
    """An element of a metadata file that knows which file it is from."""

    element: ElementTree.Element
    file: str

    def text(self, tag: str) -> str | None:
        """The text of a child element, None where there is none."""
        found = self.element.find(NAMESPACE + tag)
        return found.text.strip() if found is not None and found.text else None

    def need(self, tag: str) -> str:
        """The text of a child element that must be there."""
        found = self.text(tag)
        if found is None:
            raise ConfigError(f"{self.file}: <{tag}> is missing", file=self.file)
        return found

    def flag(self, tag: str, usual: bool = False) -> bool:
        """The truth of a child element."""
        found = self.text(tag)
        return usual if found is None else found.lower() == "true"

    def number(self, tag: str, usual: int = 0) -> int:
        """The whole number in a child element."""
        found = self.text(tag)
        return int(float(found)) if found else usual

    def all(self, path: str) -> list[Xml]:
        """The child elements of that name, or below a path of names."""
        steps = "/".join(NAMESPACE + step for step in path.split("/"))
        return [Xml(item, self.file) for item in self.element.findall(steps)]

    def picklist_value(self) -> PicklistValue:
        """A `<value>` or `<customValue>` as an entry of a picklist."""
        value = plain_value(self.need("fullName"))
        return PicklistValue(
            value,
            label=self.text("label") or value,
            active=self.flag("isActive", True),
            default_value=self.flag("default"),
        )


def plain_value(value: str) -> str:
    """A picklist value as it is stored; sources may write special characters of it as %2C and the like.

    >>> plain_value("St%2E Thomas")
    'St. Thomas'
    """
    return re.sub(r"%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), value)


@dataclass(frozen=True)
class Summary:
    """What a roll-up counts or sums: an object of details and, for a sum, its field."""

    sobject: str
    field: str | None


@dataclass(frozen=True)
class Read:
    """A field as read: itself first, then the parts of a geolocation; the name of the other direction."""

    fields: tuple[Field, ...]
    children: str | None = None
    restricted: bool = False
    cascade: bool = False
    summary: Summary | None = None

    def child_of(self, sobject: str) -> ChildRelationship:
        """How the parent of this lookup lists it."""
        return ChildRelationship(
            sobject,
            self.fields[0].name,
            relationship_name=self.children,
            cascade_delete=self.cascade,
            restricted_delete=self.restricted,
        )


def name_field(root: Xml | None, sobject: str) -> Field:
    """The Name of a custom object: text, or numbered by the org."""
    items = root.all("nameField") if root else []
    auto = bool(items) and items[0].text("type") == "AutoNumber"
    label = (items[0].text("label") if items else None) or f"{label_of(sobject)} Name"
    return dressed(
        Field(
            "Name",
            "string",
            label,
            length=80,
            nillable=not auto,
            createable=not auto,
            updateable=not auto,
            defaulted_on_create=True,
            auto_number=auto,
            id_lookup=True,
            name_field=True,
        )
    )


def read_field(item: Xml, names: Names, value_sets: Mapping[str, tuple[PicklistValue, ...]]) -> Read | None:
    """The field of a `<CustomField>`; None for a standard field that is only re-labelled."""
    kind = item.text("type")
    name = names.full(item.need("fullName"))
    if kind is None or not name.endswith("__c"):
        return None
    if kind not in TYPES:
        raise ConfigError(f"{item.file}: the field type {kind} is not known", file=item.file, field=name)
    field = _plain(item, name, kind, names)
    if kind == "Location":
        return Read((field, *_parts(field)))
    if kind in ("Picklist", "MultiselectPicklist"):
        return Read((_picklist(item, field, value_sets, names),))
    if kind == "Summary":
        return Read((field,), summary=_summary(item, names))
    if field.is_reference:
        return _reference(item, field, kind, names)
    return Read((field,))


def _plain(item: Xml, name: str, kind: str, names: Names) -> Field:
    described = TYPES[kind]
    number = described in ("double", "currency", "percent")
    computed = item.text("formula") is not None or kind == "Summary"
    auto = kind == "AutoNumber"
    default = item.text("defaultValue")
    boolean = described == "boolean"
    literal = _literal(default) if default and not computed else None
    field = Field(
        name,
        described,
        item.text("label") or label_of(name),
        length=_length(item, kind, described),
        precision=item.number("precision", 18) if number else 0,
        scale=item.number("scale", 0 if kind == "Summary" else 2) if number else 0,
        nillable=not (item.flag("required") or boolean or auto),
        createable=not (computed or auto or kind == "Location"),
        updateable=not (computed or auto or kind == "Location"),
        defaulted_on_create=boolean or auto,
        calculated=computed,
        calculated_formula=names.formula(item.need("formula")) if item.text("formula") is not None else None,
        formula_treat_null_number_as_zero=item.text("formulaTreatBlanksAs") == "BlankAsZero",
        auto_number=auto,
        external_id=item.flag("externalId"),
        id_lookup=item.flag("externalId"),
        unique=item.flag("unique"),
        case_sensitive=item.flag("caseSensitive"),
        custom=True,
        default_value=(default or "").lower() == "true" if boolean else literal,
        default_value_formula=names.formula(default) if default and not boolean and not computed else None,
        html_formatted=kind == "Html",
        extra_type_info={"Html": "richtextarea", "LongTextArea": "plaintextarea"}.get(kind),
        inline_help_text=item.text("inlineHelpText"),
    )
    return dressed(field)


def _literal(formula: str) -> str | None:
    """The constant that a default formula is, without its quotes; None for a real formula."""
    quoted = re.fullmatch(r'"([^"]*)"|\'([^\']*)\'', formula.strip())
    if quoted:
        return quoted[1] if quoted[1] is not None else quoted[2]
    return formula.strip() if re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", formula) else None


def _length(item: Xml, kind: str, described: str) -> int:
    if kind in ("Html", "LongTextArea"):
        return item.number("length", 32768)
    if kind == "TextArea":
        return 255
    if kind == "Text" and item.text("formula") is not None:
        return 1300
    return item.number("length", USUAL_LENGTHS.get(described, 0))


def _parts(field: Field) -> tuple[Field, ...]:
    stem = field.name.removesuffix("__c")
    part = Field(
        "", "double", precision=18, scale=15, custom=True, compound_field_name=field.name, nillable=field.nillable
    )
    return tuple(
        dressed(replace(part, name=f"{stem}__{name}__s", label=f"{field.label} ({name})"))
        for name in ("Latitude", "Longitude")
    )


def _picklist(item: Xml, field: Field, value_sets: Mapping[str, tuple[PicklistValue, ...]], names: Names) -> Field:
    sets = item.all("valueSet")
    if sets:
        values = tuple(value.picklist_value() for value in sets[0].all("valueSetDefinition/value"))
        values = values or value_sets.get(sets[0].text("valueSetName") or "", ())
        controller = sets[0].text("controllingField")
        # A value set that is shared is always restricted; without its file nothing can be checked against it.
        restricted = bool(values) and (sets[0].flag("restricted") or sets[0].text("valueSetName") is not None)
    else:
        values = tuple(value.picklist_value() for value in item.all("picklist/picklistValues"))
        controller, restricted = None, False
    default = next((value.value for value in values if value.default_value), None)
    return replace(
        field,
        picklist_values=values,
        restricted_picklist=restricted,
        controller_name=names.full(controller) if controller else None,
        dependent_picklist=controller is not None,
        default_value=field.default_value if default is None else default,
    )


def fitting_values(item: Xml) -> dict[str, list[str]]:
    """Value of a dependent picklist -> the controlling values that it goes with."""
    found: dict[str, list[str]] = {}
    for setting in item.all("valueSet/valueSettings"):
        controls = [plain_value((one.element.text or "").strip()) for one in setting.all("controllingFieldValue")]
        found.setdefault(plain_value(setting.need("valueName")), []).extend(controls)
    for value in item.all("picklist/picklistValues"):
        controls = [plain_value((one.element.text or "").strip()) for one in value.all("controllingFieldValues")]
        if controls:
            found.setdefault(plain_value(value.need("fullName")), []).extend(controls)
    return found


def _reference(item: Xml, field: Field, kind: str, names: Names) -> Read:
    parent = "User" if kind == "Hierarchy" else item.text("referenceTo")
    stem = item.text("relationshipName")
    detail = kind == "MasterDetail"
    rule = item.text("deleteConstraint")
    children = None if stem is None else f"{names.namespace}__{stem}__r" if names.namespace else f"{stem}__r"
    return Read(
        (
            dressed(
                replace(
                    field,
                    length=18,
                    reference_to=(names.full(parent),) if parent else (),
                    relationship_name=field.name.removesuffix("c") + "r",
                    nillable=field.nillable and not detail,
                    updateable=not detail or item.flag("reparentableMasterDetail"),
                    relationship_order=item.number("relationshipOrder") if detail else None,
                    write_requires_master_read=item.flag("writeRequiresMasterRead"),
                    cascade_delete=detail or rule == "Cascade",
                    restricted_delete=rule == "Restrict",
                )
            ),
        ),
        children=children,
        restricted=rule == "Restrict",
        cascade=detail or rule == "Cascade",
    )


def _summary(item: Xml, names: Names) -> Summary:
    sobject = (item.text("summaryForeignKey") or "").partition(".")[0]
    field = (item.text("summarizedField") or "").partition(".")[2]
    return Summary(names.full(sobject), names.full(field) if field else None)
