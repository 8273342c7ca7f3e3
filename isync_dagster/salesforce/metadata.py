"""Metadata as files: a deploy by the REST resource and a retrieve by SOAP, each waited for until the org is done.

A deploy replaces components by what the archive holds, so that repeating one does no harm.
"""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from isync_dagster.errors import RequestError
from isync_dagster.salesforce.deploy import deploy
from isync_dagster.salesforce.org import Org
from isync_dagster.salesforce.polling import never, poll

NAMESPACE = "http://soap.sforce.com/2006/04/metadata"
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True)
class Deployed:
    """How a deploy ended: it took effect whole or not at all."""

    id: str
    status: str
    success: bool
    failures: Mapping[str, str]
    """Full name of a component -> what is wrong with it."""
    message: str = ""

    def why(self, *names: str) -> str:
        """Why a component was not deployed: its own problem, else what stopped the whole."""
        own = next((self.failures[name] for name in names if name in self.failures), None)
        if own is not None:
            return own
        rest = "; ".join(f"{name}: {problem}" for name, problem in self.failures.items())
        return f"deploy {self.id} {self.status}: {rest or self.message or 'no reason given'}"


def deploy_files(
    org: Org,
    files: Mapping[str, bytes],
    members: Mapping[str, Sequence[str]],
    *,
    test_level: str = "NoTestRun",
    tests: Sequence[str] = (),
    check_only: bool = False,
) -> Deployed:
    """Deploy `files` (path in the archive -> content) that hold `members` (metadata type -> full names)."""
    archive = zipped({**files, "package.xml": package(members, org.api_version)})
    state = deploy(org, archive, check_only=check_only, test_level=test_level, tests=tests, repeatable=True)
    failures = {item.name: item.problem for item in state.failures} | dict(state.failed_tests)
    return Deployed(state.id, state.status, state.success, failures, state.message)


def retrieve(org: Org, members: Mapping[str, Sequence[str]]) -> bytes:
    """The archive (zip) with the files of `members`; what does not exist is not in it."""
    types = "".join(
        f"<types>{''.join(f'<members>{escape(name)}</members>' for name in names)}<name>{kind}</name></types>"
        for kind, names in members.items()
    )
    request = (
        f"<retrieve><retrieveRequest><apiVersion>{org.api_version}</apiVersion><singlePackage>true</singlePackage>"
        f"<unpackaged>{types}<version>{org.api_version}</version></unpackaged></retrieveRequest></retrieve>"
    )
    found_id = _text(_soap(org, request), "id")
    status = (
        f"<checkRetrieveStatus><asyncProcessId>{found_id}</asyncProcessId><includeZip>true</includeZip>"
        "</checkRetrieveStatus>"
    )
    answer = poll(
        lambda: _soap(org, status),
        lambda found: _text(found, "done") == "true",
        tuning=org.tuning,
        cancelled=never,
        what=f"retrieve {found_id}",
        job_id=found_id,
    )
    if _text(answer, "success") != "true":
        raise RequestError(
            f"org '{org.alias}': the retrieve {found_id} ended as {_text(answer, 'status')}: {_text(answer, 'errorMessage')}"
        )
    return base64.b64decode(_text(answer, "zipFile"))


def zipped(files: Mapping[str, bytes]) -> bytes:
    """An archive of the files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def unzipped(archive: bytes) -> dict[str, bytes]:
    """The files of an archive by their path."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/")}


def package(members: Mapping[str, Sequence[str]], version: str) -> bytes:
    """The package.xml that names the members."""
    types = "".join(
        f"<types>{''.join(f'<members>{escape(name)}</members>' for name in sorted(set(names)))}<name>{kind}</name></types>"
        for kind, names in sorted(members.items())
    )
    return f'{HEAD}<Package xmlns="{NAMESPACE}">{types}<version>{version}</version></Package>\n'.encode()


def _soap(org: Org, request: str) -> ElementTree.Element:
    # SOAP takes the session from its own header; a REST call made just before has renewed it where it had expired.
    org.request("GET", "limits")
    token = org.simple.session_id
    body = (
        f'{HEAD}<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/" xmlns="{NAMESPACE}"><e:Header>'
        f"<SessionHeader><sessionId>{escape(token)}</sessionId></SessionHeader></e:Header>"
        f"<e:Body>{request}</e:Body></e:Envelope>"
    )
    answer = org.request(
        "POST",
        f"/services/Soap/m/{org.api_version}",
        body=body.encode(),
        headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": '""', "Accept": "text/xml"},
        repeatable=True,
    )
    try:
        return ElementTree.fromstring(answer.content)
    except ElementTree.ParseError as error:
        raise RequestError(f"org '{org.alias}': the Metadata API's answer is not XML ({error})") from error


def _text(element: ElementTree.Element, name: str) -> str:
    found = next((item for item in element.iter() if item.tag.rpartition("}")[2] == name), None)
    return (found.text or "").strip() if found is not None else ""
