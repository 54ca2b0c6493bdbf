"""Announcing: what a publish tells other DAGs, by an event of an asset, and people, by the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from hhvm_packaging.orchestration import channels, connections, task_context
from hhvm_packaging.reporting import announcements, delivery
from hhvm_packaging.settings import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hhvm_packaging.planning.plans import PublishPlan

PACKAGES = Asset("hhvm-packages")
"""What users get. A DAG whose schedule it is runs after each publish and undo."""
PUBLISHED = AssetAlias("hhvm-published")
"""The outlet of the task that reports a publish. It has an event only if something was published."""


def announce(plan: PublishPlan, context: Mapping[str, Any]) -> None:
    """Tell that what the plan asks for is public. Of a release, people are told once; of nightlies, never."""
    if plan.dry_run:
        return
    extra = {
        "version": plan.version,
        "action": plan.action,
        "distros": [distro.name for distro in plan.distros],
    }
    context["outlet_events"][PUBLISHED].add(PACKAGES, extra=extra)
    news = announcements.take_news(plan, connections.store())
    if news and not plan.nightly and settings().notify:
        message = announcements.write_released(plan, news, task_context.read_run(context), settings())
        delivery.deliver(channels.send, settings().notify, message, connections.store)
