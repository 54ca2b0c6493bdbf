"""The registry of the steps that run on workers, by script."""

from __future__ import annotations

from typing import Any

from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.planning.step import Step
from hhvm_packaging.publishing.steps import LookAsUser, PublishReleaseSource, VerifyCandidate, VerifyPublished

STEPS: dict[str, type[Step[Any]]] = {
    step.script: step
    for step in (
        MakeSourceTarball,
        MakeBinaryPackage,
        VerifyCandidate,
        PublishReleaseSource,
        VerifyPublished,
        LookAsUser,
    )
}
