"""The signing key from a file that KMS decrypts. KMS is moto's, the gpg is the real one."""

from __future__ import annotations

import logging
import subprocess
from typing import TYPE_CHECKING, Never

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from demo import signing_key
from hhvm_packaging.apt import key_file, signing
from hhvm_packaging.apt.signing import Signer, UnusableKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mypy_boto3_kms import KMSClient

TEXT = b"Origin: HHVM\n"


@pytest.fixture(scope="module")
def private_key() -> bytes:
    return signing_key.make("HHVM tests <hhvm@example.org>")[0].encode()


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[KMSClient]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield boto3.client("kms", region_name="us-west-2")


@pytest.fixture
def encrypted(kms: KMSClient, tmp_path: Path) -> Callable[[bytes], Path]:
    """Write a plaintext as a file that KMS decrypts. Returns the file."""
    key_id = kms.create_key()["KeyMetadata"]["KeyId"]

    def encrypt(plaintext: bytes) -> Path:
        path = tmp_path / "gpg-key.kms-ciphertext"
        path.write_bytes(kms.encrypt(KeyId=key_id, Plaintext=plaintext)["CiphertextBlob"])
        return path

    return encrypt


def dearmored(key: bytes) -> bytes:
    return subprocess.run(["gpg", "--dearmor"], input=key, capture_output=True, check=True).stdout


@pytest.mark.parametrize("form", [bytes, dearmored])
def test_an_encrypted_key_signs(
    kms: KMSClient, encrypted: Callable[[bytes], Path], private_key: bytes, form: Callable[[bytes], bytes]
) -> None:
    path = encrypted(form(private_key))
    assert b"PRIVATE KEY" not in path.read_bytes()
    with Signer(key_file.read(path, lambda: kms)) as signer:
        assert signing.signed_text(signer.clearsign(TEXT), signer.public_key()) == TEXT


@pytest.mark.parametrize("form", [bytes, dearmored])
def test_a_file_has_room_for_two_keys(
    kms: KMSClient, encrypted: Callable[[bytes], Path], private_key: bytes, form: Callable[[bytes], bytes]
) -> None:
    other_key, other_public_key = signing_key.make("HHVM tests, too <hhvm@example.org>")
    path = encrypted(form(private_key) + form(other_key.encode()))
    with Signer(key_file.read(path, lambda: kms)) as signer:
        assert signing.signed_text(signer.clearsign(TEXT), other_public_key.encode()) == TEXT


def test_what_was_encrypted_must_be_a_key(kms: KMSClient, encrypted: Callable[[bytes], Path]) -> None:
    content = key_file.read(encrypted(b"no key"), lambda: kms)
    with pytest.raises(UnusableKey, match="no gpg key"), Signer(content):
        pass


def no_kms() -> KMSClient:
    raise AssertionError("KMS is not needed")


def test_an_armored_key_signs_as_it_is(tmp_path: Path, private_key: bytes) -> None:
    path = tmp_path / "signing-key.asc"
    path.write_bytes(private_key)
    path.chmod(0o640)
    with Signer(key_file.read(path, no_kms)) as signer:
        assert signing.signed_text(signer.clearsign(TEXT), signer.public_key()) == TEXT


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o777])
def test_an_armored_key_that_everybody_may_read_is_refused(
    tmp_path: Path, private_key: bytes, mode: int
) -> None:
    path = tmp_path / "signing-key.asc"
    path.write_bytes(private_key)
    path.chmod(mode)
    with pytest.raises(UnusableKey, match=r"everybody may read the signing key's file .*: chmod 600"):
        key_file.read(path, no_kms)


def test_a_file_that_is_not_there_is_refused_by_its_name(kms: KMSClient, tmp_path: Path) -> None:
    with pytest.raises(UnusableKey, match=r"absent\.kms-ciphertext cannot be read: No such file"):
        key_file.read(tmp_path / "absent.kms-ciphertext", lambda: kms)


@pytest.mark.parametrize("content", [b"", b"no ciphertext"])
def test_a_file_that_kms_did_not_encrypt_is_refused_by_its_name(
    kms: KMSClient, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "gpg-key.kms-ciphertext"
    path.write_bytes(content)
    with pytest.raises(UnusableKey, match=r"gpg-key\.kms-ciphertext"):
        key_file.read(path, lambda: kms)


def answering(kms: KMSClient, monkeypatch: pytest.MonkeyPatch, code: str) -> KMSClient:
    def refuse(**_: object) -> Never:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "Decrypt")

    monkeypatch.setattr(kms, "decrypt", refuse)
    return kms


def test_a_denied_key_is_refused_for_good(
    kms: KMSClient, encrypted: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encrypted(b"key")
    with pytest.raises(UnusableKey, match="AccessDeniedException"):
        key_file.read(path, lambda: answering(kms, monkeypatch, "AccessDeniedException"))


def test_a_busy_kms_may_be_asked_again(
    kms: KMSClient, encrypted: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encrypted(b"key")
    with pytest.raises(ClientError, match="ThrottlingException"):
        key_file.read(path, lambda: answering(kms, monkeypatch, "ThrottlingException"))


def test_no_log_holds_any_of_the_key(
    kms: KMSClient, encrypted: Callable[[bytes], Path], private_key: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = encrypted(private_key)
    caplog.set_level(logging.DEBUG)
    with Signer(key_file.read(path, lambda: kms)) as signer:
        signer.clearsign(TEXT)
    assert "botocore" in caplog.text
    assert "BEGIN PGP PRIVATE" not in caplog.text
    assert "LS0tLS1CRUdJTiBQR1AgUFJJVkFURSBLRVk" not in caplog.text  # the same in Base64
