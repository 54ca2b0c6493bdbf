"""The quality gates: a package that each lets pass and one that it stops, with the words that people read.

All that is wrong with one package is found by one job, so there are few of them.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.settings import Settings
from hhvm_packaging.workers.job import Gate, Result
from jobs.notes import ADVICE
from testing.s3 import Server, new_buckets
from testing.serving import serving
from tests.integration.test_install_gate import Bench, Build, Website, signer

__all__ = ["signer"]

if TYPE_CHECKING:
    from collections.abc import Callable

    from hhvm_packaging.apt.signing import Signer

pytestmark = pytest.mark.timeout(1200)

SERVER = r"""#!/usr/bin/perl
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 9000, Listen => 5) or die;
while (my $client = $server->accept) {
  sysread $client, my $request, 4096;
  print $client "HTTP/1.0 404 Not Found\r\n\r\n";
}
"""
UNIT = """[Service]
Type=exec
User=www-data
Environment=PROGRAM=/usr/bin/hhvm-server
StateDirectory=hhvm
ExecStart=/bin/sh -c "test -w /var/lib/hhvm && exec ${PROGRAM}"
"""
PURGE = '[ "$1" != purge ] || rm -rf /var/lib/hhvm'
TESTS = "Tests: answers{}\nDepends: @\n"
LIBRARY = "mkdir -p usr/lib; cp $(realpath /usr/lib/x86_64-linux-gnu/{}) usr/lib/libhhvm.so.1;"
PADDING = "mkdir -p usr/share/hhvm; head -c {} /dev/urandom >usr/share/hhvm/data"


def build(version: str, **changes: Any) -> Build:
    """A build that all gates let pass."""
    files = {"usr/bin/hhvm-server": SERVER, "lib/systemd/system/hhvm.service": UNIT}
    usual: dict[str, Any] = {
        "version": version,
        "files": files,
        "scripts": {"postrm": PURGE},
        "finish": LIBRARY.format("libz.so.1") + PADDING.format(100_000),
        "source": {"debian/tests/control": TESTS.format(""), "debian/tests/answers": "#!/bin/sh\nhhvm\n"},
    }
    return Build(**{**usual, **changes})


OLD = build("1.0.0", source={})
GOOD = build("1.0.1")
BAD = build(
    "1.0.1",
    files={"lib/systemd/system/hhvm.service": "[Service]\nExecStart=/bin/sh -c 'echo no licence; exit 3'\n"},
    # Something of its own, something of others'; and from 1.0.1 there is no way back.
    scripts={
        "postinst": "mkdir -p /var/lib/hhvm; echo 1 >/var/lib/hhvm/state; rm -f /etc/issue.net",
        "prerm": '[ "$1" != upgrade ]',
    },
    finish=LIBRARY.format("libcap.so.2") + PADDING.format(200_000) + "; touch usr/bin/no-program",
    source={
        "debian/tests/control": TESTS.format(", complains"),
        "debian/tests/answers": "#!/bin/sh\nhhvm\n",
        "debian/tests/complains": "#!/bin/sh\necho a test is unhappy; exit 1\n",
    },
)
STUCK = build("1.0.1", scripts={"prerm": '[ "$1" != remove ]'}, source={}, files={})

Gates = dict[str, Gate]


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, job_image: str, s3_server: Server, signer: Signer
) -> Callable[..., Gates]:
    """What the gates find in a build, by their names; each build runs once."""
    found: dict[str, Gates] = {}

    def gates(name: str, built: Build, *, published: bool = True, debian: bool = True, **env: str) -> Gates:
        if name not in found:
            with new_buckets(s3_server) as s3:
                website = Website(s3_server.directory / Settings().downloads_bucket)
                with serving(website):
                    bench = Bench(tmp_path_factory.mktemp(name), job_image, s3, signer, website)
                    if published:
                        bench.publish(OLD)
                    log = bench.build(built, debian=debian, **env)
                    result = Result.parse(json.dumps(bench.worker.result).encode())
            assert result.exit_status == 0, log
            found[name] = {gate.name: gate for gate in result.gates}
        return found[name]

    return gates


@pytest.fixture
def good(run: Callable[..., Gates]) -> Gates:
    return run("good", GOOD)


@pytest.fixture
def bad(run: Callable[..., Gates]) -> Gates:
    return run("bad", BAD)


@pytest.fixture
def stuck(run: Callable[..., Gates]) -> Gates:
    """What is found in a package that cannot be removed, of a suite that is not published."""
    return run("stuck", STUCK, published=False, debian=False, GATES_OFF="files")


PASSED = {
    "install": "hhvm hhvm-dev 1.0.1-1~bookworm",
    "service": "hhvm.service answers HTTP on port 9000",
    "removal": "removed, purged and installed again: hhvm hhvm-dev",
    "leftovers": "nothing is left after a purge of hhvm hhvm-dev",
    "autopkgtest": "answers PASS",
    "upgrade": "from 1.0.0-1~bookworm to 1.0.1-1~bookworm",
    "downgrade": "from 1.0.1-1~bookworm to 1.0.0-1~bookworm",
    "lintian": "compared with 1.0.0-1~bookworm",
    "files": "compared with 1.0.0-1~bookworm",
    "symbols": "compared with 1.0.0-1~bookworm",
    "sizes": "compared with 1.0.0-1~bookworm",
}
FOUND = {
    "service": [r"hhvm\.service does not start: .* ended with exit status 3: no licence"],
    "leftovers": [
        r"/var/lib/hhvm is left after a purge of hhvm hhvm-dev",
        r"/etc/issue\.net is gone after a purge of hhvm hhvm-dev, which was there before",
    ],
    "autopkgtest": [r"the test complains FAIL non-zero exit status 1"],
    "downgrade": [r"1\.0\.0-1~bookworm cannot be installed over 1\.0\.1-1~bookworm: see the job's log"],
    "lintian": [r"hhvm: warning no-manual-page usr/bin/no-program, which 1\.0\.0-1~bookworm has not"],
    "files": [r"hhvm: /usr/bin/hhvm-server is gone, which 1\.0\.0-1~bookworm has"],
    "symbols": [r"hhvm: /usr/lib/libhhvm\.so\.1 has no adler32, \S+, \S+ and \d+ more any more"],
    "sizes": [r"hhvm: [\d,]+ bytes, \+\d\d %: 1\.0\.0-1~bookworm has [\d,]+, and more than 25 % is a jump"],
}
"""What the bad package's gates say; what is not here passes."""


def test_there_is_a_word_on_every_gate(good: Gates) -> None:
    assert good.keys() == PASSED.keys()


@pytest.mark.parametrize("gate", PASSED)
def test_a_good_package_passes(good: Gates, gate: str) -> None:
    assert (good[gate].verdict, good[gate].words) == ("passed", (PASSED[gate],))


@pytest.mark.parametrize("gate", FOUND)
def test_what_is_wrong_is_found_and_said_with_what_to_do(bad: Gates, gate: str) -> None:
    assert bad[gate].verdict == "failed"
    for pattern in FOUND[gate]:
        assert any(re.fullmatch(pattern, line) for line in bad[gate].words), bad[gate].words
    assert bad[gate].words[-1] == ADVICE[gate]


@pytest.mark.parametrize("gate", sorted(PASSED.keys() - FOUND.keys()))
def test_what_is_wrong_elsewhere_does_not_stop_what_is_right(bad: Gates, gate: str) -> None:
    assert bad[gate].verdict == "passed"


def test_a_package_that_cannot_be_removed_is_found(stuck: Gates) -> None:
    assert stuck["removal"].verdict == "failed"
    assert stuck["removal"].words == ("dpkg --remove hhvm hhvm-dev fails: see its message in the job's log",)


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        ("service", "no package has a service"),
        ("leftovers", "the packages cannot be purged"),
        ("autopkgtest", "the source package has no debian/tests"),
        ("upgrade", "nothing to upgrade from: debian bookworm is not published yet"),
        ("lintian", "nothing is published yet to compare with"),
        ("files", "gates.files is off"),
    ],
)
def test_what_is_not_looked_at_is_skipped_and_says_why(stuck: Gates, gate: str, why: str) -> None:
    assert (stuck[gate].verdict, stuck[gate].words) == ("skipped", (why,))
