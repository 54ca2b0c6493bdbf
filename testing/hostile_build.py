"""A build whose distribution is an attacker's: what its make-package tries, a Docker worker runs for real."""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from hhvm_packaging.attempt_id import AttemptId
from hhvm_packaging.orchestration import connections
from hhvm_packaging.planning import packaging_files
from hhvm_packaging.settings import Settings
from hhvm_packaging.store.buckets import Store
from hhvm_packaging.workers.docker import JOB_LABEL, WORK_LABEL, DockerWorker
from hhvm_packaging.workers.job import Input, Job

if TYPE_CHECKING:
    from typing import Any

    from mypy_boto3_s3 import S3Client

ROOT = Path(__file__).resolve().parents[1]
DISTRO = "debian-13-trixie"
ATTEMPT = AttemptId.new()


class HostileBuild:
    """The job make-binary-package, with a make-package of the test's own. ``remove`` it in the end."""

    def __init__(self, root: Path, s3: S3Client, **more: Any) -> None:
        self.name = f"hhvm-hostile-{uuid.uuid4().hex}"
        self.packaging = root / "packaging"
        own = {"packaging_root": self.packaging, "docker_work_directory": root / "work"}
        # Such a build depends on nothing.
        self.settings = Settings(**{"dependencies_image_days": 0, **own, **more})
        self.store = Store(s3, self.settings)
        self.worker = DockerWorker(connections.docker_worker().engine, self.settings)
        for part in ("bin", "jobs", "distros"):
            shutil.copytree(ROOT / part, self.packaging / part, symlinks=True)
        (self.packaging / "distros" / DISTRO / "make-package").unlink()

    @property
    def log(self) -> str:
        """What the build has printed until now."""
        return self.worker.log_file(self.name).read_text(errors="replace")

    @property
    def out(self) -> Path:
        """What the build sees as /var/out."""
        return self.worker.directory(self.name) / "out"

    def job(self, make_package: str) -> Job:
        """The job whose make-package is this script, in bash."""
        file = self.packaging / "distros" / DISTRO / "make-package"
        file.write_text(f"#!/bin/bash\n{make_package}\n")
        file.chmod(0o755)
        tarball = b"the source"
        self.store.scratch.put("hhvm-1.0.0.tar.gz", tarball, "application/gzip")
        sha256 = hashlib.sha256(tarball).hexdigest()
        return Job(
            version="1.0.0",
            script="make-binary-package",
            distro=DISTRO,
            packaging=packaging_files.upload(self.store, self.packaging),
            environment={"VERSION": "1.0.0", "DISTRO": DISTRO, "SOURCE_SHA256": sha256},
            inputs=(Input(key="hhvm-1.0.0.tar.gz", name="hhvm-1.0.0.tar.gz", sha256=sha256),),
            outputs=f"1.0.0/{DISTRO}/{ATTEMPT}/",
            needs_engine=True,
            time_limit=600,
        )

    def start(self, make_package: str) -> None:
        """Start the build."""
        self.worker.start(self.name, ATTEMPT, self.job(make_package), {}, self.store)

    def wait(self, limit: float = 120) -> str:
        """Wait until the build has ended. Returns its log."""
        deadline = time.monotonic() + limit
        while self.worker.state(self.name).phase != "ended":
            assert time.monotonic() < deadline, f"the build does not end: {self.log}"
            time.sleep(0.1)
        return self.log

    def run(self, make_package: str, limit: float = 120) -> str:
        """Run the build to its end. Returns its log."""
        self.start(make_package)
        return self.wait(limit)

    def containers(self) -> list[dict[str, Any]]:
        """All containers of the build, as the engine describes them."""
        engine = self.worker.engine
        label = f"{JOB_LABEL}={self.name}"
        found = engine.containers(filters={"label": label})
        return [engine.inspect_container(container["Id"]) for container in found]

    def remove(self) -> None:
        """Leave nothing of it."""
        self.worker.remove(self.name)
        own = f"{WORK_LABEL}={self.settings.docker_work_directory}"
        for container in self.worker.engine.containers(all=True, filters={"label": own}):
            self.worker.engine.remove_container(container["Id"], force=True)
