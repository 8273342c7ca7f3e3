"""Metadata API resources: SOAP (deploy, retrieve, their status, lists) and the REST deploy request."""

from __future__ import annotations

import base64
import binascii
import io
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email import message_from_bytes
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape

from isync_dagster.local_org.ids import id_range
from isync_dagster.local_org.metadata_api import components
from isync_dagster.local_org.metadata_api.deploy import Deployed, deploy
from isync_dagster.local_org.metadata_api.written import SPACE, document, duplicate_rule_xml, elements, object_xml
from isync_dagster.local_org.web import ApiError, Call, Reply, Route, not_found, route

if TYPE_CHECKING:
    from isync_dagster.local_org.local_org import LocalOrg

# Metadata type -> folder, suffix.
FOLDERS: Final = {
    "CustomObject": ("objects", "object"),
    "ApexTrigger": ("triggers", "trigger"),
    "DuplicateRule": ("duplicateRules", "duplicateRule"),
}
_DESCRIBED: Final = (
    ("ApexTrigger", "triggers", "trigger", True, ()),
    ("CustomObject", "objects", "object", False, ("CustomField", "RecordType", "ValidationRule")),
    ("CustomPermission", "customPermissions", "customPermission", False, ()),
    ("DuplicateRule", "duplicateRules", "duplicateRule", False, ()),
    ("Flow", "flows", "flow", False, ()),
    ("PermissionSet", "permissionsets", "permissionset", False, ()),
)


class MetadataJobs:
    """The deploys and retrieves of a running org by their id; they end with the process."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}

    def keep(self, org: LocalOrg, prefix: str, result: dict[str, Any]) -> str:
        """Keep a result; gives its id."""
        new_id = str(id_range(prefix, org.storage.pod, len(self.results) + 1, 1)[0])
        self.results[new_id] = result
        return new_id


def _jobs(call: Call) -> MetadataJobs:
    jobs = call.service.metadata_jobs
    assert isinstance(jobs, MetadataJobs)
    return jobs


def _run_deploy(call: Call, archive: bytes, *, check_only: bool) -> str:
    assert call.session is not None
    done: Deployed = deploy(call.org, archive, check_only=check_only)
    if not done.failures and not check_only:
        call.service.modified = time.time()
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    result = done.as_json("", when, call.session.user_id)
    result["id"] = _jobs(call).keep(call.org, "0Af", result)
    return str(result["id"])


# REST


def rest_deploy(call: Call) -> Reply:
    """POST metadata/deployRequest: a multipart body with the parts `json` and `file`."""
    head = f"Content-Type: {call.headers.get('content-type', '')}\r\n\r\n".encode()
    message = message_from_bytes(head + call.body)
    parts: dict[str, bytes] = {}
    for part in message.get_payload() if message.is_multipart() else ():
        content = part.get_payload(decode=True)  # type: ignore[union-attr]
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        if isinstance(content, bytes):
            parts[str(name)] = content
    archive = parts.get("file")
    if archive is None:
        raise ApiError(400, "INVALID_MULTIPART_REQUEST", "The multipart body needs the parts json and file")
    options = call
    options.body = parts.get("json", b"{}")
    given = options.json_object().get("deployOptions") or {}
    check_only = given.get("checkOnly") is True if isinstance(given, dict) else False
    deploy_id = _run_deploy(call, archive, check_only=check_only)
    pending = {"checkOnly": check_only, "done": False, "id": deploy_id, "status": "Pending", "success": False}
    return Reply({"id": deploy_id, "deployOptions": given, "deployResult": pending}, status=201)


def rest_deploy_status(call: Call) -> Reply:
    """GET metadata/deployRequest/{id}."""
    found = _jobs(call).results.get(call.path["id"])
    if found is None:
        raise not_found()
    details = call.query.get("includeDetails", "").lower() == "true"
    result = found if details else {key: value for key, value in found.items() if key != "details"}
    return Reply({"id": found["id"], "deployResult": result})


# SOAP


def soap(call: Call) -> Reply:
    """POST /services/Soap/m/{v}: the session is named in the SOAP header, or as REST calls do."""
    try:
        root = ElementTree.fromstring(call.body)
    except ElementTree.ParseError:
        return _fault("sf:INVALID_OPERATION", "The request is no well-formed SOAP message.")
    if b"<!DOCTYPE" in call.body:
        return _fault("sf:INVALID_OPERATION", "The request declares a document type.")
    token = next((item.text or "" for item in root.iter() if _local(item) == "sessionId"), "")
    given = call.headers.get("authorization", "").partition(" ")[2]
    session = call.service.sessions.find((token or given).strip())
    if session is None:
        return _fault("sf:INVALID_SESSION_ID", "INVALID_SESSION_ID: Invalid Session ID found in SessionHeader")
    call.session = session
    call.service.count_call()
    body = next((item for item in root if _local(item) == "Body"), None)
    request = next(iter(body), None) if body is not None else None
    handlers = {
        "deploy": _soap_deploy,
        "checkDeployStatus": _soap_deploy_status,
        "retrieve": _soap_retrieve,
        "checkRetrieveStatus": _soap_retrieve_status,
        "describeMetadata": _soap_describe,
        "listMetadata": _soap_list,
        "readMetadata": _soap_read,
        "createMetadata": _soap_save,
        "updateMetadata": _soap_save,
        "upsertMetadata": _soap_save,
        "deleteMetadata": _soap_delete,
    }
    if request is None or _local(request) not in handlers:
        name = _local(request) if request is not None else "nothing"
        return _fault("sf:INVALID_OPERATION", f"The local org's Metadata API does not know {name}")
    try:
        content = handlers[_local(request)](call, request)
    except ApiError as error:
        return _fault(f"sf:{error.code}", f"{error.code}: {error.message}")
    name = f"{_local(request)}Response"
    return _envelope(f'<{name} xmlns="{SPACE}">{content}</{name}>')


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element, name: str) -> str:
    return next((item.text or "" for item in element.iter() if _local(item).lower() == name.lower()), "")


def _envelope(content: str, status: int = 200) -> Reply:
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>{content}</soapenv:Body>'
        "</soapenv:Envelope>"
    )
    return Reply(text, status=status, content_type="text/xml; charset=utf-8")


def _fault(code: str, message: str) -> Reply:
    return _envelope(
        f'<soapenv:Fault xmlns:sf="{SPACE}"><faultcode>{code}</faultcode>'
        f"<faultstring>{escape(message)}</faultstring></soapenv:Fault>",
        status=500,
    )


def _soap_deploy(call: Call, request: ElementTree.Element) -> str:
    try:
        archive = base64.b64decode(_text(request, "ZipFile"), validate=False)
    except binascii.Error as error:
        raise ApiError(500, "INVALID_FIELD", "ZipFile is not base64") from error
    deploy_id = _run_deploy(call, archive, check_only=_text(request, "checkOnly").lower() == "true")
    return elements("result", {"done": False, "id": deploy_id, "state": "Queued"})


def _soap_deploy_status(call: Call, request: ElementTree.Element) -> str:
    return elements("result", _result(call, request))


def _result(call: Call, request: ElementTree.Element) -> dict[str, Any]:
    found = _jobs(call).results.get(_text(request, "asyncProcessId"))
    if found is None:
        raise ApiError(500, "INVALID_ID_FIELD", "invalid async process id")
    return found


def _soap_retrieve(call: Call, request: ElementTree.Element) -> str:
    wanted: dict[str, list[str]] = {}
    for part in request.iter():
        if _local(part) == "types":
            members = [item.text or "" for item in part if _local(item) == "members"]
            wanted.setdefault(_text(part, "name"), []).extend(members)
    # Without singlePackage each package lies in a folder of its own, what belongs to none in `unpackaged`.
    folder = "" if _text(request, "singlePackage").lower() == "true" else "unpackaged/"
    files = dict(_files(call.org, wanted))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(folder + name, text)
        types = "".join(
            elements("types", {"members": members, "name": name}) for name, members in sorted(wanted.items())
        )
        archive.writestr(f"{folder}package.xml", document("Package", types + elements("version", call.path["v"])))
    properties = [
        {
            "createdById": "",
            "fileName": folder + name,
            "fullName": name.rpartition("/")[2].rpartition(".")[0],
            "type": kind,
        }
        for name in files
        for kind in (next((key for key, (place, _) in FOLDERS.items() if name.startswith(place)), ""),)
    ]
    result = {
        "done": True,
        "fileProperties": properties,
        "id": "",
        "status": "Succeeded",
        "success": True,
        "zipFile": base64.b64encode(buffer.getvalue()).decode(),
    }
    result["id"] = _jobs(call).keep(call.org, "09S", result)
    return elements("result", {"done": False, "id": result["id"], "state": "Queued"})


def _soap_retrieve_status(call: Call, request: ElementTree.Element) -> str:
    found = _result(call, request)
    if _text(request, "includeZip").lower() == "false":
        found = {key: value for key, value in found.items() if key != "zipFile"}
    return elements("result", found)


def _files(org: LocalOrg, wanted: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """The files that the members of a package name; parts of an object bring the object's file."""

    def named(kind: str, name: str) -> bool:
        return any(fnmatchcase(name, member) for member in wanted.get(kind, ()))

    below = {
        member.partition(".")[0]
        for kind in ("CustomField", "RecordType", "ValidationRule")
        for member in wanted.get(kind, ())
    }
    for item in org.schema:
        # A star stands for custom objects only; a standard one is asked for by its name.
        starred = named("CustomObject", item.name) if item.custom else item.name in wanted.get("CustomObject", ())
        if starred or item.name in below:
            yield f"objects/{item.name}.object", object_xml(org.schema, item)
    for trigger in org.schema.automation.triggers:
        if named("ApexTrigger", trigger.name):
            yield f"triggers/{trigger.name}.trigger", trigger.body
            status = elements("apiVersion", "62.0") + elements("status", "Active" if trigger.active else "Inactive")
            yield f"triggers/{trigger.name}.trigger-meta.xml", document("ApexTrigger", status)
    for rule in org.schema.automation.duplicate_rules:
        if named("DuplicateRule", f"{rule.sobject}.{rule.name}"):
            yield f"duplicateRules/{rule.sobject}.{rule.name}.duplicateRule", duplicate_rule_xml(rule)


def _soap_read(call: Call, request: ElementTree.Element) -> str:
    names = [(item.text or "").strip() for item in request if _local(item) == "fullNames"]
    return components.read(call.org, _text(request, "type"), names)


def _soap_save(call: Call, request: ElementTree.Element) -> str:
    given = [item for item in request if _local(item) == "metadata"]
    call.service.modified = time.time()
    return elements("result", components.save(call.org, _local(request), given))


def _soap_delete(call: Call, request: ElementTree.Element) -> str:
    names = [(item.text or "").strip() for item in request if _local(item) == "fullNames"]
    call.service.modified = time.time()
    return elements("result", components.delete(call.org, _text(request, "type"), names))


def _soap_describe(call: Call, request: ElementTree.Element) -> str:
    objects = [
        {"childXmlNames": list(children), "directoryName": folder, "inFolder": False, "metaFile": meta,
         "suffix": suffix, "xmlName": name}
        for name, folder, suffix, meta, children in _DESCRIBED
    ]  # fmt: skip
    return elements(
        "result",
        {"metadataObjects": objects, "organizationNamespace": "", "partialSaveAllowed": False, "testRequired": False},
    )


def _soap_list(call: Call, request: ElementTree.Element) -> str:
    answer = ""
    for query in request:
        if _local(query) != "queries":
            continue
        kind = _text(query, "type")
        for name in sorted(_listed(call.org, kind)):
            folder = next((entry[1] for entry in _DESCRIBED if entry[0] == kind), "objects")
            suffix = next((entry[2] for entry in _DESCRIBED if entry[0] == kind), "object")
            file = f"{folder}/{name if folder != 'objects' else name.partition('.')[0]}.{suffix}"
            when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            user = call.org.settings.user_id
            answer += elements(
                "result",
                {
                    "createdById": user, "createdByName": "Admin", "createdDate": when, "fileName": file,
                    "fullName": name, "id": "", "lastModifiedById": user, "lastModifiedByName": "Admin",
                    "lastModifiedDate": when, "manageableState": "unmanaged", "type": kind,
                },
            )  # fmt: skip
    return answer


def _listed(org: LocalOrg, kind: str) -> Iterable[str]:
    schema, automation = org.schema, org.schema.automation
    if kind == "PermissionSet":
        return [str(row[0]) for row in org.storage.rows('SELECT "Name" FROM "PermissionSet" WHERE NOT "IsDeleted"')]
    return {
        "CustomObject": [item.name for item in schema],
        "CustomField": [f"{item.name}.{one.name}" for item in schema for one in item.fields if one.custom],
        "RecordType": [
            f"{item.name}.{info.developer_name}"
            for item in schema
            for info in item.record_type_infos
            if not info.master
        ],
        "ValidationRule": [f"{rule.sobject}.{rule.name}" for rule in automation.validation_rules],
        "DuplicateRule": [f"{rule.sobject}.{rule.name}" for rule in automation.duplicate_rules],
        "ApexTrigger": [trigger.name for trigger in automation.triggers],
        "Flow": [flow.name for flow in automation.flows if flow.kind == "flow"],
        "WorkflowRule": [f"{flow.sobject}.{flow.name}" for flow in automation.flows if flow.kind == "workflow"],
        "CustomPermission": list(automation.custom_permissions),
    }.get(kind, [])


def routes() -> list[Route]:
    """The resources of this module."""
    return [
        route(r"/services/Soap/m/(?P<v>\d+\.\d)(?:/\w+)*", open=True, POST=soap),
        route("~/metadata/deployRequest", POST=rest_deploy),
        route(r"~/metadata/deployRequest/(?P<id>\w+)", GET=rest_deploy_status),
    ]
