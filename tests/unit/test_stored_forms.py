"""What older revisions stored can be read, and what is stored now keeps those names."""

from __future__ import annotations

from typing import Any

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.publishing.holds import Approval

DIRECTORY = "1.0.0/debian-12-bookworm/20261122T000000.000000Z/"
MANIFEST: dict[str, Any] = {
    "version": "1.0.0",
    "distro": "debian-12-bookworm",
    "package_version": "1.0.0-1~bookworm",
    "inputs": "a" * 64,
    "source_sha256": "b" * 64,
    "docker_base": "debian:bookworm",
    "build": DIRECTORY,
    "artifacts": [
        {
            "name": "hhvm_1.0.0-1~bookworm_amd64.deb",
            "size": 7,
            "sha256": "c" * 64,
            "md5": "d" * 32,
            "stanza": None,
        }
    ],
}
APPROVAL: dict[str, Any] = {
    "version": "1.0.0",
    "run": "hhvm_build_and_publish, a-run",
    "by": "somebody",
    "at": "2026-11-22T00:00:00Z",
    "source": "b" * 64,
    "packages": {"debian-12-bookworm": {"version": "1.0.0-1~bookworm", "build": DIRECTORY}},
}
TRIGGER: dict[str, Any] = {
    "name": "hhvm-1.0.0-a-job-0123456789ab",
    "build": "20261122T000000.000000Z-2",
    "job": {"version": "1.0.0"},
    "deadline": 1.5,
    "plan": {"commit": "c"},
    "read": 7,
}


def test_a_manifest_names_its_directory_build() -> None:
    manifest = PackageManifest.model_validate(MANIFEST)
    assert manifest.directory == DIRECTORY
    assert manifest.model_dump(mode="json") == MANIFEST | {"left_out": {}}


def test_an_approval_names_the_directories_of_packages_build() -> None:
    approval = Approval.model_validate(APPROVAL)
    assert approval.packages["debian-12-bookworm"].directory == DIRECTORY
    assert approval.model_dump(mode="json") == APPROVAL


def test_a_trigger_names_its_attempt_build() -> None:
    trigger = JobTrigger(**TRIGGER)
    assert trigger.attempt == AttemptId.parse("20261122T000000.000000Z-2")
    assert trigger.serialize()[1] == TRIGGER


def test_packages_are_compared_with_an_attempt_by_the_time_of_their_own() -> None:
    manifest = PackageManifest.model_validate(MANIFEST)
    assert manifest.is_since(None)
    assert manifest.is_since(AttemptId.parse("20261122T000000.000000Z-1"))
    assert not manifest.is_since(AttemptId.parse("20261122T000000.000001Z-1"))
