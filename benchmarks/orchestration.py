"""Dead time: the part of a release in which no worker job runs, ours beside the step functions' of before.

Ours is measured, with a real scheduler, triggerer and API server and real containers, in which short builds
stand for hours. Theirs is computed from their own waits. What it shows is in
docs/orchestration-benchmark.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import docker  # ruff: ignore[banned-module-level-imports] - no DAG imports this

from demo.driver import CHILDREN, PATIENCE, TIMEOUT, WRAPPER, Demo
from demo.progress import Progress
from demo.stack import USER, Ports, Stack
from hhvm_packaging.runs.api import AirflowApi
from hhvm_packaging.runs.run import child_run_id
from testing.gates import NO_GATES
from testing.without_debian import forget_debian

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parents[1]
BUILD, PUBLISH = CHILDREN
IMAGE = "debian:bookworm"
JOBS_IMAGE = "debian:trixie"
"""What the image of the jobs' own containers is made from, by jobs/Dockerfile."""
TARGETS = {
    "debian-8-jessie": "jessie",
    "debian-9-stretch": "stretch",
    "ubuntu-14.04-trusty": "trusty",
    "ubuntu-16.04-xenial": "xenial",
    "ubuntu-17.10-artful": "artful",
    "ubuntu-18.04-bionic": "bionic",
}
"""HHVM's six of 2018. Here all have the same base image."""

SHORT_BUILD = """#!/usr/bin/env bash
# In place of a build: the packages that it would leave, after a while.
set -euo pipefail
distro=/opt/hhvm-distro-packaging
sleep "$(<"$distro/SECONDS")"
if [ -e "$distro/FAILS" ]; then
  printf 'hhvm.cpp:1: error: asked to fail\\n' >&2
  exit 2
fi
package_version=$VERSION-$(<"$distro/PKGVER")
for package in hhvm hhvm-dev; do
  tree=$(mktemp -d)
  chmod 0755 "$tree"
  install -D -m 0644 /dev/stdin "$tree/DEBIAN/control" <<END
Package: $package
Version: $package_version
Architecture: amd64
Maintainer: Benchmark <benchmark@hhvm.invalid>
Description: $package
END
  dpkg-deb --root-owner-group --build "$tree" "/var/out/${package}_${package_version}_amd64.deb"
done
"""
SHORT_GATE = """#!/usr/bin/env bash
# In place of an installation with all that it depends on.
set -euo pipefail
dpkg --install /var/out/*.deb
printf 'passed\\tinstall\\t\\npassed\\tupgrade\\t\\n' >/notes/notes
"""


# The step functions


@dataclass(frozen=True)
class Wait:
    """A step function's wait for something: a first one, then one after another, with a look after each."""

    first: int
    then: int

    def lost(self, duration: float | None) -> tuple[float, float, float]:
        """Seconds between the end of what takes ``duration`` and the look that sees it.

        As they fall for exactly this duration, and the least and most for one that is about as long: one
        that outlasts the first wait ends anywhere between two looks. For None, of which only that is
        known, it ends in the middle.
        """
        if duration is None:
            return self.then / 2, 0, self.then
        if duration <= self.first:
            return (self.first - duration,) * 3
        return -(duration - self.first) % self.then, 0, self.then


FOR_SOURCE, FOR_BUILDS, FOR_CHILD, FOR_PUBLISH = Wait(120, 120), Wait(1800, 60), Wait(1800, 60), Wait(60, 60)


@dataclass(frozen=True)
class Durations:
    """How long the worker jobs of a release take, in seconds."""

    name: str
    source: float
    builds: tuple[float, ...]
    publish: float | None
    """None where that is not known, but it takes longer than a minute."""


HHVM = Durations(
    "HHVM's",
    source=4 * 60 + 38,
    # Of the six, the shortest and the longest are published.
    builds=tuple(61 * 60 + 52 + number * (23 * 60 + 33) / 5 for number in range(6)),
    publish=None,
)


@dataclass(frozen=True)
class Dead:
    """Seconds in which no worker job runs."""

    before: float
    """Before the first job."""
    between: float
    """From the end of the source tarball to the first build."""
    after: float
    """After the last build, until the last task of publishing has ended."""

    @property
    def total(self) -> float:
        """All of them."""
        return self.before + self.between + self.after


@dataclass(frozen=True)
class StepFunctions:
    """What the step functions' own waits cost; all else, such as lambdas and booting, takes them no time."""

    durations: Durations

    @property
    def _source(self) -> tuple[float, float, float]:
        return FOR_SOURCE.lost(self.durations.source)

    @property
    def _builds(self) -> tuple[float, float, float]:
        return FOR_BUILDS.lost(max(self.durations.builds))

    @property
    def _child(self) -> tuple[float, float, float]:
        """The wrapper's wait for the build's state machine, which both began at the same time.

        The looks of both drift apart by what each look takes, so the end may fall anywhere.
        """
        return FOR_CHILD.lost(None)

    @property
    def _publish(self) -> tuple[float, float, float]:
        return FOR_PUBLISH.lost(self.durations.publish)

    def dead(self, which: int = 0) -> Dead:
        """As the durations fall (0); the least (1) and most (2) where they are about as long."""
        after = self._builds[which] + self._child[which] + self._publish[which]
        return Dead(before=0, between=self._source[which], after=after)


# Ours


@dataclass(frozen=True)
class Span:
    """When a worker job ran, by its container's start and end; seconds of the epoch."""

    run: str
    task: str
    map_index: int
    began: float
    ended: float


class Watch:
    """Notes when the containers of worker jobs start and end, as the engine says."""

    def __init__(self, work_directory: Path) -> None:
        self._label = [f"hhvm.work={work_directory}", "hhvm.task"]
        self._noted: list[tuple[str, float, dict[str, str]]] = []

    def begin(self) -> None:
        """Listen, for as long as this process lives."""
        events = docker.from_env().events(
            decode=True, filters={"type": "container", "event": ["start", "die"], "label": self._label}
        )
        threading.Thread(target=self._note, args=(events,), daemon=True).start()

    def _note(self, events: Iterable[dict[str, Any]]) -> None:
        for event in events:
            self._noted.append((event["Action"], event["timeNano"] / 1e9, event["Actor"]["Attributes"]))

    def spans(self, run_id: str) -> list[Span]:
        """The jobs of a release that have ended, in the order in which they did."""
        began: dict[str, float] = {}
        found = []
        for action, at, labels in list(self._noted):
            if not labels["hhvm.run"].startswith(run_id):
                continue
            name = labels["hhvm.job"]
            if action == "start":
                began[name] = at
            else:
                index = int(labels["hhvm.map_index"])
                found.append(Span(labels["hhvm.run"], labels["hhvm.task"], index, began.pop(name), at))
        return found

    def start_of_build(self, run_id: str, after: float, limit: float = 600) -> float:
        """When the first build of a release started that started after then."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            for action, at, labels in list(self._noted):
                ours = labels["hhvm.run"].startswith(run_id) and labels["hhvm.task"] == "make_binary_package"
                if action == "start" and ours and at > after:
                    return at
            time.sleep(0.1)
        raise SystemExit(f"{run_id}: no build started within {limit:.0f} s")


class Airflow(AirflowApi):
    """Airflow's API, with the times of tasks."""

    def ended(self, run_id: str, limit: float = 1800) -> str:
        """The final state of a release's run."""
        deadline = time.monotonic() + limit
        while (state := self.state(WRAPPER, run_id)) not in ("success", "failed"):
            if time.monotonic() > deadline:
                raise SystemExit(f"{run_id} does not end; it is {state}")
            time.sleep(0.5)
        return state

    def times(self, dag_id: str, run_id: str) -> list[tuple[str, float, float]]:
        """When the last process of each task that ran at all began and ended."""
        return [
            (f"{dag_id}.{task.name}", task.start_date.timestamp(), task.end_date.timestamp())
            for task in self.tasks(dag_id, run_id)
            if task.start_date and task.end_date
        ]

    def failed(self, dag_id: str, run_id: str, task_id: str) -> list[int]:
        """The map indexes of a task that failed."""
        tasks = self.tasks(dag_id, run_id)
        return [task.map_index for task in tasks if (task.task_id, task.state) == (task_id, "failed")]


class Deployment:
    """A deployment whose builds take as long as they are told to."""

    def __init__(self, var: Path) -> None:
        self.var, self.packaging = var, var / "packaging"
        self._make_packaging()
        (var / "settings.json").write_text(
            json.dumps({"PACKAGING_ROOT": str(self.packaging), "GATES": NO_GATES})
        )
        self.stack = Stack(var, preferred_ports=Ports(0, 0, 0))

    def _make_packaging(self) -> None:
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, self.packaging / part, symlinks=True)
        _script(self.packaging / "bin/make-debianish-package", SHORT_BUILD)
        _script(self.packaging / "jobs/in-container/install-gate", SHORT_GATE)
        # A task does not go on sooner, so that Airflow knows that it was deferred; HHVM's takes minutes.
        source = self.packaging / "jobs/make-source-tarball"
        source.write_text(source.read_text().replace("\nexec ", "\nsleep 4\nexec "))
        # Apt then reads our repository alone. That takes it a second; Debian's takes it ten, on both cores.
        forget_debian(self.packaging / "jobs/in-container/check-offer")
        for name, codename in TARGETS.items():
            target = shutil.copytree(
                self.packaging / "distros/debian-12-bookworm",
                self.packaging / "distros" / name,
                symlinks=True,
            )
            (target / "DISTRIBUTION").write_text(f"{codename}\n")
            (target / "PKGVER").write_text(f"1~{codename}\n")
            (target / "DOCKER_BASE").write_text(f"{IMAGE}\n")

    def _distro(self, name: str) -> Path:
        return self.packaging / "distros" / name

    def last(self, builds: dict[str, float]) -> None:
        """Have the distributions' builds take that many seconds."""
        for name, seconds in builds.items():
            (self._distro(name) / "SECONDS").write_text(f"{seconds}\n")

    def break_build(self, distro: str) -> None:
        """Have the distribution's builds fail, by a file of its own."""
        (self._distro(distro) / "FAILS").touch()

    def mend_build(self, distro: str) -> None:
        """Have them succeed again."""
        (self._distro(distro) / "FAILS").unlink()

    def tag(self, version: str) -> None:
        """Tag a release on the staging repository."""
        subprocess.run([ROOT / "demo/make-git-repositories", self.var / "git", version], check=True)

    @cached_property
    def api(self) -> Airflow:
        """Its Airflow."""
        return Airflow(
            self.stack.ui_url, USER, self.stack.secrets.password, patience=PATIENCE, timeout=TIMEOUT
        )

    @cached_property
    def watch(self) -> Watch:
        """Its worker jobs."""
        return Watch(self.stack.work_directory)


@dataclass(frozen=True)
class Measured:
    """One release, from the request to its end."""

    asked: float
    ended: float
    """When the last task of publishing had ended."""
    green: float
    """When the run as a whole had."""
    spans: Sequence[Span]
    tasks: Sequence[tuple[str, float, float]]

    def _of(self, task: str) -> list[Span]:
        return [span for span in self.spans if span.task == task]

    @property
    def last_build(self) -> float:
        """When the last build ended."""
        return max(span.ended for span in self._of("make_binary_package"))

    @property
    def until_first(self) -> float:
        """Seconds from the end of the last build to the first job of publishing."""
        return min(span.began for span in self.spans if span.began > self.last_build) - self.last_build

    @property
    def until_all_build(self) -> float:
        """Seconds from the end of the source tarball until all builds run."""
        builds, source = self._of("make_binary_package"), self._of("make_source_tarball")
        return max(span.began for span in builds) - source[0].ended

    @property
    def dead(self) -> Dead:
        """The parts of it in which no job ran."""
        [source] = self._of("make_source_tarball")
        first_build = min(span.began for span in self._of("make_binary_package"))
        return Dead(
            before=source.began - self.asked,
            between=first_build - source.ended,
            after=idle(self.last_build, self.ended, self.spans),
        )

    @property
    def durations(self) -> Durations:
        """How long its own jobs took."""
        [source] = self._of("make_source_tarball")
        builds = tuple(span.ended - span.began for span in self._of("make_binary_package"))
        publishing = self.ended - self.last_build - self.dead.after
        return Durations("the demo's", source.ended - source.began, builds, publishing)

    def story(self) -> str:
        """What began and ended after the last build, in seconds since."""
        moments = [
            (at, f"{what} {name}")
            for name, *both in self.tasks
            for what, at in zip(("task begins", "task ends  "), both, strict=True)
        ]
        moments += [
            (at, f"{what} {span.task} {span.map_index}")
            for span in self.spans
            for what, at in (("job begins ", span.began), ("job ends   ", span.ended))
        ]
        since = self.last_build
        return "\n".join(f"{at - since:6.1f} s  {said}" for at, said in sorted(moments) if at >= since)


def idle(begin: float, end: float, spans: Iterable[Span]) -> float:
    """Seconds between ``begin`` and ``end`` in which none of the spans is under way."""
    total, reached = 0.0, begin
    for span in sorted(spans, key=lambda span: span.began):
        if span.began > end:
            break
        total += max(0.0, span.began - reached)
        reached = max(reached, span.ended)
    return total + max(0.0, end - reached)


def release(deployment: Deployment, version: str, builds: dict[str, float]) -> Measured:
    """Release one version with builds of that many seconds."""
    run_id, api = f"bench-{version}", deployment.api
    deployment.last(builds)
    deployment.tag(version)
    asked = time.time()
    api.trigger(WRAPPER, run_id, {"version": version, "distros": list(builds)})
    if (state := api.ended(run_id)) != "success":
        raise SystemExit(f"{run_id}: {state}; see {deployment.stack.ui_url}")
    tasks = api.times(WRAPPER, run_id)
    for dag_id in CHILDREN:
        tasks += api.times(dag_id, child_run_id(WRAPPER, run_id, version, _asked(version, builds)))
    ended = max(end for name, _, end in tasks if name.startswith(PUBLISH))
    green = max(end for _, _, end in tasks)
    return Measured(asked, ended, green, deployment.watch.spans(run_id), tasks)


@dataclass(frozen=True)
class Resumed:
    """Seconds from a clear, after one build of six failed, to that build's start."""

    task: float
    """Where the failed task was cleared."""
    wrapper: float
    """Where the failed tasks of the whole release were, after the cause was mended."""
    builds: int
    """How many builds that release started in all: six, and one for each clear."""


def resume(deployment: Deployment, version: str, builds: dict[str, float]) -> Resumed:
    """Let one build fail, and resume it both ways."""
    run_id, api, watch = f"bench-{version}", deployment.api, deployment.watch
    broken = list(builds)[-1]
    deployment.last(builds)
    deployment.break_build(broken)
    deployment.tag(version)
    api.trigger(WRAPPER, run_id, {"version": version, "distros": list(builds)})
    child = child_run_id(WRAPPER, run_id, version, _asked(version, builds))
    _expect("failed", api.ended(run_id), run_id)
    [index] = api.failed(BUILD, child, "make_binary_package")

    cleared = time.time()
    api.clear_tasks(BUILD, child, ("make_binary_package", index), downstream=True)
    by_task = watch.start_of_build(run_id, cleared) - cleared
    while api.state(BUILD, child) != "failed":
        time.sleep(0.5)

    deployment.mend_build(broken)
    cleared = time.time()
    api.clear_run(WRAPPER, run_id)
    by_wrapper = watch.start_of_build(run_id, cleared) - cleared
    _expect("success", api.ended(run_id), run_id)
    started = [span for span in watch.spans(run_id) if span.task == "make_binary_package"]
    return Resumed(by_task, by_wrapper, len(started))


def _asked(version: str, builds: dict[str, float]) -> dict[str, Any]:
    return {"version": version, "distros": list(builds)}


def _expect(wanted: str, state: str, run_id: str) -> None:
    if state != wanted:
        raise SystemExit(f"{run_id}: expected it to be {wanted}, but it is {state}")


def _script(path: Path, content: str) -> None:
    path.write_text(content)
    path.chmod(0o755)


# The comparison


@dataclass(frozen=True)
class Row:
    """One set of durations, ours beside the step functions'."""

    durations: Durations
    ours: Sequence[Measured]

    def _ours(self, part: str) -> list[float]:
        return [float(getattr(measured.dead, part)) for measured in self.ours]

    def typical(self, part: str) -> float:
        """The median of our repeats."""
        return median(self._ours(part))

    def theirs(self, part: str, which: int = 0) -> float:
        """The step functions', as the durations fall or the least and most."""
        return float(getattr(StepFunctions(self.durations).dead(which), part))

    def lines(self) -> Iterable[str]:
        """A table row for each part."""
        for part, title in PARTS.items():
            ours, theirs = self._ours(part), self.theirs(part)
            least, most = self.theirs(part, 1), self.theirs(part, 2)
            ratio = f"{median(ours) / theirs:.3f}" if theirs else ""
            seconds = f"{median(ours):.1f} ({min(ours):.1f} to {max(ours):.1f})"
            yield (
                f"| {self.durations.name} | {title} | {seconds} "
                f"| {theirs:.0f} ({least:.0f} to {most:.0f}) | {ratio} |"
            )


PARTS = {
    "before": "before the first job",
    "between": "between source and builds",
    "after": "after the last build",
    "total": "total",
}
HEADER = (
    "| durations | dead time, s | ours (range) | step functions (least to most) | ratio |\n"
    "|---|---|--:|--:|--:|"
)


def details(six: Sequence[Measured], resumed: Resumed) -> str:
    """What the table does not say."""
    all_build = median(measured.until_all_build for measured in six)
    until_first = median(measured.until_first for measured in six)
    until_green = median(measured.green - measured.ended for measured in six)
    return (
        f"Of six builds, all ran {all_build:.1f} s after the source tarball was made. After the last build "
        f"publishing's first job began in {until_first:.1f} s; the run was green {until_green:.1f} s after "
        "publishing's last task.\n"
        f"One of six failed: its build began {resumed.task:.1f} s after its task was cleared, and "
        f"{resumed.wrapper:.1f} s after the release's failed tasks were. Builds started in all: "
        f"{resumed.builds} (6, and one for each clear). The step functions start all six again."
    )


def conclusion(rows: Sequence[Row], resumed: Resumed) -> str:
    """How we compare, in one line."""
    parts = [
        f"at {row.durations.name} durations {PARTS[part]} {row.typical(part):.1f} s, "
        f"step functions {row.theirs(part):.0f} s: {row.typical(part) / row.theirs(part):.3f}"
        for row in rows
        for part in ("after", "total")
    ]
    return (
        f"RATIO dead time: {'; '.join(parts)}; from clearing one failed build of six to its start "
        f"{resumed.task:.1f} s, step functions: not possible"
    )


def main() -> None:
    """Measure, compare, and print both."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--story", action="store_true", help="print what happens after the last build")
    chosen = arguments.parse_args()

    progress = Progress()
    directory = tempfile.mkdtemp(prefix="hhvm-orchestration-")
    engine = {**os.environ, "HHVM_DEMO_VAR": directory}
    subprocess.run([ROOT / "demo/docker-engine", "ensure"], env=engine, check=True)
    subprocess.run([ROOT / "demo/base-image", IMAGE, JOBS_IMAGE], check=True)
    deployment = Deployment(Path(directory))
    demo = Demo(deployment.stack, progress)
    try:
        deployment.tag("1.0.0")
        demo.services()
        deployment.watch.begin()
        load = os.getloadavg()[0]
        # The last ends apart from the others, as hours make them end.
        six = {name: 4.0 + 3 * number for number, name in enumerate(TARGETS)}
        two = dict(zip(list(TARGETS)[:2], (20.0, 24.0), strict=True))
        with progress.part("warm up"):
            release(deployment, "1.0.1", dict(list(six.items())[:1]))
        ours: dict[str, list[Measured]] = {"six": [], "two": []}
        for number in range(chosen.repeats):
            with progress.part("six builds"):
                ours["six"].append(release(deployment, f"1.1.{number}", six))
        with progress.part("two builds"):
            ours["two"].append(release(deployment, "1.2.0", two))
        with progress.part("resume"):
            resumed = resume(deployment, "1.3.0", dict.fromkeys(TARGETS, 1.0))
    finally:
        demo.clean()

    rows = [Row(HHVM, ours["six"]), Row(ours["two"][0].durations, ours["two"])]
    print(
        f"\n{os.cpu_count()} cores, load average before: {load:.1f}; {chosen.repeats} repeats of six builds\n"
    )
    print(HEADER, *(line for row in rows for line in row.lines()), sep="\n")
    print(f"\n{details(ours['six'], resumed)}")
    if chosen.story:
        print(f"\n{ours['six'][-1].story()}")
    print(conclusion(rows, resumed))


if __name__ == "__main__":
    main()
