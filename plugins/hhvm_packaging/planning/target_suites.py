"""The suites of the apt repositories: which ones a release is published in, and which ones exist."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.planning import hold_records, status_index
from hhvm_packaging.release import is_same_version
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hhvm_packaging.distros import Distro
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

log = logging.getLogger(__name__)


def choose_suites(release: Release, distro: Distro, settings: Settings) -> tuple[str, ...]:
    """The names of the suites that the release is published in, by the setting ``suites``."""
    return tuple(
        template.replace("DISTRO", distro.distribution).replace("x.y", release.series)
        for template in settings.suites[suite_kind(release, settings)]
    )


def choose_main_suites(distro: Distro, settings: Settings) -> tuple[str, ...]:
    """The names of the distribution's suites that have every release or nightly, not those of a series."""
    templates = (template for kind in ("release", "nightly") for template in settings.suites[kind])
    names = (
        template.replace("DISTRO", distro.distribution) for template in templates if "x.y" not in template
    )
    return tuple(dict.fromkeys(names))


def suite_kind(release: Release, settings: Settings) -> str:
    """The kind of the suites that the release is published in: a key of the setting ``suites``."""
    if release.nightly:
        return "nightly"
    return next((kind for kind in settings.suites if is_same_version(kind, release.series)), "release")


def open_suite(store: Store, distro: Distro, name: str, settings: Settings) -> Suite:
    """The suite of that name in the distribution's repository, whether it exists or not."""
    return named_suite(store, distro.repository, name, settings)


def list_suites(store: Store, settings: Settings) -> Iterator[Suite]:
    """All suites that are published, and all that have snapshots: a suite that vanished must be noticed."""
    for name in REPOSITORIES:
        published = store.downloads.directories(keys.suites(name))
        with_snapshots = store.scratch.directories(keys.histories(name))
        for found in sorted({*published, *with_snapshots}):
            yield named_suite(store, name, found, settings)


def list_distro_suites(distro: Distro, store: Store, settings: Settings) -> list[Suite]:
    """The distribution's suites, of those that ``list_suites`` returns."""
    return [
        suite
        for suite in list_suites(store, settings)
        if suite.repository == distro.repository and f"{suite.suite}-".startswith(f"{distro.distribution}-")
    ]


def named_suite(store: Store, repository: str, name: str, settings: Settings) -> Suite:
    """The suite of that name, whether it exists or not. It refuses to make public what is held."""
    return Suite(
        store.downloads,
        store.scratch,
        repository,
        name,
        at_once=settings.requests_at_once,
        locks=settings.lock_directory,
        permit=partial(hold_records.ensure_change_released, store=store, settings=settings),
        committed=partial(status_index.record_suite, store),
    )
