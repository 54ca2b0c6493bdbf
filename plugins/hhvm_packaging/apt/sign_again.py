"""Signing a suite again as it is: a suite that gets no packages any more has users, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.apt.change import Change

if TYPE_CHECKING:
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite


def sign_again(suite: Suite, signer: Signer) -> bool:
    """Sign the suite as it is with the signer's keys and a new date. Returns False if nothing is published.

    Raises signing.BadSignature if it was signed by a key that the signer does not have; Damaged; Conflict if
    another publisher was faster.
    """
    with suite.lock():
        current = suite.read(signer=signer)
        if current.release is None:
            return False
        suite.commit(Change(current, current.indices, current.withdrawn, "sign again"), signer)
    return True
