"""The Metadata API's deploy by REST: send an archive once, wait for its end, say what each component came to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isync_dagster.errors import UnknownOutcome
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import never, poll

_FINISHED = frozenset({"Succeeded", "SucceededPartial", "Failed", "Canceled"})


@dataclass(frozen=True)
class DeployedComponent:
    """One component of a deploy; `problem` is empty where it succeeded."""

    kind: str
    name: str
    created: bool
    changed: bool
    problem: str = ""
    line: int | None = None


@dataclass(frozen=True)
class DeployState:
    """Where a deploy stands; components are known as they are done."""

    id: str
    status: str
    done: bool
    success: bool
    total: int
    deployed: int
    errors: int
    message: str
    components: tuple[DeployedComponent, ...]
    failed_tests: Mapping[str, str] = field(default_factory=dict)
    """Apex test (`Class.method`) that was asked for -> why it failed."""

    @property
    def failures(self) -> tuple[DeployedComponent, ...]:
        """The components that were refused."""
        return tuple(item for item in self.components if item.problem)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> DeployState:
        """Read a DeployResult."""
        details = answer.get("details") or {}
        components = [
            DeployedComponent(
                str(item.get("componentType") or ""),
                str(item.get("fullName") or ""),
                item.get("created") is True,
                item.get("changed") is True,
                str(item.get("problem") or "") if not item.get("success") else "",
                item.get("lineNumber"),
            )
            for key in ("componentFailures", "componentSuccesses")
            for item in _listed(details.get(key))
        ]
        tests = _listed((details.get("runTestResult") or {}).get("failures"))
        status = str(answer.get("status") or "Pending")
        return cls(
            id=str(answer.get("id") or ""),
            status=status,
            done=answer.get("done") is True or status in _FINISHED,
            success=answer.get("success") is True,
            total=int(answer.get("numberComponentsTotal") or 0),
            deployed=int(answer.get("numberComponentsDeployed") or 0),
            errors=int(answer.get("numberComponentErrors") or 0),
            message=str(answer.get("errorMessage") or ""),
            components=tuple(components),
            failed_tests={f"{item.get('name')}.{item.get('methodName')}": str(item.get("message")) for item in tests},
        )


def deploy(
    org: Org,
    archive: bytes,
    *,
    check_only: bool = False,
    test_level: str = "",
    tests: Sequence[str] = (),
    repeatable: bool = False,
    cancelled: Callable[[], bool] = never,
    progress: Callable[[DeployState], None] | None = None,
) -> DeployState:
    """Deploy a zip file with its package.xml, whole or not at all, and wait for the end.

    The caller asks `Org.require_writable` first. A refused component is in the result, not an error; UnknownOutcome
    where the answer to the request was lost: the deploy may be under way. `repeatable` says that deploying the same
    twice does no harm: then it is sent again. `test_level` is Salesforce's; none leaves the choice to the org.
    """
    asked: dict[str, Any] = {
        "checkOnly": check_only,
        "rollbackOnError": True,
        "singlePackage": True,
        "ignoreWarnings": True,
    }
    if test_level:
        asked["testLevel"] = test_level
    if test_level == "RunSpecifiedTests":
        asked["runTests"] = list(tests)
    options = {"deployOptions": asked}
    boundary = f"isync{secrets.token_hex(16)}"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="json"\r\nContent-Type: application/json\r\n\r\n'
        f"{json.dumps(options)}\r\n"
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="deploy.zip"\r\n'
        "Content-Type: application/zip\r\n\r\n"
    ).encode() + archive + f"\r\n--{boundary}--\r\n".encode()  # fmt: skip
    try:
        answer = org.request(
            "POST",
            "metadata/deployRequest",
            body=body,
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
            repeatable=repeatable,
        ).json()
    except UnknownOutcome as error:
        raise UnknownOutcome(
            f"{error} The deploy may be under way: look at Setup > Deployment Status of the org before it is sent again."
        ) from error
    deploy_id = str(answer["id"])
    return poll(
        lambda: _state(org, deploy_id),
        lambda state: state.done,
        tuning=org.tuning,
        cancelled=cancelled,
        what=f"deploy {deploy_id}",
        job_id=deploy_id,
        progress=progress,
    )


def _listed(value: Any) -> list[dict[str, Any]]:
    """A single element is answered as an object, several as a list, none not at all."""
    if not value:
        return []
    return [value] if isinstance(value, dict) else list(value)


def _state(org: Org, deploy_id: str) -> DeployState:
    answer = org.request("GET", f"metadata/deployRequest/{deploy_id}", params={"includeDetails": "true"}).json()
    return DeployState.from_json(answer["deployResult"])


def assign_permission_set(org: Org, name: str) -> bool:
    """Give the API user a permission set, which makes deployed fields visible; False where the user has it already."""
    user = str(org.request("GET", "/services/oauth2/userinfo").json()["user_id"])
    found = org.query(f"SELECT Id FROM PermissionSet WHERE Name = '{name}'")
    if found.is_empty():
        return False
    set_id = found["Id"][0]
    condition = f"AssigneeId = '{user}' AND PermissionSetId = '{set_id}'"
    if not org.query(f"SELECT Id FROM PermissionSetAssignment WHERE {condition}").is_empty():
        return False
    org.request(
        "POST",
        "sobjects/PermissionSetAssignment",
        json={"AssigneeId": user, "PermissionSetId": set_id},
        repeatable=False,
    )
    return True
