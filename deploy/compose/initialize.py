"""Prepares a deployment, and may be run again at any time: each step leaves what is right already as it is.

It brings the database to this version of Airflow, makes the pools, the connections and the first user, and
puts the public signing key where users find it. It runs Airflow's own commands, all in this one process,
because each by itself takes seconds to start.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

SECRETS = Path("/run/secrets")
CONNECTIONS = "connections.json"
FIRST_USER = "release-manager"


def airflow(*words: str) -> None:
    """Run one of Airflow's commands."""
    from airflow.cli import cli_parser

    arguments = cli_parser.get_parser().parse_args(words)
    arguments.func(arguments)


def make_pools() -> None:
    """Make the pools that tasks name, with the slots that the settings say."""
    from hhvm_packaging.settings import settings

    pools = {
        "publish": {"slots": 1, "description": "Changes what is public"},
        "workers": {"slots": settings().workers_at_once, "description": "Jobs with a worker"},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({name: {**pool, "include_deferred": True} for name, pool in pools.items()}, file)
        file.flush()
        airflow("pools", "import", file.name)


def make_connections() -> None:
    """Make the connections that all services may know; those of the signing key are not among them."""
    airflow("connections", "import", "--overwrite", str(SECRETS / CONNECTIONS))


def make_first_user() -> None:
    """Make the user who can make the others."""
    airflow(
        *("users", "create", "--role", "Admin", "--username", FIRST_USER),
        *("--firstname", "Release", "--lastname", "Manager", "--email", f"{FIRST_USER}@localhost"),
        *("--password", (SECRETS / "first_user_password").read_text()),
    )


def publish_key() -> None:
    """Put the public signing key into the downloads bucket, unless there is one."""
    from hhvm_packaging.orchestration import connections
    from hhvm_packaging.settings import settings
    from hhvm_packaging.store.keys import PUBLIC_KEY

    conn_id = settings().aws_conn_id
    known = json.loads((SECRETS / CONNECTIONS).read_text())
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(known[conn_id])
    downloads = connections.store().downloads
    if downloads.head(PUBLIC_KEY) is None:
        downloads.put(PUBLIC_KEY, (SECRETS / "public_key").read_bytes(), "application/pgp-keys")
        print(f"{PUBLIC_KEY} is public")


def main() -> None:
    """Do all of it."""
    airflow("db", "migrate")
    make_pools()
    make_connections()
    make_first_user()
    publish_key()


if __name__ == "__main__":
    main()
