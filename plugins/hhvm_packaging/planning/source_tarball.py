"""The source tarball: the commit of a version, the signature, and how it is published."""

from __future__ import annotations

import datetime
import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging.apt import signing
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import git
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import PUBLIC_KEY

if TYPE_CHECKING:
    from hhvm_packaging.release import Release
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Bucket, Head, Store
    from hhvm_packaging.workers.job import Artifact

_GIT_TIMEOUT = 900


class SourceError(PackagingError):
    """The source of a version is missing, or is not what it should be. The message says what to do."""


def repository(release: Release, settings: Settings) -> str:
    """The URL of the git repository that the version's source comes from."""
    return settings.public_repository if release.nightly else settings.staging_repository


def submodule_hosts(settings: Settings) -> str:
    """Where submodules may come from, as bin/make-source-tarball takes it.

    A URL stands for its host there, but a directory for all that is in it. So local repositories are left
    out: by default, what is public must not get its submodules from staging.
    """
    repositories = (settings.public_repository, settings.staging_repository)
    networked = [url for url in repositories if not url.startswith(("/", ".", "file:"))]
    return " ".join(settings.submodule_hosts or networked)


def resolve(release: Release, repository: str, today: datetime.date) -> str:
    """Find the commit of ``release`` in ``repository``.

    For a release that is the commit of its tag. For a nightly it is the head of the default branch; for the
    nightly of a past day, the last commit of that day (UTC). Raises SourceError if there is none, or if a
    release has several tags, or a tag that is spelled otherwise than its series.
    """
    if not release.nightly:
        return _tagged_commit(release, repository)
    if release.date == today:
        return _head(repository)
    return _last_commit_of(release.date, repository)


def published_tag(release: Release, repository: str) -> str | None:
    """The commit of the release's tag in ``repository``; None if it has no such tag."""
    ref = f"refs/tags/{release.tag}"
    return _list_refs(repository, [ref]).get(ref)


def find_tagged(release: Release, repository: str) -> list[Release]:
    """The release as the repository's tags spell it: one, or none if it is not tagged.

    More than one is a mistake in the repository, which ``resolve`` refuses. Raises SourceError.
    """
    listed = _list_refs(repository, [f"refs/tags/{spelled.tag}" for spelled in release.spellings])
    return [spelled for spelled in release.spellings if f"refs/tags/{spelled.tag}" in listed]


def _tagged_commit(release: Release, repository: str) -> str:
    tags = [f"refs/tags/{spelled.tag}" for spelled in release.spellings]
    branches = [f"refs/heads/{branch}" for branch in release.branches]
    others = release.branches[1:]
    listed = _list_refs(repository, [*tags, *branches, *(f"refs/tags/{other}.*" for other in others)])
    found = [tag.removeprefix("refs/tags/") for tag in tags if tag in listed]
    if release.tag not in found:
        if found:
            raise SourceError(
                f"{release.tag} is not tagged in {repository}, but {found[0]} is: the same release in another"
                f" spelling than it was built or published in before. Tag it as {release.tag} there "
                "(docs/operating.md, Versions) and clear `plan`."
            )
        raise SourceError(
            f"{release.tag} is not tagged in {repository}. Tag it there (or correct the version) and clear "
            "`plan`."
        )
    if len(found) > 1:
        raise SourceError(
            f"{' and '.join(found)} in {repository} are tags of one release. Delete all but one there and "
            "clear `plan`."
        )
    # The series' name is that of its branch and of its suites, which users have in their sources.list.
    for other in () if branches[0] in listed else others:
        if any(ref == f"refs/heads/{other}" or ref.startswith(f"refs/tags/{other}.") for ref in listed):
            raise SourceError(
                f"{release.tag} in {repository} is spelled otherwise than its series, {other}. Tag "
                f"{other}.{release.version.rpartition('.')[2]} instead (or push a branch {release.branch} "
                "there) and clear `plan`."
            )
    return listed[f"refs/tags/{release.tag}"]


def _head(repository: str) -> str:
    commit = _list_refs(repository, ["HEAD"]).get("HEAD")
    if commit is None:
        raise SourceError(f"the default branch is missing in {repository}. Set it there and clear `plan`.")
    return commit


def _list_refs(repository: str, patterns: list[str]) -> dict[str, str]:
    """The commits of the repository's refs that match a pattern, by ref."""
    # An annotated tag is listed twice: the tag object, and with ^{} its commit.
    asked = [one for pattern in patterns for one in (pattern, f"{pattern}^{{}}")]
    lines = (line.split("\t") for line in _git("ls-remote", "--", repository, *asked).splitlines())
    listed = {name: commit for commit, name in lines}
    return {ref: listed.get(f"{ref}^{{}}", commit) for ref, commit in listed.items()}


def _last_commit_of(day: datetime.date, repository: str) -> str:
    end = datetime.datetime.combine(day + datetime.timedelta(days=1), datetime.time(), datetime.UTC)
    with tempfile.TemporaryDirectory(prefix="hhvm-plan-") as directory:
        # The history without trees and files is enough to find a commit by date.
        _git("clone", "--quiet", "--bare", "--single-branch", "--filter=tree:0", "--", repository, directory)
        commit = _git(
            "-C",
            directory,
            "log",
            "-1",
            "--first-parent",
            f"--before={end.timestamp() - 1:.0f}",
            "--format=%H",
        )
    if not commit:
        raise SourceError(f"{repository} has no commit as old as {day:%Y.%m.%d}")
    return commit


def _git(*arguments: str) -> str:
    try:
        return git.run(*arguments, timeout=_GIT_TIMEOUT).decode().strip()
    except git.GitError as error:
        raise SourceError(f"git {' '.join(arguments)}: {error}") from error


def trusted_keys(store: Store, settings: Settings) -> bytes:
    """The public keys whose signatures of sources count: those that users verify with, and earlier ones.

    Raises SourceError if they cannot be read.
    """
    if settings.source_keys_file is None:
        return public_keys(store)
    path = settings.packaging_root / settings.source_keys_file
    try:
        return public_keys(store).rstrip() + b"\n" + path.read_bytes()
    except OSError as error:
        raise SourceError(f"source_keys_file: {path} cannot be read: {error.strerror}") from error


def is_signed(store: Store, release: Release, public_keys: bytes) -> SourceManifest | None:
    """The source manifest, if its tarball exists and its signature verifies; else None.

    A key that has expired since counts: it was valid when it signed.
    """
    manifest = SourceManifest.read(store, release)
    if manifest is None or manifest.signed_by is None:
        return None
    for bucket, key, signature_key in (
        (store.scratch, keys.tarball(release), keys.tarball_signature(release)),
        (store.downloads, keys.public_tarball(release), keys.public_signature(release)),
    ):
        head = bucket.head(key)
        tarball = manifest.tarball
        if head is None or not bucket.holds(key, head, tarball):
            continue
        signature = bucket.get(signature_key)
        if signature is None:
            continue
        with tempfile.TemporaryDirectory(prefix="hhvm-verify-") as directory:
            path = Path(directory) / tarball.name
            bucket.download(key, path)
            try:
                signing.verify(path, signature, public_keys, expired=True)
            except signing.BadSignature:
                continue
        return manifest
    return None


def sign(store: Store, release: Release, signer: signing.Signer) -> SourceManifest:
    """Sign the tarball that the source manifest names. Publish it at once if it is a nightly's.

    The signature is stored before the manifest has its fingerprint, and published before the tarball.
    Raises SourceError if the tarball is missing or not the one that was made.
    """
    manifest = SourceManifest.read(store, release)
    if manifest is None:
        raise SourceError(
            f"HHVM {release.version}: there is no source tarball to sign; "
            f"clear `{BuildTask.MAKE_SOURCE_TARBALL}`"
        )
    key = keys.tarball(release)
    with tempfile.TemporaryDirectory(prefix="hhvm-sign-") as directory:
        path = Path(directory) / manifest.tarball.name
        store.scratch.download(key, path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != manifest.tarball.sha256:
            raise SourceError(
                f"HHVM {release.version}: s3://{store.scratch.name}/{key} has SHA-256 {sha256}, but "
                f"{manifest.tarball.sha256} was made; clear `{BuildTask.MAKE_SOURCE_TARBALL}`"
            )
        signature = signer.detach(path, key)
    store.scratch.put(keys.tarball_signature(release), signature, "application/pgp-signature")
    manifest = manifest.model_copy(update={"signed_by": signer.fingerprint})
    manifest.write(store, release)
    if release.nightly:
        publish(store, release, signer.public_key())
    return manifest


def publish(store: Store, release: Release, trusted: bytes) -> None:
    """Copy the signature, then the tarball, from scratch to the public bucket, and verify what is there then.

    If they are public, verifies them. ``trusted`` are the public keys whose signatures count. Raises
    SourceError if the source is not signed, or not what was signed, or if another tarball of this version is
    public.
    """
    manifest = SourceManifest.read(store, release)
    if manifest is None or manifest.signed_by is None:
        raise SourceError(f"HHVM {release.version}: the source is not signed; run hhvm_build first")
    if store.downloads.head(keys.public_tarball(release)) is None:
        _copy_to_public(store, release, manifest, trusted)
    verify_public(store, release, trusted)


def _copy_to_public(store: Store, release: Release, manifest: SourceManifest, trusted: bytes) -> None:
    tarball, key = manifest.tarball, keys.tarball(release)
    signature_key = keys.tarball_signature(release)
    signature = store.scratch.get(signature_key)
    if signature is None:
        raise SourceError(
            f"HHVM {release.version}: {signature_key} is missing; clear `{BuildTask.SIGN_SOURCE_TARBALL}`"
        )
    built = store.scratch.head(key)
    if built is None or not _may_have(built, tarball):
        raise SourceError(
            f"HHVM {release.version}: s3://{store.scratch.name}/{key} is not the tarball that was signed; "
            f"clear `{BuildTask.MAKE_SOURCE_TARBALL}`"
        )
    fault = _find_fault(store.scratch, key, tarball, signature, trusted)
    if fault:
        raise SourceError(
            f"HHVM {release.version}: s3://{store.scratch.name}/{key}: {fault}; it is not published. Clear "
            f"`{BuildTask.SIGN_SOURCE_TARBALL}` of hhvm_build"
        )
    store.downloads.put(keys.public_signature(release), signature, "application/pgp-signature")
    store.downloads.copy_from(
        store.scratch, key, keys.public_tarball(release), content_type="application/gzip", checked=built
    )


def verify_public(store: Store, release: Release, trusted: bytes) -> None:
    """Check that the public tarball is the one that was built, and that its public signature is good.

    Raises SourceError.
    """
    manifest = SourceManifest.read(store, release)
    key, signature_key = keys.public_tarball(release), keys.public_signature(release)
    where = f"HHVM {release.version}: s3://{store.downloads.name}/{key}"
    head = store.downloads.head(key)
    if manifest is None or head is None:
        raise SourceError(f"{where} is not published, or {keys.source(release)} is missing in scratch")
    if not _may_have(head, manifest.tarball):
        raise SourceError(
            f"{where} is published with other bytes ({head.size} bytes, SHA-256 {head.sha256 or 'unknown'}, "
            f"ETag {head.etag}) than were built ({manifest.tarball.sha256}). What is published is immutable: "
            "find out who wrote it. If it was never announced, delete it and clear this task"
        )
    signature = store.downloads.get(signature_key)
    fault = (
        f"s3://{store.downloads.name}/{signature_key} is missing"
        if signature is None
        else _find_fault(store.downloads, key, manifest.tarball, signature, trusted)
    )
    if fault:
        raise SourceError(
            f"{where} is published, but {fault}. Delete s3://{store.downloads.name}/{key}, which makes this "
            "task publish the tarball and its signature again, and clear this task"
        )


def _may_have(head: Head, tarball: Artifact) -> bool:
    """Whether an object may have the tarball's bytes, without reading them."""
    return head.size == tarball.size and head.sha256 in (None, tarball.sha256)


def _find_fault(bucket: Bucket, key: str, tarball: Artifact, signature: bytes, trusted: bytes) -> str:
    """What is wrong with a tarball and its signature, by the tarball's own bytes; empty if nothing is."""
    with tempfile.TemporaryDirectory(prefix="hhvm-verify-") as directory:
        path = Path(directory) / tarball.name
        bucket.download(key, path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != tarball.sha256:
            return f"it has SHA-256 {sha256}, but {tarball.sha256} was made"
        try:
            signing.verify(path, signature, trusted, expired=True)
        except signing.BadSignature as error:
            return f"its signature is not good: {error}"
    return ""


def public_keys(store: Store) -> bytes:
    """The armored public keys that users verify with. Raises SourceError if they are not published."""
    keys = store.downloads.get(PUBLIC_KEY)
    if keys is None:
        raise SourceError(
            f"s3://{store.downloads.name}/{PUBLIC_KEY} is missing: upload the public signing key"
        )
    return keys
