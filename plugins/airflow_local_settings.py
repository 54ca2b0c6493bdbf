"""Every process of Airflow imports this first. It does not start with settings of ours that cannot be used.

Airflow would go on without a plugin or a DAG that cannot be imported, and nobody would look. A deployment
that has an ``airflow_local_settings`` of its own calls ``hhvm_packaging.settings.settings()`` there.
"""

from __future__ import annotations

import sys

from hhvm_packaging.environment import InvalidSettings
from hhvm_packaging.settings import settings

__all__: list[str] = []

try:
    settings()
except InvalidSettings as error:
    sys.exit(f"HHVM packaging does not start. {error}")
