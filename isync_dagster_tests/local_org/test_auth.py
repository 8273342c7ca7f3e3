from __future__ import annotations

import base64
import time
from dataclasses import replace

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from isync_dagster.local_org.server import Served
from isync_dagster_tests.local_org.orgs import Client


def token(served: Served, **form: str) -> requests.Response:
    with requests.Session() as http:
        http.trust_env = False
        return http.post(f"{served.url}/services/oauth2/token", data=form)


def test_password_flow(served: Served) -> None:
    form = {
        "grant_type": "password",
        "client_id": served.consumer_key,
        "client_secret": served.consumer_secret,
        "username": served.username.upper(),
        "password": served.password,
    }
    answer = token(served, **form).json()
    assert answer["access_token"].startswith(served.org.org_id[:15] + "!")
    assert (answer["instance_url"], answer["token_type"]) == (served.url, "Bearer")
    assert served.org.org_id in answer["id"]
    wrong = token(served, **{**form, "password": "no"})
    assert (wrong.status_code, wrong.json()) == (
        400,
        {"error": "invalid_grant", "error_description": "authentication failure"},
    )
    assert token(served, **{**form, "client_id": "x"}).json()["error"] == "invalid_client_id"
    assert token(served, **{**form, "client_secret": "x"}).json()["error"] == "invalid_client"
    assert token(served, grant_type="magic").json()["error"] == "unsupported_grant_type"
    assert token(served).json()["error_description"] == "missing required parameter: grant_type"


def test_client_credentials_and_refresh(served: Served) -> None:
    basic = base64.b64encode(f"{served.consumer_key}:{served.consumer_secret}".encode()).decode()
    with requests.Session() as http:
        http.trust_env = False
        answer = http.post(
            f"{served.url}/services/oauth2/token",
            data={"grant_type": "client_credentials"},
            headers={"Authorization": f"Basic {basic}"},
        )
    assert answer.status_code == 200
    again = token(served, grant_type="refresh_token", refresh_token=served.refresh_token, client_id=served.consumer_key)
    assert again.status_code == 200
    assert "refresh_token" not in again.json()
    bad = token(served, grant_type="refresh_token", refresh_token="x", client_id=served.consumer_key)
    assert bad.json()["error_description"] == "expired access/refresh token"


def test_jwt_flow_checks_the_signature(served: Served) -> None:
    key, other = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    claims = {
        "iss": served.consumer_key,
        "sub": served.username,
        "aud": "https://login.salesforce.com",
        "exp": str(int(time.time()) + 120),
    }
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    refused = token(served, grant_type=grant, assertion=jwt.encode(claims, key, "RS256"))
    assert refused.json()["error_description"] == "user hasn't approved this consumer"
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    served.org.settings = replace(served.org.settings, jwt_public_key=public.decode())
    answer = token(served, grant_type=grant, assertion=jwt.encode(claims, key, "RS256"))
    assert answer.status_code == 200, answer.text
    forged = token(served, grant_type=grant, assertion=jwt.encode(claims, other, "RS256"))
    assert forged.json()["error_description"] == "invalid assertion"
    late = jwt.encode({**claims, "exp": int(time.time()) - 600}, key, "RS256")
    assert token(served, grant_type=grant, assertion=late).status_code == 400


def test_every_call_needs_a_token(client: Client, served: Served) -> None:
    assert client.call("GET", "/services/oauth2/userinfo").json()["organization_id"] == served.org.org_id
    current = client.http.headers["Authorization"]
    for value in ("Bearer nonsense", ""):
        client.http.headers["Authorization"] = value
        for path in ("/sobjects", "/query?q=x", "/jobs/ingest", "/nothing", "/__local_org/"):
            answer = client.call("GET", path)
            assert answer.status_code == 401
            assert answer.json() == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
    assert client.call("GET", "/services/data").status_code == 200
    client.http.headers["Authorization"] = current
    client.call("POST", "/services/oauth2/revoke", data={"token": str(current).split()[1]})
    assert client.call("GET", "/sobjects").status_code == 401


ENVELOPE = """<?xml version="1.0" encoding="utf-8" ?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:urn="urn:partner.soap.sforce.com">
<soapenv:Body><urn:login><urn:username>{user}</urn:username><urn:password>{password}</urn:password></urn:login>
</soapenv:Body></soapenv:Envelope>"""


@pytest.mark.parametrize(("version", "good"), [("59.0", True), ("65.0", False)])
def test_soap_login(client: Client, served: Served, version: str, good: bool) -> None:
    body = ENVELOPE.format(user=served.username, password=served.password + served.security_token)
    answer = client.call("POST", f"/services/Soap/u/{version}", data=body, headers={"Content-Type": "text/xml"})
    assert (answer.status_code == 200) is good
    assert ("<sessionId>" in answer.text) is good
    if good:
        session = answer.text.split("<sessionId>")[1].split("<")[0]
        client.http.headers["Authorization"] = f"Bearer {session}"
        assert client.call("GET", "/limits").status_code == 200
        wrong = ENVELOPE.format(user=served.username, password="no")
        answer = client.call("POST", f"/services/Soap/u/{version}", data=wrong)
        assert answer.status_code == 500
        assert "<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>" in answer.text
