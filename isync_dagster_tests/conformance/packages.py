"""Packages that clients deploy: a custom object with a name, a text and a lookup."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Mapping
from typing import Final

SPACE: Final = "http://soap.sforce.com/2006/04/metadata"


def document(kind: str, content: str) -> str:
    """A metadata file."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{kind} xmlns="{SPACE}">{content}</{kind}>\n'


def field(name: str, content: str) -> str:
    """What stands in a field's file."""
    return f"<fullName>{name}</fullName><label>{name.removesuffix('__c')}</label>{content}"


def object_content(name: str) -> str:
    """What stands in an object's own file."""
    label = name.removesuffix("__c")
    return (
        f"<label>{label}</label><pluralLabel>{label}s</pluralLabel><deploymentStatus>Deployed</deploymentStatus>"
        "<sharingModel>ReadWrite</sharingModel><nameField><label>Name</label><type>Text</type></nameField>"
    )


def fields(name: str, to: str = "Account") -> dict[str, str]:
    """The fields of the object by name: a text and a lookup."""
    lookup = f"<type>Lookup</type><referenceTo>{to}</referenceTo><relationshipName>{name[:-3]}s</relationshipName>"
    return {
        "Note__c": field("Note__c", "<type>Text</type><length>40</length>"),
        f"{to.removesuffix('__c')}__c": field(f"{to.removesuffix('__c')}__c", lookup),
    }


def deployed(name: str, to: str = "Account") -> dict[str, str]:
    """The files of a package in the Metadata API's form."""
    inner = object_content(name) + "".join(f"<fields>{text}</fields>" for text in fields(name, to).values())
    members = f"<types><members>{name}</members><name>CustomObject</name></types><version>62.0</version>"
    return {"package.xml": document("Package", members), f"objects/{name}.object": document("CustomObject", inner)}


def zipped(files: Mapping[str, str]) -> str:
    """An archive in base64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return base64.b64encode(buffer.getvalue()).decode()


def unzipped(text: str) -> dict[str, str]:
    """The files of an archive in base64."""
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(text))) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
