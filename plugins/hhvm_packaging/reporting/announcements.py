"""Announcements: what a publish made public that nobody was told of yet."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.planning.request import UNDO
from hhvm_packaging.publishing import front_page
from hhvm_packaging.reporting.delivery import Message
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.planning.plans import PublishPlan
    from hhvm_packaging.runs.run import Run
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store

_GITHUB = "https://github.com/"


class Announced(BaseModel):
    """What of one version people were told of."""

    model_config = ConfigDict(frozen=True)

    packages: dict[str, str] = {}
    """For each distribution: a digest of its packages."""


def take_news(plan: PublishPlan, store: Store) -> dict[str, str]:
    """The package version of each distribution of the plan that was not announced yet.

    They count as announced from now on. An undo announces nothing. What it takes back is news again when it
    is released again.
    """
    key = keys.announced(plan.release)
    content, etag = store.scratch.get_with_etag(key)
    before = Announced.model_validate_json(content) if content else Announced()
    packages, news = dict(before.packages), {}
    for distro in plan.distros:
        manifest = PackageManifest.read(store, plan.release, distro.name)
        if plan.action == UNDO:
            packages.pop(distro.name, None)
        elif manifest and packages.get(distro.name) != (digest := _digest(manifest)):
            packages[distro.name] = digest
            news[distro.name] = manifest.package_version
    if packages != before.packages:
        after = Announced(packages=packages).model_dump_json().encode()
        store.scratch.replace(key, after, "application/json", etag=etag)
    return news


def _digest(manifest: PackageManifest) -> str:
    lines = sorted(f"{package.name} {package.sha256}" for package in manifest.packages)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def write_released(plan: PublishPlan, news: dict[str, str], run: Run, settings: Settings) -> Message:
    """The message that a release is public: its version, its distributions, and where to look."""
    subject = f"HHVM {plan.version} is released"
    lines = [
        subject,
        *(f"{front_page.show(distro)}: {version}" for distro, version in news.items()),
        f"How to install it: {settings.published('')}",
        f"Its source: {settings.published(keys.public_tarball(plan.release))}",
        *_changes(plan, settings),
        f"The report: {run.page()}",
    ]
    return Message(
        event="released",
        subject=f"HHVM packaging: {subject}",
        text="\n".join(lines),
        dag_id=run.dag_id,
        run_id=run.run_id,
        versions=[plan.version],
        tasks=[],
        url=settings.published(""),
    )


def _changes(plan: PublishPlan, settings: Settings) -> Iterable[str]:
    """Where the changes are, if the public repository is one whose pages are known."""
    repository = settings.public_repository.removesuffix(".git")
    if repository.startswith(_GITHUB):
        yield f"Its changes: {repository}/commits/{plan.release.tag}"
