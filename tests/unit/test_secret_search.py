"""The search for secrets that the end-to-end tests rely on finds what it looks for."""

from __future__ import annotations

import base64
import sqlite3
from typing import TYPE_CHECKING

import pytest

from demo.stack import USER, Ports, Stack
from testing.secret_search import SecretSearch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    stack = Stack(tmp_path_factory.mktemp("var"), preferred_ports=Ports(0, 0, 0))
    stack.prepare()
    return stack


def test_secrets_are_found_where_the_demo_keeps_them_and_nowhere_else(stack: Stack) -> None:
    assert SecretSearch(stack).files(stack.var) == {
        "secrets.json": {"fernet_key", "jwt_secret", "api_secret_key", "password", "s3_secret_key"},
        "signing-key.asc": {"signing key"},
        "airflow/passwords.json": {"password"},
    }


def test_every_form_of_a_secret_is_found(stack: Stack) -> None:
    search = SecretSearch(stack)
    login = base64.b64encode(f"{USER}:{stack.secrets.password}".encode()).decode()
    assert search.text(f"Authorization: Basic {login}") == {"password"}
    assert search.text("Bearer eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhbnlib2R5In0.c2lnbmF0dXJl") == {"token"}
    armored = (stack.var / "signing-key.asc").read_text()
    # As in a variable's value, and as gpg stores it.
    assert search.text(armored.replace("\n", "\\n")) == {"signing key"}
    packets = base64.b64decode(armored.split("\n\n")[1].split("\n=")[0])
    # A private Ed25519 key: 51 bytes of the public one, then the private number (RFC 9580, section 5.5).
    for form in (packets[54:86], packets[54:86].hex().upper()):
        assert search.text(form) == {"signing key"}


def test_the_public_key_is_no_secret(stack: Stack) -> None:
    public = (stack.var / "hhvm.gpg.key").read_text()
    assert SecretSearch(stack).text(public) == set()
    assert SecretSearch(stack).text(base64.b64decode(public.split("\n\n")[1].split("\n=")[0])) == set()


def test_a_secret_is_found_in_a_row_that_is_spread_over_pages(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "airflow.db"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE xcom (key TEXT, value TEXT)")
        secret = stack.secrets.jwt_secret
        connection.executemany(
            "INSERT INTO xcom VALUES ('result', ?)", [["x" * n + secret] for n in (0, 450)]
        )
    connection.close()
    assert SecretSearch(stack).database(file) == {"xcom.value": {"jwt_secret"}}
