"""A package goes to no production org without consent, and a refused component changes nothing and is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from isync_dagster.errors import OrgsError
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.standard import standard
from isync_dagster.migration.deploying import deploy_package
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.compare.package import Package, Part
from isync_dagster_tests.end_to_end.workbench import serving

FINE = Part("CustomField", "Account", "Fine__c", [("fullName", "Fine__c"), ("label", "F"), ("type", "Date")])
WRONG = Part(
    "CustomField",
    "Account",
    "Wrong__c",
    [
        ("fullName", "Wrong__c"),
        ("label", "W"),
        ("type", "Lookup"),
        ("referenceTo", "Nope__c"),
        ("relationshipName", "W"),
    ],
)


def test_production_and_refused_components(tmp_path: Path) -> None:
    objects = list(standard(("Account",)))
    with (
        LocalOrg.create(tmp_path / "source", objects, name="source", seed=1) as source,
        LocalOrg.create(
            tmp_path / "target", objects, name="prod", seed=2, organization_type="Enterprise Edition"
        ) as target,
        serving(tmp_path, source, target) as bench,
    ):
        org = bench.target_client
        with pytest.raises(OrgsError, match="allow_production"):
            deploy_package(org, Package((FINE,), ()), bench.store)
        allowed = Org.connect(org.config.model_copy(update={"allow_production": True}), "target")
        with pytest.raises(OrgsError, match="--confirm-production"):
            deploy_package(allowed, Package((FINE,), ()), bench.store)
        assert target.schema["Account"].field("Fine__c") is None
        org_id = allowed.identity().org_id
        done = deploy_package(allowed, Package((FINE, WRONG), ()), bench.store, confirm_production=org_id)
        assert (done.state.success, done.state.status, done.assigned) == (False, "Failed", False)
        (failure,) = done.state.failures
        assert failure.name == "Account.Wrong__c"
        assert "Nope__c" in failure.problem
        assert target.schema["Account"].field("Fine__c") is None
        done = deploy_package(allowed, Package((FINE,), ()), bench.store, confirm_production=org_id)
        assert done.state.success
        assert target.schema["Account"].field("Fine__c") is not None
        assert bench.store.lease(org_id).holder() is None
        allowed.close()
