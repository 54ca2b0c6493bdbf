"""The trigger form: its fields, which the API and the command line check too.

A refused value shows the field's title, not its description, so the allowed form is in the title.
"""

from __future__ import annotations

from airflow.sdk import Param

from hhvm_packaging import distros
from hhvm_packaging.planning import request
from hhvm_packaging.release import ALLOWED_FORM, NIGHTLY, VERSION_PATTERN
from hhvm_packaging.settings import settings


def params() -> dict[str, Param]:
    """The fields of a DAG that works on one release."""
    return {"version": version(), "distros": distributions()}


def building() -> dict[str, Param]:
    """The fields of the DAG that builds."""
    return {
        **params(),
        "packaging_ref": Param(
            None,
            type=["null", "string"],
            pattern=request.GIT_REF_PATTERN,
            title=f"packaging_ref: {request.GIT_REF}",
            description="Which revision of this project `distros/` and `bin/` come from. Empty: a release's "
            "own branch `HHVM-x.y` where there is one, else the checkout as it is.",
        ),
        "force": Param(
            default=False,
            type="boolean",
            title="force: true or false",
            description="Build the packages again that are built already, unless they are published. "
            "A run does so once, however it is resumed. The source tarball stays.",
        ),
    }


def publishing() -> dict[str, Param]:
    """The fields of the DAG that publishes."""
    return {
        **params(),
        "action": Param(
            request.PUBLISH,
            enum=list(request.ACTIONS),
            title=f"action: {', '.join(request.ACTIONS)}",
            description="`undo` takes the version back, and nothing brings it back but `release again`.",
        ),
        "undo_to": Param(
            None,
            type=["null", "string"],
            pattern=request.UNDO_TO_PATTERN,
            title=f"undo_to: {request.UNDO_TO}",
            description="With `undo`: put the suites back to all that they were then, instead of taking "
            "away this version alone.",
        ),
        "dry_run": dry_run("Show in `publish_report` exactly what would change, and expose nothing."),
        "if_one_fails": if_one_fails(),
    }


def releasing() -> dict[str, Param]:
    """The fields of the DAG that builds and publishes one version."""
    return {**building(), "if_one_fails": if_one_fails(), **embargo()}


def releasing_several() -> dict[str, Param]:
    """The fields of the DAG that builds and publishes several versions."""
    fields = releasing()
    del fields["version"]
    return {
        "versions": versions(),
        **fields,
        "if_a_version_fails": Param(
            request.IF_A_VERSION_FAILS[0],
            enum=list(request.IF_A_VERSION_FAILS),
            title=f"if_a_version_fails: {', '.join(request.IF_A_VERSION_FAILS)}",
            description="What becomes of the other versions if one is not built.",
        ),
    }


def embargo() -> dict[str, Param]:
    """What stops a release after it is built and before anything of it is public."""
    return {
        "hold_until": Param(
            None,
            type=["null", "string"],
            format="date-time",
            pattern=request.HOLD_UNTIL_PATTERN,
            title=f"hold_until: {request.HOLD_UNTIL}",
            description="Nothing is public before that time.",
        ),
        "require_approval": Param(
            default=False,
            type="boolean",
            title="require_approval: true or false",
            description="Nothing is public before somebody approves it here, by name.",
        ),
    }


def pruning() -> dict[str, Param]:
    """The fields of the DAG that deletes."""
    return {"dry_run": dry_run("Say in the logs what would be deleted, and delete nothing.")}


def dry_run(description: str) -> Param:
    """Whether only to say what the run would do."""
    return Param(default=False, type="boolean", title="dry_run: true or false", description=description)


def if_one_fails() -> Param:
    """What becomes of the other distributions."""
    return Param(
        request.AS_USUAL,
        enum=list(request.IF_ONE_FAILS),
        title=f"if_one_fails: {', '.join(request.IF_ONE_FAILS)}",
        description="What becomes of the other distributions. As usual: those of a nightly are "
        "published, those of a release are held.",
    )


def versions() -> Param:
    """Which releases, in the order in which they are published."""
    title = f"versions: at least one, each once, each {ALLOWED_FORM}"
    return Param(
        type="array",
        items={"type": "string", "pattern": VERSION_PATTERN, "title": title},
        minItems=1,
        uniqueItems=True,
        title=title,
        description="They are built at the same time, and published one after another in this order.",
    )


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
        description="The distributions to work on. All of them, the default, are all that the packaging "
        "revision has.",
    )
