"""The private key as a file that is of use only to those whom AWS KMS lets decrypt it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from hhvm_packaging.apt.signing import UnusableKey

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_kms import KMSClient

# At DEBUG botocore logs the bodies of the answers, and with them the key.
logging.getLogger("botocore.parsers").setLevel(logging.INFO)

_PASSING = {
    "DependencyTimeoutException",
    "KeyUnavailableException",
    "KMSInternalException",
    "LimitExceededException",
    "ThrottlingException",
}
"""What KMS says when it would be another answer a little later."""


def decrypt(path: Path, kms: KMSClient) -> bytes:
    """What was encrypted with ``aws kms encrypt`` into the file.

    Raises UnusableKey if there is no such file or KMS refuses it; ClientError if trying again may help.
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
        if error.response["Error"]["Code"] in _PASSING:
            raise
        raise UnusableKey(f"KMS does not decrypt the signing key's file {path}: {error}") from error
