"""Whatever stands in a job or a setting: the instance's shell sees exactly that, and runs nothing of it."""

from __future__ import annotations

import base64
import subprocess
from random import Random
from typing import TYPE_CHECKING

import pytest

from hhvm_packaging.jobs import Job
from hhvm_packaging.settings import Ec2, Settings
from hhvm_packaging.store import Store
from hhvm_packaging.workers.ec2 import user_data

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUES = 10_000
SEED = 20261124
# What a shell could take for something else.
NASTY = [
    "$(touch /owned)",
    "`touch /owned`",
    "'; touch /owned; '",
    '"',
    "\\",
    "\n",
    "\t",
    "\r",
    "&",
    "*",
    "~",
    "!",
    " ",
    "",
]


def value(random: Random) -> str:
    """Of anything but NUL, which no argument can hold, and surrogates, which are no characters."""
    parts = [
        random.choice(NASTY)
        if random.random() < 0.5
        else "".join(
            chr(random.choice([random.randint(1, 127), random.randint(0xA0, 0xD7FF)])) for _ in range(8)
        )
        for _ in range(random.randint(1, 4))
    ]
    return "".join(parts) or "x"


# The lines that only take in values, then each value on a line of its own.
READ = r"""
while IFS= read -r -d '' script; do
  ( shutdown() { :; }; eval "$script"
    for value in "$AWS_DEFAULT_REGION" "$HHVM_JOB" "$HHVM_BUCKET" "$HHVM_DIRECTORY" "$HHVM_PACKAGING"; do
      printf %s "$value" | base64 -w 0; echo
    done ) || exit 1
done
[ ! -e /owned ]
"""


@pytest.fixture(scope="module")
def container(base_images: None) -> Iterator[str]:
    run = ["docker", "run", "--detach", "--rm", "--network=none", "debian:bookworm", "sleep", "900"]
    name = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    yield name
    subprocess.run(["docker", "rm", "--force", name], check=True, capture_output=True)


def test_ten_thousand_values_reach_a_real_shell_as_they_are(container: str) -> None:
    random = Random(SEED)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
    expected: list[list[str]] = []
    scripts: list[str] = []
    for _ in range(VALUES // 5):
        region, name, bucket, version, packaging = (value(random) for _ in range(5))
        job = Job(version=version, script="a-job", packaging=packaging, environment={}, time_limit=60)
        deployment = Settings(scratch_bucket=bucket, ec2=Ec2(region=region))
        script = user_data(job, name, "a-try", "0" * 64, deployment)
        scripts.append(script[: script.index("# A machine whose job")])
        directory = Store.job(version, name, "a-try")
        expected.append([region, name, bucket, directory, Store.packaging(packaging)])
    done = subprocess.run(
        ["docker", "exec", "--interactive", container, "bash", "-euo", "pipefail", "-c", READ],
        input="".join(f"{script}\0" for script in scripts).encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = [base64.b64decode(line).decode() for line in done.stdout.decode().splitlines()]
    assert seen == [value for values in expected for value in values]
    print(f"{len(seen)} values, each as it was")
    assert len(seen) == VALUES
