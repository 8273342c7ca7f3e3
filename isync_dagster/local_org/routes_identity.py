"""Who a token speaks for (userinfo, identity, introspection), and the web-server login with PKCE."""

from __future__ import annotations

import html
import secrets
import time
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from isync_dagster.local_org.auth import OAuthRefusal, Session, check_client, check_password, form_of, set_password
from isync_dagster.local_org.ids import is_id, to18
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route

SHORTEST_PASSWORD: Final = 8
HTML: Final = "text/html; charset=UTF-8"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def _urls(call: Call) -> dict[str, str]:
    own, org = call.service.instance_url(call), call.org.org_id[:15]
    data = f"{own}/services/data/v{{version}}/"
    return {
        "enterprise": f"{own}/services/Soap/c/{{version}}/{org}",
        "metadata": f"{own}/services/Soap/m/{{version}}/{org}",
        "partner": f"{own}/services/Soap/u/{{version}}/{org}",
        "rest": data,
        "sobjects": f"{data}sobjects/",
        "search": f"{data}search/",
        "query": f"{data}query/",
        "recent": f"{data}recent/",
        "tooling_soap": f"{own}/services/Soap/T/{{version}}/{org}",
        "tooling_rest": f"{data}tooling/",
        "profile": f"{own}/{call.session.user_id if call.session else ''}",
    }


def _user(call: Call, user_id: str) -> dict[str, Any]:
    found = call.org.storage.frame('SELECT * FROM "User" WHERE "Id" = ?', [user_id]).to_dicts()
    if not found:
        raise not_found()
    return found[0]


def _common(call: Call, user: dict[str, Any]) -> dict[str, Any]:
    return {
        "user_id": user["Id"],
        "organization_id": call.org.org_id,
        "email": user.get("Email"),
        "email_verified": True,
        "photos": {"picture": None, "thumbnail": None},
        "active": bool(user.get("IsActive")),
        "user_type": "STANDARD",
        "language": user.get("LanguageLocaleKey") or "en_US",
        "locale": user.get("LocaleSidKey") or "en_US",
        "utcOffset": 0,
        "is_app_installed": True,
        "urls": _urls(call),
    }


def userinfo(call: Call) -> Reply:
    """GET /services/oauth2/userinfo."""
    assert call.session is not None
    user = _user(call, call.session.user_id)
    changed = user.get("LastModifiedDate")
    return Reply(
        {
            "sub": f"{call.service.instance_url(call)}/id/{call.org.org_id}/{user['Id']}",
            **_common(call, user),
            "preferred_username": user.get("Username"),
            "nickname": user.get("CommunityNickname"),
            "name": user.get("Name"),
            "given_name": user.get("FirstName"),
            "family_name": user.get("LastName"),
            "zoneinfo": user.get("TimeZoneSidKey") or "GMT",
            "updated_at": changed.strftime("%Y-%m-%dT%H:%M:%SZ") if changed else None,
        }
    )


def identity(call: Call) -> Reply:
    """GET /id/{org}/{user}: only of the token's own org and user."""
    assert call.session is not None
    if call.path["org"][:15] != call.org.org_id[:15] or call.path["user"][:15] != call.session.user_id[:15]:
        raise ApiError(403, "FORBIDDEN", "Bad_OAuth_Token")
    user = _user(call, call.session.user_id)
    changed = user.get("LastModifiedDate")
    return Reply(
        {
            "id": f"{call.service.instance_url(call)}/id/{call.org.org_id}/{user['Id']}",
            "asserted_user": True,
            **_common(call, user),
            "username": user.get("Username"),
            "nick_name": user.get("CommunityNickname"),
            "display_name": user.get("Name"),
            "first_name": user.get("FirstName"),
            "last_name": user.get("LastName"),
            "timezone": user.get("TimeZoneSidKey") or "GMT",
            "last_modified_date": changed.strftime("%Y-%m-%dT%H:%M:%SZ") if changed else None,
        }
    )


def password(call: Call) -> Reply:
    """GET, POST or DELETE sobjects/User/{id}/password: whether it is expired, a new one, or a made one."""
    user_id = to18(call.path["id"]) if is_id(call.path["id"]) else ""
    if not call.org.storage.rows('SELECT 1 FROM "User" WHERE "Id" = ? AND NOT "IsDeleted"', [user_id]):
        raise not_found()
    if call.method == "GET":
        return Reply({"isExpired": False})
    if call.method == "DELETE":
        made = secrets.token_urlsafe(9)
        set_password(call.org, user_id, made)
        return Reply({"NewPassword": made})
    wanted = call.json_object().get("NewPassword")
    if not isinstance(wanted, str) or len(wanted) < SHORTEST_PASSWORD:
        message = f"Your password must be at least {SHORTEST_PASSWORD} characters long."
        raise ApiError(400, "INVALID_NEW_PASSWORD", message)
    set_password(call.org, user_id, wanted)
    return Reply(None, status=204)


def introspect(call: Call) -> Reply:
    """POST /services/oauth2/introspect: is a token alive, and whose is it."""
    form = form_of(call)
    try:
        check_client(call, form, secret=True)
    except OAuthRefusal as refusal:
        return Reply(refusal.reply.body, status=401)
    session: Session | None = call.service.sessions.find(form.get("token", ""), touch=False)
    if session is None:
        return Reply({"active": False})
    user = _user(call, session.user_id)
    now = int(time.time())
    issued = now - int(time.monotonic() - session.opened)
    return Reply(
        {
            "active": True,
            "scope": "refresh_token api web",
            "client_id": call.org.settings.consumer_key,
            "username": user.get("Username"),
            "sub": f"{call.service.instance_url(call)}/id/{call.org.org_id}/{user['Id']}",
            "token_type": "access_token",
            "exp": now + call.org.settings.session_seconds,
            "iat": issued,
            "nbf": issued,
        }
    )


def authorize(call: Call) -> Reply:
    """GET or POST /services/oauth2/authorize: a login form, and after it the redirect with the code."""
    given = dict(call.query)
    if call.method == "POST":
        given |= {key: values[0] for key, values in parse_qs(call.body.decode(errors="replace")).items()}
    redirect = given.get("redirect_uri", "")
    if given.get("client_id") != call.org.settings.consumer_key:
        return _told("invalid_client_id", "client identifier invalid")
    if not _own_machine(redirect):
        return _told("redirect_uri_mismatch", "redirect_uri must match configuration")
    if given.get("response_type") != "code":
        return _redirect(redirect, error="unsupported_response_type", error_description="response type not supported",
                         state=given.get("state"))  # fmt: skip
    if "password" not in given:
        return _form(given, "")
    user_id = check_password(call.org, given.get("username", ""), given["password"])
    if user_id is None:
        return _form(given, "Please check your username and password.")
    code = call.service.sessions.give_code(user_id, redirect, given.get("code_challenge"))
    return _redirect(redirect, code=code, state=given.get("state"))


def _own_machine(redirect: str) -> bool:
    """A local org sends codes to this machine only."""
    try:
        parts = urlsplit(redirect)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK


def _redirect(target: str, **values: str | None) -> Reply:
    query = urlencode({key: value for key, value in values.items() if value is not None})
    return Reply(None, status=302, headers={"Location": f"{target}{'&' if '?' in target else '?'}{query}"})


def _told(error: str, description: str) -> Reply:
    page = f"<html><body><p>error={error}&amp;error_description={html.escape(description)}</p></body></html>"
    return Reply(page, status=400, content_type=HTML)


def _form(given: dict[str, str], message: str) -> Reply:
    kept = "".join(
        f'<input type="hidden" name="{html.escape(key)}" value="{html.escape(value)}">'
        for key, value in given.items()
        if key not in ("username", "password")
    )
    page = (
        f"<html><body><p>{message}</p><form method='post'>{kept}<input name='username'>"
        "<input name='password' type='password'><button>Log In</button></form></body></html>"
    )
    return Reply(page, content_type=HTML)


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route("/services/oauth2/userinfo", GET=userinfo, POST=userinfo),
        route("/services/oauth2/introspect", open=True, POST=introspect),
        route("/services/oauth2/authorize", open=True, GET=authorize, POST=authorize),
        route(r"~/sobjects/User/(?P<id>\w+)/password", GET=password, POST=password, DELETE=password),
        route("/id/(?P<org>[^/]+)/(?P<user>[^/]+)", GET=identity, POST=identity),
    ]
