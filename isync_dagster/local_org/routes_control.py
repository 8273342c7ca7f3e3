"""The control side, outside of Salesforce's paths: faults, scenarios, session expiry, call budget, reset.

`GET /__local_org/` tells the state; `POST /__local_org/faults` adds a rule (or replaces all by a list);
`DELETE /__local_org/faults` lifts them; `GET /__local_org/scenarios` lists the shipped scenarios;
`POST /__local_org/scenario {"name": "row-locks"}`, or a whole scenario, lets one begin, `DELETE` ends it;
`POST /__local_org/expire` ends every session; `POST /__local_org/budget {"calls": n}` leaves n calls;
`POST /__local_org/reset` takes all data away. A token is asked for as everywhere; these calls meet no fault and are
not counted.
"""

from __future__ import annotations

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.scenarios import load, shipped
from isync_dagster.local_org.scenarios.files import validate
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route


def state(call: Call) -> Reply:
    """What is set."""
    return Reply(call.service.status())


def rows(call: Call) -> Reply:
    """Object -> rows that are not deleted."""
    return Reply(dict(call.org.counts()))


def set_faults(call: Call) -> Reply:
    """Add one rule, or replace all by a list."""
    given = call.json()
    try:
        rules = [Fault.read(dict(item)) for item in (given if isinstance(given, list) else [given])]
        call.service.refuse_kill(rules)
        if isinstance(given, list):
            call.service.faults.set(rules)
        else:
            call.service.faults.add(rules[0])
    except (ConfigError, TypeError, ValueError) as error:
        raise ApiError(400, "INVALID_FAULT", str(error)) from error
    return Reply(call.service.faults.as_json())


def lift_faults(call: Call) -> Reply:
    """Take all rules back."""
    call.service.faults.set([])
    return Reply([])


def list_scenarios(call: Call) -> Reply:
    """The shipped scenarios: name, description, and whether they kill the server."""
    return Reply([{"name": item.name, "description": item.description, "kills": item.kills} for item in shipped()])


def set_scenario(call: Call) -> Reply:
    """Let a shipped scenario begin by its name, or one that is given whole."""
    given = call.json_object()
    try:
        scenario = load(str(given["name"])) if set(given) == {"name"} else validate(given, "scenario")
        call.service.apply(scenario)
    except ConfigError as error:
        raise ApiError(400, "INVALID_SCENARIO", str(error)) from error
    return Reply(call.service.status())


def lift_scenario(call: Call) -> Reply:
    """End the scenario, and with it all faults."""
    call.service.lift()
    return Reply(call.service.status())


def reset(call: Call) -> Reply:
    """Take all rows and jobs away: a new org with the same ids and credentials; sessions go on."""
    call.service.jobs.clear()
    call.service.bulk1.clear()
    call.org.reset()
    return Reply(call.service.status())


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
        route("/__local_org/rows", GET=rows),
        route("/__local_org/faults", GET=state, POST=set_faults, DELETE=lift_faults),
        route("/__local_org/scenarios", GET=list_scenarios),
        route("/__local_org/scenario", POST=set_scenario, DELETE=lift_scenario),
        route("/__local_org/reset", POST=reset),
        route("/__local_org/expire", POST=expire),
        route("/__local_org/budget", POST=budget),
    ]
