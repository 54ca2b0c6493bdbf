"""How long instances take in the tests' EC2: trivial ones, and such that run a container and upload twice.

python -m benchmarks.ec2_emulator [INSTANCES]    (default: 50)
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hhvm_packaging.settings import Settings
from testing.account import worker_role
from testing.ec2 import EC2, IMDS, emulated_ec2

ROOT = Path(__file__).resolve().parents[1]
TRIVIAL = "#!/bin/sh\nshutdown -h now\n"
BUILD = """#!/bin/bash
set -euo pipefail
# As production's do, ends itself whatever happens; far later than it takes here.
shutdown -h +60
own=s3://hhvm-scratch/jobs/bench/$(aws sts get-caller-identity --query UserId --output text)
job=/var/lib/hhvm-packaging/job
mkdir -p "$job"
docker run --rm --volume "$job:$job" debian:bookworm sh -c "seq 100000 >$job/package"
aws s3 cp --no-progress "$job/package" "$own/result.json"
aws s3 cp --no-progress /var/log/cloud-init-output.log "$own/log.txt"
shutdown -h now
"""


def main(instances: int) -> None:
    """Measure both kinds, each in an EC2 of its own."""
    subprocess.run([ROOT / "demo/base-image", "debian:bookworm"], check=True)
    for name, user_data, uploads in (("trivial", TRIVIAL, 0), ("building", BUILD, 2)):
        with emulated_ec2() as ec2:
            began = time.monotonic()
            run(ec2, user_data, instances)
            seconds = time.monotonic() - began
            left = sum(len(ec2.containers(each)) for launch in ec2.launches for each in launch.instances)
            print(
                f"{instances} {name} instances: {seconds:.0f} s; uploads {objects(ec2)} of "
                f"{uploads * instances}; containers left {left}"
            )


def run(ec2: EC2, user_data: str, instances: int) -> None:
    """Launch that many and wait for all of them."""
    client = ec2.client("ec2")
    for _ in range(instances):
        client.run_instances(
            ImageId=ec2.image_id,
            MinCount=1,
            MaxCount=1,
            UserData=user_data,
            IamInstanceProfile={"Name": worker_role("build")},
            InstanceInitiatedShutdownBehavior="terminate",
            MetadataOptions=IMDS,
        )
    for launch in ec2.launches:
        ec2.wait(launch.instances[0], "terminated", limit=1200)


def objects(ec2: EC2) -> int:
    """How many objects there are in the scratch bucket."""
    pages = ec2.client("s3").get_paginator("list_objects_v2").paginate(Bucket=Settings().scratch_bucket)
    return sum(page["KeyCount"] for page in pages)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
