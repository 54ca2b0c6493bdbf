"""The file that Airflow loads as a plugin. It registers what the stored DAGs name, and the console."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from hhvm_packaging import priorities as former_priorities
from hhvm_packaging.orchestration import preloading, priorities


class HhvmPackagingPlugin(AirflowPlugin):
    """The priority strategies, the listener and the console of this project."""

    name = "hhvm_packaging"
    # Lists, as the base class declares them.
    priority_weight_strategies = [priorities.ScheduledFirst, former_priorities.ScheduledFirst]  # ruff: ignore[mutable-class-default]
    listeners = [preloading]  # ruff: ignore[mutable-class-default]
    # Without a url_route it is a page of its own. In Airflow's frame its links to Airflow would not work.
    external_views = [  # ruff: ignore[mutable-class-default]
        {"name": "HHVM releases", "href": "hhvm/", "destination": "nav", "category": "browse"}
    ]

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # the base class has a list
        """The console. Every process of Airflow loads this file; only the API server asks for this."""
        from hhvm_packaging.console.app import PREFIX, make_app

        return [{"app": make_app(), "url_prefix": PREFIX, "name": "HHVM releases"}]
