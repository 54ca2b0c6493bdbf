"""Publishing a plan: which suites its packages go to, and what stays away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo import signing_key
from hhvm_packaging import repositories
from hhvm_packaging.apt import repository, undo
from hhvm_packaging.apt.signing import Signer
from hhvm_packaging.distros import Distro
from hhvm_packaging.manifests import PackageManifest
from hhvm_packaging.plans import Plan
from hhvm_packaging.settings import Settings
from hhvm_packaging.store import Store
from tests.debs import Deb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

SUITES = ("bookworm", "trixie")


class Bench:
    """A store in which versions are built for two distributions."""

    def __init__(self, s3: S3Client, signer: Signer, settings: Settings) -> None:
        self.store, self.signer, self.settings = Store(s3, settings), signer, settings

    def build(self, version: str) -> Plan:
        distros = tuple(
            Distro(
                name=f"debian-{number}-{suite}",
                docker_base=f"debian:{suite}",
                distribution=suite,
                pkgver=f"1~{suite}",
                files_sha256="",
            )
            for number, suite in enumerate(SUITES, 12)
        )
        plan = Plan(
            version=version,
            nightly=False,
            commit="",
            packaging="",
            packaging_revision="",
            distros=distros,
        )
        for distro in distros:
            deb = Deb(f"{version}-{distro.pkgver}")
            build = self.store.build(plan.release, distro.name, "a-try")
            self.store.scratch.put(build + deb.name, deb.content)
            PackageManifest(
                version=version,
                distro=distro.name,
                package_version=deb.version,
                inputs="",
                source_sha256="",
                docker_base=distro.docker_base,
                build=build,
                artifacts=(deb.artifact,),
            ).write(self.store, plan.release)
        return plan

    def update(self, plan: Plan) -> list[str]:
        return repositories.update(plan, self.store, self.signer, self.settings)

    def offered(self, suite: str) -> list[str]:
        return [stanza.version for stanza in repository.read(self.store.downloads, "debian", suite).stanzas]

    def undo(self, suite: str) -> None:
        store = self.store
        where = {"repository": "debian", "suite": suite}
        previous = undo.history(store.downloads, store.scratch, **where)[1].name
        undo.undo(store.downloads, store.scratch, to=previous, signer=self.signer, **where)


@pytest.fixture
def bench(s3: S3Client, tmp_path: Path) -> Iterator[Bench]:
    with Signer(signing_key.make("HHVM tests <hhvm@example.org>")[0]) as signer:
        yield Bench(s3, signer, Settings(lock_directory=tmp_path))


def test_a_release_goes_to_the_distribution_and_to_its_series(bench: Bench) -> None:
    assert bench.update(bench.build("1.0.0")) == ["debian-12-bookworm", "debian-13-trixie"]
    bench.update(bench.build("1.1.0"))
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm", "1.1.0-1~bookworm"]
    assert bench.offered("bookworm-1.0") == ["1.0.0-1~bookworm"]
    assert bench.offered("trixie-1.1") == ["1.1.0-1~trixie"]


def test_what_was_built_before_sources_were_described_is_published_without_them(bench: Bench) -> None:
    bench.update(bench.build("1.0.0"))
    assert repository.read_sources(bench.store.downloads, "debian", "bookworm").stanzas == ()


def test_a_run_that_is_resumed_leaves_out_what_was_withdrawn_and_finishes_the_rest(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"suites": {"release": ["DISTRO"]}})
    bench.update(bench.build("1.0.0"))
    bad = bench.build("1.0.1")
    bench.update(bad)
    bench.undo("bookworm")
    assert bench.update(bad) == ["debian-13-trixie"]
    assert bench.offered("bookworm") == ["1.0.0-1~bookworm"]
    assert bench.offered("trixie") == ["1.0.0-1~trixie", "1.0.1-1~trixie"]

    bench.undo("trixie")
    with pytest.raises(repositories.Withdrawn, match=r"HHVM 1\.0\.1 was withdrawn from all"):
        bench.update(bad)
    assert bench.offered("trixie") == ["1.0.0-1~trixie"]
