"""Requests that real orgs answered, sent again to a local org, and the two answers compared.

Ids differ between orgs: those of a recorded answer are paired with ours by their place, and later requests are sent
with ours. Compared are the status, the keys at every level, and for errors code and message. Values are compared
where they are errors only: the recorded orgs held other data.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import requests
import yaml

from isync_dagster_tests.local_org.orgs import Client

RECORDINGS = Path(__file__).parents[3] / "shared" / "realdata"
IDENTITY = re.compile(r"\b[0-9a-zA-Z]{15}(?:[A-Z0-5]{3})?\b")


@dataclass(frozen=True)
class Recorded:
    """One request and its recorded answer (`body` None: the recording holds none of its own)."""

    source: str
    method: str
    path: str
    content: bytes | None
    content_type: str
    status: int
    body: Any
    ids: tuple[str, ...] = ()

    @property
    def shape(self) -> str:
        """The request with ids and values taken out: a row of the table."""
        path = re.sub(r"/services/(data|async)/(?:v?\d+\.0/)?", r"/\1/", urlsplit(self.path).path)
        return f"{self.method} {IDENTITY.sub('{id}', path).rstrip('/')}"


@dataclass
class Compared:
    """How one request was answered here: the differences, none where it is the same."""

    recorded: Recorded
    differences: list[str] = field(default_factory=list)


def cassettes() -> Iterator[list[Recorded]]:
    """The recorded calls of every cassette, in their order."""
    for file in sorted((RECORDINGS / "api").glob("*/*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        found = [_recorded(file.stem, item) for item in content.get("interactions") or []]
        yield [item for item in found if item is not None]


def _recorded(source: str, item: Mapping[str, Any]) -> Recorded | None:
    if "include_file" in item:
        return _described(source, str(item["include_file"]))
    request, answer = item["request"], item["response"]
    url = urlsplit(request["uri"].replace("vxx.0", "v62.0").replace("/async/v62.0", "/async/62.0"))
    raw = request.get("body")
    text = raw.decode() if isinstance(raw, bytes) else raw
    body = (answer.get("body") or {}).get("string")
    ids: tuple[str, ...] = ()
    if isinstance(body, dict):
        known = body.get("vars", {})
        ids = tuple(str(known[key]) for key in ("id", "jobId") if key in known)
        body = None
    content_type = "application/json"
    if "/async/" in url.path:
        content_type = "application/xml" if (text or "").startswith("<") else "text/csv"
    return Recorded(
        source,
        request["method"],
        url.path + (f"?{url.query}" if url.query else ""),
        _content(text),
        content_type,
        int(answer["status"]["code"]),
        _read(body),
        ids,
    )


def _described(source: str, name: str) -> Recorded | None:
    """A describe that the cassette keeps in a file of its own."""
    wanted = name.removeprefix("GET_sobjects_").removesuffix("_describe.yaml")
    file = RECORDINGS / "describes" / "cumulusci" / ("_global.json" if wanted == "Global" else f"{wanted}.json")
    if not file.is_file():
        return None
    path = "/services/data/v62.0/sobjects" + ("" if wanted == "Global" else f"/{wanted}/describe")
    body = json.loads(file.read_text(encoding="utf-8"))
    return Recorded(source, "GET", path, None, "application/json", 200, body)


def _content(text: str | None) -> bytes | None:
    """A request's body; the pieces of a chunked one are put together."""
    if text is None:
        return None
    if not re.match(r"[0-9a-f]+\r\n", text):
        return text.encode()
    whole, rest = "", text
    while (cut := rest.find("\r\n")) >= 0 and (size := int(rest[:cut] or "0", 16)):
        # The recorder counted bytes and cut characters: what is ASCII is right.
        whole += rest[cut + 2 : cut + 2 + size]
        rest = rest[cut + 4 + size :]
    return whole.encode()


def _read(body: Any) -> Any:
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except ValueError:
        return body


class Replay:
    """Sends recorded requests to an org, with its own ids in place of the recorded ones."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ids: dict[str, str] = {}

    def send(self, recorded: Recorded) -> Compared:
        """Ask again and compare."""
        answer = self._ask(recorded)
        body = _read(answer.text)
        compared = Compared(recorded)
        if answer.status_code != recorded.status:
            told = f": {answer.text.strip()}" if answer.status_code >= 400 else ""
            compared.differences.append(f"status {answer.status_code} for {recorded.status}{told}")
            return compared
        for theirs, ours in zip(recorded.ids, _own_ids(answer.text), strict=False):
            self.ids[theirs[:15]] = ours
        if recorded.body is not None:
            self._pair(recorded.body, body)
            compared.differences += list(differences(recorded.body, body))
        return compared

    def _ask(self, recorded: Recorded) -> requests.Response:
        path = self._own(recorded.path)
        content = recorded.content
        if content is not None:
            content = self._own(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        headers = {"Content-Type": recorded.content_type}
        if "/async/" in path:
            headers["X-SFDC-Session"] = str(self.client.http.headers["Authorization"]).removeprefix("Bearer ")
        if path.endswith("/result"):
            self._wait(path.removesuffix("/result"), headers)
        return self.client.call(recorded.method, path, data=content, headers=headers)

    def _wait(self, batch: str, headers: dict[str, str]) -> None:
        for _ in range(1000):
            if not re.search("Queued|InProgress", self.client.call("GET", batch, headers=headers).text):
                return
            time.sleep(0.02)

    def _own(self, text: str) -> str:
        """A text with our ids; the org and the user that were asked are this org and its user."""
        settings = self.client.served.org.settings
        usual = {"00D": settings.org_id, "005": settings.user_id}
        return IDENTITY.sub(lambda found: self.ids.get(found[0][:15]) or usual.get(found[0][:3], found[0]), text)

    def _pair(self, theirs: Any, ours: Any) -> None:
        if isinstance(theirs, dict) and isinstance(ours, dict):
            for key in theirs.keys() & ours.keys():
                self._pair(theirs[key], ours[key])
        elif isinstance(theirs, list) and isinstance(ours, list):
            for left, right in zip(theirs, ours, strict=False):
                self._pair(left, right)
        elif isinstance(theirs, str) and isinstance(ours, str):
            if IDENTITY.fullmatch(theirs) and IDENTITY.fullmatch(ours):
                self.ids[theirs[:15]] = ours
            elif theirs.startswith("<"):
                for left, right in zip(_own_ids(theirs), _own_ids(ours), strict=False):
                    self.ids[left[:15]] = right


def _own_ids(text: str) -> list[str]:
    found = re.findall(r"<(?:id|jobId|result)>([^<]+)</|\"id\" ?: ?\"([^\"]+)\"", text)
    return [one or other for one, other in found]


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """What differs in keys, and in code and message of errors."""
    if isinstance(theirs, str) and theirs.lstrip().startswith("<") and isinstance(ours, str):
        yield from _xml_differences(theirs, ours)
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        if missing := sorted(theirs.keys() - ours.keys()):
            yield f"{path or 'answer'} lacks {', '.join(missing)}"
        if more := sorted(ours.keys() - theirs.keys()):
            yield f"{path or 'answer'} has also {', '.join(more)}"
        if "errorCode" in theirs:
            for key in ("errorCode", "message"):
                if theirs[key] != ours.get(key):
                    yield f"{key} {ours.get(key)!r} for {theirs[key]!r}"
        for key in theirs.keys() & ours.keys():
            yield from differences(theirs[key], ours[key], f"{path}.{key}".lstrip("."))
    elif isinstance(theirs, list) and isinstance(ours, list):
        if theirs and ours:
            yield from differences(_union(theirs), _union(ours), f"{path}[]")
    elif isinstance(theirs, str) and theirs.startswith('"') and isinstance(ours, str):
        if theirs.splitlines()[0] != ours.splitlines()[0]:
            yield f"header {ours.splitlines()[0]} for {theirs.splitlines()[0]}"
    elif isinstance(theirs, dict | list) != isinstance(ours, dict | list) and None not in (theirs, ours):
        yield f"{path or 'answer'} is {type(ours).__name__} for {type(theirs).__name__}"


def _union(values: list[Any]) -> Any:
    """One value that has the keys of all objects in a list."""
    if not all(isinstance(item, dict) for item in values):
        return values[0]
    merged: dict[str, Any] = {}
    for item in values:
        for key, value in item.items():
            if merged.get(key) in (None, [], {}):
                merged[key] = value
    return merged


def _xml_differences(theirs: str, ours: str) -> Iterator[str]:
    left, right = (ElementTree.fromstring(text.encode()) for text in (theirs.strip(), ours.strip()))
    names = [
        [item.tag for item in root.iter() if item.tag.rpartition("}")[2] != "stateMessage"] for root in (left, right)
    ]
    if names[0] != names[1]:
        yield f"elements {sorted(set(names[0]) ^ set(names[1]))}"
