"""What becomes of what the quality gates found in the packages of a build.

The job looks, and says all that it found: see jobs/notes.py. Here the settings decide what that means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhvm_packaging.settings import Gates
from hhvm_packaging.workers.job import Gate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hhvm_packaging.planning.manifests import PackageManifest
    from hhvm_packaging.workers.job import Facts


def variables(settings: Gates) -> dict[str, str]:
    """What the job is told: nothing, if all is as usual, so that a new revision goes on with old jobs."""
    off, percent = settings.off, settings.size_percent
    return {
        **({"GATES_OFF": " ".join(off)} if off else {}),
        **({"SIZE_PERCENT": str(percent)} if percent != Gates().size_percent else {}),
    }


def compare_base(facts: Facts, docker_base: str, before: PackageManifest | None) -> Gate:
    """The gate ``base-image``: whether ``docker_base`` is the image that the version ``before`` was built in.

    A tag such as debian:bookworm moves. That is how security updates come, and nobody should have to guess.
    """
    name = "base-image"
    image = facts.base_digest or facts.base_image
    if before is None or not before.facts.base_image:
        return Gate(name=name, verdict="skipped", words=("no earlier version says which image it had",))
    version, old = before.package_version, before.facts
    if facts.base_image == old.base_image or (facts.base_digest and facts.base_digest == old.base_digest):
        return Gate(
            name=name, verdict="passed", words=(f"{docker_base} is that of {version}: {image[:100]}",)
        )
    then = old.base_digest or old.base_image
    words = (
        f"{docker_base} is another image than for {version}: {image[:100]}, then {then[:100]}",
        "Packages may differ by it alone. If the tag was not to move, name its digest in DOCKER_BASE",
    )
    return Gate(name=name, verdict="failed", words=words)


def judge(found: Iterable[Gate], settings: Gates) -> tuple[Gate, ...]:
    """What was found, as the settings see it: with ``warn`` it does not fail."""
    verdicts = {"fail": "failed", "warn": "warned", "off": "skipped"}
    return tuple(
        gate.model_copy(update={"verdict": verdicts[settings.action(gate.name)]})
        if gate.verdict == "failed"
        else gate
        for gate in found
    )


def find_failure(gates: Iterable[Gate]) -> str:
    """Why the packages do not count as built, in one line; empty if they do."""
    failed = [gate for gate in gates if gate.verdict == "failed"]
    if not failed:
        return ""
    said = "; ".join(f"{gate.name}: {', '.join(gate.words)}" for gate in failed)
    names = " and ".join(f"gates.{gate.name.replace('-', '_')}" for gate in failed)
    return (
        f"a quality gate stops the packages: {said}. Repair that and clear this task; or set {names} to "
        "warn, and clear it, to have them all the same"
    )
