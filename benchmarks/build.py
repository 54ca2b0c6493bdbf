"""How long a build takes with nothing cached, with its dependencies cached, and with a warm compiler cache.

Two sources: the miniature, and a C++ library of Debian's archive that compiles for minutes. Each is built by
jobs/make-binary-package in the job image, as a Docker worker builds it, up to the packages: the gates are not
part of it. What it showed is in docs/build-benchmark.md.

python -m benchmarks.build [miniature] [larger]
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack import MINIATURE
from hhvm_packaging.orchestration import connections
from hhvm_packaging.workers.job import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
DISTRO, IMAGE = "debian-12-bookworm", "debian:bookworm"
SOCKET = "/var/run/docker.sock"
LARGER = "fcl"
VERSION = "1.0.0"
AIMS = {"miniature": 5, "larger": 10}
"""How many times as fast as with nothing cached a second release is to be."""
TIME_LIMIT = 4 * 60 * 60
PACKAGES = (".deb", ".dsc", ".tar.xz")

FETCH = """
set -eu
cd /etc/apt/sources.list.d
if [ -f debian.sources ]; then
  sed 's/^Types: deb$/Types: deb-src/' debian.sources >source.sources
else # The image was made from the host's mirror: see demo/base-image.
  sed 's/^deb /deb-src /' ../sources.list >source.list
fi
apt-get -o Acquire::Retries=5 update -q
apt-get -o Acquire::Retries=5 install -q --yes --no-install-recommends dpkg-dev
cd /out
apt-get -o APT::Sandbox::User=root source --download-only "$1"
dpkg-source --skip-patches --extract ./*.dsc tree
chmod -R a+rwX .
"""


EMPTY = """
Package: hhvm
Architecture: any
Depends: ${misc:Depends}
Description: empty
 It has the name that each release has.
"""


@dataclass
class Source:
    """A source with its packaging, and a change of one file of it."""

    name: str
    tree: Path
    """The unpacked source, without debian/."""
    debian: Path | None
    """In place of HHVM's own packaging."""
    change: Callable[[Path], None]
    profiles: str = ""

    def pack(self, directory: Path) -> Path:
        """The source tarball, with the same bytes for the same files."""
        tarball = directory / f"hhvm-{VERSION}.tar.gz"
        options = ["--sort=name", "--mtime=@1500000000", "--owner=0", "--group=0", "--numeric-owner"]
        transform = f"--transform=s,^[.],hhvm-{VERSION},"
        packed = ["tar", "--create", *options, transform, "--directory", str(self.tree), "."]
        content = subprocess.run(packed, stdout=subprocess.PIPE, check=True).stdout
        tarball.write_bytes(gzip.compress(content, compresslevel=1, mtime=0))
        return tarball


@dataclass
class Run:
    """One build."""

    seconds: float
    digests: dict[str, str]
    facts: dict[str, object]
    cache: bytes = field(repr=False, default=b"")

    @property
    def hits(self) -> str:
        """How many objects the compiler cache had, in words; empty without one."""
        facts = Facts.model_validate(self.facts)
        if facts.cached is None or facts.compiled is None:
            return ""
        return f"{facts.cached} of {facts.cached + facts.compiled} objects cached"


def build(source: Source, *, days: int, cache: bytes | None = None, keep: bool = False) -> Run:
    """Build a source. ``days``: how old an image with dependencies may be; ``keep``: use a compiler cache."""
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as directory:
        work = _lay_out(source, Path(directory))
        tarball = source.pack(work / "in")
        if cache is not None:
            (work / "in/ccache.tar").write_bytes(cache)
        seconds = _run_job(
            work,
            "make-binary-package",
            days,
            VERSION=VERSION,
            DISTRO=DISTRO,
            SOURCE_SHA256=hashlib.sha256(tarball.read_bytes()).hexdigest(),
            DEB_BUILD_PROFILES=source.profiles,
            **({"CCACHE_SIZE": "4096"} if keep or cache is not None else {}),
        )
        out = sorted((work / "out").iterdir())
        return Run(
            seconds,
            {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in out if p.name.endswith(PACKAGES)},
            json.loads((work / "result.json").read_bytes())["facts"],
            next((path.read_bytes() for path in out if path.name == "ccache.tar"), b""),
        )


def make_image(source: Source) -> None:
    """Have the engine keep the image with the source's build dependencies."""
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as directory:
        work = _lay_out(source, Path(directory))
        _run_job(work, "make-dependencies-image", 1, DISTRO=DISTRO, DEB_BUILD_PROFILES=source.profiles)


def _lay_out(source: Source, work: Path) -> Path:
    """A job's directory with the packaging files."""
    for name in ("bin", "jobs", "distros"):
        shutil.copytree(ROOT / name, work / "packaging" / name, symlinks=True)
    if source.debian:
        shutil.rmtree(work / f"packaging/distros/{DISTRO}/debian")
        shutil.copytree(source.debian, work / f"packaging/distros/{DISTRO}/debian", symlinks=True)
    (work / "in").mkdir()
    return work


def _run_job(work: Path, script: str, days: int, **environment: str) -> float:
    """Run a job as a Docker worker does. Returns how many seconds it took."""
    job = {"script": script, "environment": environment, "time_limit": TIME_LIMIT}
    (work / "job.json").write_text(json.dumps(job))
    options = [f"--volume={SOCKET}:{SOCKET}", f"--volume={work}:{work}"]
    options.append(f"--env=HHVM_DEPENDENCIES_DAYS={days}")
    job_image, runner = connections.docker_worker().job_image(), f"{work}/packaging/jobs/run"
    begin = time.monotonic()
    command = ["docker", "run", "--rm", "--init", *options, job_image, runner, str(work)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit((work / "log.txt").read_text()[-10_000:])
    return time.monotonic() - begin


def miniature(directory: Path) -> Source:
    """The miniature of HHVM. Its changed file is one of its own, as a release's bug fix is."""
    subprocess.run([ROOT / "demo/make-git-repositories", directory / "git", VERSION], check=True)
    environment = {"VERSION": VERSION, "SOURCE_REPOSITORY": str(directory / "git/hhvm-staging.git")}
    environment |= {"OUT": str(directory)}
    subprocess.run([ROOT / "bin/make-source-tarball"], env={**os.environ, **environment}, check=True)
    subprocess.run(["tar", "-xzf", directory / f"hhvm-{VERSION}.tar.gz", "-C", directory], check=True)
    tree = directory / f"hhvm-{VERSION}"
    return Source("miniature", tree, None, _touch("hphp/runtime/settings.cpp"), MINIATURE)


def larger(directory: Path) -> Source:
    """A library of Debian's archive, as its maintainers package it; only its source package is hhvm.

    It gets an empty package hhvm, too: each release of HHVM has one of its name.
    """
    out = directory / "fetched"
    out.mkdir()
    mounts = [f"--volume={out}:/out", IMAGE]
    command = ["docker", "run", "--rm", *mounts, "sh", "-c", FETCH, "sh", LARGER]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    tree, debian = out / "tree", directory / "debian"
    shutil.move(tree / "debian", debian)
    control = debian / "control"
    control.write_text(control.read_text().replace(f"Source: {LARGER}\n", "Source: hhvm\n", 1) + EMPTY)
    # Its tests would take longer to compile than the library.
    rules = debian / "rules"
    rules.write_text(rules.read_text().replace("-DBUILD_TESTING=ON", "-DBUILD_TESTING=OFF"))
    return Source("larger", tree, debian, _touch("src/common/time.cpp"))


def _touch(path: str) -> Callable[[Path], None]:
    """A change of one file of a tree, which gives another object."""

    def change(tree: Path) -> None:
        with (tree / path).open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.write('\nextern "C" int hhvm_benchmark() { return 1; }\n')

    return change


def measure(make: Callable[[Path], Source]) -> bool:
    """Build a source in each way, and print the times. Returns whether what must be the same is the same."""
    with tempfile.TemporaryDirectory(prefix="hhvm-bench-") as directory:
        source = make(Path(directory))
        make_image(source)
        print(f"\n{source.name}", flush=True)
        first = _show("nothing cached", build(source, days=0))
        cached = _show("dependencies cached", build(source, days=7), first)
        cold = _show("and a compiler cache that is empty", build(source, days=7, keep=True), first)
        warm = _show("and one that is warm", build(source, days=7, cache=cold.cache), first)
        source.change(source.tree)
        second = _show("the same, one file changed", build(source, days=7, cache=cold.cache), first)
    same = all(run.digests == first.digests for run in (cached, cold, warm))
    times = first.seconds / second.seconds
    print(f"RATIO {source.name}: a second release {times:.1f} times as fast; the aim is {AIMS[source.name]}")
    print(f"packages: {'the same bytes, whatever is cached' if same else 'OTHER BYTES'}", flush=True)
    return same


def _show(name: str, run: Run, first: Run | None = None) -> Run:
    """Print how long a build took, and how many times as fast as the first it was."""
    times = f"{first.seconds / run.seconds:>8.1f} x  {run.hits}" if first else ""
    print(f"{name:<36}{run.seconds:>8.1f} s{times}", flush=True)
    return run


if __name__ == "__main__":
    known = {"miniature": miniature, "larger": larger}
    found = {name: measure(known[name]) for name in sys.argv[1:] or known}
    sys.exit(not all(found.values()))
