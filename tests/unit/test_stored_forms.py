"""What older revisions stored can be read, and what is stored now keeps those names."""

from __future__ import annotations

import hashlib
from typing import Any

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration.job_trigger import JobTrigger
from hhvm_packaging.planning.hold_records import Answer, Hold
from hhvm_packaging.planning.manifests import PackageManifest
from hhvm_packaging.workers.job import Facts

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
HOLD = b"""{
  "asker": {
    "at": "2026-11-22T00:00:00Z",
    "by": "anna",
    "dag_id": "hhvm_build_and_publish",
    "run_id": "a-run"
  },
  "needs_approval": true,
  "until": null,
  "version": "1.0.0"
}
"""
HELD_AS = "b662fe18d8971e1abd8e3c6674b652926b6a73e7049e38c117cc0187febf76ed"
ANSWER: dict[str, Any] = {
    "approved": True,
    "asked": {
        "holds": [HELD_AS],
        "packages": {
            "debian-12-bookworm": {
                "build": DIRECTORY,
                "files": {"hhvm_1.0.0-1~bookworm_amd64.deb": "c" * 64},
                "version": "1.0.0-1~bookworm",
            }
        },
        "source": "b" * 64,
        "version": "1.0.0",
    },
    "asker": "anna",
    "at": "2026-11-22T01:00:00Z",
    "by": {"id": "ben", "name": "ben"},
    "dag_id": "hhvm_build_and_publish",
    "number": 1,
    "run_id": "a-run",
    "version": "1.0.0",
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
    facts = Facts().model_dump(mode="json")
    added = {"left_out": {}, "packaging_revision": "", "packaging_ref": "", "facts": facts, "gates": []}
    assert manifest.model_dump(mode="json") == MANIFEST | added


def test_a_hold_is_kept_under_the_name_by_which_answers_name_it() -> None:
    assert Hold.model_validate_json(HOLD).name == hashlib.sha256(HOLD).hexdigest() == HELD_AS


def test_an_approval_names_the_digests_and_the_holds() -> None:
    answer = Answer.model_validate(ANSWER)
    assert answer.model_dump(mode="json") == ANSWER
    assert answer.asked.digests == {
        "its source": "b" * 64,
        "debian-12-bookworm hhvm_1.0.0-1~bookworm_amd64.deb": "c" * 64,
    }


def test_a_trigger_names_its_attempt_build() -> None:
    trigger = JobTrigger(**TRIGGER)
    assert trigger.attempt == AttemptId.parse("20261122T000000.000000Z-2")
    assert trigger.serialize()[1] == TRIGGER


def test_packages_are_compared_with_an_attempt_by_the_time_of_their_own() -> None:
    manifest = PackageManifest.model_validate(MANIFEST)
    assert manifest.is_since(None)
    assert manifest.is_since(AttemptId.parse("20261122T000000.000000Z-1"))
    assert not manifest.is_since(AttemptId.parse("20261122T000000.000001Z-1"))
