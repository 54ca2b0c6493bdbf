"""Adding one release to a repository of N packages: our publisher beside reprepro with a sync, and aptly.

All three start with the same packages, publish to the same S3 server (rclone over a directory) through a
proxy that delays each request and counts it, and run as the processes that their users would start. What
it shows is in docs/publishing-benchmark.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from demo import signing_key
from testing import s3 as s3_server
from testing.debs import Deb
from testing.s3_proxy import Proxy, Traffic

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
SUITE = "bookworm"
LATENCIES = (0.0, 0.05)
DEBIAN = {"reprepro": "reprepro", "aptly": "aptly", "/usr/bin/aws": "awscli"}
"""What is measured against, and the package that has it. Another aws in PATH may be any version."""

# A stanza of HHVM has about a kilobyte, most of it these.
_DEPENDENCIES = ", ".join(f"libexample-dependency{number} (>= 1.{number}.0)" for number in range(16))
_EXTRA = f"Section: web\nPriority: optional\nDepends: {_DEPENDENCIES}\n"


def deb(number: int) -> Deb:
    """One release. They differ by package, because reprepro keeps one version of each."""
    return Deb("1.0.0-1~bookworm", package=f"hhvm-{number:05}", extra=_EXTRA)


@dataclass
class Measured:
    """One publish: how long, and what passed."""

    seconds: float
    """From the start of the first process to the end of the last."""
    cpu: float
    """Seconds of processor time of these processes, which a busy machine does not change much."""
    traffic: Traffic
    inside: dict[str, float] = field(default_factory=dict)
    """Seconds of its steps, where the tool says so."""


class Tool:
    """A way to publish packages from an empty directory of its own to a bucket of its own."""

    name: ClassVar[str]

    def __init__(self, directory: Path, bucket: Path, environment: dict[str, str]) -> None:
        self.directory, self.bucket = directory, bucket
        self.environment = environment
        self.debs = directory / "debs"
        self.debs.mkdir(parents=True)
        bucket.mkdir(parents=True)
        self.setup()

    def setup(self) -> None:
        """Write what the tool needs before it runs."""

    def before_server(self, packages: Sequence[Deb]) -> None:
        """What of the N packages can be put into the bucket's directory before anybody serves it."""

    def begin(self, endpoint: str, packages: Sequence[Deb]) -> None:
        """Publish the N packages; the rest of the time the server is at ``endpoint``."""

    def built(self, package: Deb) -> None:
        """The package is where a build leaves it."""
        (self.debs / package.name).write_bytes(package.content)

    def commands(self, endpoint: str, package: Deb) -> list[list[str]]:
        """What a user runs to publish it."""
        raise NotImplementedError

    def inside(self, output: str) -> dict[str, float]:  # ruff: ignore[unused-method-argument]  # Ours uses it
        """Seconds of the steps, from what the last command said."""
        return {}

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)[:500]}\n{done.stdout}{done.stderr}")
        return done.stdout


class Ours(Tool):
    """Our own publisher."""

    name = "ours"

    def before_server(self, packages: Sequence[Deb]) -> None:
        pool = self.bucket / "debian/pool/main/h/hhvm"
        pool.mkdir(parents=True)
        for package in packages:
            (pool / package.name).write_bytes(package.content)

    def begin(self, endpoint: str, packages: Sequence[Deb]) -> None:
        self.s3 = s3_server.client(endpoint)
        self.run(*self.command(endpoint, packages))

    def built(self, package: Deb) -> None:
        self.s3.put_object(Bucket=self.bucket.name, Key=package.key, Body=package.content)

    def command(self, endpoint: str, packages: Sequence[Deb]) -> list[str]:
        order = self.directory / "order.json"
        artifacts = {package.key: package.artifact.model_dump() for package in packages}
        order.write_text(json.dumps([{"suites": [SUITE], "packages": artifacts}]))
        module = [sys.executable, "-m", "benchmarks.publish_ours"]
        return [*module, endpoint, self.bucket.name, str(order)]

    def commands(self, endpoint: str, package: Deb) -> list[list[str]]:
        return [self.command(endpoint, [package])]

    def inside(self, output: str) -> dict[str, float]:
        steps: dict[str, float] = json.loads(output.splitlines()[-1])
        return steps


class Reprepro(Tool):
    """Reprepro, which publishes into a directory that is then copied to S3."""

    name = "reprepro + aws s3 sync"

    def setup(self) -> None:
        self.out = self.directory / "out"
        configuration = self.directory / "conf/distributions"
        configuration.parent.mkdir()
        configuration.write_text(
            f"Origin: HHVM\nLabel: HHVM\nSuite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\n"
            f"Components: main\nSignWith: {self.environment['KEY']}\nDebIndices: Packages Release . .gz .xz\n"
        )

    def includedeb(self, files: Sequence[Path]) -> list[str]:
        places = ["--basedir", str(self.directory), "--outdir", str(self.out)]
        return ["reprepro", *places, "--silent", "includedeb", SUITE, *map(str, files)]

    def before_server(self, packages: Sequence[Deb]) -> None:
        for package in packages:
            self.built(package)
        self.run(*self.includedeb(sorted(self.debs.iterdir())))
        # With its times: a sync compares them.
        shutil.copytree(self.out, self.bucket / "debian")

    def commands(self, endpoint: str, package: Deb) -> list[list[str]]:
        sync = ["s3", "sync", "--only-show-errors", str(self.out), f"s3://{self.bucket.name}/debian"]
        return [
            self.includedeb([self.debs / package.name]),
            ["/usr/bin/aws", "--endpoint-url", endpoint, *sync],
        ]


class Aptly(Tool):
    """Aptly, which publishes to S3 by itself."""

    name = "aptly publish"

    def setup(self) -> None:
        self.configuration = self.directory / "aptly.json"

    def aptly(self, endpoint: str, *arguments: str) -> list[str]:
        """A command, for which the server is at ``endpoint``."""
        bench = {
            "region": "us-east-1",
            "bucket": self.bucket.name,
            "endpoint": endpoint,
            "awsAccessKeyID": s3_server.ACCESS_KEY,
            "awsSecretAccessKey": s3_server.SECRET_KEY,
            "disableMultiDel": True,
        }
        content = {
            "rootDir": str(self.directory / "root"),
            "gpgProvider": "gpg",
            "S3PublishEndpoints": {"bench": bench},
        }
        self.configuration.write_text(json.dumps(content))
        return ["aptly", f"-config={self.configuration}", *arguments]

    def begin(self, endpoint: str, packages: Sequence[Deb]) -> None:
        for package in packages:
            self.built(package)
        self.run(*self.aptly(endpoint, "repo", "create", f"-distribution={SUITE}", "hhvm"))
        self.run(*self.aptly(endpoint, "repo", "add", "hhvm", str(self.debs)))
        options = ["-architectures=amd64", "-origin=HHVM", "-label=HHVM", "-skip-contents", "-batch"]
        gpg = f"-gpg-key={self.environment['KEY']}"
        self.run(*self.aptly(endpoint, "publish", "repo", *options, gpg, "hhvm", "s3:bench:debian"))

    def commands(self, endpoint: str, package: Deb) -> list[list[str]]:
        gpg = f"-gpg-key={self.environment['KEY']}"
        update = ["publish", "update", "-skip-contents", "-batch", gpg, SUITE, "s3:bench:debian"]
        return [
            self.aptly(endpoint, "repo", "add", "hhvm", str(self.debs / package.name)),
            self.aptly(endpoint, *update),
        ]


TOOLS = (Ours, Reprepro, Aptly)


def measure(tool: Tool, proxy: Proxy, package: Deb) -> Measured:
    """Publish one package more."""
    tool.built(package)
    commands = tool.commands(proxy.endpoint, package)
    proxy.reset()
    begun, cpu = time.monotonic(), processor_time()
    output = ""
    for command in commands:
        output = tool.run(*command)
    seconds, cpu = time.monotonic() - begun, processor_time() - cpu
    if not proxy.traffic.writes:
        raise SystemExit(f"{tool.name}: published nothing")
    return Measured(seconds, cpu, proxy.traffic, tool.inside(output))


def processor_time() -> float:
    """Seconds that the processes took which have ended."""
    times = os.times()
    return times.children_user + times.children_system


@dataclass(frozen=True)
class Row:
    """The repeats of one tool at one size and latency."""

    packages: int
    latency: float
    tool: str
    repeats: list[Measured]

    @property
    def typical(self) -> Measured:
        """The repeat whose time is the median."""
        return sorted(self.repeats, key=lambda measured: measured.seconds)[len(self.repeats) // 2]

    def __str__(self) -> str:
        measured = self.typical
        traffic = measured.traffic
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(traffic.requests.items()))
        times = [repeat.seconds for repeat in self.repeats]
        return (
            f"| {self.packages:,} | {self.latency * 1000:.0f} ms | {self.tool} "
            f"| {measured.seconds:.2f} ({min(times):.2f} to {max(times):.2f}) "
            f"| {measured.cpu:.2f} | {traffic.seconds:.2f} "
            f"| {traffic.requests.total()}: {kinds} | {traffic.up / 1000:,.0f} | {traffic.down / 1000:,.0f} |"
        )


HEADER = (
    "| packages | latency | tool | whole process, s (range) | processor, s | first request to last answer, s "
    "| requests | kB up | kB down |\n|--:|--:|---|--:|--:|--:|---|--:|--:|"
)


@contextlib.contextmanager
def keyring() -> Generator[dict[str, str]]:
    """The environment of all tools: the store's keys, a signing key, and nothing of this machine's user."""
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as home:
        environment = {
            "PATH": f"{os.environ['PATH']}",
            "HOME": home,
            "GNUPGHOME": home,
            "KEY_FILE": f"{home}/key.asc",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
            "AWS_ACCESS_KEY_ID": s3_server.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": s3_server.SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        private, _ = signing_key.make("HHVM benchmark <hhvm@example.org>")
        Path(environment["KEY_FILE"]).write_text(private)
        gpg = ["gpg", "--batch", "--quiet"]
        try:
            subprocess.run([*gpg, "--import"], input=private, text=True, env=environment, check=True)
            listed = subprocess.run(
                [*gpg, "--with-colons", "--list-keys"],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            line = next(line for line in listed.splitlines() if line.startswith("fpr:"))
            yield {**environment, "KEY": line.split(":")[9]}
        finally:
            subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


def compare(size: int, repeats: int, environment: dict[str, str]) -> Iterator[Row]:
    """All tools at one size."""
    packages = [deb(number) for number in range(size)]
    more = map(deb, range(size, 100_000))
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as temporary:
        directory = Path(temporary)
        buckets = directory / "s3"
        tools = [
            tool(directory / f"tool-{number}", buckets / f"bucket-{number}", environment)
            for number, tool in enumerate(TOOLS)
        ]
        for tool in tools:
            progress(f"{size:,} packages: {tool.name} begins")
            tool.before_server(packages)
        with (
            s3_server.rclone(buckets) as endpoint,
            Proxy(endpoint, looking=s3_server.client(endpoint)).running() as proxy,
        ):
            for tool in tools:
                progress(f"{size:,} packages: {tool.name} publishes them")
                tool.begin(endpoint, packages)
                # Once for nothing: whatever is cached is cached for all.
                measure(tool, proxy, next(more))
            for latency in LATENCIES:
                proxy.latency = latency
                measured: dict[str, list[Measured]] = {tool.name: [] for tool in tools}
                for _ in range(repeats):
                    # In turns, so that a busy minute of this machine hits all of them.
                    for tool in tools:
                        measured[tool.name].append(measure(tool, proxy, next(more)))
                for tool in tools:
                    yield Row(size, latency, tool.name, measured[tool.name])


def progress(text: str) -> None:
    """Say what happens now."""
    print(text, file=sys.stderr, flush=True)


def steps(rows: Sequence[Row]) -> str:
    """Where our own time goes."""
    (row,) = rows
    inside: Counter[str] = Counter()
    for measured in row.repeats:
        inside.update(measured.inside)
    parts = ", ".join(f"{name} {seconds / len(row.repeats):.2f} s" for name, seconds in inside.items())
    return f"Ours at {row.packages:,} packages and {row.latency * 1000:.0f} ms: {parts}."


def ratio(rows: Sequence[Row]) -> str:
    """How we compare, in one line, by the medians at the largest size with latency."""
    size = max(row.packages for row in rows)
    seconds = {
        row.tool: statistics.median(measured.seconds for measured in row.repeats)
        for row in rows
        if row.packages == size and row.latency == max(LATENCIES)
    }
    ours = seconds.pop(Ours.name)
    times = ", ".join(f"{tool} takes {other / ours:.1f} times as long" for tool, other in seconds.items())
    requests = {row.packages: row.typical.traffic.requests for row in rows if row.tool == Ours.name}
    counts = ", ".join(f"{kinds.total()} at {packages:,}" for packages, kinds in requests.items())
    lists = sum(kinds["LIST"] for kinds in requests.values())
    return (
        f"RATIO {size:,} packages, {max(LATENCIES) * 1000:.0f} ms: {times}; "
        f"our requests: {counts}; LIST: {lists}"
    )


def main() -> None:
    """Measure all tools and print the tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--packages", type=int, nargs="+", default=[100, 1000, 5000])
    arguments.add_argument("--repeats", type=int, default=3)
    chosen = arguments.parse_args()

    missing = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    if missing:
        subprocess.run([ROOT / "demo/debian-packages", *missing], check=True)

    rows: list[Row] = []
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{chosen.repeats} repeats, medians; {cores} cores, load average before: {load:.1f}\n")
    with keyring() as environment:
        print(HEADER, flush=True)
        for size in chosen.packages:
            for row in compare(size, chosen.repeats, environment):
                print(row, flush=True)
                rows.append(row)
    print()
    for latency in LATENCIES:
        size = max(chosen.packages)
        ours = [r for r in rows if (r.tool, r.packages, r.latency) == (Ours.name, size, latency)]
        print(steps(ours))
    print(ratio(rows))


if __name__ == "__main__":
    main()
