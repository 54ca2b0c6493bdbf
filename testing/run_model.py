"""A model of what runs mean: people act on a live Airflow in any order, and what it says must be true.

The model reads the public bucket as apt does, the store's manifests, the engine's containers, and what the
builds say of themselves. It does not ask the code that it judges.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import random
import re
import subprocess
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
from debian.deb822 import Packages, Release
from debian.debfile import DebFile

from demo.stack import DOWNLOADS, SCRATCH
from hhvm_packaging.runs.api import ApiError
from testing.newcomer import BUILD, PUBLISH, WRAPPER
from testing.sequences import Sequence
from testing.short_builds import MULTI
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from hhvm_packaging.runs.api import Task
    from testing.sequences import Moment
    from testing.short_builds import Deployment

REAPER = "hhvm_reap_workers"
DAGS = (WRAPPER, MULTI, BUILD, PUBLISH)
LAST = {WRAPPER: "all_published", MULTI: "all_published", BUILD: "build_report", PUBLISH: "publish_report"}
"""The tasks that say for their run that it is done."""
ENDS = ("success", "failed")
MOMENT = 30.0
"""The most seconds that a person waits for the moment of a step."""
_POLL = 2.0
"""Seconds between two looks at what there is."""
TAKEN_BACK = 150.0
"""The most seconds until a run is red that Airflow calls successful while it is marked failed."""
PATIENCE = float(DEADLINE)
"""The most seconds until all runs of a sequence have ended once nobody does anything but answer."""
_REASON = re.compile(r"^(?:\w+\.)*(?P<type>\w*(?:Exception|Error|TryAgain)): .+", re.MULTILINE)
_BUGS = ("KeyError", "TypeError", "AttributeError", "ValidationError", "IndexError", "AssertionError")
"""Errors that say something to nobody but the authors."""
_ADVICE = re.compile(r"clear|trigger|run hhvm_|bump|approve|mend|fix|tag|log\.txt|wait", re.IGNORECASE)


class Violation(AssertionError):
    """Something is not as it must be. The message says what."""


@dataclass(frozen=True, order=True)
class RunId:
    """A run of a DAG."""

    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Its path in Airflow's API."""
        return f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}"


@dataclass(frozen=True, order=True)
class Question:
    """A task that waits for a person's answer."""

    run: RunId
    task_id: str
    map_index: int


@dataclass(frozen=True, order=True)
class Offer:
    """A package that apt offers: hhvm of one version, in one suite."""

    codename: str
    version: str
    """HHVM's, without the package revision."""
    revision: str
    edition: str


@dataclass
class Terms:
    """What holds one version, and what was allowed in spite of it."""

    free: bool = False
    """Somebody asked for it without terms before there were any."""
    in_force: bool = False
    approval: bool = False
    until: float = 0.0
    approved: set[tuple[str, str]] = field(default_factory=set)
    """Codenames and editions that a person approved."""

    def allow(self, offer: Offer) -> bool:
        """Whether the package may be public."""
        if self.free:
            return True
        approved = not self.approval or (offer.codename, offer.edition) in self.approved
        return self.in_force and approved and time.time() >= self.until


@dataclass
class Outcome:
    """What came of a sequence."""

    sequence: Sequence
    journal: list[str]
    violation: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"seed {self.sequence.seed}, {self.seconds:.0f} s", *self.journal]
        return "\n".join([*lines, self.violation or "as it must be"])


class Model:
    """One release of one person, on a deployment that others use too. Its distributions are its own."""

    def __init__(self, deployment: Deployment, sequence: Sequence, distros: list[str]) -> None:
        self.deployment = deployment
        self.sequence = sequence
        self.distros = distros[: sequence.opening.distros]
        self.versions = [f"9.{sequence.seed}.{n}" for n in range(2 if sequence.opening.several else 1)]
        self.wrapper = MULTI if sequence.opening.several else WRAPPER
        self.prefix = f"model-{sequence.seed}-"
        self.journal: list[str] = []
        self.terms = {version: Terms() for version in self.versions}
        self.settled_by_hand: set[RunId] = set()
        """Runs that a person said are done: marked successful, they or their last task."""
        self.marked: set[RunId] = set()
        """Runs that a person marked, or a task of which."""
        self._cut_off: dict[RunId, float] = {}
        """When a run was first seen that is green although its last task was skipped."""
        self.said_done = False
        """Whether a person marked anything successful."""
        self.ended_by_hand = False
        """Whether a person marked anything that may have ended builds."""
        self._main = RunId(self.wrapper, "")
        """The last run of the wrapper that was triggered with all terms."""
        self._triggered = 0
        self._public = httpx.Client(base_url=deployment.stack.public_url, timeout=60)
        self._chance = random.Random(sequence.seed)  # ruff: ignore[suspicious-non-cryptographic-random-usage]
        self._began = time.monotonic()

    # The sequence

    def play(self) -> None:
        """Do all of it. Raises Violation."""
        self._open()
        for step in self.sequence.steps:
            self._await(step.moment)
            self._note(f"{step.moment}: {step.action}")
            action = getattr(self, f"_{step.action.replace(' ', '_')}")
            try:
                done = action(step.pick) or "does not apply"
            except ApiError as refused:
                if refused.status is None or refused.status >= httpx.codes.INTERNAL_SERVER_ERROR:
                    raise
                done = str(refused)
            self._note(f"    {done}")
            self.check()
        self._settle()
        self._get_it_out()
        self._check_what_is_left()

    def give_up(self) -> None:
        """End what goes on, so that other sequences are not disturbed."""
        self._let_builds_end()
        with suppress(ApiError, httpx.HTTPError):
            for run, state in self._states().items():
                if state not in ENDS:
                    self.deployment.api.fail_run(run.dag_id, run.run_id)

    def _open(self) -> None:
        opening = self.sequence.opening
        self._note(str(opening))
        self.deployment.tag(*self.versions)
        for name in self.distros:
            self._write(name, "FAILS", "")
        if opening.broken == "outside":
            for version in self.versions:
                self.deployment.control.failing.add((version, self._codename(self.distros[0])))
        elif opening.broken:
            self._write(self.distros[0], "FAILS", "".join(f"{version}\n" for version in self.versions))
            self._edit(self.distros[0])
        if opening.goes_on:
            self.deployment.keep_building(*self.versions)
        until = time.time() + opening.hold if opening.hold else 0.0
        for terms in self.terms.values():
            terms.approval, terms.until = opening.approval, until
        self._trigger_wrapper(with_terms=True)

    def _settle(self) -> None:
        """Let builds end and answer what is asked, until all runs have ended."""
        self._note("settling")
        self._let_builds_end()
        deadline = time.monotonic() + PATIENCE
        while unfinished := [run for run, state in self.check().items() if state not in ENDS]:
            for question in self._asking():
                self._answer(question, "Approve" if self._chance.random() < 0.7 else "Reject")
            if time.monotonic() > deadline:
                raise Violation(f"it has not ended: {self._describe(unfinished)}")
            time.sleep(_POLL)
        self._until(lambda: not self._are_taken_back(), 2 * TAKEN_BACK, "a run marked failed is red")
        self._check_reasons()

    def _get_it_out(self) -> None:
        """Follow the documents until the release is public, once what was broken is mended."""
        run = self._main
        self._mend_all()
        if self._states()[run] == "success" and run not in self.settled_by_hand and not self._to_publish():
            return
        way = self.sequence.way
        # What is green, by itself or by hand, is not failed.
        if way == "clear the failed tasks of a run" and (self.said_done or self._states()[run] != "failed"):
            way = "clear all of a run"
        self._note(f"to get it out: {way}")
        if way == "trigger the versions again":
            run = self._trigger_wrapper(with_terms=True)
        else:
            self._clear(run, only_failed=way == "clear the failed tasks of a run")
        state = self._end_approving(run)
        if state == "failed" and self._says_to_publish_again(run):
            self._note("    and as it says: clear `publish` and what follows")
            self.deployment.api.clear_tasks(run.dag_id, run.run_id, "publish", downstream=True)
            state = self._end_approving(run)
        if state != "success":
            raise Violation(
                f"all is mended, and after {way!r} {run.run_id} is {state}: {self._describe([run])}"
            )
        if missing := self._to_publish():
            raise Violation(f"{run.run_id} is {state}, and not public are {missing}")

    def _end_approving(self, run: RunId) -> str:
        """Approve what is asked until the run has ended. Returns its state."""
        deadline = time.monotonic() + PATIENCE
        while (state := self.check()[run]) not in ENDS:
            for question in self._asking():
                self._answer(question, "Approve")
            if time.monotonic() > deadline:
                raise Violation(f"{run.run_id} has not ended: {self._describe([run])}")
            time.sleep(_POLL)
        return state

    def _says_to_publish_again(self, run: RunId) -> bool:
        """Whether only the last task is red, because what is built now is not what was published."""
        failed = [task for task in self._tasks([run]) if task.state == "failed"]
        return [task.task_id for task in failed] == [LAST[run.dag_id]] and (
            "clear `publish` and what follows" in self.deployment.log(failed[0])
        )

    # What people do. Each returns what was done, None if it does not apply now.

    def _clear_the_failed_tasks_of_a_run(self, pick: float) -> str | None:
        failed = [run for run, state in self._states().items() if state == "failed"]
        return self._clear(run, only_failed=True) if (run := _pick(failed, pick)) else None

    def _clear_all_of_a_run(self, pick: float) -> str | None:
        return self._clear(run, only_failed=False) if (run := _pick(self._runs(), pick)) else None

    def _clear(self, run: RunId, *, only_failed: bool) -> str:
        self.deployment.api.clear_run(run.dag_id, run.run_id, only_failed=only_failed)
        if not only_failed:
            self.settled_by_hand.discard(run)
        return f"{run.dag_id} {run.run_id}"

    def _clear_a_task(self, pick: float, *, downstream: bool = False) -> str | None:
        if not (task := _pick(self._tasks(self._runs()), pick)):
            return None
        index = () if task.map_index < 0 else (task.map_index,)
        which: Any = (task.task_id, *index) if index else task.task_id
        self.deployment.api.clear_tasks(task.dag_id, task.run_id, which, downstream=downstream)
        if task.task_id == LAST[task.dag_id] or downstream:
            self.settled_by_hand.discard(RunId(task.dag_id, task.run_id))
        return _say(task)

    def _clear_a_task_and_what_follows(self, pick: float) -> str | None:
        return self._clear_a_task(pick, downstream=True)

    def _mark_a_run_failed(self, pick: float) -> str | None:
        return self._mark_run(pick, "failed")

    def _mark_a_run_successful(self, pick: float) -> str | None:
        return self._mark_run(pick, "success")

    def _mark_run(self, pick: float, state: str) -> str | None:
        if not (run := _pick(self._runs(), pick)):
            return None
        self._remember_mark(run, state)
        if state == "success":
            self.settled_by_hand.add(run)
        self.deployment.api.call("PATCH", run.path, {"state": state})
        return f"{run.dag_id} {run.run_id}"

    def _mark_a_task_failed(self, pick: float) -> str | None:
        return self._mark_task(pick, "failed")

    def _mark_a_task_successful(self, pick: float) -> str | None:
        return self._mark_task(pick, "success")

    def _mark_task(self, pick: float, state: str) -> str | None:
        if not (task := _pick([task for task in self._tasks(self._runs()) if task.state != state], pick)):
            return None
        run = RunId(task.dag_id, task.run_id)
        self._remember_mark(run, state)
        if state == "success" and task.task_id == LAST[task.dag_id]:
            self.settled_by_hand.add(run)
        mapped = f"/{task.map_index}" if task.map_index >= 0 else ""
        path = f"{run.path}/taskInstances/{task.task_id}{mapped}"
        answer = self.deployment.api.request("PATCH", path, {"new_state": state})
        return f"{_say(task)}: {answer.status_code}"

    def _remember_mark(self, run: RunId, state: str) -> None:
        self.marked.add(run)
        self.ended_by_hand = True
        self.said_done |= state == "success"

    def _approve(self, _: float) -> str | None:
        return self._answer_first("Approve")

    def _reject(self, _: float) -> str | None:
        return self._answer_first("Reject")

    def _answer_first(self, option: str) -> str | None:
        asking = self._asking()
        return self._answer(asking[0], option) if asking else None

    def _answer(self, question: Question, option: str) -> str:
        editions = {version: self._built(version) for version in self.versions}
        body = {"chosen_options": [option], "params_input": {}}
        run = question.run
        path = f"{run.path}/taskInstances/{question.task_id}/{question.map_index}/hitlDetails"
        answer = self.deployment.api.request("PATCH", path, body)
        if answer.is_success and option == "Approve":
            for version, found in editions.items():
                self.terms[version].approved |= found
        said = f"{option}: {run.run_id}: {answer.status_code}; built were {editions}"
        self._note(f"    {said}")
        return said

    def _trigger_the_build(self, pick: float) -> str | None:
        version = _pick(self.versions, pick)
        return self._trigger(BUILD, version=version, distros=self.distros)

    def _trigger_the_publish(self, pick: float) -> str | None:
        version = str(_pick(self.versions, pick))
        self._free([version])
        return self._trigger(PUBLISH, version=version, distros=self.distros)

    def _trigger_the_versions_again(self, _: float) -> str:
        return self._trigger_wrapper(with_terms=True).run_id

    def _trigger_the_versions_again_without_terms(self, _: float) -> str:
        return self._trigger_wrapper(with_terms=False).run_id

    def _reap(self, _: float) -> str:
        run_id = f"{self.prefix}reap-{time.time_ns()}"
        self.deployment.api.trigger(REAPER, run_id, {})
        self._until(lambda: self.deployment.api.state(REAPER, run_id) in ENDS, PATIENCE, "the reaper ends")
        if (state := self.deployment.api.state(REAPER, run_id)) != "success":
            raise Violation(f"{REAPER} {run_id} is {state}")
        return run_id

    def _mend_the_build(self, _: float) -> str | None:
        return self._mend_all()

    def _edit_the_packaging_files(self, pick: float) -> str | None:
        return self._edit(str(_pick(self.distros, pick)))

    def _restart_the_scheduler(self, _: float) -> str:
        self.deployment.restart("scheduler")
        return "restarted"

    # What that consists of

    def _trigger_wrapper(self, *, with_terms: bool) -> RunId:
        opening, asked = self.sequence.opening, {"distros": self.distros}
        terms: dict[str, Any] = {}
        if with_terms and opening.approval:
            terms["require_approval"] = True
        if with_terms and opening.hold:
            until = datetime.datetime.fromtimestamp(self.terms[self.versions[0]].until, datetime.UTC)
            terms["hold_until"] = f"{until:%Y-%m-%dT%H:%M:%SZ}"
        if not terms:
            self._free(self.versions)
        if opening.publish_the_others:
            terms["if_one_fails"] = "publish the others"
        what = {"versions": self.versions} if opening.several else {"version": self.versions[0]}
        run_id = self._trigger(self.wrapper, **what, **asked, **terms)
        if with_terms:
            self._main = RunId(self.wrapper, run_id)
        if with_terms and (opening.approval or opening.hold):
            # From here on nobody can mean to publish it without them.
            planned = (self.wrapper, run_id, "plan")
            self._until(
                lambda: self.deployment.task_state(*planned) in ENDS, PATIENCE, "the request is planned"
            )
            for version in self.versions:
                self.terms[version].in_force |= self.deployment.task_state(*planned) == "success"
        return RunId(self.wrapper, run_id)

    def _trigger(self, dag_id: str, **conf: Any) -> str:
        self._triggered += 1
        run_id = f"{self.prefix}{self._triggered}"
        self.deployment.api.trigger(dag_id, run_id, conf)
        self._note(f"    {dag_id} {run_id} {conf}")
        return run_id

    def _free(self, versions: Iterable[str]) -> None:
        """Somebody asks for versions without terms. That counts only where no terms are in force."""
        for version in versions:
            if not self.terms[version].in_force:
                self.terms[version].free = True

    def _edit(self, name: str) -> str:
        """Change a distribution's packaging files; if that is public, also its package revision."""
        edition = str(int(self._read(name, "EDITION")) + 1)
        self._write(name, "EDITION", f"{edition}\n")
        revision = self._read(name, "PKGVER")
        if any(offer.revision == revision and offer.version in self.versions for offer in self._offers(name)):
            return self._bump(name)
        return f"{name}: edition {edition}, revision {revision}"

    def _bump(self, name: str) -> str:
        number, _, codename = self._read(name, "PKGVER").partition("~")
        revision = f"{int(number) + 1}~{codename}"
        self._write(name, "PKGVER", f"{revision}\n")
        return f"{name}: edition {self._read(name, 'EDITION')}, revision {revision}"

    def _mend_all(self) -> str | None:
        """Mend whatever is broken, and bump the revision of what is public as it was before an edit."""
        mended = []
        for name in self.distros:
            codename = self._codename(name)
            for version in self.versions:
                if (version, codename) in self.deployment.control.failing:
                    self.deployment.control.failing.discard((version, codename))
                    mended.append(f"{version} {codename}")
            if self._read(name, "FAILS"):
                self._write(name, "FAILS", "")
                mended.append(self._edit(name))
            edition, revision = self._read(name, "EDITION"), self._read(name, "PKGVER")
            if any(
                offer.version in self.versions and offer.revision == revision and offer.edition != edition
                for offer in self._offers(name)
            ):
                mended.append(self._bump(name))
        return ", ".join(mended) or None

    def _let_builds_end(self) -> None:
        if self.deployment.control.waiting & set(self.versions):
            self.deployment.finish(*self.versions)
            self._note("    builds end")

    def _await(self, moment: Moment) -> None:
        """Wait for a moment, though not for long."""
        if moment == "at once":
            return
        deadline = time.monotonic() + MOMENT
        if moment != "building":
            self._let_builds_end()
        while time.monotonic() < deadline and not self._has_come(moment, self.check()):
            time.sleep(_POLL if moment != "building" else 0.5)

    def _has_come(self, moment: Moment, states: dict[RunId, str]) -> bool:
        if moment == "building":
            return any(
                build.ended is None
                for version in self.versions
                for build in self.deployment.control.builds(version)
            )
        unfinished = [run for run, state in states.items() if state not in ENDS]
        if moment == "publishing" and any(run.dag_id == PUBLISH for run in unfinished):
            return True
        return not unfinished or bool(self._asking())

    # What must be true

    def check(self) -> dict[RunId, str]:
        """What must be true at every moment. Returns the states of the sequence's runs. Raises Violation."""
        # The states first: what they say must then be found.
        runs = self._seen()
        offers = {offer for name in self.distros for offer in self._offers(name)}
        for offer in offers:
            if offer.version in self.versions and not self.terms[offer.version].allow(offer):
                raise Violation(f"{offer} is public; {self.terms[offer.version]}")
        for version, terms in self.terms.items():
            held = (terms.approval and not terms.approved) or time.time() < terms.until
            if held and not terms.free and (traces := self._traces(version)):
                raise Violation(f"{version} is held, and public are {traces}; {terms}")
        for run, (state, conf) in runs.items():
            if state != "success" or run in self.settled_by_hand:
                self._cut_off.pop(run, None)
            elif not self._is_taken_back(run):
                self._check_green(run, conf, offers)
        return _states(runs)

    def _are_taken_back(self) -> list[RunId]:
        self.check()
        return list(self._cut_off)

    def _is_taken_back(self, run: RunId) -> bool:
        """Whether a run is green by mistake since it was marked failed, and not for long."""
        last = (run.dag_id, run.run_id, LAST[run.dag_id])
        if not (self._is_marked(run) and self.deployment.task_state(*last) == "skipped"):
            self._cut_off.pop(run, None)
            return False
        return time.monotonic() - self._cut_off.setdefault(run, time.monotonic()) < TAKEN_BACK

    def _check_green(self, run: RunId, conf: dict[str, Any], offers: set[Offer]) -> None:
        versions = conf.get("versions") or [conf["version"]]
        for version in versions:
            for name in conf["distros"]:
                codename = self._codename(name)
                if run.dag_id == BUILD:
                    done = bool({one for one, _ in self._built(version)} & {codename})
                else:
                    done = any((offer.codename, offer.version) == (codename, version) for offer in offers)
                if not done:
                    raise Violation(
                        f"{run.dag_id} {run.run_id} is green, and {version} is not there for {name}: "
                        f"{self._describe([run])}"
                    )
            if run.dag_id != BUILD and not self._source_is_public(version):
                raise Violation(f"{run.dag_id} {run.run_id} is green, and the source of {version} is missing")

    def _check_reasons(self) -> None:
        """Each run that is red by itself says why, and what to do."""
        for run, state in self._states().items():
            if state != "failed" or self._is_marked(run):
                continue
            failed = [task for task in self._tasks([run]) if task.state == "failed"]
            if not failed:
                raise Violation(f"{run.run_id} is red, and no task of it: {self._describe([run])}")
            for task in failed:
                log = self.deployment.log(task)
                reasons = list(_REASON.finditer(log))
                if not reasons:
                    raise Violation(f"{_say(task)} is red and gives no reason:\n{log[-3000:]}")
                helpful = all(reason["type"] not in _BUGS for reason in reasons)
                if not (helpful and _ADVICE.search(log[reasons[0].start() :])):
                    raise Violation(f"{_say(task)} is red for a reason that helps nobody:\n{log[-3000:]}")

    def _check_what_is_left(self) -> None:
        self._check_builds()
        self._check_suites()
        with suppress(Violation):
            self._until(lambda: not self._left(), 10, "")
        if self._left():
            self._note(f"reaping {self._left()}")
            self._reap(0)
        self._until(lambda: not self._left(), 30, "no worker is left")

    def _check_builds(self) -> None:
        """Nothing is built twice, and no build of what is wanted is ended but by a person."""
        for version in self.versions:
            for name in self.distros:
                self._check_attempts(version, name)
            for build in self.deployment.control.builds(version):
                wanted = any(
                    (self._codename(name), self._read(name, "EDITION"))
                    == (build.inputs.codename, build.inputs.edition)
                    for name in self.distros
                )
                if build.ended is None and wanted and not self.ended_by_hand:
                    raise Violation(f"the build of {build.inputs} was ended, and nobody asked for that")

    def _check_attempts(self, version: str, name: str) -> None:
        """No attempt builds what the store had when the attempt began."""
        recorded = sorted(
            (manifest.stat().st_mtime, _read_package(manifest.parent))
            for manifest in self._scratch(version, name).glob("*/manifest.json")
        )
        jobs = self._scratch("jobs", version)
        for log in jobs.glob(f"hhvm-{version}-make-binary-package-{name}-*/*/log.txt"):
            began = datetime.datetime.strptime(log.parent.name.partition("Z-")[0], "%Y%m%dT%H%M%S.%f")
            before = [made for at, made in recorded if at < began.replace(tzinfo=datetime.UTC).timestamp()]
            built = re.search(r"^building (\S+), edition (\w+)$", log.read_text(), re.MULTILINE)
            if built and before and before[-1] == (built[1], built[2]):
                raise Violation(f"{version} was built again for {name} from the same inputs: {log.parent}")

    def _check_suites(self) -> None:
        """What users read is signed, and everything that it names is there."""
        for name in self.distros:
            codename = self._codename(name)
            text = self._get(f"debian/dists/{codename}/InRelease")
            if text is None:
                continue
            command = ["gpgv", "--keyring", str(self._keyring()), "-"]
            done = subprocess.run(command, input=text, capture_output=True, check=False)
            if done.returncode:
                raise Violation(f"InRelease of {codename}: {done.stderr.decode()}")
            for stanza in self._stanzas(codename):
                content = self._get(f"debian/{stanza['Filename']}")
                if content is None or hashlib.sha256(content).hexdigest() != stanza["SHA256"]:
                    raise Violation(f"{codename} offers {stanza['Filename']}, which is not there as such")

    def _keyring(self) -> Path:
        """The public key without its armor, as gpgv reads it."""
        armored = (self.deployment.var / "hhvm.gpg.key").read_text()
        body = armored.partition("\n\n")[2].partition("\n=")[0]
        keyring = self.deployment.var / f"{self.prefix}keyring.gpg"
        keyring.write_bytes(base64.b64decode(body))
        return keyring

    # What there is

    def _seen(self) -> dict[RunId, tuple[str, dict[str, Any]]]:
        """State and configuration of each of the sequence's runs, the wrappers' first."""
        query: dict[str, Any] = {"run_id_pattern": f"{self.prefix}%", "limit": 100}
        found = self.deployment.api.call("GET", "/dags/~/dagRuns", **query)["dag_runs"]
        runs = {
            RunId(run["dag_id"], run["dag_run_id"]): (str(run["state"]), dict(run["conf"] or {}))
            for run in found
            if run["dag_id"] in DAGS
        }
        return dict(sorted(runs.items(), key=lambda run: (DAGS.index(run[0].dag_id), run[0].run_id)))

    def _states(self) -> dict[RunId, str]:
        return _states(self._seen())

    def _runs(self) -> list[RunId]:
        return list(self._seen())

    def _tasks(self, runs: Iterable[RunId]) -> list[Task]:
        """The tasks of these runs that have a state."""
        found = [task for run in runs for task in self.deployment.api.tasks(run.dag_id, run.run_id)]
        return [task for task in found if task.state]

    def _describe(self, runs: Iterable[RunId]) -> str:
        """These runs, and all others of the sequence, with their tasks."""
        lines = []
        states = self._states()
        for run in dict.fromkeys((*runs, *states)):
            tasks = ", ".join(f"{task.name} {task.state}" for task in self._tasks([run]))
            lines.append(f"\n  {run.dag_id} {run.run_id} {states.get(run)}: {tasks}")
        return "".join(lines)

    def _asking(self) -> list[Question]:
        """What people are asked."""
        if not self.sequence.opening.approval:
            return []
        query: dict[str, Any] = {"run_id_pattern": f"{self.prefix}%", "state": ["awaiting_input"]}
        found = self.deployment.api.call("GET", "/dags/~/dagRuns/~/taskInstances", **query)
        return sorted(
            Question(RunId(task["dag_id"], task["dag_run_id"]), task["task_id"], task["map_index"])
            for task in found["task_instances"]
        )

    def _is_marked(self, run: RunId) -> bool:
        """Whether a person marked the run, the one that triggered it, or one that it triggered."""
        return any(
            run == marked
            or run.run_id.startswith(f"{marked.run_id}__")
            or marked.run_id.startswith(f"{run.run_id}__")
            or run.run_id == marked.run_id
            for marked in self.marked
        )

    def _to_publish(self) -> list[str]:
        """What is asked for and is not public, as the packaging files are now."""
        return [
            f"{version} {name}"
            for name in self.distros
            for version in self.versions
            if not any(
                (offer.version, offer.revision) == (version, self._read(name, "PKGVER"))
                for offer in self._offers(name)
            )
        ]

    def _get(self, key: str) -> bytes | None:
        answer = self._public.get(key)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        answer.raise_for_status()
        return answer.content

    def _stanzas(self, codename: str) -> list[Any]:
        """What apt reads of a suite: the index that InRelease names by its digest."""
        dists = f"debian/dists/{codename}"
        text = self._get(f"{dists}/InRelease")
        if text is None:
            return []
        for entry in Release(text.decode()).get("SHA256", []):
            if entry["name"] == "main/binary-amd64/Packages":
                index = self._get(f"{dists}/main/binary-amd64/by-hash/SHA256/{entry['sha256']}")
                if index is None or hashlib.sha256(index).hexdigest() != entry["sha256"]:
                    raise Violation(f"{codename}: InRelease names an index that is not there")
                return _read_index(index)
        raise Violation(f"{codename}: InRelease names no index of amd64")

    def _offers(self, name: str) -> list[Offer]:
        codename = self._codename(name)
        offers = []
        for stanza in self._stanzas(codename):
            if stanza["Package"] == "hhvm":
                version, _, revision = stanza["Version"].partition("-")
                offers.append(Offer(codename, version, revision, _edition(stanza["Description"])))
        return offers

    def _traces(self, version: str) -> list[str]:
        """The files and tags of a version that anybody can see."""
        bucket = self.deployment.var / "s3" / DOWNLOADS
        files = [*bucket.glob(f"*/pool/main/h/*/*_{version}-*"), *bucket.glob(f"source/*-{version}.*")]
        tags = subprocess.run(
            ["git", "ls-remote", str(self.deployment.var / "git/hhvm.git"), f"refs/tags/HHVM-{version}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [str(file.relative_to(bucket)) for file in files] + tags.splitlines()

    def _source_is_public(self, version: str) -> bool:
        names = " ".join(self._traces(version))
        return all(
            trace in names
            for trace in (f"hhvm-{version}.tar.gz", f"hhvm-{version}.tar.gz.sig", f"refs/tags/HHVM-{version}")
        )

    def _scratch(self, *parts: str) -> Path:
        return self.deployment.var.joinpath("s3", SCRATCH, *parts)

    def _built(self, version: str) -> set[tuple[str, str]]:
        """The codenames and editions that the store says are built of a version."""
        found = set()
        for name in self.distros:
            with suppress(FileNotFoundError):
                manifest = json.loads(self._scratch(version, name, "manifest.json").read_text())
                directory = self._scratch(manifest["build"])
                found.add((self._codename(name), _read_package(directory)[1]))
        return found

    def _left(self) -> list[str]:
        """The sequence's workers that are still there, and their directories."""
        named = re.compile("|".join(rf"hhvm-{re.escape(version)}-" for version in self.versions))
        containers = [str(one.name) for one in self.deployment.containers() if named.match(str(one.name))]
        work = self.deployment.stack.work_directory
        return containers + [path.name for path in work.iterdir() if named.match(path.name)]

    # Details

    def _codename(self, name: str) -> str:
        return name.rpartition("-")[2]

    def _read(self, name: str, file: str) -> str:
        return (self.deployment.distro(name) / file).read_text().strip()

    def _write(self, name: str, file: str, content: str) -> None:
        path = self.deployment.distro(name) / file
        draft = self.deployment.var / f"{name}.{file}"
        draft.write_text(content)
        draft.replace(path)

    def _note(self, line: str) -> None:
        self.journal.append(f"{time.monotonic() - self._began:6.1f} {line}")

    def _until(self, condition: Callable[[], Any], limit: float, what: str) -> None:
        deadline = time.monotonic() + limit
        while True:
            with suppress(ApiError, httpx.HTTPError, LookupError):
                if condition():
                    return
            if time.monotonic() > deadline:
                raise Violation(f"in vain for {limit:.0f} s: {what}")
            time.sleep(0.5)


class Models:
    """Sequences on one deployment, several at once, each in a lane with distributions of its own."""

    def __init__(self, deployment: Deployment, lanes: int) -> None:
        self.deployment = deployment
        self._lanes: SimpleQueue[list[str]] = SimpleQueue()
        self._pool = ThreadPoolExecutor(lanes)
        for lane in "abcdefgh"[:lanes]:
            names = [f"debian-{number}-lane{lane}{kind}" for number, kind in ((21, "x"), (22, "y"))]
            for name in names:
                deployment.add_distro(name)
            self._lanes.put(names)

    def play(self, seed: int) -> Future[Outcome]:
        """Play a sequence as soon as there is a lane for it."""
        return self._pool.submit(self._play, seed)

    def stop(self) -> None:
        """Begin no more sequences, and wait until those that play have ended."""
        self._pool.shutdown(cancel_futures=True)

    def _play(self, seed: int) -> Outcome:
        lane = self._lanes.get()
        model = Model(self.deployment, Sequence.generate(seed), lane)
        outcome, began = Outcome(model.sequence, model.journal), time.monotonic()
        try:
            model.play()
        except Violation as violation:
            outcome.violation = str(violation)
        except Exception:
            outcome.violation = traceback.format_exc()
        if outcome.violation:
            model.give_up()
        self._lanes.put(lane)
        outcome.seconds = time.monotonic() - began
        return outcome


def _pick(things: Any, pick: float) -> Any:
    """The thing at that part of a list; None of an empty one."""
    found = list(things)
    return found[min(int(pick * len(found)), len(found) - 1)] if found else None


def _say(task: Task) -> str:
    return f"{task.dag_id} {task.run_id} {task.name} ({task.state})"


def _states(runs: dict[RunId, tuple[str, dict[str, Any]]]) -> dict[RunId, str]:
    return {run: state for run, (state, _) in runs.items()}


@lru_cache(maxsize=64)
def _read_index(index: bytes) -> list[Packages]:
    """The stanzas of an index. They are looked at far more often than they change."""
    return list(Packages.iter_paragraphs(index.decode(), use_apt_pkg=False))


def _read_package(directory: Path) -> tuple[str, str]:
    """Version and edition of the package of hhvm in a build's directory. Raises FileNotFoundError."""
    for package in directory.glob("hhvm_*.deb"):
        control = DebFile(str(package)).debcontrol()
        return control["Version"], _edition(control["Description"])
    raise FileNotFoundError(directory)


def _edition(description: str) -> str:
    return description.rpartition("edition ")[2].split()[0]
