"""Senders' manifests on record: what a folder should hold, held against what has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select

from db.store import Writer
from db.tables import Evidence, File, Manifest, ManifestEntry


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What the manifests that name an input's files expect, and how far it has come true."""

    expected: int
    missing: int  #: files that are not here, or were refused
    differing: int  #: files that are here with another SHA-256


def add(writer: Writer, file_id: str, folder_key: str, count: int, entries: Mapping[str, str | None]) -> None:
    """Records a manifest. entries: path key -> SHA-256 or None; empty when it gives a count alone."""
    writer.connection.execute(
        insert(Manifest).values(
            id=file_id, folder_key=folder_key, expected=len(entries) or count, created_at=writer.now
        )
    )
    rows = [{"manifest_id": file_id, "path_key": k, "sha256": s} for k, s in entries.items()]
    if rows:
        writer.connection.execute(insert(ManifestEntry), rows)
    writer.audit(f"file:{file_id}", "file:manifest", expected=len(entries) or count)


def promise(connection: Connection, *members: Any) -> Promise | None:
    """What is promised of evidence such as this; None when no manifest speaks of it.

    Of several manifests of one folder the newest counts.
    """
    files = select(File.path_key, File.folder_key).join(Evidence, Evidence.id == File.evidence_id)
    mine = files.where(*members).subquery()
    named = select(ManifestEntry.manifest_id).join(mine, mine.c.path_key == ManifestEntry.path_key).distinct()
    counted = (
        select(Manifest.id)
        .join(mine, mine.c.folder_key == Manifest.folder_key)
        .where(~exists(select(ManifestEntry.path_key).where(ManifestEntry.manifest_id == Manifest.id)))
        .distinct()
    )
    ids = {*connection.scalars(named), *connection.scalars(counted)}
    if not ids:
        return None
    newest: dict[str, str] = {}
    query = select(Manifest.folder_key, Manifest.id).where(Manifest.id.in_(ids))
    for folder, manifest_id in connection.execute(query.order_by(Manifest.created_at, Manifest.id)):
        newest[folder] = manifest_id
    parts = [_one(connection, i) for i in newest.values()]
    return Promise(
        expected=sum(p.expected for p in parts),
        missing=sum(p.missing for p in parts),
        differing=sum(p.differing for p in parts),
    )


def _one(connection: Connection, manifest_id: str) -> Promise:
    row = connection.execute(
        select(Manifest.expected, Manifest.folder_key).where(Manifest.id == manifest_id)
    ).one()
    entries = (
        select(
            ManifestEntry.path_key, ManifestEntry.sha256, func.count(File.id).label("here"),
            func.count(File.id).filter(File.digest == ManifestEntry.sha256).label("same"),
        )
        .outerjoin(File, (File.path_key == ManifestEntry.path_key) & File.evidence_id.is_not(None))
        .where(ManifestEntry.manifest_id == manifest_id)
        .group_by(ManifestEntry.path_key, ManifestEntry.sha256)
    )  # fmt: skip
    found = connection.execute(entries).all()
    if found:
        missing = sum(e.here == 0 for e in found)
        differing = sum(bool(e.here and e.sha256 and not e.same) for e in found)
        return Promise(expected=row.expected, missing=missing, differing=differing)
    here = connection.scalar(
        select(func.count(func.distinct(File.evidence_id))).where(File.folder_key == row.folder_key)
    )
    return Promise(expected=row.expected, missing=max(0, row.expected - int(here or 0)), differing=0)
