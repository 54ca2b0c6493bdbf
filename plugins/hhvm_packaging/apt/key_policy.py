"""What apt of Debian 13 accepts: it verifies with sqv, the verifier of Sequoia-PGP, and a policy of its own.

gpg, with which we sign, accepts keys and signatures that this policy refuses, such as a key whose
self-signature is made with SHA-1. The dates are those of /usr/share/apt/default-sequoia.config in the package
apt of Debian 13 (version 3.0), in the format of the Sequoia policy configuration. What they do not mention is
as in Sequoia's standard policy, which each sqv has built in.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLICY: Mapping[str, Mapping[str, date]] = {
    "asymmetric_algorithms": {
        "dsa2048": date(2024, 2, 1),
        "dsa3072": date(2024, 2, 1),
        "dsa4096": date(2024, 2, 1),
        "brainpoolp256": date(2028, 2, 1),
        "brainpoolp384": date(2028, 2, 1),
        "brainpoolp512": date(2028, 2, 1),
        "rsa2048": date(2030, 2, 1),
    },
    "hash_algorithms": {
        "sha1.second_preimage_resistance": date(2026, 2, 1),
        "sha224": date(2026, 2, 1),
    },
    "packets": {"signature.v3": date(2026, 2, 1)},
}
"""From when on something is refused."""

_DSA = "17"
"""The number of DSA in OpenPGP (RFC 4880, 9.1), as gpg lists it."""

MISSING = (
    "sqv is not installed, so nobody knows whether apt of Debian 13 accepts {what}. Install it: apt-get "
    "install sqv"
)


def is_checked() -> bool:
    """Whether sqv is installed."""
    return shutil.which("sqv") is not None


def render(ahead: timedelta = timedelta(0)) -> str:
    """The policy as sqv reads it, as it will be in force ``ahead`` of now."""
    lines = []
    for section, cutoffs in _POLICY.items():
        lines += [f"[{section}]", *(f"{name} = {day - ahead}" for name, day in cutoffs.items()), ""]
    return "\n".join(lines)


def find_fault(
    content: bytes, signature: bytes, keyring: bytes, *, ahead: timedelta = timedelta(0)
) -> str | None:
    """Why Debian 13 accepts none of the signatures of the content; None if it does.

    With ``ahead``, why it will not accept them so much later, as far as that is known. ``keyring`` are binary
    public keys. Needs sqv. That of Debian 12 (1.1) does not read our policy, but has dates of its own: DSA,
    which it accepts, ``find_weak_algorithm`` finds.
    """
    with tempfile.TemporaryDirectory(prefix="hhvm-sqv-") as name:
        directory = Path(name)
        files = {"content": content, "content.sig": signature, "keys.gpg": keyring}
        for file, data in files.items():
            (directory / file).write_bytes(data)
        (directory / "policy").write_text(render(ahead))
        done = subprocess.run(
            ["sqv", "--verbose", "--keyring=keys.gpg", "content.sig", "content"],
            cwd=directory,
            env={**os.environ, "SEQUOIA_CRYPTO_POLICY": str(directory / "policy"), "LC_ALL": "C"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    return _reason(done.stdout) if done.returncode else None


def _reason(said: str) -> str:
    """What sqv says, in one line, without its count of signatures."""
    lines = [line.strip() for line in said.splitlines()]
    return (
        " ".join(line for line in lines if line and " signatures are valid" not in line) or "sqv refuses it"
    )


def find_weak_algorithm(algorithm: str, *, ahead: timedelta = timedelta(0)) -> str | None:
    """Why Debian 13 refuses a key by its algorithm, a number of OpenPGP, whatever sqv is installed."""
    since = _POLICY["asymmetric_algorithms"]["dsa2048"]
    if algorithm == _DSA and datetime.now(UTC).date() + ahead >= since:
        return f"DSA is not considered secure since {since}"
    return None
