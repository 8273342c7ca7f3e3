"""The files of deploy/ against what reads them, as far as that goes without Docker and Kubernetes."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from isync_dagster.assets.launch import LOCATION, MODULE
from isync_dagster.assets.settings import EXECUTORS, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OURS = ("code", "webserver", "daemon", "worker-1", "worker-2")
CHART = {
    "global": {"postgresqlSecretName"},
    "generatePostgresqlPasswordSecret": None,
    "postgresql": {
        "enabled",
        "postgresqlHost",
        "postgresqlUsername",
        "postgresqlDatabase",
        "postgresqlScheme",
        "service",
    },
    "dagsterWebserver": {"image"},
    "dagster-user-deployments": {"enabled", "deployments"},
    "runLauncher": {"type", "config"},
    "dagsterDaemon": {"image", "runCoordinator", "runMonitoring", "runRetries"},
    "additionalInstanceConfig": {"concurrency"},
    "telemetry": {"enabled"},
    "rabbitmq": {"enabled"},
    "redis": {"enabled"},
}
"""Keys of the chart's schema (helm/dagster/values.schema.json of Dagster) that the values use; it refuses others."""


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(read("docker-compose.yml"))


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return dict(read("values.yaml"))


def command_of(service: dict[str, Any]) -> str:
    return " ".join(service["command"])


@pytest.mark.skipif(find_spec("dagster_postgres") is None, reason="pip install 'isync_dagster[postgres]'")
def test_dagster_accepts_the_instance(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    found, _ = dagster_instance_config(str(tmp_path))
    assert found["storage"] == {"postgres": {"postgres_url": {"env": "ISYNC_POSTGRES_URL"}}}


def test_the_instance_limits_what_the_one_of_a_single_machine_does() -> None:
    alone = yaml.safe_load((ROOT / "isync_dagster" / "assets" / "dagster.yaml").read_text())
    many = read("dagster.yaml")
    for key in ("telemetry", "nux", "concurrency", "run_monitoring", "code_servers"):
        assert many[key] == alone[key], key


def test_nothing_secret_stands_in_a_file(compose: dict[str, Any]) -> None:
    secret = re.compile(r"(?i)(password|secret|key|token)")
    for service in compose["services"].values():
        for name, value in (service.get("environment") or {}).items():
            if secret.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (
                    f"{name} must come from the environment, and be asked for"
                )
    for line in (DEPLOY / "env.example").read_text().splitlines():
        if "=" in line and secret.search(line.partition("=")[0]):
            assert line.endswith("="), line


def test_every_process_has_one_environment(compose: dict[str, Any]) -> None:
    services = compose["services"]
    environments = [services[name]["environment"] for name in OURS]
    assert all(item == environments[0] for item in environments)
    settings = Settings.from_env(environments[0])
    assert settings.is_remote and settings.executor == "celery"
    wanted = {"ISYNC_POSTGRES_URL", "ISYNC_CELERY_BROKER", "AWS_ENDPOINT_URL", "AWS_REGION"}
    assert wanted <= set(environments[0])
    assert read("dagster.yaml")["storage"]["postgres"]["postgres_url"]["env"] in environments[0]


def test_two_workers_run_the_app(compose: dict[str, Any]) -> None:
    commands = {command_of(compose["services"][name]) for name in ("worker-1", "worker-2")}
    assert len(commands) == 1
    command = commands.pop()
    (app,) = re.findall(r"-A (\S+)", command)
    assert find_spec(app) is not None
    assert "-Q dagster" in command and "--pool" not in command, "only the pool of processes answers the roll call"


def test_the_code_location_is_the_one_of_the_command_line(compose: dict[str, Any]) -> None:
    (location,) = read("workspace.yaml")["load_from"]
    server = location["grpc_server"]
    assert server["location_name"] == LOCATION
    command = command_of(compose["services"][server["host"]])
    assert f"-m {MODULE} -a defs" in command and f"-p {server['port']}" in command


def test_what_a_service_needs_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        for needed, how in (service.get("depends_on") or {}).items():
            assert needed in services, f"{name} needs {needed}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], needed
    used = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert used == set(compose["volumes"])


def test_the_ui_is_open_to_this_machine_alone(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:3000:3000"]


def test_the_image_holds_what_is_named(compose: dict[str, Any]) -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+)$", text, flags=re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name
    extras = re.search(r"\.\[([a-z0-9,]+)\]", text)
    assert extras is not None
    assert set(extras[1].split(",")) == {"s3", "postgres", "celery", "k8s"}
    assert "\nUSER isync\n" in text
    assert {compose["services"][name]["image"] for name in OURS} == {"isync:latest"}


def test_the_chart_knows_every_key(values: dict[str, Any]) -> None:
    assert set(values) == set(CHART)
    for key, known in CHART.items():
        if known is not None:
            assert set(values[key]) <= known, key


def test_steps_have_the_environment_of_their_run(values: dict[str, Any]) -> None:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    environment = {item["name"]: item["value"] for item in deployment["env"]}
    settings = Settings.from_env(environment)
    assert settings.executor == "k8s" and settings.store.startswith("s3://") and settings.max_concurrent == 16
    assert deployment["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert deployment["dagsterApiGrpcArgs"] == ["-m", MODULE, "-a", "defs"]
    images = [values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"], deployment["image"]]
    assert all(image == images[0] for image in images)
    limits = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    runs = read("dagster.yaml")["concurrency"]["runs"]
    assert limits == {
        "maxConcurrentRuns": runs["max_concurrent_runs"],
        "tagConcurrencyLimits": runs["tag_concurrency_limits"],
    }
    assert values["additionalInstanceConfig"]["concurrency"]["pools"] == read("dagster.yaml")["concurrency"]["pools"]


@pytest.mark.skipif(find_spec("dagster_k8s") is None, reason="pip install 'isync_dagster[k8s]'")
def test_the_executor_of_kubernetes_takes_our_settings() -> None:
    from isync_dagster.assets.executor import executor

    assert executor("k8s", 16).name == "k8s"


def test_the_page_names_every_setting_and_executor() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    for word in ("ISYNC_STORE", "ISYNC_EXECUTOR", "ISYNC_CELERY_BROKER", "ISYNC_CELERY_BACKEND", "ISYNC_POSTGRES_URL"):
        assert word in page, word
    assert all(f"`{name}`" in page for name in EXECUTORS)
    for name in DEPLOY.iterdir():
        assert name.name in page or name.name.startswith("."), name.name
