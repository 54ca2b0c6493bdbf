"""The command bin/apt-suite: the history of a suite, undoing, and signing it again."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.sign_again import sign_again
from hhvm_packaging.apt.suite import Suite
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store.buckets import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.apt.signing import Signer


def show_history(suite: Suite) -> Iterable[str]:
    """The states of the suite, newest first, as lines for people."""
    snapshots = undo.read_history(suite)
    if not snapshots:
        yield f"nothing was ever published in {suite}"
    for snapshot in snapshots:
        yield f"{snapshot.name}  {snapshot.reason}"
        yield from (f"    + {words}" for words in snapshot.added)
        yield from (f"    - {words}" for words in snapshot.removed)


def put_back(suite: Suite, to: str, signer: Signer) -> Iterable[str]:
    """Put the suite back to a snapshot or to a time. Yields what changed for users, as lines for people."""
    done = undo.undo(suite, to, signer)
    yield from (f"offered again: {words}" for words in done.added)
    yield from (f"withdrawn: {words}" for words in done.removed)
    if done.downgrade:
        yield f"users who installed it go back with: {done.downgrade}"
    if not (done.added or done.removed):
        yield f"nothing changed: {suite} is what it was then"


def reinstate(suite: Suite, version: str, signer: Signer) -> Iterable[str]:
    """Let a withdrawn version be published again. Yields which packages, as lines for people."""
    reinstated = undo.reinstate(suite, version, signer)
    yield from (f"may be published again: {words}" for words in reinstated)
    if not reinstated:
        yield f"nothing of {version} is withdrawn from {suite}"


def sign(suite: Suite, signer: Signer) -> Iterable[str]:
    """Sign the suite as it is with today's keys. Yields who signed, as lines for people."""
    if sign_again(suite, signer):
        yield from (f"{suite} is signed by {fingerprint}" for fingerprint in signer.fingerprints)
    else:
        yield f"nothing was ever published in {suite}"


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="apt-suite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (("history", ""), ("undo", "to"), ("release", "version"), ("sign", "")):
        command = commands.add_parser(name)
        command.add_argument("repository", choices=["debian", "ubuntu"])
        command.add_argument("suite")
        if what:
            command.add_argument(what)
    try:
        # Airflow logs to standard output, which is for the answer.
        with contextlib.redirect_stdout(sys.stderr):
            lines = _carry_out(parser.parse_args())
    except (PackagingError, Conflict) as error:
        print(f"apt-suite: error: {error}", file=sys.stderr)
        return 1
    print(*lines, sep="\n")
    return 0


def _carry_out(arguments: argparse.Namespace) -> list[str]:
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.settings import settings

    store = connections.store()
    suite = Suite(
        store.downloads,
        store.scratch,
        arguments.repository,
        arguments.suite,
        at_once=settings().requests_at_once,
        locks=settings().lock_directory,
    )
    if arguments.command == "history":
        return list(show_history(suite))
    with connections.signer() as signer:
        if arguments.command == "undo":
            return list(put_back(suite, arguments.to, signer))
        if arguments.command == "sign":
            return list(sign(suite, signer))
        return list(reinstate(suite, arguments.version, signer))


if __name__ == "__main__":
    sys.exit(main())
