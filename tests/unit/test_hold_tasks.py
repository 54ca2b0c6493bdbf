"""What the tasks that hold a release show to people."""

from __future__ import annotations

import datetime

from hhvm_packaging.orchestration.hold_tasks import write_body
from hhvm_packaging.planning.hold_records import Asked, Asker, Package, Question
from hhvm_packaging.workers.job import Gate
from tests.unit.test_markdown import shown


def test_who_approves_reads_which_builds_they_approve_and_what_the_quality_gates_found() -> None:
    names = {"debian-12-bookworm": "1.0.1-1~bookworm", "debian-13-trixie": "1.0.1-1~trixie"}
    packages = {
        name: Package(
            version=version,
            directory=f"1.0.1/{name}/20261122T000000.000000Z-1/",
            files={f"hhvm_{version}_amd64.deb": "c" * 64},
        )
        for name, version in names.items()
    }
    asked = Asked(version="1.0.1", source="a" * 64, packages=packages, holds=("h" * 64,))
    asker = Asker(dag_id="d", run_id="r", at=datetime.datetime.now(datetime.UTC))
    first, second = (package.directory for package in packages.values())
    found = (
        Gate(name="install", verdict="passed", words=("hhvm",)),
        Gate(name="removal", verdict="passed"),
        Gate(name="lintian", verdict="warned", words=("hhvm: <b>no-manual-page</b>",)),
    )
    body = write_body(Question(asker=asker, number=1, asked=(asked,)), {first: found, second: ()})
    assert "~" not in body.replace("\\~", "")
    text = shown(body)
    for word in ("1.0.1", "a" * 12, *names, *names.values(), "20261122T000000.000000Z-1"):
        assert word in text
    for package in packages.values():
        assert package.digest[:12] in text
    assert text.count("passed install, removal") == 1
    assert "warned lintian" in text
    assert "hhvm: <b>no-manual-page</b>" in text
    assert "<b>no" not in body
