"""The declarations that work on one object, sorted by the moment at which a save asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from isync_dagster.local_org.automation.filters import filters_sql
from isync_dagster.local_org.automation.model import (
    Assignment,
    DuplicateRule,
    Flow,
    LookupFilter,
    RecordTypeValues,
    Trigger,
    ValidationRule,
    on,
)
from isync_dagster.local_org.automation.names import Moment, RecordNames
from isync_dagster.local_org.formula import FormulaError, compile_formula, compile_value
from isync_dagster.local_org.formula.ast import Reference
from isync_dagster.schema.model import Field, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.org_schema import OrgSchema

_CHECK = Moment(datetime(2000, 1, 1), None)


@dataclass(frozen=True)
class ObjectRules:
    """What is declared for one object and works: active, and its formulas can be worked out."""

    validation: tuple[ValidationRule, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    flows: tuple[Flow, ...] = ()
    duplicates: tuple[DuplicateRule, ...] = ()
    lookup_filters: tuple[LookupFilter, ...] = ()
    values: tuple[RecordTypeValues, ...] = ()
    usual: tuple[RecordTypeValues, ...] = ()
    dependents: tuple[Field, ...] = ()
    defaults: tuple[Field, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__dataclass_fields__)

    def triggers_on(self, event: str) -> tuple[Trigger, ...]:
        """The triggers of an event such as `before insert`."""
        return tuple(item for item in self.triggers if event in item.events)

    def flows_on(self, when: str, event: str) -> tuple[Flow, ...]:
        """The flows that run `before` or `after` a save, on `create` or `update`."""
        return tuple(item for item in self.flows if item.when == when and event in item.events)


def rules_of(schema: OrgSchema, sobject: SObject) -> tuple[ObjectRules, dict[str, str]]:
    """The rules of an object, and those that cannot work (`ValidationRule Account.Name`), each with the reason."""
    wrong: dict[str, str] = {}
    automation = schema.automation

    def fits(kind: str, name: str, check: object) -> bool:
        try:
            assert callable(check)
            check()
        except FormulaError as error:
            wrong[f"{kind} {sobject.name}.{name}"] = str(error)
            return False
        return True

    def condition(text: str) -> None:
        names = RecordNames(schema, sobject, _CHECK, "n", prior="o")
        compile_value(text, names, "boolean")
        _ = names.joins

    def assigns(items: tuple[Assignment, ...]) -> None:
        for item in items:
            names = RecordNames(schema, sobject, _CHECK, "n", prior="o")
            target = sobject
            if item.record:
                target = names.target_of(item.record)
            if target.field(item.field) is None:
                raise FormulaError(f"{target.name} has no field {item.field}")
            compile_formula(item.formula, names)

    def effects(item: Trigger | Flow) -> None:
        condition(item.condition)
        assigns(item.assign)
        for made in item.create if isinstance(item, Flow) else ():
            other = schema.get(made.sobject)
            if other is None:
                raise FormulaError(f"the org has no object {made.sobject}")
            for name, formula in made.values.items():
                if other.field(name) is None:
                    raise FormulaError(f"{other.name} has no field {name}")
                compile_formula(formula, RecordNames(schema, sobject, _CHECK, "n", prior="o"))

    def duplicate(item: DuplicateRule) -> None:
        for name in item.match:
            if sobject.field(name) is None:
                raise FormulaError(f"{sobject.name} has no field {name}")

    def lookup(item: LookupFilter) -> None:
        names = RecordNames(schema, sobject, _CHECK, "n")
        lookup_filter_sql(schema, sobject, item, names)
        _ = names.joins

    rules = ObjectRules(
        validation=tuple(
            item
            for item in on(automation.validation_rules, sobject.name)
            if fits("ValidationRule", item.name, lambda item=item: condition(item.formula)) and item.active
        ),
        triggers=tuple(
            item
            for item in on(automation.triggers, sobject.name)
            if fits("ApexTrigger", item.name, lambda item=item: effects(item)) and item.active
        ),
        flows=tuple(
            item
            for item in on(automation.flows, sobject.name)
            if fits("Flow", item.name, lambda item=item: effects(item)) and item.active
        ),
        duplicates=tuple(
            item
            for item in on(automation.duplicate_rules, sobject.name)
            if fits("DuplicateRule", item.name, lambda item=item: duplicate(item)) and item.active
        ),
        lookup_filters=tuple(
            item
            for item in on(automation.lookup_filters, sobject.name)
            if fits("LookupFilter", item.name, lambda item=item: lookup(item)) and item.active and not item.optional
        ),
        values=tuple(
            item
            for item in on(automation.record_type_values, sobject.name)
            if (field := sobject.field(item.name)) is not None and field.restricted_picklist
        ),
        usual=tuple(
            item
            for item in on(automation.record_type_values, sobject.name)
            if item.default is not None and (field := sobject.field(item.name)) is not None and field.createable
        ),
        dependents=tuple(
            field
            for field in sobject.fields
            if field.restricted_picklist
            and field.controller_name
            and sobject.field(field.controller_name) is not None
            and any(entry.valid_for for entry in field.picklist_values)
        ),
        defaults=tuple(
            field
            for field in sobject.fields
            if field.default_value_formula
            and not field.calculated
            and field.default_value in (None, "")
            and fits("DefaultValue", field.name, lambda field=field: condition_free(schema, sobject, field))
        ),
    )
    return rules, wrong


def condition_free(schema: OrgSchema, sobject: SObject, field: Field) -> None:
    """Check the formula of a default value."""
    compile_formula(field.default_value_formula or "", RecordNames(schema, sobject, _CHECK, "n"))


def lookup_filter_sql(schema: OrgSchema, sobject: SObject, item: LookupFilter, names: RecordNames) -> str:
    """The SQL that says whether the parent of a lookup meets its filter."""
    field = sobject.field(item.name)
    if field is None or not field.is_reference or not field.relationship_name:
        raise FormulaError(f"{sobject.name} has no lookup {item.name}")
    targets = {parent.name.lower() for parent in schema.parents(field)}
    relationship = field.relationship_name

    def path(text: str) -> Reference:
        first, *rest = text.split(".")
        if first.lower() == "$source":
            return Reference(tuple(rest))
        if first.startswith("$"):
            return Reference((first, *rest))
        steps = rest if first.lower() in targets and rest else [first, *rest]
        return Reference((relationship, *steps))

    return filters_sql(names, item.filters, item.boolean_filter, path)
