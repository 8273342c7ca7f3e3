from __future__ import annotations

import base64
import json
import stat
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from isync_dagster.errors import AuthenticationError, OrgsError, TransientError
from isync_dagster.salesforce.org import Org
from isync_dagster_tests.salesforce.scripted_org import DROP, Reply, Request, ScriptedOrg

TOKEN_PATH = "/services/oauth2/token"
NEW = "00D000000000001!fresh"
Connect = Callable[..., Org]


def soap(server: ScriptedOrg, session: str = NEW) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com"><soapenv:Body>'
        f"<loginResponse><result><serverUrl>{server.url}/services/Soap/u/59.0/00D000000000001</serverUrl>"
        f"<sessionId>{session}</sessionId></result></loginResponse></soapenv:Body></soapenv:Envelope>"
    )


def soap_fault(code: str, message: str) -> Reply:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:sf="urn:fault.partner.soap.sforce.com">'
        f"<soapenv:Body><soapenv:Fault><faultcode>{code}</faultcode><faultstring>{code}: {message}</faultstring>"
        "<detail>"
        f"<sf:LoginFault><sf:exceptionCode>{code}</sf:exceptionCode><sf:exceptionMessage>{message}"
        "</sf:exceptionMessage></sf:LoginFault></detail></soapenv:Fault></soapenv:Body></soapenv:Envelope>"
    )
    return Reply(500, text)


@pytest.fixture
def accepting(server: ScriptedOrg) -> ScriptedOrg:
    """A server whose OAuth and SOAP logins succeed and that knows the token they give."""
    server.tokens.add(NEW)
    server.on("POST", TOKEN_PATH, Reply(200, {"access_token": NEW, "instance_url": server.url, "token_type": "Bearer"}))
    server.on("POST", r"/services/Soap/u/[\d.]+", Reply(200, soap(server)))
    server.on("GET", "limits", Reply(200, {"DailyApiRequests": {"Max": 15000, "Remaining": 14998}}))
    return server


def form(server: ScriptedOrg) -> dict[str, str]:
    (sent,) = server.asked("POST", TOKEN_PATH)
    return {key: values[0] for key, values in parse_qs(sent.body.decode()).items()}


def works(org: Org) -> None:
    assert org.limits()["DailyApiRequests"]["Remaining"] == 14998


def test_username_password_and_token_log_in_by_soap(accepting: ScriptedOrg, connect: Connect) -> None:
    org = connect(
        {"P": "pa<ss>&word", "T": "tok"},
        auth="username_password",
        login_url=accepting.url,
        username="a@b.c",
        password="${P}",
        security_token="${T}",
    )
    works(org)
    (sent,) = accepting.asked("POST", r"/services/Soap/u/[\d.]+")
    assert "<n1:password>pa&lt;ss&gt;&amp;wordtok</n1:password>" in sent.body.decode()
    assert float(sent.path.rsplit("/", 1)[1]) < 65


def test_soap_login_without_a_token(accepting: ScriptedOrg, connect: Connect) -> None:
    works(connect({"P": "p"}, auth="username_password", login_url=accepting.url, username="a@b.c", password="${P}"))


def test_username_password_with_a_consumer_key_use_oauth(accepting: ScriptedOrg, connect: Connect) -> None:
    org = connect(
        {"P": "p&w", "T": "tok", "S": "sec"},
        auth="username_password",
        login_url=accepting.url,
        username="a+x@b.c",
        password="${P}",
        security_token="${T}",
        consumer_key="key",
        consumer_secret="${S}",
    )
    works(org)
    assert form(accepting) == {
        "grant_type": "password",
        "client_id": "key",
        "client_secret": "sec",
        "username": "a+x@b.c",
        "password": "p&wtok",
    }


def test_client_credentials(accepting: ScriptedOrg, connect: Connect) -> None:
    org = connect(
        {"S": "sec"}, auth="client_credentials", login_url=accepting.url, consumer_key="key", consumer_secret="${S}"
    )
    works(org)
    (sent,) = accepting.asked("POST", TOKEN_PATH)
    assert form(accepting) == {"grant_type": "client_credentials"}
    assert base64.b64decode(sent.headers["Authorization"].removeprefix("Basic ")) == b"key:sec"


def test_client_credentials_need_my_domain(connect: Connect) -> None:
    org = connect(
        {"S": "sec"},
        auth="client_credentials",
        login_url="https://login.salesforce.com",
        consumer_key="key",
        consumer_secret="${S}",
    )
    with pytest.raises(OrgsError, match="My Domain"):
        org.limits()


@pytest.mark.parametrize(
    ("audience", "expected"), [(None, "https://login.salesforce.com"), ("https://x.y", "https://x.y")]
)
def test_jwt(accepting: ScriptedOrg, connect: Connect, tmp_path: Path, audience: str | None, expected: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path / "key.pem"
    file.write_bytes(pem)
    org = connect(
        auth="jwt", login_url=accepting.url, username="a@b.c", consumer_key="key", key_file=str(file), audience=audience
    )
    works(org)
    sent = form(accepting)
    assert sent["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(sent["assertion"], key.public_key(), algorithms=["RS256"], audience=expected)
    assert (claims["iss"], claims["sub"]) == ("key", "a@b.c")
    assert 0 < claims["exp"] - time.time() <= 180


def test_a_key_file_that_is_no_key(accepting: ScriptedOrg, connect: Connect, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("not a key", encoding="utf-8")
    org = connect(auth="jwt", login_url=accepting.url, username="a@b.c", consumer_key="key", key_file=str(file))
    with pytest.raises(OrgsError, match="RSA private key"):
        org.limits()


def test_refresh_token_and_its_rotation(server: ScriptedOrg, connect: Connect) -> None:
    def token(request: Request) -> Reply:
        given = parse_qs(request.body.decode())["refresh_token"][0]
        number = int(given.removeprefix("refresh"))
        server.tokens = {f"token{number}"}
        answer = {"access_token": f"token{number}", "instance_url": server.url, "refresh_token": f"refresh{number + 1}"}
        return Reply(200, answer)

    server.on("POST", TOKEN_PATH, token)
    server.on("GET", "limits", Reply(200, {}))
    org = connect(
        {"R": "refresh1"}, auth="refresh_token", login_url=server.url, refresh_token="${R}", consumer_key="key"
    )
    org.limits()
    server.tokens = set()
    org.limits()
    assert server.tokens == {"token2"}


def sf_command(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = folder / "sf"
    command.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_sf_cli(accepting: ScriptedOrg, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"status": 0, "result": {"accessToken": NEW, "instanceUrl": accepting.url}})
    sf_command(tmp_path, monkeypatch, f'[ "$*" = "org display --target-org dev --json" ] && echo \'{answer}\'')
    works(connect(auth="sf_cli", sf_alias="dev"))


def test_sf_cli_that_hides_the_token(
    accepting: ScriptedOrg, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = json.dumps({"status": 0, "result": {"accessToken": "[REDACTED]", "instanceUrl": accepting.url}})
    shown = json.dumps({"status": 0, "result": {"accessToken": NEW}})
    sf_command(
        tmp_path, monkeypatch, f"case \"$2\" in display) echo '{hidden}';; auth) echo '{shown}';; *) exit 9;; esac"
    )
    works(connect(auth="sf_cli", sf_alias="dev"))


def test_sf_cli_that_is_not_logged_in(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = json.dumps({"status": 1, "name": "NamedOrgNotFoundError", "message": "No authorization found for dev."})
    sf_command(tmp_path, monkeypatch, f"echo '{answer}'; exit 1")
    with pytest.raises(AuthenticationError, match=r"No authorization found for dev\.; log in with `sf org login web"):
        connect(auth="sf_cli", sf_alias="dev").limits()


def test_sf_cli_that_is_not_there(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OrgsError, match="sf command is not on the PATH"):
        connect(auth="sf_cli", sf_alias="dev").limits()


def test_sf_cli_output_is_never_quoted(connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sf_command(tmp_path, monkeypatch, "echo 'Warning: 00Dsecret!token'")
    with pytest.raises(AuthenticationError) as caught:
        connect(auth="sf_cli", sf_alias="dev").limits()
    assert "00Dsecret" not in str(caught.value)


def password_org(server: ScriptedOrg, connect: Connect) -> Org:
    return connect({"P": "hunter22"}, auth="username_password", login_url=server.url, username="a@b.c", password="${P}")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            soap_fault("INVALID_LOGIN", "Invalid username, password, security token; or user locked out."),
            "INVALID_LOGIN.*check username, password and security token",
        ),
        (soap_fault("INVALID_OPERATION", "SOAP API login() is disabled by default in this org."), "auth jwt"),
        (Reply(200, "<html><body>Welcome</body></html>"), "login_url right|not a Salesforce login"),
    ],
)
def test_a_refused_soap_login(server: ScriptedOrg, connect: Connect, reply: Reply, expected: str) -> None:
    server.on("POST", r"/services/Soap/u/[\d.]+", reply)
    with pytest.raises(AuthenticationError, match=expected) as caught:
        password_org(server, connect).limits()
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, "invalid_grant", "authentication failure.*check the user"),
        (400, "invalid_client_id", "check consumer_key"),
        (401, "invalid_client", "consumer_secret"),
    ],
)
def test_a_refused_oauth_login(server: ScriptedOrg, connect: Connect, status: int, error: str, expected: str) -> None:
    server.on("POST", TOKEN_PATH, Reply(status, {"error": error, "error_description": "authentication failure"}))
    org = connect(
        {"S": "sec"}, auth="client_credentials", login_url=server.url, consumer_key="key", consumer_secret="${S}"
    )
    with pytest.raises(AuthenticationError, match=expected) as caught:
        org.limits()
    assert caught.value.code == error


def test_no_warning_of_simple_salesforce_reaches_the_user(server: ScriptedOrg, connect: Connect) -> None:
    answer = {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}
    server.on("POST", TOKEN_PATH, Reply(400, answer))
    org = connect({"R": "r"}, auth="refresh_token", login_url=server.url, refresh_token="${R}", consumer_key="key")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AuthenticationError, match="hasn't approved"):
            org.limits()


def test_a_refused_login_is_tried_once_whatever_the_number_of_threads(server: ScriptedOrg, connect: Connect) -> None:
    server.on("POST", r"/services/Soap/u/[\d.]+", soap_fault("INVALID_LOGIN", "Invalid"))
    org = password_org(server, connect)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            org.limits()
        except AuthenticationError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8
    assert len(server.asked("POST", r".*Soap.*")) == 1


@pytest.mark.parametrize("trouble", [DROP, Reply(503, "<html>busy</html>"), Reply(502, ""), Reply(429, "slow down")])
def test_a_server_in_trouble_is_asked_again(accepting: ScriptedOrg, connect: Connect, trouble: Reply) -> None:
    accepting.on("POST", r"/services/Soap/u/[\d.]+", [trouble, trouble, Reply(200, soap(accepting))])
    works(password_org(accepting, connect))


def test_a_server_that_stays_in_trouble_is_transient(server: ScriptedOrg, connect: Connect) -> None:
    server.on("POST", r"/services/Soap/u/[\d.]+", Reply(503, "<html>busy</html>"))
    with pytest.raises(TransientError):
        password_org(server, connect).limits()
    assert len(server.asked("POST", r".*Soap.*")) == 4


def test_many_threads_log_in_once_and_renew_once(accepting: ScriptedOrg, connect: Connect) -> None:
    logins = 0

    def login(_: Request) -> Reply:
        nonlocal logins
        logins += 1
        token = f"token{logins}"
        accepting.tokens = {token}
        return Reply(200, soap(accepting, token))

    accepting.on("POST", r"/services/Soap/u/[\d.]+", login)
    org = password_org(accepting, connect)

    def together() -> None:
        start = threading.Barrier(8)

        def call() -> None:
            start.wait(5)
            works(org)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together()
    assert logins == 1
    accepting.tokens = set()
    together()
    assert logins == 2


def test_the_answer_of_a_login_cannot_send_the_token_in_the_clear(server: ScriptedOrg, connect: Connect) -> None:
    answer = {"access_token": NEW, "instance_url": "http://acme.my.salesforce.com"}
    server.on("POST", TOKEN_PATH, Reply(200, answer))
    org = connect({"R": "r"}, auth="refresh_token", login_url=server.url, refresh_token="${R}", consumer_key="key")
    with pytest.raises(OrgsError, match="https only"):
        org.limits()


def test_a_host_with_api_in_its_name_survives_the_soap_login(server: ScriptedOrg, connect: Connect) -> None:
    reply = soap(server).replace(server.url, "https://acme-api.my.salesforce.com")
    server.on("POST", r"/services/Soap/u/[\d.]+", Reply(200, reply))
    assert password_org(server, connect).instance_url == "https://acme-api.my.salesforce.com"
