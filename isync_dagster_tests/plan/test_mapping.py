"""Which field goes where, and that whatever stays behind says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isync_dagster.errors import PlanError
from isync_dagster.plan.conversion import narrowing, refusal
from isync_dagster.plan.model import KeyPart, ObjectPlan
from isync_dagster.schema.model import Field, SObject
from isync_dagster_tests.plan.builders import READ_ONLY, lookup, picklist, plan_of, recipe, sobject, text


def planned(source: SObject, target: SObject | None = None, **settings: object) -> ObjectPlan:
    objects = {source.name: settings} if settings else {}
    return plan_of(recipe(source.name, objects=objects), [source], [target or source]).objects[0]


def written(plan: ObjectPlan) -> list[tuple[str, str]]:
    return [(mapping.source.name, mapping.target.name) for mapping in plan.fields]


def reason(plan: ObjectPlan, field: str) -> str:
    return next(item.reason for item in plan.dropped if item.field == field)


def test_fields_go_to_the_same_name_in_any_case_or_where_they_are_mapped() -> None:
    source = sobject("A__c", text("One__c"), text("Two__c"), text("Three__c"))
    target = sobject("B__c", text("ONE__c"), text("Second__c"), text("Three__c"))
    plan = planned(source, target, target_object="B__c", fields={"two__c": "second__C"})
    assert written(plan) == [("Name", "Name"), ("One__c", "ONE__c"), ("Two__c", "Second__c"), ("Three__c", "Three__c")]
    assert (plan.object, plan.target_object) == ("A__c", "B__c")


def test_every_source_field_is_written_or_dropped_with_a_reason() -> None:
    source = sobject(
        "A__c",
        text("Carried__c"),
        text("Excluded__c"),
        text("Formula__c", calculated=True, **READ_ONLY),
        text("Old__c", deprecated_and_hidden=True),
        Field("Address__c", "address", **READ_ONLY),
        Field("Body__c", "base64"),
        lookup("Parent__c", "A__c"),
    )
    plan = planned(source, exclude_fields=["excluded__C"])
    used = {mapping.source.name for mapping in plan.fields} | {item.source.name for item in plan.lookups}
    assert used | {item.field for item in plan.dropped} == set(source.by_name)
    assert used == {"Name", "Carried__c", "Parent__c"}
    assert reason(plan, "Id") == "the record's own id: the id map keeps it"
    assert reason(plan, "SystemModstamp") == "only Salesforce sets it"
    assert reason(plan, "Excluded__c") == "excluded by the template"
    assert reason(plan, "Formula__c").startswith("formula or roll-up in the target")
    assert reason(plan, "Old__c") == "deprecated and hidden in the source"
    assert reason(plan, "Address__c") == "compound field: its parts are carried"
    assert "binary" in reason(plan, "Body__c")
    assert "Set Audit Fields" in reason(plan, "CreatedDate")


def test_audit_fields_are_written_once_where_the_target_lets_them() -> None:
    source = sobject("A__c")
    opened = replace(
        source,
        fields=tuple(
            replace(field, createable=True) if field.name in {"CreatedDate", "CreatedById", "SystemModstamp"} else field
            for field in source.fields
        ),
    )
    plan = planned(source, opened)
    created = plan.mapping("CreatedDate")
    assert created.insertable and not created.updateable
    assert plan.lookup("CreatedById").references == ("User",)
    assert not plan.lookup("CreatedById").required
    assert reason(plan, "SystemModstamp") == "only Salesforce sets it"


def test_a_field_the_target_lacks_is_a_problem_that_names_the_ways_out() -> None:
    source = sobject("A__c", text("Fax__c"), text("Color__c"), text("Sum__c", calculated=True, **READ_ONLY))
    with pytest.raises(PlanError) as caught:
        planned(source, sobject("A__c", text("Colour__c")))
    message = str(caught.value)
    assert "A__c: the target's A__c lacks Fax__c, Color__c (Colour__c?)." in message
    assert all(way in message for way in ("exclude_fields", "fields", "skip_missing_fields"))
    assert "Sum__c" not in message


def test_skipping_missing_fields_drops_them_and_warns() -> None:
    mine = recipe("A__c", settings={"skip_missing_fields": True})
    plan = plan_of(mine, [sobject("A__c", text("Fax__c"))], [sobject("A__c")])
    assert reason(plan.objects[0], "Fax__c") == "not in the target (skip_missing_fields)"
    assert plan.warnings == ("A__c: skip_missing_fields: the target's A__c lacks Fax__c",)


def test_a_field_closed_to_the_target_user_is_dropped_with_a_warning() -> None:
    plan = plan_of(recipe("A__c"), [sobject("A__c", text("Fax__c"))], [sobject("A__c", text("Fax__c", **READ_ONLY))])
    assert reason(plan.objects[0], "Fax__c") == "read-only in the target"
    assert any("Fax__c" in warning and "field-level security" in warning for warning in plan.warnings)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"One__c": "Nowhere__c"}, "is mapped to Nowhere__c, which the target does not have"),
        ({"One__c": "Formula__c"}, "is mapped to Formula__c, which cannot be written: formula"),
        ({"One__c": "Two__c", "Three__c": "Two__c"}, "One__c is mapped to Two__c too"),
        ({"One__c": "Number__c"}, "string does not go to double without loss"),
        ({"One__c": "Parent__c"}, "string does not go to reference"),
        ({"Parent__c": "One__c"}, "an id of the source org means nothing in the target"),
        ({"Id": "One__c"}, "name that field as migration_key"),
    ],
)
def test_mappings_that_cannot_work_are_refused(fields: dict[str, str], message: str) -> None:
    source = sobject(
        "A__c",
        text("One__c"),
        text("Two__c"),
        text("Three__c"),
        text("Formula__c", calculated=True, **READ_ONLY),
        Field("Number__c", "double", precision=10, scale=2),
        lookup("Parent__c", "A__c"),
    )
    with pytest.raises(PlanError, match=message):
        planned(source, fields=fields)


def test_a_target_field_taken_by_a_mapping_leaves_its_namesake_out() -> None:
    plan = planned(sobject("A__c", text("One__c"), text("Two__c")), fields={"One__c": "Two__c"})
    assert ("One__c", "Two__c") in written(plan)
    assert reason(plan, "Two__c") == "the target field of this name is filled from One__c"


def number(precision: int, scale: int, kind: str = "double") -> Field:
    return Field("N__c", kind, precision=precision, scale=scale)


@pytest.mark.parametrize(
    ("source", "target", "fits"),
    [
        (text("A"), picklist("B"), True),
        (picklist("A"), Field("B", "multipicklist", length=4099), True),
        (number(10, 2), text("B"), True),
        (Field("A", "boolean"), text("B"), True),
        (Field("A", "datetime"), text("B"), True),
        (Field("A", "int", digits=8), number(18, 0), True),
        (number(10, 2, "currency"), number(10, 2, "percent"), True),
        (number(8, 0), Field("B", "int", digits=8), True),
        (number(8, 2), Field("B", "int", digits=8), False),
        (text("A"), number(10, 2), False),
        (text("A"), Field("B", "date"), False),
        (text("A"), Field("B", "boolean"), False),
        (Field("A", "datetime"), Field("B", "date"), False),
        (Field("A", "date"), Field("B", "datetime"), False),
        (Field("A", "boolean"), number(1, 0), False),
        (lookup("A", "X"), text("B"), False),
        (lookup("A", "X"), lookup("B", "X"), True),
        (Field("A", "id"), text("B"), False),
    ],
)
def test_types_convert_only_where_nothing_is_lost(source: Field, target: Field, fits: bool) -> None:
    assert (refusal(source, target) is None) is fits


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        (text("A", 255), text("B", 80), "takes 80 characters, the source up to 255"),
        (text("A", 80), text("B", 80), None),
        (number(18, 2), number(10, 2), "takes 8 digits before the decimal point, the source 16"),
        (number(18, 4), number(18, 2), "takes 2 decimals, the source 4"),
        (number(18, 2), number(18, 2), None),
        (number(18, 2), text("B", 10), None),
    ],
)
def test_narrower_targets_are_told(source: Field, target: Field, told: str | None) -> None:
    assert narrowing(source, target) == told


def test_narrower_targets_are_a_warning_of_the_plan() -> None:
    plan = plan_of(recipe("A__c"), [sobject("A__c", text("T__c", 255))], [sobject("A__c", text("T__c", 40))])
    assert (
        "A__c.T__c: A__c.T__c takes 40 characters, the source up to 255; the preflight counts the rows" in plan.warnings
    )


def test_picklist_values_are_mapped_and_checked() -> None:
    source = sobject("A__c", picklist("Kind__c", "Old", "Gone", "Same"))
    target = sobject("A__c", picklist("Kind__c", "New", "Same", restricted=True))
    values = {"Old": "New", "Gone": None}
    plan = plan_of(recipe("A__c", objects={"A__c": {"picklists": {"Kind__c": values}}}), [source], [target])
    assert plan.objects[0].mapping("Kind__c").picklist == {"Old": "New", "Gone": ""}
    assert plan.warnings == ()
    unmapped = plan_of(recipe("A__c"), [source], [target])
    assert any("is restricted and refuses Gone, Old" in warning for warning in unmapped.warnings)
    with pytest.raises(PlanError, match="'Old' becomes 'Nwe', which Kind__c refuses; did you mean 'New'"):
        planned(source, target, picklists={"Kind__c": {"Old": "Nwe"}})


def test_picklists_of_a_field_that_is_not_carried_are_refused() -> None:
    source = sobject("A__c", picklist("Kind__c", "Old", calculated=True, **READ_ONLY))
    with pytest.raises(PlanError, match="picklists: the field is not carried: formula"):
        planned(source, picklists={"Kind__c": {"Old": "New"}})


def test_a_required_target_field_that_nothing_fills_is_a_problem() -> None:
    target = sobject("A__c", text("Code__c", nillable=False), text("Kind__c", nillable=False, default_value="x"))
    with pytest.raises(PlanError, match=r"A__c requires Code__c in the target and nothing fills them"):
        planned(sobject("A__c"), target)
    assert planned(sobject("A__c"), target, insert_new=False, match_key="Name").insert_new is False


MIGRATION_KEY = text("Legacy_Id__c", 18, external_id=True, unique=True)


def test_the_migration_key_receives_the_source_id_and_nothing_else() -> None:
    item = sobject("A__c", MIGRATION_KEY)
    plan = planned(item, migration_key="legacy_id__C")
    assert plan.migration_key == "Legacy_Id__c"
    assert ("Legacy_Id__c", "Legacy_Id__c") not in written(plan)
    assert "receives the source id" in reason(plan, "Legacy_Id__c")
    assert planned(item, migration_key="Legacy_Id__c", fields={"Id": "Legacy_Id__c"}).migration_key == "Legacy_Id__c"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (replace(MIGRATION_KEY, unique=False), "both External ID and Unique"),
        (replace(MIGRATION_KEY, external_id=False), "both External ID and Unique"),
        (replace(MIGRATION_KEY, length=15), "at least 18 characters"),
        (replace(MIGRATION_KEY, type="double", length=0), "must be text"),
        (replace(MIGRATION_KEY, createable=False), "may not write the field"),
        (replace(MIGRATION_KEY, name="Other__c"), "the target has no such field"),
    ],
)
def test_a_migration_key_must_be_able_to_hold_ids(key: Field, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        planned(sobject("A__c"), sobject("A__c", key), migration_key="Legacy_Id__c")


def test_match_keys_may_be_same_name_cross_name_or_composite() -> None:
    source = sobject("A__c", text("City__c"), lookup("Parent__c", "B__c"))
    target = sobject("A__c", text("Town__c", case_sensitive=True), lookup("Parent__c", "B__c"))
    settings = {"match_key": ["Name", "City__c = Town__c", "Parent__c"], "fields": {"City__c": "Town__c"}}
    mine = recipe("A__c", "B__c", objects={"A__c": settings})
    plan = plan_of(mine, [source, sobject("B__c")], [target, sobject("B__c")]).object("A__c")
    assert plan.match_key == (
        KeyPart("Name", "Name"),
        KeyPart("City__c", "Town__c", case_sensitive=True),
        KeyPart("Parent__c", "Parent__c", is_lookup=True),
    )


def test_a_key_field_that_is_not_written_is_carried_for_comparison_only() -> None:
    item = sobject("A__c", text("Number__c", auto_number=True, **READ_ONLY))
    plan = planned(item, match_key="Number__c")
    mapping = plan.mapping("Number__c")
    assert not mapping.insertable and not mapping.updateable
    assert plan.source_fields == ("Id", "Name", "Number__c", "SystemModstamp")
    assert reason(plan, "Number__c").startswith("read for the match key, not written (auto number")
    assert plan.staged == ()


def test_a_cross_name_key_that_nothing_fills_is_told() -> None:
    source, target = sobject("A__c", text("City__c")), sobject("A__c", text("City__c"), text("Town__c"))
    plan = plan_of(recipe("A__c", objects={"A__c": {"match_key": "City__c=Town__c"}}), [source], [target])
    assert any("nothing fills Town__c" in warning for warning in plan.warnings)
    assert not plan.objects[0].mapping("Town__c").insertable


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("Long__c", "Long__c cannot be filtered in the source"),
        ("Id", "an id differs between orgs"),
        ("Name=Other__c", "Other__c is filled from Other__c, not from Name"),
        ("Name=Nowhere__c", "the target has no field Nowhere__c"),
        ("Self__c", "a lookup to A__c itself is filled later"),
        ("Fixed__c", "is not written by inserts"),
    ],
)
def test_match_keys_that_cannot_be_compared_are_refused(key: str, message: str) -> None:
    source = sobject(
        "A__c",
        text("Long__c", filterable=False),
        text("Other__c"),
        lookup("Self__c", "A__c"),
        lookup("Fixed__c", "User", **READ_ONLY),
    )
    with pytest.raises(PlanError, match=message):
        planned(source, match_key=key)


def test_a_lookup_of_a_match_key_is_never_deferred() -> None:
    account = sobject("Account", lookup("Main__c", "Contact"))
    contact = sobject("Contact", lookup("AccountId", "Account"))
    keys = {"Account": {"match_key": ["Name", "Main__c"]}}
    plan = plan_of(recipe("Account", "Contact", objects=keys), [account, contact])
    assert [item.object for item in plan.objects] == ["Contact", "Account"]
    keys["Contact"] = {"match_key": ["Name", "AccountId"]}
    with pytest.raises(PlanError, match="part of a match key"):
        plan_of(recipe("Account", "Contact", objects=keys), [account, contact])


def test_names_of_people_are_composed_and_their_parts_are_carried() -> None:
    contact = sobject(
        "Contact",
        text("Name", name_field=True, extra_type_info="personname", **READ_ONLY),
        text("FirstName", extra_type_info="personname"),
        text("LastName", nillable=False, extra_type_info="personname"),
    )
    plan = planned(contact)
    assert written(plan) == [("FirstName", "FirstName"), ("LastName", "LastName")]
    assert "composed by Salesforce" in reason(plan, "Name")


def test_fields_of_person_accounts_stay_behind_and_the_plan_says_so() -> None:
    flag = Field("IsPersonAccount", "boolean", nillable=False, **READ_ONLY)
    account = sobject("Account", flag, text("LastName"), text("PersonEmail"), text("Tier__pc"), text("Personality__c"))
    plan = plan_of(recipe("Account"), [account])
    assert written(plan.objects[0]) == [("Name", "Name"), ("Personality__c", "Personality__c")]
    assert "person accounts" in reason(plan.objects[0], "LastName")
    assert any("IsPersonAccount = false" in warning for warning in plan.warnings)
    scoped = plan_of(recipe({"object": "Account", "where": "isPersonAccount = FALSE"}), [account])
    assert scoped.warnings == ()


def test_rules_of_standard_objects_drop_what_would_be_written_twice() -> None:
    opportunity = sobject("Opportunity", lookup("ContactId", "Contact", updateable=False))
    role = sobject("OpportunityContactRole", lookup("OpportunityId", "Opportunity"))
    line = sobject(
        "OpportunityLineItem",
        Field("UnitPrice", "currency", precision=18, scale=2),
        Field("TotalPrice", "currency", precision=18, scale=2),
    )
    event = sobject("Event", Field("IsRecurrence", "boolean", nillable=False), text("RecurrenceType"))
    mine = recipe("Opportunity", "OpportunityContactRole", "OpportunityLineItem", "Event")
    plan = plan_of(mine, [opportunity, role, line, event])
    assert "contact role" in reason(plan.object("Opportunity"), "ContactId")
    assert "UnitPrice is carried" in reason(plan.object("OpportunityLineItem"), "TotalPrice")
    assert {item.field for item in plan.object("Event").dropped} >= {"IsRecurrence", "RecurrenceType"}
    alone = plan_of(recipe("Opportunity"), [opportunity])
    assert alone.object("Opportunity").lookup("ContactId").others == ("Contact",)
