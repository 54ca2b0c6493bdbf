"""One signing key replaces another, as docs/signing.md says. Real apt checks each step with each key."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt.signing import BadSignature, Signer
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.cli import apt_suite
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Store
from testing.apt_client import AptFailed, Machine, machine, website
from testing.debs import Deb
from testing.publisher import publish

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from mypy_boto3_s3 import S3Client

SUITES = ("bookworm", "trixie")
"""Their apts verify with different programs: gpgv and sqv."""
UNKNOWN = r"NO_PUBKEY|Missing key"
EXPIRED = r"EXPKEYSIG|[Ee]xpired"
REVOKED = r"REVKEYSIG|[Rr]evoked"
IN_2024 = "--faked-system-time=20240101T000000"


@dataclass(frozen=True)
class Keyring:
    """Keys in their own gpg home, and gpg as a person uses it."""

    home: Path
    options: tuple[str, ...] = ()

    def gpg(self, *arguments: str, text: str = "") -> str:
        gpg = ["gpg", "--homedir", str(self.home), "--batch", "--pinentry-mode=loopback", "--passphrase="]
        return subprocess.run(
            [*gpg, *self.options, *arguments], input=text, check=True, capture_output=True, text=True
        ).stdout

    @property
    def fingerprint(self) -> str:
        lines = self.gpg("--list-keys", "--with-colons").splitlines()
        return next(line for line in lines if line.startswith("fpr")).split(":")[9]

    @cached_property
    def private(self) -> str:
        return self.gpg("--armor", "--export-secret-keys")

    @cached_property
    def public(self) -> str:
        return self.gpg("--armor", "--export")


@contextlib.contextmanager
def keyring(*keys: str, options: tuple[str, ...] = ()) -> Generator[Keyring]:
    """A keyring with these keys, for as long as the ``with`` statement takes."""
    # The path of a socket must be short, and pytest's directories are long.
    with tempfile.TemporaryDirectory(prefix="keys-") as home:
        ring = Keyring(Path(home), options)
        try:
            if keys:
                ring.gpg("--import", text="".join(keys))
            yield ring
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


def make(ring: Keyring, name: str) -> Keyring:
    ring.gpg("--quick-generate-key", f"{name} <hhvm@example.org>", "ed25519", "sign", "never")
    return ring


@pytest.fixture(scope="module")
def old() -> Iterator[Keyring]:
    # Made in the past, so that a copy of it can have expired.
    with keyring(options=(IN_2024,)) as ring:
        yield make(ring, "Old")


@pytest.fixture(scope="module")
def new() -> Iterator[Keyring]:
    with keyring() as ring:
        yield make(ring, "New")


@pytest.fixture(scope="module")
def both(old: Keyring, new: Keyring) -> str:
    """The public keys in one file, as step 1 of the rotation makes it."""
    with keyring(old.public, new.public) as ring:
        return ring.public


@pytest.fixture(scope="module")
def expired(old: Keyring) -> str:
    """The old public key, expired a day after it was made."""
    with keyring(old.private, options=(IN_2024,)) as ring:
        ring.gpg("--quick-set-expire", old.fingerprint, "1d")
        return ring.public


@pytest.fixture(scope="module")
def revoked(old: Keyring) -> str:
    """The old public key with the revocation that gpg made along with it."""
    certificate = (old.home / f"openpgp-revocs.d/{old.fingerprint}.rev").read_text()
    with keyring(old.public, certificate.replace(":-----BEGIN", "-----BEGIN")) as ring:
        return ring.public


@pytest.fixture(scope="module")
def machines(base_images: None, old: Keyring) -> Iterator[list[Machine]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(machine(suite, old.public)) for suite in SUITES]


@dataclass(frozen=True)
class Site:
    """A repository, its publisher, and machines that install from it."""

    s3: S3Client
    url: str
    machines: list[Machine]
    releases: Iterator[int] = field(default_factory=itertools.count)

    def publish(self, keys: str) -> list[str]:
        """Publish the next release, signed with the keys. Returns its version in each suite."""
        store = Store(self.s3, Settings())
        release = next(self.releases)
        debs = {suite: Deb(f"1.0.{release}-1~{suite}") for suite in SUITES}
        with Signer(keys) as signer:
            for suite, deb in debs.items():
                store.scratch.put(deb.key, deb.content)
                publish(self.suite(suite), {deb.key: deb.artifact}, signer)
        return [deb.version for deb in debs.values()]

    def suite(self, name: str) -> Suite:
        store = Store(self.s3, Settings())
        return Suite(store.downloads, store.scratch, "debian", name)

    def sign_again(self, keys: str) -> None:
        """Do what ``bin/apt-suite sign`` does, for each suite."""
        with Signer(keys) as signer:
            for suite in SUITES:
                said = list(apt_suite.sign(self.suite(suite), signer))
                assert said == [f"debian {suite} is signed by {key}" for key in signer.fingerprints]

    def answers(self, public_keys: str) -> list[str]:
        """For users of each suite who have these keys: the version that they get, or apt's error."""

        def install(machine: Machine) -> str:
            write = ["docker", "exec", "-i", machine.container, "sh", "-c", "cat >/hhvm.asc"]
            subprocess.run(write, input=public_keys, check=True, text=True)
            try:
                return machine.install(f"{self.url}/debian")
            except AptFailed as error:
                return str(error)

        with ThreadPoolExecutor() as pool:
            return list(pool.map(install, self.machines))

    def assert_refused(self, public_keys: str, reason: str) -> None:
        """Apt refuses users of each suite who have these keys, for this reason."""
        for answer in self.answers(public_keys):
            assert re.search(reason, answer)
            assert "is not signed" in answer


@pytest.fixture
def site(s3: S3Client, s3_directory: Path, machines: list[Machine]) -> Iterator[Site]:
    with website(s3_directory / Settings().downloads_bucket) as server:
        yield Site(s3, server.url, machines)


# The rotation


def test_before_it_those_who_have_the_old_key_get_packages(
    site: Site, old: Keyring, new: Keyring, both: str
) -> None:
    version = site.publish(old.private)
    assert site.answers(old.public) == version
    assert site.answers(both) == version
    site.assert_refused(new.public, UNKNOWN)


def test_while_both_keys_sign_those_who_have_either_get_packages(
    site: Site, old: Keyring, new: Keyring, both: str
) -> None:
    site.publish(old.private)
    version = site.publish(old.private + new.private)
    assert site.answers(old.public) == version
    assert site.answers(both) == version
    assert site.answers(new.public) == version


def test_after_it_those_who_have_only_the_old_key_get_none(
    site: Site, old: Keyring, new: Keyring, both: str
) -> None:
    site.publish(old.private + new.private)
    version = site.publish(new.private)
    site.assert_refused(old.public, UNKNOWN)
    assert site.answers(both) == version
    assert site.answers(new.public) == version


def test_the_order_of_the_two_keys_does_not_matter(site: Site, old: Keyring, new: Keyring) -> None:
    version = site.publish(new.private + old.private)
    assert site.answers(old.public) == version
    assert site.answers(new.public) == version


def test_a_suite_without_new_packages_is_signed_with_both_keys_too(
    site: Site, old: Keyring, new: Keyring
) -> None:
    version = site.publish(old.private)
    site.sign_again(old.private + new.private)
    assert site.answers(old.public) == version
    assert site.answers(new.public) == version


# A suite that only the old key signed, and a publisher without its private half


def test_the_new_key_alone_does_not_add_to_what_an_unknown_key_signed(
    site: Site, old: Keyring, new: Keyring
) -> None:
    version = site.publish(old.private)
    with pytest.raises(BadSignature, match="no public key"):
        site.publish(new.private)
    assert site.answers(old.public) == version


def test_with_the_old_public_key_the_new_key_adds_to_it(site: Site, old: Keyring, new: Keyring) -> None:
    site.publish(old.private)
    version = site.publish(new.private + old.public)
    assert site.answers(new.public) == version
    site.assert_refused(old.public, UNKNOWN)


# The old key expires


def test_those_whose_only_key_is_expired_get_none(site: Site, old: Keyring, expired: str) -> None:
    site.publish(old.private)
    site.assert_refused(expired, EXPIRED)


def test_those_who_fetch_the_key_that_was_extended_get_packages_again(
    site: Site, old: Keyring, expired: str
) -> None:
    with keyring(old.private, expired) as ring:
        ring.gpg("--quick-set-expire", old.fingerprint, "2y")
        version = site.publish(ring.private)
        site.assert_refused(expired, EXPIRED)
        assert site.answers(ring.public) == version


def test_what_both_keys_signed_is_good_when_the_old_one_is_expired(
    site: Site, old: Keyring, new: Keyring, expired: str
) -> None:
    version = site.publish(old.private + new.private)
    with keyring(expired, new.public) as ring:
        assert site.answers(ring.public) == version
    site.assert_refused(expired, EXPIRED)


# The old key is in the wrong hands


def test_those_who_have_the_revocation_do_not_believe_the_old_key(
    site: Site, old: Keyring, new: Keyring, revoked: str
) -> None:
    site.publish(old.private)
    with keyring(revoked, new.public) as ring:
        site.assert_refused(ring.public, REVOKED)


def test_those_who_have_the_revocation_get_what_the_new_key_signed(
    site: Site, old: Keyring, new: Keyring, revoked: str
) -> None:
    version = site.publish(old.private)
    site.sign_again(new.private + old.public)
    with keyring(revoked, new.public) as ring:
        assert site.answers(ring.public) == version


def test_a_publisher_with_the_revocation_does_not_add_to_what_the_old_key_signed(
    site: Site, old: Keyring, new: Keyring, revoked: str
) -> None:
    site.publish(old.private)
    with pytest.raises(BadSignature, match="revoked"):
        site.publish(new.private + revoked)
