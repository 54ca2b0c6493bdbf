"""The command bin/apt-suite: the history of a suite, undoing, signing it again, and adopting it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import TYPE_CHECKING

from hhvm_packaging.apt import adoption, undo
from hhvm_packaging.apt.sign_again import sign_again
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.store.buckets import Conflict
from hhvm_packaging.store.keys import REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite


class NotAdopted(PackagingError):
    """A suite was not adopted. The message names it."""


def show_history(suite: Suite) -> Iterable[str]:
    """The states of the suite, newest first, as lines for people."""
    snapshots = undo.read_history(suite)
    if not snapshots and suite.read().release is None:
        yield f"nothing was ever published in {suite}"
    elif not snapshots:
        yield (
            f"{suite} was made by another tool, so it has no history yet: "
            f"bin/apt-suite adopt {suite} shows what to adopt it would change"
        )
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


def restore(suite: Suite, signer: Signer) -> Iterable[str]:
    """Put back the last commit of a suite whose InRelease somebody replaced. Yields which, as a line."""
    name = suite.restore(signer)
    if name is None:
        yield f"no state of {suite} is known: it was made by another tool, or never published"
    else:
        yield f"{suite} is what it was last published as: {name}"


def adopt(suites: Iterable[Suite], signer: Signer, *, really: bool) -> Iterable[str]:
    """Adopt suites that another tool made, or say what that would change, as lines for people.

    Each suite is adopted by itself. Raises NotAdopted in the end if one was refused.
    """
    refused, pending = [], False
    for suite in suites:
        try:
            found = adoption.adopt(suite, signer) if really else adoption.find(suite, signer)
        except (PackagingError, Conflict) as error:
            refused.append(str(suite))
            yield f"{suite} is not adopted: {error}"
            continue
        if found is None:
            yield f"{suite} needs no adoption: it is published by this project"
            continue
        pending = True
        yield f"{suite} {'was' if really else 'would be'} adopted:"
        yield from found.lines()
    if pending and not really:
        yield "Nothing was changed. Add --yes to do it."
    if pending:
        yield (
            "Once all suites of a repository are adopted, hhvm_prune also deletes the nightlies' files in "
            "its pool that no suite names and that are older than snapshot_days."
        )
    if refused:
        raise NotAdopted(f"not adopted: {', '.join(refused)}; the reasons are above")


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="apt-suite", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("adopt")
    command.add_argument("repository", choices=REPOSITORIES)
    command.add_argument("suites", nargs="*", metavar="suite", help="all suites of the repository by default")
    command.add_argument(
        "--yes", action="store_true", help="do it; without it, only what would change is shown"
    )
    for name, what in (
        ("history", ""),
        ("undo", "to"),
        ("release", "version"),
        ("sign", ""),
        ("restore", ""),
    ):
        command = commands.add_parser(name)
        command.add_argument("repository", choices=REPOSITORIES)
        command.add_argument("suite")
        if what:
            command.add_argument(what)
    try:
        # Airflow logs to standard output, which is for the answer.
        answer = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            for line in _carry_out(parser.parse_args()):
                print(line, file=answer, flush=True)
    except (PackagingError, Conflict) as error:
        print(f"apt-suite: error: {error}", file=sys.stderr)
        return 1
    return 0


def _carry_out(arguments: argparse.Namespace) -> Iterable[str]:
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.planning import target_suites
    from hhvm_packaging.settings import settings

    store = connections.store()
    if arguments.command == "adopt":
        there = {
            suite.suite: suite
            for suite in target_suites.list_suites(store, settings())
            if suite.repository == arguments.repository
        }
        if unknown := [name for name in arguments.suites if name not in there]:
            raise NotAdopted(
                f"{arguments.repository} has no suite {', '.join(unknown)}; it has "
                f"{', '.join(there) or 'none'}"
            )
        with connections.signer() as signer:
            chosen = [there[name] for name in arguments.suites or there]
            yield from adopt(chosen, signer, really=arguments.yes)
        return
    suite = target_suites.named_suite(store, arguments.repository, arguments.suite, settings())
    if arguments.command == "history":
        yield from show_history(suite)
        return
    with connections.signer() as signer:
        if arguments.command == "undo":
            yield from put_back(suite, arguments.to, signer)
        elif arguments.command == "restore":
            yield from restore(suite, signer)
        elif arguments.command == "sign":
            yield from sign(suite, signer)
        else:
            yield from reinstate(suite, arguments.version, signer)


if __name__ == "__main__":
    sys.exit(main())
