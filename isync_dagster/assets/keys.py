"""The names of things in Dagster: asset keys, groups, pools, jobs. The one place that spells them."""

from __future__ import annotations

import re

import dagster as dg

EXTRACT, REMAP, LOAD, RELINK = "extract", "remap", "load", "relink"
STAGES = (EXTRACT, REMAP, LOAD, RELINK)
PREFLIGHT, REPORT, SNAPSHOT = "preflight", "report", "snapshot"

OWNER = "team:migration"

TEMPLATE_TAG, STAGE_TAG, SIZE_TAG, PHASE_TAG = "isync/template", "stage", "isync/size", "isync/phase"
SYNC_JOB_TAG, RUN_TAG = "isync/sync-job", "isync/run"
"""Run tags: source and target org, template and phase; the number of the sync job's run that was worked on."""
PHASES_TAG = "isync/phases"
"""Run tag of the validate job: judge only these phases (with commas between them)."""


def slug(name: str) -> str:
    """A name as Dagster takes it for groups, pools and jobs.

    >>> slug("npe01__OppPayment__c"), slug("core-crm 2")
    ('npe01__opppayment__c', 'core_crm_2')
    """
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def asset_key(template: str, object: str, stage: str) -> dg.AssetKey:
    """`template/object/stage`: a collapsed group reads as the object and opens to its stages."""
    return dg.AssetKey([template, object, stage])


def gate_key(template: str, name: str) -> dg.AssetKey:
    """`template/preflight` and `template/report`: one of each a phase."""
    return dg.AssetKey([template, name])


def snapshot_key(alias: str) -> dg.AssetKey:
    """`orgs/alias/snapshot`: the describes that the templates are planned with."""
    return dg.AssetKey(["orgs", alias, SNAPSHOT])


def group(template: str, object: str) -> str:
    """The group of an object's stages."""
    return f"{slug(template)}__{slug(object)}"


def pool(alias: str) -> str:
    """The pool that limits the steps that work with an org at the same time."""
    return f"sf_{slug(alias)}"


def job_name(verb: str, template: str) -> str:
    """The job of a template: `migrate`, `migrate_phases` or `validate`, followed by the template's name."""
    return f"{verb}_{slug(template)}"
