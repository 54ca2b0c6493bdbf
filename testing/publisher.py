"""A publisher in a process of its own, for tests that kill it or race it against another.

As a program it reads orders, one JSON document a line, and carries each out: in a forked process, whose
id it tells first, if it may be killed; else itself. Imports and the signing key are ready by then, which
is most of what a publisher's start costs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhvm_packaging.apt.additions import add_packages
from hhvm_packaging.apt.incoming import Build, Incoming

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping

    from mypy_boto3_s3 import S3Client

    from hhvm_packaging.apt.change import Change
    from hhvm_packaging.apt.signing import Signer
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.workers.job import Artifact
    from testing.debs import Built

ROOT = Path(__file__).resolve().parents[1]
POOL = "pool/main/h/hhvm/"


def publish(
    suite: Suite,
    files: Mapping[str, Artifact],
    signer: Signer,
    *,
    pool: str = POOL,
    architectures: Collection[str] = ("amd64",),
) -> Change:
    """Add built files, given by their keys in scratch, to a suite, as the task update_repositories does."""
    packages = {key: file for key, file in files.items() if key.endswith(".deb")}
    sources = {key: file for key, file in files.items() if key not in packages}
    build = Build(suite.repository, pool, packages, sources, architectures)
    new = Incoming.read(str(suite), build, suite.scratch, suite.downloads, at_once=suite.at_once)
    with suite.lock():
        change = add_packages(suite.read(signer=signer), new, architectures, str(suite))
        suite.carry_out(change, signer)
    return change


class PublisherProcess:
    """The program, as its user sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(
        self,
        *suites: tuple[str, Iterable[Built]],
        bucket: str,
        mutant: str = "",
        fork: bool,
        operation: str = "publish",
    ) -> None:
        """Start to change suites of Debian, one after the other.

        The operation is ``publish``, ``undo`` (to the first state that there was), ``reinstate`` (what was
        withdrawn), ``sign again`` or ``age out``. Only ``publish`` takes files.
        """
        files = {suite: {file.key: file.artifact.model_dump() for file in files} for suite, files in suites}
        order = {
            "operation": operation,
            "bucket": bucket,
            "suites": files,
            "mutant": mutant,
            "fork": fork,
        }
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """With a fork: first its process id, then its exit status. Without: what was added, or the error.

        What was added is a list of "package version architecture"; an error is a string.
        """
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def running(endpoint: str, private_key: str, locks: Path) -> Generator[PublisherProcess]:
    """The program. Publishers of one machine have the same directory ``locks``."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
        "PRIVATE_KEY": private_key,
        "LOCKS": str(locks),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, endpoint],
        env=environment,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield PublisherProcess(process)
    finally:
        process.communicate()  # It ends with its input.


# Publishers that break a rule of the commit


def metadata_before_indices(s3: S3Client) -> None:
    """Make this client write InRelease before the by-hash files that it names."""
    put, held = s3.put_object, list[dict[str, Any]]()

    def put_object(**arguments: Any) -> Any:
        if "/by-hash/" in arguments["Key"]:
            held.append(arguments)
            return {"ETag": '""'}
        answer = put(**arguments)
        if arguments["Key"].endswith("/InRelease"):
            for late in held:
                put(**late)
            held.clear()
        return answer

    setattr(s3, "put_object", put_object)  # ruff: ignore[set-attr-with-constant] - mypy refuses the plain assignment


def no_by_hash(s3: S3Client) -> None:
    """Make this client write the indices under their plain names only, not under by-hash."""
    put, copy, forgotten = s3.put_object, s3.copy_object, dict[str, bytes]()

    def put_object(**arguments: Any) -> Any:
        if "/by-hash/" not in arguments["Key"]:
            return put(**arguments)
        forgotten[arguments["Key"]] = arguments["Body"]
        return {"ETag": '""'}

    def copy_object(**arguments: Any) -> Any:
        content = forgotten.get(arguments["CopySource"]["Key"])
        if content is None:
            return copy(**arguments)
        return put(Bucket=arguments["Bucket"], Key=arguments["Key"], Body=content)

    setattr(s3, "put_object", put_object)  # ruff: ignore[set-attr-with-constant] - mypy refuses the plain assignment
    setattr(s3, "copy_object", copy_object)  # ruff: ignore[set-attr-with-constant]


MUTANTS: dict[str, Callable[[S3Client], None]] = {
    mutant.__name__: mutant for mutant in (metadata_before_indices, no_by_hash)
}


# The program


def main(endpoint: str) -> None:
    """Carry out the orders that come on standard input, and answer each with a line of JSON."""
    from hhvm_packaging.apt.signing import Signer
    from testing import s3 as s3_server

    s3 = s3_server.client(endpoint)
    with Signer(os.environ["PRIVATE_KEY"]) as signer:
        for line in sys.stdin:
            order = json.loads(line)
            if not order["fork"]:
                tell(attempt(s3, signer, order))
            elif pid := os.fork():
                tell(pid)
                tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            else:
                if order["mutant"]:
                    MUTANTS[order["mutant"]](s3)
                carry_out(s3, signer, order)
                os._exit(0)


def tell(answer: object) -> None:
    """Write one answer."""
    print(json.dumps(answer), flush=True)


def attempt(s3: S3Client, signer: Any, order: dict[str, Any]) -> list[str] | str:
    """Carry out an order. Returns what it returns, or the error in words."""
    try:
        return carry_out(s3, signer, order)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def carry_out(s3: S3Client, signer: Signer, order: dict[str, Any]) -> list[str]:
    """Do what the order says. Returns what users are offered since, as "package version architecture"."""
    from hhvm_packaging.apt import undo
    from hhvm_packaging.apt.index import words
    from hhvm_packaging.apt.sign_again import sign_again
    from hhvm_packaging.apt.suite import Suite
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.upkeep.pruning import Pruning
    from hhvm_packaging.workers.job import Artifact

    bucket, locks = order["bucket"], Path(os.environ["LOCKS"])
    # The bucket is scratch, too: the keys are others. A deployment's settings refuse that.
    one_bucket = {"scratch_bucket": bucket, "downloads_bucket": bucket}
    settings = Settings(lock_directory=locks).model_copy(update=one_bucket)
    store, at_once = Store(s3, settings), settings.requests_at_once
    added: list[str] = []
    for name, files in order["suites"].items():
        suite = Suite(store.downloads, store.scratch, "debian", name, at_once=at_once, locks=locks)
        match order["operation"]:
            case "publish":
                built = {key: Artifact(**file) for key, file in files.items()}
                added += words(publish(suite, built, signer).added)
            case "undo":
                added += undo.undo(suite, undo.read_history(suite)[-1].name, signer).added
            case "reinstate":
                removed = {words for snapshot in undo.read_history(suite) for words in snapshot.removed}
                for version in {words.split()[1] for words in removed}:
                    undo.reinstate(suite, version, signer)
            case "sign again":
                sign_again(suite, signer)
            case "age out":
                Pruning(store, settings, dry_run=False).age_out(signer)
    return added


if __name__ == "__main__":
    main(sys.argv[1])
