"""The demo's parts that need no service: ports, secrets, environments, commands, the lock."""

from __future__ import annotations

import configparser
import multiprocessing
import os
import signal
import socket
import stat
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from supervisor.options import ServerOptions

from demo import lock
from demo.commands import CommandFailed, run
from demo.driver import Demo
from demo.progress import Progress
from demo.stack import AIRFLOW, MARK, REPOSITORY, STORAGE, Ports, Stack, StackFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = Ports(0, 0, 0)
SERVICES = (*STORAGE, *AIRFLOW)


@pytest.fixture
def near() -> Iterator[Path]:
    """A directory whose path leaves room for a Unix socket's, however deep pytest's own lie."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture
def stack(near: Path) -> Stack:
    stack = Stack(near / "var", preferred_ports=ANY)
    stack.prepare()
    return stack


class TestPorts:
    def test_are_kept_once_chosen(self, stack: Stack) -> None:
        assert Stack(stack.var).ports == stack.ports

    def test_avoid_what_others_listen_on(self, near: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            taken = other.getsockname()[1]
            assert Stack(near / "var", preferred_ports=Ports(taken, 0, 0)).ports.ui != taken

    def test_are_chosen_anew_where_a_stranger_took_one(self, stack: Stack) -> None:
        with socket.create_server(("127.0.0.1", stack.ports.s3)):
            assert Stack(stack.var).ports.s3 != stack.ports.s3
            assert Stack(stack.var).ports.ui == stack.ports.ui

    def test_differ_from_each_other(self, near: Path) -> None:
        ports = Stack(near / "var", preferred_ports=Ports(8099, 8099, 8099)).ports
        assert len(set(asdict(ports).values())) == 3


class TestSecrets:
    def test_are_made_once(self, stack: Stack) -> None:
        private = (stack.var / "signing-key.asc").read_text()
        again = Stack(stack.var)
        again.prepare()
        assert again.secrets == stack.secrets
        assert (stack.var / "signing-key.asc").read_text() == private

    def test_differ_between_demos(self, stack: Stack, near: Path) -> None:
        other = asdict(Stack(near / "other").secrets)
        assert not set(other.values()) & set(asdict(stack.secrets).values())

    @pytest.mark.parametrize("name", ["secrets.json", "signing-key.asc", "airflow/passwords.json"])
    def test_are_for_the_owner_alone(self, stack: Stack, name: str) -> None:
        assert stat.S_IMODE((stack.var / name).stat().st_mode) == 0o600

    def test_the_public_key_is_for_everyone(self, stack: Stack) -> None:
        published = stack.var / "s3" / "hhvm-downloads" / "conf" / "hhvm.gpg.key"
        assert stat.S_IMODE(published.stat().st_mode) == 0o644
        assert published.read_text().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")

    @pytest.mark.parametrize("service", SERVICES)
    def test_are_on_no_command_line(self, stack: Stack, service: str) -> None:
        command = " ".join(stack.command(service))
        assert not [secret for secret in asdict(stack.secrets).values() if secret in command]

    def test_the_public_file_server_has_none(self, stack: Stack) -> None:
        environment = "\n".join(stack.environment("downloads").values())
        assert not [secret for secret in asdict(stack.secrets).values() if secret in environment]


class TestEnvironment:
    @pytest.mark.parametrize("service", SERVICES)
    def test_names_the_stack_and_the_service(self, stack: Stack, service: str) -> None:
        assert stack.environment(service)[MARK] == f"{stack.var}:{service}"

    def test_of_a_persons_own_command_is_not_marked(self, stack: Stack) -> None:
        assert MARK not in stack.environment()

    @pytest.mark.parametrize(
        "name",
        ["AIRFLOW__CORE__EXECUTOR", "AWS_PROFILE", "HHVM_PACKAGING_WORKERS", "PYTHONDONTWRITEBYTECODE"],
    )
    def test_is_not_changed_by_the_users_own(
        self, stack: Stack, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        before = stack.environment("scheduler").get(name)
        monkeypatch.setenv(name, "foreign")
        assert stack.environment("scheduler").get(name) == before

    def test_a_callback_that_waits_for_the_next_parse_of_its_file_comes_within_a_minute(
        self, stack: Stack
    ) -> None:
        interval = stack.airflow_environment()["AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"]
        assert int(interval) <= 60
        compose = configparser.RawConfigParser()
        compose.read(REPOSITORY / "deploy/compose/airflow.cfg")
        assert compose.getint("dag_processor", "min_file_process_interval") <= 60

    def test_has_no_path_or_port_of_another_demo(self, stack: Stack, near: Path) -> None:
        other = Stack(near / "other", preferred_ports=ANY)
        other.prepare()
        values = "\n".join([*other.airflow_environment().values(), *other.command("s3")])
        assert str(stack.var) not in values
        assert not [port for port in asdict(stack.ports).values() if f":{port}" in values]

    def test_has_the_api_server_give_up_on_sqlite_before_anybody_gives_up_on_it(self, stack: Stack) -> None:
        database = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
        patience = {
            service: int(stack.environment(service)[database].partition("?timeout=")[2])
            for service in AIRFLOW
        }
        assert patience.pop("api-server") < min(5, *patience.values())


class TestSupervisor:
    def test_accepts_the_configuration(self, stack: Stack) -> None:
        stack.write_supervisor_configuration()
        options = ServerOptions()
        options.realize(["-c", str(stack.var / "run" / "supervisord.conf")])
        (group,) = options.process_group_configs
        assert {program.name for program in group.process_configs} == set(SERVICES)
        assert all(program.autorestart and program.killasgroup for program in group.process_configs)

    @pytest.mark.parametrize("character", ["%", ":", "?", "\n"])
    def test_a_path_that_some_part_would_misread_is_refused(self, tmp_path: Path, character: str) -> None:
        with pytest.raises(StackFailed, match="may contain"):
            Stack(tmp_path / f"100{character}")

    def test_a_path_too_long_for_its_socket_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StackFailed, match="too long"):
            Stack(tmp_path / ("x" * 100))


class TestCommands:
    def test_lines_are_told_as_they_come(self) -> None:
        lines: list[str] = []
        run(["printf", "one\ntwo\n"], say=lines.append)
        assert lines == ["one", "two"]

    def test_a_failure_has_the_last_lines(self) -> None:
        with pytest.raises(CommandFailed, match="status 3\nthe reason"):
            run(["bash", "-c", "echo the reason >&2; exit 3"])


def _hold(file: Path, ready: multiprocessing.synchronize.Event) -> None:
    with lock.hold(file, lambda _: None):
        ready.set()
        signal.pause()


class TestLock:
    def test_names_its_holder_and_is_free_when_that_is_killed(self, tmp_path: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        holder = spawn.Process(target=_hold, args=(tmp_path / "lock", ready))
        holder.start()
        assert ready.wait(20)
        assert holder.pid is not None
        told: list[int] = []

        def busy(pid: int) -> None:
            told.append(pid)
            os.kill(pid, signal.SIGKILL)

        with lock.hold(tmp_path / "lock", busy):
            assert told == [holder.pid]
        holder.join()

    def test_leaves_nothing(self, tmp_path: Path) -> None:
        with lock.hold(tmp_path / "lock", lambda _: None):
            pass
        assert not list(tmp_path.iterdir())

    def test_tells_what_fails_under_it_as_it_is(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="gpg"), lock.hold(tmp_path / "lock", lambda _: None):
            raise FileNotFoundError("gpg")


class TestMake:
    """What a person types as VERSION is text, whatever it looks like."""

    @pytest.mark.parametrize(
        "version",
        ["$(shell touch pwned)", "$(id)", "`touch pwned`", "1.0.0;touch pwned", "1.0.0\n", "'", "", "4.26"],
    )
    def test_reaches_python_as_typed(self, version: str, tmp_path: Path) -> None:
        # Only the environment that make would give: the recipe is not run.
        makefile = f"include {REPOSITORY / 'Makefile'}\n.PHONY: show\nshow: ; @printenv -0 VERSION\n"
        shown = subprocess.run(
            ["make", "--silent", "-f", "-", "show", f"VERSION={version}"],
            input=makefile.encode(),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        ).stdout
        assert shown.decode().removesuffix("\0") == version
        assert not (tmp_path / "pwned").exists()


class TestForgetting:
    def test_spares_a_directory_that_is_no_demos(self, near: Path) -> None:
        precious = near / "home" / "thesis.txt"
        precious.parent.mkdir()
        precious.touch()
        demo = Demo(Stack(precious.parent, services=STORAGE), Progress())
        with pytest.raises(Exception, match="does not look like"):
            demo.clean()
        assert precious.exists()

    def test_that_is_killed_halfway_can_be_done_again(
        self, near: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = Stack(near / "var", services=STORAGE, preferred_ports=Ports(0, 0, 0))
        stack.prepare()
        assert stack.ports
        with monkeypatch.context() as killed:
            killed.setattr("shutil.rmtree", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                Demo(stack, Progress()).clean()
        Demo(stack, Progress()).clean()
        assert not stack.var.exists()


class TestAPersonsCommand:
    def run(self, var: Path, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [REPOSITORY / "demo/run", *command],
            env={**os.environ, "HHVM_DEMO_VAR": str(var)},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_that_runs_another_one_stays_on_its_demo(self, stack: Stack) -> None:
        done = self.run(stack.var, str(REPOSITORY / "demo/run"), "printenv", "HHVM_DEMO_VAR")
        assert done.stdout == f"{stack.var}\n", done.stderr

    def test_before_there_is_a_demo_says_what_to_do(self, near: Path) -> None:
        refused = self.run(near / "var", "true")
        assert refused.returncode == 1
        assert "Run make demo first" in refused.stdout + refused.stderr
