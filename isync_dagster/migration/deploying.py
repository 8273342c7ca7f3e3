"""A resolution's package into the target org: guarded like every write, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isync_dagster.errors import OrgsError
from isync_dagster.salesforce.deploy import DeployState, assign_permission_set, deploy
from isync_dagster.salesforce.org import Org
from isync_dagster.schema.compare.files import archive
from isync_dagster.schema.compare.package import PERMISSION_SET, Package
from isync_dagster.store.store import Store


@dataclass(frozen=True)
class Deployment:
    """What became of a deploy; `assigned` is True where the user was given the permission set by it."""

    state: DeployState
    assigned: bool = False


def deploy_package(
    org: Org,
    package: Package,
    store: Store,
    *,
    confirm_production: str = "",
    check_only: bool = False,
    progress: Callable[[DeployState], None] | None = None,
) -> Deployment:
    """Deploy the package and give the org's user its permission set.

    Raises `OrgsError` for a production org without `allow_production` or without its id as `confirm_production`, and
    `LeaseHeldError` while a run writes to the org: its rows were planned for the schema as it is.
    """
    identity = org.require_writable()
    if identity.is_production and confirm_production.strip() != identity.org_id:
        raise OrgsError(
            f"The target {org.alias!r} ({identity.name}) is a production org. To deploy to it give its org id: "
            f"`--confirm-production {identity.org_id}`."
        )
    lease = store.lease(identity.org_id).acquire_alone(f"a deploy to {org.alias}")
    try:
        with lease.keep():
            state = deploy(org, archive(package, org.api_version), check_only=check_only, progress=progress)
            opened = any(part.kind == "PermissionSet" for part in package.parts)
            if not state.success or check_only or not opened:
                return Deployment(state)
            return Deployment(state, assign_permission_set(org, PERMISSION_SET))
    finally:
        lease.release()
