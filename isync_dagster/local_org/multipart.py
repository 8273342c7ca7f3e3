"""Bodies of several parts: a JSON part and binary ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from isync_dagster.local_org.web import ApiError, Call

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


@dataclass
class Part:
    """One part: its name, the file name it claims, its content type and its bytes."""

    name: str = ""
    filename: str | None = None
    content_type: str = ""
    content: bytearray = field(default_factory=bytearray)


def is_multipart(call: Call) -> bool:
    """True where the request's body has parts."""
    return call.headers.get("content-type", "").lower().startswith("multipart/")


def read_parts(call: Call) -> list[Part]:
    """The parts of a body in their order; ApiError where it has none."""
    boundary = _parameters(call.headers["content-type"], "content-type").get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", "Multipart message is missing its boundary")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary.encode("latin-1", "replace"), reader.callbacks())
        parser.write(call.body)
        parser.finalize()
    except MultipartParseError as error:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", f"Multipart message cannot be read: {error}") from error
    if not reader.parts:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", "Multipart message must include a non-binary part")
    return reader.parts


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self._name = b""
        self._value = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self._header(b"", data[start:end]),
            "on_header_end": self._header_end,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
        }

    def _begin(self) -> None:
        self.parts.append(Part())

    def _header(self, name: bytes, value: bytes) -> None:
        self._name += name
        self._value += value

    def _header_end(self) -> None:
        name, value = self._name.decode("latin-1").lower(), self._value.decode("utf-8", "replace")
        self._name = self._value = b""
        part = self.parts[-1]
        if name == "content-disposition":
            message = _parameters(value, name)
            found = message.get_param("name", header=name)
            part.name = found if isinstance(found, str) else ""
            part.filename = message.get_filename()
        elif name == "content-type":
            part.content_type = value.lower()


def _parameters(value: str, header: str) -> Message:
    message = Message()
    message[header] = value
    return message
