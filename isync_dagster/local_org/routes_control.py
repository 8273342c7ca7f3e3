"""The control side, outside of Salesforce's paths: faults, session expiry, call budget.

`GET /__local_org/` tells the state; `POST /__local_org/faults` adds a rule (or replaces all by a list);
`DELETE /__local_org/faults` lifts them; `POST /__local_org/expire` ends every session;
`POST /__local_org/budget {"calls": n}` leaves n calls. A token is asked for as everywhere; these calls meet no
fault and are not counted.
"""

from __future__ import annotations

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route


def state(call: Call) -> Reply:
    """What is set."""
    return Reply(call.service.status())


def set_faults(call: Call) -> Reply:
    """Add one rule, or replace all by a list."""
    given = call.json()
    try:
        if isinstance(given, list):
            call.service.faults.set([Fault.read(dict(item)) for item in given])
        else:
            call.service.faults.add(Fault.read(dict(given)))
    except (ConfigError, TypeError, ValueError) as error:
        raise ApiError(400, "INVALID_FAULT", str(error)) from error
    return Reply(call.service.faults.as_json())


def lift_faults(call: Call) -> Reply:
    """Take all rules back."""
    call.service.faults.set([])
    return Reply([])


def expire(call: Call) -> Reply:
    """End every session, this one too."""
    return Reply({"ended": call.service.sessions.end()})


def budget(call: Call) -> Reply:
    """Set how many calls are left."""
    left = call.json_object().get("calls")
    if not isinstance(left, int):
        raise ApiError(400, "INVALID_FAULT", "calls must be a whole number")
    call.service.leave_calls(left)
    return Reply(call.service.status())


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("/__local_org", GET=state),
        route("/__local_org/faults", GET=state, POST=set_faults, DELETE=lift_faults),
        route("/__local_org/expire", POST=expire),
        route("/__local_org/budget", POST=budget),
    ]
