"""Whether everything that a run was asked for is public, by what the store holds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hhvm_packaging.apt.packages_index import Packages
from hhvm_packaging.apt.undo import is_of
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import source_tarball, target_suites
from hhvm_packaging.planning.manifests import PackageManifest, SourceManifest
from hhvm_packaging.planning.plans import BuildPlan
from hhvm_packaging.planning.task_ids import WrapperTask
from hhvm_packaging.publishing.holds import Ready
from hhvm_packaging.store import keys
from hhvm_packaging.store.concurrently import run_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hhvm_packaging.distros import Distro
    from hhvm_packaging.planning.request import Request
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

_BUILD = f"clear `{WrapperTask.BUILD}` and what follows"
_PUBLISH = f"clear `{WrapperTask.PUBLISH}` and what follows"


class NotPublic(PackagingError):
    """Something that was asked for is not public. The message names it, the reason, and what to clear."""


def ensure_public(requests: Sequence[Request], store: Store, settings: Settings) -> str:
    """Return what is public, in words, if that is everything that was asked for. Otherwise raise NotPublic.

    Only the store counts: a person can mark a task, and Airflow can skip one.
    """
    missing = [line for request in requests for line in find_missing(request, store, settings)]
    if missing:
        raise NotPublic("\n".join(["not everything that was asked for is public:", *missing]))
    versions = ", ".join(f"HHVM {request.version}" for request in requests)
    return "\n".join([
        f"{versions}: everything that was asked for is public",
        *(f"{request.version}: {', '.join(request.distros)}" for request in requests),
    ])


def find_missing(request: Request, store: Store, settings: Settings) -> list[str]:
    """What of one version is not public, a line for each distribution, with the reason and what to clear.

    A distribution whose packages are not published at all need only be built.
    """
    title = f"HHVM {request.version}"
    plan = BuildPlan.read(store, request.release, request.build_run)
    if plan is None:
        return [f"{title}: nothing was built for {', '.join(request.distros)}; {_BUILD}"]
    ready = Ready.find(request, store, settings)
    lines = [
        f"{title}, {name}: {plan.faults.get(name, 'it is not built')}; {_BUILD}" for name in ready.missing
    ]
    planned = {distro.name: distro for distro in plan.distros}
    lines += [
        f"{title}, {name}: the last build did not work on it; {_BUILD}"
        for name in ready.packages
        if name not in planned
    ]
    built = [planned[name] for name in ready.packages if name in planned]
    published = [distro for distro in built if not distro.not_published]
    looks = (partial(_find_reason, request, distro, store, settings) for distro in published)
    for distro, reason in zip(published, run_all(looks, at_once=settings.requests_at_once), strict=True):
        if reason:
            lines.append(f"{title}, {distro.name}: {reason}")
    if published and not _is_source_public(request, store, settings):
        lines.append(f"{title}: its source is not public; {_PUBLISH}")
    return lines


def _find_reason(request: Request, distro: Distro, store: Store, settings: Settings) -> str | None:
    """Why users do not get the distribution's packages, and what to do; None if they do."""
    release = request.release
    manifest = PackageManifest.read(store, release, distro.name)
    packages = manifest.packages if manifest else ()
    pool = keys.pool(release)
    for name in target_suites.choose_suites(release, distro, settings):
        suite = target_suites.open_suite(store, distro, name, settings)
        state = suite.read()
        offered = {
            (stanza.filename.removeprefix("./"), stanza.sha256)
            for index in state.indices.values()
            if isinstance(index, Packages)
            for stanza in index.stanzas
        }
        if packages and all((pool + package.name, package.sha256) in offered for package in packages):
            continue
        if any(is_of(identity, release.version) for identity in state.withdrawn):
            return (
                f"it was withdrawn from {suite}; to offer it again, trigger hhvm_publish_release with the "
                "action `release again`"
            )
        return f"it is built, but {suite} does not offer it; {_PUBLISH}"
    return None


def _is_source_public(request: Request, store: Store, settings: Settings) -> bool:
    """Whether the tarball and its signature are public; of a release, the tag too."""
    release, manifest = request.release, SourceManifest.read(store, request.release)
    public = (keys.public_tarball(release), keys.public_signature(release))
    if manifest is None or not all(store.downloads.head(key) for key in public):
        return False
    if release.nightly:
        return True
    return source_tarball.published_tag(release, settings.public_repository) == manifest.commit
