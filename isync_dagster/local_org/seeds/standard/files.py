"""Files: documents, their versions, and the links that show them at a record."""

from __future__ import annotations

from typing import Final

from isync_dagster.local_org.seeds.notation import sobject

LINKED: Final = (
    "Account/Asset/Campaign/Case/Contact/Contract/EmailMessage/Event/Lead/Opportunity/Order/Product2/Task/User"
)

DOCUMENT = sobject(
    "ContentDocument",
    """
    Title string(255) uN; Description textarea(1000) un; FileType string(20) n; FileExtension string(40) n
    ContentSize int n; LatestPublishedVersionId reference n > ContentVersion as LatestPublishedVersion
    PublishStatus picklist(40) d {P*|U|R}; IsArchived boolean d; SharingOption picklist(40) ud {A*|R}
    ParentId reference n; ContentModifiedDate datetime n
    """,
    prefix="069",
)

VERSION = sobject(
    "ContentVersion",
    """
    ContentDocumentId reference cn > ContentDocument as ContentDocument < ContentVersions cascade
    Title string(255) cunN; Description textarea(1000) cun; PathOnClient string(500) cn; VersionData base64 cun
    FirstPublishLocationId reference cnP > Account/Case/Contact/Lead/Opportunity/User as FirstPublishLocation
    IsLatest boolean d; VersionNumber string(20) n; ReasonForChange string(1000) cun; FileType string(20) n
    FileExtension string(40) n; ContentSize int n; Checksum string(50) n; ContentUrl url(1333) cun
    ContentLocation picklist(40) cd {S*|E|L}; Origin picklist(40) cd {H|C*}; PublishStatus picklist(40) d {P*|U|R}
    SharingOption picklist(40) cud {A*|R}; TagCsv textarea(2000) cun; ContentModifiedDate datetime n
    ExternalDocumentInfo1 string(1000) cun; ExternalDocumentInfo2 string(1000) cun; IsMajorVersion boolean cd
    """,
    prefix="068",
)

LINK = sobject(
    "ContentDocumentLink",
    f"""
    ContentDocumentId reference c > ContentDocument as ContentDocument < ContentDocumentLinks cascade
    LinkedEntityId reference cP > {LINKED} as LinkedEntity < ContentDocumentLinks cascade
    ShareType picklist(40) cud {{V*|C|I}}; Visibility picklist(40) cud {{AllUsers*|InternalUsers|SharedUsers}}
    """,
    prefix="06A",
    owner="none",
)

OBJECTS = (DOCUMENT, VERSION, LINK)
