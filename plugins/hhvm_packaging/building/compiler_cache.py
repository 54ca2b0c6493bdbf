"""The compiler cache that a build begins with.

A build container writes its cache, and so whoever can change that build can put any object into it. It is
kept among the files of its build, and read only where that build's packages are trusted as much: see
docs/decisions/0050-a-compiler-cache-is-trusted-like-its-packages.md.
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING

from hhvm_packaging.building import predecessors
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import packaging_refs
from hhvm_packaging.planning.git import GitError
from hhvm_packaging.planning.packaging_files import WORKTREE
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Input

if TYPE_CHECKING:
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.manifests import PackageManifest
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Store
    from hhvm_packaging.workers.job import Artifact

FILE = "ccache.tar"
"""What a build leaves it as, and what the job finds it as."""

log = logging.getLogger(__name__)


def is_on(settings: Settings) -> bool:
    """Whether builds have one."""
    return settings.ccache_size > 0


def choose(
    release: Release, distro: Distro, store: Store, settings: Settings, now: datetime.datetime | None = None
) -> Input | None:
    """The cache of the newest version that users are offered; None if it has none, or none that may be used.

    Logs which one it is, or why it is ignored. A cache is never a reason for a build to fail.
    """
    if not is_on(settings) or distro.not_published:
        return None
    try:
        for manifest in predecessors.find(release, distro, store, settings):
            cache = next((one for one in manifest.artifacts if one.name == FILE), None)
            if cache is None:
                continue
            where = f"{distro.name}: the compiler cache of {manifest.package_version}"
            if fault := _find_fault(manifest, settings, now or datetime.datetime.now(datetime.UTC)):
                log.warning("%s is ignored: %s", where, fault)
                continue
            key = keys.output(manifest.directory, FILE)
            if settings.workers == "ec2":
                key = _share(key, distro, cache, store.scratch)
            log.info("%s is used", where)
            return Input(key=key, name=FILE, sha256=cache.sha256)
    except PackagingError as error:
        log.warning("%s: there is no compiler cache: %s", distro.name, error)
    return None


def _share(key: str, distro: Distro, cache: Artifact, scratch: Bucket) -> str:
    """Copy a cache to where instances may read it, unless it is there, and return its key there.

    An instance may not read what other builds made. This cache belongs to packages that users have.
    """
    shared = keys.compiler_cache(distro.name, cache.sha256)
    if scratch.head(shared) is None:
        made = scratch.head(key)
        if made is None:
            raise PackagingError(f"s3://{scratch.name}/{key} is gone")
        scratch.copy_from(scratch, key, shared, content_type="application/x-tar", checked=made)
    return shared


def _find_fault(manifest: PackageManifest, settings: Settings, now: datetime.datetime) -> str:
    """Why a build's cache is not used; empty if it is."""
    age = now - keys.attempt_of(manifest.directory).began
    if age.days >= settings.ccache_days:
        return f"it is {age.days} days old, and ccache_days is {settings.ccache_days}"
    if manifest.packaging_ref == WORKTREE:
        return ""
    refs = settings.packaging_refs
    try:
        if packaging_refs.is_allowed(settings.packaging_root, manifest.packaging_revision, refs):
            return ""
    except GitError as error:
        return f"cannot find out whether {manifest.packaging_revision} may be used: {error}"
    return f"it was built with {manifest.packaging_revision}, which packaging_refs does not allow"
