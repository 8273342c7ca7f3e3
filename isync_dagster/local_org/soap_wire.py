"""SOAP messages of the partner API: the call in an envelope, records as XML, results and faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from isync_dagster.local_org.web import ApiError, Reply

CONTENT: Final = "text/xml; charset=utf-8"
NIL: Final = "{http://www.w3.org/2001/XMLSchema-instance}nil"
_NAMESPACES: Final = (
    'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" '
    'xmlns:sf="urn:{sf}.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)
_FAULTS: Final = {
    "INVALID_LOGIN": "LoginFault",
    "INVALID_FIELD": "InvalidFieldFault",
    "INVALID_TYPE": "InvalidSObjectFault",
    "MALFORMED_QUERY": "MalformedQueryFault",
    "INVALID_QUERY_LOCATOR": "InvalidQueryLocatorFault",
}
# Where the elements of a base type come first, in the order of the WSDL.
_FIRST: Final = ("done", "queryLocator", "records", "size")


class SoapMessage:
    """One request: the operation's name, its arguments, and the headers around it."""

    def __init__(self, content: bytes) -> None:
        try:
            root = ElementTree.fromstring(content)
        except ElementTree.ParseError as error:
            raise ApiError(500, "INVALID_OPERATION", "The request is no well-formed SOAP message.") from error
        parts = {local(child): child for child in root}
        body = parts.get("Body")
        if body is None or not len(body):
            raise ApiError(500, "INVALID_OPERATION", "The SOAP message has no operation in its body.")
        self.operation = local(body[0])
        self.arguments = body[0]
        self._header = parts.get("Header")

    def header(self, name: str, key: str) -> str:
        """A value in one of the headers, such as `SessionHeader`'s `sessionId`."""
        for part in self._header if self._header is not None else ():
            if local(part) == name:
                return next((item.text or "" for item in part.iter() if local(item) == key), "")
        return ""

    def all(self, name: str, within: ElementTree.Element | None = None) -> list[ElementTree.Element]:
        """The arguments of a name; case does not matter in it, as little as it does to the platform's clients."""
        given = self.arguments if within is None else within
        return [child for child in given if local(child).lower() == name.lower()]

    def texts(self, name: str, within: ElementTree.Element | None = None) -> list[str]:
        """The texts of all arguments of a name."""
        return [(child.text or "").strip() for child in self.all(name, within)]

    def text(self, name: str, within: ElementTree.Element | None = None) -> str:
        """The text of an argument; empty where it is absent."""
        return next(iter(self.texts(name, within)), "")


def local(element: ElementTree.Element) -> str:
    """An element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def read_record(element: ElementTree.Element) -> dict[str, Any]:
    """An sObject element as the JSON record of the same call."""
    record: dict[str, Any] = {}
    for child in element:
        name = local(child)
        if name == "type":
            record["attributes"] = {"type": (child.text or "").strip()}
        elif name == "fieldsToNull":
            record[(child.text or "").strip()] = None
        elif child.get(NIL) == "true":
            record[name] = None
        elif len(child):
            record[name] = read_record(child)
        elif child.text:
            record[name] = child.text
    return record


def result(operation: str, results: Sequence[Mapping[str, Any]]) -> Reply:
    """The answer of an operation: one `result` element each."""
    inner = "".join(f"<result>{element_of(item)}</result>" for item in results)
    return envelope(f"<{operation}Response>{inner}</{operation}Response>")


def envelope(body: str, *, status: int = 200, sf: str = "sobject") -> Reply:
    """A whole SOAP message around a body; `sf` is the namespace of records or of faults."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope {_NAMESPACES.format(sf=sf)}>'
    return Reply(f"{text}<soapenv:Body>{body}</soapenv:Body></soapenv:Envelope>", status=status, content_type=CONTENT)


def element_of(values: Mapping[str, Any]) -> str:
    """Values as elements: a list repeats its element, null is nil, a record becomes an sObject."""
    return "".join(_elements(key, value) for key, value in values.items())


def _elements(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "".join(_elements(key, item) for item in value)
    if value is None:
        return f'<{key} xsi:nil="true"/>'
    if isinstance(value, Mapping):
        if "attributes" in value:
            return f'<{key} xsi:type="sf:sObject">{_record(value)}</{key}>'
        return f"<{key}>{element_of(value)}</{key}>"
    return f"<{key}>{escape(_text(value))}</{key}>"


def _record(record: Mapping[str, Any]) -> str:
    kind, values = record["attributes"]["type"], dict(record)
    identity = values.get("Id")
    first = f"<sf:type>{kind}</sf:type>" + (f"<sf:Id>{identity}</sf:Id>" if identity else '<sf:Id xsi:nil="true"/>')
    return first + "".join(_field(key, value) for key, value in values.items() if key not in ("attributes", "type"))


def _field(key: str, value: Any) -> str:
    if isinstance(value, Mapping) and "records" in value:
        ordered = {name: value[name] for name in _FIRST if name in value}
        ordered["size"] = value.get("totalSize", len(value["records"]))
        return f'<sf:{key} xsi:type="QueryResult">{element_of({"queryLocator": None, **ordered})}</sf:{key}>'
    return _elements(f"sf:{key}", value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return text.replace(".000+0000", ".000Z") if text.endswith(".000+0000") else text


def fault(code: str, message: str, *, faultcode: str | None = None) -> Reply:
    """A SOAP fault: HTTP 500 with the exception code in the detail."""
    name = _FAULTS.get(code, "UnexpectedErrorFault")
    return envelope(
        f"<soapenv:Fault><faultcode>{faultcode or 'sf:' + code}</faultcode>"
        f"<faultstring>{code}: {escape(message)}</faultstring><detail>"
        f'<sf:{name} xsi:type="sf:{name}"><sf:exceptionCode>{code}</sf:exceptionCode>'
        f"<sf:exceptionMessage>{escape(message)}</sf:exceptionMessage></sf:{name}></detail></soapenv:Fault>",
        status=500,
        sf="fault",
    )
