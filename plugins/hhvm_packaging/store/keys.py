"""Every S3 key: built from a template, and parsed back.

To add a key, add its template to Scratch or Downloads, the grammar of any new field to _FIELDS, and a
function that builds it. A new key in scratch needs a rule in upkeep/pruning.py, too.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from string import Formatter
from typing import TYPE_CHECKING, Generic, TypeVar

from hhvm_packaging.attempt_id import AttemptId, InvalidAttemptId
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.release import KEYRING_PACKAGE, NIGHTLY_PACKAGE, PACKAGE, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from re import Pattern

REPOSITORIES = ("debian", "ubuntu")
PUBLIC_DIRECTORIES = ("conf/", *(f"{repository}/" for repository in REPOSITORIES), "source/")
"""The directories of downloads that this project writes to. Others belong to somebody else."""
CANARY, DEPENDENCIES = "canary", "dependencies"
"""What the jobs that belong to no version have in its place."""

# The names of files that are written into a directory.
ACCEPTED = "accepted"
"""In a candidate's directory: apt accepted the candidate."""
PUBLIC_KEY_FILE = "hhvm.gpg.key"
LISTING = "index.html"
JOB, LOG, RESULT, FAILURE = "job.json", "log.txt", "result.json", "failure.json"
"""In an attempt's directory, by Airflow: what it is to do, its log, its result, why it failed."""
LAUNCHING = "launching.json"
"""In an attempt's directory, by Airflow: when EC2 was asked for an instance last."""
MADE = "out/"
"""In an instance's directory: the files that its job made. Its log and its result have the names above."""
_LOG_PART = re.compile(r"log/([0-9]{12})")
"""In an instance's directory, until its job has ended: the log from that byte on."""
IN_RELEASE, RELEASE, RELEASE_GPG = "InRelease", "Release", "Release.gpg"
"""In a suite's directory."""
_BY_HASH = "by-hash"
_MANIFEST = "manifest.json"
_POOL = "pool/main/h/"


class InvalidField(PackagingError, ValueError):
    """A text that a key must not contain. The message names the field of the template."""

    def __init__(self, field: str, text: object, template: str) -> None:
        super().__init__(f"{field}: {text!r} is not allowed in the S3 key {template}")


@dataclass(frozen=True)
class _Field:
    """The grammar of a field."""

    pattern: str
    check: Callable[[str], bool] | None = None
    """What the pattern cannot express."""

    def allows(self, text: object) -> bool:
        if not isinstance(text, str) or re.fullmatch(self.pattern, text) is None:
            return False
        return self.check is None or self.check(text)


def _is_version(text: str) -> bool:
    return Release.find(text) is not None


def _is_release(text: str) -> bool:
    return (release := Release.find(text)) is not None and not release.nightly


def _is_nightly(text: str) -> bool:
    return (release := Release.find(text)) is not None and release.nightly


def _is_attempt(text: str) -> bool:
    with suppress(InvalidAttemptId):
        AttemptId.parse(text)
        return True
    return False


def _is_index(text: str) -> bool:
    parts = text.split("/")
    special = (IN_RELEASE, RELEASE, RELEASE_GPG)
    return _BY_HASH not in parts and parts[-1] != LISTING and text not in special


def _is_file(text: str) -> bool:
    parts = text.split("/")
    return parts[0] != "dists" and parts[-1] != LISTING


_NUMBERS = "[0-9.]+"
_INSTANCE = "i-[0-9a-f]+"
# One part of a path: any name but those that mean a directory, without control characters.
_NAME = r"(?!\.\.?(?:/|\Z))[^/\x00-\x1f\x7f]+"
_PATH = rf"(?:{_NAME}/)*{_NAME}"

_FIELDS: Mapping[str, _Field] = {
    "artifact": _Field(_NAME, lambda text: text != _MANIFEST),
    "attempt": _Field("[0-9TZ.-]+", _is_attempt),
    "candidate_file": _Field(_PATH, lambda text: text != ACCEPTED),
    "dag_id": _Field(_NAME),
    "digest": _Field("[0-9a-f]+"),
    "directory": _Field(rf"(?:{_NAME}/)*", lambda text: _BY_HASH not in text.split("/")),
    "distro": _Field(_NAME),
    "file": _Field(_PATH, _is_file),
    "hash": _Field("[A-Za-z0-9]+"),
    "index": _Field(_PATH, _is_index),
    "instance": _Field(_INSTANCE),
    "job": _Field("[a-z0-9][a-z0-9._-]*"),
    "job_file": _Field(_NAME),
    "nightly": _Field(_NUMBERS, _is_nightly),
    "keyring_file": _Field(_NAME),
    "number": _Field("[1-9][0-9]*"),
    "release": _Field(_NUMBERS, _is_release),
    "release_file": _Field("InRelease|Release|Release[.]gpg"),
    "repository": _Field("|".join(REPOSITORIES)),
    "run_digest": _Field("[0-9a-f]{16}"),
    "run_id": _Field(_NAME),
    "sha256": _Field("[0-9a-f]{64}"),
    "snapshot": _Field(_NAME),
    "subject": _Field(
        rf"{_NUMBERS}|{CANARY}|{DEPENDENCIES}",
        lambda text: text in (CANARY, DEPENDENCIES) or _is_version(text),
    ),
    "suite": _Field(_NAME),
    "suite_kind": _Field(_NAME),
    "version": _Field(_NUMBERS, _is_version),
    "worker": _Field(f"[A-Z0-9]+:{_INSTANCE}"),
    "worker_file": _Field(_PATH),
}


class Template(StrEnum):
    """The form of the keys of one kind. Fields are in braces; _FIELDS has the grammar of each."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in the order of the key."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.value) if name)

    def build(self, **fields: str) -> str:
        """Return the key with these fields. Raises InvalidField."""
        self._check(fields)
        return self.value.format(**fields)

    def prefix(self, **fields: str) -> str:
        """Return how all keys with these fields begin, up to the first field that is not given.

        Raises InvalidField.
        """
        self._check(fields)
        prefix = ""
        for literal, name, _, _ in Formatter().parse(self.value):
            prefix += literal
            if name not in fields:
                break
            prefix += fields[name]
        return prefix

    def match(self, key: str) -> Mapping[str, str] | None:
        """Return the fields of a key of this kind; None for any other key."""
        found = _compile(self).fullmatch(key)
        if found is None:
            return None
        fields = found.groupdict()
        return fields if all(_FIELDS[name].allows(text) for name, text in fields.items()) else None

    def _check(self, fields: Mapping[str, str]) -> None:
        for name, text in fields.items():
            if not _FIELDS[name].allows(text):
                raise InvalidField(name, text, self.value)


@cache
def _compile(template: Template) -> Pattern[str]:
    pattern = ""
    for literal, name, _, _ in Formatter().parse(template.value):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P<{name}>{_FIELDS[name].pattern})"
    return re.compile(pattern)


class Scratch(Template):
    """The keys of the scratch bucket, which is private."""

    RELEASE_TARBALL = f"{PACKAGE}-{{release}}.tar.gz"
    RELEASE_SIGNATURE = f"{PACKAGE}-{{release}}.tar.gz.sig"
    NIGHTLY_TARBALL = f"{NIGHTLY_PACKAGE}-{{nightly}}.tar.gz"
    NIGHTLY_SIGNATURE = f"{NIGHTLY_PACKAGE}-{{nightly}}.tar.gz.sig"
    PLAN = "{version}/plan.json"
    PLAN_OF_RUN = "{version}/plans/{run_digest}.json"
    SOURCE = "{version}/source.json"
    FORCED = "{version}/forced/{run_digest}.json"
    ANNOUNCED = "{version}/announced.json"
    MANIFEST = f"{{version}}/{{distro}}/{_MANIFEST}"
    ATTEMPT_MANIFEST = f"{{version}}/{{distro}}/{{attempt}}/{_MANIFEST}"
    ARTIFACT = "{version}/{distro}/{attempt}/{artifact}"
    CANDIDATE = "candidate/{version}/{distro}/candidate.json"
    CANDIDATE_FILE = "candidate/{version}/{distro}/{attempt}/{candidate_file}"
    CANDIDATE_ACCEPTED = f"candidate/{{version}}/{{distro}}/{{attempt}}/{ACCEPTED}"
    JOB_FILE = "jobs/{subject}/{job}/{attempt}/{job_file}"
    LAUNCHED = "jobs/{subject}/{job}/{attempt}/launched/{instance}"
    # All that an EC2 instance may write. The worker is its aws:userid, which no other instance has.
    WORKER_FILE = "jobs/{subject}/{job}/{attempt}/{worker}/{worker_file}"
    HOLD = "holds/{version}/{sha256}.json"
    LIFTED = "holds/{version}/lifted/{sha256}.json"
    QUESTION = "questions/{dag_id}/{run_id}/{number}.json"
    ANSWER = "approvals/{version}/{sha256}.json"
    # What older revisions wrote. It names no digests, so it approves nothing.
    FORMER_APPROVAL = "approvals/{version}/{dag_id}/{run_id}.json"
    PACKAGING = "packaging/{sha256}.tar.gz"
    COMPILER_CACHE = "ccache/{distro}/{sha256}.tar"
    DEPENDENCIES_IMAGE = "dependencies/{distro}/{sha256}.json"
    DEPENDENCIES_FILE = "dependencies/{distro}/{attempt}/{artifact}"
    SNAPSHOT = "snapshots/{repository}/{suite}/{snapshot}.json"
    LAST_PUBLISH = "metrics/last-publish/{suite_kind}.json"
    CANARY_VERDICT = "metrics/canary-verdict.json"
    CANARY_TURN = "metrics/canary-turn.json"
    KEYRING = "keyring/{distro}/{keyring_file}"
    UNDELIVERED = "undelivered/{sha256}.json"
    STATUS = "status.json"
    CONDITIONAL_WRITES = "conditional-writes"
    CHECKSUMS = "checksums"


class Downloads(Template):
    """The keys of the downloads bucket, which is public. People have them in their configuration."""

    PUBLIC_KEY = f"conf/{PUBLIC_KEY_FILE}"
    RELEASE_TARBALL = f"source/{PACKAGE}-{{release}}.tar.gz"
    RELEASE_SIGNATURE = f"source/{PACKAGE}-{{release}}.tar.gz.sig"
    NIGHTLY_TARBALL = f"source/nightlies/{NIGHTLY_PACKAGE}-{{nightly}}.tar.gz"
    NIGHTLY_SIGNATURE = f"source/nightlies/{NIGHTLY_PACKAGE}-{{nightly}}.tar.gz.sig"
    RELEASE_FILE = "{repository}/dists/{suite}/{release_file}"
    INDEX = "{repository}/dists/{suite}/{index}"
    BY_HASH = f"{{repository}}/dists/{{suite}}/{{directory}}{_BY_HASH}/{{hash}}/{{digest}}"
    FILE = "{repository}/{file}"
    LISTING = f"{{directory}}{LISTING}"
    FEED = "releases.atom"


T = TypeVar("T", bound=Template)


@dataclass(frozen=True)
class Parsed(Generic[T]):
    """What a key says."""

    template: T
    fields: Mapping[str, str]

    @property
    def release(self) -> Release | None:
        """The release that the object belongs to; None if it belongs to none."""
        versions = (self.fields.get(name) for name in ("version", "release", "nightly", "subject"))
        return next((Release.find(version) for version in versions if version), None)


def parse(bucket: type[T], key: str) -> Parsed[T] | None:
    """Return the template of a key and its fields; None if the bucket has no such template."""
    for template in bucket:
        fields = template.match(key)
        if fields is not None:
            return Parsed(template, fields)
    return None


PUBLIC_KEY = Downloads.PUBLIC_KEY.build()
FRONT_PAGE = Downloads.LISTING.build(directory="")
FEED = Downloads.FEED.build()
CONDITIONAL_WRITES = Scratch.CONDITIONAL_WRITES.build()
"""In scratch: written only to find out whether the store supports conditional writes."""
STATUS = Scratch.STATUS.build()
"""The index: what is built, public and held, of every version."""
CHECKSUMS = Scratch.CHECKSUMS.build()
"""In scratch: written only to find out whether the store computes the checksums that it reports."""


# In scratch. Directories end with a slash.


def tarball(release: Release) -> str:
    """The source, before it is public."""
    if release.nightly:
        return Scratch.NIGHTLY_TARBALL.build(nightly=release.version)
    return Scratch.RELEASE_TARBALL.build(release=release.version)


def tarball_signature(release: Release) -> str:
    """The signature of ``tarball``."""
    if release.nightly:
        return Scratch.NIGHTLY_SIGNATURE.build(nightly=release.version)
    return Scratch.RELEASE_SIGNATURE.build(release=release.version)


def plan(release: Release) -> str:
    """What the last plan of this version resolved."""
    return Scratch.PLAN.build(version=release.version)


def plan_of_run(release: Release, run_id: str) -> str:
    """What one run of hhvm_build resolved when it was planned last."""
    return Scratch.PLAN_OF_RUN.build(version=release.version, run_digest=_digest_run(run_id))


def forced(release: Release, run_id: str) -> str:
    """The first attempt that counts for a run that was to build again."""
    return Scratch.FORCED.build(version=release.version, run_digest=_digest_run(run_id))


def _digest_run(run_id: str) -> str:
    return hashlib.sha256(run_id.encode()).hexdigest()[:16]


def source(release: Release) -> str:
    """The source manifest: commit, digests, signature."""
    return Scratch.SOURCE.build(version=release.version)


def announced(release: Release) -> str:
    """What of the version people were told of."""
    return Scratch.ANNOUNCED.build(version=release.version)


def distros(release: Release) -> str:
    """The directory that has one directory for each distribution of a version, among others."""
    return Scratch.MANIFEST.prefix(version=release.version)


def manifest(release: Release, distro: str) -> str:
    """The manifest of the distribution's current packages."""
    return Scratch.MANIFEST.build(version=release.version, distro=distro)


def outputs(release: Release, distro: str, attempt: AttemptId) -> str:
    """The directory of what one attempt built."""
    return Scratch.ARTIFACT.prefix(version=release.version, distro=distro, attempt=str(attempt))


def output(directory: str, name: str) -> str:
    """A file that a job left in its directory of outputs, which is empty for a source tarball.

    Raises InvalidField if a job must not write it.
    """
    return _in_directory(
        directory,
        name,
        Scratch.ARTIFACT,
        Scratch.DEPENDENCIES_FILE,
        Scratch.NIGHTLY_TARBALL,
        Scratch.RELEASE_TARBALL,
    )


def attempt_manifest(directory: str) -> str:
    """The manifest beside the packages that it names. ``directory`` is their ``outputs``."""
    return _in_directory(directory, _MANIFEST, Scratch.ATTEMPT_MANIFEST)


def attempt_of(directory: str) -> AttemptId:
    """The attempt whose ``outputs`` the directory is. Raises InvalidField."""
    fields = Scratch.ATTEMPT_MANIFEST.match(directory + _MANIFEST)
    if fields is None:
        raise InvalidField("directory", directory, Scratch.ATTEMPT_MANIFEST.value)
    return AttemptId.parse(fields["attempt"])


def candidate(release: Release, distro: str) -> str:
    """The distribution's last candidate."""
    return Scratch.CANDIDATE.build(version=release.version, distro=distro)


def candidate_files(release: Release, distro: str, attempt: AttemptId) -> str:
    """The directory of the files of one candidate."""
    return Scratch.CANDIDATE_FILE.prefix(version=release.version, distro=distro, attempt=str(attempt))


def candidate_file(directory: str, name: str) -> str:
    """A file of a candidate. ``directory`` is its ``candidate_files``."""
    return _in_directory(directory, name, Scratch.CANDIDATE_FILE)


def candidate_accepted(directory: str) -> str:
    """That apt accepted the candidate. ``directory`` is its ``candidate_files``."""
    return _in_directory(directory, ACCEPTED, Scratch.CANDIDATE_ACCEPTED)


def jobs(subject: str) -> str:
    """The directory of all jobs of a version or of the canary."""
    return Scratch.JOB_FILE.prefix(subject=subject)


def attempts(subject: str, job: str) -> str:
    """The directory of all attempts at one job."""
    return Scratch.JOB_FILE.prefix(subject=subject, job=job)


def attempt(subject: str, job: str, attempt: AttemptId) -> str:
    """The directory of one attempt at a job."""
    return Scratch.JOB_FILE.prefix(subject=subject, job=job, attempt=str(attempt))


def job_file(subject: str, job: str, attempt: AttemptId, name: str) -> str:
    """A file of one attempt at a job: JOB, LOG, RESULT or FAILURE."""
    return Scratch.JOB_FILE.build(subject=subject, job=job, attempt=str(attempt), job_file=name)


def launched(subject: str, job: str, attempt: AttemptId, instance: str) -> str:
    """That Airflow launched an instance for an attempt at a job."""
    return Scratch.LAUNCHED.build(subject=subject, job=job, attempt=str(attempt), instance=instance)


def worker_file(subject: str, job: str, attempt: AttemptId, worker: str, name: str) -> str:
    """What an instance wrote: LOG, RESULT, or a file below MADE. ``worker`` is its aws:userid."""
    return Scratch.WORKER_FILE.build(
        subject=subject, job=job, attempt=str(attempt), worker=worker, worker_file=name
    )


def log_part_start(name: str) -> int | None:
    """The first byte of a part of a log, by the name of the worker's file; None for any other file."""
    found = _LOG_PART.fullmatch(name)
    return int(found[1]) if found else None


def held_versions() -> str:
    """The directory that has one directory for each version that was ever held."""
    return Scratch.HOLD.prefix()


def holds(version: str) -> str:
    """The directory of a version's holds, and of what lifted them."""
    return Scratch.HOLD.prefix(version=version)


def hold(version: str, sha256: str) -> str:
    """A hold of a version."""
    return Scratch.HOLD.build(version=version, sha256=sha256)


def lifted(version: str, sha256: str) -> str:
    """That somebody lifted holds of a version."""
    return Scratch.LIFTED.build(version=version, sha256=sha256)


def question(dag_id: str, run_id: str, number: int) -> str:
    """What people were asked in a run; ``number`` counts from 1."""
    return Scratch.QUESTION.build(dag_id=dag_id, run_id=run_id, number=str(number))


def answers(version: str) -> str:
    """The directory of what people answered about a version."""
    return Scratch.ANSWER.prefix(version=version)


def answer(version: str, sha256: str) -> str:
    """What a person answered about a version."""
    return Scratch.ANSWER.build(version=version, sha256=sha256)


def last_publishes() -> str:
    """How the keys of all last publishes begin."""
    return Scratch.LAST_PUBLISH.prefix()


def last_publish(suite_kind: str) -> str:
    """The last good publish into the suites of this kind, such as ``nightly``."""
    return Scratch.LAST_PUBLISH.build(suite_kind=suite_kind)


CANARY_VERDICT = Scratch.CANARY_VERDICT.build()
"""What the canary found last."""
CANARY_TURN = Scratch.CANARY_TURN.build()
"""What the canary has asked for."""


def undelivered(sha256: str) -> str:
    """A message that a channel of notification did not take."""
    return Scratch.UNDELIVERED.build(sha256=sha256)


def keyring(distro: str, name: str) -> str:
    """A distribution's package with the signing keys, before it is published."""
    return Scratch.KEYRING.build(distro=distro, keyring_file=name)


def packaging(sha256: str) -> str:
    """The packaging files of one revision, as workers unpack them."""
    return Scratch.PACKAGING.build(sha256=sha256)


def compiler_caches() -> str:
    """The directory of the compiler caches that instances may read."""
    return Scratch.COMPILER_CACHE.prefix()


def compiler_cache(distro: str, sha256: str) -> str:
    """A copy of the compiler cache of a build that users are offered."""
    return Scratch.COMPILER_CACHE.build(distro=distro, sha256=sha256)


def dependencies_images() -> str:
    """The directory of the images with build dependencies that instances may read."""
    return Scratch.DEPENDENCIES_IMAGE.prefix()


def dependencies_image(distro: str, sha256: str) -> str:
    """The record of the newest image that was made from what ``sha256`` is the digest of."""
    return Scratch.DEPENDENCIES_IMAGE.build(distro=distro, sha256=sha256)


def dependencies_files(distro: str, attempt: AttemptId) -> str:
    """The directory of the image that one attempt made."""
    return Scratch.DEPENDENCIES_FILE.prefix(distro=distro, attempt=str(attempt))


def histories(repository: str) -> str:
    """The directory that has one directory for each suite's snapshots."""
    return Scratch.SNAPSHOT.prefix(repository=repository)


def snapshots(repository: str, suite: str) -> str:
    """The directory of a suite's snapshots."""
    return Scratch.SNAPSHOT.prefix(repository=repository, suite=suite)


def snapshot(repository: str, suite: str, name: str) -> str:
    """One commit of a suite."""
    return Scratch.SNAPSHOT.build(repository=repository, suite=suite, snapshot=name)


# In downloads. Directories end with a slash.


def public_tarball(release: Release) -> str:
    """The published source."""
    if release.nightly:
        return Downloads.NIGHTLY_TARBALL.build(nightly=release.version)
    return Downloads.RELEASE_TARBALL.build(release=release.version)


def public_signature(release: Release) -> str:
    """The signature of ``public_tarball``."""
    if release.nightly:
        return Downloads.NIGHTLY_SIGNATURE.build(nightly=release.version)
    return Downloads.RELEASE_SIGNATURE.build(release=release.version)


def nightly_tarballs() -> str:
    """How the keys of all nightlies' sources and of their signatures begin."""
    return Downloads.NIGHTLY_TARBALL.prefix()


def suites(repository: str) -> str:
    """The directory that has one directory for each suite."""
    return Downloads.RELEASE_FILE.prefix(repository=repository)


def suite(repository: str, suite: str) -> str:
    """The directory of a suite."""
    return Downloads.RELEASE_FILE.prefix(repository=repository, suite=suite)


def in_suite(repository: str, suite: str, name: str) -> str:
    """A file of a suite under its plain name: InRelease, Release, Release.gpg or an index."""
    if name in (IN_RELEASE, RELEASE, RELEASE_GPG):
        return Downloads.RELEASE_FILE.build(repository=repository, suite=suite, release_file=name)
    return Downloads.INDEX.build(repository=repository, suite=suite, index=name)


def suite_of(directory: str) -> tuple[str, str] | None:
    """The repository and the name of the suite whose directory this is; None if it is of no suite."""
    found = Downloads.RELEASE_FILE.match(directory + IN_RELEASE)
    return (found["repository"], found["suite"]) if found else None


def by_hash(index: str, sha256: str) -> str:
    """The key of an index under its digest; ``index`` is its key under its plain name."""
    fields = Downloads.INDEX.match(index)
    if fields is None:
        raise InvalidField("index", index, Downloads.INDEX.value)
    parent, slash, _ = fields["index"].rpartition("/")
    return Downloads.BY_HASH.build(
        repository=fields["repository"],
        suite=fields["suite"],
        directory=parent + slash,
        hash="SHA256",
        digest=sha256,
    )


def in_repository(repository: str, filename: str) -> str:
    """The file that an index names by its path in the repository. Raises InvalidField."""
    return Downloads.FILE.build(repository=repository, file=filename)


def pool(release: Release) -> str:
    """The directory of a release's packages, relative to the repository: as an index names it."""
    return f"{_POOL}{release.package}/"


def keyring_pool() -> str:
    """The directory of the packages with the signing keys, relative to the repository."""
    return f"{_POOL}{KEYRING_PACKAGE}/"


def packages(release: Release, repository: str, package_version: str) -> str:
    """How the keys begin of the release's main package of that version, in the pool."""
    return in_repository(repository, f"{pool(release)}{release.package}_{package_version}_")


def any_packages(release: Release, repository: str) -> str:
    """How the keys begin of the release's main package, of any package revision, in the pool."""
    return in_repository(repository, f"{pool(release)}{release.package}_{release.version}-")


def nightly_pool(repository: str) -> str:
    """The directory of the nightlies' packages."""
    return f"{Downloads.FILE.prefix(repository=repository)}{_POOL}{NIGHTLY_PACKAGE}/"


def listing(directory: str) -> str:
    """The listing of a directory for people; ``directory`` is empty or ends with a slash."""
    return Downloads.LISTING.build(directory=directory)


def _in_directory(directory: str, name: str, *allowed: Scratch) -> str:
    """A file in a directory that is stored as text. Raises InvalidField if the key is of no allowed kind."""
    key = directory + name
    found = parse(Scratch, key)
    if found is None or found.template not in allowed:
        raise InvalidField("name", name, f"{directory}...")
    return key
