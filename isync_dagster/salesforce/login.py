"""From credentials to an access token: seven ways, one answer.

simple-salesforce makes the SOAP and OAuth calls; what it drops (the scheme of the instance URL, a rotated
refresh token) is read from the recorded answer. A login that was refused is not tried again by this object:
eight threads with a wrong password would lock the user out.
"""

from __future__ import annotations

import base64
import json
import math
import subprocess
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn
from urllib.parse import urlsplit

import jwt
import requests
from simple_salesforce.exceptions import SalesforceAuthenticationFailed
from simple_salesforce.login import SalesforceLogin, token_login
from simple_salesforce.util import getUniqueElementValueFromXmlString

from isync_dagster.errors import AuthenticationError, IsyncError, OrgsError, TransientError
from isync_dagster.salesforce.faults import no_answer
from isync_dagster.salesforce.orgs import Credentials
from isync_dagster.salesforce.transport import SessionPool
from isync_dagster.salesforce.tuning import Tuning
from isync_dagster.salesforce.urls import checked_url, is_loopback

FRESH_SECONDS = 45 * 60.0
"""Age at which the access token of a login in the browser is renewed: orgs end a session after two idle hours by default."""
AGAIN_SECONDS = 60.0

# SOAP login() is gone from 65.0 on.
SOAP_VERSION = "64.0"

_HINTS = {
    "INVALID_LOGIN": "check username, password and security token (a new password makes a new token), the user's "
    "login history, and whether login_url is right (test.salesforce.com for a sandbox)",
    "LOGIN_MUST_USE_SECURITY_TOKEN": "set security_token, or log in from a trusted network",
    "PASSWORD_LOCKOUT": "the user is locked after too many attempts: wait or unlock it in Setup",
    "INVALID_OPERATION": "the org switched SOAP login off: use auth jwt or client_credentials",
    "API_DISABLED_FOR_ORG": "the org has no API access",
    "invalid_grant": "check the user, its password or approval of the app, and that the flow is allowed",
    "invalid_client_id": "check consumer_key",
    "invalid_client": "check consumer_key and consumer_secret",
    "invalid_app_access": "an administrator must approve the user for the connected app",
    "unsupported_grant_type": "the org does not allow this flow: enable it in the connected app",
}
_BUSY = frozenset({"rate_limit_exceeded", "SERVER_UNAVAILABLE", "server_error", "temporarily_unavailable"})


@dataclass(frozen=True)
class Grant:
    """A login that succeeded: token, where the API is, and the how-manieth of this org."""

    token: str = field(repr=False)
    instance_url: str
    number: int = 1
    until: float = math.inf
    """When it is renewed although it still works, by the monotonic clock."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("an access token is not pickled; log in where it is used")


class Login:
    """One login an org, whatever the number of threads; renewed once for all of them."""

    def __init__(
        self, alias: str, credentials: Credentials, pool: SessionPool, tuning: Tuning, counted: Callable[[], None]
    ) -> None:
        self._alias = alias
        self._credentials = credentials
        self._pool = pool
        self._tuning = tuning
        self._counted = counted
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._refused: IsyncError | None = None

    def grant(self) -> Grant:
        """The present login; the first caller makes it."""
        grant = self._grant
        if grant is not None and time.monotonic() < grant.until:
            return grant
        with self._lock:
            if self._grant is None:
                self._grant = self._log_in(1)
            elif time.monotonic() >= self._grant.until:
                try:
                    self._grant = self._log_in(self._grant.number + 1, self._grant.token)
                except TransientError:
                    # The present token may be good for long: it is used on, and renewed soon.
                    self._grant = replace(self._grant, until=time.monotonic() + AGAIN_SECONDS)
            return self._grant

    def renew(self, stale: Grant) -> Grant:
        """A login newer than `stale`, which Salesforce does not accept any more."""
        with self._lock:
            if self._grant is None or self._grant.number <= stale.number:
                if self._credentials.auth == "access_token":
                    raise AuthenticationError(
                        f"org '{self._alias}': the access token is not valid (any more) and cannot be renewed; put a "
                        "new one into its environment variable, or use another auth kind",
                        alias=self._alias,
                    )
                self._grant = self._log_in(stale.number + 1, stale.token)
            return self._grant

    def _log_in(self, number: int, stale: str | None = None) -> Grant:
        if self._refused is not None:
            raise self._refused
        try:
            token, url = self._tuning.repeat(lambda: self._once(stale))
        except (AuthenticationError, OrgsError) as error:
            self._refused = error
            raise
        given = self._credentials.instance_url
        url = checked_url(given or url, f"org '{self._alias}': instance_url")
        self._pool.know(url)
        until = time.monotonic() + FRESH_SECONDS if self._credentials.auth == "web" else math.inf
        return Grant(token, url, number, until)

    def _once(self, stale: str | None = None) -> tuple[str, str]:
        """Token and instance URL; `stale` is the token that is not good any more."""
        kind = self._credentials.auth
        if kind == "web":
            return self._from_browser(stale)
        if kind == "access_token":
            return self._credentials.access_token or "", self._credentials.instance_url or ""
        if kind == "sf_cli":
            return sf_cli_session(self._credentials.sf_alias or "")
        return self._over_http()

    def _from_browser(self, stale: str | None) -> tuple[str, str]:
        """The kept access token while it is fresh, else a new one for the kept refresh token, which is kept then.

        Another process may have renewed it meanwhile: what it left is used.
        """
        kept = self._credentials.kept
        tokens = kept.load() if kept is not None else None
        if kept is None or tokens is None:
            raise OrgsError(f"org '{self._alias}': logged out meanwhile; `isync orgs login {self._alias}`")
        if tokens.access_token != stale and time.time() - tokens.at < FRESH_SECONDS:
            return tokens.access_token, tokens.instance_url
        self._credentials = replace(self._credentials, refresh_token=tokens.refresh_token)
        try:
            token, url = self._over_http()
        except AuthenticationError as error:
            raise AuthenticationError(
                f"{error}; log in anew: `isync orgs login {self._alias}`", **error.details
            ) from None
        rotated = self._credentials.refresh_token or tokens.refresh_token
        kept.save(replace(tokens, access_token=token, instance_url=url, refresh_token=rotated, at=time.time()))
        return token, url

    def _over_http(self) -> tuple[str, str]:
        """Token and instance URL from a SOAP or OAuth login; TransientError where the server did not judge."""
        where = f"org '{self._alias}': login at {self._credentials.login_url}"
        answers: list[requests.Response] = []

        def keep(response: requests.Response, **_: Any) -> None:
            self._counted()
            answers.append(response)

        with self._pool.lend(fresh=True) as session:
            session.hooks["response"].append(keep)
            try:
                with warnings.catch_warnings():
                    # simple-salesforce warns with a URL of its own making; the error below says what to do
                    warnings.simplefilter("ignore")
                    token, host = self._flow(session)
            except SalesforceAuthenticationFailed as error:
                raise self._failed(where, error, answers) from None
            except requests.RequestException as error:
                raise no_answer(error, where=where, repeatable=True) from None
            except (KeyError, AttributeError, TypeError) as error:
                if answers and answers[-1].status_code >= 500:
                    raise TransientError(f"{where}: HTTP {answers[-1].status_code}") from None
                # an answer of 200 without the keys of a login: a proxy's page, another service
                raise AuthenticationError(f"{where}: the answer is not a Salesforce login ({error})") from None
            finally:
                session.hooks["response"].remove(keep)
        return token, self._instance_url(host, answers)

    def _flow(self, session: requests.Session) -> tuple[str, str]:
        login = self._credentials
        password = (login.password or "") + (login.security_token or "")
        if login.auth == "username_password" and login.consumer_key is None:
            token, host = SalesforceLogin(
                session=session,
                username=login.username,
                password=login.password,
                security_token=login.security_token or "",
                sf_version=SOAP_VERSION,
                client_id="isync_dagster",
                scratch_url=login.login_url,
            )
            return str(token), str(host)
        headers = None
        if login.auth == "username_password":
            form = {
                "grant_type": "password",
                "client_id": login.consumer_key,
                "client_secret": login.consumer_secret,
                "username": login.username,
                "password": password,
            }
        elif login.auth == "client_credentials":
            host = urlsplit(login.login_url).hostname or ""
            if host in ("login.salesforce.com", "test.salesforce.com"):
                raise OrgsError(
                    f"org '{self._alias}': auth client_credentials needs the org's My Domain as login_url, such as "
                    "https://acme.my.salesforce.com"
                )
            pair = base64.b64encode(f"{login.consumer_key}:{login.consumer_secret}".encode()).decode()
            form = {"grant_type": "client_credentials"}
            headers = {"Authorization": f"Basic {pair}"}
        elif login.auth == "jwt":
            form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion()}
        else:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": login.refresh_token,
                "client_id": login.consumer_key,
            }
            if login.consumer_secret is not None:
                form["client_secret"] = login.consumer_secret
        url = f"{login.login_url}/services/oauth2/token"
        token, host = token_login(url, form, "login", login.consumer_key or "", headers, None, session)
        return str(token), str(host)

    def _assertion(self) -> str:
        """The signed claim of the JWT bearer flow, valid for three minutes."""
        login = self._credentials
        host = urlsplit(login.login_url).hostname or ""
        sandbox = host == "test.salesforce.com" or ".sandbox." in host
        audience = login.audience or f"https://{'test' if sandbox else 'login'}.salesforce.com"
        claims = {"iss": login.consumer_key, "sub": login.username, "aud": audience, "exp": int(time.time()) + 180}
        try:
            return jwt.encode(claims, login.private_key or "", algorithm="RS256")
        except (ValueError, TypeError, jwt.PyJWTError):
            raise OrgsError(
                f"org '{self._alias}': key_file does not hold an unencrypted RSA private key (PEM)"
            ) from None

    def _failed(
        self, where: str, error: SalesforceAuthenticationFailed, answers: list[requests.Response]
    ) -> AuthenticationError | TransientError:
        code = str(error.code or "")
        status = answers[-1].status_code if answers else 0
        text = " ".join(error.auth_message.split())[:300]
        # A SOAP fault has status 500 too; a server in trouble answers without a code of its own.
        if code in _BUSY or status == 429 or (status >= 500 and (not code or code == str(status))):
            return TransientError(f"{where}: HTTP {status} {code} {text}".strip(), code=code, status=status)
        if code == "UNKNOWN_EXCEPTION_CODE" or "<html" in text.lower():
            text = f"the answer (HTTP {status}) is not the one of a Salesforce login: is login_url right?"
        hint = _HINTS.get(code) or _HINTS.get(text.split(":", 1)[0], "check the org's entry in orgs.yaml")
        return AuthenticationError(f"{where}: {code}: {text}; {hint}", alias=self._alias, code=code)

    def _instance_url(self, host: str, answers: list[requests.Response]) -> str:
        """The API's URL as the answer spells it: simple-salesforce keeps the host alone, and cuts '-api' out of it."""
        body = answers[-1].content if answers else b""
        if body.lstrip()[:1] == b"{":
            answer = json.loads(body)
            if answer.get("refresh_token"):
                self._credentials = replace(self._credentials, refresh_token=str(answer["refresh_token"]))
            url = str(answer.get("instance_url") or "")
        else:
            server = urlsplit(getUniqueElementValueFromXmlString(body, "serverUrl") or "")
            url = f"{server.scheme}://{server.netloc}" if server.netloc else ""
        if not url:
            scheme = "http" if is_loopback(host.rsplit(":", 1)[0]) else "https"
            url = f"{scheme}://{host}"
        return url


def sf_cli_session(alias: str) -> tuple[str, str]:
    """Token and instance URL of an org that the sf CLI is logged in to."""
    result = _sf(alias, "org", "display", "--target-org", alias, "--json")
    token, url = str(result.get("accessToken") or ""), str(result.get("instanceUrl") or "")
    if not token or "REDACTED" in token.upper():
        # newer CLIs keep the token out of `org display`
        token = str(_sf(alias, "org", "auth", "show-access-token", "--target-org", alias, "--json").get("accessToken"))
    if not url or not token or token == "None":
        raise AuthenticationError(f"sf org display --target-org {alias} shows no access token; {_sf_hint(alias)}")
    return token, url


def _sf(alias: str, *arguments: str) -> dict[str, Any]:
    command = " ".join(("sf", *arguments[:2]))
    try:
        done = subprocess.run(
            ["sf", *arguments], capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise OrgsError(
            "the sf command is not on the PATH: install the Salesforce CLI, or use another auth kind for this org"
        ) from None
    except subprocess.TimeoutExpired:
        raise TransientError(f"{command} gave no answer within 120 seconds") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        # neither stream is quoted: with some options the CLI prints tokens
        raise AuthenticationError(f"{command} ended with {done.returncode} and no JSON; {_sf_hint(alias)}") from None
    result = answer.get("result")
    if done.returncode != 0 or not isinstance(result, dict):
        message = " ".join(str(answer.get("message") or answer.get("name") or "").split())[:300]
        raise AuthenticationError(f"{command}: {message or 'failed'}; {_sf_hint(alias)}", code=str(answer.get("name")))
    return result


def _sf_hint(alias: str) -> str:
    return f"log in with `sf org login web --alias {alias}` (`sf org list` shows what is there)"
