"""Releases of HHVM by command: start a run in Airflow, follow it, look at it, run again what failed.

AIRFLOW_API_URL is where Airflow is, AIRFLOW_API_USER and AIRFLOW_API_PASSWORD are your login there.
"""

from __future__ import annotations

import datetime
import re
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.live import Live
from rich.table import Table

from hhvm_packaging.cli import lookups
from hhvm_packaging.cli.terminal import AsJson, Refused, Yes, airflow, confirm, err, out, print_json
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import request
from hhvm_packaging.planning.task_ids import BuildTask
from hhvm_packaging.release import NIGHTLY, Release, is_same_version
from hhvm_packaging.reporting import markdown, run_notes
from hhvm_packaging.runs.api import ApiError
from hhvm_packaging.runs.run import ASKING, CHILDREN, OVER, UNFINISHED, WRAPPERS, Run
from hhvm_packaging.store import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.runs.api import AirflowApi, DagRun, Task

WRAPPER, MULTI = WRAPPERS
BUILD, PUBLISH = CHILDREN
DAGS = (*WRAPPERS, *CHILDREN)
UPDATE_INDICES = "hhvm_update_indices"

_POLL = 2.0
"""Seconds between two looks at a run."""

app = typer.Typer(help=__doc__, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)
Version = Annotated[str, typer.Argument(help="X.Y.Z, YYYY.MM.DD for a nightly, or nightly for today's.")]
Versions = Annotated[list[str], typer.Argument(help="Published in this order.", metavar="VERSION")]
Distros = Annotated[
    list[str] | None,
    typer.Option("--distro", help="A directory of distros/. Repeat it for several; without it, as usual."),
]
Ref = Annotated[str | None, typer.Option(help=f"Where distros/ and bin/ come from: {request.GIT_REF}.")]
Force = Annotated[
    bool, typer.Option("--force", help="Build packages again that are built, unless published.")
]
IfOneFails = Annotated[
    str | None,
    typer.Option(help=f"What happens to the other distributions: {', '.join(request.IF_ONE_FAILS)}."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run, and end with its status.")]


# Starting


@app.command()
def release(
    versions: Versions,
    distro: Distros = None,
    packaging_ref: Ref = None,
    *,
    force: Force = False,
    if_one_fails: IfOneFails = None,
    hold_until: Annotated[
        str | None, typer.Option(help=f"Nothing is public before it: {request.HOLD_UNTIL}.")
    ] = None,
    require_approval: Annotated[
        bool, typer.Option("--require-approval", help="Nothing is public before somebody approves it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which run would be started, and start none.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Build versions and publish them. What is done already passes."""
    asked = {
        "distros": distro,
        "packaging_ref": packaging_ref,
        "force": force or None,
        "if_one_fails": if_one_fails,
        "hold_until": hold_until,
        "require_approval": require_approval or None,
    }
    for version in versions:
        _check(version)
    dag_id = WRAPPER if len(versions) == 1 else MULTI
    which = {"version": versions[0]} if dag_id == WRAPPER else {"versions": versions}
    if dry_run:
        print_json({"dag_id": dag_id, "conf": _conf({**which, **asked})})
        return
    _start(dag_id, {**which, **asked}, wait=wait, as_json=as_json)


@app.command()
def build(
    version: Version,
    distro: Distros = None,
    packaging_ref: Ref = None,
    *,
    force: Force = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Build a version, and publish nothing."""
    _check(version)
    asked = {"distros": distro, "packaging_ref": packaging_ref, "force": force or None}
    _start(BUILD, {"version": version, **asked}, wait=wait, as_json=as_json)


@app.command()
def publish(
    version: Version,
    distro: Distros = None,
    *,
    dry_run: DryRun = False,
    if_one_fails: IfOneFails = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Publish a version that is built."""
    _check(version)
    asked = {"distros": distro, "dry_run": dry_run or None, "if_one_fails": if_one_fails}
    _start(PUBLISH, {"version": version, **asked}, wait=wait, as_json=as_json)


@app.command()
def undo(
    version: Version,
    distro: Distros = None,
    to: Annotated[
        str | None, typer.Option(help=f"Put the suites back to what they were: {request.UNDO_TO}.")
    ] = None,
    *,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Take a published version back from users."""
    _check(version)
    if not (yes or dry_run):
        if not sys.stdin.isatty():
            raise Refused(
                "undo: nobody is there to be asked. Add --yes to do it, or --dry-run to see it first."
            )
        typer.confirm(f"Users will not be offered HHVM {version} any more. Go on?", abort=True, err=True)
    asked = {"distros": distro, "undo_to": to, "dry_run": dry_run or None}
    _start(PUBLISH, {"version": version, "action": request.UNDO, **asked}, wait=wait, as_json=as_json)


# Looking


@app.command()
def status(
    version: Annotated[str | None, typer.Argument(help="Only the runs of this version.")] = None,
    *,
    limit: Annotated[
        int, typer.Option(help="Of each DAG, at most so many of its newest runs.", max=100)
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first, and the tasks of those that go on or failed."""
    with airflow() as api:
        found = _find(api, version, limit)
        if as_json:
            print_json([_describe(api, dag_id, run) for dag_id, run in found])
            return
        table = Table("state", "run of", "versions", "since", "by", box=None)
        for dag_id, run in found:
            since = f"{run.start_date or run.queued_at or run.run_after:%Y-%m-%d %H:%M}Z"
            table.add_row(run.state, dag_id, ", ".join(_versions(run)), since, run.triggered_by or "-")
        out.print(table if found else _nothing(version))
        seen = set()
        for dag_id, run in found:
            if version and dag_id not in seen and run.state != "success":
                _print_failures(api, dag_id, run.run_id)
            seen.add(dag_id)


@app.command()
def check(
    version: Annotated[str | None, typer.Argument(help="Without it, the newest run counts.")] = None,
) -> None:
    """Say whether the newest build of a version succeeded. The exit status says it too."""
    with airflow() as api:
        runs = [run for run in api.newest_runs(BUILD) if _is_of(run, version)]
        if not runs:
            raise Refused(_nothing(version))
        newest = runs[0]
        what = f"HHVM {', '.join(_versions(newest))}"
        if newest.state == "success":
            out.print(f"{what}: built")
            return
        if newest.state in UNFINISHED:
            out.print(f"{what}: {newest.state}; see {_page(api, BUILD, newest.run_id)}")
        else:
            out.print(f"{what}: failed")
            _print_failures(api, BUILD, newest.run_id)
        raise typer.Exit(1)


@app.command()
def logs(
    version: Version,
    distro: Annotated[str, typer.Argument(help="A directory of distros/.")],
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the build ends, and end with its status.")
    ] = False,
) -> None:
    """Print the log of a distribution's newest build."""
    _check(version)
    with airflow() as api:
        for run in api.newest_runs(BUILD):
            if _is_of(run, version) and (task := _find_build(api, run, distro)):
                _print_log(api, run, task, follow=follow)
                return
    raise Refused(f"{version}, {distro}: no build of it was started, as far as Airflow knows")


@app.command()
def names(
    version: Annotated[str, typer.Argument(help="Without it, tonight's nightly.")] = NIGHTLY,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a version means: its package, tag, branch, and where its source is. Asks nobody."""
    today = datetime.datetime.now(datetime.UTC).date()
    found = Release.parse(version, today=today)
    facts = {
        "version": found.version,
        "kind": "nightly" if found.nightly else "release",
        "package": found.package,
        "tag": "" if found.nightly else found.tag,
        "branch": found.branch or "",
        "source": keys.tarball(found),
        "public source": keys.public_tarball(found),
    }
    if as_json:
        print_json(facts)
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, value or "-")
    out.print(table)


app.command()(lookups.source)
app.command("build-status")(lookups.build_status)


# Deciding


@app.command()
def approve(
    version: Version,
    *,
    reject: Annotated[bool, typer.Option("--reject", help="Reject it instead.")] = False,
    yes: Yes = False,
) -> None:
    """Approve a version that waits for it, after showing what is to be approved."""
    _check(version)
    with airflow() as api:
        asking = [
            task
            for dag_id, run in _find(api, version)
            if dag_id in WRAPPERS and run.state in UNFINISHED
            for task in api.tasks(dag_id, run.run_id, states=[ASKING])
        ]
        if not asking:
            raise Refused(f"{version}: no run of it waits for an approval")
        if len(asking) > 1:
            pages = "\n".join(f"  {api.url}{task.page}" for task in asking)
            raise Refused(f"{version}: several runs wait for an approval. Answer on their pages:\n{pages}")
        question = api.question(asking[0])
        out.print(question.subject)
        out.print(markdown.unescape(question.body))
        option = "Reject" if reject else "Approve"
        if not yes:
            confirm(f"{option} HHVM {version}?", "approve")
        api.answer(asking[0], option)
        out.print(f"HHVM {version}: {'rejected' if reject else 'approved'}")


@app.command()
def cancel(version: Version, *, yes: Yes = False) -> None:
    """End the runs of a version that go on, with their workers. What is built stays."""
    _check(version)
    with airflow() as api:
        going = [
            (dag_id, run)
            for dag_id, run in _find(api, version)
            if run.state in UNFINISHED and not _has_parent(run)
        ]
        if not going:
            raise Refused(f"{version}: no run of it goes on")
        for dag_id, run in going:
            out.print(f"{dag_id}: {_page(api, dag_id, run.run_id)}")
        if not yes:
            confirm("End these runs?", "cancel")
        for dag_id, run in going:
            api.fail_run(dag_id, run.run_id)
        out.print(f"HHVM {version}: {len(going)} ended; hhvm_reap_workers ends what they triggered")


# Again


@app.command()
def retry(
    version: Version,
    distro: Annotated[str | None, typer.Argument(help="Only the failed tasks of this distribution.")] = None,
    *,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Run the failed tasks of a version's newest run again. What is done passes."""
    _check(version)
    with airflow() as api:
        found = [(dag_id, run) for dag_id, run in _find(api, version) if not _has_parent(run)]
        if not found:
            raise Refused(_nothing(version))
        dag_id, run = found[0]
        if run.state != "failed":
            raise Refused(f"{version}: its newest run is {run.state}: {_page(api, dag_id, run.run_id)}")
        if distro:
            _clear_distro(api, dag_id, run.run_id, version, distro)
        else:
            api.clear_run(dag_id, run.run_id)
        _report(api, dag_id, run.run_id, wait=wait, as_json=as_json)


def _clear_distro(api: AirflowApi, dag_id: str, run_id: str, version: str, distro: str) -> None:
    """Clear a distribution's failed tasks and what follows them, then the wrapper that waited for them."""
    failed = [
        task
        for _, task in _tasks(api, dag_id, run_id)
        if task.label == distro and task.state in ("failed", "upstream_failed")
    ]
    if not failed:
        raise Refused(f"{version}, {distro}: no task of it failed in {_page(api, dag_id, run_id)}")
    for task in failed:
        cleared = (task.task_id, task.map_index)
        api.clear_tasks(task.dag_id, task.run_id, cleared, downstream=True)
    # Its children go on already, so it waits for them.
    if dag_id in WRAPPERS:
        api.clear_run(dag_id, run_id)


@app.command("update-indices")
def update_indices(*, wait: Wait = False, as_json: AsJson = False) -> None:
    """Write all directory listings anew. A publish updates those of what it changes by itself."""
    _start(UPDATE_INDICES, {}, wait=wait, as_json=as_json)


app.command()(lookups.instances)
app.command("end-instances")(lookups.end_instances)
app.command("invalidate-cdn")(lookups.invalidate_cdn)


# What they share


def _find_build(api: AirflowApi, run: DagRun, distro: str) -> Task | None:
    """The task that builds the distribution in a run of hhvm_build; None if it has not started."""
    tasks = api.tasks(BUILD, run.run_id, BuildTask.MAKE_BINARY_PACKAGE)
    return next((task for task in tasks if task.label == distro and task.try_number), None)


def _print_log(api: AirflowApi, run: DagRun, task: Task, *, follow: bool) -> None:
    """Print the log of a task's last try; to ``follow``, what comes until it ends, also in other tries."""
    printed, tried = 0, task.try_number
    lost = False
    while True:
        try:
            # Before its log: what it says last must not be missed.
            task = _find_build(api, run, task.label) or task
            lines = api.log(task)
            lost = False
        except ApiError as error:
            if not follow or not _is_outage(error):
                raise
            if not lost:
                err.print(f"{error}; still trying")
            lost = True
            time.sleep(_POLL)
            continue
        if task.try_number != tried:
            printed, tried = 0, task.try_number
        for line in lines[printed:]:
            out.print(line)
        printed = max(printed, len(lines))
        if not follow:
            return
        if task.state in OVER:
            break
        time.sleep(_POLL)
    if task.state != "success":
        raise typer.Exit(1)


def _is_outage(error: ApiError) -> bool:
    """Whether Airflow did not answer, or failed. It may be restarting."""
    return error.status is None or error.status >= httpx.codes.INTERNAL_SERVER_ERROR


def _check(version: str) -> None:
    """Refuse what is no version, before anybody is asked."""
    today = datetime.datetime.now(datetime.UTC).date()
    Release.parse(version, today=today)


def _start(dag_id: str, asked: dict[str, Any], *, wait: bool, as_json: bool) -> None:
    conf = _conf(asked)
    # Its own name, by which Airflow knows it.
    run_id = f"manual__{datetime.datetime.now(datetime.UTC).isoformat()}"
    with airflow() as api:
        try:
            api.trigger(dag_id, run_id, conf, _note(conf))
        except ApiError as error:
            raise Refused(_explain(api, dag_id, conf, error)) from error
        _report(api, dag_id, run_id, wait=wait, as_json=as_json)


def _note(conf: dict[str, Any]) -> str:
    """The run's note until its first task writes it; empty if the run is of no version."""
    versions = conf.get("versions") or [conf["version"]] if conf else []
    distros = conf.get("distros") or ["the usual distributions"]
    return run_notes.write(versions, distros, f"{conf.get('action', 'release')}, queued") if versions else ""


def _conf(asked: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in asked.items() if value is not None}


def _explain(api: AirflowApi, dag_id: str, conf: dict[str, Any], error: ApiError) -> str:
    """Why Airflow refuses a run, in plain words. Airflow prints the whole schema of the field."""
    if error.status is None:
        return f"{error}. Look with status whether it was started all the same, before you try again"
    refused = re.match(r"Invalid input for param (\w+): ", error.detail)
    name = refused[1] if refused else ""
    title = api.field_title(dag_id, name) if name in conf else ""
    if not title:
        return error.detail or str(error)
    return f"{name}: {conf[name]!r} is not allowed. Allowed: {title.removeprefix(f'{name}: ')}."


def _report(api: AirflowApi, dag_id: str, run_id: str, *, wait: bool, as_json: bool) -> None:
    """Say which run it is; with ``wait``, follow it and end with its status."""
    page = _page(api, dag_id, run_id)
    if not as_json:
        out.print(f"{dag_id}: {page}")
    state = _follow(api, dag_id, run_id, quiet=as_json) if wait else api.state(dag_id, run_id)
    if as_json:
        print_json({"dag_id": dag_id, "run_id": run_id, "state": state, "url": page})
    if wait and state != "success":
        if not as_json:
            _print_failures(api, dag_id, run_id)
        raise typer.Exit(1)


def _follow(api: AirflowApi, dag_id: str, run_id: str, *, quiet: bool) -> str:
    """Wait until a run has ended, through outages of Airflow. Returns its state."""
    shown: dict[str, str] = {}
    state, lost = UNFINISHED[0], False
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while True:
            try:
                state = api.state(dag_id, run_id)
                if not quiet:
                    _show(live, _tasks(api, dag_id, run_id), shown)
                lost = False
            except ApiError as error:
                if not _is_outage(error):
                    raise
                if not lost:
                    err.print(f"{error}; still trying")
                lost = True
            if not lost and state not in UNFINISHED:
                break
            time.sleep(_POLL)
    if not quiet:
        out.print(f"{dag_id}: {state}")
    return state


def _show(live: Live, tasks: Iterable[tuple[str, Task]], shown: dict[str, str]) -> None:
    """In a terminal, a table of all tasks; else a line for each whose state is another than ``shown``."""
    if out.is_terminal:
        live.update(_table(tasks), refresh=True)
        return
    for name, task in tasks:
        if task.state and shown.get(name) != task.state:
            out.print(f"{task.state:<12} {name}")
            shown[name] = task.state


def _table(rows: Iterable[tuple[str, Task]]) -> Table:
    table = Table("state", "task", box=None)
    for name, task in rows:
        table.add_row(task.state or "-", name)
    return table


def _tasks(api: AirflowApi, dag_id: str, run_id: str) -> list[tuple[str, Task]]:
    """The tasks of a run and of the runs that it triggered, by name."""
    runs = [("", dag_id, run_id)]
    if dag_id in WRAPPERS:
        for child in CHILDREN:
            found = api.runs(child, prefix=f"{run_id}__{dag_id}__")
            runs += [(f"{', '.join(_versions(run))}: ", child, run.run_id) for run in found]
    return [(f"{of}{task.name}", task) for of, dag, run in runs for task in api.tasks(dag, run)]


def _print_failures(api: AirflowApi, dag_id: str, run_id: str) -> None:
    """Each failed task: its name, its page, and the last line of its log."""
    for name, task in _tasks(api, dag_id, run_id):
        if task.state == "failed":
            lines = [line for line in api.log(task) if line.strip()]
            out.print(f"failed       {name}: {lines[-1] if lines else 'no log'}")
            out.print(f"             {api.url}{task.page}")


def _find(api: AirflowApi, version: str | None, limit: int = 100) -> list[tuple[str, DagRun]]:
    """The runs of a version, or all, newest first, each with its DAG."""
    found = [
        (dag_id, run) for dag_id in DAGS for run in api.newest_runs(dag_id, limit) if _is_of(run, version)
    ]
    return sorted(found, key=lambda one: one[1].run_after or one[1].queued_at or _NEVER, reverse=True)


_NEVER = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _is_of(run: DagRun, version: str | None) -> bool:
    if version == NIGHTLY:
        version = f"{datetime.datetime.now(datetime.UTC):%Y.%m.%d}"
    return version is None or any(is_same_version(version, one) for one in _versions(run))


def _versions(run: DagRun) -> list[str]:
    """The versions that a run is of. Without one, and for the word nightly, it is that of its date."""
    date = run.logical_date or run.run_after
    named = run.conf.get("versions") or [run.conf.get("version") or NIGHTLY]
    return [f"{date:%Y.%m.%d}" if one == NIGHTLY and date else str(one) for one in named]


def _has_parent(run: DagRun) -> bool:
    return any(f"__{wrapper}__" in run.run_id for wrapper in WRAPPERS)


def _describe(api: AirflowApi, dag_id: str, run: DagRun) -> dict[str, Any]:
    return {
        "dag_id": dag_id,
        "run_id": run.run_id,
        "state": run.state,
        "versions": _versions(run),
        "started": run.start_date and run.start_date.isoformat(),
        "ended": run.end_date and run.end_date.isoformat(),
        "by": run.triggered_by or None,
        "url": _page(api, dag_id, run.run_id),
    }


def _page(api: AirflowApi, dag_id: str, run_id: str) -> str:
    return Run(api.url, dag_id, run_id).page()


def _nothing(version: str | None) -> str:
    return f"Airflow knows no run of {version}" if version else "Airflow knows no run yet"


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    try:
        app(prog_name="hhvm-packaging")
    except (Refused, PackagingError, ApiError) as error:
        err.print(f"hhvm-packaging: error: {error}")
        return 1
    except KeyboardInterrupt:
        err.print("hhvm-packaging: stopped looking; what runs in Airflow goes on")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
