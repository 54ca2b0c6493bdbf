"""An instance, with the role of docs/iam/worker.json, writes no key that only Airflow writes."""

from __future__ import annotations

import itertools

import pytest

from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import Scratch
from testing.ec2.policy import Demand, Policy

ATTEMPT = "20261128T100000.000000Z-1"
FIELDS = {
    "artifact": ["hhvm_1.0.0-1_amd64.deb", ATTEMPT],
    "attempt": [ATTEMPT],
    "candidate_file": ["dists/bookworm/InRelease", f"dists/{ATTEMPT}/x", f"{ATTEMPT}/x"],
    "dag_id": ["hhvm_build", ATTEMPT],
    "distro": ["debian-12-bookworm", ATTEMPT],
    "job": ["hhvm-1.0.0-look-0123456789ab"],
    "job_file": [keys.JOB, keys.LOG, keys.RESULT, keys.FAILURE],
    "nightly": ["2026.11.28"],
    "number": ["1"],
    "release": ["1.0.0"],
    "repository": ["debian"],
    "run_digest": ["0" * 16],
    "run_id": ["manual__2026-11-28T10:00:00+00:00", ATTEMPT],
    "sha256": ["0" * 64],
    "snapshot": [ATTEMPT],
    "subject": ["1.0.0", "canary"],
    "suite": ["bookworm", ATTEMPT],
    "suite_kind": ["nightly", ATTEMPT],
    "version": ["1.0.0", "2026.11.28"],
}
"""Values of each field; a name like an attempt's is what the role's patterns may let pass."""
A_WORKERS = frozenset({Scratch.RELEASE_TARBALL, Scratch.NIGHTLY_TARBALL, Scratch.ARTIFACT})


@pytest.mark.parametrize("template", Scratch)
def test_an_instance_writes_its_log_its_result_and_what_it_made_and_nothing_else(template: Scratch) -> None:
    worker = Policy("worker")
    for values in itertools.product(*(FIELDS[field] for field in template.fields)):
        fields = dict(zip(template.fields, values, strict=True))
        is_workers = template in A_WORKERS or (
            template is Scratch.JOB_FILE and fields["job_file"] in (keys.LOG, keys.RESULT)
        )
        key = template.build(**fields)
        demand = Demand("s3:PutObject", f"arn:aws:s3:::hhvm-scratch/{key}")
        assert worker.allows(demand) == is_workers, key
