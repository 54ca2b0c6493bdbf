"""The spelling of a release. One release has one, that of its tag: 26.9.29 means the tag HHVM-26.09.29.

A version may be typed in each spelling that its form allows. Before anything is looked up or named by it, it
gets the one spelling: that in which the store knows the release, else that of its tag. So there is never a
second tarball, manifest or package version of one release.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.planning import source_tarball
from hhvm_packaging.planning.request import UNDO, Refused
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Store

log = logging.getLogger(__name__)


def settle(request: Request, store: Store, settings: Settings, *, ask_tags: bool = False) -> Request:
    """The request, with the one spelling of its release.

    ``ask_tags``: of a release that the store does not know, the tags of the staging repository are asked. If
    they do not have it either, the spelling stays as it is; building it fails by name then. Raises Refused if
    the store has a release in two spellings; SourceError if the staging repository cannot be asked.
    """
    release = request.release
    if len(release.spellings) == 1:
        return request
    known = find_known(release, store, settings)
    if len(known) > 1 and not (request.action == UNDO and release in known):
        raise Refused(
            f"version: s3://{store.scratch.name}/ and s3://{store.downloads.name}/ have one release as "
            f"{' and as '.join(spelled.version for spelled in known)}. Delete there all but one of them."
        )
    if not known and ask_tags:
        known = source_tarball.find_tagged(release, source_tarball.repository(release, settings))
    spelled = known[0] if known and release not in known else release
    if spelled != release:
        log.info("HHVM %s is spelled %s, as its tag is", release.version, spelled.version)
    return request.model_copy(update={"version": spelled.version})


def find_known(release: Release, store: Store, settings: Settings) -> list[Release]:
    """The release in each spelling in which the store has a plan, source or package of it: one, or none."""

    def has(bucket: Bucket, key: str) -> bool:
        return bucket.head(key) is not None

    def has_package(spelled: Release, repository: str) -> bool:
        return any(store.downloads.keys(keys.any_packages(spelled, repository)))

    looks = [
        (spelled, look)
        for spelled in release.spellings
        for look in (
            partial(has, store.scratch, keys.plan(spelled)),
            partial(has, store.scratch, keys.source(spelled)),
            partial(has, store.downloads, keys.public_tarball(spelled)),
            *(partial(has_package, spelled, repository) for repository in keys.REPOSITORIES),
        )
    ]
    found = run_all((look for _, look in looks), at_once=settings.requests_at_once)
    known = {spelled for (spelled, _), there in zip(looks, found, strict=True) if there}
    return [spelled for spelled in release.spellings if spelled in known]
