"""Check a deployed AWS account, its CDN and its Airflow, and change nothing but a probe object.

The settings are those of the environment, as Airflow's services have them (HHVM_PACKAGING_...). AWS is asked
with your own credentials, as the aws command has them; AWS_PROFILE and AWS_ENDPOINT_URL count. Airflow is
asked at AIRFLOW_API_URL, as AIRFLOW_API_USER with AIRFLOW_API_PASSWORD.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich.console import Console

from hhvm_packaging.cli import clients
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.settings import settings
from hhvm_packaging.upkeep.deployment_checks import Deployment, Finding, Verdict

PATIENCE = 30
"""Seconds for which Airflow is asked again if it does not answer: one that has just started may not."""

app = typer.Typer(help=__doc__, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
_AS_IT_IS: dict[str, Any] = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}
out, err = Console(**_AS_IT_IS), Console(stderr=True, **_AS_IT_IS)
_STYLES = {Verdict.RIGHT: "green", Verdict.WRONG: "bold red", Verdict.UNKNOWN: "yellow"}


@app.command()
def check(
    airflow_role: Annotated[str, typer.Option(help="The name of Airflow's role.")] = "hhvm-airflow",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Check everything. The exit status is 1 if anything is wrong, else 2 if anything was not checked."""
    with ExitStack() as stack:
        url = os.environ.get("AIRFLOW_API_URL")
        login = (os.environ.get(f"AIRFLOW_API_{name}", "") for name in ("USER", "PASSWORD"))
        airflow = stack.enter_context(AirflowApi(url, *login, patience=PATIENCE)) if url else None
        findings = Deployment(settings(), _clients(settings().ec2.region), airflow, airflow_role).check()
    if as_json:
        print(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _print(findings)
    verdicts = {finding.verdict for finding in findings}
    if status := 1 if Verdict.WRONG in verdicts else 2 if Verdict.UNKNOWN in verdicts else 0:
        raise typer.Exit(status)


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        out.print(f"{finding.verdict:<8} {finding.check}: {finding.seen}", style=_STYLES[finding.verdict])
        if finding.advice:
            out.print(f"         what to do: {finding.advice}")
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    out.print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _clients(region: str) -> Any:
    """Make clients of AWS's services once each, with the credentials of whoever runs this."""
    # At once, because making them is not for several threads.
    made = {
        service: clients.aws(service, region)
        for service in ("ec2", "iam", "s3", "service-quotas", "ssm", "sts")
    }
    return made.__getitem__


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    try:
        app(prog_name="check-deployment")
    except PackagingError as error:
        err.print(f"check-deployment: error: {error}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
