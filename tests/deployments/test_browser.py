"""The UI as a user sees it: Debian's Chromium opens it, finds the nightly batch, fills its form, and waits."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings
from tests.chromium import chromium, needs_chromium
from tests.deployments.running import Up
from tests.flows.conftest import has_spot, register_tiny_model, spot_video
from tests.tiny_model import write_tiny_model

# The page may be redrawn between finding an element and clicking it.
MOMENTARY = (
    ElementClickInterceptedException, ElementNotInteractableException, NoSuchElementException,
    StaleElementReferenceException,
)  # fmt: skip
SEEN_LIMIT_S, RUN_LIMIT_S = 60.0, 180.0
FRAMES = 60

pytestmark = [
    needs_chromium,
    pytest.mark.timeout(600),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home with the tiny model; its archive has one video, of FRAMES frames."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NIGHTJAR_DATABASE_URL", raising=False)
    read_settings.cache_clear()
    write_tiny_model(tmp_path / "ir")
    register_tiny_model(tmp_path / "ir")
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "cam.mp4", FRAMES)
    yield tmp_path
    read_settings.cache_clear()


@pytest.fixture
def up(site: Path) -> Iterator[Up]:
    running = Up(site / "home")
    yield running
    running.kill()


class Person:
    """A user who finds, clicks and types, and retries when the page was not ready."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def until(self, true: Callable[[], Any], what: str, limit_s: float = SEEN_LIMIT_S) -> Any:
        wait = WebDriverWait(self.browser, limit_s, ignored_exceptions=MOMENTARY)
        try:
            return wait.until(lambda _: true())
        except TimeoutException:
            pytest.fail(f"not in {limit_s:.0f} s: {what}. The page at {self.browser.current_url}:\n{self.page()}")

    def click(self, kind: str, text: str) -> None:
        def clicked() -> bool:
            self.find(kind, text).click()
            return True

        self.until(clicked, f"click {text}")

    def find(self, kind: str, text: str) -> WebElement:
        return self.browser.find_element(By.XPATH, f"//{kind}[normalize-space()='{text}']")

    def type(self, label: str, text: str) -> None:
        def typed() -> bool:
            box = self.browser.find_element(By.ID, str(self.find("label", label).get_attribute("for")))
            box.clear()
            box.send_keys(text)
            return box.get_attribute("value") == text

        self.until(typed, f"type {label}")

    def page(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    with chromium(tmp_path / "chromium", (1300, 1500)) as browser:
        yield Person(browser)


@pytest.mark.slow
def test_a_person_starts_a_night_in_the_ui_and_queries_the_rows(up: Up, person: Person, site: Path) -> None:
    person.browser.get(up.url)
    person.click("a", "Deployments")
    person.click("a", "nightly")
    person.click("button", "Run")
    person.click("*[@role='menuitem']", "Custom run")
    person.type("archive", str(site / "archive"))
    person.type("model", "tiny")
    _submit(person)
    # Back on the deployment's page, which lists runs: no task's state can be mistaken for the run's here.
    person.until(lambda: _ended(person), "the run to end", RUN_LIMIT_S)
    assert _ended(person) == "Completed", person.page()
    _, rows = query(open_database(read_settings().database), "SELECT frame FROM poses ORDER BY frame")
    assert [row[0] for row in rows] == [number for number in range(FRAMES) if has_spot(number)]
    _follow_the_links(up, person)


def _follow_the_links(up: Up, person: Person) -> None:
    """From the report on Prefect's pages to the video, and from the night back to its run."""
    [report] = up.ask("artifacts/filter", {"artifacts": {"key": {"any_": ["batch-report"]}}})
    person.browser.get(f"{up.url}/artifacts/artifact/{report['id']}")
    opened = person.until(lambda: person.browser.find_elements(By.PARTIAL_LINK_TEXT, "cam.mp4, frame"), "the links")
    assert str(opened[0].get_attribute("href")).startswith(f"{up.pages_url}/video/")
    person.browser.get(str(opened[0].get_attribute("href")))
    assert "cam.mp4" in person.page()
    person.browser.get(f"{up.pages_url}/night/1")
    run = f"{up.url}/runs/flow-run/{report['flow_run_id']}"
    assert run in [link.get_attribute("href") for link in person.browser.find_elements(By.TAG_NAME, "a")]


def _submit(person: Person) -> None:
    """SQLite may be busy on a slow machine, and the page then reports it: a person tries again."""

    def submitted() -> bool:
        if "/run?" not in person.browser.current_url:
            return True
        person.find("button", "Submit").click()
        return False

    wait = WebDriverWait(person.browser, SEEN_LIMIT_S, poll_frequency=5, ignored_exceptions=MOMENTARY)
    wait.until(lambda _: submitted(), "the form to be taken")


def _ended(person: Person) -> str | None:
    lines = person.page().splitlines()
    return next((state for state in ("Completed", "Failed", "Crashed", "Cancelled") if state in lines), None)
