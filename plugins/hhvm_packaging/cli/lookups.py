"""Commands that answer what the old system's lambdas did: a source, a build's status, instances, the CDN.

The first two ask the console, with the login for Airflow. The others ask AWS or the Docker engine of this
machine: the settings are those of the environment, as Airflow's services have them (HHVM_PACKAGING_...), and
the credentials your own, as the aws command has them.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer
from rich.table import Table

from hhvm_packaging.cli import clients
from hhvm_packaging.cli.terminal import AsJson, Refused, Yes, airflow, confirm, out, print_json
from hhvm_packaging.release import Release
from hhvm_packaging.settings import settings
from hhvm_packaging.store.keys import REPOSITORIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.workers.worker import Found

Version = Annotated[str, typer.Argument(help="X.Y.Z, YYYY.MM.DD for a nightly, or nightly for today's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def source(version: Version, *, as_json: AsJson = False) -> None:
    """Say whether a version's source tarball is there, with its signature.

    The exit status is 0 if both are in scratch or public, else 1.
    """
    with airflow() as api:
        found = api.console(f"/versions/{_spell(version)}/source")
    files = ("tarball", "signature", "public_tarball", "public_signature")
    if as_json:
        print_json(found)
    else:
        table = Table(show_header=False, box=None)
        for name in files:
            table.add_row("there" if found[name]["there"] else "missing", found[name]["place"])
        table.add_row("commit", found["commit"] or "-")
        table.add_row("signed by", found["signed_by"] or "-")
        out.print(table)
    if not any(all(found[name]["there"] for name in pair) for pair in (files[:2], files[2:])):
        raise typer.Exit(1)


def build_status(version: Version, *, as_json: AsJson = False) -> None:
    """Say what of a version is public, as the old build-status service did.

    The exit status is 0 if nothing is missing, else 1.
    """
    with airflow() as api:
        found = api.console(f"/build-status/{_spell(version)}")
    if as_json:
        print_json(found)
    else:
        for name in found["succeeded"]:
            out.print(f"public   {name}")
        for name, url in found["failed"].items():
            out.print(f"missing  {name}: {url}")
    if not found["success"]:
        raise typer.Exit(1)


def instances(
    version: Annotated[str | None, typer.Argument(help="Only those of this version's jobs.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the workers that exist: instances, containers, what they left behind, and their states."""
    version = _spell(version) if version else None
    with clients.worker() as worker:
        found = [one for one in worker.find() if version is None or one.name.startswith(f"hhvm-{version}-")]
    if as_json:
        print_json([_describe(one) for one in found])
        return
    if not found:
        out.print("there is no worker" + (f" of {version}" if version else ""))
        return
    table = Table("state", "what", "id", "job", box=None)
    for one in found:
        table.add_row(one.state or "-", one.kind, one.id, one.name)
    out.print(table)


def end_instances(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="As instances lists them.")],
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """End workers. A task that still waits for one starts another: to end that too, use cancel."""
    with clients.worker() as worker:
        there = {one.id: one for one in worker.find()}
        if unknown := [each for each in ids if each not in there]:
            raise Refused(f"{', '.join(unknown)}: no such worker of this deployment. instances lists them.")
        chosen = [there[each] for each in dict.fromkeys(ids)]
        if not as_json:
            _print_chosen(chosen)
        if not (dry_run or yes):
            confirm(f"End {len(chosen)} of them?", "end-instances")
        for one in chosen if not dry_run else ():
            worker.end(one)
    if as_json:
        print_json({"ended": [] if dry_run else [_describe(one) for one in chosen]})
    else:
        out.print("this was a dry run" if dry_run else f"{len(chosen)} ended")


def invalidate_cdn(*, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Have the CDN forget the apt indices, and wait until it has. Packages never change, and stay cached."""
    from hhvm_packaging.publishing import cdn

    distribution = settings().cdn_distribution
    if not distribution:
        raise Refused(
            "no CDN is set: HHVM_PACKAGING_CDN_DISTRIBUTION is the id of CloudFront's distribution."
        )
    paths = cdn.find_paths(REPOSITORIES)
    if dry_run:
        said = f"{distribution} would forget {', '.join(paths)}"
    else:
        client = clients.aws("cloudfront", settings().ec2.region)
        said = cdn.invalidate(client, distribution, REPOSITORIES, str(uuid4()))
    if as_json:
        print_json({"distribution": distribution, "paths": paths, "done": not dry_run})
    else:
        out.print(said)


def _spell(version: str) -> str:
    """The version, checked. Raises InvalidVersion."""
    return Release.parse(version, today=datetime.datetime.now(datetime.UTC).date()).version


def _print_chosen(chosen: Iterable[Found]) -> None:
    for one in chosen:
        out.print(f"{one.kind} {one.id} ({one.state or 'no state'}) of {one.name}")


def _describe(found: Found) -> dict[str, Any]:
    return {"kind": found.kind, "id": found.id, "state": found.state, "job": found.name}
