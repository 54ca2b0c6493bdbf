"""Whatever stands in a job or a setting: the instance's shell sees exactly that, and runs nothing of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.workers.ec2 import user_data
from hhvm_packaging.workers.job import Input, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
JOBS, VALUES, FILES = 12, 30, 5
SEED = 20261124
SHA256 = "0" * 64
# What a shell, jq, Docker, aws or sha256sum could take for something else.
NASTY = [
    "$(touch /owned)",
    "`touch /owned`",
    "'; touch /owned; '",
    '"; touch /owned; "',
    "\n touch /owned\n",
    "${IFS}",
    "--privileged",
    "-",
    '"',
    "'",
    "\\",
    "\n",
    "\t",
    "\r",
    "\\u0000",
    "%s",
    "&",
    "*",
    "~",
    "!",
    "=",
    ":",
    "{}",
    " ",
    "",
]


def value(random: Random) -> str:
    """Of anything but NUL, which no argument can hold, and surrogates, which are no characters."""
    parts = [
        random.choice(NASTY)
        if random.random() < 0.6
        else "".join(
            chr(random.choice([random.randint(1, 127), random.randint(0xA0, 0xD7FF), 0x1F4E6]))
            for _ in range(8)
        )
        for _ in range(random.randint(1, 4))
    ]
    return "".join(parts) or "x"


def file_name(random: Random) -> str:
    """One that a file can have."""
    name = value(random).replace("/", "|").encode()[:200].decode(errors="ignore")
    return "dot" if name in (".", "..") else name


def command(container: str, *words: str, given: bytes = b"") -> bytes:
    """What a command in the container prints."""
    done = subprocess.run(
        ["docker", "exec", "--interactive", container, *words], input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def settings(bucket: str, region: str) -> Settings:
    """Settings that no deployment may have: what they are checked for must not be what keeps a shell safe."""
    known = Settings()
    ec2 = known.ec2.model_copy(update={"region": region})
    return known.model_copy(update={"scratch_bucket": bucket, "ec2": ec2})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container sees under the same path."""
    return tmp_path_factory.mktemp("instance")


@pytest.fixture(scope="module")
def container(job_image: str, directory: Path) -> Iterator[str]:
    run = [
        "docker",
        "run",
        "--detach",
        "--rm",
        "--init",
        "--network=none",
        f"--volume={directory}:{directory}",
    ]
    run += [job_image, "sleep", "900"]
    name = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


# The lines that only take in values; then the values, each ended by NUL.
READ = r"""
shutdown() { [ "$*" = '-h +21' ]; }
while IFS= read -r -d '' script; do
  eval "$script"
  printf '%s\0' "$AWS_DEFAULT_REGION" "$HHVM_JOB" "$HHVM_BUCKET" "$HHVM_DIRECTORY" "$HHVM_PACKAGING"
done
[ ! -e /owned ]
"""


@pytest.mark.parametrize("times", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_any_values_reach_a_real_shell_as_they_are(container: str, times: int) -> None:
    random = Random(SEED)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    expected: list[str] = []
    scripts: list[str] = []
    for _ in range(times):
        region, version, distro, bucket, directory = (value(random) for _ in range(5))
        name = f"hhvm-{version}-make-binary-package-{distro}"
        job = Job(version=version, script="a-job", packaging=SHA256, environment={}, time_limit=60)
        deployment = settings(bucket, region)
        script = user_data(job, name, directory, SHA256, deployment)
        scripts.append(script[: script.index("# shellcheck shell=bash")])
        expected += [region, name, bucket, directory, keys.packaging(SHA256)]
    given = "".join(f"{script}\0" for script in scripts).encode()
    seen = command(container, "bash", "-euo", "pipefail", "-c", READ, given=given)
    assert seen.decode().removesuffix("\0").split("\0") == expected
    assert len(expected) == 5 * times


# What stands for S3: a file for each URL, named by its digest; what is sent is noted.
AWS = """#!/usr/bin/env bash
set -euo pipefail
place() { printf '%s/s3/%s' "$DIRECTORY" "$(printf %s "$1" | sha256sum | cut -d ' ' -f 1)"; }
if [ "$1" = sts ]; then echo AROA0123456789:i-0123456789abcdef0; exit; fi
if [ "$2" = put-object ]; then from=$8 to=s3://$4/$6; else from="${@: -2:1}" to="${@: -1}"; fi
if [[ $from == s3://* ]]; then cp -- "$(place "$from")" "$to"; else
  cp -- "$from" "$(place "$to")"
  printf '%s\\0' "$to" >>"$DIRECTORY/sent"
fi
"""
# What stands for the engine: it notes what it is to run, and leaves what a job leaves.
DOCKER = """#!/usr/bin/env bash
set -euo pipefail
if [ "$1" = build ]; then echo image; exit; fi
if [ "$1" = network ]; then exit; fi
printf '%s\\0' "$@" >"$DIRECTORY/arguments"
work="${@: -1}"
cp -- "$DIRECTORY/result.json" "$work/result.json"
jq -j '.artifacts[] | .name + "\\u0000"' "$work/result.json" | while IFS= read -r -d '' name; do
  printf made >"$work/out/$name"
done
"""
SHUTDOWN = """#!/usr/bin/env bash
printf '%s\\0' "$*" >>"$DIRECTORY/shutdowns"
"""
RUN = """
for case in "$0"/*; do
  DIRECTORY=$case PATH=${0%/*}/bin:$PATH HHVM_LOG_INTERVAL=1 "$case/user-data" >&2
done
[ ! -e /owned ]
"""


class Case:
    """One job of generated values, as an instance finds it."""

    def __init__(self, random: Random, number: int, root: Path, packaging: bytes) -> None:
        self.directory = root / f"case-{number}"
        (self.directory / "s3").mkdir(parents=True)
        self.settings = settings(value(random), value(random))
        version, self.name = value(random), f"hhvm-test-{number}"
        self.files = {file_name(random): value(random).encode() for _ in range(FILES)}
        inputs = [value(random) for _ in self.files]
        self.made = [file_name(random) for _ in range(FILES)]
        sha256 = hashlib.sha256(packaging).hexdigest()
        self.job = Job(
            version=version,
            script="a-job",
            packaging=sha256,
            environment={f"V_{number}": value(random) for number in range(VALUES)},
            inputs=tuple(
                Input(key=key, name=name, sha256=hashlib.sha256(content).hexdigest())
                for key, (name, content) in zip(inputs, self.files.items(), strict=True)
            ),
            outputs=value(random) if number else "",
            time_limit=60,
        )
        place, content = f"{value(random)}/", self.job.model_dump_json().encode()
        self.put(keys.packaging(sha256), packaging)
        self.put(f"{place}job.json", content)
        for key, file in zip(inputs, self.files.values(), strict=True):
            self.put(key, file)
        artifacts = [{"name": name, "sha256": "0" * 64} for name in self.made]
        result = {"exit_status": 0, "artifacts": artifacts}
        (self.directory / "result.json").write_text(json.dumps(result))
        script = self.directory / "user-data"
        digest = hashlib.sha256(content).hexdigest()
        script.write_text(user_data(self.job, self.name, place, digest, self.settings), newline="")
        script.chmod(0o755)
        self.place = place

    def put(self, key: str, content: bytes) -> None:
        url = f"s3://{self.settings.scratch_bucket}/{key}"
        (self.directory / "s3" / hashlib.sha256(url.encode()).hexdigest()).write_bytes(content)

    def noted(self, name: str) -> list[str]:
        """The words that one of the stand-ins noted."""
        return (self.directory / name).read_bytes().decode().removesuffix("\0").split("\0")


def test_a_jobs_values_and_file_names_reach_the_engine_and_s3_as_they_are(
    container: str, directory: Path
) -> None:
    random = Random(SEED)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    (directory / "bin").mkdir()
    for name, script in (("aws", AWS), ("docker", DOCKER), ("shutdown", SHUTDOWN)):
        (directory / "bin" / name).write_text(script)
        (directory / "bin" / name).chmod(0o755)
    with tarfile.open(directory / "packaging.tar.gz", "w:gz") as archive:
        for part in ("bin", "jobs"):
            archive.add(ROOT / part, part)
    packaging = (directory / "packaging.tar.gz").read_bytes()
    cases = [Case(random, number, directory / "cases", packaging) for number in range(JOBS)]
    command(container, "bash", "-euo", "pipefail", "-c", RUN, str(directory / "cases"))
    for case in cases:
        work = f"/var/lib/hhvm-packaging/jobs/{case.name}"
        arguments = case.noted("arguments")
        confined, given = arguments[: arguments.index("--name")], arguments[arguments.index("--name") :]
        assert confined[:2] == ["run", "--init"]
        assert {"--cap-drop", "no-new-privileges", "--pids-limit"} < set(confined)
        options = [
            "--name",
            case.name,
            "--network",
            "hhvm-jobs",
            "--workdir",
            work,
            "--volume",
            f"{work}:{work}",
        ]
        assert given[: len(options)] == options
        limits = [
            *("--env", "HHVM_DOCKER_NETWORK=hhvm-jobs"),
            *("--env", "HHVM_PIDS=16384"),
            *("--env", "HHVM_LOG_SIZE=256"),
        ]
        told = ["--env", f"HHVM_JOB={case.name}", *limits, "image", f"{work}/packaging/jobs/run", work]
        assert given[len(options) :] == told
        seen = command(container, "cat", f"{work}/job.json")
        assert Job.model_validate_json(seen) == case.job
        bucket = case.settings.scratch_bucket
        own = f"s3://{bucket}/{case.place}AROA0123456789:i-0123456789abcdef0/"
        sent = case.noted("sent")
        assert all(url.startswith(own) for url in sent)
        assert [url for url in sent if url.startswith(f"{own}out/")] == [
            f"{own}out/{name}" for name in case.made
        ]
        assert sent[-1] == f"{own}result.json"
        assert case.noted("shutdowns") == ["-h +21", "-h now"]
        listing = command(container, "find", f"{work}/in", "-type", "f", "-printf", "%P\\0")
        assert set(listing.decode().removesuffix("\0").split("\0")) == set(case.files)
