"""The roles in ``deploy/aws/roles.yaml``: all that Airflow and its instances do is covered, and nothing else.

The tests' EC2 refuses what they do not allow, in every test that uses it. Here everything is done once that
talks to AWS, so that what no call uses is found, too.
"""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

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
from hhvm_packaging.settings import JobKind, Machine, Settings
from hhvm_packaging.store import keys
from hhvm_packaging.store.keys import PUBLIC_KEY
from hhvm_packaging.upkeep.pruning import Pruning
from hhvm_packaging.workers.ec2 import Ec2Worker
from hhvm_packaging.workers.job import Artifact, Input, Job
from testing import account
from testing.account import ACCOUNT, AIRFLOW_ROLE, REGION, worker_role
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
READ_KEYS, PUSH_KEYS = (account.parameters("roles")[name] for name in ("ReadKeysPath", "PushKeysPath"))
PARAMETERS = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter"
SCRIPTS = {
    "packs": "echo source >$OUT/hhvm-1.0.1.tar.gz",
    "builds": "cp $IN/* $OUT/",
    "looks": "cat $IN/*",
    "pushes": "true",
}
UNUSED = {
    "WriteScratch: s3:AbortMultipartUpload": "after an upload in parts that failed",
    "Publish: s3:AbortMultipartUpload": "after a copy in parts that failed",
    "WriteOwnDirectory: s3:AbortMultipartUpload": "after an upload in parts that failed",
    "Publish: arn:aws:s3:::hhvm-downloads/ubuntu/*": "what debian/ is for Debian's distributions",
    "ReadConsoles: ec2:GetConsoleOutput": "for an instance that ended without a log",
    "ReadConsoles: arn:aws:ec2:*:123456789012:instance/*": "likewise",
    "EndWorkers: ec2:DeleteVolume": "the reaper's, for a volume that outlived its instance",
    "EndWorkers: arn:aws:ec2:*:123456789012:volume/*": "the reaper's, likewise",
}
"""Parts of the policies that nothing here uses, and what they are for."""
ROLES = (AIRFLOW_ROLE, *map(worker_role, get_args(JobKind)))


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
    for policy in map(ec2.gateway.policy, ROLES):
        assert policy.parts() - policy.used - set(UNUSED) == set(), f"of {policy.role}"


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

    for path in (READ_KEYS, PUSH_KEYS):
        ec2.client("ssm").put_parameter(Name=f"{path}/id_ed25519", Value="a key", Type="SecureString")
    settings = bench.settings.model_copy(
        update={
            "ec2": bench.settings.ec2.model_copy(
                update={
                    "security_groups": [ec2.security_group_id],
                    "subnets": list(ec2.subnets.values()),
                    "machines": {"packs": Machine(spot=True)},
                    "keys_parameters": READ_KEYS,
                    "push_keys_parameters": PUSH_KEYS,
                }
            )
        }
    )
    worker = Ec2Worker(
        client,
        bench.store,
        settings,
        image=lambda _: str(ssm.get_parameter(Name=AMI_PARAMETER)["Parameter"]["Value"]),
        launch=launch,
    )
    for job in jobs(bench, root):
        worker.start(f"hhvm-test-{job.script}", ATTEMPT, job, {"hhvm.test": "yes"}, bench.store)
    # Those below may have ended by themselves before anybody ends them.
    worker.start("hhvm-test-ended", ATTEMPT, jobs(bench, root)[0], {"hhvm.test": "yes"}, bench.store)
    worker.remove("hhvm-test-ended")
    for job in jobs(bench, root):
        name = f"hhvm-test-{job.script}"
        until(lambda name=name, job=job: worker.phase(name, job, ATTEMPT) != "running", 300)  # type: ignore[misc]
        worker.collect(name, ATTEMPT, job, bench.store)
        assert worker.adopt(name, job, bench.store) == ATTEMPT
        worker.remove(name)
    list(worker.find())
    assert bench.store.scratch.head("hhvm-1.0.1.tar.gz")


def jobs(bench: Bench, root: Path) -> list[Job]:
    """One of each kind: it packs a tarball, makes a package of one, looks at a candidate, or pushes."""
    if not root.exists():
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, root / part, symlinks=True)
        for script, line in SCRIPTS.items():
            (root / "jobs" / script).write_text(f"#!/bin/bash\n{line}\n")
            (root / "jobs" / script).chmod(0o755)
    tarball, candidate = "hhvm-1.0.0.tar.gz", f"candidate/1.0.0/debian-12-bookworm/{ATTEMPT}/InRelease"
    inputs = {}
    for key in (tarball, candidate):
        bench.store.scratch.put(key, b"input")
        inputs[key] = (Input(key=key, name="input", sha256=sha256(b"input")),)
    cache = keys.compiler_cache("debian-12-bookworm", sha256(b"input"))
    bench.store.scratch.copy_from(bench.store.scratch, tarball, cache, content_type="application/x-tar")
    image = f"dependencies/debian-12-bookworm/{ATTEMPT}/dependencies.tar.gz"
    bench.store.scratch.put(image, b"input")
    begins_with = tuple(
        Input(key=key, name=name, sha256=sha256(b"input"))
        for key, name in ((cache, "cache"), (image, "image"))
    )
    sha = packaging_files.upload(bench.store, root)
    common: dict[str, Any] = {"version": "1.0.0", "packaging": sha, "environment": {}, "time_limit": 600}
    build = f"1.0.0/debian-12-bookworm/{ATTEMPT}/"
    return [
        Job(script="packs", outputs="", needs_keys=True, **common),
        Job(script="builds", inputs=inputs[tarball], caches=begins_with, outputs=build, **common),
        Job(script="looks", inputs=inputs[candidate], **common),
        Job(script="pushes", needs_keys=True, pushes=True, **common),
    ]


ARN = "arn:aws:s3:::"
OF_ANY_WORKER = [
    ("s3:PutObject", "hhvm-downloads/debian/pool/main/h/hhvm/hhvm_1.0.0-1_amd64.deb"),
    ("s3:PutObject", "hhvm-scratch/1.0.0/debian-12-bookworm/manifest.json"),
    ("s3:PutObject", "hhvm-scratch/1.0.0/source.json"),
    ("s3:PutObject", "hhvm-scratch/hhvm-1.0.0.tar.gz.sig"),
    ("s3:PutObject", "hhvm-scratch/packaging/0.tar.gz"),
    ("s3:PutObject", "hhvm-scratch/snapshots/debian/bookworm/20261124T000000Z-1.json"),
    ("s3:DeleteObject", "hhvm-scratch/1.0.0/debian-12-bookworm/20261124T000000.000000Z/hhvm.deb"),
    ("s3:GetObject", "hhvm-scratch/1.0.0/debian-12-bookworm/20261124T000000.000000Z/hhvm.deb"),
    ("s3:GetObject", "hhvm-scratch/holds/1.0.0/0.json"),
    ("s3:ListBucket", "hhvm-scratch"),
]
OF_AIRFLOW = [
    ("s3:PutObject", "hhvm-downloads/conf/hhvm.gpg.key"),
    ("s3:DeleteObject", "hhvm-downloads/debian/pool/main/h/hhvm/hhvm_1.0.0-1_amd64.deb"),
    ("s3:DeleteObject", "hhvm-downloads/debian/dists/bookworm/InRelease"),
    ("s3:DeleteObject", "hhvm-downloads/source/hhvm-1.0.0.tar.gz"),
]
KINDS = get_args(JobKind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("action", "resource"), OF_ANY_WORKER)
def test_no_worker_does_what_would_harm_users(kind: JobKind, action: str, resource: str) -> None:
    assert not Policy(worker_role(kind)).allows(Demand(action, ARN + resource))


@pytest.mark.parametrize(("action", "resource"), OF_AIRFLOW)
def test_airflow_does_not_do_what_only_people_may(action: str, resource: str) -> None:
    assert not Policy(AIRFLOW_ROLE).allows(Demand(action, ARN + resource))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["kms:Decrypt", "ec2:RunInstances", "iam:PassRole", "ssm:GetParameter"])
def test_a_worker_reaches_neither_the_signing_key_nor_other_machines(kind: JobKind, action: str) -> None:
    context = {"kms:ResourceAliases": "alias/hhvm-signing", "iam:PassedToService": "ec2.amazonaws.com"}
    assert not Policy(worker_role(kind)).allows(Demand(action, "*", context))


OWN = {
    "source": [Demand("ssm:GetParametersByPath", f"{PARAMETERS}{READ_KEYS}")],
    "build": [
        Demand("s3:GetObject", f"{ARN}hhvm-scratch/hhvm-1.0.0.tar.gz"),
        Demand("s3:GetObject", f"{ARN}hhvm-scratch/ccache/debian-12-bookworm/0.tar"),
        Demand("s3:GetObject", f"{ARN}hhvm-scratch/dependencies/debian-12-bookworm/1/dependencies.tar.gz"),
    ],
    "look": [Demand("s3:GetObject", f"{ARN}hhvm-scratch/candidate/1.0.0/debian-12-bookworm/1/InRelease")],
    "push": [Demand("ssm:GetParametersByPath", f"{PARAMETERS}{PUSH_KEYS}")],
}
"""What each kind of worker reads and no other does."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_reads_what_its_kind_of_job_needs_and_nothing_that_another_kind_needs(kind: JobKind) -> None:
    policy = Policy(worker_role(kind))
    for other, demands in OWN.items():
        assert all(policy.allows(demand) == (other == kind) for demand in demands), other


@pytest.mark.parametrize(("key", "allowed"), [("a/x/c", True), ("a/x/y/c", True), ("a/x/d", False)])
def test_a_wildcard_of_a_policy_matches_slashes_too(key: str, allowed: bool) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": f"{ARN}a-bucket/a/*/c",
        "Sid": "One",
    }
    policy = Policy("a-role", [statement])
    assert policy.allows(Demand("s3:GetObject", f"{ARN}a-bucket/{key}")) is allowed


@pytest.mark.parametrize("path", [READ_KEYS, PUSH_KEYS])
@pytest.mark.parametrize("action", ["ssm:GetParameter", "ssm:GetParametersByPath"])
def test_airflow_reads_no_git_key(path: str, action: str) -> None:
    for parameter in (path, f"{path}/id_ed25519"):
        assert not Policy(AIRFLOW_ROLE).allows(Demand(action, f"{PARAMETERS}{parameter}"))


def test_airflow_gives_instances_the_roles_of_workers_and_no_other() -> None:
    airflow, context = Policy(AIRFLOW_ROLE), {"iam:PassedToService": "ec2.amazonaws.com"}
    for role in (*map(worker_role, KINDS), AIRFLOW_ROLE, "hhvm-worker", "hhvm-worker-other", "administrator"):
        demand = Demand("iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{role}", context)
        assert airflow.allows(demand) == (role in map(worker_role, KINDS)), role


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
    assert Policy(AIRFLOW_ROLE).allows(Demand("ec2:RunInstances", instance, good))
    assert not Policy(AIRFLOW_ROLE).allows(Demand("ec2:RunInstances", instance, {**good, **options}))


def test_a_call_that_is_refused_says_which_policy_lacks_what(ec2: EC2) -> None:
    with pytest.raises(
        ClientError, match=r"hhvm-airflow of deploy/aws does not allow s3:PutObject on .*/conf/x"
    ):
        ec2.client("s3", AIRFLOW).put_object(Bucket="hhvm-downloads", Key="conf/x", Body=b"")
