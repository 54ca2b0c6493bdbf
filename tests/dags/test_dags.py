"""The DAGs as Airflow loads them: complete, named, explained, and strict about what they are given."""

import copy
import datetime
import inspect
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pendulum
import pytest
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, AssetAlias, TriggerRule
from airflow.sdk.definitions.param import process_params
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction

from hhvm_packaging import cron, distros
from hhvm_packaging.orchestration import false_success, noting, queues, schedules, task_context
from hhvm_packaging.orchestration.child_runs import BuildOperator, ChildRunOperator, PublishOperator
from hhvm_packaging.orchestration.job_operator import RETRIES, JobOperator, RetryByFailure
from hhvm_packaging.orchestration.notifications import RunFailed
from hhvm_packaging.runs import run
from hhvm_packaging.settings import settings
from tests.unit.test_release import NOT_VERSIONS
from tests.unit.test_request import NOT_REFS, NOT_TIMES, TIMES

ROOT = Path(__file__).resolve().parents[2]
OF_A_RELEASE = {"hhvm_build", "hhvm_build_and_publish", "hhvm_publish_release"}
"""The DAGs that are told a version and distributions."""
OF_SEVERAL = "hhvm_build_and_publish_multi"
WRAPPERS = {"hhvm_build_and_publish", OF_SEVERAL}
WITHOUT_FORM = {
    "hhvm_canary",
    "hhvm_publish_keyring",
    "hhvm_reap_workers",
    "hhvm_renew_dependencies",
    "hhvm_update_indices",
}
"""The DAGs that are told nothing."""
DAG_IDS = OF_A_RELEASE | WRAPPERS | WITHOUT_FORM | {"hhvm_prune"}


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    """Every DAG of the repository."""
    with pytest.MonkeyPatch.context() as environment:
        return load_dags(environment)


def load_dags(environment: pytest.MonkeyPatch, **settings_: str) -> dict[str, DAG]:
    """Every DAG, as a deployment with these settings has it."""
    for name, value in settings_.items():
        environment.setenv(name, value)
    settings.cache_clear()
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags", bundle_name="dags-folder")
    settings.cache_clear()
    assert not bag.import_errors
    return bag.dags


def test_the_dags_are_exactly_these(dags: dict[str, DAG]) -> None:
    assert set(dags) == DAG_IDS


def test_each_file_is_named_for_its_one_dag(dags: dict[str, DAG]) -> None:
    assert {Path(dag.fileloc).stem: dag.dag_id for dag in dags.values()} == {name: name for name in DAG_IDS}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_the_dags_page_says_how_to_run_and_what_to_do_when_it_fails(
    dags: dict[str, DAG], dag_id: str
) -> None:
    assert "**To run**" in str(dags[dag_id].doc_md)
    assert "**When this fails**" in str(dags[dag_id].doc_md)


def test_every_dag_tells_people_of_a_failed_run_where_settings_say_whom(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, DAG]
) -> None:
    def tells(dag: DAG) -> bool:
        return any(isinstance(called, RunFailed) for called in dag.on_failure_callback or ())  # type: ignore[union-attr]

    assert not any(tells(dag) for dag in dags.values())
    told = load_dags(monkeypatch, HHVM_PACKAGING_NOTIFY='[{"kind": "slack"}]')
    assert {name for name, dag in told.items() if tells(dag)} == DAG_IDS


def test_a_run_is_noted_to_have_failed_whose_last_task_does_not_run_then(dags: dict[str, DAG]) -> None:
    noted = {name for name, dag in dags.items() if noting.note_failure in (dag.on_failure_callback or ())}  # type: ignore[operator]
    assert noted == WRAPPERS


def test_a_success_is_taken_back_where_a_last_task_decides(dags: dict[str, DAG]) -> None:
    for dag_id, task_id in false_success.LAST_TASKS.items():
        assert dags[dag_id].leaves == [dags[dag_id].get_task(task_id)]
        assert dags[dag_id].on_success_callback == [false_success.take_back]


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_airflow_lists_a_dag_by_words_and_its_id_with_what_it_does_in_one_line(
    dags: dict[str, DAG], dag_id: str
) -> None:
    """Messages name it by its id, so people must find that too."""
    dag = dags[dag_id]
    assert re.fullmatch(rf"[A-Z][a-z ]+ \({dag_id}\)", dag.dag_display_name)
    assert dag.description
    assert "\n" not in dag.description
    assert str(dag.doc_md).startswith(dag.description)
    assert dag.description.endswith(".")


def test_the_groups_of_tasks_have_names_and_say_what_they_are_for(dags: dict[str, DAG]) -> None:
    found = {
        dag_id: {
            group.group_display_name: set(group.children)
            for group in dag.task_group.get_task_group_dict().values()
            if group.group_id
        }
        for dag_id, dag in dags.items()
    }
    hold = {"is_held", "ready", "approve", "hold_until", "may_publish"}
    assert {dag_id: groups for dag_id, groups in found.items() if groups} == {
        "hhvm_build": {
            "Source": {"make_source_tarball", "sign_source_tarball"},
            "Packages": {"plan_packages", "make_binary_package"},
        },
        "hhvm_publish_release": {
            "Before it is public": {"candidate", "verify_candidate"},
            "Public": {"update_repositories", "publish_release_source", "update_indices", "verify_published"},
        },
        **{wrapper: {"Hold": hold} for wrapper in WRAPPERS},
    }
    groups = [group for dag in dags.values() for group in dag.task_group.get_task_group_dict().values()]
    assert all(group.tooltip for group in groups if group.group_id)


def test_what_channels_did_not_take_is_told_later_where_there_are_channels(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, DAG]
) -> None:
    assert not dags["hhvm_reap_workers"].has_task("deliver_late")
    told = load_dags(monkeypatch, HHVM_PACKAGING_NOTIFY='[{"kind": "slack"}]')
    assert told["hhvm_reap_workers"].get_task("deliver_late").upstream_task_ids == set()


def test_where_a_cdn_is_set_what_is_published_is_looked_at_once_that_has_forgotten_the_old(
    monkeypatch: pytest.MonkeyPatch, dags: dict[str, DAG]
) -> None:
    publish = dags["hhvm_publish_release"]
    assert not publish.has_task("invalidate_cdn")
    assert publish.get_task("verify_published").upstream_task_ids == {"plan", "update_repositories"}
    publish = load_dags(monkeypatch, HHVM_PACKAGING_CDN_DISTRIBUTION="E123")["hhvm_publish_release"]
    assert publish.get_task("invalidate_cdn").upstream_task_ids == {"plan", "update_repositories"}
    assert "invalidate_cdn" in publish.get_task("verify_published").upstream_task_ids


def test_a_publish_ends_in_an_event_that_other_dags_can_wait_for(dags: dict[str, DAG]) -> None:
    outlets = dags["hhvm_publish_release"].get_task("publish_report").outlets
    assert outlets == [AssetAlias("hhvm-published")]


def test_publishing_runs_one_at_a_time(dags: dict[str, DAG]) -> None:
    publish = dags["hhvm_publish_release"]
    assert publish.max_active_runs == 1
    assert publish.get_task("update_repositories").pool == "publish"


def test_pruning_runs_daily_and_changes_nothing_public_while_somebody_publishes(dags: dict[str, DAG]) -> None:
    prune = dags["hhvm_prune"]
    assert (prune.schedule, prune.catchup, prune.max_active_runs) == (schedules.cron("@daily"), False, 1)
    outside = {task.task_id for task in prune.tasks if task.pool != "publish"}
    assert outside == {"plan", "delete_scratch", "rebuild_status"}


def test_a_scheduled_pruning_is_no_dry_run(dags: dict[str, DAG]) -> None:
    assert dags["hhvm_prune"].params.get_param("dry_run").resolve() is False


def test_the_canary_runs_hourly_beside_everything_else(dags: dict[str, DAG]) -> None:
    canary = dags["hhvm_canary"]
    assert (canary.schedule, canary.catchup, canary.max_active_runs) == (schedules.cron("@hourly"), False, 1)
    assert {task.pool for task in canary.tasks} == {"default_pool", "workers"}


def test_a_page_of_what_changes_something_public_says_how_to_undo_it(dags: dict[str, DAG]) -> None:
    public = [dag for dag in dags.values() if any(task.pool == "publish" for task in dag.tasks)]
    assert len(public) == 4
    assert all("**To undo**" in str(dag.doc_md) for dag in public)


def test_the_children_of_every_wrapper_are_cancelled_with_it(dags: dict[str, DAG]) -> None:
    operators = {"BuildOperator": "hhvm_build", "PublishOperator": "hhvm_publish_release"}
    waiting = {
        (dag.dag_id, operators[task.task_type])
        for dag in dags.values()
        for task in dag.tasks
        if task.task_type in operators
    }
    assert waiting == {(wrapper, child) for wrapper in run.WRAPPERS for child in run.CHILDREN}


@pytest.mark.parametrize("child", [BuildOperator, PublishOperator])
def test_a_wrapper_knows_the_last_task_of_its_child(
    dags: dict[str, DAG], child: type[ChildRunOperator]
) -> None:
    trigger: Any = child(task_id="child", request={"version": "1.0.0"})
    assert [leaf.task_id for leaf in dags[trigger.trigger_dag_id].leaves] == [child.last_task]


@pytest.mark.parametrize("dag_id", sorted(WRAPPERS))
def test_wrappers_hold_no_slot_of_the_pools_that_their_children_need(
    dags: dict[str, DAG], dag_id: str
) -> None:
    assert {task.pool for task in dags[dag_id].tasks} == {"default_pool"}


def test_every_task_with_a_worker_takes_its_place_among_them_and_is_tried_as_its_failures_ask(
    dags: dict[str, DAG],
) -> None:
    tasks = [task for dag in dags.values() for task in dag.tasks if task.task_type == "JobOperator"]
    assert {task.task_id for task in tasks} == {
        "make_source_tarball",
        "make_binary_package",
        "make_dependencies_image",
        "verify_candidate",
        "publish_release_source",
        "verify_published",
        "look_as_user",
    }
    assert {task.pool for task in tasks} == {"workers"}
    assert {task.retries for task in tasks} == {RETRIES}
    assert all(isinstance(task.retry_policy, RetryByFailure) for task in tasks)


@pytest.mark.parametrize("dag_id", sorted(WRAPPERS))
def test_a_wrapper_in_which_anything_failed_is_red(dags: dict[str, DAG], dag_id: str) -> None:
    """A run is as its leaves are; this one is red if a task before it is, and else as the store says."""
    [leaf] = dags[dag_id].leaves
    assert leaf.task_id == "all_published"
    assert leaf.trigger_rule == TriggerRule.NONE_FAILED
    assert leaf.upstream_task_ids == {"plan", "build", "may_publish", "publish"}


@pytest.mark.parametrize("dag_id", sorted(WRAPPERS))
def test_nobody_approves_by_default_or_by_waiting(dags: dict[str, DAG], dag_id: str) -> None:
    mapped = dags[dag_id].get_task("approve")
    approve = mapped.unmap({"question": {"number": 1, "place": 1, "label": "1.0.0"}})
    assert isinstance(approve, ApprovalOperator)
    assert (approve.defaults, approve.response_timeout, approve.fail_on_reject) == (None, None, True)


def test_only_the_nightly_runs_by_itself_and_a_new_deployment_does_not_begin_with_it(
    dags: dict[str, DAG],
) -> None:
    nightly = dags["hhvm_build_and_publish"]
    assert nightly.schedule == schedules.cron("0 10 * * *")
    assert (nightly.catchup, nightly.start_date) == (False, None)
    assert nightly.params.get_param("version").resolve() == "nightly"
    assert {dags[dag_id].schedule for dag_id in (OF_SEVERAL, "hhvm_build", "hhvm_publish_release")} == {None}


@pytest.mark.parametrize("dag_id", ["hhvm_build_and_publish", "hhvm_canary", "hhvm_prune"])
def test_a_deployment_that_is_new_right_after_a_turn_waits_for_the_next(
    dags: dict[str, DAG], dag_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the scheduler computes it, which has its own class of each schedule."""
    schedule = DagSerialization.from_dict(DagSerialization.to_dict(dags[dag_id])).timetable
    start = dags[dag_id].start_date
    earliest = pendulum.instance(start) if start else None
    anytime = TimeRestriction(earliest, latest=None, catchup=False)
    for minute in range(0, 24 * 60, 30):
        now = pendulum.datetime(2026, 11, 25).add(minutes=minute, seconds=1)
        monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda now=now: now)
        first = schedule.next_dagrun_info(last_automated_data_interval=None, restriction=anytime)
        assert first is not None
        assert first.run_after > now


@pytest.mark.parametrize("dag_id", sorted({"hhvm_build", *WRAPPERS}))
def test_twenty_versions_and_some_that_are_held_leave_room_for_the_nightly(
    dags: dict[str, DAG], dag_id: str
) -> None:
    assert dags[dag_id].max_active_runs > 20 + 10


def test_a_free_slot_goes_to_a_publish_then_to_the_nightly_then_to_releases(dags: dict[str, DAG]) -> None:
    """As the scheduler sees it: it loads DAGs from what was serialised."""
    serialised = {
        name: DagSerialization.from_dict(DagSerialization.to_dict(dag)) for name, dag in dags.items()
    }

    def weight(dag: str, task: str, run: str) -> int | None:
        operator = serialised[dag].get_task(task)
        return TaskInstance(operator, run_id=run, dag_version_id=uuid4()).priority_weight

    assert [
        weight("hhvm_publish_release", "verify_candidate", "manual__2026__1.0.0"),
        weight("hhvm_build", "make_binary_package", "scheduled__2026__2026.11.24"),
        weight("hhvm_build_and_publish", "build", "scheduled__2026"),
        weight("hhvm_build", "make_binary_package", "manual__2026__1.0.0"),
        weight(OF_SEVERAL, "build", "x"),
    ] == [3, 2, 2, 1, 1]


@pytest.mark.parametrize("dag_id", sorted({"hhvm_build", "hhvm_publish_release", *WRAPPERS}))
def test_an_api_server_that_is_away_for_minutes_costs_no_release(dags: dict[str, DAG], dag_id: str) -> None:
    """Meanwhile each try of a task is lost within seconds."""
    for task in dags[dag_id].tasks:
        assert (task.retries or 0) * task.retry_delay >= datetime.timedelta(minutes=5), task.task_id


@pytest.mark.parametrize(
    ("task_id", "by"),
    [
        ("make_binary_package", "distro"),
        ("make_dependencies_image", "distro"),
        ("verify_candidate", "distro"),
        ("verify_published", "distro"),
        ("look_as_user", "distro"),
        ("build", "version"),
        ("publish", "version"),
        ("approve", "question"),
    ],
)
def test_mapped_tasks_are_shown_by_what_they_work_on(dags: dict[str, DAG], task_id: str, by: str) -> None:
    mapped = [task for dag in dags.values() for task in dag.tasks if task.is_mapped]
    assert len({task.task_id for task in mapped}) == 8
    assert {by in str(task.map_index_template) for task in mapped if task.task_id == task_id} == {True}


@pytest.mark.parametrize("dag_id", sorted(OF_A_RELEASE))
@pytest.mark.parametrize("version", [*NOT_VERSIONS, None, 4.26, ["1.0.0"]])
def test_the_form_refuses_what_is_not_a_version(dags: dict[str, DAG], dag_id: str, version: Any) -> None:
    with pytest.raises(ParamValidationError):
        dags[dag_id].params.get_param("version").resolve(version)


@pytest.mark.parametrize(
    "versions", [*([version] for version in NOT_VERSIONS), [], None, "1.0.0", ["1.0.0"] * 2]
)
def test_the_form_refuses_what_is_no_list_of_versions(dags: dict[str, DAG], versions: Any) -> None:
    with pytest.raises(ParamValidationError):
        dags[OF_SEVERAL].params.get_param("versions").resolve(versions)


def test_several_versions_are_never_asked_for_by_default(dags: dict[str, DAG]) -> None:
    with pytest.raises(ParamValidationError):
        dags[OF_SEVERAL].params.get_param("versions").resolve()
    assert dags[OF_SEVERAL].params.get_param("versions").resolve(["1.0.1", "1.0.0"]) == ["1.0.1", "1.0.0"]


@pytest.mark.parametrize("dag_id", sorted(OF_A_RELEASE | WRAPPERS))
@pytest.mark.parametrize(
    "asked", [[], None, ["../distros"], ["debian/12"], "debian-12-bookworm", [""], [12], ["debian-12\n"]]
)
def test_the_form_refuses_what_is_no_list_of_distributions(
    dags: dict[str, DAG], dag_id: str, asked: Any
) -> None:
    with pytest.raises(ParamValidationError):
        dags[dag_id].params.get_param("distros").resolve(asked)


@pytest.mark.parametrize("dag_id", sorted(OF_A_RELEASE | WRAPPERS))
def test_the_form_takes_a_distribution_that_is_newer_than_the_form(dags: dict[str, DAG], dag_id: str) -> None:
    """The API server's form may be of before somebody added it. Whether there is one, ``plan`` says."""
    # A copy: what a Param resolves to stays in it.
    param = copy.deepcopy(dags[dag_id].params.get_param("distros"))
    assert param.resolve(["debian-99-new"]) == ["debian-99-new"]
    assert "enum" not in param.schema["items"]


def test_a_refused_field_is_named_with_its_allowed_form_by_its_title(dags: dict[str, DAG]) -> None:
    forms = {dag_id: list(dag.params) for dag_id, dag in dags.items() if dag.params}
    assert set(forms) == DAG_IDS - WITHOUT_FORM
    for dag_id, fields in forms.items():
        for name in fields:
            assert dags[dag_id].params.get_param(name).schema["title"].startswith(f"{name}: ")


def context(
    dag: DAG,
    conf: dict[str, Any] | None,
    run_after: datetime.datetime,
    logical_date: datetime.datetime | None = None,
) -> dict[str, Any]:
    """What Airflow gives the task ``plan`` of a run: it takes parameters that no form has."""
    return {
        "dag": dag,
        "dag_run": SimpleNamespace(conf=conf, run_after=run_after, logical_date=logical_date),
        "params": process_params(dag, dag.get_task("plan"), conf, suppress_exception=False),
    }


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe"])
@pytest.mark.parametrize(
    "schedule", ["0 10 * * *", "30 2 * * *", "0 1 * * *", "0 17 * * 1-5", "45 */8 * * *"]
)
def test_the_nightlies_that_are_missed_are_those_that_airflow_would_have_run(
    dags: dict[str, DAG], zone: str, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both changes of summer time."""
    loaded = load_dags(
        monkeypatch, HHVM_PACKAGING_NIGHTLY_SCHEDULE=schedule, HHVM_PACKAGING_NIGHTLY_TIME_ZONE=zone
    )["hhvm_build_and_publish"]
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(loaded)).timetable
    begin, end = pendulum.datetime(2026, 2, 1), pendulum.datetime(2026, 12, 1)
    info = timetable.next_dagrun_info(
        last_automated_data_interval=DataInterval.exact(begin),
        restriction=TimeRestriction(begin, end, catchup=True),
    )
    ran: list[datetime.date] = []
    while info and info.run_after <= end:
        ran.append(info.run_after.in_timezone("UTC").date())
        info = timetable.next_dagrun_info(
            last_automated_data_interval=info.data_interval,
            restriction=TimeRestriction(begin, end, catchup=True),
        )
    wanted = sorted({day for day in ran if day > begin.date()})
    assert cron.days(schedule, zone, begin.date(), end) == wanted
    assert len(wanted) > 200


def test_the_word_nightly_means_the_logical_date_that_a_person_gave(dags: dict[str, DAG]) -> None:
    now = datetime.datetime.now(datetime.UTC)
    wrapper, week = dags["hhvm_build_and_publish"], datetime.timedelta(days=7)
    planned = task_context.read_request(context(wrapper, None, now, now - week))
    assert planned.version == f"{now - week:%Y.%m.%d}"
    with pytest.raises(AirflowFailException, match=r"logical date: .* is in the future"):
        task_context.read_request(context(wrapper, None, now, now + week))


def test_a_nightly_that_is_resumed_after_midnight_is_of_its_own_date(dags: dict[str, DAG]) -> None:
    """Its run has the date, in whichever zone; its child runs are told the version, on whichever day."""
    late = datetime.datetime.fromisoformat("2024-11-23T23:59:00Z")
    abroad = datetime.datetime.fromisoformat("2024-11-24T00:30:00+02:00")
    for run_after in (late, abroad):
        planned = task_context.read_request(context(dags["hhvm_build_and_publish"], None, run_after))
        assert planned.version == "2024.11.23"
    days_later = late + datetime.timedelta(days=3)
    for child, passed_on in (
        ("hhvm_build", BuildOperator.passed_on),
        ("hhvm_publish_release", PublishOperator.passed_on),
    ):
        conf = {name: planned.model_dump(mode="json")[name] for name in passed_on}
        assert task_context.read_request(context(dags[child], conf, days_later)).version == "2024.11.23"


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS - WITHOUT_FORM))
def test_a_misspelt_parameter_is_refused(dags: dict[str, DAG], dag_id: str) -> None:
    given = {"versions": ["1.0.0"]} if dag_id == OF_SEVERAL else {}
    misspelt = context(dags[dag_id], {**given, "dryrun": True}, datetime.datetime.now(datetime.UTC))
    checks = {OF_SEVERAL: task_context.read_requests, "hhvm_prune": task_context.read_dry_run}
    with pytest.raises(AirflowFailException, match="dryrun: no such parameter"):
        checks.get(dag_id, task_context.read_request)(misspelt)


@pytest.mark.parametrize("dag_id", sorted(OF_A_RELEASE))
def test_the_form_takes_releases_nightlies_and_every_distribution(dags: dict[str, DAG], dag_id: str) -> None:
    params = dags[dag_id].params
    for version in ("nightly", "1.0.0", "2026.11.22"):
        assert params.get_param("version").resolve(version) == version
    assert params.get_param("distros").resolve() == list(distros.current_targets(ROOT))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action", "revert"),
        ("action", None),
        ("undo_to", "yesterday"),
        ("undo_to", "20261122T000000Z\n"),
        ("reason", "no"),
        ("reason", "one line\nand another"),
        ("reason", "one line\n"),
        ("dry_run", "yes"),
        ("dry_run", None),
        ("if_one_fails", "panic"),
    ],
)
def test_the_form_refuses_a_way_to_publish_that_there_is_not(
    dags: dict[str, DAG], name: str, value: Any
) -> None:
    with pytest.raises(ParamValidationError):
        dags["hhvm_publish_release"].params.get_param(name).resolve(value)


@pytest.mark.parametrize("dag_id", sorted(WRAPPERS))
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("hold_until", time) for time in NOT_TIMES),
        ("require_approval", "yes"),
        ("require_approval", None),
        ("if_one_fails", "panic"),
        ("packaging_ref", "--upload-pack=id"),
        ("force", 1),
    ],
)
def test_the_form_refuses_a_way_to_release_that_there_is_not(
    dags: dict[str, DAG], dag_id: str, name: str, value: Any
) -> None:
    with pytest.raises(ParamValidationError):
        dags[dag_id].params.get_param(name).resolve(value)


@pytest.mark.parametrize("time", TIMES)
def test_the_form_takes_a_time_as_its_picker_gives_it(dags: dict[str, DAG], time: str | None) -> None:
    assert dags[OF_SEVERAL].params.get_param("hold_until").resolve(time) == time


@pytest.mark.parametrize(
    ("name", "value"), [*(("packaging_ref", ref) for ref in NOT_REFS), ("force", "yes"), ("force", None)]
)
def test_the_form_refuses_a_way_to_build_that_there_is_not(
    dags: dict[str, DAG], name: str, value: Any
) -> None:
    with pytest.raises(ParamValidationError):
        dags["hhvm_build"].params.get_param(name).resolve(value)


def test_a_faulty_distribution_breaks_the_import_of_no_dag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "distros", tmp_path / "distros", symlinks=True)
    (tmp_path / "distros/debian-13-trixie/PKGVER").unlink()
    (tmp_path / "distros/no distribution at all").mkdir()
    (tmp_path / "distros/no distribution at all/DOCKER_BASE").symlink_to("nowhere")
    loaded = load_dags(monkeypatch, HHVM_PACKAGING_PACKAGING_ROOT=str(tmp_path))
    assert set(loaded) == DAG_IDS
    assert "no distribution at all" in loaded["hhvm_build"].params.get_param("distros").resolve()


def test_airflow_takes_no_file_under_plugins_for_a_plugin() -> None:
    """Airflow would run each by its bare name: settings.py as ``settings``, for everybody to import."""
    plugins_manager.ensure_plugins_loaded()
    package = str(ROOT / "plugins/hhvm_packaging/")
    loaded = {
        name
        for name, module in list(sys.modules.items())
        if package in (getattr(module, "__file__", "") or "")
    }
    assert "hhvm_packaging.settings" in loaded
    assert {name for name in loaded if not name.startswith("hhvm_packaging")} == set()


def test_the_tasks_that_sign_have_a_queue_and_those_with_a_worker_another(dags: dict[str, DAG]) -> None:
    tasks: dict[str, set[str]] = {"default": set(), queues.SIGNING: set(), queues.WORKERS: set()}
    for dag in dags.values():
        for task in dag.tasks:
            tasks[str(task.queue)].add(f"{dag.dag_id} {task.task_id}")
    assert tasks[queues.SIGNING] == {
        "hhvm_build sign_source_tarball",
        "hhvm_prune remove_old_nightlies",
        "hhvm_publish_keyring publish_keyring",
        "hhvm_publish_release candidate",
        "hhvm_publish_release update_repositories",
    }
    jobs = {
        f"{dag.dag_id} {task.task_id}"
        for dag in dags.values()
        for task in dag.tasks
        if task.task_type == JobOperator.__name__
    }
    assert tasks[queues.WORKERS] == {*jobs, "hhvm_reap_workers reap"}


def test_only_tasks_of_the_signing_queue_open_the_signing_key(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        for task in dag.tasks:
            function = inspect.unwrap(getattr(task, "python_callable", lambda: None))
            opens = "signer" in function.__code__.co_names
            assert opens == (task.queue == queues.SIGNING), task.task_id
