"""A deploy: an archive of metadata laid over a live org, whole or not at all."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.model import Automation, Declared, DuplicateRule, on
from isync_dagster.local_org.dml import Writer
from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.sfdx import SourceTree, read_source
from isync_dagster.local_org.seeds.sfdx_fields import Xml
from isync_dagster.local_org.seeds.sfdx_files import files_of, parse_xml, standard_value_sets
from isync_dagster.schema.model import SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

LARGEST: Final = 400 * 2**20  # bytes of an archive once unpacked, as the platform bounds it
# Standard value set -> the fields that show it.
VALUE_SETS: Final = {
    "CaseOrigin": ("Case.Origin",), "CasePriority": ("Case.Priority",), "CaseReason": ("Case.Reason",),
    "CaseStatus": ("Case.Status",), "CaseType": ("Case.Type",), "AccountType": ("Account.Type",),
    "Industry": ("Account.Industry", "Lead.Industry"), "LeadStatus": ("Lead.Status",),
    "LeadSource": ("Lead.LeadSource", "Contact.LeadSource", "Opportunity.LeadSource"),
    "OpportunityStage": ("Opportunity.StageName",), "OpportunityType": ("Opportunity.Type",),
    "Salutation": ("Contact.Salutation", "Lead.Salutation"), "TaskStatus": ("Task.Status",),
    "TaskPriority": ("Task.Priority",), "CampaignStatus": ("Campaign.Status",), "CampaignType": ("Campaign.Type",),
}  # fmt: skip
# Where the components of an archive lie, and what they are called.
KINDS: Final = {
    "object": "CustomObject", "trigger": "ApexTrigger", "duplicateRule": "DuplicateRule", "flow": "Flow",
    "matchingRule": "MatchingRules", "workflow": "Workflow", "permissionset": "PermissionSet",
    "customPermission": "CustomPermission", "globalValueSet": "GlobalValueSet", "md": "CustomMetadata",
    "standardValueSet": "StandardValueSet", "labels": "CustomLabels", "flowDefinition": "FlowDefinition",
}  # fmt: skip


@dataclass
class Component:
    """One component of a deploy; `problem` is why it fails."""

    kind: str
    name: str
    file: str
    problem: str | None = None
    created: bool = False
    deleted: bool = False

    def as_json(self) -> dict[str, Any]:
        """The component as a deploy result lists it."""
        made: dict[str, Any] = {
            "changed": self.problem is None,
            "componentType": self.kind,
            "created": self.created,
            "deleted": self.deleted,
            "fileName": self.file,
            "fullName": self.name,
            "success": self.problem is None,
            "warning": False,
        }
        if self.problem is not None:
            made |= {"problem": self.problem, "problemType": "Error"}
        return made


@dataclass
class Deployed:
    """What a deploy did."""

    components: list[Component] = field(default_factory=list)
    check_only: bool = False

    @property
    def failures(self) -> list[Component]:
        """The components that failed; with any, nothing was changed."""
        return [item for item in self.components if item.problem is not None]

    def as_json(self, deploy_id: str, when: str, user_id: str) -> dict[str, Any]:
        """The `DeployResult`."""
        failed = len(self.failures)
        total = len(self.components)
        return {
            "checkOnly": self.check_only,
            "completedDate": when,
            "createdBy": user_id,
            "createdDate": when,
            "details": {
                "componentFailures": [item.as_json() for item in self.failures],
                "componentSuccesses": [item.as_json() for item in self.components if item.problem is None],
                "runTestResult": {"numFailures": 0, "numTestsRun": 0, "totalTime": 0.0},
            },
            "done": True,
            "id": deploy_id,
            "ignoreWarnings": False,
            "lastModifiedDate": when,
            "numberComponentErrors": failed,
            "numberComponentsDeployed": 0 if failed else total,
            "numberComponentsTotal": total,
            "numberTestErrors": 0,
            "numberTestsCompleted": 0,
            "numberTestsTotal": 0,
            "rollbackOnError": True,
            "runTestsEnabled": False,
            "startDate": when,
            "status": "Failed" if failed else "Succeeded",
            "success": not failed,
        }


def deploy(org: LocalOrg, archive: bytes, *, check_only: bool = False) -> Deployed:
    """Lay an archive over the org; with any failed component, or `check_only`, nothing is changed."""
    done = Deployed(check_only=check_only)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            unpack(archive, root)
            tree = read_source(root, base={item.name: item for item in org.schema}, allow_empty=True)
        except (ConfigError, zipfile.BadZipFile, UnicodeDecodeError) as error:
            text = str(error).replace(f"{folder}/", "")
            done.components.append(Component("", "package.xml", "package.xml", text))
            return done
        done.components += _components(org, root, tree)
        objects, automation = _laid_over(org, root, tree, done)
        _find_problems(org, objects, automation, done)
        if done.failures or check_only:
            return done
        org.change_schema(objects.values(), automation)
        _write_permission_sets(org, root)
    return done


def unpack(archive: bytes, root: Path) -> None:
    """The files of an archive under `root`; ConfigError for paths that lead out of it and for too much."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        if sum(item.file_size for item in opened.infolist()) > LARGEST:
            raise ConfigError("The archive is larger than 400 MB unpacked")
        for item in opened.infolist():
            target = (root / item.filename).resolve()
            if not target.is_relative_to(root.resolve()):
                raise ConfigError(f"The archive holds a path that leads out of it: {item.filename}")
        opened.extractall(root)
    if not next(root.rglob("package.xml"), None):
        raise ConfigError("No package.xml found")


def _components(org: LocalOrg, root: Path, tree: SourceTree) -> Iterator[Component]:
    for suffix, kind in KINDS.items():
        for name, file in files_of(root, suffix):
            yield Component(kind, name, str(file.relative_to(root)), created=org.schema.get(name) is None)
    for name, item in sorted(tree.objects.items()):
        before = org.schema.get(name)
        for one in item.fields:
            if one.custom and (before is None or before.field(one.name) != one):
                known = before is not None and before.field(one.name) is not None
                yield Component("CustomField", f"{name}.{one.name}", f"objects/{name}.object", created=not known)


def _laid_over(org: LocalOrg, root: Path, tree: SourceTree, done: Deployed) -> tuple[dict[str, SObject], Automation]:
    """All objects and the automation of the org as the deploy leaves them."""
    objects = {item.name: item for item in org.schema}
    for name, item in tree.objects.items():
        before = objects.get(name)
        objects[name] = item if before is None else _keeping_record_types(item, before)
    for name, values in standard_value_sets(root):
        for path in VALUE_SETS.get(name, ()):
            sobject, _, one = path.partition(".")
            if (shown := objects.get(sobject)) is not None and shown.field(one) is not None:
                entries = tuple(value.picklist_value() for value in values)
                fields = tuple(replace(f, picklist_values=entries) if f.name == one else f for f in shown.fields)
                objects[sobject] = replace(shown, fields=fields)
        if name not in VALUE_SETS:
            done.components.append(
                Component("StandardValueSet", name, f"standardValueSets/{name}", f"No standard value set {name}")
            )
    automation = org.schema.automation.plus(_keeping_effects(org.schema.automation, tree.automation))
    for name, file in files_of(root, "flowDefinition"):
        number = parse_xml(file).number("activeVersionNumber")
        flow = next((item for item in automation.flows if item.kind == "flow" and item.name == name), None)
        if flow is None:
            done.components.append(Component("FlowDefinition", name, file.name, f"no flow named {name} found"))
            continue
        changed = flow.model_copy(update={"active": number > 0, "active_version": number or flow.active_version})
        automation = automation.plus(Automation(flows=(changed,)))
    for file in sorted(root.rglob("destructiveChanges*.xml")):
        automation = _destroy(parse_xml(file), objects, automation, done)
    return objects, automation


def _keeping_record_types(item: SObject, before: SObject) -> SObject:
    """Record types deployed again keep the id that they have."""
    ids = {info.developer_name: info.record_type_id for info in before.record_type_infos}
    infos = {info.developer_name: info for info in before.record_type_infos}
    for info in item.record_type_infos:
        if info.developer_name not in infos or not info.record_type_id:
            infos[info.developer_name] = replace(info, record_type_id=ids.get(info.developer_name, ""))
    return replace(item, record_type_infos=tuple(infos.values()))


def _keeping_effects(have: Automation, given: Automation) -> Automation:
    """Triggers deployed again keep the effect that was declared for them: their code says none to the local org."""
    old = {(item.sobject.lower(), item.name.lower()): item for item in have.triggers}
    triggers = [
        known.model_copy(update={"active": item.active, "body": item.body or known.body})
        if (known := old.get((item.sobject.lower(), item.name.lower()))) is not None
        else item
        for item in given.triggers
    ]
    rules = {(item.sobject.lower(), item.name.lower()): item for item in have.duplicate_rules}
    duplicates = [_with_match(item, rules) for item in given.duplicate_rules]
    flows = {(item.sobject.lower(), item.name.lower()): item for item in have.flows}
    merged = [
        declared.model_copy(update={"active": item.active})
        if not item.understood and (declared := flows.get((item.sobject.lower(), item.name.lower()))) is not None
        else item
        for item in given.flows
    ]
    return given.model_copy(
        update={"triggers": tuple(triggers), "duplicate_rules": tuple(duplicates), "flows": tuple(merged)}
    )


def _with_match(item: DuplicateRule, known: dict[tuple[str, str], DuplicateRule]) -> DuplicateRule:
    """A duplicate rule deployed without its matching rule keeps the fields that it compared."""
    before = known.get((item.sobject.lower(), item.name.lower()))
    return item if before is None else item.model_copy(update={"match": before.match})


def _destroy(root: Xml, objects: dict[str, SObject], automation: Automation, done: Deployed) -> Automation:
    """Take away what a destructiveChanges.xml names."""
    for part in root.all("types"):
        kind = part.need("name")
        for member in part.all("members"):
            full = (member.element.text or "").strip()
            found: Any = None
            sobject, _, name = full.partition(".")
            item = objects.get(sobject)
            if kind == "CustomField" and item is not None and item.field(name) is not None:
                found = item
                objects[sobject] = replace(item, fields=tuple(one for one in item.fields if one.name != name))
            elif kind == "CustomObject" and item is not None and item.custom:
                found = objects.pop(sobject)
            else:
                rules: dict[str, tuple[Declared, ...]] = {
                    "ValidationRule": on(automation.validation_rules, sobject),
                    "DuplicateRule": on(automation.duplicate_rules, sobject),
                    "ApexTrigger": automation.triggers,
                    "Flow": automation.flows,
                }
                wanted = name or full
                found = next((one for one in rules.get(kind, ()) if getattr(one, "name", "") == wanted), None)
                if found is not None:
                    automation = automation.without([found])
            problem = None if found is not None else f"No {kind} named: {full} found"
            done.components.append(Component(kind, full, "destructiveChanges.xml", problem, deleted=True))
    return automation


def _find_problems(org: LocalOrg, objects: dict[str, SObject], automation: Automation, done: Deployed) -> None:
    """Put what is wrong beside the component that it is wrong with."""
    made = OrgSchema(objects.values(), seed=org.settings.seed, automation=automation)
    fresh = {key: text for key, text in made.problems.items() if key not in org.schema.problems}
    for key, text in fresh.items():
        kind, _, name = key.partition(" ")
        _fail(done, {"Field": "CustomField"}.get(kind, kind), name, text)
    for item in made:
        for one in item.references:
            known = (before := org.schema.get(item.name)) is not None and before.field(one.name) is not None
            missing = [name for name in one.reference_to if made.get(name) is None]
            if missing and one.custom and not known:
                text = f"referenceTo value of '{missing[0]}' does not resolve to a valid sObject type"
                _fail(done, "CustomField", f"{item.name}.{one.name}", text)


def _fail(done: Deployed, kind: str, name: str, problem: str) -> None:
    for item in done.components:
        if item.name == name and item.kind == kind:
            item.problem = problem
            return
    sobject = name.partition(".")[0]
    done.components.append(Component(kind, name, f"objects/{sobject}.object", problem))


def _write_permission_sets(org: LocalOrg, root: Path) -> None:
    """Permission sets as rows, with the custom permissions that they hold."""
    for name, file in files_of(root, "permissionset"):
        xml = parse_xml(file)
        sobject, access = org.schema["PermissionSet"], org.schema["SetupEntityAccess"]
        with org.storage.transaction() as cursor:
            writer = Writer(org.schema, org.storage, cursor, org.actor())
            label = xml.text("label") or name
            found = org.storage.rows('SELECT "Id" FROM "PermissionSet" WHERE "Name" = ?', [name])
            if found:
                cursor.execute('UPDATE "PermissionSet" SET "Label" = ? WHERE "Id" = ?', [label, found[0][0]])
            else:
                writer.store_new(sobject, pl.DataFrame([{"Name": name, "Label": label, "IsCustom": True}]))
            (set_id,) = org.storage.rows('SELECT "Id" FROM "PermissionSet" WHERE "Name" = ?', [name])[0]
            for part in xml.all("customPermissions"):
                row = org.storage.rows(
                    'SELECT "Id" FROM "CustomPermission" WHERE "DeveloperName" = ?', [part.need("name")]
                )
                cursor.execute(
                    'DELETE FROM "SetupEntityAccess" WHERE "ParentId" = ? AND "SetupEntityId" = ?',
                    [set_id, row[0][0] if row else ""],
                )
                if row and part.flag("enabled", True):
                    made = {"ParentId": set_id, "SetupEntityId": row[0][0], "SetupEntityType": "CustomPermission"}
                    writer.store_new(access, pl.DataFrame([made]))
