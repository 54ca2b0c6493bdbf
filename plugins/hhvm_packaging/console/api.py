"""The API: what is built and published, as JSON, and badges."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel

from hhvm_packaging.console import pages
from hhvm_packaging.console.deployment import Deployed, Deployment
from hhvm_packaging.console.rendering import render_badge
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.status_index import VersionEntry
from hhvm_packaging.reporting import status as statuses
from hhvm_packaging.reporting.status import Row, State
from hhvm_packaging.store import keys
from hhvm_packaging.store.buckets import Bucket

router = APIRouter(prefix="/api", tags=["releases"])

Version = Annotated[
    str,
    Path(
        max_length=40, description="A version, such as 4.172.1, 26.09.29 or 2026.11.22", examples=["4.172.1"]
    ),
]


class Fault(BaseModel):
    """Why there is no answer."""

    detail: str


class BuildStatus(BaseModel):
    """What the old service ``hhvm.com/api/build-status/VERSION`` answered, with the same fields."""

    success: bool
    """Whether nothing is missing."""
    version: str
    succeeded: list[str]
    """What is public: ``source``, ``source_gpg``, which is its signature, and names of distributions."""
    failed: dict[str, str]
    """For everything else that was expected: the URL at which it would be."""


class Package(BaseModel):
    """The packages of a version for one distribution."""

    distro: str
    state: State
    package_version: str
    """The Debian version; empty if nothing is built."""
    size: int
    """Bytes of all files; 0 if it is not known."""
    built: datetime.datetime | None
    suites: list[str]
    """The suites that offer it, such as ``debian bookworm``."""
    failure: str
    """Why the last attempt failed; empty if it did not."""


class Source(BaseModel):
    """The source of a version."""

    commit: str
    sha256: str
    size: int
    signed_by: str
    """The fingerprint of the key; empty if it is not signed yet."""


class File(BaseModel):
    """An object in the store."""

    place: str
    """Such as ``s3://hhvm-scratch/hhvm-4.172.1.tar.gz``."""
    there: bool


class SourceFiles(BaseModel):
    """Where the source of a version is, before and after it is public."""

    version: str
    tarball: File
    signature: File
    public_tarball: File
    public_signature: File
    commit: str
    """That the tarball was made from; empty if none was made."""
    signed_by: str
    """The fingerprint of the key; empty if it is not signed yet."""


class VersionStatus(BaseModel):
    """One version."""

    version: str
    nightly: bool
    held_until: datetime.datetime | None
    needs_approval: bool
    source: Source | None
    packages: list[Package]


class Versions(BaseModel):
    """Some versions, the newest first."""

    total: int
    """How many there are of that kind."""
    versions: list[VersionStatus]


NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": Fault, "description": "It is not a version, or nothing is known of it"}
}


def _find_row(version: str, deployment: Deployment) -> Row:
    """What is known of a version. Raises 404 if it is none."""
    return deployment.status().row(pages.find_release(version, deployment))


@router.get("/build-status/{version}", responses=NOT_FOUND)
def get_build_status(version: Version, deployment: Deployed) -> BuildStatus:
    """What of a version is public, as the old service told it.

    A version that nobody built has everything under ``failed``.
    """
    found = statuses.find_build_status(_find_row(version, deployment), deployment.store, deployment.settings)
    return BuildStatus(
        success=found.success, version=found.version, succeeded=list(found.succeeded), failed=found.failed
    )


@router.get("/versions/{version}/source", responses=NOT_FOUND)
def get_source(version: Version, deployment: Deployed) -> SourceFiles:
    """Whether the source tarball of a version is where it is expected, with its signature."""
    release = pages.find_release(version, deployment)
    scratch, downloads = deployment.store.scratch, deployment.store.downloads

    def look(bucket: Bucket, key: str) -> File:
        return File(place=f"s3://{bucket.name}/{key}", there=bucket.head(key) is not None)

    manifest = SourceManifest.read(deployment.store, release)
    return SourceFiles(
        version=release.version,
        tarball=look(scratch, keys.tarball(release)),
        signature=look(scratch, keys.tarball_signature(release)),
        public_tarball=look(downloads, keys.public_tarball(release)),
        public_signature=look(downloads, keys.public_signature(release)),
        commit=manifest.commit if manifest else "",
        signed_by=(manifest.signed_by or "") if manifest else "",
    )


@router.get("/versions")
def list_versions(
    deployment: Deployed,
    nightly: bool = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Versions:
    """The releases or the nightlies, the newest first."""
    known = deployment.status()
    releases = [release for release in known.versions if release.nightly == nightly]
    chosen = releases[offset : offset + limit]
    return Versions(total=len(releases), versions=[_describe(known.row(release)) for release in chosen])


@router.get("/versions/{version}", responses=NOT_FOUND)
def get_version(version: Version, deployment: Deployed) -> VersionStatus:
    """One version."""
    row = _find_row(version, deployment)
    if row.entry == VersionEntry() and not any(cell.public for cell in row.cells):
        raise HTTPException(404, f"Nothing is known of HHVM {row.release.version}")
    return _describe(row)


@router.get(
    "/badges/{version}.svg",
    response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}}, **NOT_FOUND},
)
def get_badge(
    version: Version, deployment: Deployed, distro: Annotated[str | None, Query(max_length=100)] = None
) -> Response:
    """A picture with the state of a version, or of one distribution of it."""
    row = _find_row(version, deployment)
    cells = [cell for cell in row.cells if distro is None or cell.distro == distro]
    if not cells:
        raise HTTPException(404, f"HHVM {row.release.version} has no {distro}")
    states = {cell.state for cell in cells}
    public = sum(cell.state is State.PUBLISHED for cell in cells)
    text = next(iter(states)).value if len(states) == 1 else f"{public} of {len(cells)} published"
    worst = next((state for state in _WORST_FIRST if state in states), State.PUBLISHED)
    label = f"HHVM {row.release.version}" + (f" {distro}" if distro else "")
    return Response(render_badge(label, text, worst), media_type="image/svg+xml")


_WORST_FIRST = (
    State.FAILED,
    State.WITHDRAWN,
    State.HELD,
    State.BUILDING,
    State.NOT_BUILT,
    State.BUILT,
    State.PUBLISHED,
)


def _describe(row: Row) -> VersionStatus:
    source = row.entry.source
    return VersionStatus(
        version=row.release.version,
        nightly=row.release.nightly,
        held_until=row.until,
        needs_approval=row.needs_approval,
        source=Source(
            commit=source.commit, sha256=source.sha256, size=source.size, signed_by=source.signed_by
        )
        if source
        else None,
        packages=[
            Package(
                distro=cell.distro,
                state=cell.state,
                package_version=cell.version,
                size=cell.entry.size if cell.entry else 0,
                built=cell.entry.at if cell.entry else None,
                suites=list(cell.suites),
                failure=cell.failure.reason if cell.failure else "",
            )
            for cell in row.cells
        ],
    )
