from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from isync_dagster.errors import OrgsError
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.orgs import OrgConfig, OrgsFile, load_orgs
from isync_dagster.salesforce.urls import checked_url

SHIPPED = Path(__file__).parents[2] / "templates" / "orgs.yaml"
SECRET = "s3cr3t-Value!"


def orgs(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "orgs.yaml"
    file.write_text("orgs:\n" + text, encoding="utf-8")
    return file


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(OrgsError) as caught:
        load_orgs(orgs(tmp_path, text))
    return str(caught.value)


def demo_environment() -> dict[str, str]:
    names = ("URL", "USERNAME", "PASSWORD", "TOKEN")
    values = {"URL": "http://127.0.0.1:8765", "USERNAME": "admin@demo.example", "PASSWORD": SECRET, "TOKEN": "tok"}
    return {f"ISYNC_DEMO_{side}_{name}": values[name] for side in ("SOURCE", "TARGET") for name in names}


def test_the_shipped_file_loads_without_any_variable_set() -> None:
    found = load_orgs(SHIPPED, env={})
    assert set(found) == {"demo_source", "demo_target"}
    assert found["demo_source"].missing() == [
        "ISYNC_DEMO_SOURCE_PASSWORD",
        "ISYNC_DEMO_SOURCE_TOKEN",
        "ISYNC_DEMO_SOURCE_URL",
        "ISYNC_DEMO_SOURCE_USERNAME",
    ]


def test_every_commented_example_of_the_shipped_file_is_valid(tmp_path: Path) -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    examples = [line.replace("  # ", "  ", 1) for line in lines if line.startswith("  # ") and ":" in line]
    start = next(i for i, line in enumerate(examples) if line.strip() == "production:")
    kept = [line for line in examples[start:] if line.startswith("  ") and not line.strip().endswith(".")]
    found = load_orgs(orgs(tmp_path, "\n".join(kept)))
    assert {config.auth for config in found.values()} == {
        "username_password", "client_credentials", "jwt", "refresh_token", "access_token", "sf_cli", "web",
    }  # fmt: skip


def test_variables_are_filled_in_when_the_org_is_used() -> None:
    credentials = load_orgs(SHIPPED, demo_environment())["demo_target"].credentials("demo_target")
    assert credentials.login_url == "http://127.0.0.1:8765"
    assert (credentials.username, credentials.password) == ("admin@demo.example", SECRET)


def test_a_missing_variable_is_named_when_the_org_is_used() -> None:
    environment = demo_environment()
    environment["ISYNC_DEMO_SOURCE_PASSWORD"] = ""
    config = load_orgs(SHIPPED, environment)["demo_source"]
    with pytest.raises(OrgsError, match=r"demo_source.*set the environment variable ISYNC_DEMO_SOURCE_PASSWORD "):
        Org.connect(config, "demo_source")


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_orgs(SHIPPED)["demo_source"]
    for name, value in demo_environment().items():
        monkeypatch.setenv(name, value)
    assert config.credentials("demo_source").password == SECRET


@pytest.mark.parametrize("key", ["password", "security_token", "consumer_secret"])
def test_a_literal_secret_is_refused_with_what_to_write_instead(tmp_path: Path, key: str) -> None:
    fields = {"password": "${P}", "security_token": "${T}", "consumer_key": "key", "consumer_secret": "${S}"}
    fields[key] = SECRET
    body = "".join(f"    {name}: {value}\n" for name, value in fields.items())
    message = refused(tmp_path, f"  my-org:\n    auth: username_password\n    username: u\n{body}")
    assert SECRET not in message
    assert f"{key}: ${{MY_ORG_{key.upper()}}}" in message
    assert "orgs.yaml:" in message


@pytest.mark.parametrize("value", ["prefix${P}", "12345", "${P}${Q}", "[a]"])
def test_a_secret_is_one_variable_and_nothing_else(tmp_path: Path, value: str) -> None:
    message = refused(
        tmp_path,
        f"  a:\n    auth: access_token\n    instance_url: https://x.my.salesforce.com\n    access_token: {value}\n",
    )
    assert "access_token stands in the file" in message


def test_an_unknown_key_names_the_nearest_one_and_its_line(tmp_path: Path) -> None:
    text = "  a:\n    auth: sf_cli\n    sf_alias: dev\n    allow_prodction: true\n"
    assert "orgs.yaml:5: org 'a': unknown key 'allow_prodction'; did you mean 'allow_production'?" in refused(
        tmp_path, text
    )


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = (
        "  a:\n    auth: jwt\n    username: u\n"
        "  b:\n    auth: sf_cli\n    sf_alias: dev\n    password: ${P}\n"
        "  c:\n    auth: magic\n"
        "  d: text\n"
        "  e:\n    auth: sf_cli\n    sf_alias: dev\n    concurrency: {jobs: 0}\n"
    )
    message = refused(tmp_path, text)
    for expected in (
        "org 'a': auth jwt needs 'consumer_key'",
        "org 'a': auth jwt needs 'key_file'",
        "orgs.yaml:8: org 'b': auth sf_cli does not use 'password'",
        "org 'c': auth: Input should be",
        "org 'd': expected its keys",
        "org 'e': concurrency.jobs: Input should be greater than or equal to 1",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", "expected the key 'orgs'"),
        ("orgs: [", "is not YAML"),
        ("org: {}", "did you mean 'orgs'?"),
        ("", "expected the key 'orgs'"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "orgs.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(OrgsError) as caught:
        load_orgs(file)
    assert expected in str(caught.value)


def test_a_missing_file_says_what_to_copy(tmp_path: Path) -> None:
    with pytest.raises(OrgsError, match=r"copy templates/orgs\.yaml"):
        load_orgs(tmp_path / "orgs.yaml")


@pytest.mark.parametrize(
    "url",
    [
        "http://acme.my.salesforce.com",
        "http://10.0.0.1:8080",
        "ftp://localhost",
        "https://user:pw@acme.com",
        "https://",
    ],
)
def test_credentials_travel_by_https_only(tmp_path: Path, url: str) -> None:
    text = f"  a:\n    auth: username_password\n    username: u\n    password: ${{P}}\n    login_url: {url}\n"
    assert "login_url" in refused(tmp_path, text)


def test_a_url_from_a_variable_is_checked_when_used(tmp_path: Path) -> None:
    text = "  a:\n    auth: username_password\n    username: u\n    password: ${P}\n    login_url: ${U}\n"
    config = load_orgs(orgs(tmp_path, text), {"P": "p", "U": "http://evil.example"})["a"]
    with pytest.raises(OrgsError, match="https only"):
        config.credentials("a")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://acme.my.salesforce.com/", "https://acme.my.salesforce.com"),
        ("acme.my.salesforce.com", "https://acme.my.salesforce.com"),
        ("https://acme.my.salesforce.com/services/data", "https://acme.my.salesforce.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:99/", "http://[::1]:99"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
    ],
)
def test_urls_are_brought_to_one_form(given: str, expected: str) -> None:
    assert checked_url(given, "it") == expected


@pytest.mark.parametrize(("given", "expected"), [("62.0", "62.0"), ("62", "62.0"), ("v58.0", "58.0"), ("61.0", "61.0")])
def test_the_api_version_in_any_spelling(tmp_path: Path, given: str, expected: str) -> None:
    text = f"  a: {{auth: sf_cli, sf_alias: dev, api_version: {given}}}\n"
    assert load_orgs(orgs(tmp_path, text))["a"].api_version == expected


@pytest.mark.parametrize("given", ["46.0", "sixty", "6.2"])
def test_an_api_version_that_cannot_work_is_refused(tmp_path: Path, given: str) -> None:
    assert "api_version" in refused(tmp_path, f"  a: {{auth: sf_cli, sf_alias: dev, api_version: {given}}}\n")


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("PEM", encoding="utf-8")
    text = "".join(
        f"  {alias}: {{auth: jwt, username: u, consumer_key: k, key_file: {name}}}\n"
        for alias, name in (("a", "key.pem"), ("b", "no.pem"))
    )
    found = load_orgs(orgs(tmp_path, text))
    assert found["a"].credentials("a").private_key == "PEM"
    with pytest.raises(OrgsError, match=r"key_file .*no\.pem cannot be read"):
        found["b"].credentials("b")


def test_secrets_are_in_no_repr_and_no_pickle() -> None:
    environment = demo_environment()
    config = load_orgs(SHIPPED, environment)["demo_source"]
    credentials = config.credentials("demo_source")
    with Org.connect(config, "demo_source") as org:
        for shown in (
            repr(config),
            str(config),
            config.model_dump_json(),
            repr(credentials),
            str(credentials),
            repr(org),
        ):
            assert SECRET not in shown
        assert SECRET.encode() not in pickle.dumps(config)
        for holder in (credentials, org):
            with pytest.raises(TypeError, match="not pickled"):
                pickle.dumps(holder)


def test_a_config_that_travelled_reads_the_environment_of_its_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = pickle.loads(pickle.dumps(load_orgs(SHIPPED, {})["demo_source"]))
    assert isinstance(moved, OrgConfig)
    for name, value in demo_environment().items():
        monkeypatch.setenv(name, value)
    assert moved.credentials("demo_source").password == SECRET


def test_every_key_is_described() -> None:
    schema = OrgsFile.model_json_schema()
    for model in ("OrgConfig", "Concurrency"):
        assert all(item.get("description") for item in schema["$defs"][model]["properties"].values())
