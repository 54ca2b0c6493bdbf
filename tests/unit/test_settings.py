"""What a deployment may set, and what it is told about what cannot work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from hhvm_packaging.environment import InvalidSettings, refuse_in_extra
from hhvm_packaging.settings import Settings, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PREFIX = "HHVM_PACKAGING_"


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    settings.cache_clear()
    yield
    settings.cache_clear()


def refusal(**variables: str) -> str:
    """What is said about these settings."""
    settings.cache_clear()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(f"{PREFIX}{name}", value)
        with pytest.raises(InvalidSettings) as refused:
            settings()
    return str(refused.value)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("APPROVER", "APPROVERS"),
        ("NIGHTLY_SHEDULE", "NIGHTLY_SCHEDULE"),
        ("TIME_LIMITS__MAKE_BINARY_PACKAGES", "TIME_LIMITS__MAKE_BINARY_PACKAGE"),
        ("EC2__REGIO", "EC2__REGION"),
        ("EC2_REGION", "EC2__REGION"),
        ("WORKERS__AT_ONCE", "WORKERS_AT_ONCE"),
        ("_APPROVERS", "APPROVERS"),
    ],
)
def test_a_variable_that_names_no_setting_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    assert f"- {PREFIX}{name} is no setting. Did you mean {PREFIX}{nearest}?" in refusal(**{name: "1"})


@effort(deadline=None)
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", max_size=40))
def test_no_variable_with_the_prefix_is_ignored(name: str) -> None:
    assume(name.split("__")[0].lower() not in Settings.model_fields)
    assert f"{PREFIX}{name} is no setting" in refusal(**{name: ""})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NIGHTLY_SCHEDULE", "0 0 30 2 *", "'0 0 30 2 *' never fires"),
        ("NIGHTLY_SCHEDULE", "0 0 31 4,6,9,11 *", "never fires"),
        ("NIGHTLY_SCHEDULE", "10:00", "Allowed: five fields"),
        ("NIGHTLY_SCHEDULE", "0 24 * * *", "Allowed: five fields"),
        ("NIGHTLY_SCHEDULE", "0 0 10 * * *", "Allowed: five fields"),
        ("NIGHTLY_SCHEDULE", "R R * * *", "Allowed: five fields"),
        ("NIGHTLY_SCHEDULE", "'0 10 * * *'", "Allowed: five fields"),
        ("CANARY_SCHEDULE", "@reboot", "Allowed: five fields"),
        ("CANARY_SCHEDULE", " ", "Allowed: five fields"),
        ("NIGHTLY_TIME_ZONE", "Europe/berlin", "such as Europe/Berlin"),
        ("NIGHTLY_TIME_ZONE", "PDT", "is no time zone"),
        ("NIGHTLY_TIME_ZONE", "", "is no time zone"),
        ("NIGHTLY_TIME_ZONE", "../etc/localtime", "is no time zone"),
        ("APPROVERS", "alice", 'as JSON, such as ["one", "two"]'),
        ("APPROVERS", "", 'as JSON, such as ["one", "two"]'),
        ("APPROVERS", "[]", "Leave it out, and everybody may approve"),
        ("APPROVERS", '[""]', "APPROVERS[0]: '' is not allowed. Allowed: one login id"),
        ("APPROVERS", '["alice, bob"]', "Allowed: one login id"),
        ("SNAPSHOT_DAYS", "-1", "greater than 0"),
        ("WORKERS_AT_ONCE", "0", "greater than 0"),
        ("TIME_LIMITS__MAKE_SOURCE_TARBALL", "-5", "greater than 0"),
        ("NIGHTLY_MAX_AGE_HOURS", "12", "greater than 24"),
        ("WORKERS", "EC2", "Input should be 'docker' or 'ec2' (it is 'EC2')"),
        ("SCRATCH_BUCKET", "s3://hhvm-scratch", "Allowed: a bucket's name, without s3://"),
        ("SCRATCH_BUCKET", "hhvm-downloads", "what is not public yet would be public"),
        ("STAGING_REPOSITORY", "https://github.com/facebook/hhvm.git", "what is not public yet would be"),
        ("PUBLIC_REPOSITORY", "--upload-pack=id", "Allowed: the address of a git repository"),
        ("PUBLIC_URL", "https://dl.example.org/?a", "Allowed: https://HOST"),
        ("GRACE", "5", "grace must be at least twice as long"),
        ("LOCK_DIRECTORY", "locks", "is not absolute"),
        ("SUITES", '{"nightlies": ["DISTRO"]}', "Allowed: nightly, release or a series"),
        ("SUITES", '{"nightly": []}', "SUITES__NIGHTLY: List should have at least 1 item"),
        ("ARCHITECTURES", '["all"]', "Allowed: an architecture of machines"),
        ("EC2__MACHINES", '{"make-package": {}}', "Allowed: a script of jobs"),
        ("EC2__REGION", "Oregon", "Allowed: an AWS region"),
        ("DOCKER_URL", "/var/run/docker.sock", "Allowed: an engine's URL"),
        ("DOCKER_NETWORK", "", "Allowed: the name of a Docker network"),
        ("DOCKER_NETWORK", "host", "neither host nor bridge"),
        ("DOCKER_NETWORK", "bridge", "neither host nor bridge"),
        ("DOCKER_NETWORK", "container:hhvm-job", "Allowed: the name of a Docker network"),
        ("AWS_CONN_ID", "aws://key:secret@", "Allowed: the id of an Airflow connection"),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_words(name: str, value: str, said: str) -> None:
    refused = refusal(**{name: value})
    assert said in refused
    assert "validation error" not in refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NIGHTLY_SCHEDULE", ""),
        ("NIGHTLY_SCHEDULE", "@daily"),
        ("NIGHTLY_SCHEDULE", "0 0 29 2 *"),
        ("NIGHTLY_SCHEDULE", "30 2 * * MON-FRI"),
        ("NIGHTLY_TIME_ZONE", "America/Los_Angeles"),
        ("APPROVERS", '["alice", "bob@example.org"]'),
        ("EC2__MACHINES__make-binary-package__DISK", "300"),
        ("SUITES", '{"4.172": ["DISTRO-lts-x.y"]}'),
        ("PUBLIC_URL", "http://127.0.0.1:8081"),
    ],
)
def test_a_value_that_works_is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    settings()


def test_all_faults_are_told_at_once() -> None:
    assert refusal(APPROVER="[]", GRACES="1", WORKERS="mine").count("\n- ") == 3


def test_a_variable_twice_in_different_case_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("hhvm_packaging_grace", "700")
    assert "HHVM_PACKAGING_GRACE and hhvm_packaging_grace are the same" in refusal(GRACE="600")


def test_a_secret_that_is_in_the_wrong_place_is_not_repeated() -> None:
    for value in ("hunter2", '[{"kind": "slack", "password": "hunter2"}]'):
        assert "hunter2" not in refusal(NOTIFY=value)


@pytest.mark.parametrize("name", ["approvers", "HHVM_PACKAGING_APPROVERS", "hhvm_packaging_approvers"])
def test_a_setting_among_the_extra_fields_of_a_connection_is_refused(name: str) -> None:
    extra: dict[str, Any] = {"region_name": "us-west-2", name: ["alice"]}
    with pytest.raises(InvalidSettings, match=f"extra field {name}.* setting: HHVM_PACKAGING_APPROVERS"):
        refuse_in_extra("hhvm_aws", extra, Settings)


@pytest.mark.parametrize(
    "extra",
    [
        {"region_name": "us-west-2", "endpoint_url": "http://s3", "config_kwargs": {"s3": {}}},
        {"from_email": "a@example.org", "disable_ssl": True, "timeout": 5},
        {},
    ],
)
def test_the_extra_fields_that_connections_have_are_taken(extra: dict[str, Any]) -> None:
    refuse_in_extra("hhvm_aws", extra, Settings)


@pytest.mark.parametrize(
    "service",
    [["scheduler"], ["api-server"], ["dag-processor"], ["triggerer"], ["celery", "worker"], ["standalone"]],
    ids=" ".join,
)
def test_no_service_starts_with_a_variable_that_names_no_setting(service: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "airflow"), *service],
        env=os.environ | {"AIRFLOW_HOME": str(tmp_path), f"{PREFIX}APPROVER": json.dumps(["alice"])},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "- HHVM_PACKAGING_APPROVER is no setting. Did you mean HHVM_PACKAGING_APPROVERS?"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["nocheck", "pkg.hhvm.miniature", "stage1", "a+b"])
def test_a_build_profile_has_a_name_as_debians_have(name: str) -> None:
    assert Settings(build_profiles=[name]).build_profiles == [name]


@pytest.mark.parametrize("name", ["", "two words", "!nocheck", "NoCheck", "-x", "nodoc;id", "nodoc\n"])
def test_any_other_build_profile_is_refused(name: str) -> None:
    said = refusal(BUILD_PROFILES=json.dumps([name]))
    assert "BUILD_PROFILES" in said
    assert "such as nocheck" in said
