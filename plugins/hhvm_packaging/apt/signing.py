"""Signing with gpg keys that are on disk only while they are used, and verifying signatures."""

from __future__ import annotations

import hashlib
import io
import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import gnupg

from hhvm_packaging.apt import key_policy
from hhvm_packaging.apt.gpg_home import temporary_home
from hhvm_packaging.errors import PackagingError

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

# At DEBUG python-gnupg logs the keys that it imports.
logging.getLogger("gnupg").setLevel(logging.INFO)

_OPTIONS = [
    "--digest-algo=SHA512",
    # A key with a passphrase fails at once. Otherwise gpg would wait for somebody to type it.
    "--pinentry-mode=loopback",
]
_EXPIRED = "signing key has expired"
"""A status of python-gnupg."""

log = logging.getLogger(__name__)

_SAMPLE = b"Signed to find out whether users accept it.\n"
_MEND = "Mend or replace the key, and give users the new public key: docs/signing.md"

EXPIRY_WARNING = timedelta(days=60)
"""From how long before a key expires each use of it logs a warning: users need time to get the next key."""


class UnusableKey(PackagingError):
    """A key cannot be read, or cannot sign. The message never contains any of the key."""


class BadSignature(PackagingError):
    """A signature is missing, wrong, or made with an unknown, expired or revoked key."""


@dataclass(frozen=True)
class _Fault:
    """Why apt of Debian 13 refuses a key."""

    reason: str
    is_soon: bool
    """Whether it refuses it not now, but before EXPIRY_WARNING has passed."""


class Signer:
    """Signs with private keys that are removed from disk after the ``with`` block.

    With several private keys it makes a signature with each. One valid signature is enough for users, so that
    one key can replace another. The keys may include public keys of earlier signers, and ``public_key()`` has
    them too, so that what those signed still verifies.

    Entering raises UnusableKey if there is no private key, if one is expired or revoked or cannot sign, or if
    apt of Debian 13 refuses all of them.
    """

    fingerprints: list[str]
    """The fingerprints of the primary keys of the private keys."""
    all_fingerprints: list[str]
    """Those, and the fingerprints of their subkeys."""
    expires: datetime | None
    """When the first of the private keys expires; None if none does."""

    def __init__(self, keys: str | bytes, run: str = "") -> None:
        """``keys`` are keys without a passphrase, one after the other; all armored or all binary.

        ``run`` says for people who signs: each signature is logged with it.
        """
        self._keys = keys.encode() if isinstance(keys, str) else keys
        self._run = run

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._gpg = stack.enter_context(_keyring(self._keys))
            self.fingerprints = [key["fingerprint"] for key in self._gpg.list_keys(secret=True)]
            if not self.fingerprints:
                raise UnusableKey("a private key is needed to sign with, and none was found")
            listed = self._gpg.list_keys(keys=self.fingerprints)
            self.all_fingerprints = [
                *self.fingerprints,
                *(subkey[2] for key in listed for subkey in key["subkeys"]),
            ]
            ends = [_check(key) for key in listed]
            self.expires = min((end for end in ends if end), default=None)
            # At the first signature gpg's agent rewrites the file of an imported key. Another signature that
            # was made at the same time would read half of it and fail.
            self._sign(io.BytesIO(b""))
            _check_policy({key["fingerprint"]: self._find_fault(key) for key in listed})
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the first private key."""
        return self.fingerprints[0]

    def clearsign(self, content: bytes, what: str = "a text") -> bytes:
        """The text with its signature around it, as in InRelease. Raises UnusableKey.

        The log says what was signed: ``what`` it is for people, and its SHA-256.
        """
        signature = self._sign(io.BytesIO(content))
        self._record(what, hashlib.sha256(content).hexdigest())
        return signature

    def detach(self, content: bytes | Path, what: str = "a file") -> bytes:
        """As ``clearsign``, but the armored signature alone, of bytes or of a file, which is streamed."""
        with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
            signature = self._sign(file, detach=True)
            file.seek(0)
            self._record(what, hashlib.file_digest(file, "sha256").hexdigest())
        return signature

    def _record(self, what: str, sha256: str) -> None:
        by = " and ".join(self.fingerprints)
        log.info("Signed %s, SHA-256 %s, with %s, for %s", what, sha256, by, self._run or "nobody's run")

    def signed_text(self, content: bytes) -> bytes:
        """The text that one of these keys clearsigned, without anything outside the signature.

        A key that has expired since is accepted: it was valid when it signed, and the publisher with the next
        key must be able to read this. Raises BadSignature.
        """
        return _signed_text(self._gpg, content)

    def verify(self, content: bytes, signature: bytes) -> None:
        """As ``signed_text``, but for a detached signature. Raises BadSignature."""
        _verify(self._gpg, content, signature, but_for={_EXPIRED})

    def _find_fault(self, key: dict[str, Any]) -> _Fault | None:
        """What apt of Debian 13 has against signatures by the key."""
        if not key_policy.is_checked():
            return None
        fingerprint = key["fingerprint"]
        result = self._gpg.sign_file(
            io.BytesIO(_SAMPLE), detach=True, binary=True, extra_args=[f"--local-user={fingerprint}"]
        )
        public = _export(self._gpg, [fingerprint])
        signed_with = key.get("subkey_info", {}).get(result.fingerprint[-16:], key)
        algorithms = {key["algo"], signed_with["algo"]}
        for ahead in (timedelta(0), EXPIRY_WARNING):
            weak = (key_policy.find_weak_algorithm(algorithm, ahead=ahead) for algorithm in algorithms)
            reason = next(filter(None, weak), None) or key_policy.find_fault(
                _SAMPLE, result.data, public, ahead=ahead
            )
            if reason:
                return _Fault(reason, is_soon=bool(ahead))
        return None

    def _sign(self, file: io.BufferedIOBase, *, detach: bool = False) -> bytes:
        by = [f"--local-user={fingerprint}" for fingerprint in self.fingerprints]
        result = self._gpg.sign_file(file, detach=detach, extra_args=by)
        # If one of several keys cannot sign, there may still be signatures of the others.
        if not result or result.returncode:
            reason = result.status or "is it protected by a passphrase?"
            raise UnusableKey(f"gpg cannot sign with {' and '.join(self.fingerprints)}: {reason}")
        signature: bytes = result.data
        return signature

    def public_key(self) -> bytes:
        """The public keys that users verify with, armored."""
        keys: str = self._gpg.export_keys([key["fingerprint"] for key in self._gpg.list_keys()])
        return keys.encode()


def verify(content: bytes | Path, signature: bytes, public_keys: bytes, *, expired: bool = False) -> str:
    """The fingerprint of the primary key, one of ``public_keys``, whose detached signature this is.

    Raises BadSignature for any other signature, for one whose key is revoked, and for one whose key has
    expired, unless ``expired`` allows that; UnusableKey if ``public_keys`` has no key.
    """
    with _keyring(public_keys) as gpg:
        return _verify(gpg, content, signature, but_for={_EXPIRED} if expired else ())


def _verify(gpg: gnupg.GPG, content: bytes | Path, signature: bytes, but_for: Collection[str] = ()) -> str:
    if isinstance(content, bytes):
        path = Path(gpg.gnupghome, "content")
        path.write_bytes(content)
    else:
        path = content
    return _signer(gpg.verify_file(io.BytesIO(signature), str(path)), but_for)


def signed_text(content: bytes, public_keys: bytes) -> bytes:
    """As Signer.signed_text, but for ``public_keys``. Raises UnusableKey if they contain no key."""
    with _keyring(public_keys) as gpg:
        return _signed_text(gpg, content)


def _signed_text(gpg: gnupg.GPG, content: bytes) -> bytes:
    result = gpg.decrypt_file(io.BytesIO(content))
    _signer(result, but_for={_EXPIRED})
    text: bytes = result.data
    return text


def signed_by(content: bytes, public_keys: bytes) -> tuple[bytes, dict[str, datetime | None]]:
    """As ``signed_text``, and which of the ``public_keys`` signed it.

    Returns the text, and by the fingerprint of each such primary key when it expires.
    """
    with _keyring(public_keys) as gpg:
        result = gpg.decrypt_file(io.BytesIO(content))
        good = _good(result, but_for={_EXPIRED})
        return result.data, {
            key["fingerprint"]: _expiry(key) for key in gpg.list_keys() if key["fingerprint"] in good
        }


def find_expiries(public_keys: bytes) -> dict[str, datetime | None]:
    """When each key expires, by the fingerprint of its primary key. Raises UnusableKey if there is none."""
    with _keyring(public_keys) as gpg:
        return {key["fingerprint"]: _expiry(key) for key in gpg.list_keys()}


def _signer(result: gnupg.Verify, but_for: Collection[str] = ()) -> str:
    """The fingerprint of a good signature's primary key; see ``_good``. Raises BadSignature."""
    return _good(result, but_for)[0]


def _good(result: gnupg.Verify, but_for: Collection[str] = ()) -> list[str]:
    """The fingerprints of the good signatures' primary keys. The statuses ``but_for`` are no problem.

    As for apt, one good signature is enough if none is bad, also if others are by unknown keys. Raises
    BadSignature.
    """
    problems = {problem["keyid"]: problem["status"] for problem in result.problems}
    good = [
        signature
        for signature in result.sig_info.values()
        if signature.get("status") == "signature valid"
        and problems.get(signature["keyid"]) in (None, *but_for)
    ]
    if not good or any(problem["status"] == "signature bad" for problem in result.problems):
        reasons = [f"{status} (key {key_id})" for key_id, status in problems.items()]
        raise BadSignature("; ".join(reasons) or result.status or "no signature")
    return [signature["pubkey_fingerprint"] for signature in good]


def _check(key: dict[str, Any]) -> datetime | None:
    """When the key expires; logs a warning if that is soon. Raises UnusableKey if it cannot be used."""
    fingerprint, expires, now = key["fingerprint"], _expiry(key), datetime.now(UTC)
    if key["trust"] == "r":
        raise UnusableKey(f"the signing key {fingerprint} is revoked")
    if expires and expires <= now:
        raise UnusableKey(f"the signing key {fingerprint} expired on {expires:%Y-%m-%d %H:%M} UTC")
    if expires and expires - now < EXPIRY_WARNING:
        log.warning(
            "The signing key %s expires on %s, in %d days: extend it or replace it, and give users the "
            "new public key before that",
            fingerprint,
            f"{expires:%Y-%m-%d %H:%M} UTC",
            (expires - now).days,
        )
    return expires


def _check_policy(faults: Mapping[str, _Fault | None]) -> None:
    """Warn of keys that apt of Debian 13 refuses, or will soon. Raises UnusableKey if it refuses all of them.

    One good signature is enough for users.
    """
    if not key_policy.is_checked():
        log.warning(key_policy.MISSING.format(what=f"the signing key {' and '.join(faults)}"))
    refused = {}
    for fingerprint, fault in faults.items():
        if fault is None:
            continue
        if not fault.is_soon:
            refused[fingerprint] = fault.reason
        when = f"will refuse it within {EXPIRY_WARNING.days} days" if fault.is_soon else "refuses it"
        log.warning("The signing key %s: apt of Debian 13 %s: %s. %s", fingerprint, when, fault.reason, _MEND)
    if refused and len(refused) == len(faults):
        reasons = "; ".join(f"{fingerprint}: {reason}" for fingerprint, reason in refused.items())
        raise UnusableKey(f"apt of Debian 13 refuses what the signing key signs: {reasons}. {_MEND}")


def find_fault(content: bytes, signature: bytes, public_keys: bytes) -> str | None:
    """Why apt of Debian 13 refuses a detached signature; None if it accepts it, or if sqv is not installed.

    Raises UnusableKey if ``public_keys`` contain no key.
    """
    if not key_policy.is_checked():
        return None
    with _keyring(public_keys) as gpg:
        return key_policy.find_fault(content, signature, _export(gpg, None))


def _export(gpg: gnupg.GPG, fingerprints: list[str] | None) -> bytes:
    """The binary public keys."""
    chosen = fingerprints or [key["fingerprint"] for key in gpg.list_keys()]
    keys: bytes = gpg.export_keys(chosen, armor=False)
    return keys


def _expiry(key: dict[str, Any]) -> datetime | None:
    """When the primary key expires, or the last of its signing subkeys, whichever is earlier."""
    subkeys = [key["subkey_info"][subkey[0]] for subkey in key["subkeys"] if "s" in subkey[1]]
    signing = [_time(subkey["expires"]) for subkey in subkeys if subkey["trust"] != "r"]
    ends = [_time(key["expires"])]
    # gpg signs with a subkey if there is one.
    if signing and None not in signing:
        ends.append(max(end for end in signing if end))
    return min((end for end in ends if end), default=None)


def _time(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _refuse_future(gpg: gnupg.GPG, keys: bytes) -> None:
    """Raises UnusableKey for a key that was made later than now, by the clock of this machine."""
    now = datetime.now(UTC)
    for key in gpg.scan_keys_mem(keys):
        made = _time(key["date"])
        if made and made > now:
            raise UnusableKey(
                f"the key {key['fingerprint']} was made on {made:%Y-%m-%d %H:%M} UTC, but here it is "
                f"{now:%Y-%m-%d %H:%M} UTC: set this clock, or if that of the other machine was wrong, make "
                "another key there"
            )


@contextmanager
def _keyring(keys: bytes) -> Generator[gnupg.GPG]:
    """Run gpg with these keys only."""
    with temporary_home() as home:
        gpg = gnupg.GPG(gnupghome=str(home), options=_OPTIONS)
        # gpg quotes lines of a broken key in its messages, so they are dropped.
        imported = gpg.import_keys(keys)
        # It leaves a key of the future out as one without a user ID.
        if imported.no_user_id:
            _refuse_future(gpg, keys)
        if not imported.fingerprints:
            raise UnusableKey("no gpg key was found where one is needed")
        yield gpg
