"""People are told by webhook and e-mail, on local sinks: the verdict, the report, the reason; never an address that is a secret."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest

from isync_dagster.assets.notifications import notification_sensors
from isync_dagster.assets.notify import Channels
from isync_dagster.errors import ConfigError, TransientError
from isync_dagster.report import summary_to_json
from isync_dagster_tests.assets.plans import FakeVerbs, FakeWorkbench, fake_verbs, small_plan
from isync_dagster_tests.assets.test_factory import made, migrate
from isync_dagster_tests.report.summaries import summary


@dataclass
class Sink:
    """A webhook of our own."""

    url: str = ""
    status: int = 200
    got: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture
def sink() -> Iterator[Sink]:
    made_sink = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made_sink.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(made_sink.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made_sink.url = f"http://127.0.0.1:{server.server_port}/services/T0/very-secret"
    yield made_sink
    server.shutdown()
    server.server_close()
    thread.join()


@contextmanager
def mail_server() -> Iterator[tuple[str, list[str]]]:
    """host:port of a server that speaks as much SMTP as a message needs, and what it was given."""
    got: list[str] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := (await reader.readline()).decode().strip():
            if line.upper() == "DATA":
                writer.write(b"354 go on\r\n")
                body = (await reader.readuntil(b"\r\n.\r\n")).decode()
                got.append(body)
            writer.write(b"221 bye\r\n" if line.upper() == "QUIT" else b"250 fine\r\n")
            if line.upper() == "QUIT":
                break
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}", got
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def known() -> Iterator[FakeVerbs]:
    with fake_verbs() as verbs:
        yield verbs


def tell(known: FakeVerbs, which: int, run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> Any:
    """What the sensor says of a run that has ended."""
    sensor = notification_sensors()[which]
    event = run.get_run_success_event() if which == 0 else run.get_run_failure_event()
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_instance=instance,
        dagster_run=run.dagster_run,
        dagster_event=event,
        resources={"workbench": FakeWorkbench(small_plan(), known)},
    )
    found = sensor(context.for_run_failure() if which else context)
    return list(found)  # type: ignore[arg-type]


def test_both_sensors_are_there_and_off() -> None:
    repository = made(small_plan())
    for name in ("notify_success", "notify_failure"):
        assert repository.get_sensor_def(name).default_status is dg.DefaultSensorStatus.STOPPED


def test_a_success_tells_the_verdict_and_the_report(
    known: FakeVerbs, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISYNC_NOTIFY_WEBHOOK", sink.url)
    with dg.DagsterInstance.ephemeral() as instance:
        run = migrate(known, instance)
        current = known.runs("people").run
        monkeypatch.setattr(current, "summary", lambda: summary_to_json(summary(trouble=True)), raising=False)
        (told,) = tell(known, 0, run, instance)
    assert "Told by webhook" in str(told.skip_message)
    (posted,) = sink.got
    lines = posted["text"].splitlines()
    assert lines[0] == "✗ core · people · run 1 is through"
    assert lines[1].startswith("The promise is not kept")
    assert "1,703 records: 1,680 inserted" in posted["text"]
    assert "✗ Contact Lookups point at the right records" in posted["text"]
    assert lines[-1] == "Report: /store/report.html"


def test_a_failure_tells_the_reason_and_what_to_do(
    known: FakeVerbs, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISYNC_NOTIFY_WEBHOOK", sink.url)
    known.trouble[("load", "Account")] = [ConfigError("The field Fax is gone.")]
    with dg.DagsterInstance.ephemeral() as instance:
        run = migrate(known, instance)
        assert not run.success
        tell(known, 1, run, instance)
    (posted,) = sink.got
    assert posted["text"].startswith("✗ core · people · run 1 failed")
    assert "`isync migrate core --phase people` goes on" in posted["text"]


def test_nobody_to_tell_is_said(known: FakeVerbs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISYNC_NOTIFY_WEBHOOK", "ISYNC_NOTIFY_SMTP", "ISYNC_NOTIFY_TO"):
        monkeypatch.delenv(name, raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        (told,) = tell(known, 0, migrate(known, instance), instance)
    assert "Nobody to tell: set ISYNC_NOTIFY_WEBHOOK" in str(told.skip_message)


def test_mail_is_sent() -> None:
    with mail_server() as (address, got):
        found = Channels.from_env({"ISYNC_NOTIFY_SMTP": address, "ISYNC_NOTIFY_TO": "ada@x.example, bob@x.example"})
        assert found.send("✓ demo is through", "The promise is kept.") == ("e-mail",)
    (message,) = got
    assert "To: ada@x.example, bob@x.example" in message and "From: ada@x.example" in message
    assert "The promise is kept." in message


def test_a_channel_that_fails_is_named_without_its_address(sink: Sink) -> None:
    sink.status = 500
    found = Channels.from_env({"ISYNC_NOTIFY_WEBHOOK": sink.url})
    with pytest.raises(TransientError, match=r"webhook \(HTTPError 500\)") as raised:
        found.send("subject", "text")
    assert "very-secret" not in str(raised.value) + repr(found)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"ISYNC_NOTIFY_WEBHOOK": "hooks.example/x"}, "no http"),
        ({"ISYNC_NOTIFY_SMTP": "mail"}, "needs both"),
        ({"ISYNC_NOTIFY_SMTP": "mail:smtp", "ISYNC_NOTIFY_TO": "a@b.example"}, "host or host:port"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(values: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Channels.from_env(values)
