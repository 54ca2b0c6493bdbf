"""Make images with the build dependencies of each distribution, for builds on EC2.

**To run**: it runs by itself, daily, where the setting `ec2.dependencies_images` is on; or trigger it. It
makes an image for each distribution that is built if nobody says which, a day before the last one is
`dependencies_image_days` old. Elsewhere it does nothing: a Docker engine keeps images by itself.

**What is done stays done**: an image that is young enough is not made again.

**When this fails**: the log of the red `make_dependencies_image` has apt's message. Fix that and clear it, or
wait for the next run. Builds go on all the same: they install their dependencies themselves.

**To undo**: switch the setting off. `hhvm_prune` deletes the images.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowSkipException

from hhvm_packaging.building import dependencies_images
from hhvm_packaging.building.dependencies_images import MakeDependenciesImage
from hhvm_packaging.orchestration import connections, dag_defaults, schedules, task_context
from hhvm_packaging.orchestration.step_tasks import run_step_for_each
from hhvm_packaging.orchestration.task_context import PlanJson, fail_without_retry, parse_plan
from hhvm_packaging.planning.plans import DependenciesPlan
from hhvm_packaging.planning.task_ids import DependenciesTask
from hhvm_packaging.settings import settings


@task(task_id=DependenciesTask.PLAN, multiple_outputs=False)
@fail_without_retry()
def plan() -> PlanJson:
    """Find the distributions, with the deployed packaging files."""
    if not dependencies_images.is_on(settings()):
        raise AirflowSkipException(
            "Builds here need no image from S3: see the setting ec2.dependencies_images"
        )
    planned = dependencies_images.plan(connections.store(), settings())
    task_context.log_warnings(f"{name}: {why}" for name, why in planned.faults.items())
    return task_context.dump_plan(planned)


@task(task_id=DependenciesTask.BUILT_DISTROS)
def built_distros(plan: PlanJson) -> list[str]:
    """The names of the distributions to make images for."""
    return [distro.name for distro in parse_plan(DependenciesPlan, plan).distros]


@dag(
    schedule=schedules.cron("@daily" if dependencies_images.is_on(settings()) else ""),
    max_active_runs=1,
    **dag_defaults.scheduled(
        "hhvm_renew_dependencies", __doc__, dag_defaults.UPKEEP_TASKS, dag_defaults.BUILD
    ),
)
def hhvm_renew_dependencies() -> None:
    planned: Any = plan()
    distros = built_distros(planned)
    planned >> distros >> run_step_for_each(MakeDependenciesImage, planned, distros)


hhvm_renew_dependencies()
