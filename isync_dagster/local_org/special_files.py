"""Files: a new version makes its document, is the latest of it, and is shown where it was published."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import polars as pl

from isync_dagster.local_org.rows import Rows
from isync_dagster.local_org.storage import insert_frame, registered, select
from isync_dagster.local_org.values import error

if TYPE_CHECKING:
    from isync_dagster.local_org.dml import Writer

# File types by extension where the platform does not just write the extension in capitals.
TYPES: Final = {
    "txt": "TEXT", "doc": "WORD", "docx": "WORD_X", "xls": "EXCEL", "xlsx": "EXCEL_X", "ppt": "POWER_POINT",
    "pptx": "POWER_POINT_X", "jpeg": "JPG", "htm": "HTML", "": "UNKNOWN",
}  # fmt: skip


def refuse_versions(rows: Rows) -> None:
    """A version needs its content and the name of the file it came from."""
    if not rows.good.height:
        return
    have = rows.good.columns
    data = pl.col("VersionData").is_null() if "VersionData" in have else pl.lit(True)
    path = pl.col("PathOnClient").is_null() if "PathOnClient" in have else pl.lit(True)
    url = pl.col("ContentUrl").is_not_null() if "ContentUrl" in have else pl.lit(False)
    both = data & path
    rows.refuse(
        [
            (
                ~url & both,
                error("REQUIRED_FIELD_MISSING", "Required fields are missing: [VersionData, PathOnClient]",
                      "VersionData, PathOnClient"),
            ),
            (~url & data, error("REQUIRED_FIELD_MISSING", "Required fields are missing: [VersionData]", "VersionData")),
            (~url & path, error("REQUIRED_FIELD_MISSING", "Required fields are missing: [PathOnClient]", "PathOnClient")),
        ]
    )  # fmt: skip


def fill_versions(writer: Writer, rows: Rows) -> None:
    """What the server works out of a version's content; new documents for versions that name none."""
    frame = rows.good
    for name in ("Title", "PathOnClient", "ContentDocumentId", "FirstPublishLocationId"):
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    if "VersionData" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Binary).alias("VersionData"))
    file = pl.col("PathOnClient").str.split("/").list.last()
    dotted = file.str.extract(r"\.([^.]+)$").fill_null("")
    extension = dotted.str.to_lowercase()
    frame = frame.with_columns(
        pl.coalesce("Title", file.str.replace(r"\.[^.]+$", "")).alias("Title"),
        pl.when(dotted != "").then(dotted).alias("FileExtension"),
        extension.replace_strict(TYPES, default=extension.str.to_uppercase()).alias("FileType"),
        pl.col("VersionData").bin.size().cast(pl.Int64).alias("ContentSize"),
        # One pass over whole files, whose number a JSON or multipart call bounds to 200.
        pl.col("VersionData")
        .map_elements(lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(), return_dtype=pl.String)
        .alias("Checksum"),
        pl.lit(True).alias("IsLatest"),
        pl.lit(writer.actor.now, dtype=pl.Datetime("us")).alias("ContentModifiedDate"),
        pl.lit("1").alias("VersionNumber"),
    )
    fresh = pl.col("ContentDocumentId").is_null()
    new = frame.filter(fresh)
    document = writer.schema.get("ContentDocument")
    if new.height and document is not None:
        made = new.select("_row", "Title", "FileType", "FileExtension", "ContentSize", "ContentModifiedDate")
        documents = writer.fill(document, made)
        insert_frame(writer.cursor, document, documents)
        frame = (
            frame.join(
                documents.select("_row", pl.col("Id").alias("_made")), on="_row", how="left", maintain_order="left"
            )
            .with_columns(pl.coalesce("ContentDocumentId", "_made").alias("ContentDocumentId"))
            .drop("_made")
        )
    rows.good = frame


def publish_versions(writer: Writer, frame: pl.DataFrame) -> None:
    """The new versions are the latest of their documents; a first one is linked to owner and place."""
    if "ContentDocumentId" not in frame.columns:
        return
    with registered(writer.cursor, _new=frame.select("Id", "ContentDocumentId")):
        writer.cursor.execute(
            'UPDATE "ContentVersion" AS v SET "IsLatest" = false FROM _new n WHERE '
            'v."ContentDocumentId" = n."ContentDocumentId" AND v."Id" < n."Id"'
        )
        writer.cursor.execute(
            'UPDATE "ContentVersion" AS v SET "VersionNumber" = CAST(c.place AS VARCHAR) FROM (SELECT "Id", '
            'row_number() OVER (PARTITION BY "ContentDocumentId" ORDER BY "Id") AS place FROM "ContentVersion" WHERE '
            '"ContentDocumentId" IN (SELECT "ContentDocumentId" FROM _new)) c WHERE c."Id" = v."Id"'
        )
        writer.cursor.execute(
            'UPDATE "ContentDocument" AS d SET "LatestPublishedVersionId" = v."Id", "Title" = v."Title", '
            '"FileType" = v."FileType", "FileExtension" = v."FileExtension", "ContentSize" = v."ContentSize" '
            'FROM "ContentVersion" v JOIN _new n ON n."Id" = v."Id" WHERE d."Id" = v."ContentDocumentId" AND v."IsLatest"'
        )
    link = writer.schema.get("ContentDocumentLink")
    if link is None:
        return
    first = frame.filter(pl.col("VersionNumber") == "1") if "VersionNumber" in frame.columns else frame
    owner = pl.col("OwnerId") if "OwnerId" in first.columns else pl.lit(writer.actor.user_id)
    links = pl.concat(
        [
            first.select("ContentDocumentId", owner.alias("LinkedEntityId"), pl.lit("I").alias("ShareType")),
            first.select(
                "ContentDocumentId",
                pl.col("FirstPublishLocationId").alias("LinkedEntityId"),
                pl.lit("V").alias("ShareType"),
            ),
        ]
    )
    links = links.drop_nulls("LinkedEntityId").unique(["ContentDocumentId", "LinkedEntityId"], maintain_order=True)
    with registered(writer.cursor, _links=links):
        missing = select(
            writer.cursor,
            'SELECT l.* FROM _links l ANTI JOIN "ContentDocumentLink" k ON k."ContentDocumentId" = '
            'l."ContentDocumentId" AND k."LinkedEntityId" = l."LinkedEntityId"',
        )
    if missing.height:
        insert_frame(writer.cursor, link, writer.fill(link, missing))
