"""When a release may be published, by what the store holds."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest

from hhvm_packaging.planning.manifests import SourceManifest
from hhvm_packaging.planning.request import Request
from hhvm_packaging.publishing import holds
from hhvm_packaging.publishing.holds import Held, Ready
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact
from testing.built import BOOKWORM, TRIXIE, Bench, bench

if TYPE_CHECKING:
    from hhvm_packaging.planning.plans import PublishPlan

__all__ = ["bench"]

NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
RUN = ("hhvm_build_and_publish", "a-run")


def built(bench: Bench, version: str, *missing: str) -> PublishPlan:
    """Build and sign a version, without the ``missing`` distributions."""
    plan = bench.build(version)
    tarball = Artifact(name="a-tarball", size=1, sha256=version, md5="")
    SourceManifest(version=version, commit="", tarball=tarball, signed_by="somebody").write(
        bench.store, plan.release
    )
    for distro in missing:
        bench.store.scratch.delete(keys.manifest(plan.release, distro))
    return plan


def request(version: str, **more: Any) -> Request:
    return Request(version=version, distros=(BOOKWORM, TRIXIE), today=NOW.date(), **more)


def release(bench: Bench, asked: Request, *others: Request) -> None:
    """Return if the version may be published now, as one of those that were asked for together."""
    holds.ensure_publishable(
        asked, [asked, *others], *RUN, now=NOW, store=bench.store, settings=bench.settings
    )


def approve(bench: Bench, *asked: Request) -> None:
    found = holds.find_ready(asked, bench.store, bench.settings)
    holds.record_approval(found, *RUN, by="anna", at=NOW, store=bench.store)


def test_a_version_that_is_built_goes_at_once(bench: Bench) -> None:
    built(bench, "1.0.0")
    release(bench, request("1.0.0"))


def test_what_is_not_built_is_named_and_held(bench: Bench) -> None:
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not built for debian-12-bookworm, debian-13-trixie"):
        release(bench, request("1.0.0"))
    built(bench, "1.0.0", TRIXIE)
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not built for debian-13-trixie; the others are held"):
        release(bench, request("1.0.0"))


def test_without_a_signed_source_nothing_counts_as_built(bench: Bench) -> None:
    bench.build("1.0.0")
    with pytest.raises(Held, match="not built for debian-12-bookworm, debian-13-trixie"):
        release(bench, request("1.0.0"))


@pytest.mark.parametrize(("version", "terms"), [("1.0.0", "publish the others"), ("2026.11.23", "as usual")])
def test_the_others_go_where_the_runs_terms_have_it(bench: Bench, version: str, terms: Any) -> None:
    built(bench, version, TRIXIE)
    release(bench, request(version, if_one_fails=terms))


def test_what_the_last_plan_wants_otherwise_is_not_built(bench: Bench) -> None:
    plan = built(bench, "1.0.0")
    bumped = [distro.model_copy(update={"pkgver": "2~bookworm"}) for distro in plan.distros[:1]]
    planned = plan.model_copy(update={"distros": (*bumped, *plan.distros[1:])})
    bench.store.scratch.put_json(keys.plan(plan.release), planned.model_dump(mode="json"))
    found = Ready.find(request("1.0.0"), bench.store, bench.settings)
    assert BOOKWORM in found.missing


def test_nothing_goes_before_its_time(bench: Bench) -> None:
    built(bench, "1.0.0")
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is held until 2026-11-24 12:00:01 UTC"):
        release(bench, request("1.0.0", hold_until=NOW + datetime.timedelta(seconds=1)))
    release(bench, request("1.0.0", hold_until=NOW))


def test_nothing_goes_without_the_approval_that_was_asked_for(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not approved"):
        release(bench, asked)
    approve(bench, asked)
    release(bench, asked)


def test_an_approval_is_for_the_builds_that_were_there(bench: Bench) -> None:
    built(bench, "1.0.0", TRIXIE)
    asked = request("1.0.0", require_approval=True, if_one_fails="publish the others")
    approve(bench, asked)
    release(bench, asked)
    built(bench, "1.0.0")
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is not what anna approved"):
        release(bench, asked)


def test_an_approval_of_another_run_does_not_count(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    found = holds.find_ready([asked], bench.store, bench.settings)
    holds.record_approval(found, RUN[0], "another-run", by="anna", at=NOW, store=bench.store)
    with pytest.raises(Held, match="is not approved"):
        release(bench, asked)


def test_who_is_asked_again_has_not_approved(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = request("1.0.0", require_approval=True)
    approve(bench, asked)
    holds.withdraw_approvals([asked], *RUN, bench.store)
    with pytest.raises(Held, match="is not approved"):
        release(bench, asked)


def test_a_version_that_is_not_built_holds_the_others_only_where_that_was_asked_for(bench: Bench) -> None:
    built(bench, "1.0.0")
    release(bench, request("1.0.0"), request("1.0.1"))
    held: dict[str, Any] = {"if_a_version_fails": "hold all"}
    with pytest.raises(Held, match=r"HHVM 1\.0\.0 is held, as if_a_version_fails says: HHVM 1\.0\.1 is not"):
        release(bench, request("1.0.0", **held), request("1.0.1", **held))


def test_only_what_may_go_on_is_shown_for_approval_and_nothing_is_if_nothing_may(bench: Bench) -> None:
    built(bench, "1.0.0")
    asked = [request("1.0.0"), request("1.0.1")]
    found = holds.find_ready(asked, bench.store, bench.settings)
    [shown] = holds.select_publishable(asked, found)
    assert str(shown) == "HHVM 1.0.0: debian-12-bookworm 1.0.0-1~bookworm, debian-13-trixie 1.0.0-1~trixie"
    with pytest.raises(Held, match=r"HHVM 1\.0\.1 is not built"):
        holds.select_publishable(asked[1:], found[1:])
