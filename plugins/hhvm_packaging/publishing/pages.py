"""The pages for people in downloads: those of the files that a publish may have changed, or all of them."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt import index
from hhvm_packaging.apt.release_file import File
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import target_suites
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.publishing import front_page, listings
from hhvm_packaging.publishing.candidates import Candidate
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all
from hhvm_packaging.store.keys import PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.publishing.keyring import Added
    from hhvm_packaging.publishing.listings import Updated
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Content, Store

log = logging.getLogger(__name__)


def update_pages(plan: PublishPlan, store: Store, settings: Settings) -> Updated:
    """Update the listings of what a publish of the plan may have changed, the front page and the feed.

    Raises buckets.Conflict.
    """
    changed = list_changed(plan, store, settings)
    updated = listings.update(store.downloads, changed, at_once=settings.requests_at_once)
    return updated.and_written(front_page.write(store, settings))


def update_keyring_pages(added: Iterable[Added], store: Store, settings: Settings) -> Updated:
    """The same after the package with the signing keys was added to suites."""
    changed: dict[str, Content | None] = {}
    for each in added:
        changed |= _list_of_suite(each.suite)
        changed[each.pool_key] = each.artifact
    updated = listings.update(store.downloads, changed, at_once=settings.requests_at_once)
    return updated.and_written(front_page.write(store, settings))


def rebuild_pages(store: Store, settings: Settings) -> Updated:
    """Make all listings anew, the front page and the feed."""
    digests = read_digests(store, settings)
    updated = listings.rebuild(store.downloads, digests, at_once=settings.requests_at_once)
    return updated.and_written(front_page.write(store, settings))


def list_changed(plan: PublishPlan, store: Store, settings: Settings) -> dict[str, Content | None]:
    """The keys of all files that a publish of the plan may have written, or not, if it failed.

    With each, its size and digest where an index or a manifest has them; else None. Nothing is listed for it.
    """
    looks = (partial(_list_of_distro, plan, distro, store, settings) for distro in plan.distros)
    found: dict[str, Content | None] = {PUBLIC_KEY: None}
    for files in run_all(looks, at_once=settings.requests_at_once):
        found |= files
    source = SourceManifest.read(store, plan.release)
    found[keys.public_tarball(plan.release)] = source.tarball if source else None
    found[keys.public_signature(plan.release)] = None
    return found


def _list_of_distro(
    plan: PublishPlan, distro: Distro, store: Store, settings: Settings
) -> dict[str, Content | None]:
    found: dict[str, Content | None] = {}
    for name in target_suites.choose_suites(plan.release, distro, settings):
        suite = target_suites.open_suite(store, distro, name, settings)
        found |= _list_of_suite(suite)
    manifest = PackageManifest.read(store, plan.release, distro.name)
    pool = keys.pool(plan.release)
    for artifact in (*manifest.packages, *manifest.sources) if manifest else ():
        found[keys.in_repository(distro.repository, pool + artifact.name)] = artifact
    for record in manifest.records if manifest else ():
        key = keys.in_repository(distro.repository, pool + record.name)
        if store.downloads.head(key):  # Those of earlier versions are not public.
            found[key] = record
    candidate = Candidate.read(store, plan.release, distro.name)
    return found | (candidate.others if candidate else {})


def _list_of_suite(suite: Suite) -> dict[str, Content | None]:
    in_release = suite.downloads.get(suite.key(keys.IN_RELEASE))
    if in_release is None:
        return {}
    text = suite.unsigned_text(in_release)
    found: dict[str, Content | None] = {
        suite.key(keys.IN_RELEASE): _file(in_release),
        suite.key(keys.RELEASE): _file(text),
        suite.key(keys.RELEASE_GPG): None,
    }
    for name, file in suite.parse_release(in_release).files.items():
        try:
            found[suite.key(name)] = file
        except keys.InvalidField as error:
            log.warning("%s: %s", suite, error)
    return found


def _file(content: bytes) -> File:
    return File(index.sha256(content), len(content))


def read_digests(store: Store, settings: Settings) -> Mapping[str, Content]:
    """Size and SHA-256 of every file that an index of any suite names, and of the indices, by key.

    A suite that is broken is left out, with a warning.
    """
    found: dict[str, Content] = {}
    for suite in target_suites.list_suites(store, settings):
        try:
            found |= {key: file for key, file in _list_of_suite(suite).items() if file}
            for entries in suite.read().indices.values():
                for path, file in entries.contents:
                    found[keys.in_repository(suite.repository, path)] = file
        except (PackagingError, index.InvalidIndex) as error:
            log.warning("%s: its listings get no digests from its indices: %s", suite, error)
    return found
