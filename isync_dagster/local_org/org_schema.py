"""What a local org knows of its objects: names in any case, relationships, key prefixes, columns.

An `OrgSchema` takes describes in every shape found in practice (full answers, projections without flags or
relationship names, objects read from source metadata) and completes them: system fields, relationship names,
child relationships and key prefixes are there afterwards, so that nobody downstream has to ask twice.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Final

from isync_dagster.local_org.automation.computed import broken_fields, declared_fields, relation_sql
from isync_dagster.local_org.automation.model import Automation, NumberFormat, RecordTypeValues, RollUp, on
from isync_dagster.local_org.automation.names import Moment
from isync_dagster.local_org.automation.rules import ObjectRules, rules_of
from isync_dagster.schema.model import COMPOUND_TYPES, NUMBER_TYPES, ChildRelationship, Field, SObject

# Key prefixes that are the same in every org (reference: Salesforce's list of standard prefixes).
STANDARD_PREFIXES: Final[Mapping[str, str]] = {
    "Account": "001", "Note": "002", "Contact": "003", "User": "005", "Opportunity": "006",
    "AccountContactRelation": "07k", "AccountContactRole": "02Z", "AccountTeamMember": "01M", "AccountShare": "00r",
    "ApexClass": "01p", "ApexTrigger": "01q", "Asset": "02i", "AssetRelationship": "1AR", "Attachment": "00P",
    "BusinessHours": "01m", "BusinessProcess": "019", "Campaign": "701", "CampaignMember": "00v",
    "CampaignMemberStatus": "01Y", "Case": "500", "CaseComment": "00a", "CaseContactRole": "03j", "CaseShare": "01n",
    "CaseStatus": "01J", "CaseTeamMember": "0B7", "ContactShare": "03s", "ContentDocument": "069",
    "ContentDocumentLink": "06A", "ContentVersion": "068", "ContentWorkspace": "058", "Contract": "800",
    "ContractContactRole": "02a", "ContractLineItem": "811", "ContractStatus": "812", "CurrencyType": "01L",
    "Document": "015", "EmailMessage": "02s", "EmailTemplate": "00X", "Entitlement": "550", "Event": "00U",
    "EventRelation": "0RE", "FeedComment": "0D7", "FeedItem": "0D5", "FlowDefinition": "300", "Folder": "00l",
    "Group": "00G", "GroupMember": "011", "Holiday": "0C0", "Individual": "0PK", "Lead": "00Q", "LeadStatus": "0Bl",
    "OpportunityCompetitor": "00J", "OpportunityContactRole": "00K",
    "OpportunityHistory": "008", "OpportunityLineItem": "00k", "OpportunityShare": "00t", "OpportunityStage": "01J",
    "OpportunityTeamMember": "00q", "Order": "801", "OrderItem": "802", "Organization": "00D", "Partner": "00I",
    "PartnerRole": "02e", "Period": "026", "PermissionSet": "0PS", "PermissionSetAssignment": "0Pa",
    "Pricebook2": "01s", "PricebookEntry": "01u", "Product2": "01t", "Profile": "00e", "QueueSobject": "03g",
    "Quote": "0Q0", "QuoteLineItem": "0QL", "RecordType": "012", "ServiceContract": "810", "Solution": "501",
    "StaticResource": "081", "Task": "00T", "Territory2": "0MI", "Territory2Model": "0MA", "Territory2Type": "0MH",
    "Topic": "0TO", "TopicAssignment": "0TQ", "UserLicense": "100", "UserRole": "00E", "ValidationRule": "03d",
    "WorkOrder": "0WO", "WorkOrderLineItem": "1WL", "WorkflowRule": "01Q",
}  # fmt: skip

BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# Fields that the server owns on every object; their flags are set so whatever a projected describe says.
SYSTEM_FIELDS: Final[Mapping[str, Field]] = {
    field.name.lower(): field
    for field in (
        Field("Id", "id", label="Record ID", length=18, byte_length=18, nillable=False, createable=False,
              updateable=False, defaulted_on_create=True, id_lookup=True, permissionable=False),
        Field("IsDeleted", "boolean", label="Deleted", nillable=False, createable=False, updateable=False,
              defaulted_on_create=True, default_value=False, permissionable=False),
        Field("CreatedDate", "datetime", label="Created Date", nillable=False, createable=False, updateable=False,
              defaulted_on_create=True, groupable=False, permissionable=False),
        Field("CreatedById", "reference", label="Created By ID", length=18, byte_length=18, nillable=False,
              createable=False, updateable=False, defaulted_on_create=True, reference_to=("User",),
              relationship_name="CreatedBy", permissionable=False),
        Field("LastModifiedDate", "datetime", label="Last Modified Date", nillable=False, createable=False,
              updateable=False, defaulted_on_create=True, groupable=False, permissionable=False),
        Field("LastModifiedById", "reference", label="Last Modified By ID", length=18, byte_length=18,
              nillable=False, createable=False, updateable=False, defaulted_on_create=True, reference_to=("User",),
              relationship_name="LastModifiedBy", permissionable=False),
        Field("SystemModstamp", "datetime", label="System Modstamp", nillable=False, createable=False,
              updateable=False, defaulted_on_create=True, groupable=False, permissionable=False),
    )
}  # fmt: skip

AUDIT_FIELDS: Final = ("CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById")


class OrgSchema:
    """The objects of one org, found by name in any case.

    `seed` decides the key prefixes of custom objects that bring none, as every real org numbers its own.
    `automation` is what the org does by itself; its formulas and roll-ups decide what a computed field reads as.
    """

    def __init__(self, objects: Iterable[SObject], *, seed: int = 0, automation: Automation | None = None) -> None:
        given = {item.name.lower(): _complete(item) for item in objects}
        prefixed = _with_prefixes(given, seed)
        self.objects: Mapping[str, SObject] = _with_children(prefixed)
        self.prefixes: Mapping[str, str] = {
            item.key_prefix: item.name for item in self.objects.values() if item.key_prefix
        }
        self._relationships: dict[str, dict[str, Field]] = {}
        self._children: dict[str, dict[str, ChildRelationship]] = {}
        self.declare(automation or Automation())

    def declare(self, automation: Automation) -> None:
        """Take what the org does by itself; what cannot be worked out is listed in `problems`."""
        self.automation = automation
        self.objects = {key: _with_filters(item, automation) for key, item in self.objects.items()}
        self._roll_ups = {(item.sobject.lower(), item.name.lower()): item for item in automation.roll_ups}
        self._formats = {(item.sobject.lower(), item.name.lower()): item for item in automation.number_formats}
        self._rules: dict[str, ObjectRules | None] = {}
        self._computed: dict[str, dict[str, Field]] = {
            item.name: fields for item in self if (fields := declared_fields(self, item))
        }
        self.problems: dict[str, str] = {}
        """What is declared but does not work (`Field Account.Score__c`), each with what is wrong with it."""
        # A formula that reads a broken one is broken too: looked at again until no more fall.
        while wrong := {
            (name, field): text
            for name, fields in self._computed.items()
            for field, text in broken_fields(self, self[name], fields).items()
        }:
            for (name, field), text in wrong.items():
                del self._computed[name][field]
                self.problems[f"Field {name}.{field}"] = text
        self._computed = {name: fields for name, fields in self._computed.items() if fields}
        named = {
            item.sobject.lower()
            for key in ("validation_rules", "triggers", "flows", "duplicate_rules", "lookup_filters")
            for item in getattr(automation, key)
        }
        for lower in sorted(named):
            item = self.get(lower)
            if item is None:
                self.problems[f"Object {lower}"] = "rules are declared for it, but the org has no such object"
            else:
                self.rules(item)

    def rules(self, sobject: SObject) -> ObjectRules | None:
        """What a save of an object's rows asks for; None where nothing is declared."""
        try:
            return self._rules[sobject.name]
        except KeyError:
            found, wrong = rules_of(self, sobject)
            self.problems |= wrong
            return self._rules.setdefault(sobject.name, found or None)

    def is_computed(self, sobject: SObject, field: Field) -> bool:
        """Whether a field is worked out when it is read, and not stored."""
        known = self._computed.get(sobject.name)
        return known is not None and field.name in known

    def roll_up(self, sobject: SObject, name: str) -> RollUp | None:
        """The declaration of a roll-up summary field, or None."""
        return self._roll_ups.get((sobject.name.lower(), name.lower())) if self._roll_ups else None

    def number_format(self, sobject: SObject, name: str) -> NumberFormat | None:
        """How an auto-number field is written, where that is declared."""
        return self._formats.get((sobject.name.lower(), name.lower())) if self._formats else None

    def narrowed(self, sobject: SObject, field: Field, record_type_id: str) -> RecordTypeValues | None:
        """The values of a picklist that a record type offers, where it narrows them."""
        names = {info.developer_name.lower() for info in sobject.record_type_infos
                 if info.record_type_id[:15] == record_type_id[:15]}  # fmt: skip
        return next(
            (
                item
                for item in on(self.automation.record_type_values, sobject.name)
                if item.name.lower() == field.name.lower() and item.record_type.lower() in names
            ),
            None,
        )

    def relation(self, sobject: SObject, wanted: Collection[str], moment: Moment, depth: int = 0) -> str:
        """What FROM names to read an object with these computed fields: its table where there are none."""
        if not wanted:
            return quote(sobject.name)
        return relation_sql(self, sobject, wanted, moment, depth, self._computed.get(sobject.name, {}))

    def computed_of(self, sobject: SObject) -> Mapping[str, Field]:
        """The fields of an object that are worked out when they are read."""
        return self._computed.get(sobject.name, {})

    def __iter__(self) -> Iterator[SObject]:
        return iter(self.objects.values())

    def get(self, name: str) -> SObject | None:
        """The object of that API name in any case, or None."""
        return self.objects.get(name.lower())

    def __getitem__(self, name: str) -> SObject:
        return self.objects[name.lower()]

    def of_id(self, record_id: str) -> SObject | None:
        """The object that an id belongs to by its key prefix, or None."""
        name = self.prefixes.get(record_id[:3])
        return self.get(name) if name else None

    def relationship(self, sobject: SObject, name: str) -> Field | None:
        """The lookup field that a path names: `Account` -> AccountId, `Parent__r` -> Parent__c."""
        known = self._relationships.get(sobject.name)
        if known is None:
            known = {field.relationship_name.lower(): field for field in sobject.references if field.relationship_name}
            self._relationships[sobject.name] = known
        return known.get(name.lower())

    def child(self, sobject: SObject, name: str) -> ChildRelationship | None:
        """The child relationship that a subquery names (`Contacts`, `Children__r`), if its object is in the org."""
        known = self._children.get(sobject.name)
        if known is None:
            known = {}
            for item in sobject.child_relationships:
                if item.relationship_name and self.get(item.child_s_object) is not None:
                    known.setdefault(item.relationship_name.lower(), item)
            self._children[sobject.name] = known
        return known.get(name.lower())

    def parents(self, field: Field) -> tuple[SObject, ...]:
        """The objects of this org that a lookup may point at."""
        return tuple(parent for name in field.reference_to if (parent := self.get(name)) is not None)

    @staticmethod
    def column_type(field: Field) -> str | None:
        """The DuckDB type of a stored field; None for a compound field, which is computed from its parts."""
        return column_type(field)

    @staticmethod
    def columns(sobject: SObject) -> dict[str, str]:
        """Column name -> DuckDB type of an object's table, system columns included."""
        return columns(sobject)

    def ddl(self, sobject: SObject) -> str:
        """The statement that makes an object's table, if it is not there yet."""
        body = ", ".join(f"{quote(name)} {kind}" for name, kind in columns(sobject).items())
        return f"CREATE TABLE IF NOT EXISTS {quote(sobject.name)} ({body})"


def quote(name: str) -> str:
    """An SQL identifier, quoted.

    >>> quote('Order')
    '"Order"'
    """
    return '"' + name.replace('"', '""') + '"'


def column_type(field: Field) -> str | None:
    """The DuckDB type that holds a field's values; None where the field is not stored."""
    if field.type in COMPOUND_TYPES:
        return None
    if field.type in NUMBER_TYPES:
        return f"DECIMAL(38, {max(field.scale, 0)})" if field.precision > 0 else "DOUBLE"
    return {
        "boolean": "BOOLEAN",
        "int": "BIGINT",
        "long": "BIGINT",
        "date": "DATE",
        "datetime": "TIMESTAMP",
        "time": "TIME",
        "base64": "BLOB",
    }.get(field.type, "VARCHAR")


def columns(sobject: SObject) -> dict[str, str]:
    """Column name -> DuckDB type, Id first; every table has the system columns."""
    found: dict[str, str] = {"Id": "VARCHAR"}
    for field in sobject.fields:
        kind = column_type(field)
        if kind is not None:
            found[field.name] = kind
    lower = {name.lower() for name in found}
    for field in SYSTEM_FIELDS.values():
        if field.name.lower() not in lower:
            found[field.name] = column_type(field) or "VARCHAR"
    return found


def _complete(sobject: SObject) -> SObject:
    """System fields and relationship names filled in; flags of server-owned fields corrected."""
    fields = list(sobject.fields)
    known = {field.name.lower() for field in fields}
    if "id" not in known:
        # A describe without Id left the system fields out; one with Id says itself which of them it has.
        system = [field for lower, field in SYSTEM_FIELDS.items() if lower not in known]
        fields = [system[0], *fields, *system[1:]]
    projected = _is_projected(sobject)
    whole = tuple(_complete_field(field, projected) for field in fields)
    custom = sobject.custom or sobject.name.endswith("__c")
    return replace(sobject, fields=whole, custom=custom, label=sobject.label or sobject.name,
                   label_plural=sobject.label_plural or (sobject.label or sobject.name) + "s")  # fmt: skip


def _is_projected(sobject: SObject) -> bool:
    """True for a describe that lost its flags: a full one never says that every field is writable."""
    if all(field.createable for field in sobject.fields):
        return True
    own = [field for field in sobject.references if field.name.lower() not in SYSTEM_FIELDS]
    return not any(field.relationship_name for field in own)


def _complete_field(field: Field, projected: bool) -> Field:
    changes: dict[str, object] = {}
    system = SYSTEM_FIELDS.get(field.name.lower())
    if system is not None and field.createable and field.updateable:
        # Only a projection says that; audit fields that are settable on insert stay createable (never updateable).
        changes.update(createable=False, updateable=False, nillable=False, defaulted_on_create=True)
    if projected and field.name == "OwnerId" and not field.nillable:
        changes.update(defaulted_on_create=True)
    if field.type in COMPOUND_TYPES or field.calculated or field.auto_number:
        changes.update(createable=False, updateable=False)
    if field.type == "boolean" and field.nillable:
        changes.update(nillable=False, defaulted_on_create=True)
    if field.type in ("id", "reference") and not field.length:
        changes.update(length=18, byte_length=18)
    if not field.label:
        changes.update(label=field.name)
    if field.type == "reference" and not field.relationship_name and (projected or field.custom):
        changes.update(relationship_name=relationship_name(field.name))
    if not field.custom and field.name.endswith("__c"):
        changes.update(custom=True)
    if (field.external_id or field.type == "id") and not field.id_lookup:
        changes.update(id_lookup=True)
    return replace(field, **changes) if changes else field  # type: ignore[arg-type]


def relationship_name(field_name: str) -> str | None:
    """The usual relationship name of a lookup field.

    >>> relationship_name("AccountId"), relationship_name("Parent__c"), relationship_name("Manager")
    ('Account', 'Parent__r', None)
    """
    if field_name.endswith("__c"):
        return field_name[:-1] + "r"
    if field_name.endswith("Id") and len(field_name) > 2:
        return field_name[:-2]
    return None


def _with_prefixes(objects: Mapping[str, SObject], seed: int) -> dict[str, SObject]:
    """Every object with a key prefix of its own: given, standard, or drawn for this org."""
    answer = dict(objects)
    taken: set[str] = set()
    for lower, item in objects.items():
        prefix = item.key_prefix or STANDARD_PREFIXES.get(item.name)
        if prefix and prefix not in taken:
            taken.add(prefix)
            answer[lower] = replace(item, key_prefix=prefix)
        elif item.key_prefix:
            answer[lower] = replace(item, key_prefix=None)
    random = Random(f"prefixes {seed}")
    for lower in sorted(lower for lower, item in answer.items() if item.key_prefix is None):
        item = answer[lower]
        first = "a" if item.custom else "m" if item.name.endswith("__mdt") else "1"
        prefix = _draw(random, first, taken)
        taken.add(prefix)
        answer[lower] = replace(item, key_prefix=prefix)
    return answer


def _draw(random: Random, first: str, taken: set[str]) -> str:
    # Custom objects of real orgs start with a0..a9, aA..; drawing among a few hundred keeps that look.
    while True:
        prefix = first + random.choice(BASE62[:36]) + random.choice(BASE62)
        if prefix not in taken:
            return prefix


def _with_filters(item: SObject, automation: Automation) -> SObject:
    """The object whose describe tells of the declared filters of its lookups, and of no other."""
    declared = {one.name.lower(): one for one in on(automation.lookup_filters, item.name)}
    if not declared:
        return item

    def told(field: Field) -> Field:
        one = declared.get(field.name.lower())
        if one is None:
            return field
        own = sorted({path.split(".")[1] for part in one.filters for path in (part.field, part.value_field or "")
                      if path.lower().startswith("$source.")})  # fmt: skip
        info = {"controllingFields": own, "dependent": bool(own), "optionalFilter": one.optional}
        return replace(field, filtered_lookup_info=info if one.active else None)

    return replace(item, fields=tuple(told(field) for field in item.fields))


def _with_children(objects: Mapping[str, SObject]) -> dict[str, SObject]:
    """Every lookup of the org listed among its parents' child relationships."""
    missing: dict[str, list[ChildRelationship]] = {}
    for item in objects.values():
        for field in item.references:
            for parent_name in field.reference_to:
                parent = objects.get(parent_name.lower())
                if parent is None:
                    continue
                listed = any(
                    child.child_s_object.lower() == item.name.lower() and child.field.lower() == field.name.lower()
                    for child in parent.child_relationships
                )
                if not listed:
                    missing.setdefault(parent.name.lower(), []).append(_child(item, field, parent, missing))
    answer = dict(objects)
    for lower, children in missing.items():
        parent = objects[lower]
        answer[lower] = replace(parent, child_relationships=(*parent.child_relationships, *children))
    return answer


def _child(
    item: SObject, field: Field, parent: SObject, missing: Mapping[str, list[ChildRelationship]]
) -> ChildRelationship:
    name: str | None = None
    if field.name.lower() not in SYSTEM_FIELDS and field.name != "OwnerId":
        stem = item.name[: -len("__c")] if item.custom and item.name.endswith("__c") else item.name
        name = f"{stem}s__r" if field.custom else f"{stem}s"
        taken = {
            child.relationship_name for child in (*parent.child_relationships, *missing.get(parent.name.lower(), ()))
        }
        if name in taken:
            name = None
    return ChildRelationship(
        item.name,
        field.name,
        relationship_name=name,
        cascade_delete=field.master_detail or field.cascade_delete,
        restricted_delete=field.restricted_delete,
    )
