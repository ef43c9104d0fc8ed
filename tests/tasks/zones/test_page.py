"""The page on which zones are drawn, in Debian's Chromium: by mouse and keyboard, offline, with hostile names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tasks.site_file.load import parse_site_file
from tasks.site_file.zones import ZoneEntry
from tasks.zones.page import drawing_page
from tasks.zones.still import Still
from tests.chromium import chromium, needs_chromium

pytestmark = needs_chromium
HOSTILE = "</script><img src=x onerror=document.title='run'>\"'&amp;${1}\\ \U0001f6aa"
BED = ((0.1, 0.5), (0.4, 0.5), (0.4, 0.9), (0.1, 0.9))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("chromium"), (1300, 1500)) as driver:
        yield driver


class Page:
    """The page in a browser, as a person uses it."""

    def __init__(self, driver: webdriver.Chrome, folder: Path, camera: str, zones: list[ZoneEntry]) -> None:
        self.driver = driver
        picture = np.full((480, 640, 3), 90, np.uint8)
        cv2.rectangle(picture, (64, 240), (256, 432), (200, 160, 90), -1)
        still = Still(camera, "back.mp4", "a" * 64, picture, 10, 0.4, None, ZoneInfo("UTC"))
        path = folder / "zones.html"
        path.write_text(drawing_page(still, zones, Path("/home/me/nightjar.toml")), encoding="utf-8")
        driver.get(path.as_uri())

    def of(self, element: str) -> Any:
        return self.driver.find_element(By.ID, element)

    def zones(self) -> tuple[ZoneEntry, ...]:
        """Read the text for the site file as Nightjar does."""
        return parse_site_file(Path("nightjar.toml"), self.of("toml").get_attribute("value")).zones

    def click_at(self, *places: tuple[float, float]) -> None:
        """Click on the picture, at fractions of it."""
        for x, y in places:
            box = self.of("stage").size
            offset = round((x - 0.5) * box["width"]), round((y - 0.5) * box["height"])
            ActionChains(self.driver).move_to_element_with_offset(self.of("stage"), *offset).click().perform()

    def name(self, name: str, kind: str) -> None:
        for field, text in (("name", name), ("kind", kind)):
            self.of(field).clear()
            self.of(field).send_keys(text)

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]


def test_zones_drawn_with_the_mouse_are_text_for_the_site_file(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = Page(browser, tmp_path, "back door", [])
    page.of("add-polygon").click()
    assert "too few points" in page.of("problem").text
    page.click_at(*BED)
    page.name("bed", "bed")
    page.of("add-line").click()
    page.click_at((0.6, 0.2), (0.6, 0.8))
    page.name("gate", "door")
    page.driver.execute_script("""
        const field = document.getElementById("from");
        field.value = "2026-07-01T08:30:00";
        field.dispatchEvent(new Event("input"));
    """)
    assert page.of("problem").text == ""
    bed, gate = page.zones()
    assert (bed.camera, bed.name, bed.kind, bed.shape, bed.from_) == ("back door", "bed", "bed", "polygon", None)
    assert np.array(bed.points) == pytest.approx(np.array(BED), abs=0.003)
    assert (gate.shape, gate.kind, str(gate.from_)) == ("line", "door", "2026-07-01 08:30:00")
    assert page.errors() == []


def test_points_are_dragged_removed_and_set_with_the_keyboard(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = Page(browser, tmp_path, "back door", [])
    page.of("add-polygon").click()
    page.click_at(*BED)
    corner = page.driver.find_elements(By.CLASS_NAME, "corner")[0]
    wide = page.of("stage").size["width"]
    ActionChains(page.driver).drag_and_drop_by_offset(corner, round(0.05 * wide), 0).perform()
    assert page.zones()[0].points[0] == pytest.approx((0.15, 0.5), abs=0.004)
    page.driver.find_elements(By.CLASS_NAME, "corner")[1].send_keys(Keys.ARROW_RIGHT)
    assert page.zones()[0].points[1] == pytest.approx((0.405, 0.5), abs=0.004)
    ActionChains(page.driver).double_click(page.driver.find_elements(By.CLASS_NAME, "corner")[3]).perform()
    assert len(page.zones()[0].points) == 3
    page.driver.execute_script("document.getElementById('stage').focus()")
    page.of("stage").send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ENTER)
    assert page.zones()[0].points[3] == (0.505, 0.495)
    page.of("stage").send_keys(Keys.BACK_SPACE)
    assert len(page.zones()[0].points) == 3
    assert page.errors() == []


def test_zones_that_the_site_file_refuses_are_not_offered(browser: webdriver.Chrome, tmp_path: Path) -> None:
    page = Page(browser, tmp_path, "back door", [])
    page.click_at((0.2, 0.2), (0.8, 0.8), (0.8, 0.2), (0.2, 0.8))
    assert "cross" in page.of("problem").text
    assert page.zones() == ()


def test_existing_zones_are_shown_and_kept(browser: webdriver.Chrome, tmp_path: Path) -> None:
    zones = [
        ZoneEntry(camera=HOSTILE, name="bed", kind="bed", polygon=BED, **{"from": "2026-01-01T00:00:00"}),
        ZoneEntry(camera=HOSTILE, name=HOSTILE, kind='a \\ "kind"', line=((0.6, 0.2), (0.61, 0.8))),
    ]
    page = Page(browser, tmp_path, HOSTILE, zones)
    assert page.zones() == tuple(zones)
    assert browser.title == page.of("title").text == f"Zones of {HOSTILE}"
    assert [label.text for label in browser.find_elements(By.CSS_SELECTOR, "text.label")] == ["bed", HOSTILE]
    assert len(browser.find_elements(By.TAG_NAME, "img")) == 1
    page.of("copy").click()
    assert page.of("copied").text == "Copied."
    page.of("remove").click()
    assert page.zones() == (zones[1],)
    assert page.errors() == []


def test_the_page_loads_and_runs_nothing_else(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Its policy refuses scripts and pictures that somebody would smuggle in, and all connections."""
    Page(browser, tmp_path, "back door", [])
    refused = browser.execute_async_script("""
        const done = arguments[0], seen = [];
        document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "http://127.0.0.1:9/x.png";
        document.body.append(image);
        fetch("http://127.0.0.1:9/").catch(() => 0).finally(() => setTimeout(() => done(seen), 300));
    """)
    assert {each.partition("-src")[0] for each in refused} == {"script", "img", "connect"}
    assert browser.title != "run"
