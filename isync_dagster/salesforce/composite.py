"""Several reads in one call: `composite`, which counts as one call against the org's allowance.

A batch (`composite/batch`) would count each of its subrequests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from isync_dagster.errors import RequestError
from isync_dagster.salesforce.calls import OrgCalls

MOST = 25
"""Subrequests of one call."""
QUERIES = 5
"""How many of them may be queries."""


def together(org: OrgCalls, paths: Sequence[str], *, spelled: bool = False) -> list[dict[str, Any] | None]:
    """The bodies of the answers to these GET calls (absolute paths, `MOST` at most), in order.

    None where the org refused a subrequest, or all of them: a call of its own tells why. With `spelled` numbers stay
    text as the org spells them.
    """
    body = {
        "allOrNone": False,
        "compositeRequest": [
            {"method": "GET", "url": path, "referenceId": f"r{number}"} for number, path in enumerate(paths)
        ],
    }
    if not paths:
        return []
    try:
        raw = org.request("POST", "composite", json=body, repeatable=True).content
    except RequestError:
        return [None] * len(paths)
    numbers: dict[str, Any] = {"parse_float": str, "parse_int": str} if spelled else {}
    answers = {item["referenceId"]: item for item in json.loads(raw, **numbers)["compositeResponse"]}
    found: list[dict[str, Any] | None] = []
    for number in range(len(paths)):
        answer = answers.get(f"r{number}", {})
        good = int(answer.get("httpStatusCode", 0)) == 200 and isinstance(answer.get("body"), dict)
        found.append(answer["body"] if good else None)
    return found
