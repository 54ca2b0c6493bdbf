"""The images with build dependencies that builds on EC2 begin with.

An instance lives for one job, so it cannot keep an image, and what an instance uploads after a build may be
what the build did to it. So a job that runs no file of a ref makes the image, for the distributions of the
deployed packaging files, and builds have it as an input: see
docs/decisions/0049-build-dependencies-in-an-image.md. On a Docker engine the builds make it themselves.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from typing_extensions import override

from hhvm_packaging import distros
from hhvm_packaging.errors import PackagingError
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.planning.plans import DependenciesPlan
from hhvm_packaging.planning.step import DistroStep, expect_one_artifact
from hhvm_packaging.planning.task_ids import DependenciesTask
from hhvm_packaging.store import keys
from hhvm_packaging.workers.job import Artifact, Input, Job

if TYPE_CHECKING:
    from hhvm_packaging.attempt_id import AttemptId
    from hhvm_packaging.distros import Distro
    from hhvm_packaging.settings import Settings
    from hhvm_packaging.store.buckets import Store
    from hhvm_packaging.workers.job import Result

FILE = "dependencies.tar.gz"
"""What a job leaves the image as, and what a build finds it as."""

log = logging.getLogger(__name__)


class Image(BaseModel):
    """The newest image of one distribution's build dependencies."""

    model_config = ConfigDict(frozen=True)

    directory: str
    """The directory in scratch that holds it."""
    file: Artifact
    made: datetime.datetime

    def is_young(self, days: int, now: datetime.datetime) -> bool:
        """Whether it was made less than so many days ago."""
        return now - self.made < datetime.timedelta(days=days)


def is_on(settings: Settings) -> bool:
    """Whether builds begin with an image that S3 keeps."""
    return (
        settings.workers == "ec2"
        and settings.ec2.dependencies_images
        and settings.dependencies_image_days > 0
    )


def plan(store: Store, settings: Settings) -> DependenciesPlan:
    """Plan a run of hhvm_renew_dependencies: the distributions that are built if nobody says which."""
    root = settings.packaging_root
    found, faults = [], {}
    for name in distros.current_targets(root):
        try:
            distro = distros.load(root, name)
        except distros.InvalidDistro as error:
            faults[name] = str(error)
        else:
            if distro.dependencies_sha256:
                found += [distro.on(architecture) for architecture in settings.architectures]
    return DependenciesPlan(
        packaging=packaging_files.upload(store, root),
        packaging_revision=packaging_files.worktree(root).commit,
        distros=tuple(found),
        faults=faults,
    )


def choose(
    distro: Distro, store: Store, settings: Settings, now: datetime.datetime | None = None
) -> Input | None:
    """The image that a build begins with; None if there is none that is young enough. Logs which."""
    if not is_on(settings) or not distro.dependencies_sha256:
        return None
    image = _read(distro, store, settings)
    days = settings.dependencies_image_days
    if image is None or not image.is_young(days, now or datetime.datetime.now(datetime.UTC)):
        log.info(
            "%s: no image of the last %s days has these build dependencies: the build installs them. "
            "hhvm_renew_dependencies makes one for the distributions of the deployed packaging files",
            distro.name,
            days,
        )
        return None
    log.info(
        "%s: the image with the build dependencies of %s is used", distro.name, f"{image.made:%Y-%m-%d %H:%M}"
    )
    return Input(key=keys.output(image.directory, FILE), name=FILE, sha256=image.file.sha256)


class MakeDependenciesImage(DistroStep[DependenciesPlan]):
    """Make the image with the build dependencies of one distribution, before the last one is too old."""

    script = "make-dependencies-image"
    task_id = DependenciesTask.MAKE_IMAGE
    plan_type = DependenciesPlan

    @override
    def done(self) -> str | None:
        """Done if the last one is young enough for another day."""
        image = _read(self.distro, self.store, self.settings)
        days = self.settings.dependencies_image_days - 1
        if image is None or not image.is_young(days, datetime.datetime.now(datetime.UTC)):
            return None
        return f"{self.distro.name}: the image of {image.made:%Y-%m-%d %H:%M} UTC is young enough"

    @override
    def job(self, attempt: AttemptId) -> Job:
        """Install the build dependencies in a container of the distribution's own image, and save it."""
        return Job(
            version=self.plan.subject,
            script=self.script,
            distro=self.distro.name,
            architecture=self.distro.architecture,
            packaging=self.plan.packaging,
            environment={
                "DISTRO": self.distro.directory,
                "DEB_BUILD_PROFILES": " ".join(sorted(set(self.settings.build_profiles))),
            },
            outputs=keys.dependencies_files(self.distro.name, attempt),
            needs_engine=True,
            time_limit=self.settings.time_limits.make_dependencies_image,
        )

    @override
    def accept(self, job: Job, result: Result) -> str:
        """Record it. From then on builds begin with it. Raises JobFailed if the job left anything else."""
        file = expect_one_artifact(job, result, FILE)
        image = Image(directory=str(job.outputs), file=file, made=datetime.datetime.now(datetime.UTC))
        self.store.scratch.put_json(_key(self.distro, self.settings), image.model_dump(mode="json"))
        return f"{job.title}: {file.size:,} bytes, SHA-256 {file.sha256}"


def _key(distro: Distro, settings: Settings) -> str:
    """Where the image of these dependencies is recorded: by what it is made from."""
    parts = [distro.dependencies_sha256, distro.docker_base, *sorted(set(settings.build_profiles))]
    return keys.dependencies_image(distro.name, hashlib.sha256("\n".join(parts).encode()).hexdigest())


def _read(distro: Distro, store: Store, settings: Settings) -> Image | None:
    """The newest image. A damaged record counts as none: the next image replaces it."""
    try:
        return store.scratch.read_model(Image, _key(distro, settings))
    except PackagingError as error:
        log.warning("%s: %s", distro.name, error)
        return None
