"""The policies in ``docs/iam/``: all that Airflow and its instances do is covered, and nothing else.

The tests' EC2 refuses what they do not allow, in every test that uses it. Here everything is done once that
talks to AWS, so that what no call uses is found, too.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from demo import signing_key
from hhvm_packaging.apt import key_file, undo
from hhvm_packaging.apt.index import sha256
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.planning import packaging_files, source_tarball
from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.publishing import cdn, pages
from hhvm_packaging.release import Release
from hhvm_packaging.settings import Machine, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.upkeep.pruning import Pruning
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Artifact, Input, Job
from testing.built import Bench
from testing.ec2 import AIRFLOW, AMI_PARAMETER, emulated_ec2, until
from testing.ec2.policy import Demand, Policy
from testing.ec2_fixtures import distribution

if TYPE_CHECKING:
    from collections.abc import Iterator

    from testing.ec2 import EC2

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime.now(UTC)
ATTEMPT = AttemptId.new()
OLD, RECENT = (f"{NOW - timedelta(days=days):%Y.%m.%d}" for days in (40, 1))
UNUSED = {
    "WriteScratch: s3:AbortMultipartUpload": "after an upload in parts that failed",
    "Publish: s3:AbortMultipartUpload": "after a copy in parts that failed",
    "WriteOwnDirectory: s3:AbortMultipartUpload": "after an upload in parts that failed",
    "Publish: arn:aws:s3:::hhvm-downloads/ubuntu/*": "what debian/ is for Debian's distributions",
    "EndWorkers: ec2:DeleteVolume": "the reaper's, for a volume that outlived its instance",
    "EndWorkers: arn:aws:ec2:*:*:volume/*": "the reaper's, for a volume that outlived its instance",
    "ReadGitKeys: ssm:GetParametersByPath": "where the settings name git keys for the jobs",
    "ReadGitKeys: arn:aws:ssm:*:*:parameter/hhvm-packaging/keys": "where the settings name git keys",
    "ReadGitKeys: arn:aws:ssm:*:*:parameter/hhvm-packaging/push-keys": "where the settings name git keys",
}
"""Parts of the policies that nothing here uses, and what they are for."""


@pytest.fixture(scope="module")
def ec2(base_images: None) -> Iterator[EC2]:
    with emulated_ec2() as ec2:
        yield ec2


def test_the_policies_cover_every_call_and_have_nothing_that_no_call_uses(
    ec2: EC2, job_image: str, tmp_path: Path
) -> None:
    with Signer(private_key(ec2, tmp_path)) as signer:
        bench = Bench(ec2.client("s3", AIRFLOW), signer, Settings(lock_directory=tmp_path))
        ec2.client("s3").put_object(Bucket="hhvm-downloads", Key=PUBLIC_KEY, Body=signer.public_key())
        publish_undo_and_prune(bench)
        cdn.invalidate(ec2.client("cloudfront", AIRFLOW), distribution(ec2), ["debian"], "once", look=1)
        run_jobs(ec2, bench, tmp_path / "packaging")
    assert ec2.gateway.denied == []
    for policy in ec2.gateway.policies.values():
        assert policy.parts() - policy.used - set(UNUSED) == set(), f"of {policy.name}.json"


def private_key(ec2: EC2, directory: Path) -> str:
    """The signing key, as Airflow gets it from KMS."""
    kms = ec2.client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/hhvm-signing", TargetKeyId=key)
    file = directory / "gpg-key.kms-ciphertext"
    made = signing_key.make("HHVM tests <hhvm@example.org>")[0].encode()
    file.write_bytes(kms.encrypt(KeyId=key, Plaintext=made)["CiphertextBlob"])
    return key_file.read(file, lambda: ec2.client("kms", AIRFLOW)).decode()


def publish_undo_and_prune(bench: Bench) -> None:
    """What Airflow's tasks do with the buckets, from the sources to the pruning of all that is old."""
    store = bench.store
    for version in ("1.0.0", OLD, RECENT):
        sign_source(bench, version)
        plan = bench.build(version)
        bench.update(plan)
        pages.update_pages(plan, store, bench.settings)
    bench.update(bench.build("1.0.0").model_copy(update={"action": "undo"}))
    for suite in ("bookworm", "trixie"):
        assert undo.read_notice(bench.suite(suite))
    Pruning(store, bench.settings, dry_run=False).age_out(bench.signer)
    for days in (100, 200, 300):
        Pruning(store, bench.settings, dry_run=False, now=NOW + timedelta(days=days)).delete_files()
    Pruning(store, bench.settings, dry_run=False, now=NOW + timedelta(days=1000)).delete_scratch()
    # A listing goes with the last file of its directory.
    store.downloads.put("debian/pool/main/h/hhvm/empty/index.html", b"")
    assert pages.rebuild_pages(store, bench.settings).removed


def sign_source(bench: Bench, version: str) -> None:
    release = Release.find(version)
    assert release
    content = version.encode()
    key = keys.tarball(release)
    bench.store.scratch.put(key, content)
    tarball = Artifact(name=key, size=len(content), sha256=sha256(content), md5="")
    SourceManifest(version=version, commit="", tarball=tarball).write(bench.store, release)
    source_tarball.sign(bench.store, release, bench.signer)
    source_tarball.publish(bench.store, release, bench.signer.public_key())


def run_jobs(ec2: EC2, bench: Bench, root: Path) -> None:
    """Jobs on instances: what they read and write, and what it takes to launch, find and end them."""
    ssm = ec2.client("ssm", AIRFLOW)
    with contextlib.suppress(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=Settings().ec2.image_parameter)
    client = ec2.client("ec2", AIRFLOW)

    def launch(parameters: dict[str, Any]) -> str:
        answer = client.run_instances(MinCount=1, MaxCount=1, **parameters)
        return str(answer["Instances"][0]["InstanceId"])

    settings = bench.settings.model_copy(
        update={
            "ec2": bench.settings.ec2.model_copy(
                update={
                    "security_groups": [ec2.security_group_id],
                    "subnets": list(ec2.subnets.values()),
                    "machines": {"packs": Machine(spot=True)},
                }
            )
        }
    )
    worker = Ec2Worker(
        client,
        bench.store,
        settings,
        image=lambda: str(ssm.get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]),
        launch=launch,
    )
    for job in jobs(bench, root):
        worker.start(f"hhvm-test-{job.script}", ATTEMPT, job, {"hhvm.test": "yes"}, bench.store)
    for job in jobs(bench, root):
        name = f"hhvm-test-{job.script}"
        until(lambda name=name, job=job: worker.phase(name, job, ATTEMPT) != "running", 300)  # type: ignore[misc]
        worker.collect(name, ATTEMPT, job, bench.store)
        assert worker.adopt(name, job, bench.store) == ATTEMPT
        worker.remove(name)
    list(worker.find())
    assert bench.store.scratch.head("hhvm-1.0.1.tar.gz")


def jobs(bench: Bench, root: Path) -> list[Job]:
    """One that packs a source tarball, one that makes a package of one and looks at a candidate."""
    if not root.exists():
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, root / part, symlinks=True)
        for script, line in (("packs", "echo source >$OUT/hhvm-1.0.1.tar.gz"), ("builds", "cp $IN/* $OUT/")):
            (root / "jobs" / script).write_text(f"#!/bin/bash\n{line}\n")
            (root / "jobs" / script).chmod(0o755)
    inputs = []
    for key in ("hhvm-1.0.0.tar.gz", f"candidate/1.0.0/debian-12-bookworm/{ATTEMPT}/InRelease"):
        bench.store.scratch.put(key, b"input")
        inputs.append(Input(key=key, name=key.rpartition("/")[2], sha256=sha256(b"input")))
    sha = packaging_files.upload(bench.store, root)
    common: dict[str, Any] = {"version": "1.0.0", "packaging": sha, "environment": {}, "time_limit": 600}
    build = f"1.0.0/debian-12-bookworm/{ATTEMPT}/"
    return [
        Job(script="packs", outputs="", **common),
        Job(script="builds", inputs=tuple(inputs), outputs=build, **common),
    ]


ARN = "arn:aws:s3:::"
HARM = [
    ("worker", "s3:PutObject", "hhvm-downloads/debian/pool/main/h/hhvm/hhvm_1.0.0-1_amd64.deb"),
    ("worker", "s3:PutObject", "hhvm-scratch/1.0.0/debian-12-bookworm/manifest.json"),
    ("worker", "s3:PutObject", "hhvm-scratch/1.0.0/source.json"),
    ("worker", "s3:PutObject", "hhvm-scratch/hhvm-1.0.0.tar.gz.sig"),
    ("worker", "s3:PutObject", "hhvm-scratch/packaging/0.tar.gz"),
    ("worker", "s3:PutObject", "hhvm-scratch/snapshots/debian/bookworm/20261124T000000Z-1.json"),
    ("worker", "s3:DeleteObject", "hhvm-scratch/1.0.0/debian-12-bookworm/20261124T000000.000000Z/hhvm.deb"),
    ("worker", "s3:ListBucket", "hhvm-scratch"),
    ("airflow", "s3:PutObject", "hhvm-downloads/conf/hhvm.gpg.key"),
    ("airflow", "s3:DeleteObject", "hhvm-downloads/debian/pool/main/h/hhvm/hhvm_1.0.0-1_amd64.deb"),
    ("airflow", "s3:DeleteObject", "hhvm-downloads/debian/dists/bookworm/InRelease"),
    ("airflow", "s3:DeleteObject", "hhvm-downloads/source/hhvm-1.0.0.tar.gz"),
]


@pytest.mark.parametrize(("role", "action", "resource"), HARM)
def test_what_would_harm_users_is_not_allowed(role: str, action: str, resource: str) -> None:
    assert not Policy(role).allows(Demand(action, ARN + resource))


@pytest.mark.parametrize("action", ["kms:Decrypt", "ec2:RunInstances", "iam:PassRole", "ssm:GetParameter"])
def test_a_worker_reaches_neither_the_signing_key_nor_other_machines(action: str) -> None:
    context = {"kms:ResourceAliases": "alias/hhvm-signing", "iam:PassedToService": "ec2.amazonaws.com"}
    assert not Policy("worker").allows(Demand(action, "*", context))


@pytest.mark.parametrize(
    "options",
    [
        {"ec2:MetadataHttpTokens": "optional"},
        {"ec2:MetadataHttpPutResponseHopLimit": "2"},
        {"aws:RequestTag/hhvm.scratch": "another-deployments"},
    ],
)
def test_airflow_launches_no_instance_that_gives_its_role_away_or_is_not_marked(
    options: dict[str, str],
) -> None:
    good = {
        "ec2:MetadataHttpTokens": "required",
        "ec2:MetadataHttpPutResponseHopLimit": "1",
        "aws:RequestTag/hhvm.scratch": "hhvm-scratch",
    }
    instance = "arn:aws:ec2:us-west-2:123456789012:instance/*"
    assert Policy("airflow").allows(Demand("ec2:RunInstances", instance, good))
    assert not Policy("airflow").allows(Demand("ec2:RunInstances", instance, {**good, **options}))


def test_a_call_that_is_refused_says_which_policy_lacks_what(ec2: EC2) -> None:
    with pytest.raises(ClientError, match=r"docs/iam/airflow\.json does not allow s3:PutObject on .*/conf/x"):
        ec2.client("s3", AIRFLOW).put_object(Bucket="hhvm-downloads", Key="conf/x", Body=b"")
