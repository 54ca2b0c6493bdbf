"""The command bin/apt-suite: what a suite was, taking it back, and signing it again."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from hhvm_packaging.apt import undo
from hhvm_packaging.apt.sign_again import sign_again
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store.buckets import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store


def history(store: Store, repository: str, suite: str) -> Iterable[str]:
    """What the suite was, newest first, as lines for people."""
    snapshots = undo.history(store.downloads, store.scratch, repository=repository, suite=suite)
    if not snapshots:
        yield f"nothing was ever published in {repository} {suite}"
    for snapshot in snapshots:
        yield f"{snapshot.name}  {snapshot.reason}"
        yield from (f"    + {words}" for words in snapshot.added)
        yield from (f"    - {words}" for words in snapshot.removed)


def put_back(
    store: Store, repository: str, suite: str, to: str, signer: Signer, settings: Settings
) -> Iterable[str]:
    """Put the suite back to a snapshot or to a time. What changed for users, as lines for people."""
    done = undo.undo(
        store.downloads,
        store.scratch,
        repository=repository,
        suite=suite,
        to=to,
        signer=signer,
        locks=settings.lock_directory,
    )
    yield from (f"offered again: {words}" for words in done.added)
    yield from (f"withdrawn: {words}" for words in done.removed)
    if done.downgrade:
        yield f"users who installed it go back with: {done.downgrade}"
    if not (done.added or done.removed):
        yield f"nothing changed: {repository} {suite} is what it was then"


def release(
    store: Store, repository: str, suite: str, version: str, signer: Signer, settings: Settings
) -> Iterable[str]:
    """Let a withdrawn version be published again. What may return, as lines for people."""
    released = undo.release(
        store.downloads,
        store.scratch,
        repository=repository,
        suite=suite,
        version=version,
        signer=signer,
        locks=settings.lock_directory,
    )
    yield from (f"may be published again: {words}" for words in released)
    if not released:
        yield f"nothing of {version} is withdrawn from {repository} {suite}"


def sign(store: Store, repository: str, suite: str, signer: Signer, settings: Settings) -> Iterable[str]:
    """Sign the suite as it is with the keys of now. Who signed, as lines for people."""
    if sign_again(
        store.downloads,
        store.scratch,
        repository=repository,
        suite=suite,
        signer=signer,
        locks=settings.lock_directory,
    ):
        yield from (f"{repository} {suite} is signed by {fingerprint}" for fingerprint in signer.fingerprints)
    else:
        yield f"nothing was ever published in {repository} {suite}"


def main() -> int:
    """Do what the command line asks. Returns the exit status."""
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
    from hhvm_packaging.settings import settings as deployment

    store, settings, where = connections.store(), deployment(), (arguments.repository, arguments.suite)
    if arguments.command == "history":
        return list(history(store, *where))
    with connections.signer() as signer:
        if arguments.command == "undo":
            return list(put_back(store, *where, arguments.to, signer, settings))
        if arguments.command == "sign":
            return list(sign(store, *where, signer, settings))
        return list(release(store, *where, arguments.version, signer, settings))


if __name__ == "__main__":
    sys.exit(main())
