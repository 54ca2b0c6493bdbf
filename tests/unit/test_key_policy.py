"""Keys that apt of Debian 13 refuses are refused here first, with what to do. sqv and gpg are real."""

from __future__ import annotations

import logging
import subprocess
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.apt import key_policy, signing
from hhvm_packaging.apt.signing import Signer, UnusableKey

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Gpg = Callable[..., bytes]

TEXT = b"Origin: HHVM\n"
SHA1 = ("--cert-digest-algo", "SHA1")


@contextmanager
def gpg_home() -> Generator[Gpg]:
    """Run gpg with a key ring of its own."""
    with tempfile.TemporaryDirectory(prefix="keys-") as home:

        def gpg(*arguments: str) -> bytes:
            command = ["gpg", f"--homedir={home}", "--batch", "--pinentry-mode=loopback", "--passphrase="]
            return subprocess.run([*command, *arguments], check=True, capture_output=True).stdout

        try:
            yield gpg
        finally:
            subprocess.run(["gpgconf", f"--homedir={home}", "--kill", "all"], check=True)


@pytest.fixture
def gpg() -> Generator[Gpg]:
    with gpg_home() as gpg:
        yield gpg


def make(gpg: Gpg, algorithm: str, *options: str, usage: str = "sign") -> str:
    """Make a key. Returns its fingerprint."""
    gpg(*options, "--quick-generate-key", "HHVM <hhvm@example.org>", algorithm, usage, "never")
    listed = gpg("--list-keys", "--with-colons").decode()
    return next(line for line in listed.splitlines() if line.startswith("fpr:")).split(":")[9]


def private(gpg: Gpg) -> bytes:
    return gpg("--export-secret-keys")


def sha1_key(gpg: Gpg) -> None:
    make(gpg, "rsa3072", *SHA1)


def short_key(gpg: Gpg) -> None:
    make(gpg, "rsa1024")


def dsa_key(gpg: Gpg) -> None:
    make(gpg, "dsa2048")


def dsa_key_with_a_good_subkey(gpg: Gpg) -> None:
    gpg("--quick-add-key", make(gpg, "dsa2048"), "ed25519", "sign", "never")


def sha1_key_with_a_good_subkey(gpg: Gpg) -> None:
    gpg("--quick-add-key", make(gpg, "rsa3072", *SHA1), "ed25519", "sign", "never")


def sha1_subkey(gpg: Gpg) -> None:
    """The primary key is good, but it certifies its subkey with SHA-1."""
    fingerprint = make(gpg, "rsa3072", usage="cert")
    gpg("--allow-weak-key-signatures", *SHA1, "--quick-add-key", fingerprint, "rsa3072", "sign", "never")


@pytest.mark.parametrize(
    ("make_bad", "reason"),
    [
        (sha1_key, "SHA1 is not considered secure"),
        (short_key, "RSA1024 is not considered secure"),
        (dsa_key, "DSA is not considered secure"),
        (dsa_key_with_a_good_subkey, "DSA is not considered secure"),
        (sha1_key_with_a_good_subkey, "SHA1 is not considered secure"),
        (sha1_subkey, "SHA1 is not considered secure"),
    ],
)
def test_a_key_that_debian_13_refuses_does_not_sign(
    gpg: Gpg, make_bad: Callable[[Gpg], None], reason: str
) -> None:
    make_bad(gpg)
    with (
        pytest.raises(UnusableKey, match=rf"apt of Debian 13 refuses .*{reason}.* docs/signing\.md"),
        Signer(private(gpg)),
    ):
        pass


def md5_key(gpg: Gpg) -> None:
    make(gpg, "rsa3072", "--cert-digest-algo", "MD5")


def key_that_does_not_sign(gpg: Gpg) -> None:
    make(gpg, "ed25519", usage="cert")


def key_whose_subkey_expired(gpg: Gpg) -> None:
    fingerprint = make(gpg, "ed25519", "--faked-system-time", "20200101T000000", usage="cert")
    gpg("--faked-system-time", "20200101T000000", "--quick-add-key", fingerprint, "ed25519", "sign", "1d")


@pytest.mark.parametrize("make_bad", [md5_key, key_that_does_not_sign, key_whose_subkey_expired])
def test_a_key_with_which_gpg_does_not_sign_is_refused(gpg: Gpg, make_bad: Callable[[Gpg], None]) -> None:
    make_bad(gpg)
    with pytest.raises(UnusableKey), Signer(private(gpg)):
        pass


@pytest.mark.parametrize("has_another", [False, True])
def test_a_key_that_was_made_by_a_clock_that_was_ahead_is_named(gpg: Gpg, *, has_another: bool) -> None:
    """gpg leaves it out, and says that it has no user."""
    made = make(gpg, "ed25519", "--faked-system-time", "20990101T000000")
    keys = private(gpg)
    with gpg_home() as other:
        make(other, "ed25519")
        both = private(other) + keys if has_another else keys
    with pytest.raises(UnusableKey, match=rf"the key {made} was made on 2099-01-01 .*: set this clock"):
        Signer(both).__enter__()


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa3072", "rsa4096", "nistp256"])
def test_a_good_key_signs_without_a_word(gpg: Gpg, algorithm: str, caplog: pytest.LogCaptureFixture) -> None:
    make(gpg, algorithm)
    with Signer(private(gpg)) as signer:
        assert signing.find_fault(TEXT, signer.detach(TEXT), signer.public_key()) is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_key_is_mended_as_the_documents_say(gpg: Gpg) -> None:
    """With the same fingerprint: users only need the new public key."""
    fingerprint = make(gpg, "rsa3072", *SHA1)
    gpg("--quick-set-expire", fingerprint, "2y")
    with Signer(private(gpg)) as signer:
        assert signer.fingerprint == fingerprint


def test_beside_a_good_key_a_bad_one_only_warns(gpg: Gpg, caplog: pytest.LogCaptureFixture) -> None:
    sha1_key(gpg)
    with gpg_home() as other:
        make(other, "ed25519")
        keys = private(gpg) + private(other)
    with Signer(keys) as signer:
        assert len(signer.fingerprints) == 2
    assert f"{signer.fingerprints[0]}: apt of Debian 13 refuses it" in caplog.text


def test_what_users_have_of_a_key_decides(gpg: Gpg) -> None:
    """The private key was mended, but its old public half is still what is published."""
    fingerprint = make(gpg, "rsa3072", *SHA1)
    published = gpg("--armor", "--export")
    gpg("--quick-set-expire", fingerprint, "2y")
    with Signer(private(gpg)) as signer:
        signature = signer.detach(TEXT)
        assert signing.find_fault(TEXT, signature, signer.public_key()) is None
    assert "SHA1" in (signing.find_fault(TEXT, signature, published) or "")


def test_a_check_that_cannot_be_made_is_named(
    gpg: Gpg, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    for tool in ("gpg", "gpgconf", "gpg-agent"):
        where = subprocess.run(["which", tool], check=True, capture_output=True, text=True).stdout.strip()
        (tmp_path / tool).symlink_to(where)
    fingerprint = make(gpg, "rsa3072", *SHA1)
    keys = private(gpg)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with Signer(keys):
            pass
    assert "sqv is not installed" in caplog.text
    assert fingerprint in caplog.text


def test_what_will_be_refused_within_some_time_is_known() -> None:
    assert "rsa2048 = 2029-12-03" in key_policy.render(timedelta(days=60))
