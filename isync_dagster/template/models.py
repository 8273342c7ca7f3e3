"""The recipe of a migration as typed, frozen pydantic models: one class a block of the YAML file.

The description of a key is the only text about it: it feeds the JSON schema for editors, the docs and the
messages. An unknown key is refused. Names of objects and fields are checked against the orgs by the plan.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from isync_dagster.template.kinds import KINDS

DEFAULT_TRANSACTIONAL_OBJECTS = (
    "Task",
    "Event",
    "EmailMessage",
    "Case",
    "CaseComment",
    "CampaignMember",
    "Opportunity",
    "OpportunityLineItem",
    "OpportunityContactRole",
    "Quote",
    "QuoteLineItem",
    "Contract",
    "Order",
    "OrderItem",
)
"""Objects that record daily business rather than master data: what `skip_transactional_objects` leaves out."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class Policy(StrEnum):
    """What happens to a row whose lookup points at a parent that has no counterpart in the target."""

    BLOCK = "block"
    NULL = "null"
    STOP = "stop"
    DROP_ROW = "drop_row"
    FETCH_PARENT = "fetch_parent"
    DEFAULT = "default"


class MappedGone(StrEnum):
    """What happens to a record whose counterpart was deleted or merged in the target since it was mapped."""

    REINSERT = "reinsert"
    FOLLOW_MERGE = "follow_merge"
    FAIL = "fail"


class PolicyRule(NamedTuple):
    """A policy as a template writes it: `block`, or `default:<target id or key>`."""

    policy: Policy
    default: str | None = None

    def __str__(self) -> str:
        return f"default:{self.default}" if self.policy is Policy.DEFAULT else self.policy.value


def parse_policy(value: Any) -> PolicyRule:
    """Read a policy from YAML; an unquoted `null` means the policy of that name.

    >>> parse_policy("default:005000000000001AAA")
    PolicyRule(policy=<Policy.DEFAULT: 'default'>, default='005000000000001AAA')
    """
    if value is None:
        return PolicyRule(Policy.NULL)
    if isinstance(value, PolicyRule):
        return value
    if isinstance(value, str):
        word, colon, rest = (part.strip() for part in value.partition(":"))
        if word == Policy.DEFAULT and rest:
            return PolicyRule(Policy.DEFAULT, rest)
        if not colon and word in set(Policy) - {Policy.DEFAULT}:
            return PolicyRule(Policy(word))
    raise ValueError(
        f"{value!r} is no policy; write block, null, stop, drop_row, fetch_parent or default:<target id or key>"
    )


def parse_threshold(value: Any) -> int | str:
    """Read a number of rows (`25`) or a share of them (`0.5%`)."""
    text = str(value).strip()
    if re.fullmatch(r"\d+", text) and not isinstance(value, bool):
        return int(text)
    if re.fullmatch(r"\d{1,3}(\.\d+)?%", text) and Decimal(text[:-1]) <= 100:
        return text
    raise ValueError(f'{value!r} is neither a number of rows (25) nor a share of them ("0.5%")')


def parse_share(value: Any) -> str:
    """Read a share of the daily API calls (`90%`, or 90).

    >>> parse_share("90 %"), parse_share(75)
    ('90%', '75%')
    """
    text = str(value).replace(" ", "").removesuffix("%")
    if re.fullmatch(r"\d{1,3}(\.\d+)?", text) and not isinstance(value, bool) and 0 < Decimal(text) <= 100:
        return f"{text}%"
    raise ValueError(f'{value!r} is no share; write "90%", at most "100%"')


def share_of(text: str) -> float:
    """A share as a number from 0 to 1."""
    return float(text.removesuffix("%")) / 100


def _names(value: Any) -> Any:
    """A single name, or names with commas between them, as a list."""
    if isinstance(value, str):
        return [item for item in (part.strip() for part in value.split(",")) if item]
    return value


def _match_key(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [part for item in value for part in (_names(item) if isinstance(item, str) else [item])]
    return _names(value)


def _emptied(value: Any) -> Any:
    """Picklist values as text; a mapping to null empties the field."""
    if isinstance(value, dict):
        return {key: "" if item is None else item for key, item in value.items()}
    return value


def _to18(value: Any) -> Any:
    """A 15-character id as its 18-character form (the suffix tells the case of each letter)."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9]{15}", value):
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
        groups = (value[start : start + 5] for start in (0, 5, 10))
        return value + "".join(alphabet[sum(1 << k for k, c in enumerate(group) if c.isupper())] for group in groups)
    return value


_ID18 = r"^00D[A-Za-z0-9]{15}$"
_POLICY_SCHEMA = {
    "anyOf": [
        {"enum": ["block", "null", "stop", "drop_row", "fetch_parent"]},
        {"type": "string", "pattern": "^default: *[^ ]"},
        {"type": "null"},
    ]
}
_NAMES_SCHEMA = {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}

OrgId = Annotated[str, BeforeValidator(_to18), Field(pattern=_ID18), WithJsonSchema({"type": "string"})]
Names = Annotated[tuple[str, ...], BeforeValidator(_names), WithJsonSchema(_NAMES_SCHEMA)]
MatchKey = Annotated[tuple[str, ...], BeforeValidator(_match_key), WithJsonSchema(_NAMES_SCHEMA)]
PolicySetting = Annotated[
    PolicyRule, BeforeValidator(parse_policy), PlainSerializer(str, return_type=str), WithJsonSchema(_POLICY_SCHEMA)
]
Threshold = Annotated[
    int | str,
    BeforeValidator(parse_threshold),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?%?$"}]}),
]
Share = Annotated[
    str,
    BeforeValidator(parse_share),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
                {"type": "string", "pattern": r"^\d{1,3}(\.\d+)? *%?$"},
            ]
        }
    ),
]
PicklistMap = Annotated[
    dict[str, str],
    BeforeValidator(_emptied),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}),
]


class Block(BaseModel):
    """The base of every block: frozen, no unknown keys, texts trimmed."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Pins(Block):
    """The orgs a template was planned for: a rehearsal never stands in for production."""

    source_org_id: OrgId | None = Field(None, description="Organization id (00D...) that the source must have.")
    target_org_id: OrgId | None = Field(None, description="Organization id (00D...) that the target must have.")


class MissingParents(Block):
    """Policies for lookups whose parent has no counterpart in the target, where no lookup says its own."""

    required: PolicySetting = Field(
        PolicyRule(Policy.BLOCK),
        description="For lookups the target requires: block (the row is not sent), stop (the run ends), drop_row, "
        "fetch_parent or default:<target id or key>.",
    )
    optional: PolicySetting = Field(
        PolicyRule(Policy.NULL),
        description="For all other lookups; null leaves the lookup empty and records a pending link, which is filled "
        "when the parent arrives.",
    )


MAPPED_GONE = (
    "What happens to a record whose counterpart in the target was deleted or merged since it was mapped. reinsert: as "
    "if it had never been mapped, so it is matched by its key or inserted. follow_merge: as reinsert, but the "
    "counterpart of a merged record is the record that survived, which is left as it is. fail: the run stops before "
    "anything of the object is written."
)


class Freshness(Block):
    """How old the target may get where a template is run again and again, to keep two orgs in step."""

    hours: float = Field(gt=0, description="Hours after its last run at which a load counts as overdue in the UI.")
    warn_hours: float | None = Field(None, gt=0, description="Hours after which it is shown as nearly overdue.")

    @model_validator(mode="after")
    def _warns_first(self) -> Freshness:
        if self.warn_hours is not None and self.warn_hours >= self.hours:
            raise ValueError(f"warn_hours ({self.warn_hours:g}) must be less than hours ({self.hours:g})")
        return self


class Retention(Block):
    """How many days after its end a run keeps what; `isync cleanup` removes the rest. The id map is always kept."""

    audit_log: int = Field(90, ge=0, description="Days that a run keeps its audit log: what became of every record.")
    rows: int = Field(
        60,
        ge=0,
        description="Days that a run keeps its rows: extracts, what remap decided, what was sent and answered.",
    )
    before_images: int = Field(180, ge=0, description="Days that a run keeps the values from before its updates.")
    reports: int = Field(180, ge=0, description="Days that a run keeps its reports and verdicts.")


class AutomationKind(StrEnum):
    """A kind of automation of the target that can be switched off."""

    TRIGGERS = "triggers"
    VALIDATION_RULES = "validation_rules"
    FLOWS = "flows"
    WORKFLOW_RULES = "workflow_rules"
    DUPLICATE_RULES = "duplicate_rules"


class Bypass(Block):
    """The way past automation that asks for it itself: given to the loading user before, taken back after."""

    permission_set: str | None = Field(
        None,
        min_length=1,
        description="API name of a permission set of the target whose custom permission the rules, flows and triggers "
        "ask for; assigned to the loading user for the time of the run.",
    )
    setting: str | None = Field(
        None,
        pattern=r"^\w+__c\.\w+$",
        description="A checkbox of a hierarchy custom setting of the target, such as Migration__c.Bypass__c, that the "
        "rules ask for; true for the loading user for the time of the run.",
    )


class AutomationControl(Block):
    """What of the target's automation does not work while a run writes; nothing by default, and always put back."""

    off: Annotated[tuple[AutomationKind, ...], BeforeValidator(_names)] = Field(
        (),
        description="Kinds that are switched off on the objects in scope before the first row is sent and on again at "
        "the end of the run, whatever its end: triggers, validation_rules, flows, workflow_rules, duplicate_rules.",
    )
    objects: Names = Field((), description="Only on these objects of the target; none means all in scope.")
    only: Names = Field((), description="Only these, by Name or Object.Name; none means all of the kinds.")
    keep: Names = Field((), description="Never these, by Name or Object.Name.")
    bypass: Bypass = Field(default_factory=Bypass, description="A bypass that the target's automation asks for.")
    tests: Names = Field(
        (),
        description="Apex test classes that a production org runs when triggers are deployed; none: all local tests.",
    )

    @property
    def acts(self) -> bool:
        """True where a run switches anything."""
        return bool(self.off or self.bypass.permission_set or self.bypass.setting)


class Caps(Block):
    """Upper bounds: a phase that would exceed one stops before anything is written."""

    rows: int | None = Field(None, ge=1, description="Rows of a phase, over all its objects.")
    updates: Share | None = Field(None, description='Share of an object\'s rows that may be updates ("20%").')
    deletes: Share | None = Field(None, description='Share of an object\'s rows that may be deletes ("1%").')


def _kind(value: str) -> str:
    if value not in KINDS:
        raise ValueError(f"{value!r} is no kind of pre-flight finding; the kinds are {', '.join(KINDS)}")
    return value


class CheckSeverity(StrEnum):
    """How a finding of the pre-flight counts."""

    ERROR = "error"
    WARN = "warn"
    OFF = "off"


class PreflightDecision(Block):
    """A recorded decision on a kind of pre-flight finding."""

    check: Annotated[str, AfterValidator(_kind), WithJsonSchema({"enum": list(KINDS)})] = Field(
        description="The kind, as the finding names it: length, picklist, email, …."
    )
    object: str | None = Field(None, description="Only of this source object; none means all.")
    fields: Names = Field((), description="Only of these target fields; none means all.")
    severity: CheckSeverity = Field(description="error: blocks; warn: reported only; off: not looked at.")
    why: str = Field(min_length=1, description="Why; it is kept with the findings and shown in the result.")


def parse_rows(value: Any) -> int | None:
    """Read a number of rows, or `all` (None).

    >>> parse_rows("all"), parse_rows(500)
    (None, 500)
    """
    text = str(value).strip().lower()
    if value is None or text == "all":
        return None
    if re.fullmatch(r"[1-9]\d*", text) and not isinstance(value, bool):
        return int(text)
    raise ValueError(f"{value!r} is neither a number of rows (2000) nor the word all")


Rows = Annotated[
    int | None,
    BeforeValidator(parse_rows),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "all"}, {"type": "null"}]}),
]

METRIC = re.compile(r"(?:(?P<count>count)|(?P<function>sum|avg|min|max) +(?P<field>[A-Za-z]\w*))", re.IGNORECASE)


def parse_measure(value: Any) -> str:
    """Read what a metric measures: `count`, or `sum`, `avg`, `min` or `max` of a field.

    >>> parse_measure("SUM  Amount")
    'sum Amount'
    """
    found = METRIC.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is no measure; write count, or sum, avg, min or max and a field: sum Amount")
    return "count" if found["count"] else f"{found['function'].lower()} {found['field']}"


class Metric(Block):
    """A number of the business that must be the same in both orgs."""

    name: str = Field(min_length=1, description="What people call it, such as pipeline.")
    object: str = Field(min_length=1, description="Source object whose records are measured; it has a line.")
    measure: Annotated[str, BeforeValidator(parse_measure)] = Field(
        "count", description="count, or sum, avg, min or max and a source field that is carried over: sum Amount."
    )
    by: str | None = Field(
        None, min_length=1, description="Source field that is carried over: one number for each of its values."
    )
    whole_org: bool = Field(
        False,
        description="true: all records of both orgs are compared too (aggregate SOQL), not only the migrated ones. It "
        "informs and fails nothing, since the target may have records of its own.",
    )

    @property
    def function(self) -> str:
        """count, sum, avg, min or max."""
        return self.measure.partition(" ")[0]

    @property
    def field(self) -> str | None:
        """The source field that is measured; None for a count."""
        return self.measure.partition(" ")[2] or None


class Validation(Block):
    """How the values in the target are compared with what they should be."""

    rows: Rows = Field(
        None,
        description="How many migrated records of an object `isync validate` compares field by field: all, or the "
        "size of a random sample, for huge objects.",
    )
    run_rows: Rows = Field(
        2000,
        description="How many a run compares by itself, beside its loads: all, or the size of a random sample. Objects "
        "with no more records than that are compared whole.",
    )
    exclude_fields: dict[str, Names] = Field(
        default_factory=dict,
        description="Source object: source fields that are not compared, because the target is meant to change them.",
    )
    changed_by_target: Literal["error", "warning"] = Field(
        "error",
        description="What a value is that the target itself changed as the record was saved (trigger, flow, workflow): "
        "an error, or a warning.",
    )


class Settings(Block):
    """How the whole template behaves."""

    continue_on_error: bool = Field(
        False,
        description="true: rejected rows are recorded and healthy objects go on. false: more rejected rows than the "
        "threshold stop everything that comes after their object.",
    )
    skip_missing_fields: bool = Field(
        False,
        description="true: fields that the target lacks are left out and listed in the plan. false: they are an error.",
    )
    skip_transactional_objects: bool = Field(
        False, description="true: lines of the objects in transactional_objects are left out."
    )
    transactional_objects: Names = Field(
        DEFAULT_TRANSACTIONAL_OBJECTS, description="The objects that skip_transactional_objects leaves out."
    )
    huge_objects: Names = Field(
        (),
        description="Objects of which a run works on two at the same time and no more, beside all others: those whose rows "
        "need much memory and many connections.",
    )
    rejected_rows_threshold: Threshold = Field(
        0,
        description='How many rows of an object may be failed or blocked in a good run: rows (25) or a share ("0.5%").',
    )
    api_budget: Share = Field(
        "90%",
        description="Share of the daily API calls of either org at which a run stops, so that others can still work; "
        "it goes on where it stopped when it is started again.",
    )
    missing_parents: MissingParents = Field(
        default_factory=MissingParents, description="Default policies for lookups whose parent is not in the target."
    )
    mapped_gone: MappedGone = Field(MappedGone.REINSERT, description=MAPPED_GONE)
    freshness: Freshness | None = Field(
        None, description="How old the target may get, for a template that is run regularly; none for a migration."
    )
    retention: Retention = Field(default_factory=Retention, description="How long runs keep what, in days.")
    automation: AutomationControl = Field(
        default_factory=AutomationControl,
        description="Automation of the target that is switched off while a run writes; nothing by default.",
    )
    target_reads: Literal["changes", "whole"] = Field(
        "changes",
        description="What a later run reads of the target's records to match: changes: those that were saved or removed "
        "since an earlier run read or wrote them, where the target can tell; whole: all of them, each time, and every value is "
        "compared.",
    )
    caps: Caps = Field(default_factory=Caps, description="Bounds that stop a phase before anything is written.")
    preflight: tuple[PreflightDecision, ...] = Field(
        (), description="Decisions that silence or change the severity of kinds of pre-flight findings; the last wins."
    )
    validation: Validation = Field(
        default_factory=Validation, description="How the values in the target are compared with what they should be."
    )

    def rejected_rows_allowed(self, extracted: int) -> int:
        """How many of `extracted` rows may be failed or blocked, as a whole number of rows."""
        if isinstance(self.rejected_rows_threshold, int):
            return self.rejected_rows_threshold
        return int(extracted * Decimal(self.rejected_rows_threshold[:-1]) / 100)


class Line(Block):
    """One object of the migration and which of its records are in scope."""

    object: str = Field(min_length=1, description="API name of the source object.")
    sequence: int | None = Field(
        None,
        description="Place in the order, lower first. The order is computed from the lookups; a sequence decides "
        "between objects that do not depend on each other.",
    )
    where: str | None = Field(None, description="SOQL condition without the word WHERE; records outside stay behind.")
    order_by: str | None = Field(None, description="SOQL order without the words ORDER BY; matters with a limit.")
    limit: int | None = Field(None, ge=1, description="At most so many records, for a sample.")
    exclude_parents: Names = Field(
        (), description="Lookup fields whose ids are sent as they are, without remapping, and set no order."
    )


class ObjectSettings(Block):
    """How one object is migrated, where that differs from the usual."""

    target_object: str | None = Field(None, min_length=1, description="API name in the target, where it differs.")
    match_key: MatchKey = Field(
        (),
        description='Fields that identify a record in both orgs: Email, or "SourceField__c=TargetField__c", or several '
        "of them. A lookup compares the remapped parent.",
    )
    update_existing: bool = Field(True, description="false: a record that is found in the target is left as it is.")
    insert_new: bool = Field(True, description="false: a record that is not found in the target is skipped.")
    exclude_fields: Names = Field((), description="Source fields that are not carried over.")
    exclude_parent_fields: Names = Field(
        (), description="Lookup fields whose ids are sent as they are, without remapping, and set no order."
    )
    fields: dict[str, str] = Field(
        default_factory=dict, description="Source field: target field, where the names differ."
    )
    picklists: dict[str, PicklistMap] = Field(
        default_factory=dict, description="Source field: {source value: target value}; a value of null empties it."
    )
    migration_key: str | None = Field(
        None,
        min_length=1,
        description="Unique external id text field of the target (at least 18 characters) that receives the source "
        "id; makes loads repeatable on the server.",
    )
    missing_parents: dict[str, PolicySetting] = Field(
        default_factory=dict,
        description="Lookup field of the source: block, null, stop, drop_row, fetch_parent or default:<id or key>.",
    )
    mapped_gone: MappedGone | None = Field(None, description=MAPPED_GONE + " Where absent, what the settings say.")

    @property
    def key_pairs(self) -> tuple[tuple[str, str], ...]:
        """The match key as (source field, target field) pairs.

        >>> ObjectSettings(match_key="Name, BillingCity=City__c").key_pairs
        (('Name', 'Name'), ('BillingCity', 'City__c'))
        """
        pairs = []
        for part in self.match_key:
            source, _, target = (side.strip() for side in part.partition("="))
            pairs.append((source, target or source))
        return tuple(pairs)


class Reference(Block):
    """How records of an object that is not migrated are found in the target."""

    by: Names = Field(
        (),
        description="Natural keys, tried in this order until one finds a single record; a key of several fields joins "
        "them with +, as in Type+DeveloperName.",
    )
    default: str | None = Field(
        None,
        min_length=1,
        description="Target record for those that no key finds: its id, or a value of a natural key.",
    )
    map_file: str | None = Field(
        None,
        min_length=1,
        description="CSV beside the template with the columns source and target: ids or values of a natural key.",
    )
    where: str | None = Field(None, description="SOQL condition that both sides' records must meet.")


class Phase(Block):
    """A named slice of the template that is run, checked and accepted by itself."""

    name: str = Field(pattern=NAME_PATTERN, description="Letters, digits, - and _; the partition key.")
    lines: Names = Field(min_length=1, description="Objects of this phase; each must have a line.")
    where: dict[str, str] = Field(
        default_factory=dict, description="Object: a SOQL condition in addition to that of its line."
    )
    after: Names = Field((), description="Phases, named earlier in the list, that must be complete before this one.")


class Template(Block):
    """A migration recipe: which objects go from which org to which, and how."""

    name: str = Field(pattern=NAME_PATTERN, description="Letters, digits, - and _; the same as the file name.")
    description: str = Field("", description="What the template is for.")
    source: str = Field(min_length=1, description="Alias of the source org in orgs.yaml.")
    target: str = Field(min_length=1, description="Alias of the target org in orgs.yaml.")
    pins: Pins = Field(default_factory=Pins, description="Org ids the template was planned for; others are refused.")
    settings: Settings = Field(default_factory=Settings, description="How the whole template behaves.")
    lines: tuple[Line, ...] = Field(min_length=1, description="The objects to migrate.")
    objects: dict[str, ObjectSettings] = Field(
        default_factory=dict, description="Source object: settings, where they differ from the usual."
    )
    references: dict[str, Reference] = Field(
        default_factory=dict,
        description="Object that is not migrated: how its records are found in the target. User, Group, RecordType, "
        "Profile, UserRole and the standard Pricebook2 have rules of their own that this completes.",
    )
    phases: tuple[Phase, ...] = Field(
        (), description="Named slices; without any, the template has the one phase `all` with every line."
    )
    metrics: tuple[Metric, ...] = Field(
        (), description="Numbers of the business that must be the same in both orgs, such as the pipeline by stage."
    )
