"""A release in the console, as people see it in a browser: from the form to users and back.

The tests depend on one another, in this order. They take the pictures of README.md and docs/console.md if
HHVM_TEST_PICTURES names a directory.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from demo.stack import USER
from testing.newcomer import ROOT, WRAPPER
from testing.short_builds import BOOKWORM, TRIXIE, Deployment, running
from testing.unhurried import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from playwright.sync_api import Locator, Page, ViewportSize

pytestmark = pytest.mark.timeout(DEADLINE)

APPROVER, VIEWER = "anna", "vera"
WIDE: ViewportSize = {"width": 1200, "height": 800}
PUBLISHED, FAILING, NEXT = "1.0.0", "1.0.1", "1.0.2"
PATIENCE = 1000 * DEADLINE
"""Milliseconds until builds and publishes have ended."""


@pytest.fixture(scope="module")
def deployment(base_images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("console"))
    users = f"{USER}:admin,{APPROVER}:op,{VIEWER}:viewer"
    deployment.configure({}, {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users})
    with running(deployment):
        yield deployment


@pytest.fixture(scope="module")
def log_in(deployment: Deployment) -> Iterator[Callable[[str], Page]]:
    """Log a user in by Airflow's own page, in a browser of their own. Returns the page that follows."""
    if not shutil.which("chromium"):
        subprocess.run([ROOT / "demo/debian-packages", "chromium"], check=True)
    passwords = deployment.var / "airflow/passwords.json"
    with ExitStack() as running:
        browser = running.enter_context(sync_playwright()).chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        running.callback(browser.close)

        def log_in(user: str) -> Page:
            page = browser.new_context(viewport=WIDE, color_scheme="light").new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{deployment.stack.ui_url}/hhvm/")
            page.fill("input[name=username]", user)
            page.fill("input[name=password]", json.loads(passwords.read_text())[user])
            page.click("button[type=submit]")
            page.wait_for_url("**/hhvm/**")
            return page

        yield log_in


@pytest.fixture(scope="module")
def manager(log_in: Callable[[str], Page]) -> Page:
    """The release manager's browser."""
    return log_in(USER)


@pytest.fixture(scope="module")
def approver(log_in: Callable[[str], Page]) -> Page:
    """Another person's browser."""
    return log_in(APPROVER)


def picture(page: Page, name: str) -> None:
    if directory := os.environ.get("HHVM_TEST_PICTURES"):
        page.screenshot(path=Path(directory) / f"{name}.png", full_page=True)


def go(page: Page, path: str = "") -> None:
    page.goto(re.sub(r"/hhvm/.*", f"/hhvm/{path}", page.url))


def until(page: Page, there: Locator) -> None:
    """Wait until the page, which looks again by itself, shows it."""
    expect(there).to_be_visible(timeout=PATIENCE)


def cell(page: Page, version: str, distro: str) -> Locator:
    """What the table of releases says of a version and a distribution."""
    row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=version))
    return row.locator(f"td[data-label='{distro}']")


@contextmanager
def airflow(page: Page) -> Generator[Page]:
    """Another tab of the same person, for Airflow's own pages. They ask Airflow all the time."""
    tab = page.context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.set_viewport_size({"width": 1600, "height": 700})
    try:
        yield tab
    finally:
        tab.close()


def newest(deployment: Deployment, dag_id: str) -> str:
    """The id of the newest run of a DAG."""
    return deployment.api.newest_runs(dag_id, 1)[0].run_id


def page_of(deployment: Deployment, dag_id: str) -> str:
    """The address of that run in Airflow."""
    return f"{deployment.stack.ui_url}/dags/{dag_id}/runs/{quote(newest(deployment, dag_id), safe='')}"


def show_graph(page: Page, deployment: Deployment, dag_id: str) -> None:
    """Show the graph of that run, with all of its groups open."""
    page.goto(page_of(deployment, dag_id))
    page.get_by_role("button", name=re.compile(r"Show Graph")).click()
    until(page, page.locator(".react-flow__node").filter(has_text="plan").first)
    expand = page.get_by_role("button", name="Expand all task groups")
    # Airflow remembers which groups somebody opened.
    if expand.is_enabled():
        expand.click()
    for there in ("plan", "Source", "Packages"):
        until(page, page.locator(".react-flow__node").filter(has_text=there).first)


def start(page: Page, version: str, *, approval: bool = False) -> None:
    """Fill in the form, and start what it says."""
    go(page, "new")
    if approval:
        page.get_by_label("somebody must approve it").check()
    page.get_by_label("Version").fill(version)
    page.get_by_role("button", name=f"Start HHVM {version}").click()
    expect(page.get_by_text("Started: run")).to_be_visible()


def test_a_wrong_version_is_refused_with_words_while_one_types(manager: Page) -> None:
    go(manager, "new")
    manager.get_by_label("Version").press_sequentially("4.26")
    expect(manager.locator("#preview")).to_contain_text("version: '4.26' is not allowed. Allowed: X.Y.Z")
    expect(manager.get_by_role("button", name="Start")).to_be_disabled()
    picture(manager, "new")


def test_a_release_is_followed_from_the_form_to_users(deployment: Deployment, manager: Page) -> None:
    deployment.tag(PUBLISHED, FAILING)
    start(manager, PUBLISHED)
    go(manager)
    for distro in (BOOKWORM, TRIXIE):
        until(manager, cell(manager, PUBLISHED, distro).get_by_text("published"))
    assert deployment.is_public(PUBLISHED)


def test_airflows_own_pages_say_what_a_run_is_for_and_what_became_of_it(
    deployment: Deployment, manager: Page
) -> None:
    with airflow(manager) as tab:
        show_graph(tab, deployment, "hhvm_build")
        until(tab, tab.get_by_text("Build (hhvm_build)").first)
        until(tab, tab.get_by_text("HHVM 1.0.0: all is built"))
        picture(tab, "graph")


def test_a_failure_has_its_reason_its_log_and_the_button_that_resumes_it(
    deployment: Deployment, manager: Page
) -> None:
    deployment.control.failing.add((FAILING, "trixie"))
    start(manager, FAILING, approval=True)
    card = manager.locator(f"section[id='{TRIXIE}']")
    until(manager, card.get_by_text("make_binary_package failed"))
    expect(card).to_contain_text("exit status 2")
    until(manager, manager.locator(f"section[id='{BOOKWORM}']").get_by_text("held"))
    # Nobody has loaded the page again since the release was started.
    for part, said in (
        ("actions", "Build what is missing"),
        ("source", "Signed by"),
        ("holds", "approval"),
        ("changes", "against 1.0.0-1~bookworm"),
        ("runs", "hhvm_build_and_publish"),
        ("attempts", "the job failed: exit status 2"),
    ):
        expect(manager.locator(f"#part-{part}")).to_contain_text(said, timeout=30_000)
    picture(manager, "failed")
    # Airflow's page of a run that has ended does not look again.
    deployment.until(lambda: "build failed" in deployment.api.newest_runs(WRAPPER, 1)[0].note)
    with airflow(manager) as tab:
        show_graph(tab, deployment, "hhvm_build")
        picture(tab, "red")
        tab.goto(page_of(deployment, WRAPPER))
        until(tab, tab.get_by_text("HHVM 1.0.1: build failed"))
        tab.get_by_role("button", name="Press shift+c to clear").click(timeout=60_000)
        tab.get_by_text("Clear only failed tasks").click()
        until(tab, tab.get_by_role("dialog").get_by_text("all_published"))
        picture(tab, "clear")
    log = card.get_by_role("link", name="whole log")
    log.click()
    expect(manager.get_by_text("error: no such thing in 1.0.1")).to_be_visible()
    manager.go_back()
    deployment.control.failing.clear()
    card.get_by_role("button", name="Resume this build").click()
    expect(manager.get_by_text("Resumed:")).to_be_visible()
    until(manager, card.get_by_text("held"))
    assert not deployment.is_public(FAILING)
    with airflow(manager) as tab:
        show_graph(tab, deployment, "hhvm_build")
        picture(tab, "green")


def test_another_person_approves_what_is_shown_by_its_digests(
    deployment: Deployment, manager: Page, approver: Page
) -> None:
    until(manager, manager.get_by_text("A decision is asked for"))
    go(manager)
    picture(manager, "releases")
    go(approver, "approvals")
    expect(approver.get_by_role("cell", name="1.0.1-1~trixie")).to_be_visible()
    picture(approver, "approvals")
    with airflow(approver) as tab:
        tab.goto(f"{page_of(deployment, WRAPPER)}/tasks/approve/mapped/0/required_actions")
        until(tab, tab.get_by_text("HHVM 1.0.1, source"))
        picture(tab, "approve")
    approver.get_by_role("button", name=re.compile(r"^Approve")).click()
    expect(approver.get_by_text("Approved")).to_be_visible()
    go(manager)
    for distro in (BOOKWORM, TRIXIE):
        until(manager, cell(manager, FAILING, distro).get_by_text("published"))
    go(manager, f"versions/{FAILING}")
    expect(manager.get_by_text(f"yes by {APPROVER}")).to_be_visible()
    assert deployment.is_public(FAILING)


def test_what_somebody_opened_stays_open_while_the_page_looks_again(manager: Page) -> None:
    lines = manager.locator(f"section[id='{TRIXIE}'] details", has_text="How users install it")
    lines.locator("summary").click()
    manager.get_by_role("heading", name="Attempts").click()
    manager.evaluate("document.activeElement.blur()")
    old = lines.element_handle()
    manager.wait_for_function("old => !old.isConnected", arg=old, timeout=30_000)
    expect(lines).to_have_attribute("open", "")


def test_an_undo_names_its_consequence_before_anything_happens(deployment: Deployment, manager: Page) -> None:
    go(manager, f"versions/{FAILING}")
    manager.get_by_role("link", name="Undo", exact=True).click()
    expect(manager.get_by_text("Users are no longer offered this version.")).to_be_visible()
    expect(manager.get_by_text("users would be offered 1.0.0-1~trixie")).to_be_visible()
    picture(manager, "undo")
    manager.get_by_role("button", name="Withdraw it from all users").click()
    go(manager)
    for distro in (BOOKWORM, TRIXIE):
        until(manager, cell(manager, FAILING, distro).get_by_text("withdrawn"))
    assert deployment.offered("trixie")[-1:] == ["1.0.0-1~trixie"]


def test_who_may_only_look_is_offered_nothing_that_they_may_not_do(log_in: Callable[[str], Page]) -> None:
    viewer = log_in(VIEWER)
    go(viewer, "new?version=1.0.1")
    expect(viewer.get_by_text("Your role in Airflow may not start a release.")).to_be_visible()
    expect(viewer.get_by_role("button", name="Start")).to_be_disabled()


PAGES = [
    "",
    "new?version=4.26",
    f"versions/{FAILING}",
    "approvals",
    f"versions/{FAILING}/actions/release-again",
]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_has_no_serious_fault_of_accessibility(
    manager: Page, path: str, scheme: Literal["light", "dark"]
) -> None:
    manager.emulate_media(color_scheme=scheme)
    go(manager, path)
    found = Axe().run(manager).response["violations"]
    assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_narrow_window(manager: Page, path: str) -> None:
    manager.set_viewport_size({"width": 400, "height": 800})
    go(manager, path)
    assert manager.evaluate("document.documentElement.scrollWidth") <= 400
    picture(manager, f"narrow {re.sub(r'[^a-z]+', ' ', path)}".strip())
    manager.set_viewport_size(WIDE)


def test_the_form_is_used_by_keyboard_alone(deployment: Deployment, manager: Page) -> None:
    deployment.tag(NEXT)
    go(manager, "new")
    manager.keyboard.type(NEXT)
    button = manager.get_by_role("button", name=f"Start HHVM {NEXT}")
    expect(button).to_be_enabled()
    for _ in range(20):
        manager.keyboard.press("Tab")
        if button.evaluate("button => button === document.activeElement"):
            break
    expect(button).to_be_focused()
    manager.keyboard.press("Enter")
    expect(manager.get_by_text("Started: run")).to_be_visible()
