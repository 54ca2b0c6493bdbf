"""A private key in a file, which only what signs opens: encrypted by AWS KMS, or as it is."""

from __future__ import annotations

import logging
import stat
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from hhvm_packaging.apt.signing import UnusableKey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mypy_boto3_kms import KMSClient

# At DEBUG botocore logs the bodies of responses, and the key is in one.
logging.getLogger("botocore.parsers").setLevel(logging.INFO)

_ARMOR = b"-----BEGIN PGP "
_TEMPORARY = {
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "KMSInternalException",
    "LimitExceededException",
    "ThrottlingException",
}
"""Errors of KMS that another try may not have."""


def read(path: Path, kms: Callable[[], KMSClient]) -> bytes:
    """The key in a file: an armored one as it is, any other is decrypted as what ``aws kms encrypt`` made.

    Raises UnusableKey if there is no such file, if it has an armored key and others than its owner and group
    may read it, or if KMS refuses to decrypt it; ClientError if another try may succeed.
    """
    try:
        content, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise UnusableKey(f"the signing key's file {path} cannot be read: {error.strerror}") from error
    if not content:
        raise UnusableKey(f"the signing key's file {path} is empty")
    if content.lstrip().startswith(_ARMOR):
        if mode & stat.S_IRWXO:
            raise UnusableKey(
                f"everybody may read the signing key's file {path}: chmod 600 it. "
                "If others use this machine, replace the key: docs/signing.md"
            )
        return content
    try:
        return kms().decrypt(CiphertextBlob=content)["Plaintext"]
    except ClientError as error:
        if error.response["Error"]["Code"] in _TEMPORARY:
            raise
        raise UnusableKey(f"KMS does not decrypt the signing key's file {path}: {error}") from error
