"""The trigger form: its fields, which the API and the command line check too.

A refused value shows the field's title, not its description, so the allowed form is in the title.
"""

from __future__ import annotations

from airflow.sdk import Param

from hhvm_packaging import distros
from hhvm_packaging.release import ALLOWED_FORM, NIGHTLY, VERSION_PATTERN
from hhvm_packaging.settings import settings


def params() -> dict[str, Param]:
    """The fields of every DAG that works on one release."""
    return {"version": version(), "distros": distributions()}


def version() -> Param:
    """Which release."""
    return Param(
        NIGHTLY,
        type="string",
        pattern=VERSION_PATTERN,
        title=f"version: {ALLOWED_FORM}",
        description="The word `nightly` is the nightly of the run's own date, UTC.",
    )


def distributions() -> Param:
    """Which distributions; all of them unless somebody says otherwise."""
    known = distros.names(settings().packaging_root)
    title = "distros: at least one directory name under distros/"
    return Param(
        known,
        type="array",
        items={"type": "string", "enum": known, "title": title},
        examples=known,
        minItems=1,
        uniqueItems=True,
        title=title,
        description="The distributions to work on.",
    )
