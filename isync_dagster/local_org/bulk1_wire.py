"""How Bulk 1.0 writes its answers: infos, lists, results and errors as XML or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import polars as pl

from isync_dagster.local_org.values import error_json, wire_error
from isync_dagster.local_org.web import ApiError, Call, Reply

NAMESPACE: Final = "http://www.force.com/2009/06/asyncapi/dataload"
HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'
XML: Final = "application/xml"


class Bulk1Error(ApiError):
    """A refusal in the envelope of Bulk 1.0: `exceptionCode`, `exceptionMessage`."""


def wants_json(headers: Mapping[str, str], content_type: str = "") -> bool:
    """True where the client speaks JSON: by its headers, else by the job's content type."""
    spoken = headers.get("content-type", "").lower()
    if "json" in spoken:
        return True
    if "xml" in spoken or "csv" in spoken:
        return False
    return "json" in headers.get("accept", "").lower() or content_type.endswith("JSON")


def error_reply(error: ApiError, headers: Mapping[str, str]) -> Reply:
    """An error in this API's own envelope."""
    code, message = error.code, error.message
    if wants_json(headers):
        return Reply({"exceptionCode": code, "exceptionMessage": message}, status=error.status)
    return xml_reply("error", {"exceptionCode": code, "exceptionMessage": message}, status=error.status)


def refusal_of(path: str, headers: Mapping[str, str], error: ApiError) -> Reply:
    """A refusal before any resource was reached: in the envelope of the API that the path belongs to."""
    if not path.lower().startswith("/services/async"):
        return Reply(error.body(), status=error.status)
    if error.status == 401:
        return error_reply(Bulk1Error(400, "InvalidSessionId", "Invalid session id"), headers)
    if error.code == "REQUEST_LIMIT_EXCEEDED":
        return error_reply(Bulk1Error(400, "ExceededQuota", error.message), headers)
    if error.status == 410:
        return error_reply(Bulk1Error(400, "InvalidVersion", error.message), headers)
    if error.code == "NOT_FOUND":
        return error_reply(Bulk1Error(400, "InvalidUrl", "Destination URL not reset. The URL does not exist."), headers)
    return error_reply(error, headers)


def info_reply(call: Call, name: str, info: Mapping[str, Any], content_type: str, *, status: int = 200) -> Reply:
    """A job or batch info; JSON writes the version as a number and dates with an offset."""
    if not wants_json(call.headers, content_type):
        return xml_reply(name, info, status=status)
    return Reply(_json_info(info), status=status)


def list_reply(call: Call, infos: Sequence[Mapping[str, Any]], content_type: str) -> Reply:
    """The batches of a job."""
    if wants_json(call.headers, content_type):
        return Reply({"batchInfo": [_json_info(info) for info in infos]})
    inner = "".join(f" <batchInfo>\n{_elements(info, 2)} </batchInfo>\n" for info in infos)
    return Reply(f'{HEAD}<batchInfoList\n   xmlns="{NAMESPACE}">\n{inner}</batchInfoList>', content_type=XML)


def _json_info(info: Mapping[str, Any]) -> dict[str, Any]:
    answer = dict(info)
    for key in ("createdDate", "systemModstamp"):
        answer[key] = str(answer[key]).replace("Z", "+0000")
    if "apiVersion" in answer:
        answer["apiVersion"] = float(answer["apiVersion"])
    return answer


def xml_reply(name: str, values: Mapping[str, Any], *, status: int = 200) -> Reply:
    """One element with its values, spaced as the platform does."""
    text = f'{HEAD}<{name}\n   xmlns="{NAMESPACE}">\n{_elements(values, 1)}</{name}>'
    return Reply(text, status=status, content_type=XML)


def _elements(values: Mapping[str, Any], depth: int) -> str:
    return "".join(f"{' ' * depth}<{key}>{escape(str(value))}</{key}>\n" for key, value in values.items())


def result_list(call: Call, ids: Sequence[str], content_type: str) -> Reply:
    """The ids of a query batch's results."""
    if content_type.endswith("JSON"):
        return Reply(list(ids))
    inner = "".join(f"<result>{item}</result>" for item in ids)
    return Reply(f'<result-list xmlns="{NAMESPACE}">{inner}</result-list>', content_type=XML)


def row_results(outcome: pl.DataFrame, content_type: str) -> Reply:
    """The outcome of a batch of rows, in the order of its rows (at most 10,000)."""
    ordered = outcome.sort("_row")
    if content_type.endswith("CSV"):
        frame = ordered.select(
            pl.col("id").fill_null("").alias("Id"),
            pl.col("error").is_null().cast(pl.String).alias("Success"),
            pl.col("created").cast(pl.String).alias("Created"),
            wire_error(pl.col("error")).fill_null("").alias("Error"),
        )
        return Reply(frame.write_csv(quote_style="always").encode(), content_type="text/csv")
    rows = [
        {
            "success": row["error"] is None,
            "created": row["created"],
            "id": row["id"],
            "errors": [] if row["error"] is None else [{**error_json(row["error"]), "extendedErrorDetails": None}],
        }
        for row in ordered.to_dicts()
    ]
    if content_type.endswith("JSON"):
        return Reply(rows)
    inner = "".join(f" <result>\n{_result(row)} </result>\n" for row in rows)
    return Reply(f'{HEAD}<results\n   xmlns="{NAMESPACE}">\n{inner}</results>', content_type=XML)


def _result(row: Mapping[str, Any]) -> str:
    errors = "".join(
        "  <errors>\n"
        + "".join(f"   <fields>{escape(name)}</fields>\n" for name in item["fields"])
        + f"   <message>{escape(str(item['message']))}</message>\n"
        f"   <statusCode>{item['statusCode']}</statusCode>\n  </errors>\n"
        for item in row["errors"]
    )
    identity = f"  <id>{row['id']}</id>\n" if row["id"] else ""
    flags = {"success": str(row["success"]).lower(), "created": str(row["created"]).lower()}
    return errors + identity + _elements(flags, 2)


def query_result(content: bytes, content_type: str) -> Reply:
    """The rows of a query batch: CSV and JSON as they were written, XML made from the JSON records."""
    if content_type.endswith("CSV"):
        return Reply(content, content_type="text/csv")
    if content_type.endswith("JSON"):
        return Reply(content)
    root = ElementTree.Element(
        "queryResult", {"xmlns": NAMESPACE, "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance"}
    )
    for record in json.loads(content):
        _record(ElementTree.SubElement(root, "records", {"xsi:type": "sObject"}), record)
    return Reply(HEAD + ElementTree.tostring(root, encoding="unicode"), content_type=XML)


def _record(element: ElementTree.Element, record: Mapping[str, Any]) -> None:
    ElementTree.SubElement(element, "type").text = str(record["attributes"]["type"])
    for key, value in record.items():
        if key == "attributes":
            continue
        if value is None:
            ElementTree.SubElement(element, key, {"xsi:nil": "true"})
        elif isinstance(value, dict) and "attributes" in value:
            _record(ElementTree.SubElement(element, key, {"xsi:type": "sObject"}), value)
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            ElementTree.SubElement(element, key).text = text


def read_control(call: Call) -> dict[str, Any]:
    """The job info that a client sent, as JSON or XML."""
    if wants_json(call.headers):
        try:
            found = json.loads(call.body)
        except (ValueError, RecursionError) as error:
            raise Bulk1Error(400, "InvalidJob", f"Failed to parse the request: {error}") from error
        if not isinstance(found, dict):
            raise Bulk1Error(400, "InvalidJob", "Failed to parse the request: a job info is needed")
        return found
    try:
        root = ElementTree.fromstring(call.body)
    except ElementTree.ParseError as error:
        raise Bulk1Error(400, "InvalidXML", f"Failed to parse the request: {error}") from error
    return {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root}
