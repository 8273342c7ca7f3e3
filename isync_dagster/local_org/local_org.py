"""A local org: a folder with a database that answers as a Salesforce org does.

`LocalOrg.create` makes one from describes, `LocalOrg.open` finds it again, `serve()` puts it on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.automation.defaults import fill_default_formulas
from isync_dagster.local_org.automation.model import Automation
from isync_dagster.local_org.automation.names import Moment
from isync_dagster.local_org.automation.records import write_records
from isync_dagster.local_org.conditions import Conditions
from isync_dagster.local_org.cursors import forget
from isync_dagster.local_org.defaults import Actor, fill_defaults, fill_insert
from isync_dagster.local_org.derive import derive_insert
from isync_dagster.local_org.dml import Writer
from isync_dagster.local_org.ids import to18_expr
from isync_dagster.local_org.lists import list_rows
from isync_dagster.local_org.org_schema import AUDIT_FIELDS, OrgSchema, column_type
from isync_dagster.local_org.settings import SETTINGS, OrgSettings, new_settings
from isync_dagster.local_org.storage import Storage, field_types, insert_frame
from isync_dagster.local_org.values import parse
from isync_dagster.schema.model import RecordTypeInfo, SObject

if TYPE_CHECKING:
    from isync_dagster.local_org.server import Served

SCHEMA: Final = "schema.json"
AUTOMATION: Final = "automation.json"
ROW_BYTES: Final = 2048  # what the platform counts for a row of most objects
SLICE: Final = 200_000  # rows that are loaded in one transaction

# Objects whose rows are part of the schema.
METADATA: Final = frozenset(
    {
        "ApexClass", "ApexTrigger", "CustomField", "CustomObject", "CustomPermission", "DuplicateRule", "Flow",
        "FlowDefinition", "FlowDefinitionView", "PermissionSet", "RecordType", "ValidationRule", "WorkflowRule",
    }
)  # fmt: skip

# Standard objects on which "Set Audit Fields upon Record Creation" works; all custom objects have it too.
AUDITED: Final = frozenset(
    {
        "Account", "Attachment", "CampaignMember", "Case", "CaseComment", "Contact", "ContentNote", "ContentVersion",
        "Contract", "EmailMessage", "Event", "FeedItem", "FeedComment", "Idea", "IdeaComment", "Lead", "Opportunity",
        "Quote", "Task", "Vote", "WorkOrder",
    }
)  # fmt: skip


class LocalOrg:
    """One org: `.schema`, `.storage`, `.settings`; use as a context manager or `close()` it."""

    def __init__(self, folder: Path, settings: OrgSettings, schema: OrgSchema, storage: Storage) -> None:
        self.folder = folder
        self.settings = settings
        self.schema = schema
        self.storage = storage
        self.conditions = Conditions()
        storage.row_limit = settings.data_storage_mb * 2**20 // ROW_BYTES
        self._record_types: list[dict[str, object]] = []

    @classmethod
    def create(
        cls,
        folder: Path,
        schema: Iterable[SObject],
        *,
        name: str,
        organization_type: str = "Developer Edition",
        is_sandbox: bool = False,
        seed: int = 0,
        users: Sequence[Mapping[str, Any]] | None = None,
        audit_fields: bool = False,
        automation: Automation | None = None,
        **switches: Any,
    ) -> LocalOrg:
        """Make a new org in an empty or new folder.

        The org gets its Organization row, a System Administrator (the user of the API), its record types with ids
        of its own, and the standard price book where it has price books. `users` are further users by field.
        `seed` decides the org id, the pod of all ids and the key prefixes of custom objects. `automation` is what the
        org does by itself (rules, triggers, flows, roll-ups); what of it cannot work is listed in
        `.schema.problems`.
        """
        folder = Path(folder)
        if (folder / SETTINGS).exists():
            raise ConfigError(f"{folder} already holds a local org: open it, or choose another folder.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = new_settings(
            name,
            seed,
            organization_type=organization_type,
            is_sandbox=is_sandbox,
            audit_fields=audit_fields,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            **switches,
        )
        objects = _with_setup_objects(schema)
        if audit_fields:
            objects = [_with_audit_fields(item) for item in objects]
        known = OrgSchema(objects, seed=seed, automation=automation)
        storage = Storage.open(folder, known, seed=seed)
        org = cls(folder, settings, known, storage)
        org._write_schema(org._number_record_types())
        org._seed(users or ())
        org.declare(known.automation)
        org.storage.keep_as_new()
        org.settings.save(folder)
        return org

    @classmethod
    def open(cls, folder: Path) -> LocalOrg:
        """Open an org made before; StoreError while another process has it open."""
        folder = Path(folder)
        settings = OrgSettings.load(folder)
        described = json.loads((folder / SCHEMA).read_text())
        declared = folder / AUTOMATION
        automation = Automation.model_validate_json(declared.read_text()) if declared.exists() else None
        schema = OrgSchema((SObject.from_json(item) for item in described), seed=settings.seed, automation=automation)
        storage = Storage.open(folder, schema, seed=settings.seed)
        forget(folder)
        return cls(folder, settings, schema, storage)

    def __enter__(self) -> LocalOrg:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write everything down and let go of the folder."""
        self.storage.close()

    @property
    def org_id(self) -> str:
        """The organization id, 18 characters."""
        return self.settings.org_id

    @staticmethod
    def now() -> datetime:
        """The org's clock: UTC, whole seconds, naive as the tables hold it."""
        return datetime.now(UTC).replace(microsecond=0, tzinfo=None)

    @staticmethod
    def query_time() -> datetime:
        """The org's clock with its zone, from which relative dates of a query start."""
        return datetime.now(UTC).replace(microsecond=0)

    def actor(self, user_id: str | None = None) -> Actor:
        """Who writes now: that user, or the administrator."""
        return Actor(user_id or self.settings.user_id, self.now())

    def describe(self, name: str) -> SObject:
        """The object of that name; ConfigError where the org has none."""
        found = self.schema.get(name)
        if found is None:
            raise ConfigError(f"The local org {self.settings.name} has no object {name}.")
        return found

    def table(self, name: str) -> pl.DataFrame:
        """All columns and rows of an object, computed ones and deleted rows included."""
        item = self.describe(name)
        moment = Moment(self.now(), self.settings.user_id)
        relation = self.schema.relation(item, self.schema.computed_of(item), moment)
        return self.storage.frame(f"SELECT * FROM {relation}")

    def counts(self) -> Mapping[str, int]:
        """Object -> rows that are not deleted."""
        return self.storage.counts()

    def load(self, name: str, frame: pl.DataFrame) -> pl.Series:
        """Put rows into an object without the API and without its checks; gives their Ids in order.

        Columns are field names, typed or String; what is absent (Id, owner, audit and system fields, defaults,
        numbers) is filled in as an insert would.
        """
        sobject = self.describe(name)
        typed = _typed(sobject, frame)
        ids: list[pl.Series] = []
        for part in typed.iter_slices(SLICE):
            with self.storage.transaction() as cursor:
                if "Id" in part.columns:
                    part = self._some_ids(sobject, part)
                filled = fill_defaults(part, sobject)
                if (rules := self.schema.rules(sobject)) is not None and rules.defaults:
                    writer = Writer(self.schema, self.storage, cursor, self.actor())
                    numbered = filled.with_row_index("_row")
                    filled = fill_default_formulas(writer, sobject, numbered).drop("_row")
                full = derive_insert(filled, sobject, part.columns)
                full = fill_insert(full, sobject, self.storage, self.actor())
                insert_frame(cursor, sobject, full)
                ids.append(full["Id"])
        return pl.concat(ids) if ids else pl.Series("Id", dtype=pl.String)

    def _some_ids(self, sobject: SObject, part: pl.DataFrame) -> pl.DataFrame:
        missing = part["Id"].null_count()
        if not missing:
            return part
        fresh = self.storage.new_ids(sobject, missing)
        rank = pl.col("Id").is_null().cum_sum() - 1
        return part.with_columns(
            pl.when(pl.col("Id").is_null()).then(pl.lit(fresh).gather(rank.clip(0))).otherwise("Id").alias("Id")
        )

    def reset(self) -> None:
        """Take all data away: the org is as it was when it was new. What belongs to its schema stays.

        Ids and numbers start anew; id, credentials and settings stay. A served org is reset by its control side
        (`POST /__local_org/reset`), which ends its jobs first.
        """
        custom = {item.name for item in self.schema if item.name.endswith("__mdt")}
        self.storage.reset(keep=METADATA | custom)
        self.storage.checkpoint()

    def serve(
        self, port: int = 0, *, https: bool = False, host: str = "127.0.0.1", own_process: bool = False
    ) -> Served:
        """Answer HTTP on loopback in a background thread until `.stop()`; port 0 takes a free one.

        `own_process` says that the process is the server's alone, so that a scenario may kill it.
        """
        from isync_dagster.local_org.server import Served

        return Served(self, port=port, https=https, host=host, own_process=own_process)

    def declare(self, automation: Automation) -> None:
        """Take what the org does by itself from now on, and keep it; its setup records follow."""
        self.schema.declare(automation)
        _write_whole(self.folder / AUTOMATION, automation.model_dump_json(by_alias=True, exclude_defaults=True))
        with self.storage.transaction() as cursor:
            write_records(Writer(self.schema, self.storage, cursor, self.actor()))

    def change_schema(self, objects: Iterable[SObject], automation: Automation) -> None:
        """Take changed objects on the live org: tables follow, rows stay, new record types get ids of this org."""
        self._record_types = []
        changed = OrgSchema(objects, seed=self.settings.seed, automation=automation)
        self._write_schema(self._number_record_types(changed))
        self._load_known("RecordType", self._record_types)
        self.declare(automation)

    def _write_schema(self, schema: OrgSchema) -> None:
        described = [item.to_json(trimmed=True) for item in schema]
        _write_whole(self.folder / SCHEMA, json.dumps(described, separators=(",", ":")))
        self.schema = schema
        self.storage.refresh_schema(schema)

    def _number_record_types(self, schema: OrgSchema | None = None) -> OrgSchema:
        """Every record type with an id of this org, and its row in RecordType."""
        schema = schema or self.schema
        described: list[SObject] = []
        rows: list[dict[str, object]] = []
        record_type = schema.get("RecordType")
        known = {
            str(row[0])
            for row in (self.storage.rows('SELECT "Id" FROM "RecordType"') if record_type is not None else ())
        }
        for item in schema:
            infos: list[RecordTypeInfo] = []
            for info in item.record_type_infos:
                if info.master or record_type is None or info.record_type_id in known:
                    infos.append(info)
                    continue
                with self.storage.transaction():
                    new_id = self.storage.new_ids(record_type, 1)[0]
                infos.append(replace(info, record_type_id=new_id))
                rows.append(
                    {
                        "Id": new_id,
                        "Name": info.name or info.developer_name,
                        "DeveloperName": info.developer_name,
                        "SobjectType": item.name,
                        "IsActive": info.active,
                        "IsPersonType": "person" in info.developer_name.lower(),
                    }
                )
            described.append(replace(item, record_type_infos=tuple(infos)))
        self._record_types = rows
        return OrgSchema(described, seed=self.settings.seed, automation=schema.automation)

    def _seed(self, users: Sequence[Mapping[str, Any]]) -> None:
        """The rows that every new org holds."""
        settings = self.settings
        with self.storage.transaction():
            user_id = self.storage.new_ids(self.describe("User"), 1)[0]
        self.settings = replace(settings, user_id=user_id)
        self._load_known("Organization", [{
            "Id": settings.org_id, "Name": settings.name, "OrganizationType": settings.organization_type,
            "IsSandbox": settings.is_sandbox, "InstanceName": "LOCAL", "LanguageLocaleKey": "en_US",
            "DefaultLocaleSidKey": "en_US", "TimeZoneSidKey": "GMT", "FiscalYearStartMonth": 1,
        }])  # fmt: skip
        licences = [{"Name": "Salesforce", "LicenseDefinitionKey": "SFDC", "MasterLabel": "Salesforce"}]
        licence = self._load_known("UserLicense", [{**row, "Status": "Active"} for row in licences])
        profiles = self._load_known("Profile", [
            {"Name": name, "UserLicenseId": licence[0] if licence else None, "UserType": "Standard"}
            for name in ("System Administrator", "Standard User")
        ])  # fmt: skip
        common = {
            "IsActive": True, "TimeZoneSidKey": "GMT", "LocaleSidKey": "en_US", "EmailEncodingKey": "UTF-8",
            "LanguageLocaleKey": "en_US", "UserType": "Standard",
        }  # fmt: skip
        admin = {"Id": user_id, "Username": settings.username, "FirstName": "Ada", "LastName": "Admin",
                 "Email": settings.username, "Alias": "admin", "CommunityNickname": "admin",
                 "ProfileId": profiles[0] if profiles else None}  # fmt: skip
        others = [{"Alias": str(user.get("LastName", "user"))[:8], "CommunityNickname": f"user{number}",
                   "Email": user.get("Username"), "ProfileId": profiles[-1] if profiles else None, **user}
                  for number, user in enumerate(users)]  # fmt: skip
        for user in (admin, *others):
            self._load_known("User", [{**common, **user}])
        self._load_known("RecordType", self._record_types)
        for name, rows in list_rows(self.schema).items():
            self._load_known(name, rows)
        if self.schema.get("Pricebook2") is not None:
            self._load_known("Pricebook2", [{"Name": "Standard Price Book", "IsStandard": True, "IsActive": True}])

    def _load_known(self, name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Load rows whose keys the object may lack; keys it does not know are left out."""
        sobject = self.schema.get(name)
        if sobject is None or not rows:
            return []
        known = [{key: value for key, value in row.items() if sobject.field(key)} for row in rows]
        return self.load(name, pl.DataFrame(known, infer_schema_length=None)).to_list()


def _write_whole(path: Path, text: str) -> None:
    """Put a file in place at once, so that a kill leaves the old one or the new one."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _typed(sobject: SObject, frame: pl.DataFrame) -> pl.DataFrame:
    types = field_types(sobject)
    exprs: list[pl.Expr] = []
    for column in frame.columns:
        field = sobject.field(column)
        if field is None or column_type(field) is None:
            raise ConfigError(f"{sobject.name} has no stored field {column}.")
        dtype = types[field.name]
        value = pl.col(column)
        if frame.schema[column] == pl.String and dtype != pl.String:
            value = parse(field, pl.when(value != "").then(value)).value
        elif isinstance(frame.schema[column], pl.Datetime):
            value = value.dt.replace_time_zone(None).cast(pl.Datetime("us")).dt.truncate("1s")
        elif field.type in ("id", "reference"):
            value = to18_expr(value.cast(pl.String))
        exprs.append(value.cast(dtype).alias(field.name))
    return frame.select(exprs)


def _with_setup_objects(schema: Iterable[SObject]) -> list[SObject]:
    """The given objects and those that every org has (users, profiles, record types, ...)."""
    from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard_objects

    objects = list(schema)
    present = {item.name.lower() for item in objects}
    known = standard_objects()
    return objects + [known[name] for name in SETUP_OBJECTS if name.lower() not in present]


def _with_audit_fields(item: SObject) -> SObject:
    """An object whose audit fields an insert may set."""
    if item.name not in AUDITED and not (item.custom or item.name.endswith("__c")):
        return item
    fields = tuple(
        replace(field, createable=True, updateable=False) if field.name in AUDIT_FIELDS else field
        for field in item.fields
    )
    return replace(item, fields=fields)
