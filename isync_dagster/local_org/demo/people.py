"""Users, roles and queues of the demo orgs: the same people with other ids, and a few who are not in both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

DOMAIN: Final = "harbourline.example"
SANDBOX: Final = "uat"  # what a sandbox appends to every user name

# First name, last name, role (0 sales, 1 service); the order is the local key.
USERS: Final = (
    ("Mira", "Castell", 0),
    ("Jonas", "Feldt", 0),
    ("Amara", "Okoye", 0),
    ("Luca", "Bianchi", 0),
    ("Signe", "Holm", 0),
    ("Kenji", "Mori", 1),
    ("Paula", "Reyes", 1),
    ("Tomasz", "Wolski", 1),
    ("Ines", "Duval", 1),  # another user name in the target, the same e-mail address
    ("Ravi", "Nair", 1),  # another user name and address in the target, the same federation id
    ("Greta", "Sand", 0),  # not in the target: her records go to the default user
    ("Otto", "Alt", 0),  # has left: inactive in the source, not in the target
)
INACTIVE: Final = 11
ONLY_SOURCE: Final = (10, 11)
ROLES: Final = (("Sales", "Sales_Team"), ("Service", "Service_Team"))
QUEUES: Final = (
    ("Support Desk", "Support_Desk", "Case"),
    ("Complaints", "Complaints", "Case"),
    ("New Leads", "New_Leads", "Lead"),
)


def source_people() -> dict[str, pl.DataFrame]:
    """UserRole, User, Group and QueueSobject of the source."""
    users = [_user(number, f"{first}.{last}@{DOMAIN}".lower()) for number, (first, last, _) in enumerate(USERS)]
    return {**_roles(), "User": pl.DataFrame(users), **_queues(range(len(QUEUES)))}


def target_people() -> dict[str, pl.DataFrame]:
    """The same of the target, where some are found by user name, one by e-mail, one by federation id."""
    users = []
    for number, (first, last, _) in enumerate(USERS):
        if number in ONLY_SOURCE:
            continue
        usual = f"{first}.{last}@{DOMAIN}".lower()
        user = _user(number, f"{usual}.{SANDBOX}")
        if number < 4:
            user["Email"] = f"{usual}.invalid"
        if number == 8:
            user |= {"Username": f"ines.service@{DOMAIN}.{SANDBOX}", "Email": usual}
        if number == 9:
            user |= {"Username": f"rnair@{DOMAIN}.{SANDBOX}", "Email": f"rnair@{DOMAIN}"}
        users.append(user)
    gone = _user(len(USERS), f"old.interface@{DOMAIN}.{SANDBOX}") | {"FirstName": "Old", "LastName": "Interface"}
    users.insert(2, gone | {"IsActive": False})
    return {**_roles(), "User": pl.DataFrame(users), **_queues(reversed(range(len(QUEUES))))}


def _user(number: int, username: str) -> dict[str, object]:
    first, last, role = USERS[number] if number < len(USERS) else ("", "", 0)
    return {
        "_ref": f"User-{number}",
        "Username": username,
        "FirstName": first,
        "LastName": last,
        "Email": username.removesuffix(f".{SANDBOX}"),
        "Alias": (first[:1] + last).lower()[:8] or f"user{number}",
        "FederationIdentifier": f"hl-{number:04d}" if number == 9 else None,
        "UserRoleId": f"UserRole-{role}",
        "ProfileId": "Profile/Standard User",
        "ManagerId": "User-0" if role == 0 and number else None,
        "IsActive": number != INACTIVE,
        "UserType": "Standard",
        "TimeZoneSidKey": "Europe/Berlin",
        "LocaleSidKey": "en_GB",
        "EmailEncodingKey": "UTF-8",
        "LanguageLocaleKey": "en_US",
        "CommunityNickname": f"{first}{last}{number}".lower(),
    }


def _roles() -> dict[str, pl.DataFrame]:
    rows = [{"_ref": f"UserRole-{n}", "Name": name, "DeveloperName": dev} for n, (name, dev) in enumerate(ROLES)]
    return {"UserRole": pl.DataFrame(rows)}


def _queues(order: Iterable[int]) -> dict[str, pl.DataFrame]:
    groups, served = [], []
    for number in order:
        name, developer_name, sobject = QUEUES[number]
        groups.append({"_ref": f"Group-{number}", "Name": name, "DeveloperName": developer_name, "Type": "Queue"})
        served.append({"QueueId": f"Group-{number}", "SobjectType": sobject})
    return {"Group": pl.DataFrame(groups), "QueueSobject": pl.DataFrame(served)}
