r"""An EC2 that really runs user data, for tests.

moto's server answers the API (EC2, S3, SSM and IAM at one address), and each launched instance runs its
user data as root in a container of its own, from ``instance/``, with a Docker socket. ``shutdown`` and
termination mean what they mean on EC2, for the containers that the user data started too:

    with emulated_ec2(seconds_per_minute=1) as ec2:
        client = ec2.client("ec2")
        [instance] = client.run_instances(ImageId=ec2.image_id, UserData="#!/bin/sh\nshutdown -h now", …)
        ec2.wait(instance["InstanceId"], "terminated")

It is as strict as AWS, by AWS's documents, where a fault was found: each strictness names its document where
it is. A test orders faults: no capacity, and quotas (``fail_launches``, ``limit_instances``, ``limit_spot``),
instances that are listed late or end after their launch (``show_after``, ``doom_launches``, ``kill``,
``reclaim``, ``hang``), calls that are throttled, refused or slow (``fail_calls``), and instances that boot
without what others have (``boot_next``).

What differs from EC2:

- An instance has the host's network and engine. It sees others' containers, and the names of containers and
  the jobs' network are shared.
- It shares only the volumes of ``instance/Dockerfile`` with its containers.
- The account has the roles of ``deploy/aws/roles.yaml``. Airflow and the instances may do what their roles
  say, any other caller everything. Nothing is launched without the metadata options ``IMDS``.
- User data is a script with ``#!``; an instance without one ends at once. It boots once.
"""

from testing.ec2.demands import REGION
from testing.ec2.emulator import AMI_PARAMETER, EC2, Boot, emulated_ec2, until
from testing.ec2.gateway import AIRFLOW, IMDS, USER_DATA_LIMIT, Call, Launch

__all__ = [
    "AIRFLOW",
    "AMI_PARAMETER",
    "EC2",
    "IMDS",
    "REGION",
    "USER_DATA_LIMIT",
    "Boot",
    "Call",
    "Launch",
    "emulated_ec2",
    "until",
]
