"""Logging in: the OAuth token flows and revoke; sessions and their end."""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from isync_dagster.local_org.web import ApiError, Call, Reply, Route, route

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REFRESH = "refresh tokens"
PASSWORDS = "passwords"
CODE_SECONDS = 900


@dataclass
class Session:
    """One access token: whose it is and when it was last used (monotonic seconds)."""

    token: str
    user_id: str
    used: float
    opened: float


@dataclass(frozen=True)
class _Code:
    """An authorization code that was handed out: for whom, to which address, with which PKCE challenge."""

    user_id: str
    redirect_uri: str
    challenge: str | None
    until: float


class Sessions:
    """The access and refresh tokens of one running org; they end with the process, as a session may any time."""

    def __init__(self, org: LocalOrg) -> None:
        self._org = org
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        self._revoked: set[str] = set()
        self._codes: dict[str, _Code] = {}

    def open(self, user_id: str) -> Session:
        """A new session of a user."""
        token = f"{self._org.org_id[:15]}!AQ.{secrets.token_urlsafe(66).replace('-', '.')}"
        now = time.monotonic()
        session = Session(token, user_id, now, now)
        with self._lock:
            self._sessions[token] = session
        return session

    def user_of_refresh(self, token: str) -> str | None:
        """Whose refresh token this is, if it still stands."""
        if token in self._revoked:
            return None
        settings = self._org.settings
        if secrets.compare_digest(token.encode(), settings.refresh_token.encode()):
            return settings.user_id
        return (self._org.storage.note(REFRESH) or {}).get(token)

    def new_refresh_token(self, user_id: str) -> str:
        """A refresh token of a user; it outlives the process."""
        token = "5Aep861" + secrets.token_urlsafe(48)
        with self._lock:
            self._org.storage.set_note(REFRESH, {**(self._org.storage.note(REFRESH) or {}), token: user_id})
        return token

    def give_code(self, user_id: str, redirect_uri: str, challenge: str | None) -> str:
        """An authorization code, good once and for a quarter of an hour."""
        code = "aPrx" + secrets.token_urlsafe(48)
        with self._lock:
            self._codes[code] = _Code(user_id, redirect_uri, challenge, time.monotonic() + CODE_SECONDS)
        return code

    def take_code(self, code: str) -> _Code | None:
        """What a code stands for; it cannot be taken again."""
        with self._lock:
            found = self._codes.pop(code, None)
        return found if found is not None and found.until > time.monotonic() else None

    def find(self, token: str, *, touch: bool = True) -> Session | None:
        """The live session of a token; using it keeps it alive."""
        now = time.monotonic()
        with self._lock:
            session = self._sessions.get(token)
            if session is None:
                return None
            if now - session.used > self._org.settings.session_seconds:
                del self._sessions[token]
                return None
            if touch:
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
            kept = self._org.storage.note(REFRESH) or {}
            if kept.pop(token, None):
                self._org.storage.set_note(REFRESH, kept)
            return 1 if self._sessions.pop(token, None) else 0


class OAuthRefusal(Exception):
    """A refusal as the OAuth endpoints answer it."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.reply = Reply({"error": error, "error_description": description}, status=status)


def token(call: Call) -> Reply:
    """POST /services/oauth2/token."""
    form = form_of(call)
    try:
        grant = form.get("grant_type")
        if not grant:
            raise OAuthRefusal("invalid_request", "missing required parameter: grant_type")
        if grant == "password":
            return _password(call, form)
        if grant == "client_credentials":
            return _client_credentials(call, form)
        if grant == JWT_GRANT:
            return _jwt(call, form)
        if grant == "refresh_token":
            return _refresh(call, form)
        if grant == "authorization_code":
            return _authorization_code(call, form)
        raise OAuthRefusal("unsupported_grant_type", "grant type not supported")
    except OAuthRefusal as refusal:
        return refusal.reply


def form_of(call: Call) -> dict[str, str]:
    """The fields of a form-encoded body, and of the query where the body lacks them."""
    given = parse_qs(call.body.decode(errors="replace"), keep_blank_values=True)
    form = {key: values[0] for key, values in given.items()}
    return {**call.query, **form}


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


def _authorization_code(call: Call, form: dict[str, str]) -> Reply:
    found = call.service.sessions.take_code(form.get("code", ""))
    if found is None:
        raise OAuthRefusal("invalid_grant", "expired authorization code")
    check_client(call, form, secret=found.challenge is None)
    if form.get("redirect_uri") != found.redirect_uri:
        raise OAuthRefusal("redirect_uri_mismatch", "redirect_uri must match configuration")
    if found.challenge is not None and challenge_of(form.get("code_verifier", "")) != found.challenge:
        raise OAuthRefusal("invalid_grant", "invalid code verifier")
    refresh = call.service.sessions.new_refresh_token(found.user_id)
    return _grant(call, found.user_id, scope="refresh_token api web", refresh_token=refresh)


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a PKCE verifier.

    >>> challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
    """
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def check_client(call: Call, form: dict[str, str], *, secret: bool) -> None:
    """Refuse an unknown consumer key, and a wrong secret where one is needed."""
    settings = call.org.settings
    client, given = form.get("client_id"), form.get("client_secret")
    header = call.headers.get("authorization", "")
    if header.lower().startswith("basic "):
        try:
            client, _, given = base64.b64decode(header[6:]).decode().partition(":")
        except ValueError as error:
            raise OAuthRefusal("invalid_client", "invalid client credentials") from error
    if client != settings.consumer_key:
        raise OAuthRefusal("invalid_client_id", "client identifier invalid")
    if secret and not secrets.compare_digest(given or "", settings.consumer_secret):
        raise OAuthRefusal("invalid_client", "invalid client credentials")


def user_of(org: LocalOrg, username: str) -> str | None:
    """The id of the active user of that name, in any case."""
    found = org.storage.rows(
        'SELECT "Id" FROM "User" WHERE lower("Username") = lower(?) AND "IsActive" AND NOT "IsDeleted"', [username]
    )
    return str(found[0][0]) if found else None


def check_password(org: LocalOrg, username: str, password: str) -> str | None:
    """The user whose password (with or without the security token) this is.

    Users share the org's password until they are given one of their own.
    """
    settings = org.settings
    user_id = user_of(org, username)
    own = (org.storage.note(PASSWORDS) or {}).get(user_id) if user_id else None
    if own is None:
        good = (settings.password + settings.security_token, settings.password)
        matches = any(secrets.compare_digest(password.encode(), text.encode()) for text in good)
    else:
        texts = (password, password.removesuffix(settings.security_token))
        matches = any(secrets.compare_digest(_digest(own["salt"], text), own["digest"]) for text in texts)
    return user_id if matches else None


def set_password(org: LocalOrg, user_id: str, password: str) -> None:
    """Give a user a password of its own; the org keeps its salted digest."""
    salt = secrets.token_hex(16)
    entry = {"salt": salt, "digest": _digest(salt, password)}
    with org.storage.transaction():
        org.storage.set_note(PASSWORDS, {**(org.storage.note(PASSWORDS) or {}), user_id: entry})


def _digest(salt: str, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=bytes.fromhex(salt), n=2**12, r=8, p=1).hex()


def _password(call: Call, form: dict[str, str]) -> Reply:
    check_client(call, form, secret=True)
    user_id = check_password(call.org, form.get("username", ""), form.get("password", ""))
    if user_id is None:
        raise OAuthRefusal("invalid_grant", "authentication failure")
    return _grant(call, user_id)


def _client_credentials(call: Call, form: dict[str, str]) -> Reply:
    check_client(call, form, secret=True)
    return _grant(call, call.org.settings.user_id, scope="api")


def _jwt(call: Call, form: dict[str, str]) -> Reply:
    import jwt

    settings = call.org.settings
    if not settings.jwt_public_key:
        raise OAuthRefusal("invalid_grant", "user hasn't approved this consumer")
    try:
        claims: dict[str, Any] = jwt.decode(
            form.get("assertion", ""),
            settings.jwt_public_key,
            algorithms=["RS256"],
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
        expires = int(claims.get("exp", 0))
    except (jwt.PyJWTError, ValueError) as error:
        raise OAuthRefusal("invalid_grant", "invalid assertion") from error
    if expires < time.time() - 30:
        raise OAuthRefusal("invalid_grant", "expired authorization code")
    if claims.get("iss") != settings.consumer_key:
        raise OAuthRefusal("invalid_client_id", "client identifier invalid")
    audience = str(claims.get("aud", ""))
    own = call.service.instance_url(call)
    if audience not in ("https://login.salesforce.com", "https://test.salesforce.com") and not audience.startswith(own):
        raise OAuthRefusal("invalid_grant", "audience is invalid")
    user_id = user_of(call.org, str(claims.get("sub", "")))
    if user_id is None:
        raise OAuthRefusal("invalid_grant", "user hasn't approved this consumer")
    return _grant(call, user_id, scope="api web", issued_at=None, signature=None)


def _refresh(call: Call, form: dict[str, str]) -> Reply:
    check_client(call, form, secret=False)
    user_id = call.service.sessions.user_of_refresh(form.get("refresh_token", ""))
    if user_id is None:
        raise OAuthRefusal("invalid_grant", "expired access/refresh token")
    return _grant(call, user_id, scope="refresh_token api web")


def revoke(call: Call) -> Reply:
    """POST /services/oauth2/revoke."""
    call.service.sessions.end(form_of(call).get("token", ""))
    return Reply(None, content_type="text/plain")


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
    ]
