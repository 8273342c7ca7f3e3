"""The relational data sets of `../shared/realdata`, each as the objects of an org and the rows for it.

Nobody in this project wrote them and none of them is in this repository: without that folder the tests that use
them are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import polars as pl

from isync_dagster.local_org.org_schema import OrgSchema
from isync_dagster.local_org.seeds.cumulusci import read_cumulusci
from isync_dagster.local_org.seeds.dataset import REF, DataSet
from isync_dagster.local_org.seeds.describe import read_describes
from isync_dagster.local_org.seeds.inference import complete
from isync_dagster.local_org.seeds.sfdx import read_source
from isync_dagster.local_org.seeds.standard import standard_objects
from isync_dagster.local_org.seeds.tables import read_sfdmu, read_table
from isync_dagster.local_org.seeds.tree import read_plan, read_tree
from isync_dagster.schema.model import SObject

REAL = Path(__file__).parents[3] / "shared" / "realdata"
SETS = REAL / "datasets"
DESCRIBES = REAL / "describes"


# Objects of the data sets of which there is no full describe.
PROJECTED = ("CampaignMember", "CampaignMemberStatus", "Pricebook2")


@dataclass(frozen=True)
class RealSet:
    """What a test loads into a local org: `expected` rows are the counts that the source's own index gives."""

    name: str
    objects: tuple[SObject, ...]
    data: DataSet
    expected: dict[str, int] = field(default_factory=dict)


@cache
def real_describes() -> dict[str, SObject]:
    """The real describes, the fullest of each object; children of objects that are not here stay listed."""
    found: dict[str, SObject] = {}
    for name in PROJECTED:
        found |= read_describes(DESCRIBES / "projected-jira-org" / f"{name}.json")
    found |= read_describes(DESCRIBES / "grouparoo")
    found |= read_describes(DESCRIBES / "amaxa")
    found |= read_describes(DESCRIBES / "cumulusci")
    return found


def _whole(objects: Iterable[SObject], data: DataSet) -> tuple[SObject, ...]:
    """The objects with what the data needs beside them, in one schema with the setup objects."""
    known = {item.name: item for item in objects}
    base = {**standard_objects(), **real_describes()}
    for name in data.frames:
        if name not in known and name in base:
            known[name] = base[name]
    for parents in data.links.values():
        for parent in parents:
            if parent not in known and parent in base:
                known[parent] = base[parent]
    if any(field.reference_to == ("Pricebook2",) for item in known.values() for field in item.fields):
        known.setdefault("Pricebook2", base["Pricebook2"])
    return tuple(complete(known.values(), data))


def _schema(objects: Iterable[SObject]) -> OrgSchema:
    known = {**standard_objects(), **real_describes(), **{item.name: item for item in objects}}
    return OrgSchema(known.values())


def _source(name: str, namespace: str | None = None) -> dict[str, SObject]:
    folder = SETS / name / "metadata"
    return read_source(folder, base=real_describes(), namespace=namespace).objects


def _plan(name: str, plan: str, expected: dict[str, int]) -> RealSet:
    objects = _source(name)
    data = read_plan(SETS / name / plan, _schema(objects.values()))
    return RealSet(name, _whole(objects.values(), data), data, expected)


def _cumulusci(name: str, sql: str, mapping: str, expected: dict[str, int], namespace: str | None = None) -> RealSet:
    objects = _source(name, namespace)
    data = read_cumulusci(SETS / name / sql, SETS / name / mapping, objects)
    return RealSet(name, _whole(objects.values(), data), data, expected)


def npsp_trailhead() -> RealSet:
    """Nonprofit Success Pack: 24 objects of six namespaces, households, roles, payments, engagement plans."""
    found = _cumulusci(
        "npsp-trailhead",
        "test_data.sql",
        "mapping.yml",
        {
            "Account": 115,
            "Campaign": 17,
            "CampaignMember": 228,
            "Contact": 166,
            "Opportunity": 102,
            "npe01__OppPayment__c": 104,
            "npe4__Relationship__c": 18,
            "npe5__Affiliation__c": 85,
            "npsp__Engagement_Plan_Task__c": 17,
        },
        namespace="npsp",
    )
    # An org keeps start, end and length of an event in step; the data set names only the first two.
    events = found.data.frames["Event"]
    start, end = (pl.col(name).str.to_datetime("%+") for name in ("StartDateTime", "EndDateTime"))
    minutes = (end - start).dt.total_minutes().cast(pl.String)
    found.data.frames["Event"] = events.with_columns(minutes.alias("DurationInMinutes"))
    return found


def outbound_funds() -> RealSet:
    """Grants: programmes below programmes, requests with master-detail children."""
    return _cumulusci(
        "outbound-funds",
        "sample.sql",
        "mapping.yml",
        {"Account": 6, "Contact": 7, "Funding_Program__c": 6, "Funding_Request__c": 6, "Requirement__c": 12},
    )


def summit_events() -> RealSet:
    """Events: objects of up to 200 columns, rich text."""
    return _cumulusci(
        "summit-events",
        "dev.dataset.sql",
        "dev.mapping.yml",
        {"Summit_Events__c": 10, "Summit_Events_Instance__c": 28, "Summit_Events_Appointment_Type__c": 33},
    )


def dreamhouse() -> RealSet:
    """Houses and their brokers."""
    return _plan("dreamhouse-lwc", "sample-data-plan.json", {"Contact": 5, "Broker__c": 8, "Property__c": 12})


def ebikes() -> RealSet:
    """Bicycles and their families."""
    return _plan("ebikes-lwc", "sample-data-plan.json", {"Account": 3, "Product_Family__c": 4, "Product__c": 16})


def lwc_recipes() -> RealSet:
    """Accounts, contacts, opportunities."""
    return _plan("lwc-recipes", "data-plan.json", {"Account": 10, "Contact": 6, "Opportunity": 20})


def coral_cloud() -> RealSet:
    """A resort: about a thousand contacts, experiences, reviews and cases of them."""
    return _plan(
        "coral-cloud",
        "data-plan-large.json",
        {"Contact": 992, "Experience__c": 54, "Guest_Review__c": 10, "Case": 2},
    )


def rlm_tax(project: str = "qb") -> RealSet:
    """Taxes: an SFDMU project of two passes with composite external ids and a cycle of policy and treatment."""
    described = read_describes(DESCRIBES / "rlm-projected")
    wanted = ("LegalEntity", "TaxEngineProvider", "TaxEngine", "TaxPolicy", "TaxTreatment", "Product2")
    objects = {name: described[name] for name in wanted}
    schema = OrgSchema(objects.values())
    data = read_sfdmu(SETS / "rlm-tax" / project / "en-US" / f"{project}-tax", schema)
    data.frames.pop("NamedCredential", None)
    # The project updates products that its org has already; here they are made, so they need a name.
    products = data.frames["Product2"]
    data.frames["Product2"] = products.with_columns(
        pl.col("StockKeepingUnit").alias("Name"), pl.lit("USD").alias("CurrencyIsoCode")
    )
    counts = {"qb": {"LegalEntity": 7, "Product2": 316, "TaxPolicy": 2, "TaxTreatment": 2}}
    return RealSet(f"rlm-tax {project}", tuple(complete(objects.values(), data)), data, counts.get(project, {}))


def plugin_data(plan: str) -> RealSet:
    """One of the small plans that the sf CLI is tested with."""
    file = SETS / "plugin-data" / plan
    schema = _schema(())
    data = read_plan(file, schema) if file.name.endswith("-plan.json") else read_tree(file, schema)
    return RealSet(f"plugin-data {file.parent.name}/{file.name}", _whole((), data), data)


def plugin_csv(name: str) -> RealSet:
    """One of the CSV files with other separators."""
    frame = read_table(SETS / "plugin-data" / "test-files" / "csv" / f"{name}.csv")
    sobject = _schema(())["account"]
    spelled = frame.rename({column: found.name for column in frame.columns if (found := sobject.field(column))})
    data = DataSet()
    key = pl.concat_str([pl.lit("row"), pl.int_range(pl.len()).cast(pl.String)]).alias(REF)
    data.add("Account", spelled.with_columns(key), f"{name}.csv")
    return RealSet(f"plugin-data {name}.csv", _whole((), data), data)


def cumulusci_sample(sql: str, mapping: str) -> RealSet:
    """One of CumulusCI's own small data sets."""
    folder = SETS / "cumulusci-samples"
    data = read_cumulusci(folder / sql, folder / mapping)
    return RealSet(f"cumulusci-samples {Path(sql).name}", _whole((), data), data)


def missing_required(real: RealSet) -> RealSet:
    """The set with a value in every required field that its rows leave empty, as an insert through the API needs."""
    frames = dict(real.data.frames)
    for item in real.objects:
        frame = frames.get(item.name)
        if frame is None:
            continue
        fills = []
        for needed in item.fields:
            if not needed.required or needed.is_reference or needed.has_default:
                continue
            value = {"date": "2024-01-31", "datetime": "2024-01-31T10:00:00Z", "double": "1", "currency": "1"}.get(
                needed.type, next(iter(sorted(needed.active_values())), "given")
            )
            given = pl.col(needed.name) if needed.name in frame.columns else pl.lit(None, dtype=pl.String)
            fills.append(given.fill_null(value).alias(needed.name))
        frames[item.name] = frame.with_columns(fills)
    return replace(real, data=DataSet(frames, real.data.origins, real.data.links))


PLANS = "test-files/data-project/data"
RELATIONAL: dict[str, Callable[[], RealSet]] = {
    "npsp-trailhead": npsp_trailhead,
    "outbound-funds": outbound_funds,
    "summit-events": summit_events,
    "dreamhouse-lwc": dreamhouse,
    "ebikes-lwc": ebikes,
    "lwc-recipes": lwc_recipes,
    "coral-cloud": coral_cloud,
    "rlm-tax-qb": rlm_tax,
    "rlm-tax-q3": lambda: rlm_tax("q3"),
    "plugin-junction": lambda: plugin_data(f"{PLANS}/junction/Account-AccountContactRelation-Contact-plan.json"),
    "plugin-self": lambda: plugin_data(f"{PLANS}/self-referencing/Account-plan.json"),
    "plugin-common-child": lambda: plugin_data(f"{PLANS}/commonChild/Account-Opportunity-Task-Case-plan.json"),
    "plugin-deep": lambda: plugin_data(f"{PLANS}/deep/accounts-contacts-plan.json"),
    "plugin-tree": lambda: plugin_data(f"{PLANS}/accounts-contacts-tree.json"),
    "plugin-travel": lambda: plugin_data("api/data/tree/test-files/travel-expense.json"),
    "cumulusci-sample": lambda: cumulusci_sample("datasets/sample.sql", "datasets/mapping.yml"),
    "cumulusci-self": lambda: cumulusci_sample(
        "cumulusci/tasks/bulkdata/tests/test_query_db__joins_self_lookups.sql",
        "cumulusci/tasks/bulkdata/tests/test_query_db__joins_self_lookups.yml",
    ),
    "cumulusci-record-types": lambda: missing_required(
        cumulusci_sample(
            "cumulusci/tasks/bulkdata/tests/recordtypes.sql", "cumulusci/tasks/bulkdata/tests/recordtypes.yml"
        )
    ),
    "cumulusci-record-types-2": lambda: cumulusci_sample(
        "cumulusci/tasks/bulkdata/tests/recordtypes_2.sql", "cumulusci/tasks/bulkdata/tests/recordtypes_2.yml"
    ),
    "cumulusci-testdata": lambda: missing_required(
        cumulusci_sample("cumulusci/tasks/bulkdata/tests/testdata.sql", "cumulusci/tasks/bulkdata/tests/mapping_v2.yml")
    ),
}
