"""The fields of the trigger forms. The API and the command line check them too.

If a value is refused, Airflow shows the field's title but not its description. So titles say what is allowed.
"""

from __future__ import annotations

from airflow.sdk import Param

from hhvm_packaging import distros
from hhvm_packaging.planning import plans, request
from hhvm_packaging.release import ALLOWED_FORM, NIGHTLY, VERSION_PATTERN
from hhvm_packaging.settings import settings


def _release_fields() -> dict[str, Param]:
    """The fields of a DAG that works on one release."""
    return {"version": _version(), "distros": _distributions()}


def make_build_form() -> dict[str, Param]:
    """The fields of the DAG that builds."""
    return {
        **_release_fields(),
        "packaging_ref": _packaging_ref(
            "Empty: a release's own branch `HHVM-x.y` if there is one, else the checkout as it is."
        ),
        "force": Param(
            default=False,
            type="boolean",
            title="force: true or false",
            description="Build packages again although they are built, unless they are published. "
            "A run does so once, however it is resumed. The source tarball is not made again.",
        ),
    }


def make_publish_form() -> dict[str, Param]:
    """The fields of the DAG that publishes."""
    return {
        **_release_fields(),
        "action": Param(
            request.PUBLISH,
            enum=list(request.ACTIONS),
            title=f"action: {', '.join(request.ACTIONS)}",
            description="`undo` takes the version back. Only `release again` publishes it after that. "
            "`lift holds` publishes in spite of a time or a missing approval, and records that you did.",
        ),
        "undo_to": Param(
            None,
            type=["null", "string"],
            pattern=request.UNDO_TO_PATTERN,
            title=f"undo_to: {request.UNDO_TO}",
            description="With `undo`: put the suites back to what they were at that time, instead of taking "
            "back only this version.",
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            pattern=request.REASON_PATTERN,
            title=f"reason: {request.REASON}",
            description="With `lift holds` alone: it is recorded, and stays in the reports of the version.",
        ),
        "dry_run": _dry_run("Show in `publish_report` exactly what would change, and publish nothing."),
        "if_one_fails": _if_one_fails(),
        "packaging_ref": _packaging_ref("Empty: that from which the version was built last."),
    }


def make_wrapper_form() -> dict[str, Param]:
    """The fields of the DAG that builds and publishes one version."""
    return {**make_build_form(), "if_one_fails": _if_one_fails(), **_embargo()}


def make_multi_form() -> dict[str, Param]:
    """The fields of the DAG that builds and publishes several versions."""
    fields = make_wrapper_form()
    del fields["version"]
    return {
        "versions": _versions(),
        **fields,
        "if_a_version_fails": Param(
            request.IF_A_VERSION_FAILS[0],
            enum=list(request.IF_A_VERSION_FAILS),
            title=f"if_a_version_fails: {', '.join(request.IF_A_VERSION_FAILS)}",
            description="What happens to the other versions if one is not built.",
        ),
    }


def _embargo() -> dict[str, Param]:
    """The fields that hold a release after it is built and before anything of it is public."""
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


def make_prune_form() -> dict[str, Param]:
    """The fields of the DAG that deletes."""
    return {"dry_run": _dry_run("Say in the logs what would be deleted, and delete nothing.")}


def _dry_run(description: str) -> Param:
    """Whether the run only says what it would do."""
    return Param(default=False, type="boolean", title="dry_run: true or false", description=description)


def _packaging_ref(empty: str) -> Param:
    """The revision of the packaging files. ``empty`` says what an empty field means."""
    return Param(
        None,
        type=["null", "string"],
        pattern=request.GIT_REF_PATTERN,
        title=f"packaging_ref: {request.GIT_REF}",
        description=f"Which revision of this project `distros/` and `bin/` come from. {empty}",
    )


def _if_one_fails() -> Param:
    """What happens to the other distributions if one fails."""
    return Param(
        request.AS_USUAL,
        enum=list(request.IF_ONE_FAILS),
        title=f"if_one_fails: {', '.join(request.IF_ONE_FAILS)}",
        description="What happens to the other distributions. As usual: those of a nightly are "
        "published, those of a release are held.",
    )


def _versions() -> Param:
    """The versions, in the order in which they are published."""
    title = f"versions: at least one, each once, each {ALLOWED_FORM}"
    return Param(
        type="array",
        items={"type": "string", "pattern": VERSION_PATTERN, "title": title},
        minItems=1,
        uniqueItems=True,
        title=title,
        description="They are built at the same time and published one after another, in this order.",
    )


def _version() -> Param:
    """The version."""
    return Param(
        NIGHTLY,
        type="string",
        pattern=VERSION_PATTERN,
        title=f"version: {ALLOWED_FORM}",
        description="The word `nightly` means the nightly of the run's logical date in UTC; without one, of "
        "today. A logical date of the future is refused.",
    )


def _distributions() -> Param:
    """The distributions. The default is those that are meant if nobody says which.

    Which there are is for the task ``plan`` to say: the API server, which checks forms, knows them only when
    the DAG is parsed again, but a child run may be triggered before that.
    """
    known = distros.names(settings().packaging_root)
    proposed = plans.propose_distros(settings())
    title = "distros: at least one directory name under distros/"
    return Param(
        proposed,
        type="array",
        items={"type": "string", "pattern": request.DISTRO_PATTERN, "title": title},
        examples=known,
        minItems=1,
        uniqueItems=True,
        title=title,
        description="The distributions to work on. The default means the current targets of the packaging "
        "revision, which may have other ones.",
    )
