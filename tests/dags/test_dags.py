"""The DAGs as Airflow loads them: complete, named, explained, and strict about what they are given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError

from hhvm_packaging import distros
from tests.unit.test_release import NOT_VERSIONS

ROOT = Path(__file__).resolve().parents[2]
DAG_IDS = {"hhvm_build", "hhvm_build_and_publish", "hhvm_publish_release"}


@pytest.fixture(scope="module")
def dags() -> dict[str, DAG]:
    """Every DAG of the repository."""
    bag = DagBag(ROOT / "dags", bundle_path=ROOT / "dags", bundle_name="dags-folder")
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


def test_publishing_runs_one_at_a_time(dags: dict[str, DAG]) -> None:
    publish = dags["hhvm_publish_release"]
    assert publish.max_active_runs == 1
    assert publish.get_task("update_repositories").pool == "publish"


def test_wrappers_hold_no_slot_of_the_pool_that_their_children_need(dags: dict[str, DAG]) -> None:
    assert {task.pool for task in dags["hhvm_build_and_publish"].tasks} == {"default_pool"}


def test_mapped_tasks_are_shown_by_distribution(dags: dict[str, DAG]) -> None:
    mapped = [task for dag in dags.values() for task in dag.tasks if task.is_mapped]
    assert {task.task_id for task in mapped} == {"make_binary_package", "verify_published"}
    assert all("distro" in str(task.map_index_template) for task in mapped)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
@pytest.mark.parametrize("version", [*NOT_VERSIONS, None, 4.26, ["1.0.0"]])
def test_the_form_refuses_what_is_not_a_version(dags: dict[str, DAG], dag_id: str, version: Any) -> None:
    with pytest.raises(ParamValidationError):
        dags[dag_id].params.get_param("version").resolve(version)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
@pytest.mark.parametrize(
    "asked", [[], None, ["debian-99-nothing"], ["../distros"], "debian-12-bookworm", [""]]
)
def test_the_form_refuses_what_is_no_list_of_distributions(
    dags: dict[str, DAG], dag_id: str, asked: Any
) -> None:
    with pytest.raises(ParamValidationError):
        dags[dag_id].params.get_param("distros").resolve(asked)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_a_refused_field_is_named_with_its_allowed_form_by_its_title(
    dags: dict[str, DAG], dag_id: str
) -> None:
    for name in dags[dag_id].params:
        assert dags[dag_id].params.get_param(name).schema["title"].startswith(f"{name}: ")


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_the_form_takes_releases_nightlies_and_every_distribution(dags: dict[str, DAG], dag_id: str) -> None:
    params = dags[dag_id].params
    for version in ("nightly", "1.0.0", "2026.11.22"):
        assert params.get_param("version").resolve(version) == version
    assert params.get_param("distros").resolve() == distros.names(ROOT)


def test_a_faulty_distribution_breaks_the_import_of_no_dag(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "distros", tmp_path / "distros", symlinks=True)
    (tmp_path / "distros/debian-13-trixie/DOCKER_BASE").unlink()
    (tmp_path / "distros/no distribution at all").mkdir()
    script = f"""
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(ROOT / "dags")!r}, bundle_path={str(ROOT / "dags")!r}, bundle_name="dags-folder")
print(len(bag.dags), bag.import_errors)
"""
    environment = os.environ | {
        "HHVM_PACKAGING_PACKAGING_ROOT": str(tmp_path),
        "PYTHONPATH": str(ROOT / "plugins"),
    }
    bagged = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert bagged.splitlines()[-1] == f"{len(DAG_IDS)} {{}}"


def test_airflow_takes_no_file_under_plugins_for_a_plugin() -> None:
    """Airflow would run each by its bare name: store.py as ``store``, for everybody to import."""
    script = """
import sys
from airflow import plugins_manager
plugins_manager._get_plugins()
files = {name: str(getattr(module, "__file__", "")) for name, module in sys.modules.items()}
print(*(name for name, file in files.items() if "hhvm_packaging" in file))
"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    modules = loaded.splitlines()[-1].split()
    assert [name for name in modules if not name.startswith("hhvm_packaging")] == []
