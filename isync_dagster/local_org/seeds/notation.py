"""A short way to write down the schema of an object, one field after the other.

Fields are divided by `;` or line ends:

    Name type(length | precision,scale) flags > Parent/Other as Relationship < Children cascade [Compound] {A|B*|C}

Flags: `c` createable, `u` updateable, `n` nillable, `d` defaulted on create, `I` id lookup, `P` polymorphic,
`R` restricted picklist, `A` auto number, `N` name field, `e` external id, `x` unique, `s` case-sensitive,
`k` calculated, `h` HTML, `M` master-detail. `>` names the objects that a lookup points at and the name used
in paths; `<` the name of the other direction and what a delete of the parent does (`cascade`, `restricted`).
Braces hold the picklist, `*` marks its default. `@address X` stands for the eight parts of a compound
address and the address itself, `@viewed` for the two fields that remember the last look, `@point X__c` for
a geolocation.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from isync_dagster.local_org.seeds.fields import (
    USUAL_LENGTHS,
    dressed,
    label_of,
    owner_field,
    plural_of,
    system_fields,
)
from isync_dagster.schema.model import (
    MASTER_RECORD_TYPE_ID,
    ChildRelationship,
    Field,
    PicklistValue,
    RecordTypeInfo,
    SObject,
)

ACCURACY: Final = "{Address|NearAddress|Block|Street|ExtendedZip|Zip|Neighborhood|City|County|State|Unknown}"

_ITEM = re.compile(
    r"""^(?P<name>\w+)\s+(?P<type>\w+)
        (?:\((?P<size>\d+)(?:,(?P<scale>\d+))?\))?
        (?:\s+(?P<flags>[a-zA-Z-]+))?
        (?:\s+>\s*(?P<to>[\w/]+)(?:\s+as\s+(?P<path>\w+))?)?
        (?:\s+<\s*(?P<children>\w+)?(?:\s*(?P<rule>cascade|restricted))?)?
        (?:\s+\[(?P<compound>\w+)\])?
        (?:\s*\{(?P<values>[^}]*)\})?$""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Note:
    """One field as written, with what its parent says of the other direction."""

    field: Field
    children: str | None
    cascade: bool
    restricted: bool


def sobject(
    name: str,
    text: str,
    *,
    prefix: str | None = None,
    label: str = "",
    record_types: Iterable[RecordTypeInfo] = (),
    owner: str = "user",
    audit: str = "full",
    read_only: bool = False,
    mergeable: bool = False,
) -> tuple[SObject, tuple[Note, ...]]:
    """One object from its notation, and the notes from which `linked` makes child relationships.

    `owner`: `user`, `queue` (a queue may own it) or `none` (the parent decides); `audit`: `full`, `modified`
    (no Created fields) or `stamp` (SystemModstamp alone); `read_only` for what only the setup can change.
    """
    notes = tuple(_note(item) for item in _items(text))
    deleted = audit == "full" and not read_only
    system = system_fields(deleted=deleted, created=audit == "full", modified=audit in ("full", "modified"))
    fields = [*system[: 2 if deleted else 1], *(note.field for note in notes)]
    if owner != "none":
        fields.append(owner_field(queues=owner == "queue"))
    fields += system[2 if deleted else 1 :]
    if read_only:
        fields = [replace(field, createable=False, updateable=False) for field in fields]
    title = label or label_of(name)
    return (
        SObject(
            name,
            label=title,
            label_plural=plural_of(title),
            key_prefix=prefix,
            custom=name.endswith("__c"),
            createable=not read_only,
            updateable=not read_only,
            deletable=not read_only,
            undeletable=deleted,
            mergeable=mergeable,
            fields=tuple(fields),
            record_type_infos=(*record_types, MASTER) if record_types else (MASTER,),
        ),
        notes,
    )


MASTER: Final = RecordTypeInfo(MASTER_RECORD_TYPE_ID, "Master", "Master", master=True, default_record_type_mapping=True)


def fields_of(text: str) -> tuple[Field, ...]:
    """The fields of a notation alone: what an org adds to an object that is there already."""
    return tuple(_note(item).field for item in _items(text))


def linked(objects: Iterable[tuple[SObject, tuple[Note, ...]]]) -> tuple[SObject, ...]:
    """The objects with their child relationships, worked out from the lookups among them."""
    pairs = list(objects)
    children: dict[str, list[ChildRelationship]] = defaultdict(list)
    for item, notes in pairs:
        for note in notes:
            for parent in note.field.reference_to:
                children[parent].append(
                    ChildRelationship(
                        item.name,
                        note.field.name,
                        relationship_name=note.children,
                        cascade_delete=note.cascade or note.field.cascade_delete,
                        restricted_delete=note.restricted or note.field.restricted_delete,
                    )
                )
        for field in item.fields:
            if field.name in ("CreatedById", "LastModifiedById", "OwnerId") and field.is_reference:
                for parent in field.reference_to:
                    children[parent].append(ChildRelationship(item.name, field.name))
    return tuple(replace(item, child_relationships=tuple(children.get(item.name, ()))) for item, _ in pairs)


def _items(text: str) -> list[str]:
    found: list[str] = []
    for raw in re.split(r"[;\n](?![^{]*\})", text):
        item = raw.strip()
        if item.startswith("@address"):
            found += _address(item.removeprefix("@address").strip())
        elif item.startswith("@point"):
            found += _point(item.removeprefix("@point").strip())
        elif item == "@viewed":
            found += ["LastViewedDate datetime n", "LastReferencedDate datetime n"]
        elif item:
            found.append(item)
    return found


def _address(stem: str) -> list[str]:
    whole = f"{stem}Address"
    return [
        f"{stem}Street textarea(255) cun [{whole}]",
        f"{stem}City string(40) cun [{whole}]",
        f"{stem}State string(80) cun [{whole}]",
        f"{stem}PostalCode string(20) cun [{whole}]",
        f"{stem}Country string(80) cun [{whole}]",
        f"{stem}Latitude double(18,15) cun [{whole}]",
        f"{stem}Longitude double(18,15) cun [{whole}]",
        f"{stem}GeocodeAccuracy picklist(40) cunR [{whole}] {ACCURACY}",
        f"{whole} address n",
    ]


def _point(name: str) -> list[str]:
    stem = name.removesuffix("__c")
    return [
        f"{stem}__Latitude__s double(18,15) cun [{name}]",
        f"{stem}__Longitude__s double(18,15) cun [{name}]",
        f"{name} location n",
    ]


def _note(item: str) -> Note:
    match = _ITEM.match(item)
    if match is None:
        raise ValueError(f"not a field in the notation of isync_dagster.local_org.seeds.notation: {item!r}")
    flags = set(match["flags"] or "") - {"-"}
    kind = match["type"]
    size = int(match["size"] or 0)
    number = kind in ("double", "currency", "percent")
    master = "M" in flags
    values = _values(match["values"])
    targets = tuple(match["to"].split("/")) if match["to"] else ()
    name = match["name"]
    rule = match["rule"]
    field = Field(
        name,
        kind,
        label=label_of(name),
        length=0 if number else size or USUAL_LENGTHS.get(kind, 0),
        precision=(size or 18) if number else 0,
        scale=int(match["scale"] or 0) if number else 0,
        nillable="n" in flags,
        createable="c" in flags or master,
        updateable="u" in flags,
        defaulted_on_create="d" in flags or (kind == "boolean" and "c" in flags),
        calculated="k" in flags,
        auto_number="A" in flags,
        external_id="e" in flags,
        id_lookup=bool(flags & {"I", "e"}),
        unique="x" in flags,
        case_sensitive="s" in flags,
        name_field="N" in flags,
        reference_to=targets,
        relationship_name=match["path"],
        relationship_order=0 if master else None,
        write_requires_master_read=master,
        polymorphic_foreign_key="P" in flags,
        name_pointing="P" in flags,
        cascade_delete=master,
        restricted_delete=name.endswith("__c") and rule == "restricted",
        restricted_picklist="R" in flags,
        picklist_values=values,
        compound_field_name=match["compound"],
        custom=name.endswith(("__c", "__s")),
        default_value=False if kind == "boolean" else next((v.value for v in values if v.default_value), None),
        html_formatted="h" in flags,
        extra_type_info=("richtextarea" if "h" in flags else "plaintextarea") if kind == "textarea" else None,
    )
    return Note(dressed(field), match["children"], rule == "cascade", rule == "restricted")


def _values(text: str | None) -> tuple[PicklistValue, ...]:
    if not text:
        return ()
    return tuple(
        PicklistValue(value.removesuffix("*"), label=value.removesuffix("*"), default_value=value.endswith("*"))
        for value in (part.strip() for part in text.split("|"))
    )
