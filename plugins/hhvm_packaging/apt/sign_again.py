"""Signing what is published once more: a suite that gets no packages any more has users, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.apt.change import Change
from hhvm_packaging.apt.lock import DIRECTORY, fenced
from hhvm_packaging.apt.suite import Suite

if TYPE_CHECKING:
    from pathlib import Path

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.store.buckets import Bucket


def sign_again(
    downloads: Bucket,
    scratch: Bucket,
    *,
    repository: str,
    suite: str,
    signer: Signer,
    locks: Path | None = None,
) -> bool:
    """Sign the suite as it is with the signer's keys and a newer date; False if nothing is published.

    Raises signing.BadSignature if it was signed by a key that the signer does not know; Damaged;
    store.Conflict if a publisher was faster (run it again).
    """
    target = Suite(downloads, scratch, repository, suite, memories=locks or DIRECTORY)
    with fenced(downloads, scratch, str(target), directory=locks):
        current = target.read(signer=signer)
        if current.release is None:
            return False
        target.commit(Change(current, current.indices, current.withdrawn, "sign again"), signer)
    return True
