"""The world that is moved: six objects with self references, lookups, a junction, a polymorphic lookup, a
200-column object and long texts, of any size, the same rows for the same seed on every machine.

Rows are made in slices, so that ten million of them need no more memory than one slice and the ids of the parents.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl

from isync_dagster.local_org.demo import words
from isync_dagster.local_org.demo.dice import ROW, Dice, gather, where
from isync_dagster.local_org.describe import full
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.local_org.seeds.standard import SETUP_OBJECTS, standard_pairs
from isync_dagster.schema.model import SObject
from isync_dagster.schema.snapshot import OrgIdentity, Snapshot, save_snapshot

SLICE = 200_000
WIDE_FIELDS = 200
API_VERSION = "64.0"
NAMES = ("bench_source", "bench_target")
SHARES: Mapping[str, float] = {
    "Account": 0.20,
    "Contact": 0.30,
    "Opportunity": 0.20,
    "OpportunityContactRole": 0.15,
    "Task": 0.13,
    "Survey__c": 0.02,
}
"""Object -> its share of the records, parents first."""

SELF = {"Account": "ParentId", "Contact": "ReportsToId"}
"""Object -> its lookup to itself, which takes a second pass."""

USERS = tuple(
    {"Username": f"user{number:02d}@bench.example", "LastName": f"User {number:02d}", "FirstName": "Bench"}
    for number in range(20)
)


@dataclass(frozen=True)
class World:
    """What is migrated: the objects in load order, and how many rows each has."""

    rows: Mapping[str, int]

    @property
    def total(self) -> int:
        """All records."""
        return sum(self.rows.values())

    @classmethod
    def of(cls, total: int) -> World:
        """The world of about `total` records."""
        return cls({name: max(int(total * share), 4) for name, share in SHARES.items()})


def schema() -> tuple[SObject, ...]:
    """The objects of both orgs."""
    known = {item.name: (item, notes) for item, notes in standard_pairs()}
    pairs = [
        known[name] for name in (*SETUP_OBJECTS, "Account", "Contact", "Opportunity", "OpportunityContactRole", "Task")
    ]
    columns = "\n".join(_wide_field(number) for number in range(WIDE_FIELDS - 4))
    wide = f"""
        Name string(80) cundIN
        Account__c reference cun > Account as Account__r < Surveys__r
        Contact__c reference cun > Contact as Contact__r < Surveys__r
        Story__c textarea(32768) cun
        {columns}
    """
    pairs.append(sobject("Survey__c", wide, prefix="a0B"))
    return linked(pairs)


def _wide_field(number: int) -> str:
    kinds = ("string(80) cun", "double(12,2) cun", "date cun", "boolean cud", "string(40) cun")
    return f"Q{number:03d}__c {kinds[number % len(kinds)]}"


def make(folder: Path, world: World, seed: int = 11) -> tuple[Path, Path]:
    """Make `<folder>/bench_source` with the rows and `<folder>/bench_target` without, closed; gives both paths."""
    with _org(folder / NAMES[0], seed) as org:
        ids = {}
        for name in world.rows:
            with org.storage.transaction():
                ids[name] = org.storage.new_ids(org.describe(name), world.rows[name])
        owners = org.table("User")["Id"]
        for name in world.rows:
            for frame in frames(name, ids, owners, seed):
                org.load(name, frame)
    with _org(folder / NAMES[1], seed + 1):
        pass
    return folder / NAMES[0], folder / NAMES[1]


def _org(folder: Path, seed: int) -> LocalOrg:
    return LocalOrg.create(folder, schema(), name=folder.name, seed=seed, users=USERS, is_sandbox=True)


def save_template(folder: Path, orgs: Mapping[str, Path], objects: Mapping[str, int]) -> Path:
    """Write template, orgs.yaml and describe snapshots for these orgs (alias -> org folder), as the tool reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    for alias, path in orgs.items():
        with LocalOrg.open(path) as org:
            save_snapshot(folder / "orgs", _snapshot(org, alias, objects))
    lines = "\n".join(f"  - {{object: {name}}}" for name in objects)
    (folder / "bench.yaml").write_text(
        f"name: bench\nsource: {NAMES[0]}\ntarget: {NAMES[1]}\nsettings: {{skip_missing_fields: true}}\n"
        f"lines:\n{lines}\nreferences:\n  User: {{by: [Username]}}\n"
        + (
            "objects:\n  Account: {exclude_fields: [DandbCompanyId, OperatingHoursId]}\n"
            "  Contact: {exclude_fields: [IndividualId]}\n"
            "  Opportunity: {exclude_fields: [CampaignId, Pricebook2Id, ContactId]}\n"
            if "Account" in objects
            else ""
        )
    )
    entries = "".join(
        f"  {alias}:\n    auth: username_password\n    login_url: ${{{alias.upper()}_URL}}\n"
        f"    username: ${{{alias.upper()}_USERNAME}}\n    password: ${{{alias.upper()}_PASSWORD}}\n"
        f"    security_token: ${{{alias.upper()}_TOKEN}}\n"
        for alias in orgs
    )
    (folder / "orgs.yaml").write_text(f"orgs:\n{entries}")
    return folder


def _snapshot(org: LocalOrg, alias: str, objects: Mapping[str, int]) -> Snapshot:
    identity = OrgIdentity(
        alias=alias,
        org_id=org.org_id,
        name=org.settings.name,
        api_version=API_VERSION,
        is_sandbox=True,
        organization_type=org.settings.organization_type,
        is_production=False,
    )
    names = (*objects, "User", "Group", "RecordType", "Profile", "UserRole")
    described = {name: SObject.from_json(full(org.describe(name), "")) for name in names}
    return Snapshot(identity, datetime(2026, 1, 1, tzinfo=UTC), described)


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────


def frames(name: str, ids: Mapping[str, pl.Series], owners: pl.Series, seed: int) -> Iterator[pl.DataFrame]:
    """The rows of an object, a slice at a time, with their Ids and the Ids they refer to."""
    dice, own = Dice(seed, name), ids[name]
    for start in range(0, own.len(), SLICE):
        stop = min(start + SLICE, own.len())
        base = pl.select(pl.int_range(start, stop, dtype=pl.UInt64).alias(ROW)).lazy()
        columns = {"Id": pl.lit(own.slice(start, stop - start)), **_columns(name, dice, ids, owners)}
        yield base.select(**columns).collect()


def _columns(name: str, dice: Dice, ids: Mapping[str, pl.Series], owners: pl.Series) -> dict[str, pl.Expr]:
    def one_of(series: pl.Series, column: str) -> pl.Expr:
        return pl.lit(series).gather(dice.below(column, series.len()))

    def some(share: float, value: pl.Expr, column: str) -> pl.Expr:
        return where(dice.chance(f"{column}/has", share), value)

    def earlier(column: str) -> pl.Expr:
        """An earlier row of the same object, so that no circle arises."""
        return pl.lit(ids[name]).gather(dice.bits(column) % pl.col(ROW).clip(1))

    number = pl.col(ROW).cast(pl.String)
    owner = {"OwnerId": one_of(owners, "owner")}
    text = dice.pick("text", words.SENTENCES)
    match name:
        case "Account":
            return {
                "Name": pl.concat_str(gather(words.COMPANY_FIRST, dice.below("n1", len(words.COMPANY_FIRST))), pl.lit(" "), number),
                "AccountNumber": number,
                "ParentId": where((pl.col(ROW) > 0) & dice.chance("parent", 0.5), earlier("parent id")),
                "Industry": dice.pick("industry", ["Banking", "Energy", "Retail", "Technology"]),
                "AnnualRevenue": dice.whole("revenue", 10_000, 90_000_000),
                "NumberOfEmployees": dice.whole("people", 1, 20_000),
                "BillingStreet": dice.pick("street", words.STREETS),
                "BillingCity": dice.pick("city", words.CITIES),
                "Phone": some(0.8, dice.pick("phone", words.DIAL_CODES), "phone"),
                "Description": some(0.5, text, "description"),
                **owner,
            }  # fmt: skip
        case "Contact":
            return {
                "FirstName": dice.pick("first", words.FIRST_NAMES),
                "LastName": dice.pick("last", words.LAST_NAMES),
                "Email": pl.concat_str(pl.lit("c"), number, pl.lit("@bench.example")),
                "AccountId": pl.lit(ids["Account"]).gather(dice.few("account", ids["Account"].len())),
                "ReportsToId": where((pl.col(ROW) > 0) & dice.chance("boss", 0.3), earlier("boss id")),
                "Title": some(0.7, dice.pick("title", ["CEO", "CTO", "Buyer", "Engineer"]), "title"),
                "Birthdate": some(0.5, dice.day("born", date(1950, 1, 1), date(2004, 12, 31)), "born"),
                "MailingCity": dice.pick("city", words.CITIES),
                **owner,
            }
        case "Opportunity":
            return {
                "Name": pl.concat_str(pl.lit("Deal "), number),
                "AccountId": pl.lit(ids["Account"]).gather(dice.few("account", ids["Account"].len())),
                "StageName": dice.pick("stage", ["Prospecting", "Qualification", "Closed Won", "Closed Lost"]),
                "CloseDate": dice.day("close", date(2020, 1, 1), date(2027, 12, 31)),
                "Amount": dice.money("amount", 100, 900_000),
                "Description": some(0.6, text, "description"),
                **owner,
            }
        case "OpportunityContactRole":
            return {
                "OpportunityId": one_of(ids["Opportunity"], "deal"),
                "ContactId": one_of(ids["Contact"], "contact"),
                "Role": dice.pick("role", ["Decision Maker", "Evaluator", "Business User"]),
            }
        case "Task":
            about = (
                pl.when(dice.chance("about", 0.5))
                .then(one_of(ids["Account"], "a"))
                .otherwise(one_of(ids["Opportunity"], "o"))
            )
            return {
                "Subject": dice.pick("subject", ["Call", "Send Letter", "Email", "Other"]),
                "Status": dice.pick("status", ["Not Started", "In Progress", "Completed"]),
                "Priority": dice.pick("priority", ["High", "Normal", "Low"]),
                "ActivityDate": dice.day("day", date(2020, 1, 1), date(2027, 12, 31)),
                "WhoId": some(0.7, one_of(ids["Contact"], "who"), "who"),
                "WhatId": some(0.8, about, "what"),
                "Description": some(0.5, text, "description"),
                **owner,
            }  # fmt: skip
        case _:
            return _wide(dice, text) | {
                "Name": pl.concat_str(pl.lit("Survey "), number),
                "Account__c": one_of(ids["Account"], "account"),
                "Contact__c": one_of(ids["Contact"], "contact"),
                "Story__c": pl.concat_str([text] * 40, separator="\n"),
                **owner,
            }


def _wide(dice: Dice, text: pl.Expr) -> dict[str, pl.Expr]:
    made = (
        lambda column: text.str.head(70),
        lambda column: dice.money(column, 0, 90_000),
        lambda column: dice.day(column, date(2000, 1, 1), date(2027, 12, 31)),
        lambda column: dice.chance(column, 0.5),
        lambda column: dice.pick(column, ["yes", "no", "perhaps", "later"]),
    )
    return {f"Q{number:03d}__c": made[number % len(made)](f"Q{number:03d}") for number in range(WIDE_FIELDS - 4)}


# ── many small objects ───────────────────────────────────────────────────────────────────────────────────


def make_many(folder: Path, objects: int = 150, rows: int = 50, seed: int = 21) -> tuple[Path, Path, dict[str, int]]:
    """Both orgs with `objects` small custom objects, each a child of an earlier one; gives paths and rows by object."""
    names = [f"Small_{number:03d}__c" for number in range(objects)]
    pairs = [(item, notes) for item, notes in standard_pairs() if item.name in SETUP_OBJECTS]
    for number, name in enumerate(names):
        parent = f"Parent__c reference cun > {names[number // 2]} as Parent__r < Kids_{number}__r;" if number else ""
        fields = (
            f"Name string(80) cundIN; {parent} Text__c string(255) cun; Amount__c currency(16,2) cun; Day__c date cun"
        )
        pairs.append(sobject(name, fields, prefix=f"a{_base62(number // 62)}{_base62(number % 62)}"))
    paths = []
    for path, number in ((folder / NAMES[0], seed), (folder / NAMES[1], seed + 1)):
        with LocalOrg.create(path, linked(pairs), name=path.name, seed=number, users=USERS, is_sandbox=True) as org:
            paths.append(path)
            if path.name == NAMES[0]:
                _fill_many(org, names, rows, seed)
    return paths[0], paths[1], dict.fromkeys(names, rows)


def _fill_many(org: LocalOrg, names: list[str], rows: int, seed: int) -> None:
    ids: dict[str, pl.Series] = {}
    for number, name in enumerate(names):
        dice = Dice(seed, name)
        columns = {
            "Name": pl.concat_str(pl.lit("Row "), pl.col(ROW).cast(pl.String)),
            "Text__c": dice.pick("text", words.SENTENCES).str.head(200),
            "Amount__c": dice.money("amount", 1, 9_000),
            "Day__c": dice.day("day", date(2020, 1, 1), date(2027, 12, 31)),
        }
        if number:
            parents = ids[names[number // 2]]
            columns["Parent__c"] = pl.lit(parents).gather(dice.below("parent", parents.len()))
        frame = pl.select(pl.int_range(rows, dtype=pl.UInt64).alias(ROW)).select(**columns)
        ids[name] = org.load(name, frame)


def _base62(digit: int) -> str:
    return "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit]
