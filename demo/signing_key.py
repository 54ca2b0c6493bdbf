"""Making a signing key."""

from __future__ import annotations

import os
import subprocess
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def make(name: str, expires: str = "never") -> tuple[str, str]:
    """A new armored private key and its public key. ``expires`` is in gpg's form, such as 30d."""
    with _gpg() as gpg:
        gpg("--quick-generate-key", name, "ed25519", "sign", expires)
        return gpg("--armor", "--export-secret-keys"), gpg("--armor", "--export")


def public_half(private: str) -> str:
    """The armored public key of an armored private key. Raises ``subprocess.CalledProcessError``."""
    with _gpg() as gpg:
        gpg("--import", given=private)
        return gpg("--armor", "--export")


@contextmanager
def _gpg() -> Generator[Callable[..., str]]:
    """Run gpg with a key ring of its own."""
    # Not under the data directory: the agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="hhvm-demo-") as home:
        environment = {**os.environ, "GNUPGHOME": home}

        def gpg(*arguments: str, given: str = "") -> str:
            return subprocess.run(
                ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *arguments],
                env=environment,
                input=given,
                check=True,
                capture_output=True,
                text=True,
            ).stdout

        try:
            yield gpg
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
