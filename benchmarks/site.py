"""What a publish and the canary ask of the store, with many objects and suites, and with a tenth of them.

A whole publish with its pages, on moto's S3, which checks conditions and digests as Amazon's does. The
requests are counted. What it showed is in docs/publishing-benchmark.md.

python -m benchmarks.site [OBJECTS SUITES PACKAGES]
"""

from __future__ import annotations

import contextlib
import http.server
import logging
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from moto.s3.models import s3_backends
from pydantic import HttpUrl

from demo import signing_key
from hhvm_packaging.apt import index, release_file
from hhvm_packaging.apt.packages_index import PACKAGES, Packages, Stanza
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.apt.snapshots import Snapshot
from hhvm_packaging.publishing import pages
from hhvm_packaging.release import Release
from hhvm_packaging.reporting.canary_turn import Turn
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import keys
from hhvm_packaging.upkeep import canary
from testing import s3 as s3_server
from testing.built import Bench
from testing.serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from hhvm_packaging.planning.plans import PublishPlan

FULL = (100_000, 200, 5_000)
_ACCOUNT = "123456789012"
_FILE = b"a package"
NOW = datetime.now(UTC)


def main(objects: int = FULL[0], suites: int = FULL[1], packages: int = FULL[2]) -> None:
    """Count with a tenth and with everything. Exits with 1 if a publish needs other numbers of requests."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with s3_server.strict_moto() as endpoint:
        small = _measure(endpoint, objects // 10, suites // 10, packages // 10)
        large = _measure(endpoint, objects, suites, packages)
    same = all(small[what] == large[what] for what in ("publish", "pages", "report"))
    print(f"RATIO a publish with its pages: {'the same' if same else 'OTHER'} requests at both sizes")
    if not same:
        raise SystemExit(1)


def _measure(endpoint: str, objects: int, suites: int, packages: int) -> dict[str, Counter[str]]:
    print(f"{objects:,} objects, {suites} suites, {packages:,} packages a suite")
    client = s3_server.client(endpoint)
    with (
        tempfile.TemporaryDirectory() as directory,
        Signer(signing_key.make("A <a@example.org>")[0]) as signer,
    ):
        names = {
            "scratch_bucket": f"scratch-{objects}",
            "downloads_bucket": f"downloads-{objects}",
            "nightly_schedule": "",
            "canary_patience": 0,
        }
        settings = Settings(lock_directory=Path(directory)).model_copy(update=names)
        for bucket in (settings.scratch_bucket, settings.downloads_bucket):
            client.create_bucket(Bucket=bucket)
        bench = Bench(client, signer, settings)
        bench.store.downloads.put(keys.PUBLIC_KEY, signer.public_key())
        _fill(bench, objects, suites, packages)
        first = _publish(bench, "1.0.0")
        _count("the first pages", client, lambda: pages.update_pages(first, bench.store, settings))
        plan = bench.build("1.0.1")
        bench.sign_source(plan)
        counted = {
            "publish": _count("publish", client, lambda: bench.update(plan)),
            "pages": _count("pages", client, lambda: pages.update_pages(plan, bench.store, settings)),
            "report": _count("report", client, lambda: bench.report(plan)),
        }
        with _website(settings.downloads_bucket) as website:
            bench.settings = settings.model_copy(update={"public_url": HttpUrl(website.url)})
            _look(bench, website)
    return counted


class _Website(http.server.ThreadingHTTPServer):
    """The public bucket over HTTP, as a CDN has it."""

    daemon_threads = True

    def __init__(self, bucket: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.keys = s3_backends[_ACCOUNT]["aws"].buckets[bucket].keys
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast("_Website", self.server)
        server.requests += 1
        found = server.keys.get(unquote(self.path).lstrip("/"))
        content = found.value if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@contextlib.contextmanager
def _website(bucket: str) -> Generator[_Website]:
    server = _Website(bucket)
    with serving(server):
        yield server


def _publish(bench: Bench, version: str) -> PublishPlan:
    plan = bench.build(version)
    bench.update(plan)
    release = Release(version, nightly=False)
    for key in (keys.public_signature(release), keys.public_tarball(release)):
        bench.store.downloads.put(key, version.encode())
    return plan


def _fill(bench: Bench, objects: int, suites: int, packages: int) -> None:
    """Put files into the pool, and suites that name some of them, as publishes would have left them."""
    backend = s3_backends[_ACCOUNT]["aws"]
    bucket = bench.settings.downloads_bucket
    stanzas = []
    for number in range(objects):
        name = f"pool/main/h/hhvm/hhvm_0.0.{number}-1_amd64.deb"
        backend.put_object(bucket, f"debian/{name}", _FILE)
        if number < packages:
            stanzas.append(
                Stanza.parse(
                    f"Package: hhvm\nVersion: 0.0.{number}-1\nArchitecture: amd64\nDescription: a package\n"
                    f"Filename: {name}\nSize: {len(_FILE)}\nSHA256: {index.sha256(_FILE)}"
                )
            )
    entries = Packages(tuple(stanzas)).sorted()
    contents = {name: make() for name, make in entries.forms(PACKAGES).items()}
    names = ["bookworm", "trixie", *(f"old{number}" for number in range(suites - 2))]
    for name in names:
        suite = bench.suite(name)
        text = release_file.render_release(name, contents, date=NOW - timedelta(days=1))
        in_release = bench.signer.clearsign(text)
        files = {
            keys.IN_RELEASE: in_release,
            keys.RELEASE: text,
            keys.RELEASE_GPG: bench.signer.detach(text),
            **contents,
        }
        for file, content in files.items():
            backend.put_object(bucket, suite.key(file), content)
        for file, content in contents.items():
            backend.put_object(bucket, keys.by_hash(suite.key(file), index.sha256(content)), content)
        date = release_file.Release.parse(text).date
        Snapshot(
            name=Snapshot.name_of(date, text),
            date=date,
            reason="publish",
            previous=None,
            added=(),
            removed=(),
            in_release=index.decode(in_release),
            committed=True,
        ).write(bench.store.scratch, "debian", name)


def _look(bench: Bench, website: _Website) -> None:
    """Let the canary look: at everything, then an hour later with one version more."""
    for what, after in (("first run", timedelta(0)), ("an hour later", timedelta(hours=1))):
        website.requests, now = 0, datetime.now(UTC) + after
        plan = canary.plan_canary(bench.store, bench.settings)
        found = canary.check(plan, bench.store, bench.settings, now=now)
        print(f"  canary, {what}: {website.requests:,} requests, {len(found)} findings")
        print(f"    {Turn.read(bench.store).describe()}")
        _publish(bench, "1.0.2")


def _count(what: str, client: Any, call: Callable[[], object]) -> Counter[str]:
    with s3_server.recorded(client) as requests:
        call()
    found = Counter(request.split()[0] for request in requests)
    words = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
    print(f"  {what}: {found.total()} requests: {words}")
    return found


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
