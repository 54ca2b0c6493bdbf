"""The command bin/fill-in-deployment: completes ``.env`` and makes the secrets for docker-compose.yaml.

It may be run again at any time: what is there stays, and the files of connections are made anew from it. To
replace a secret, delete its file first.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.compose import settings_env

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[2]
FIRST_USER = "release-manager"

MAKE: Mapping[str, Callable[[], str]] = {
    "postgres_password": lambda: secrets.token_hex(24),
    "broker_password": lambda: secrets.token_hex(24),
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "jwt_secret": lambda: secrets.token_urlsafe(48),
    "api_secret_key": lambda: secrets.token_urlsafe(48),
    "first_user_password": lambda: secrets.token_urlsafe(12),
    "s3_key": lambda: f"{secrets.token_hex(10)},{secrets.token_hex(20)}",
}


class CannotFillIn(Exception):
    """Something is missing; the message says what to do."""


class Settings:
    """The settings in a ``.env`` file."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            raise CannotFillIn(f"{file} is missing: copy .env.example to it first")
        self._file = file
        self._lines = file.read_text().splitlines()

    def get(self, name: str, default: str = "") -> str:
        """A setting's value; the default where it is empty or not there."""
        for line in self._lines:
            if line.startswith(f"{name}="):
                return line.partition("=")[2].strip().strip("\"'") or default
        return default

    def fill_in(self, name: str, find: Callable[[], str]) -> None:
        """Set what has no value yet."""
        if self.get(name):
            return
        self._lines = [line for line in self._lines if line.rstrip() != f"{name}="]
        self._lines.append(f"{name}={find()}")
        print(f"{self._file.name}: {self._lines[-1]}")

    def write(self) -> None:
        """Keep them."""
        self._file.write_text("\n".join(self._lines) + "\n")


class Secrets:
    """The files of a directory that only its owner can enter.

    Each file can be read by everybody, as a container's user is another one than the directory's owner. A
    container sees only the files that it is given.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)

    def __contains__(self, name: str) -> bool:
        return (self._directory / name).exists()

    def read(self, name: str) -> str:
        """A secret."""
        return (self._directory / name).read_text()

    def write(self, name: str, content: str) -> None:
        """Keep a secret, in place of what was there. A running container sees it when it is started anew."""
        file = self._directory / name
        new = file.with_name(f".{name}.new")
        new.write_text(content)
        new.chmod(0o444)
        new.replace(file)


def fill_in(root: Path, signing_key: Path | None) -> None:
    """Complete the deployment in ``root``. Raises CannotFillIn."""
    settings = Settings(root / ".env")
    _refuse_misplaced(root)
    docker = "docker" in settings.get("COMPOSE_PROFILES").split(",")
    settings.fill_in("PUBLIC_URL", lambda: f"http://{_address()}:{settings.get('DOWNLOADS_PORT', '8081')}")
    settings.fill_in("DOCKER_GROUP", lambda: _group_of(settings.get("DOCKER_SOCKET")) if docker else "0")
    settings.fill_in("WORK_DIRECTORY", lambda: _work_directory(settings) if docker else "/nowhere")
    settings.write()

    kept = Secrets(root / settings.get("SECRETS", "secrets"))
    for name, make in MAKE.items():
        if name not in kept:
            kept.write(name, make())
            print(f"secrets/{name}: made")
    if signing_key is not None or "signing_key" not in kept:
        private = signing_key.read_text() if signing_key else _make_signing_key()
        kept.write("signing_key", private)
        kept.write("public_key", _public(private))
        print(f"secrets/signing_key: {f'from {signing_key}' if signing_key else 'made'}")
    aws, key = (
        _aws(settings, kept.read("s3_key")),
        {"conn_type": "generic", "password": kept.read("signing_key")},
    )
    api = {
        "conn_type": "generic",
        "host": settings.get("HHVM_API", "http://api-server:8080"),
        "login": FIRST_USER,
        "password": kept.read("first_user_password"),
    }
    kept.write("connections.json", json.dumps({"hhvm_aws": aws, "hhvm_airflow_api": api}, indent=2))
    # The store too, so that bin/apt-suite works where the key is, without Airflow's services.
    kept.write("signing.json", json.dumps({"hhvm_signing_key": key, "hhvm_aws": aws}, indent=2))
    print(
        f"Log in at {settings.get('UI_URL')} as {FIRST_USER}; the password is in secrets/first_user_password"
    )


def _refuse_misplaced(root: Path) -> None:
    """Raise CannotFillIn if a setting is in the file that docker-compose does not take it from."""
    prefix, by_env = "HHVM_PACKAGING_", settings_env.set_by_compose()
    in_settings = _names(root / "settings.env")
    misplaced = settings_env.refuse(in_settings)
    for name in _names(root / ".env"):
        if name.startswith(prefix):
            own = f"as {name.removeprefix(prefix)}" if name in by_env else "in settings.env"
            misplaced.append(f".env: {name} is not read. Set it {own}")
    misplaced += [
        f"settings.env: {name} is no setting. Names begin with {prefix} there"
        for name in in_settings
        if not name.startswith((prefix, "AIRFLOW__"))
    ]
    if misplaced:
        raise CannotFillIn("\n".join(misplaced))


def _names(file: Path) -> list[str]:
    """The names that a file of variables sets."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [
        line.partition("=")[0].strip() for line in lines if "=" in line and not line.lstrip().startswith("#")
    ]


def _aws(settings: Settings, key: str) -> dict[str, object]:
    """The connection to S3 and the rest of AWS."""
    embedded = not settings.get("S3_ENDPOINT")
    login, _, password = key.partition(",")
    extra: dict[str, object] = {"region_name": settings.get("AWS_REGION", "us-west-2")}
    if embedded:
        extra |= {
            "endpoint_url": "http://s3:8082",
            "config_kwargs": {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        }
    else:
        extra["service_config"] = {"s3": {"endpoint_url": settings.get("S3_ENDPOINT")}}
    return {"conn_type": "aws", "login": login, "password": password, "extra": extra}


def _address() -> str:
    """The address of this host that others reach it by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # Nothing is sent: this asks which address it would come from.
        except OSError as error:
            raise CannotFillIn("this host has no address for PUBLIC_URL: set it in .env") from error
        return str(probe.getsockname()[0])


def _group_of(docker_socket: str) -> str:
    """The number of the group that may use the engine."""
    try:
        return str(Path(docker_socket).stat().st_gid)
    except OSError as error:
        raise CannotFillIn(f"{docker_socket}: {error.strerror}. Start Docker, or set DOCKER_GROUP") from error


def _work_directory(settings: Settings) -> str:
    """Where the engine keeps the volume that the jobs' directories are in."""
    project = os.environ.get("COMPOSE_PROJECT_NAME") or settings.get("COMPOSE_PROJECT_NAME", "hhvm-packaging")
    root = _run(["docker", "info", "--format", "{{.DockerRootDir}}"]).strip()
    return f"{root}/volumes/{project}_work/_data"


def _make_signing_key() -> str:
    from demo import signing_key

    if shutil.which("gpg") is None:
        raise CannotFillIn(
            "gpg is missing, which makes a signing key: install it, or give yours by --signing-key"
        )
    return signing_key.make("HHVM packaging")[0]


def _public(private: str) -> str:
    """The public half of an armored private key."""
    from demo import signing_key

    return signing_key.public_half(private)


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or error
        raise CannotFillIn(f"{' '.join(command)}: {said}") from error


def main() -> int:
    """Do what the command line asks. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="bin/fill-in-deployment", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--signing-key",
        type=Path,
        metavar="FILE",
        help="the armored private gpg key to sign with; default: a new one",
    )
    parser.add_argument(
        "--directory", type=Path, default=ROOT, help="where .env and secrets/ are (default: the checkout)"
    )
    arguments = parser.parse_args()
    try:
        fill_in(arguments.directory, arguments.signing_key)
    except CannotFillIn as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
