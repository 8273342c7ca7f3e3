"""Logging in: OAuth token, revoke, userinfo, identity, and the SOAP login; sessions and their end."""

from __future__ import annotations

import base64
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass
class Session:
    """One access token: whose it is and when it was last used (monotonic seconds)."""

    token: str
    user_id: str
    used: float


class Sessions:
    """The access and refresh tokens of one running org; they end with the process, as a session may any time."""

    def __init__(self, org: LocalOrg) -> None:
        self._org = org
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._revoked: set[str] = set()

    def open(self, user_id: str) -> Session:
        """A new session of a user."""
        token = f"{self._org.org_id[:15]}!AQ.{secrets.token_urlsafe(66).replace('-', '.')}"
        session = Session(token, user_id, time.monotonic())
        with self._lock:
            self._sessions[token] = session
        return session

    def user_of_refresh(self, token: str) -> str | None:
        """Whose refresh token this is, if it still stands."""
        settings = self._org.settings
        good = secrets.compare_digest(token.encode(), settings.refresh_token.encode()) and token not in self._revoked
        return settings.user_id if good else None

    def find(self, token: str) -> Session | None:
        """The live session of a token; using it keeps it alive."""
        now = time.monotonic()
        with self._lock:
            session = self._sessions.get(token)
            if session is None:
                return None
            if now - session.used > self._org.settings.session_seconds:
                del self._sessions[token]
                return None
            session.used = now
            return session

    def end(self, token: str | None = None) -> int:
        """End one session or refresh token, or every session; gives how many sessions ended."""
        with self._lock:
            if token is None:
                count = len(self._sessions)
                self._sessions.clear()
                return count
            self._revoked.add(token)
            return 1 if self._sessions.pop(token, None) else 0


class _Refusal(Exception):
    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.reply = Reply({"error": error, "error_description": description}, status=status)


def token(call: Call) -> Reply:
    """POST /services/oauth2/token."""
    given = parse_qs(call.body.decode(errors="replace"), keep_blank_values=True)
    form = {key: values[0] for key, values in given.items()}
    form.update({key: value for key, value in call.query.items() if key not in form})
    try:
        grant = form.get("grant_type")
        if not grant:
            raise _Refusal("invalid_request", "missing required parameter: grant_type")
        if grant == "password":
            return _password(call, form)
        if grant == "client_credentials":
            return _client_credentials(call, form)
        if grant == JWT_GRANT:
            return _jwt(call, form)
        if grant == "refresh_token":
            return _refresh(call, form)
        raise _Refusal("unsupported_grant_type", "grant type not supported")
    except _Refusal as refusal:
        return refusal.reply


def _grant(call: Call, user_id: str, **more: Any) -> Reply:
    org = call.org
    session = call.service.sessions.open(user_id)
    issued = str(int(time.time() * 1000))
    answer: dict[str, Any] = {
        "access_token": session.token,
        "instance_url": call.service.instance_url(call),
        "id": f"{call.service.instance_url(call)}/id/{org.org_id}/{user_id}",
        "token_type": "Bearer",
        "issued_at": issued,
        "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    answer.update(more)
    return Reply({key: value for key, value in answer.items() if value is not None})


def _check_client(call: Call, form: dict[str, str], *, secret: bool) -> None:
    settings = call.org.settings
    client, given = form.get("client_id"), form.get("client_secret")
    header = call.headers.get("authorization", "")
    if header.lower().startswith("basic "):
        try:
            client, _, given = base64.b64decode(header[6:]).decode().partition(":")
        except ValueError as error:
            raise _Refusal("invalid_client", "invalid client credentials") from error
    if client != settings.consumer_key:
        raise _Refusal("invalid_client_id", "client identifier invalid")
    if secret and not secrets.compare_digest(given or "", settings.consumer_secret):
        raise _Refusal("invalid_client", "invalid client credentials")


def user_of(org: LocalOrg, username: str) -> str | None:
    """The id of the active user of that name, in any case."""
    found = org.storage.rows(
        'SELECT "Id" FROM "User" WHERE lower("Username") = lower(?) AND "IsActive" AND NOT "IsDeleted"', [username]
    )
    return str(found[0][0]) if found else None


def check_password(org: LocalOrg, username: str, password: str) -> str | None:
    """The user whose password (with or without the security token) this is; all users of an org share it."""
    settings = org.settings
    good = (settings.password + settings.security_token, settings.password)
    if not any(secrets.compare_digest(password.encode(), text.encode()) for text in good):
        return None
    return user_of(org, username)


def _password(call: Call, form: dict[str, str]) -> Reply:
    _check_client(call, form, secret=True)
    user_id = check_password(call.org, form.get("username", ""), form.get("password", ""))
    if user_id is None:
        raise _Refusal("invalid_grant", "authentication failure")
    return _grant(call, user_id)


def _client_credentials(call: Call, form: dict[str, str]) -> Reply:
    _check_client(call, form, secret=True)
    return _grant(call, call.org.settings.user_id, scope="api")


def _jwt(call: Call, form: dict[str, str]) -> Reply:
    import jwt

    settings = call.org.settings
    if not settings.jwt_public_key:
        raise _Refusal("invalid_grant", "user hasn't approved this consumer")
    try:
        claims: dict[str, Any] = jwt.decode(
            form.get("assertion", ""),
            settings.jwt_public_key,
            algorithms=["RS256"],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
        expires = int(claims.get("exp", 0))
    except (jwt.PyJWTError, ValueError) as error:
        raise _Refusal("invalid_grant", "invalid assertion") from error
    if expires < time.time() - 30:
        raise _Refusal("invalid_grant", "expired authorization code")
    if claims.get("iss") != settings.consumer_key:
        raise _Refusal("invalid_client_id", "client identifier invalid")
    audience = str(claims.get("aud", ""))
    own = call.service.instance_url(call)
    if audience not in ("https://login.salesforce.com", "https://test.salesforce.com") and not audience.startswith(own):
        raise _Refusal("invalid_grant", "audience is invalid")
    user_id = user_of(call.org, str(claims.get("sub", "")))
    if user_id is None:
        raise _Refusal("invalid_grant", "user hasn't approved this consumer")
    return _grant(call, user_id, scope="api web", issued_at=None, signature=None)


def _refresh(call: Call, form: dict[str, str]) -> Reply:
    _check_client(call, form, secret=False)
    user_id = call.service.sessions.user_of_refresh(form.get("refresh_token", ""))
    if user_id is None:
        raise _Refusal("invalid_grant", "expired access/refresh token")
    return _grant(call, user_id, scope="refresh_token api web")


def revoke(call: Call) -> Reply:
    """POST /services/oauth2/revoke."""
    form = parse_qs(call.body.decode(errors="replace"))
    given = (form.get("token") or [call.query.get("token", "")])[0]
    call.service.sessions.end(given)
    return Reply(None, content_type="text/plain")


def userinfo(call: Call) -> Reply:
    """GET /services/oauth2/userinfo and /id/{org}/{user}: who the token speaks for."""
    assert call.session is not None
    org, own = call.org, call.service.instance_url(call)
    found = org.storage.frame('SELECT * FROM "User" WHERE "Id" = ?', [call.session.user_id]).to_dicts()
    user = found[0] if found else {}
    return Reply(
        {
            "sub": f"{own}/id/{org.org_id}/{call.session.user_id}",
            "user_id": call.session.user_id,
            "organization_id": org.org_id,
            "username": user.get("Username"),
            "preferred_username": user.get("Username"),
            "name": user.get("Name"),
            "display_name": user.get("Name"),
            "email": user.get("Email"),
            "email_verified": True,
            "user_type": "STANDARD",
            "active": True,
            "urls": {
                "rest": f"{own}/services/data/v{{version}}/",
                "sobjects": f"{own}/services/data/v{{version}}/sobjects/",
                "query": f"{own}/services/data/v{{version}}/query/",
                "partner": f"{own}/services/Soap/u/{{version}}/{org.org_id[:15]}",
                "metadata": f"{own}/services/Soap/m/{{version}}/{org.org_id[:15]}",
            },
        }
    )


def soap(call: Call) -> Reply:
    """POST /services/Soap/u/{v}: login; absent from version 65 on."""
    try:
        root = ElementTree.fromstring(call.body)
    except ElementTree.ParseError:
        return _fault("soapenv:Client", "INVALID_OPERATION", "The request is no well-formed SOAP message.")
    name = next((element.tag.partition("}")[2] for element in root.iter() if _parent_is_body(root, element)), "")
    if name != "login":
        return _fault("sf:INVALID_OPERATION", "INVALID_OPERATION", f"Operation {name} is not supported here.")
    if float(call.path["v"]) >= 65:
        return _fault("sf:INVALID_OPERATION", "INVALID_OPERATION", "SOAP API login() is not available in this version.")
    values = {element.tag.partition("}")[2]: element.text or "" for element in root.iter()}
    user_id = check_password(call.org, values.get("username", ""), values.get("password", ""))
    if user_id is None:
        refusal = "Invalid username, password, security token; or user locked out."
        return _fault("INVALID_LOGIN", "INVALID_LOGIN", refusal)
    session = call.service.sessions.open(user_id)
    return Reply(_login_result(call, session), content_type="text/xml; charset=utf-8")


def _parent_is_body(root: ElementTree.Element, element: ElementTree.Element) -> bool:
    return any(child is element for body in root if body.tag.endswith("}Body") for child in body)


def _login_result(call: Call, session: Session) -> str:
    org, own, version = call.org, call.service.instance_url(call), call.path["v"]
    server = f"{own}/services/Soap/u/{version}/{org.org_id[:15]}"
    sandbox = str(org.settings.is_sandbox).lower()
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><loginResponse><result>'
        f"<metadataServerUrl>{escape(server.replace('/u/', '/m/'))}</metadataServerUrl>"
        f"<passwordExpired>false</passwordExpired><sandbox>{sandbox}</sandbox><serverUrl>{escape(server)}</serverUrl>"
        f"<sessionId>{escape(session.token)}</sessionId><userId>{session.user_id}</userId><userInfo>"
        f"<organizationId>{org.org_id}</organizationId><organizationName>{escape(org.settings.name)}</organizationName>"
        "<organizationMultiCurrency>false</organizationMultiCurrency><orgHasPersonAccounts>false</orgHasPersonAccounts>"
        f"<sessionSecondsValid>{org.settings.session_seconds}</sessionSecondsValid>"
        f"<userId>{session.user_id}</userId><userName>{escape(org.settings.username)}</userName>"
        "<userLanguage>en_US</userLanguage><userLocale>en_US</userLocale><userTimeZone>GMT</userTimeZone>"
        "<userType>Standard</userType></userInfo></result></loginResponse></soapenv:Body></soapenv:Envelope>"
    )


def _fault(code: str, exception: str, message: str) -> Reply:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><soapenv:Fault>'
        f"<faultcode>{code}</faultcode><faultstring>{exception}: {escape(message)}</faultstring><detail>"
        f'<sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{exception}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage></sf:LoginFault></detail>"
        "</soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
    return Reply(text, status=500, content_type="text/xml; charset=utf-8")


def authenticate(sessions: Sessions, headers: dict[str, str]) -> Session:
    """The session that a request's Authorization (or Bulk 1.0's X-SFDC-Session) header names."""
    header = headers.get("authorization") or ""
    scheme, _, given = header.partition(" ")
    if scheme.lower() not in ("bearer", "oauth"):
        given = headers.get("x-sfdc-session", "")
        if header:
            raise ApiError(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
    session = sessions.find(given.strip())
    if session is None:
        raise ApiError(401, "INVALID_SESSION_ID", "Session expired or invalid")
    return session


def routes() -> list[Route]:
    """The resources of logging in."""
    return [
        route("/services/oauth2/token", open=True, POST=token, GET=token),
        route("/services/oauth2/revoke", open=True, POST=revoke, GET=revoke),
        route("/services/oauth2/userinfo", GET=userinfo, POST=userinfo),
        route("/id/(?P<org>[^/]+)/(?P<user>[^/]+)", GET=userinfo),
        route(r"/services/Soap/u/(?P<v>\d+\.\d)(?:/\w+)?", open=True, POST=soap),
    ]
