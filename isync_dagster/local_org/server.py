"""The HTTP side of a local org: uvicorn on loopback only, in a background thread."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Final

import uvicorn

from isync_dagster.errors import ConfigError
from isync_dagster.local_org.app import App
from isync_dagster.local_org.certificate import make_certificate
from isync_dagster.local_org.service import Service

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

GRACE: Final = 1.0  # seconds that calls under way get when the server stops


class Served:
    """An org that answers on loopback; `stop()` or leaving the `with` block ends it (the org stays open)."""

    def __init__(
        self, org: LocalOrg, *, port: int = 0, https: bool = False, host: str = "127.0.0.1", own_process: bool = False
    ) -> None:
        if not _is_loopback(host):
            raise ConfigError(f"A local org answers on loopback only; {host} is not a loopback address.")
        self.org = org
        self.service = Service(org, own_process=own_process)
        self._running: list[_Running] = []
        self.url = ""
        self.https_url = ""
        self.ca_file = ""
        settings = org.settings
        self.username = settings.username
        self.password = settings.password
        self.security_token = settings.security_token
        self.consumer_key = settings.consumer_key
        self.consumer_secret = settings.consumer_secret
        self.refresh_token = settings.refresh_token
        self.url = f"http://{host}:{self._start_server(host, port)}"
        if https:
            certificate, key = make_certificate(org.folder)
            self.ca_file = str(certificate)
            number = self._start_server(host, 0, ssl_certfile=str(certificate), ssl_keyfile=str(key))
            self.https_url = f"https://localhost:{number}"

    def _start_server(self, host: str, port: int, **tls: str) -> int:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise ConfigError(f"Port {port} on {host} is not free: {error}.") from error
        config = uvicorn.Config(
            App(self.service), log_level="critical", access_log=False, lifespan="off", server_header=False,
            date_header=False, timeout_keep_alive=60, timeout_graceful_shutdown=5,
            ssl_certfile=tls.get("ssl_certfile"), ssl_keyfile=tls.get("ssl_keyfile"),
        )  # fmt: skip
        server = uvicorn.Server(config)
        running = _Running(server, listener, f"local org {self.org.settings.name}")
        number = int(listener.getsockname()[1])
        self._running.append(running)
        until = time.monotonic() + 10
        while not server.started:
            if time.monotonic() > until or not running.thread.is_alive():
                self.stop()
                raise ConfigError(f"The server of the local org on port {number} did not start.")
            time.sleep(0.005)
        return number

    def __enter__(self) -> Served:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def credentials(self) -> dict[str, str]:
        """What a client needs to log in, as the ready file and `orgs.yaml` carry it."""
        return {
            "url": self.url,
            "https_url": self.https_url,
            "ca_file": self.ca_file,
            "org_id": self.org.org_id,
            "username": self.username,
            "password": self.password,
            "security_token": self.security_token,
            "consumer_key": self.consumer_key,
            "consumer_secret": self.consumer_secret,
            "refresh_token": self.refresh_token,
        }

    def stop(self) -> None:
        """Finish the calls under way and stop answering."""
        for running in self._running:
            running.server.should_exit = True
        for running in self._running:
            running.stop()
        self._running.clear()
        self.service.close()


class _Running:
    """A uvicorn server on its own event loop in its own thread."""

    def __init__(self, server: uvicorn.Server, listener: socket.socket, name: str) -> None:
        self.server = server
        self._listener = listener
        self._loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.server.config.get_loop_factory()) as runner:
            self._loop = runner.get_loop()
            runner.run(self.server.serve(sockets=[self._listener]))

    def stop(self) -> None:
        """Wait a moment for calls under way, then cut the connections that clients keep open."""
        self.thread.join(timeout=GRACE)
        if self.thread.is_alive() and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cut)
            self.thread.join(timeout=10)

    def _cut(self) -> None:
        for connection in list(self.server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
