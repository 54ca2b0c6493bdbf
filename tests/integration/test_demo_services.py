"""The demo's services recover from any kill, and stopping them leaves nothing. Without Airflow, so fast."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest
from botocore.config import Config

from demo.driver import Demo
from demo.progress import Progress
from demo.stack import STORAGE, Ports, Stack, kill

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = _stack(tmp_path_factory)
    yield stack
    stack.down()


@pytest.fixture
def stack(shared: Stack) -> Stack:
    """Whatever the last test did to it, it is up again."""
    shared.up()
    return shared


def _stack(factory: pytest.TempPathFactory) -> Stack:
    return Stack(factory.mktemp("var"), services=STORAGE, preferred_ports=Ports(0, 0, 0))


def _s3(stack: Stack) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=stack.s3_url,
        region_name="us-west-2",
        aws_access_key_id=stack.secrets.s3_access_key,
        aws_secret_access_key=stack.secrets.s3_secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def _eventually_answers(stack: Stack, service: str, other_than: int) -> None:
    deadline = time.monotonic() + 20
    while [process.pid for process in stack.processes(service)] in ([], [other_than]):
        assert time.monotonic() < deadline, f"{service} was not started again"
        time.sleep(0.1)
    stack.wait(limit=20)


def test_what_containers_wrote_as_root_is_given_to_whoever_forgets_the_demo(
    tmp_path: Path, base_images: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where root runs this, for somebody else.
    somebody = os.getuid() or 12345
    monkeypatch.setattr("os.getuid", lambda: somebody)
    demo = Demo(Stack(tmp_path), Progress())
    (tmp_path / "link").symlink_to(Path(__file__))
    writes = ["sh", "-c", "mkdir /data/git; touch /data/git/object"]
    container = ["docker", "run", "--rm", "--volume", f"{tmp_path}:/data", demo.distros[0].docker_base]
    subprocess.run([*container, *writes], check=True)
    assert (tmp_path / "git/object").stat().st_uid == 0
    demo.take_roots_files()
    owners = {path.name: path.lstat().st_uid for path in tmp_path.rglob("*")}
    assert owners == dict.fromkeys(("link", "git", "object"), somebody)


def test_what_is_put_into_the_public_bucket_is_served_to_everyone(stack: Stack) -> None:
    _s3(stack).put_object(Bucket="hhvm-downloads", Key="debian/index.html", Body=b"<p>listing")
    for url in ("/debian/index.html", "/debian/"):
        answer = httpx.head(stack.public_url + url)
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["Content-Length"] == str(len("<p>listing"))
        assert answer.headers["Last-Modified"]
        assert httpx.get(stack.public_url + url).text == "<p>listing"


def test_s3_refuses_who_has_no_key(stack: Stack) -> None:
    assert httpx.get(f"{stack.s3_url}/hhvm-scratch").is_client_error


@pytest.mark.parametrize("service", STORAGE)
def test_a_killed_service_comes_back_by_itself(stack: Stack, service: str) -> None:
    (process,) = stack.processes(service)
    process.kill()
    _eventually_answers(stack, service, other_than=process.pid)


def test_after_the_supervisor_was_killed_up_recovers_with_the_same_ports_and_data(stack: Stack) -> None:
    _s3(stack).put_object(Bucket="hhvm-scratch", Key="kept", Body=b"bytes")
    kill(stack.processes("supervisord"))
    again = Stack(stack.var, services=STORAGE)
    again.up()
    assert again.ports == stack.ports
    assert _s3(again).get_object(Bucket="hhvm-scratch", Key="kept")["Body"].read() == b"bytes"
    for service in ("supervisord", *STORAGE):
        assert len(again.processes(service)) == 1


def test_after_everything_was_killed_up_recovers(stack: Stack) -> None:
    kill(stack.processes())
    stack.up()
    assert len(stack.processes()) == len(("supervisord", *STORAGE))


def test_up_leaves_what_runs_alone(stack: Stack) -> None:
    before = {process.pid for process in stack.processes()}
    stack.up()
    assert {process.pid for process in stack.processes()} == before


@pytest.mark.parametrize("supervised", [True, False], ids=["supervised", "supervisor killed"])
def test_down_leaves_no_process(stack: Stack, supervised: bool) -> None:
    if not supervised:
        kill(stack.processes("supervisord"))
    stack.down()
    assert not stack.processes()


def test_two_demos_run_side_by_side(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = _stack(tmp_path_factory)
    try:
        other.up()
        stack.down()
        assert len(other.processes()) == len(("supervisord", *STORAGE))
        _s3(other).list_buckets()
    finally:
        other.down()
