"""Login in the browser, what the tokens are used for, and logout, against a served local org."""

from __future__ import annotations

import json
import stat
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from click.testing import Result
from typer.testing import CliRunner

from isync_dagster.cli import app
from isync_dagster.cli.console import Exit
from isync_dagster.errors import AuthenticationError
from isync_dagster.local_org.faults import Fault
from isync_dagster.local_org.local_org import LocalOrg
from isync_dagster.local_org.seeds.dataset import apply
from isync_dagster.local_org.seeds.notation import linked, sobject
from isync_dagster.local_org.server import Served
from isync_dagster.salesforce import login as login_module
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import load_orgs
from isync_dagster.salesforce.tokens import Keyring, Tokens, token_store
from isync_dagster_tests.migration.world import rows_of

SCHEMA = linked(
    [
        sobject("Account", "Name string(255) cuN", prefix="001"),
        # What every org has: the permissions of the user that asks, in its one row. This edition knows no hard delete.
        sobject("UserPermissionAccess", "Key__c string(9) cun; PermissionsViewAllData boolean cu; "
                "PermissionsModifyAllData boolean cu; PermissionsModifyMetadata boolean cu"),
    ]
)  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("org")
    with (
        LocalOrg.create(folder / "org", SCHEMA, name="web", seed=5, audit_fields=True) as org,
        org.serve() as there,
    ):
        mine = {"Key__c": "1", "PermissionsViewAllData": "true", "PermissionsModifyAllData": "false"}
        apply(org, rows_of("UserPermissionAccess", [mine]))
        yield there


@pytest.fixture
def project(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "orgs.yaml").write_text(
        f"orgs:\n  web: {{auth: web, consumer_key: '${{KEY}}', login_url: '{served.url}'}}\n"
    )
    for name in ("ISYNC_TEMPLATES", "ISYNC_ORGS", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEY", served.credentials()["consumer_key"])
    monkeypatch.setenv("ISYNC_TOKENS", str(tmp_path / "private" / "tokens.json"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def isync(*arguments: str, input: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=input)  # type: ignore[return-value]


def flat(result: Result) -> str:
    return " ".join(result.output.split())


def answer(served: Served, url: str, password: str = "") -> str:
    """What a person does with the form: the address that the browser is sent to."""
    found = served.credentials()
    form = {"username": found["username"], "password": password or found["password"]}
    told = requests.post(url, data=form, allow_redirects=False, timeout=10)
    return told.headers.get("Location", "")


@pytest.fixture
def person(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Logs in in the place of a browser; the statuses of the pages that the person saw at the callback."""
    seen: list[int] = []
    threads: list[threading.Thread] = []

    def browse(url: str) -> None:
        callback = parse_qs(urlsplit(url).query)["redirect_uri"][0]
        seen.append(requests.get(callback.replace("/OauthRedirect", "/favicon.ico"), timeout=10).status_code)
        seen.append(requests.get(f"{callback}?code=stolen&state=other", timeout=10).status_code)
        seen.append(requests.get(answer(served, url), timeout=10).status_code)

    def opened(url: str) -> bool:
        threads.append(threading.Thread(target=browse, args=(url,)))
        threads[-1].start()
        return True

    monkeypatch.setattr(webbrowser, "open", opened)
    yield seen
    for thread in threads:
        thread.join(20)


def connected(project: Path) -> Org:
    return Org.connect(load_orgs(project / "templates" / "orgs.yaml")["web"], "web")


def kept(project: Path) -> dict[str, str]:
    (found,) = json.loads((project / "private" / "tokens.json").read_text()).values()
    return dict(found)


def test_login_check_renew_logout(
    project: Path, served: Served, person: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = isync("orgs", "check", "web")
    assert before.exit_code == Exit.CONFIGURATION
    assert "`isync orgs login web`" in flat(before)
    done = isync("orgs", "login", "web", "--port", "0")
    assert done.exit_code == Exit.OK, done.output
    assert "code_challenge_method=S256" in done.output
    tokens = kept(project)
    assert person == [404, 400, 200], "another path and another login's redirect change nothing"
    for secret in (tokens["refresh_token"], tokens["access_token"]):
        assert secret not in done.output
    path = project / "private" / "tokens.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    checked = isync("orgs", "check", "web", "--json")
    assert checked.exit_code == Exit.OK, checked.output
    (found,) = json.loads(checked.output)
    assert found["org_id"] == tokens["org_id"] == served.service.org.org_id
    assert found["user"]["username"] == served.credentials()["username"]
    assert found["may"]["set_audit_fields"] is True
    assert found["may"]["bulk_hard_delete"] is None, "the org does not say"
    assert (found["may"]["view_all_data"], found["may"]["modify_all_data"]) == (True, False)
    assert kept(project) == tokens, "a fresh token is used as it is"
    deep = isync("orgs", "check", "web", "--deep")
    assert "bulk hard delete no" in flat(deep), deep.output
    assert "DataStorageMB" in deep.output

    # Renewed before it expires, by the clock; by whatever process is first.
    with connected(project) as first, connected(project) as second:
        first.limits()
        monkeypatch.setattr(login_module, "FRESH_SECONDS", -1.0)
        first._login._grant = None
        first.limits()
        renewed = kept(project)["access_token"]
        assert renewed != tokens["access_token"]
        monkeypatch.setattr(login_module, "FRESH_SECONDS", 2_700.0)
        second.limits()
        assert kept(project)["access_token"] == renewed
        # Refused by the org: renewed and the call made again.
        served.service.sessions.end()
        second.limits()
        assert kept(project)["access_token"] != renewed

    refresh = kept(project)["refresh_token"]
    out = isync("orgs", "logout", "web")
    assert out.exit_code == Exit.OK, out.output
    assert json.loads(path.read_text()) == {}
    assert served.service.sessions.user_of_refresh(refresh) is None, "revoked at the org"
    assert "nobody is logged in" in flat(isync("orgs", "logout", "web"))


def test_a_token_that_cannot_be_renewed_for_a_moment_is_used_on(
    project: Path, served: Served, person: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isync("orgs", "login", "web", "--port", "0").exit_code == Exit.OK
    with connected(project) as org:
        org.limits()
        before = kept(project)["access_token"]
        monkeypatch.setattr(login_module, "FRESH_SECONDS", -1.0)
        grant = org._login._grant
        assert grant is not None
        monkeypatch.setattr(org._login, "_grant", login_module.replace(grant, until=0.0))
        served.service.faults.set(
            [Fault.read({"kind": "status", "status": 503, "path": ".*/oauth2/token", "times": None})]
        )
        monkeypatch.setattr(org._login, "_tuning", login_module.replace(org.tuning, attempts=1))
        try:
            org.limits()
        finally:
            served.service.faults.set([])
        assert kept(project)["access_token"] == before


def test_the_address_is_pasted_where_the_browser_is_elsewhere(
    project: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isync_dagster.cli import connect

    shown: list[str] = []
    say: Callable[..., None] = connect._say
    monkeypatch.setattr(connect, "_say", lambda console, attempt: (shown.append(attempt.url), say(console, attempt)))
    monkeypatch.setattr(connect.typer, "prompt", lambda text, **_: answer(served, shown[0]))
    done = isync("orgs", "login", "web", "--paste")
    assert done.exit_code == Exit.OK, done.output
    assert kept(project)["org_id"] == served.service.org.org_id
    assert isync("orgs", "check", "web").exit_code == Exit.OK
    monkeypatch.setattr(connect.typer, "prompt", lambda text, **_: "http://localhost:1717/OauthRedirect?code=x&state=y")
    wrong = isync("orgs", "login", "web", "--paste")
    assert wrong.exit_code == Exit.ORG
    assert "not the address that this login ends at" in flat(wrong)


def test_what_is_wrong_is_said(project: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    other = isync("orgs", "login", "nobody")
    assert other.exit_code == Exit.CONFIGURATION
    assert "auth: web" in other.output and "consumer_key: ${NOBODY_CONSUMER_KEY}" in other.output
    assert isync("orgs", "login", "web", "--sandbox", "--url", served.url).exit_code == Exit.CONFIGURATION
    path = project / "private" / "tokens.json"
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    loose = isync("orgs", "check", "web")
    assert loose.exit_code == Exit.CONFIGURATION and "chmod 600" in loose.output


def test_a_refusal_in_the_browser_ends_the_login(project: Path, served: Served) -> None:
    from isync_dagster.salesforce.web_login import Attempt, Callback

    app_ = load_orgs(project / "templates" / "orgs.yaml")["web"].app("web")
    with Callback(0) as callback:
        attempt = Attempt(app_, callback.redirect_uri)
        address = f"{callback.redirect_uri}?error=access_denied&error_description=end-user+denied&state={attempt.state}"
        thread = threading.Thread(target=lambda: requests.get(address, timeout=10))
        thread.start()
        with pytest.raises(AuthenticationError, match="access_denied: end-user denied"):
            callback.wait(attempt)
        thread.join(10)
        ticks = iter((0.0, 500.0))
        with pytest.raises(AuthenticationError, match="no login came"):
            callback.wait(attempt, clock=lambda: next(ticks))
    assert attempt.verifier not in repr(attempt)


def test_a_keyring_is_used_where_there_is_one_that_keeps_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[tuple[str, str], str] = {}

    class Ring:
        priority = 5.0

    ring = ModuleType("keyring")
    for name, function in {
        "get_keyring": Ring,
        "get_password": lambda service, name: kept.get((service, name)),
        "set_password": lambda service, name, text: kept.__setitem__((service, name), text),
        "delete_password": lambda service, name: kept.pop((service, name)),
    }.items():
        setattr(ring, name, function)
    monkeypatch.setitem(sys.modules, "keyring", ring)
    store = token_store({"XDG_CONFIG_HOME": str(tmp_path)})
    assert isinstance(store, Keyring)
    tokens = Tokens("r", "a", "https://i", "https://l", "00D", "005", 1.0)
    store.save("web key", tokens)
    assert store.load("web key") == tokens
    store.forget("web key")
    assert store.load("web key") is None and not kept
    monkeypatch.setattr(Ring, "priority", 0.0)
    assert token_store({"XDG_CONFIG_HOME": str(tmp_path)}).place == str(tmp_path / "isync" / "tokens.json")
    assert "'r'" not in repr(tokens)
