"""The registry of the steps that run on workers, by script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hhvm_packaging.building.dependencies_images import MakeDependenciesImage
from hhvm_packaging.building.steps import MakeBinaryPackage, MakeSourceTarball
from hhvm_packaging.publishing.steps import LookAsUser, PublishReleaseSource, VerifyCandidate, VerifyPublished

if TYPE_CHECKING:
    from hhvm_packaging.planning.step import Step

STEPS: dict[str, type[Step[Any]]] = {
    step.script: step
    for step in (
        MakeSourceTarball,
        MakeBinaryPackage,
        MakeDependenciesImage,
        VerifyCandidate,
        PublishReleaseSource,
        VerifyPublished,
        LookAsUser,
    )
}
