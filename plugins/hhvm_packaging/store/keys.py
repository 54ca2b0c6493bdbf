"""Every S3 key: where each object lies, in which bucket."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hhvm_packaging.release import NIGHTLY_PACKAGE

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.release import Release

PUBLIC_KEY = "conf/hhvm.gpg.key"
REPOSITORIES = ("debian", "ubuntu")
CANARY = "canary"
"""In place of a version, of the jobs that look at all that is published."""
CONDITIONS = "conditional-writes"
"""In scratch: nothing, where the store does not support the condition under which it was to be written."""


def tarball(release: Release) -> str:
    """In scratch: the source, before it is public. Its signature is beside it, with ``.sig``."""
    return f"{release.name}.tar.gz"


def public_tarball(release: Release) -> str:
    """In downloads: the published source. Its signature is beside it, with ``.sig``."""
    directory = nightly_tarballs() if release.nightly else "source/"
    return f"{directory}{release.name}.tar.gz"


def nightly_tarballs() -> str:
    """In downloads: the directory, with a trailing slash, of the nightlies' sources."""
    return "source/nightlies/"


def plan(release: Release) -> str:
    """In scratch: what the last plan of this version resolved."""
    return f"{release.version}/plan.json"


def forced(release: Release, run: str) -> str:
    """In scratch: since when what is built counts, for a run that was to build again."""
    return f"{release.version}/forced/{hashlib.sha256(run.encode()).hexdigest()[:16]}.json"


def source(release: Release) -> str:
    """In scratch: the source manifest: commit, digests, signature."""
    return f"{release.version}/source.json"


def build(release: Release, distro: str, attempt: AttemptId) -> str:
    """In scratch: the directory, with a trailing slash, of one attempt that built something."""
    return f"{release.version}/{distro}/{attempt}/"


def manifest(release: Release, distro: str) -> str:
    """In scratch: the manifest of the distribution's current build."""
    return f"{release.version}/{distro}/manifest.json"


def approval(version: str, dag_id: str, run_id: str) -> str:
    """In scratch: who approved in that run to publish the version."""
    return f"approvals/{version}/{dag_id}/{run_id}.json"


def candidates(release: Release, distro: str) -> str:
    """In scratch: the directory, with a trailing slash, of a distribution's would-be indices."""
    return f"candidate/{release.version}/{distro}/"


def candidate(release: Release, distro: str) -> str:
    """In scratch: the distribution's last candidate."""
    return f"{candidates(release, distro)}candidate.json"


def jobs(version: str) -> str:
    """In scratch: the directory, with a trailing slash, of all jobs of one version."""
    return f"jobs/{version}/"


def job(version: str, name: str, attempt: AttemptId) -> str:
    """In scratch: the directory, with a trailing slash, of one attempt's log.txt and result.json."""
    return f"{jobs(version)}{name}/{attempt}/"


def attempts(version: str, name: str) -> str:
    """In scratch: the directory, with a trailing slash, of all attempts at one job."""
    return f"{jobs(version)}{name}/"


def packaging(sha256: str) -> str:
    """In scratch: the packaging files of one revision, as workers unpack them."""
    return f"packaging/{sha256}.tar.gz"


def histories(repository: str) -> str:
    """In scratch: the directory, with a trailing slash, that has one for each suite's snapshots."""
    return f"snapshots/{repository}/"


def snapshots(repository: str, suite: str) -> str:
    """In scratch: the directory, with a trailing slash, of all that a suite ever was."""
    return f"{histories(repository)}{suite}/"


def snapshot(repository: str, suite: str, name: str) -> str:
    """In scratch: one commit of a suite."""
    return f"{snapshots(repository, suite)}{name}.json"


def suites(repository: str) -> str:
    """In downloads: the directory, with a trailing slash, that has one for each suite."""
    return f"{repository}/dists/"


def suite(repository: str, suite: str) -> str:
    """In downloads: the directory, with a trailing slash, of a suite's indices."""
    return f"{suites(repository)}{suite}/"


def by_hash(index: str, sha256: str) -> str:
    """Where an index also lies, under its digest. The path may be a key or relative to the suite."""
    return f"{index.rpartition('/')[0]}/by-hash/SHA256/{sha256}"


def in_repository(repository: str, filename: str) -> str:
    """In downloads: the file that an index names by its path in the repository."""
    return f"{repository}/{filename}"


def pool(release: Release) -> str:
    """A package's directory, with a trailing slash, relative to the repository, as an index names it."""
    return f"pool/main/h/{release.package}/"


def packages(release: Release, repository: str, package_version: str) -> str:
    """In downloads: how the keys begin of the release's own package of that version, in the pool."""
    return in_repository(repository, f"{pool(release)}{release.package}_{package_version}_")


def nightly_pool(repository: str) -> str:
    """In downloads: the directory, with a trailing slash, of the nightlies' packages."""
    return f"{repository}/pool/main/h/{NIGHTLY_PACKAGE}/"
