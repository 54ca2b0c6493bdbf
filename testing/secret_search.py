"""A search for a demo's secrets, wherever a release may have left them."""

from __future__ import annotations

import base64
import re
import sqlite3
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING

from demo.stack import USER

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack import Stack

_TOKEN = re.compile(rb"eyJ[\w-]{16,}\.eyJ[\w-]{16,}")
"""A JSON Web Token, which is how Airflow's API knows people and tasks (RFC 7519)."""
_NO_SECRET = {"s3_access_key"}
"""It names the secret key, and S3's own protocol shows it."""
_ARMOR = re.compile(r"\n\n(.*?)\n=", re.DOTALL)
"""The base64 between the headers and the checksum of OpenPGP's armor (RFC 9580, section 6.2)."""
_PART = 16
"""Bytes of a private key that are looked for: its private number has 32."""


class SecretSearch:
    """Looks for the secrets of one demo. Each is looked for in the forms in which it is used."""

    def __init__(self, stack: Stack) -> None:
        self._forms = {
            name: {value.rstrip("=").encode()}
            for name, value in asdict(stack.secrets).items()
            if name not in _NO_SECRET
        }
        login = base64.b64encode(f"{USER}:{stack.secrets.password}".encode())
        self._forms["password"].add(login.rstrip(b"="))
        self.key = _forms_of_key(
            (stack.var / "signing-key.asc").read_text(), (stack.var / "hhvm.gpg.key").read_text()
        )
        self._forms["signing key"] = self.key

    def text(self, content: str | bytes) -> set[str]:
        """The names of the secrets in a text; ``token`` stands for any token of Airflow's API."""
        content = content if isinstance(content, bytes) else content.encode()
        found = {name for name, forms in self._forms.items() if any(form in content for form in forms)}
        return found | {"token"} if _TOKEN.search(content) else found

    def has_key(self, content: str | bytes) -> bool:
        """Whether a text has a part of the private signing key."""
        return "signing key" in self.text(content)

    def files(self, root: Path) -> dict[str, set[str]]:
        """The secrets in all files below a directory, by the file's path in it."""
        found = {}
        for path in root.rglob("*"):
            if path.is_file() and not path.is_symlink() and (names := self.text(path.read_bytes())):
                found[str(path.relative_to(root))] = names
        return found

    def database(self, file: Path) -> dict[str, set[str]]:
        """The secrets in all rows of an SQLite database, by table and column.

        A row may be spread over the file, so that a search of its bytes is not enough.
        """
        found: dict[str, set[str]] = {}
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                rows = connection.execute(f'SELECT * FROM "{table}"')  # ruff: ignore[hardcoded-sql-expression]
                columns = [description[0] for description in rows.description]
                for row in rows:
                    for column, value in zip(columns, row, strict=True):
                        if names := self.text(value if isinstance(value, bytes) else str(value)):
                            found.setdefault(f"{table}.{column}", set()).update(names)
        return found


def _forms_of_key(private: str, public: str) -> set[bytes]:
    """What a private key has and its public key has not: lines of its armor, and parts of its bytes."""
    lines = {line for line in _body(private).split() if len(line) >= _PART} - set(_body(public).split())
    secret, known = base64.b64decode(_body(private)), base64.b64decode(_body(public))
    parts = {secret[start : start + _PART] for start in range(len(secret) - _PART + 1)}
    parts = {part for part in parts if part not in known}
    # gpg's own key store has hexadecimal digits.
    return {line.encode() for line in lines} | parts | {part.hex().upper().encode() for part in parts}


def _body(armored: str) -> str:
    found = _ARMOR.search(armored)
    if not found:
        raise ValueError("this is no armored key")
    return found[1]
