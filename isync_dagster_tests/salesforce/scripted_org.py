"""A real HTTP server on a free loopback port that answers as a test scripts it, and writes down what it was asked.

Routes are asked in the order given; the first that matches the method and the path answers. An answer is a
`Reply`, or a function of the request that gives one; a list of replies is used up one by one, the last one stays.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "00D000000000001!token"


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """One answer. `cut` sends so many bytes of the body and closes; `drop` closes without any answer."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drop: bool = False
    framed: bool = True
    chunked: bool = False

    def payload(self) -> tuple[bytes, str]:
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        if isinstance(self.body, str):
            return self.body.encode(), "text/csv" if not self.body.startswith("<") else "text/html"
        return json.dumps(self.body).encode(), "application/json;charset=UTF-8"


DROP = Reply(drop=True)
Answer = Reply | list[Reply] | Callable[[Request], Reply]


class ScriptedOrg:
    """The server; use it as a context manager."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.tokens = {TOKEN}
        self.lock = threading.Lock()
        self._routes: list[tuple[str, re.Pattern[str], Answer]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length) if length else b""
                url = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()}
                request = Request(self.command, url.path, query, dict(self.headers.items()), body)
                reply = outer.answer(request)
                if reply.drop:
                    self.close_connection = True
                    return
                payload, kind = reply.payload()
                self.send_response_only(reply.status)
                headers = {"Content-Type": kind, "Date": formatdate(usegmt=True), **reply.headers}
                if reply.chunked:
                    headers["Transfer-Encoding"] = "chunked"
                    payload = b"%x\r\n%s\r\n0\r\n\r\n" % (len(payload), payload)
                elif reply.framed and reply.status != 204:
                    headers.setdefault("Content-Length", str(len(payload)))
                elif reply.status != 204:
                    headers["Connection"] = "close"
                    self.close_connection = True
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.cut is not None:
                    payload = payload[: reply.cut]
                    self.close_connection = True
                self.wfile.write(payload)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(poll_interval=0.02), daemon=True)

    def __enter__(self) -> ScriptedOrg:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def on(self, method: str, path: str, answer: Answer) -> None:
        """Answer requests of that method whose whole path matches the pattern, `/services/data/vNN` left out."""
        prefix = "" if path.startswith("/services") else r"(/services/data/v[\d.]+)?/"
        self._routes.insert(0, (method, re.compile(prefix + path), answer))

    def answer(self, request: Request) -> Reply:
        with self.lock:
            self.requests.append(request)
        secured = request.path.startswith("/services/data/v")
        if secured and request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
        for method, pattern, answer in self._routes:
            if method in (request.method, "*") and pattern.fullmatch(request.path):
                if isinstance(answer, list):
                    with self.lock:
                        return answer.pop(0) if len(answer) > 1 else answer[0]
                return answer(request) if callable(answer) else answer
        return refused(404, "NOT_FOUND", "The requested resource does not exist")

    def asked(self, method: str, path: str) -> list[Request]:
        """The requests of that method whose path ends so."""
        pattern = re.compile(".*" + path)
        return [item for item in self.requests if item.method == method and pattern.fullmatch(item.path)]


def refused(status: int, code: str, message: str = "text in the user's language", **more: Any) -> Reply:
    """An error answer in REST's own shape."""
    return Reply(status, [{"message": message, "errorCode": code, **more}])


def csv_page(rows: list[str], header: str = '"Id"', locator: str | None = None, **more: Any) -> Reply:
    """A page of a Bulk result: every value quoted, header first, counted."""
    text = "".join(line + "\n" for line in (header, *rows))
    headers = {"Sforce-NumberOfRecords": str(len(rows)), "Sforce-Locator": locator or "null"}
    return Reply(200, text.encode(), {**headers, **more.pop("headers", {})}, **more)
