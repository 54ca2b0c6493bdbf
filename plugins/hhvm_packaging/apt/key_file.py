"""A private key in a file that AWS KMS decrypts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from hhvm_packaging.apt.signing import UnusableKey

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_kms import KMSClient

# At DEBUG botocore logs the bodies of responses, and the key is in one.
logging.getLogger("botocore.parsers").setLevel(logging.INFO)

_TEMPORARY = {
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "KMSInternalException",
    "LimitExceededException",
    "ThrottlingException",
}
"""Errors of KMS that another try may not have."""


def decrypt(path: Path, kms: KMSClient) -> bytes:
    """The content of a file that ``aws kms encrypt`` made.

    Raises UnusableKey if there is no such file or KMS refuses to decrypt it; ClientError if another try may
    succeed.
    """
    try:
        ciphertext = path.read_bytes()
    except OSError as error:
        raise UnusableKey(f"the signing key's file {path} cannot be read: {error.strerror}") from error
    if not ciphertext:
        raise UnusableKey(f"the signing key's file {path} is empty")
    try:
        return kms.decrypt(CiphertextBlob=ciphertext)["Plaintext"]
    except ClientError as error:
        if error.response["Error"]["Code"] in _TEMPORARY:
            raise
        raise UnusableKey(f"KMS does not decrypt the signing key's file {path}: {error}") from error
