"""The ASGI application of a local org: requests in, replies out, bodies streamed, faults met."""

from __future__ import annotations

import gzip
import logging
import tempfile
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import anyio.to_thread

from isync_dagster.local_org.auth import authenticate
from isync_dagster.local_org.bulk1_wire import refusal_of
from isync_dagster.local_org.faults import READ_ONLY, Fault
from isync_dagster.local_org.routes_schema import check_version
from isync_dagster.local_org.service import Service, unexpected
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, dumps, not_found

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

GZIP_FROM: Final = 2_000  # bytes of a body from which compressing pays
PIECE: Final = 1 << 20
URI_LIMIT: Final = 16_384
GATEWAY_PAGE: Final = "<html><head><title>{0}</title></head><body><h1>{0}</h1>The server is busy.</body></html>"


class _Dropped(Exception):
    """The connection is to be cut without an answer."""


class App:
    """The ASGI application: reads a request, lets the service answer it in a worker thread, writes the reply."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        # The sf CLI joins an instance URL that ends in a slash and a path that begins with one.
        path = "/" + unquote(scope["raw_path"].decode("ascii", "replace").split("?")[0]).lstrip("/")
        method = scope["method"]
        met = [] if path.startswith("/__local_org") else self.service.faults.meet(method, path)
        try:
            await self._answer(scope, receive, send, path, method, met)
        except _Dropped:
            # Ending the body short of its announced length makes the server cut the connection.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1048576")]})
            raise

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, path: str, method: str, met: list[Fault]
    ) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        headers["x-local-org-url"] = f"{scope['scheme']}://{headers.get('host', '127.0.0.1')}"
        kinds = {fault.kind for fault in met}
        for fault in met:
            if fault.kind == "delay":
                await anyio.sleep(fault.wait(self.service.faults.seed))
            if fault.kind == "kill" and fault.moment != "after":
                self.service.arm(fault)
        if "drop_before" in kinds:
            raise _Dropped
        found = self.service.find(path)
        temporary: Path | None = None
        try:
            if found and found[0].to_file and method == "PUT":
                temporary = await _body_to_file(receive, headers, self.service.jobs.folder)
                body = b""
            else:
                body = await _body(receive, headers)
            reply = await self._reply(scope, found, path, method, headers, body, temporary, met)
        except ApiError as error:
            reply = Reply(error.body(), status=error.status)
        finally:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
        for fault in met:
            if fault.kind == "kill" and fault.moment == "after":
                self.service.arm(fault)
        if "drop_after" in kinds:
            raise _Dropped
        cut = next((fault.bytes for fault in met if fault.kind == "truncate"), None)
        await self._send(send, reply, headers, method, path, cut)

    async def _reply(
        self,
        scope: Scope,
        found: tuple[Route, dict[str, str]] | None,
        path: str,
        method: str,
        headers: dict[str, str],
        body: bytes,
        upload: Path | None,
        met: list[Fault],
    ) -> Reply:
        service = self.service
        if len(scope["raw_path"]) + len(scope["query_string"]) > URI_LIMIT:
            return Reply([{"message": "URI Too Long", "errorCode": "URI_TOO_LONG"}], status=414)
        pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        item, groups = found or (None, {})
        call = Call(service, method, path, groups, dict(pairs), headers, body, upload=upload)
        if any(fault.kind == "expire_session" for fault in met):
            service.sessions.end()
        try:
            if item is None or not item.open:
                call.session = authenticate(service.sessions, headers)
                if not path.startswith("/__local_org"):
                    service.count_call()
            refusal = next((fault for fault in met if fault.kind in ("status", "read_only")), None)
            if refusal is not None and refusal.html:
                return Reply(GATEWAY_PAGE.format(refusal.status), status=refusal.status, content_type="text/html")
            if refusal is not None:
                message = READ_ONLY if refusal.kind == "read_only" else refusal.message
                raise ApiError(refusal.status, refusal.code, message)
            soap = path.lower().startswith("/services/soap")
            if "v" in groups and not soap:
                check_version(groups["v"])
            if item is None:
                raise not_found()
        except ApiError as error:
            return refusal_of(path, headers, error)
        if not service.enter():
            message = "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
            return refusal_of(path, headers, ApiError(403, "REQUEST_LIMIT_EXCEEDED", message))
        try:
            return await anyio.to_thread.run_sync(service.answer, item, call)
        except Exception:  # the boundary of the server: a bug becomes the platform's 500, and a log line
            log.exception("%s %s failed", method, path)
            return unexpected()
        finally:
            service.leave()

    async def _send(
        self, send: Send, reply: Reply, headers: dict[str, str], method: str, path: str, cut: int | None
    ) -> None:
        answer = {
            "date": format_datetime(datetime.now(UTC), usegmt=True),
            "cache-control": "no-cache,must-revalidate,max-age=0,no-store,private",
            **{name.lower(): value for name, value in reply.headers.items()},
        }
        if path.lower().startswith("/services/data/v"):
            answer["sforce-limit-info"] = self.service.limit_info()
        if reply.file is not None:
            await self._send_file(send, reply, answer, cut)
            return
        content = _content(reply, pretty=headers.get("x-prettyprint") == "1")
        if content or reply.status not in (201, 204, 304):
            answer["content-type"] = reply.content_type
        if len(content) >= GZIP_FROM and "gzip" in headers.get("accept-encoding", ""):
            content = await anyio.to_thread.run_sync(lambda: gzip.compress(content, 1))
            answer["content-encoding"] = "gzip"
        if reply.status != 304:
            answer["content-length"] = str(len(content))
        await send(_start(reply.status, answer))
        if cut is not None and cut < len(content):
            await send({"type": "http.response.body", "body": content[:cut], "more_body": True})
            raise _Dropped
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else content})

    async def _send_file(self, send: Send, reply: Reply, answer: dict[str, str], cut: int | None) -> None:
        assert reply.file is not None
        answer["content-type"] = reply.content_type
        answer["content-length"] = str(reply.file.stat().st_size)
        sent = 0
        try:
            await send(_start(reply.status, answer))
            async with await anyio.open_file(reply.file, "rb") as stream:
                while piece := await stream.read(PIECE):
                    if cut is not None and sent + len(piece) > cut:
                        await send({"type": "http.response.body", "body": piece[: cut - sent], "more_body": True})
                        raise _Dropped
                    sent += len(piece)
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            if reply.passing:
                reply.file.unlink(missing_ok=True)


def _start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


def _content(reply: Reply, *, pretty: bool) -> bytes:
    if reply.body is None:
        return b""
    if isinstance(reply.body, bytes):
        return reply.body
    if isinstance(reply.body, str):
        return reply.body.encode()
    return dumps(reply.body, pretty=pretty)


async def _pieces(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client went away")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _body(receive: Receive, headers: dict[str, str]) -> bytes:
    pieces = [piece async for piece in _pieces(receive)]
    body = b"".join(pieces)
    if headers.get("content-encoding", "").lower() == "gzip":
        try:
            return gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise _unreadable() from error
    return body


def _unreadable() -> ApiError:
    return ApiError(400, "INVALID_CONTENT_ENCODING", "The body is no gzip data")


async def _body_to_file(receive: Receive, headers: dict[str, str], folder: Path) -> Path:
    """The request's body as a file: an upload is never held in memory."""
    unpack = zlib.decompressobj(31) if headers.get("content-encoding", "").lower() == "gzip" else None
    with tempfile.NamedTemporaryFile(dir=folder, prefix="upload-", delete=False) as stream:
        path = Path(stream.name)
        try:
            async for piece in _pieces(receive):
                stream.write(unpack.decompress(piece) if unpack else piece)
        except zlib.error as error:
            path.unlink(missing_ok=True)
            raise _unreadable() from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path
