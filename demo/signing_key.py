"""Making a signing key."""

from __future__ import annotations

import os
import subprocess
import tempfile


def make(name: str, expires: str = "never") -> tuple[str, str]:
    """A new armored private key and its public key. ``expires`` is in gpg's form, such as 30d."""
    # Not under the data directory: the agent's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="hhvm-demo-") as home:
        environment = {**os.environ, "GNUPGHOME": home}

        def gpg(*arguments: str) -> str:
            return subprocess.run(
                ["gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *arguments],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout

        try:
            gpg("--quick-generate-key", name, "ed25519", "sign", expires)
            return gpg("--armor", "--export-secret-keys"), gpg("--armor", "--export")
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=True)
