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

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from mypy_boto3_s3 import S3Client

    from tests.debs import Deb

ROOT = Path(__file__).resolve().parents[2]
POOL = "pool/main/h/hhvm/"


class PublisherProcess:
    """The program, as its user sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, *suites: tuple[str, Iterable[Deb]], bucket: str, mutant: str = "", fork: bool) -> None:
        """Begin to publish packages to suites of Debian, one suite after the other."""
        publish = {suite: {deb.key: deb.artifact.model_dump() for deb in debs} for suite, debs in suites}
        order = {"bucket": bucket, "publish": publish, "mutant": mutant, "fork": fork}
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """The process id of a fork, then (or at once, without a fork) how the publishing ended.

        For a fork that is its exit status; else the names of what was added, or the error's name.
        """
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


@contextlib.contextmanager
def running(endpoint: str, private_key: str, temporary: Path) -> Generator[PublisherProcess]:
    """The program, which leaves what it is killed with in the directory ``temporary``."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
        "TMPDIR": str(temporary),
        "PRIVATE_KEY": private_key,
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
        for home in temporary.glob("hhvm-gpg-*"):
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "gpg-agent"], check=False)


# What goes wrong without the rules of the commit


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
    """Make this client forget the by-hash files."""
    put = s3.put_object

    def put_object(**arguments: Any) -> Any:
        return {"ETag": '""'} if "/by-hash/" in arguments["Key"] else put(**arguments)

    setattr(s3, "put_object", put_object)  # ruff: ignore[set-attr-with-constant] - mypy refuses the plain assignment


MUTANTS: dict[str, Callable[[S3Client], None]] = {
    mutant.__name__: mutant for mutant in (metadata_before_indices, no_by_hash)
}


# The program


def main(endpoint: str) -> None:
    from hhvm_packaging.apt.signing import Signer
    from tests.integration import s3 as s3_server

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
                publish(s3, signer, order)
                os._exit(0)


def tell(answer: object) -> None:
    print(json.dumps(answer), flush=True)


def attempt(s3: S3Client, signer: Any, order: dict[str, Any]) -> list[str] | str:
    try:
        return publish(s3, signer, order)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def publish(s3: S3Client, signer: Any, order: dict[str, Any]) -> list[str]:
    from hhvm_packaging.apt import repository
    from hhvm_packaging.jobs import Artifact
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store import Bucket

    added: list[str] = []
    bucket = Bucket(s3, order["bucket"])
    for suite, packages in order["publish"].items():
        done = repository.publish(
            bucket,
            bucket,  # scratch: its keys are others
            repository="debian",
            suite=suite,
            pool=POOL,
            packages={key: Artifact(**package) for key, package in packages.items()},
            at_once=Settings().requests_at_once,
            signer=signer,
        )
        added += done.added
    return added


if __name__ == "__main__":
    main(sys.argv[1])
