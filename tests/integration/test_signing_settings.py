"""Where a task's signing key comes from: a connection, or a file; and what the log says of its use."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException
from moto import mock_aws

from demo import signing_key
from hhvm_packaging.apt import signing
from hhvm_packaging.apt.signing import UnusableKey
from hhvm_packaging.orchestration import connections
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = b"Origin: HHVM\n"


@pytest.fixture(scope="module")
def key() -> tuple[str, str]:
    return signing_key.make("HHVM tests <hhvm@example.org>")


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What sets the environment of a deployment whose settings are the defaults."""
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.fixture
def encrypted(deployment: pytest.MonkeyPatch, key: tuple[str, str], tmp_path: Path) -> Iterator[str]:
    """The name of a file in the packaging root; the AWS connection may decrypt it."""
    connection = {"conn_type": "aws", "extra": {"region_name": "us-west-2"}}
    deployment.setenv("AIRFLOW_CONN_HHVM_AWS", json.dumps(connection))
    deployment.setenv("AWS_ACCESS_KEY_ID", "testing")
    deployment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    deployment.setenv("HHVM_PACKAGING_PACKAGING_ROOT", str(tmp_path))
    with mock_aws():
        kms = boto3.client("kms", region_name="us-west-2")
        key_id = kms.create_key()["KeyMetadata"]["KeyId"]
        ciphertext = kms.encrypt(KeyId=key_id, Plaintext=key[0])["CiphertextBlob"]
        (tmp_path / "gpg-key.kms-ciphertext").write_bytes(ciphertext)
        yield "gpg-key.kms-ciphertext"


def assert_signs(key: tuple[str, str]) -> None:
    with connections.signer() as signer:
        assert signing.signed_text(signer.clearsign(TEXT), key[1].encode()) == TEXT


def give_connection(deployment: pytest.MonkeyPatch, password: str) -> None:
    connection = json.dumps({"conn_type": "generic", "password": password})
    deployment.setenv("AIRFLOW_CONN_HHVM_SIGNING_KEY", connection)


def test_the_password_of_the_connection_is_the_key(
    deployment: pytest.MonkeyPatch, key: tuple[str, str]
) -> None:
    give_connection(deployment, key[0])
    assert_signs(key)


def test_a_file_that_the_settings_name_is_decrypted(
    deployment: pytest.MonkeyPatch, key: tuple[str, str], encrypted: str
) -> None:
    deployment.setenv("HHVM_PACKAGING_SIGNING_KEY_FILE", encrypted)
    assert_signs(key)


def test_a_file_with_the_key_itself_is_read(
    deployment: pytest.MonkeyPatch, key: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "signing-key.asc").write_text(key[0])
    (tmp_path / "signing-key.asc").chmod(0o600)
    deployment.setenv("HHVM_PACKAGING_SIGNING_KEY_FILE", str(tmp_path / "signing-key.asc"))
    assert_signs(key)


def test_each_signature_has_one_line_in_the_log(
    deployment: pytest.MonkeyPatch, key: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    give_connection(deployment, key[0])
    caplog.set_level("INFO", "hhvm_packaging")
    task = SimpleNamespace(dag_id="hhvm_build", run_id="a-run", task_id="sign", try_number=2)
    deployment.setattr(connections, "get_current_context", lambda: {"ti": task})
    with connections.signer() as signer:
        signer.clearsign(TEXT, "a suite")
        signer.detach(TEXT, "a tarball")
        by = signer.fingerprint
    digest = hashlib.sha256(TEXT).hexdigest()
    signed = [line for line in caplog.messages if line.startswith("Signed ")]
    assert signed == [
        f"Signed {what}, SHA-256 {digest}, with {by}, for hhvm_build a-run, sign, try 2"
        for what in ("a suite", "a tarball")
    ]


def test_outside_a_task_the_log_says_who_signed(
    deployment: pytest.MonkeyPatch, key: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    give_connection(deployment, key[0])
    caplog.set_level("INFO", "hhvm_packaging")
    deployment.setenv("USER", "alice")
    deployment.setenv("LOGNAME", "alice")
    with connections.signer() as signer:
        signer.clearsign(TEXT)
    assert any(line.endswith("run by alice") for line in caplog.messages)


def test_the_connection_does_not_stand_in_for_a_file_that_cannot_be_used(
    deployment: pytest.MonkeyPatch, key: tuple[str, str], encrypted: str
) -> None:
    give_connection(deployment, key[0])
    deployment.setenv("HHVM_PACKAGING_SIGNING_KEY_FILE", f"{encrypted}.old")
    with pytest.raises(UnusableKey, match=r"gpg-key\.kms-ciphertext\.old cannot be read"):
        connections.signer()


def test_without_either_the_error_names_both(deployment: pytest.MonkeyPatch) -> None:
    with pytest.raises(AirflowNotFoundException, match=r"connection hhvm_signing_key.*signing_key_file"):
        connections.signer()


def test_a_connection_without_a_password_is_refused_by_its_name(deployment: pytest.MonkeyPatch) -> None:
    give_connection(deployment, "")
    with pytest.raises(AirflowFailException, match="hhvm_signing_key has no password"):
        connections.signer()
