"""What a deployment by docker-compose is given besides what a person decides."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from demo import signing_key
from deploy.compose import settings_env

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private signing key."""
    file = tmp_path_factory.mktemp("key") / "key.asc"
    file.write_text(signing_key.make("Somebody")[0])
    return file


@pytest.fixture
def fill_in(tmp_path: Path, key_file: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command, on a deployment that needs no Docker engine."""
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(example.replace("=embedded,docker\n", "=embedded\n"))

    def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "bin/fill-in-deployment"), "--directory", str(tmp_path), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stderr
        return done

    return run


def test_what_is_empty_is_filled_in_and_what_is_set_stays(
    fill_in: Callable[..., object], tmp_path: Path, key_file: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(file.read_text().replace("PUBLIC_URL=\n", "PUBLIC_URL=https://dl.example.org\n"))
    fill_in("--signing-key", str(key_file))
    lines = file.read_text().splitlines()
    assert "PUBLIC_URL=https://dl.example.org" in lines
    assert any(line.startswith("WORK_DIRECTORY=/") for line in lines)
    assert "UI_URL=http://127.0.0.1:8080" in lines


def test_run_again_it_changes_no_secret_and_no_setting(
    fill_in: Callable[..., object], tmp_path: Path, key_file: Path
) -> None:
    fill_in("--signing-key", str(key_file))
    before = {file: file.read_text() for file in [tmp_path / ".env", *(tmp_path / "secrets").iterdir()]}
    fill_in()
    assert {file: file.read_text() for file in before} == before


def test_only_the_file_of_the_signing_worker_and_the_key_itself_have_the_key(
    fill_in: Callable[..., object], tmp_path: Path, key_file: Path
) -> None:
    fill_in("--signing-key", str(key_file))
    body = max(key_file.read_text().splitlines(), key=len)
    having = {file.name for file in (tmp_path / "secrets").iterdir() if body in file.read_text()}
    assert having == {"signing_key", "signing.json"}
    connections = json.loads((tmp_path / "secrets/signing.json").read_text())
    assert connections["hhvm_signing_key"]["password"] == key_file.read_text()
    assert "PUBLIC KEY" in (tmp_path / "secrets/public_key").read_text()


def test_only_the_owner_can_enter_the_directory_of_the_secrets(
    fill_in: Callable[..., object], tmp_path: Path, key_file: Path
) -> None:
    fill_in("--signing-key", str(key_file))
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700


def test_with_a_store_of_its_own_the_connection_leads_there_with_an_instances_role(
    fill_in: Callable[..., object], tmp_path: Path, key_file: Path
) -> None:
    file, endpoint = tmp_path / ".env", "https://s3.eu-west-1.amazonaws.com"
    file.write_text(file.read_text().replace("S3_ENDPOINT=\n", f"S3_ENDPOINT={endpoint}\n"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/s3_key").write_text("")
    fill_in("--signing-key", str(key_file))
    aws = json.loads((tmp_path / "secrets/connections.json").read_text())["hhvm_aws"]
    assert aws["extra"]["service_config"] == {"s3": {"endpoint_url": endpoint}}
    assert not aws["login"]


def test_without_settings_it_says_where_they_come_from(
    fill_in: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / ".env").unlink()
    done = fill_in(expect=1)
    assert "copy .env.example to it first" in done.stderr  # type: ignore[attr-defined]


def test_every_setting_that_the_compose_file_reads_is_explained() -> None:
    example = (ROOT / ".env.example").read_text()
    read = set()
    for word in (ROOT / "docker-compose.yaml").read_text().split("${")[1:]:
        read.add(word.split("}")[0].split(":")[0].split("-")[0])
    not_for_people = {"COMPOSE_PROJECT_NAME", "REVISION", "SECRETS", "POSTGRES_IMAGE", "BROKER_IMAGE"}
    of_another_host = {"HHVM_DATABASE", "HHVM_BROKER", "HHVM_API"}
    assert {name for name in read if f"\n{name}=" not in example} == not_for_people | of_another_host


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        (
            ".env",
            'HHVM_PACKAGING_APPROVERS=["a"]',
            "HHVM_PACKAGING_APPROVERS is not read. Set it in settings.env",
        ),
        (".env", "HHVM_PACKAGING_WORKERS=ec2", "HHVM_PACKAGING_WORKERS is not read. Set it as WORKERS"),
        ("settings.env", "HHVM_PACKAGING_WORKERS=ec2", "HHVM_PACKAGING_WORKERS is not read"),
        ("settings.env", "AIRFLOW__CELERY__WORKER_CONCURRENCY=9", "WORKER_CONCURRENCY is not read"),
        ("settings.env", 'APPROVERS=["a"]', "APPROVERS is no setting"),
    ],
)
def test_a_setting_in_a_file_that_it_is_not_read_from_is_refused(
    fill_in: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    key_file: Path,
    file: str,
    line: str,
    said: str,
) -> None:
    with (tmp_path / file).open("a") as written:
        written.write(f"{line}\n")
    assert said in fill_in("--signing-key", str(key_file), expect=1).stderr


def test_a_name_that_the_compose_file_sets_too_stops_the_deployment_before_any_other_service() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"]
    looks = services["settings"]
    # What compose sets itself would hide the very names that it looks for.
    assert "environment" not in looks
    assert looks["env_file"] == services["scheduler"]["env_file"]
    needed = {"condition": "service_completed_successfully"}
    assert services["init"]["depends_on"]["settings"] == needed
    ours = {name for name, service in services.items() if service.get("env_file")} - {"settings", "init"}
    assert all(services[name]["depends_on"]["init"] == needed for name in ours)


@pytest.mark.parametrize("service", ["scheduler", "worker-signing", "init"])
def test_every_name_that_the_compose_file_sets_is_refused_in_settings_env(service: str) -> None:
    set_there = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())["services"][service]["environment"]
    lines = settings_env.refuse(["HHVM_PACKAGING_APPROVERS", *set_there])
    assert [line.split()[1] for line in lines] == sorted(set_there)
    assert settings_env.refuse(["hhvm_packaging_workers"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("HHVM_PACKAGING_WORKERS", "settings.env: HHVM_PACKAGING_WORKERS is not read"),
        ("HHVM_PACKAGING_NOTIFY", ""),
    ],
)
def test_the_service_that_looks_at_settings_env_says_what_is_wrong(name: str, says: str) -> None:
    command = [sys.executable, "-m", "deploy.compose.settings_env"]
    done = subprocess.run(command, cwd=ROOT, env={name: "x"}, capture_output=True, text=True, check=False)
    assert done.returncode == bool(says)
    assert says in done.stderr
