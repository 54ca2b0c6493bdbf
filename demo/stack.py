"""The demo's services and their data: one directory, one supervisor, every process marked."""

from __future__ import annotations

import configparser
import json
import os
import re
import secrets
import shlex
import socket
import sys
import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Fault, ServerProxy

import httpx
import psutil
from supervisor.xmlrpc import SupervisorTransport

from demo import jobs_network, signing_key
from demo.commands import CommandFailed, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REPOSITORY = Path(__file__).resolve().parents[1]
DEFAULT_VAR = REPOSITORY / "var"
USER = "release-manager"
SCRATCH, DOWNLOADS = "hhvm-scratch", "hhvm-downloads"
MINIATURE = "pkg.hhvm.miniature"
"""The build profile for what demo/make-git-repositories makes: it cuts HHVM's build dependencies."""
PUBLIC_KEY = "conf/hhvm.gpg.key"

SUPERVISOR = "supervisord"
STORAGE = ("s3", "downloads")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")

MARK = "HHVM_DEMO_SERVICE"
"""An environment variable of every process of a service and of its children. It survives any kill."""

TARGETS = ("debian-12-bookworm", "debian-13-trixie")
"""What the demo builds: the distributions whose base images can be made from Debian's archive."""

_TROUBLE = re.compile(r"[%:?#\"'\n]")
"""supervisor, Docker's volumes and SQLite's address each give some of these a meaning."""
_GROUP = "demo"
_LONGEST_SOCKET = 95  # The kernel's limit is 107, and supervisor adds a number while it binds.


class StackFailed(Exception):
    """A service did not start. The message says which, and where its log is."""


@dataclass(frozen=True)
class Ports:
    """The ports of the services. As a preference, 0 means any free port."""

    ui: int = 8080
    downloads: int = 8081
    s3: int = 8082


@dataclass(frozen=True)
class Secrets:
    """Secrets, made once per data directory. None is ever on a command line."""

    fernet_key: str = field(default_factory=lambda: secrets.token_urlsafe(32) + "=")
    jwt_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    api_secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_hex(20))


class Stack:
    """The services over one data directory. Several stacks may run side by side on one machine.

    ``services`` are the ones to run: STORAGE is S3 and the public file server, AIRFLOW the rest.
    """

    def __init__(
        self,
        var: Path = DEFAULT_VAR,
        *,
        services: Iterable[str] = (*STORAGE, *AIRFLOW),
        preferred_ports: Ports = Ports(),
        dags_folder: Path = REPOSITORY / "dags",
    ) -> None:
        self.var = var.resolve()
        self.services = tuple(services)
        self.preferred_ports = preferred_ports
        self.dags_folder = dags_folder
        if found := _TROUBLE.search(f"{self.var}{REPOSITORY}"):
            raise StackFailed(f"{self.var}, {REPOSITORY}: neither path may contain {found[0]!r}")
        if len(str(self._socket)) > _LONGEST_SOCKET:
            raise StackFailed(
                f"{self.var}: this path is too long for a Unix socket; choose another HHVM_DEMO_VAR"
            )

    # What it is made of

    @cached_property
    def ports(self) -> Ports:
        """The stored ports. Free ones are chosen at the first start, and if another program has taken one."""
        file = self.var / "demo.json"
        kept = Ports(**json.loads(file.read_text())["ports"]) if file.exists() else self.preferred_ports
        if file.exists() and self.processes(SUPERVISOR, *STORAGE, *AIRFLOW):
            return kept
        taken: set[int] = set()
        chosen = Ports(**{name: _free_port(port, taken) for name, port in asdict(kept).items()})
        _write(file, json.dumps({"ports": asdict(chosen)}, indent=2) + "\n")
        return chosen

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets of this data directory. They are made if they are missing."""
        file = self.var / "secrets.json"
        if not file.exists():
            _write(file, json.dumps(asdict(Secrets()), indent=2) + "\n", mode=0o600)
        return Secrets(**json.loads(file.read_text()))

    @property
    def ui_url(self) -> str:
        """Airflow's pages and API."""
        return f"http://127.0.0.1:{self.ports.ui}"

    @property
    def public_url(self) -> str:
        """The public bucket, as users see it."""
        return f"http://{self._downloads_address}:{self.ports.downloads}"

    @property
    def s3_url(self) -> str:
        """S3's endpoint."""
        return f"http://127.0.0.1:{self.ports.s3}"

    @property
    def work_directory(self) -> Path:
        """The directory of the workers' job directories. The workers' containers have it as a label."""
        return self.var / "work"

    @property
    def log_directory(self) -> Path:
        """One log for each service."""
        return self.var / "log"

    def packaging_environment(self) -> dict[str, str]:
        """The deployment's settings as environment variables. settings.json in ``var`` adds to them."""
        git = self.var / "git"
        values = {
            "PUBLIC_URL": self.public_url,
            "PUBLIC_REPOSITORY": str(git / "hhvm.git"),
            "STAGING_REPOSITORY": str(git / "hhvm-staging.git"),
            # No process has the key in its environment; only a task that signs opens the file.
            "SIGNING_KEY_FILE": str(self._private_key),
            "DOCKER_WORK_DIRECTORY": str(self.work_directory),
            "DOCKER_VOLUMES": json.dumps([f"{git}:{git}"]),
            "POLL_INTERVAL": "2",
            "BUILD_PROFILES": json.dumps([MINIATURE]),
            # By itself the demo does what it is told to; trigger these to see them.
            "NIGHTLY_SCHEDULE": "",
            "CURRENT_TARGETS": json.dumps(TARGETS),
            "CANARY_SCHEDULE": "",
            "CANARY_PATIENCE": "2",
            **self._own_settings(),
        }
        return {f"HHVM_PACKAGING_{name}": value for name, value in values.items()}

    def _own_settings(self) -> dict[str, str]:
        """The settings in settings.json of this data directory, as JSON by name."""
        file = self.var / "settings.json"
        own: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return {
            name.upper(): value if isinstance(value, str) else json.dumps(value)
            for name, value in own.items()
        }

    def airflow_environment(self, service: str = "") -> dict[str, str]:
        """Airflow's configuration, connections and secrets."""
        home = self.var / "airflow"
        # SQLite has one writer at a time; how long others wait for it, in seconds. In the API server the one
        # that waits, with an entry for the audit log, may keep the one that it waits for from going on.
        patience = 3 if service == "api-server" else 60
        own = {}
        if service == "api-server":
            # It looks up each login in its event loop. If a pool has no connection left then, nothing ends
            # that would give one back. Its threads are the limit.
            own["DATABASE__SQL_ALCHEMY_MAX_OVERFLOW"] = "-1"
        config = {
            "CORE__EXECUTOR": "LocalExecutor",
            # Each running task is a process; deferred ones, which are most of a build, are not.
            "CORE__PARALLELISM": "8",
            "CORE__DAGS_FOLDER": str(self.dags_folder),
            "CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "5",
            # Seconds, on processors that builds keep busy. What is cut off is an import error, or a callback
            # that is lost.
            "CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "CORE__FERNET_KEY": self.secrets.fernet_key,
            "CORE__EXECUTION_API_SERVER_URL": f"{self.ui_url}/execution/",
            # The default asks the resolver, which may take seconds where there is none.
            "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout={patience}",
            "API__HOST": "127.0.0.1",
            "API__PORT": str(self.ports.ui),
            "API__BASE_URL": self.ui_url,
            "API__INSTANCE_NAME": "HHVM packaging",
            "API__SECRET_KEY": self.secrets.api_secret_key,
            "API_AUTH__JWT_SECRET": self.secrets.jwt_secret,
            "LOGGING__COLORED_CONSOLE_LOG": "False",
            # Files are listed often, but only those that changed are executed again soon. For the rest see
            # deploy/compose/airflow.cfg.
            "DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # A process that was killed is noticed, and what it did taken over, in less than a minute.
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "45",
            "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
            "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "SCHEDULER__TASK_QUEUED_TIMEOUT": "120",
            "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "15",
            "TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
            # It is also how late the end of a task's process may be noticed. With the default of 5 s a
            # task that had deferred was queued again before that, and so was taken for killed.
            "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            # A task outlives an API server that is killed and comes back, on two busy cores.
            "WORKERS__MAX_FAILED_HEARTBEATS": "30",
            **own,
        }
        connections = {
            "HHVM_AWS": {
                "conn_type": "aws",
                "login": self.secrets.s3_access_key,
                "password": self.secrets.s3_secret_key,
                "extra": {
                    "region_name": "us-west-2",
                    "endpoint_url": self.s3_url,
                    "config_kwargs": {
                        "s3": {"addressing_style": "path"},
                        "request_checksum_calculation": "when_required",
                        "response_checksum_validation": "when_required",
                    },
                },
            },
            "HHVM_AIRFLOW_API": {
                "conn_type": "generic",
                "host": self.ui_url,
                "login": USER,
                "password": self.secrets.password,
            },
        }
        return {
            "AIRFLOW_HOME": str(home),
            **{f"AIRFLOW__{name}": value for name, value in config.items()},
            **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
            **self.packaging_environment(),
            **self._set_otherwise(),
        }

    def _set_otherwise(self) -> dict[str, str]:
        """The variables in environment.json of this data directory. They override the demo's own."""
        file = self.var / "environment.json"
        found: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return found

    @property
    def person_command(self) -> tuple[str, ...]:
        """What comes before the words of a person's own command."""
        return ()

    def person_environment(self) -> dict[str, str]:
        """The whole environment of a person's own command. Raises ``StackFailed`` before the first set-up."""
        if not self._private_key.exists():
            raise StackFailed(f"there is no demo in {self.var} yet. Run make demo first")
        return {**self.environment(), "HHVM_DEMO_VAR": str(self.var)}

    def environment(self, service: str = "") -> dict[str, str]:
        """The whole environment of a service. Without a name: of Airflow's command line."""
        own = {
            # With it, kernel and psutil see the environment of processes that changed their title.
            "SPT_NOENV": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "NO_PROXY": ",".join(
                filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost", self._downloads_address))
            ),
        }
        if service:
            own[MARK] = self.mark(service)
        if service == "s3":
            own["RCLONE_AUTH_KEY"] = f'"{self.secrets.s3_access_key},{self.secrets.s3_secret_key}"'
            own["RCLONE_CONFIG"] = os.devnull
        elif service != "downloads":
            own |= self.airflow_environment(service)
        return {**_inherited(), **own}

    def command(self, service: str) -> list[str]:
        """The command that a service runs."""
        s3, programs = self.var / "s3", Path(sys.executable).parent
        if service == "s3":
            return [
                *(str(programs / "rclone"), "serve", "s3", str(s3)),
                *("--addr", f"127.0.0.1:{self.ports.s3}"),
            ]
        if service == "downloads":
            address = (self._downloads_address, str(self.ports.downloads))
            return [sys.executable, "-m", "deploy.downloads", *address, str(s3 / DOWNLOADS)]
        # Logs are files on this machine; their servers would listen on every address.
        skip = ["--skip-serve-logs"] if service in {"scheduler", "triggerer"} else []
        return [str(programs / "airflow"), service, *skip]

    # Starting

    def prepare(self) -> None:
        """Make all files that the services need, except Airflow's database."""
        for directory in ("log", "run", "work", "airflow", f"s3/{SCRATCH}", f"s3/{DOWNLOADS}"):
            (self.var / directory).mkdir(parents=True, exist_ok=True)
        if not self._private_key.exists():
            private, public = signing_key.make("HHVM demo signing key")
            # The private one last: it says that both are there.
            _write(self._public_key, public)
            _write(self._private_key, private, mode=0o600)
        published = self.var / "s3" / DOWNLOADS / PUBLIC_KEY
        if not published.exists():
            _write(published, self._public_key.read_text())
        _write(self.var / "airflow" / "passwords.json", json.dumps({USER: self.secrets.password}), mode=0o600)

    def migrate(self) -> None:
        """Make Airflow's database, or migrate it to this version of Airflow."""
        done, wanted = self.var / "airflow" / "migrated", version("apache-airflow-core")
        if done.exists() and done.read_text() == wanted:
            return
        run([str(Path(sys.executable).parent / "airflow"), "db", "migrate"], env=self.environment())
        _write(done, wanted)

    def up(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start the services that do not run, and return when all of them answer."""
        self.prepare()
        if set(self.services) & set(AIRFLOW):
            self.migrate()
            self._open_to_jobs()
        self.supervise()
        self.wait(say)

    def _open_to_jobs(self) -> None:
        """Have the public bucket served where jobs see it, and nothing else: on their network's gateway."""
        if "downloads" not in self.services:
            return
        address = jobs_network.gateway()
        if address != self._downloads_address:
            if self.supervised():
                self.down()
            _write(self._gateway, address)

    def supervised(self) -> bool:
        """Whether the supervisor answers."""
        with suppress(OSError, Fault), self._supervisor() as supervisor:
            return bool(supervisor.supervisor.getState())
        return False

    def supervise(self) -> None:
        """Start the supervisor if it does not run, and the services that it gave up."""
        if self.supervised():
            with self._supervisor() as supervisor:
                states: Any = supervisor.supervisor.getAllProcessInfo()
                for process in states:
                    if process["statename"] in {"FATAL", "EXITED", "STOPPED"}:
                        supervisor.supervisor.startProcess(f"{_GROUP}:{process['name']}", False)
            return
        # A supervisor that was killed leaves its services, which would hold our ports.
        kill(self.processes(SUPERVISOR, *STORAGE, *AIRFLOW))
        self.write_supervisor_configuration()
        try:
            run(
                [str(Path(sys.executable).parent / "supervisord"), "-c", str(self._configuration)],
                env={**self.environment("downloads"), MARK: self.mark(SUPERVISOR)},
                cwd=REPOSITORY,
            )
        except CommandFailed as error:
            raise StackFailed(f"supervisord does not start: {error}") from error

    def wait(self, say: Callable[[str], None] = lambda _: None, limit: float = 600) -> None:
        """Return when every service answers. Raises StackFailed if one does not within ``limit`` seconds."""
        deadline, missing = time.monotonic() + limit, set(self.services)
        with httpx.Client(base_url=self.ui_url, timeout=5) as airflow:
            while missing:
                for service in sorted(missing & self._answering(airflow)):
                    missing.discard(service)
                    say(f"{service} answers")
                if missing and time.monotonic() > deadline:
                    logs = ", ".join(str(self.log_directory / f"{name}.log") for name in sorted(missing))
                    raise StackFailed(
                        f"no answer within {limit:.0f} s from {', '.join(sorted(missing))}; see {logs}"
                    )
                time.sleep(0.2)

    # Stopping and looking

    def restart(self, service: str) -> None:
        """Stop a service, which has a few seconds to end, and start it again."""
        with self._supervisor() as supervisor:
            supervisor.supervisor.stopProcess(f"{_GROUP}:{service}")
            supervisor.supervisor.startProcess(f"{_GROUP}:{service}", False)

    def down(self) -> None:
        """Stop every service, and end processes that a service left."""
        supervisors = self.processes(SUPERVISOR)
        for process in supervisors:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        wait_until_gone(supervisors, limit=20)
        kill(self.processes())
        for name in ("supervisor.sock", "supervisord.pid"):
            (self.var / "run" / name).unlink(missing_ok=True)

    def mark(self, service: str) -> str:
        """The value of MARK in the environment of a service's processes."""
        return f"{self.var}:{service}"

    def processes(self, *services: str) -> list[psutil.Process]:
        """The processes of these services. Without a name: all processes with our mark, also the driver's."""
        own = os.getpid()
        found = []
        for process in psutil.process_iter(["environ"]):
            directory, _, name = (process.info["environ"] or {}).get(MARK, "").rpartition(":")
            if directory == str(self.var) and (not services or name in services) and process.pid != own:
                found.append(process)
        return found

    def states(self) -> dict[str, str]:
        """The state of each service, as the supervisor sees it."""
        if not self.supervised():
            return {}
        with self._supervisor() as supervisor:
            processes: Any = supervisor.supervisor.getAllProcessInfo()
        return {
            process["name"]: f"{process['statename'].lower()}, {process['description']}"
            for process in processes
        }

    # Details

    @property
    def _private_key(self) -> Path:
        return self.var / "signing-key.asc"

    @property
    def _public_key(self) -> Path:
        return self.var / "hhvm.gpg.key"

    @property
    def _gateway(self) -> Path:
        return self.var / "run" / "gateway"

    @property
    def _downloads_address(self) -> str:
        """Where the public bucket is served: before there are jobs, to this machine alone."""
        return self._gateway.read_text() if self._gateway.exists() else "127.0.0.1"

    @property
    def _socket(self) -> Path:
        return self.var / "run" / "supervisor.sock"

    @property
    def _configuration(self) -> Path:
        return self.var / "run" / "supervisord.conf"

    def _supervisor(self) -> ServerProxy:
        # supervisor's own way to say XML-RPC over a Unix socket; the address is not used.
        return ServerProxy("http://127.0.0.1", SupervisorTransport(serverurl=f"unix://{self._socket}"))

    def write_supervisor_configuration(self) -> None:
        """The supervisor's configuration: one program for each service."""
        config = configparser.RawConfigParser()
        config["unix_http_server"] = {"file": str(self._socket), "chmod": "0700"}
        config["rpcinterface:supervisor"] = {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        }
        config["supervisord"] = {
            "logfile": str(self.log_directory / "supervisord.log"),
            "pidfile": str(self.var / "run" / "supervisord.pid"),
            "childlogdir": str(self.log_directory),
            "umask": "022",
        }
        # supervisor stops one group after the other, a second or more each, but a group's programs at once.
        config[f"group:{_GROUP}"] = {"programs": ",".join(self.services)}
        arguments = [str(self.var), str(self.dags_folder)]
        for service in self.services:
            config[f"program:{service}"] = {
                "command": shlex.join([sys.executable, "-m", "demo.service", service, *arguments]),
                "directory": str(REPOSITORY),
                "autorestart": "true",
                "startsecs": "2",
                "startretries": "20",
                # An API server would wait two minutes for the browsers that look at it.
                "stopwaitsecs": "5",
                "stopasgroup": "true",
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": str(self.log_directory / f"{service}.log"),
                "stdout_logfile_maxbytes": "20MB",
                "stdout_logfile_backups": "1",
            }
        with self._configuration.open("w") as file:
            config.write(file)

    def _answering(self, airflow: httpx.Client) -> set[str]:
        answering = set()
        downloads = (self._downloads_address, self.ports.downloads)
        for service, address in (("s3", ("127.0.0.1", self.ports.s3)), ("downloads", downloads)):
            with suppress(OSError), closing(socket.create_connection(address, timeout=1)):
                answering.add(service)
        with suppress(httpx.HTTPError, ValueError):
            health = airflow.get("/api/v2/monitor/health").json()
            answering.add("api-server")
            for service in ("scheduler", "dag-processor", "triggerer"):
                if health[service.replace("-", "_")]["status"] == "healthy":
                    answering.add(service)
        return answering


def kill(processes: Iterable[psutil.Process]) -> None:
    """End processes at once, and return when they are gone."""
    processes = list(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until_gone(processes, limit=10)


def wait_until_gone(processes: Iterable[psutil.Process], limit: float) -> None:
    """Return when all of them have ended, or after ``limit`` seconds."""
    left, deadline = list(processes), time.monotonic() + limit
    while left and time.monotonic() < deadline:
        left = [process for process in left if _lives(process)]
        time.sleep(0.05)


def _lives(process: psutil.Process) -> bool:
    """Whether the process still runs. A zombie does not; without an init process it stays for good."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _inherited() -> dict[str, str]:
    """Our own environment without variables that would change a service's configuration."""
    foreign = ("AIRFLOW", "AWS_", "HHVM_", "PYTHON", "MAKE", "RCLONE_", "GNUPGHOME", "GIT_DIR")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def _free_port(preferred: int, taken: set[int]) -> int:
    for port in (preferred, 0):
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            if found not in taken:
                taken.add(found)
                return found
    raise StackFailed("no free port on 127.0.0.1")


def _write(file: Path, content: str, mode: int = 0o644) -> None:
    """Write a file atomically and with its final mode: a kill leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    draft.replace(file)
