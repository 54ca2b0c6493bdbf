"""Signatures that users' apt accepts, with a key that leaves no trace. The gpg is the real one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging import private_directory
from hhvm_packaging.apt import signing
from hhvm_packaging.apt.signing import BadSignature, Signer, UnusableKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT = b"Origin: HHVM\n- a dash\n"


def make_key(home: Path, *options: str, expires: str = "never", passphrase: str = "") -> str:
    """An armored private key, made in the directory ``home``."""
    home.mkdir(mode=0o700)
    # By default the agent spends seconds to find how much work a passphrase should be.
    (home / "gpg-agent.conf").write_text("s2k-count 65536\n")
    gpg = [
        "gpg",
        "--homedir",
        str(home),
        "--batch",
        "--pinentry-mode",
        "loopback",
        "--passphrase",
        passphrase,
    ]
    identity = f"{home.name} <hhvm@example.org>"
    subprocess.run(
        [*gpg, *options, "--quick-generate-key", identity, "ed25519", "default", expires], check=True
    )
    done = subprocess.run(
        [*gpg, "--armor", "--export-secret-keys"], check=True, capture_output=True, text=True
    )
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    return done.stdout


@pytest.fixture(scope="session")
def homes() -> Iterator[Path]:
    # Sockets have short paths, and pytest's own directories are long.
    with tempfile.TemporaryDirectory(prefix="keys-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def private_key(homes: Path) -> str:
    return make_key(homes / "HHVM")


@pytest.fixture(scope="session")
def other_key(homes: Path) -> str:
    return make_key(homes / "Mallory")


@pytest.fixture(scope="session")
def expired_key(homes: Path) -> str:
    return make_key(homes / "Old", "--faked-system-time", "20200101T000000", expires="1d")


@pytest.fixture
def signer(private_key: str) -> Iterator[Signer]:
    with Signer(private_key) as signer:
        yield signer


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for keys in use, which nobody else uses."""
    with tempfile.TemporaryDirectory(prefix="t-") as directory:
        monkeypatch.setattr(private_directory, "PATH", Path(directory))
        yield Path(directory)


def test_a_clearsigned_text_is_read_back(signer: Signer) -> None:
    assert signing.signed_text(signer.clearsign(TEXT), signer.public_key()) == TEXT


def test_what_stands_around_a_clearsigned_text_is_not_read(signer: Signer) -> None:
    content = b"Origin: Mallory\n\n" + signer.clearsign(TEXT) + b"\nOrigin: Mallory\n"
    assert signing.signed_text(content, signer.public_key()) == TEXT


def test_bytes_verify_against_their_signature(signer: Signer) -> None:
    assert signing.verify(TEXT, signer.detach(TEXT), signer.public_key()) == signer.fingerprint


def test_signing_does_not_change_the_key_that_others_sign_with(private_key: str, temporary: Path) -> None:
    """Gpg's agent rewrites an imported key when it is first used: who reads it then cannot sign."""
    with Signer(private_key) as signer:
        [home] = temporary.iterdir()
        before = {path: path.read_bytes() for path in home.glob("private-keys-v1.d/*.key")}
        assert before
        signer.clearsign(TEXT)
        assert {path: path.read_bytes() for path in before} == before


def test_a_file_verifies_against_its_signature(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "hhvm.tar.gz"
    path.write_bytes(TEXT * 100_000)
    assert signing.verify(path, signer.detach(path), signer.public_key()) == signer.fingerprint


def test_signatures_use_sha512(signer: Signer) -> None:
    packets = subprocess.run(
        ["gpg", "--list-packets"], input=signer.detach(TEXT), capture_output=True, check=True
    )
    assert b"digest algo 10" in packets.stdout
    assert b"Hash: SHA512" in signer.clearsign(TEXT)


def test_keys_and_signatures_are_armored(signer: Signer) -> None:
    assert signer.detach(TEXT).startswith(b"-----BEGIN PGP SIGNATURE-----")
    assert signer.public_key().startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_changed_bytes_do_not_verify(signer: Signer) -> None:
    with pytest.raises(BadSignature, match="bad"):
        signing.verify(TEXT + b"more", signer.detach(TEXT), signer.public_key())


def test_a_changed_clearsigned_text_does_not_verify(signer: Signer) -> None:
    with pytest.raises(BadSignature, match="bad"):
        signing.signed_text(signer.clearsign(TEXT).replace(b"HHVM", b"PHP"), signer.public_key())


@pytest.mark.parametrize("signature", [b"", b"not a signature"])
def test_an_absent_signature_does_not_verify(signer: Signer, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        signing.verify(TEXT, signature, signer.public_key())


@pytest.mark.parametrize("content", [b"", TEXT])
def test_an_unsigned_text_does_not_verify(signer: Signer, content: bytes) -> None:
    with pytest.raises(BadSignature):
        signing.signed_text(content, signer.public_key())


def test_the_signature_of_an_unknown_key_does_not_verify(signer: Signer, other_key: str) -> None:
    with Signer(other_key) as mallory:
        signature, text = mallory.detach(TEXT), mallory.clearsign(TEXT)
    with pytest.raises(BadSignature, match="no public key"):
        signing.verify(TEXT, signature, signer.public_key())
    with pytest.raises(BadSignature, match="no public key"):
        signing.signed_text(text, signer.public_key())


def test_the_public_key_of_an_earlier_signer_stays_trusted_and_public(
    private_key: str, other_key: str
) -> None:
    with Signer(private_key) as old:
        text, old_public_key = old.clearsign(TEXT), old.public_key()
    with Signer(other_key + old_public_key.decode()) as new:
        assert new.fingerprint != old.fingerprint
        assert signing.signed_text(text, new.public_key()) == TEXT
        assert signing.verify(TEXT, new.detach(TEXT), new.public_key()) == new.fingerprint


def test_with_two_private_keys_those_who_know_either_can_verify(private_key: str, other_key: str) -> None:
    with Signer(private_key + other_key) as both:
        text, signature = both.clearsign(TEXT), both.detach(TEXT)
    for key in (private_key, other_key):
        with Signer(key) as one:
            assert signing.signed_text(text, one.public_key()) == TEXT
            assert signing.verify(TEXT, signature, one.public_key()) == one.fingerprint


def test_with_two_private_keys_both_are_public_and_the_first_is_the_one_that_is_named(
    private_key: str, other_key: str
) -> None:
    with Signer(other_key) as other:
        signature = other.detach(TEXT)
    with Signer(private_key) as first, Signer(private_key + other_key) as both:
        assert both.fingerprint == first.fingerprint
        assert signing.verify(TEXT, signature, both.public_key()) == other.fingerprint


def test_one_bad_signature_spoils_a_good_one(private_key: str, other_key: str) -> None:
    with Signer(private_key) as one, Signer(other_key) as other:
        signatures = one.detach(TEXT) + other.detach(TEXT + b"more")
        public = one.public_key() + other.public_key()
    with pytest.raises(BadSignature, match="bad"):
        signing.verify(TEXT, signatures, public)


def test_a_text_that_somebody_else_signed_before_ours_is_not_read(signer: Signer, other_key: str) -> None:
    with Signer(other_key) as mallory:
        content = mallory.clearsign(b"Origin: Mallory\n") + signer.clearsign(TEXT)
    with pytest.raises(BadSignature, match="no public key"):
        signing.signed_text(content, signer.public_key())


def test_what_a_key_signed_before_it_expired_is_read_but_does_not_verify(
    expired_key: str, homes: Path
) -> None:
    gpg = ["gpg", "--homedir", str(homes / "Old"), "--batch", "--faked-system-time", "20200101T100000"]
    clear = subprocess.run([*gpg, "--clearsign"], input=TEXT, capture_output=True, check=True).stdout
    detached = subprocess.run([*gpg, "--detach-sign"], input=TEXT, capture_output=True, check=True).stdout
    public = subprocess.run([*gpg, "--armor", "--export"], capture_output=True, check=True).stdout
    subprocess.run(["gpgconf", "--homedir", homes / "Old", "--kill", "all"], check=True)
    assert signing.signed_text(clear, public) == TEXT
    with pytest.raises(BadSignature, match="expired"):
        signing.verify(TEXT, detached, public)


def test_verifying_without_a_public_key_is_an_error_of_its_own() -> None:
    with pytest.raises(UnusableKey):
        signing.verify(TEXT, b"", b"no key")


def test_an_expired_key_does_not_sign(expired_key: str) -> None:
    with pytest.raises(UnusableKey, match="expired on 2020-01-0"), Signer(expired_key):
        pass


@pytest.mark.parametrize(("days", "warned"), [(59, True), (70, False)])
def test_a_key_that_expires_soon_warns_in_time(
    homes: Path, caplog: pytest.LogCaptureFixture, days: int, warned: bool
) -> None:
    key = make_key(homes / f"in{days}days", expires=f"{days}d")
    with Signer(key) as signer:
        assert signer.expires is not None
        assert timedelta(days=days - 1) < signer.expires - datetime.now(UTC) <= timedelta(days=days)
    assert ("extend it or replace it" in caplog.text) is warned


def test_a_key_that_does_not_expire_says_so(signer: Signer) -> None:
    assert signer.expires is None


@pytest.fixture(scope="session")
def subkey(homes: Path) -> Iterator[Callable[[str], bytes]]:
    """What gpg exports of a key with a subkey that signs, and that expires."""
    home = homes / "Subkey"
    make_key(home)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
    listed = subprocess.run(
        [*gpg, "--list-keys", "--with-colons"], capture_output=True, check=True, text=True
    )
    fingerprint = next(line for line in listed.stdout.splitlines() if line.startswith("fpr")).split(":")[9]
    subprocess.run([*gpg, "--quick-add-key", fingerprint, "ed25519", "sign", "30d"], check=True)
    yield lambda what: subprocess.run([*gpg, what], check=True, capture_output=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def test_what_expires_is_the_subkey_that_signs(subkey: Callable[[str], bytes]) -> None:
    with Signer(subkey("--export-secret-keys")) as signer:
        assert signer.expires is not None
        assert signer.expires - datetime.now(UTC) <= timedelta(days=30)


def test_the_primary_key_may_stay_offline_where_a_subkey_signs(subkey: Callable[[str], bytes]) -> None:
    public = subkey("--export")
    with Signer(subkey("--export-secret-subkeys")) as signer:
        assert signing.verify(TEXT, signer.detach(TEXT), public) == signer.fingerprint


def test_a_key_with_a_passphrase_does_not_sign_and_does_not_wait(homes: Path) -> None:
    key = make_key(homes / "Locked", passphrase="open sesame")  # ruff: ignore[hardcoded-password-func-arg]
    with pytest.raises(UnusableKey, match="passphrase"), Signer(key):
        pass


def test_a_key_with_a_passphrase_is_not_left_out_either(private_key: str, homes: Path) -> None:
    key = make_key(homes / "Locked2", passphrase="open sesame")  # ruff: ignore[hardcoded-password-func-arg]
    for keys in (private_key + key, key + private_key):
        with pytest.raises(UnusableKey, match="cannot sign"), Signer(keys):
            pass


def test_an_expired_key_is_not_left_out_either(private_key: str, expired_key: str) -> None:
    with pytest.raises(UnusableKey, match="expired on 2020-01-0"), Signer(private_key + expired_key):
        pass


def test_the_first_of_several_keys_that_expires_is_the_one_that_counts(private_key: str, homes: Path) -> None:
    keys = [make_key(homes / f"{days}days", expires=f"{days}d") for days in (200, 100)]
    with Signer("".join([private_key, *keys])) as signer:
        assert signer.expires is not None
        assert signer.expires - datetime.now(UTC) <= timedelta(days=100)


def test_a_public_key_does_not_sign(signer: Signer) -> None:
    with pytest.raises(UnusableKey, match="none was found"), Signer(signer.public_key().decode()):
        pass


def test_no_error_or_log_holds_any_of_the_key(private_key: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    first, _, *lines, last = private_key.splitlines()
    # Without the empty line gpg takes the key for headers, and quotes them.
    with pytest.raises(UnusableKey) as error, Signer("\n".join([first, *lines[:2], last])):
        pass
    shown = f"{error.value!r} {error.value.__context__!r} {caplog.text}"
    assert not [line for line in lines if line in shown]


def test_the_key_is_private_while_it_is_used(private_key: str, temporary: Path) -> None:
    with Signer(private_key):
        (home,) = temporary.iterdir()
        assert home.stat().st_mode & 0o777 == 0o700


def agents(directory: Path) -> list[bytes]:
    """The processes that run for a gpg home in ``directory``."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Any process of this machine may end meanwhile.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines.append(path.read_bytes())
    return [line for line in lines if b"gpg-agent" in line and str(directory).encode() in line]


def assert_no_agent(directory: Path) -> None:
    """The agent is gone, or ends soon: it answers the one who ends it before it does so."""
    deadline = time.monotonic() + 30
    while found := agents(directory):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_neither_key_nor_agent_remains(private_key: str, temporary: Path) -> None:
    with Signer(private_key) as signer:
        signer.clearsign(TEXT)
        assert agents(temporary)
    assert not list(temporary.iterdir())
    assert_no_agent(temporary)


def test_neither_key_nor_agent_remains_after_an_error(private_key: str, temporary: Path) -> None:
    with pytest.raises(FileNotFoundError), Signer(private_key) as signer:
        signer.detach(temporary / "absent")
    assert not list(temporary.iterdir())
    assert_no_agent(temporary)


def test_a_refused_key_does_not_remain(expired_key: str, temporary: Path) -> None:
    with pytest.raises(UnusableKey), Signer(expired_key):
        pass
    assert not list(temporary.iterdir())
    assert_no_agent(temporary)


# Whoever is killed cleans up nothing

LOSES_ITS_LIFE = """
import os, signal, sys
from pathlib import Path
from hhvm_packaging import private_directory
from hhvm_packaging.apt.signing import Signer

private_directory.PATH = Path(sys.argv[1])
with Signer(sys.stdin.read()) as signer:
    signer.clearsign(b"")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def use_and_be_killed(private_key: str, directory: Path) -> None:
    """Let another process be killed while it uses the key."""
    python = [sys.executable, "-c", LOSES_ITS_LIFE, str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(python, env=environment, input=private_key, text=True, check=False)
    assert done.returncode == -signal.SIGKILL


def test_the_key_and_the_agent_of_a_killed_process_are_gone_with_the_next_use(
    private_key: str, temporary: Path
) -> None:
    use_and_be_killed(private_key, temporary)
    (left,) = temporary.iterdir()
    assert list(left.glob("private-keys-v1.d/*.key"))
    assert agents(left)
    with Signer(private_key):
        assert not left.exists()
        assert_no_agent(left)


def test_a_key_in_use_stays_when_another_process_cleans_up(private_key: str, temporary: Path) -> None:
    with Signer(private_key) as signer:
        use_and_be_killed(private_key, temporary)
        assert signing.signed_text(signer.clearsign(TEXT), signer.public_key()) == TEXT


def test_a_directory_that_others_could_read_is_closed_to_them(private_key: str, temporary: Path) -> None:
    temporary.chmod(0o777)
    with Signer(private_key):
        assert temporary.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["a link", "a file"])
def test_no_key_is_laid_where_somebody_else_could_replace_it(
    private_key: str, temporary: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = temporary / "place"
    if what == "a link":
        path.symlink_to(temporary)
    else:
        path.touch()
    monkeypatch.setattr(private_directory, "PATH", path)
    with pytest.raises(private_directory.NotOurs, match="that this user owns"), Signer(private_key):
        pass
