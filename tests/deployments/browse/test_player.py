"""The page of a video in a real browser: what it shows at which frame, what it draws, and what it does."""

import base64
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from models.decoders.skeleton import DRAWN_EDGES
from models.drawing.people import track_color
from storage.sql.database import Database, open_database
from storage.sql.query import query
from tasks.site.settings import Settings
from tests.chromium import complaints, needs_chromium, resize
from tests.deployments.browse.conftest import open_browse, served
from tests.deployments.browse.spot_films import (
    FILMS,
    ShownFilm,
    SpotFilm,
    add_film,
    add_spot_film,
    add_unprocessed_film,
    archive_of,
    follow,
    long_film,
    standing_people,
)
from tests.storage.samples import make_labels, make_model
from tests.tasks.analysis.filmed import filmed, place_file
from tests.videos import make_video

pytestmark = needs_chromium

WAIT_S = 60.0  # of a busy machine
TOLERANCE_PX = 1.5
FRAMES = 60
LOOKED_AT = (0, 1, 17, 31, 32, FRAMES - 1)
COLORS = ((210, 240, 210), (255, 140, 60), (60, 190, 255))  # nose, left and right, in the order of spot_films.KEYPOINTS
HOSTILE = "<img src=x onerror=alert(1)> \"é\" 'x'.mp4"


@dataclass(frozen=True)
class Home:
    settings: Settings
    films: dict[str, ShownFilm]
    url: str


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home, served: FILMS, whose people have no tracks, and a film with two tracks and a hostile name."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), _env_file=None)
    open_browse(settings)  # makes the database
    engine = open_database(settings.database)
    films = {HOSTILE: add_people_film(settings, engine, HOSTILE)}
    follow(engine)
    films |= {film.name: add_spot_film(settings, engine, film, FRAMES) for film in FILMS}
    with served(open_browse(settings)) as url:
        yield Home(settings, films, url)


def add_people_film(settings: Settings, engine: Database, name: str) -> ShownFilm:
    make_video(archive_of(settings) / name, 100)
    return add_film(settings, engine, name, lambda t_s: standing_people(t_s, 2, (128, 96)))


class Player:
    """The page of a film in the browser."""

    def __init__(self, driver: webdriver.Chrome, home: Home, film: ShownFilm, **where: object) -> None:
        self.driver, self.film = driver, film
        self.wait = WebDriverWait(driver, WAIT_S, poll_frequency=0.02)
        asked = "&".join(f"{name}={value}" for name, value in where.items())
        driver.get(f"{home.url}{film.path}?{asked}")
        self.until("document.querySelector('#film').readyState >= 2 && document.querySelector('#player').dataset.frame")

    def run(self, script: str, *given: object) -> Any:
        return self.driver.execute_script(f"return {script}", *given)

    def until(self, condition: str) -> Any:
        return self.wait.until(lambda _: self.run(condition), condition)

    def seek(self, frame: int) -> None:
        """Type a frame's number."""
        self.driver.execute_script(
            "const field = document.querySelector('#frame'); field.value = arguments[0];"
            "field.dispatchEvent(new Event('change'))",
            frame,
        )
        self.at(frame)

    def at(self, frame: int) -> None:
        """Wait until the frame and its people are drawn."""
        self.until(f"document.querySelector('#main-stage').dataset.frame === '{frame}'")
        self.until("!document.querySelector('#film').seeking")

    @property
    def frame(self) -> int:
        return int(self.run("document.querySelector('#player').dataset.frame"))

    @property
    def now_s(self) -> float:
        return float(self.run("document.querySelector('#film').currentTime"))

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def show_people(self, wanted: bool) -> None:
        if (self.run("document.querySelector('#skeletons').ariaPressed") == "true") != wanted:
            self.press("s")
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def to_picture(self, page: NDArray[np.float64]) -> NDArray[np.float64]:
        """From pixels of the stage to pixels of the displayed frame."""
        width = float(self.run("document.querySelector('#main-stage').getBoundingClientRect().width"))
        return page * self.film.video.width / width - 0.5

    def drawn(self) -> NDArray[np.float64]:
        """(3, 2) places of the three drawn dots, from the canvas' pixels."""
        url = self.run("document.querySelector('#main-stage .overlay').toDataURL()")
        image = decoded(base64.b64decode(url.partition(",")[2]))
        return self.to_picture(np.array([middle_of(image, color) for color in COLORS]))

    def seen(self) -> NDArray[np.float64]:
        """(3, 2) places of the three bright spots in a picture of the screen, from left above to right below."""
        self.show_people(False)
        box = self.run("document.querySelector('#main-stage').getBoundingClientRect().toJSON()")
        left, top, width, height = (float(box[name]) for name in ("left", "top", "width", "height"))
        image = decoded(self.driver.get_screenshot_as_png())[:, :, :3].max(axis=2)
        stage = image[int(top) : int(top + height) + 1, int(left) : int(left + width) + 1]
        spots = bright_spots(stage)
        self.show_people(True)
        return self.to_picture(spots + 0.5 - [left - int(left), top - int(top)])


def decoded(png: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image.astype(np.uint8)


def middle_of(image: NDArray[np.uint8], rgb: Sequence[int]) -> NDArray[np.float64]:
    """Middle of the opaque pixels of a colour."""
    near = np.abs(image[:, :, :3].astype(int) - np.array(rgb[::-1])).max(axis=2) < 24
    rows, columns = np.nonzero(near & (image[:, :, 3] > 240))
    assert len(rows) > 4, rgb
    return np.array([columns.mean() + 0.5, rows.mean() + 0.5])


def bright_spots(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(3, 2) x, y of the middles of the three spots of a picture whose edge may be the page's."""
    inside = np.zeros_like(levels)
    inside[8:-8, 8:-8] = levels[8:-8, 8:-8] > 140
    count, _, stats, middles = cv2.connectedComponentsWithStats(inside)
    spots = [middles[n] for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] > 20]
    assert len(spots) == 3
    return np.array(spots, np.float64)


def stored_places(home: Home, film: ShownFilm, frame: int) -> NDArray[np.float64]:
    """The rows: nose and wrists of the first person."""
    columns = ", ".join(f"{name}_{axis}" for name in ("nose", "left_wrist", "right_wrist") for axis in "xy")
    statement = f"SELECT {columns} FROM people WHERE video_id = {film.video_id} AND frame = {frame}"
    _, rows = query(open_database(home.settings.database), statement)
    return np.array(next(iter(rows)), float).reshape(3, 2)


def nearest_distances(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each wanted place to the nearest found one."""
    apart = np.linalg.norm(wanted[:, None] - found[None], axis=2)
    return np.asarray(apart.min(axis=1), np.float64)


@pytest.mark.parametrize("kind", FILMS, ids=lambda film: film.name)
def test_the_film_the_drawing_and_sql_agree(browser: webdriver.Chrome, home: Home, kind: SpotFilm) -> None:
    """Spots in the film, dots on the canvas and rows are at the same place, at the time that SQL says."""
    resize(browser, 1280)
    film = home.films[kind.name]
    player = Player(browser, home, film)
    times = film.t_s
    for frame in LOOKED_AT:
        player.seek(frame)
        interval = float(times[frame + 1] - times[frame]) if frame + 1 < FRAMES else 0.04
        assert 0 <= player.now_s - times[frame] <= interval / 2
        expected = stored_places(home, film, frame)
        np.testing.assert_allclose(player.drawn(), expected, atol=TOLERANCE_PX)
        assert nearest_distances(player.seen(), expected).max() < TOLERANCE_PX
    assert not complaints(browser)


def test_frames_follow_each_other(browser: webdriver.Chrome, home: Home) -> None:
    """Each press of a key shows exactly the next or the last frame, also over uneven intervals."""
    player = Player(browser, home, home.films["variable.mp4"], frame=20)
    player.at(20)
    for frame in (21, 22, 23, 24):
        player.press(".")
        player.at(frame)
        assert nearest_distances(player.seen(), stored_places(home, player.film, frame)).max() < TOLERANCE_PX
    for key, frame in ((",", 23), (Keys.ARROW_LEFT, 22), (Keys.ARROW_RIGHT, 23), (Keys.HOME, 0), (Keys.END, 59)):
        player.press(key)
        player.at(frame)
    assert not complaints(browser)


def test_the_drawn_frame_is_the_played_one(browser: webdriver.Chrome, home: Home) -> None:
    """While it plays, what is drawn belongs to the frame that the browser presented."""
    player = Player(browser, home, home.films["variable.mp4"])
    player.at(0)
    browser.execute_script("""
      const film = document.querySelector("#film"), stage = document.querySelector("#main-stage");
      window.presented = [];
      const note = (_, { mediaTime }) => {
        setTimeout(() => window.presented.push([mediaTime, Number(stage.dataset.frame)]));
        film.requestVideoFrameCallback(note);
      };
      film.requestVideoFrameCallback(note);
    """)
    player.press(" ")
    player.until("window.presented.length >= 12")
    player.press(" ")
    player.until("document.querySelector('#film').paused")
    for media_s, frame in player.run("window.presented")[1:10]:
        assert abs(player.film.t_s[frame] - media_s) < 0.002
    assert not complaints(browser)


@pytest.mark.parametrize("share", [0.25, 0.8])
def test_a_click_on_the_timeline_seeks(browser: webdriver.Chrome, home: Home, share: float) -> None:
    resize(browser, 1280)
    player = Player(browser, home, home.films[HOSTILE])
    player.at(0)
    second = click_at(player, "#timeline", share)
    expected = int(np.searchsorted(player.film.t_s, second, "right")) - 1
    player.until(f"Math.abs(document.querySelector('#player').dataset.frame - {expected}) <= 1")
    player.at(player.frame)
    assert not complaints(browser)


def click_at(player: Player, selector: str, share: float) -> float:
    """Click on a canvas over time at a share of its width. Returns the second there, by the canvas' own margins."""
    canvas = player.driver.find_element(By.CSS_SELECTOR, selector)
    player.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    width = canvas.size["width"]
    left = round(share * width)
    ActionChains(player.driver).move_to_element_with_offset(canvas, left - width // 2, 0).click().perform()
    return (left - 84) / (width - 92) * player.film.video.duration_s


def test_charts_are_in_step(browser: webdriver.Chrome, home: Home) -> None:
    """The cursor of the charts moves with the film, and a click on a chart moves the film."""
    player = Player(browser, home, home.films[HOSTILE], track=2, frame=30)
    player.until("document.querySelectorAll('#charts canvas').length >= 1")
    assert player.run("document.querySelector('#track').value") == "2"
    chart = "document.querySelector('#charts canvas[data-column=centre_x_px]')"
    player.until(f"{chart}.dataset.value === '30'")  # of the made-up motion: the frame's number
    player.press(".")
    player.until(f"{chart}.dataset.value === '31'")
    second = click_at(player, "#charts canvas", 0.7)
    expected = int(np.searchsorted(player.film.t_s, second, "right")) - 1
    player.until(f"Math.abs(document.querySelector('#player').dataset.frame - {expected}) <= 1")
    assert not complaints(browser)


def test_names_are_text(browser: webdriver.Chrome, home: Home) -> None:
    player = Player(browser, home, home.films[HOSTILE])
    assert player.run("document.querySelector('h1').textContent") == HOSTILE
    assert player.run("document.querySelectorAll('main img').length") == 0
    assert not complaints(browser)


def test_keys_work(browser: webdriver.Chrome, home: Home) -> None:
    player = Player(browser, home, home.films[HOSTILE], frame=10)
    player.at(10)
    player.press("l")
    player.until("!document.querySelector('#film').paused")
    player.press("l")
    player.until("document.querySelector('#film').playbackRate === 1.5")
    player.press("k")
    player.until("document.querySelector('#film').paused")
    player.seek(60)
    player.press("j")
    player.until("document.querySelector('#player').dataset.frame < 55")
    player.press("k")
    player.press("?")
    player.until("document.querySelector('#help').open")
    player.press(Keys.ESCAPE)
    player.until("!document.querySelector('#help').open")
    assert not complaints(browser)


def test_two_models_side_by_side(browser: webdriver.Chrome, home: Home) -> None:
    """The second picture shows the same frame of the film, pixel by pixel, and rows of its own."""
    model = query(open_database(home.settings.database), "SELECT model_version_id FROM shown_models")[1]
    beside = next(iter(model))[0]
    player = Player(browser, home, home.films["rotated.mp4"], beside=beside, frame=33)
    player.at(33)
    player.until("document.querySelector('#beside-stage').dataset.frame === '33'")
    expected = stored_places(home, player.film, 33)
    url = player.run("document.querySelector('#beside-stage .picture').toDataURL()")
    image = decoded(base64.b64decode(url.partition(",")[2]))[:, :, 0]
    spots = bright_spots(image)
    scale = player.film.video.width / image.shape[1]
    assert nearest_distances((spots + 0.5) * scale - 0.5, expected).max() < TOLERANCE_PX
    assert not complaints(browser)


def test_colours_and_lines_are_those_of_overlay_videos(browser: webdriver.Chrome, home: Home) -> None:
    player = Player(browser, home, home.films[HOSTILE])
    assert json.loads(player.run("document.querySelector('#player').dataset.edges")) == [list(e) for e in DRAWN_EDGES]
    script = "import('/static/player/picture/drawing.js').then(m => arguments[0].map(m.trackColor))"
    colors = player.run(script, list(range(1, 30)))
    assert colors == [f"rgb({r} {g} {b})" for b, g, r in map(track_color, range(1, 30))]


def test_a_lost_film_still_shows_its_rows(browser: webdriver.Chrome, settings: Settings, tmp_path: Path) -> None:
    open_browse(settings)
    engine = open_database(settings.database)
    film = add_people_film(settings, engine, "lost.mp4")
    follow(engine)
    (archive_of(settings) / "lost.mp4").unlink()
    with served(open_browse(settings)) as url:
        browser.get(f"{url}{film.path}?frame=5")
        wait = WebDriverWait(browser, WAIT_S)
        wait.until(lambda _: "not in its archive" in browser.find_element(By.ID, "notice").text)
        wait.until(lambda _: browser.find_element(By.ID, "main-stage").get_attribute("data-people") == "2")
        ActionChains(browser).send_keys(".").perform()
        wait.until(lambda _: browser.find_element(By.ID, "main-stage").get_attribute("data-frame") == "6")
    assert all("status of 4" in each for each in complaints(browser)), "nothing but the film that is not there"


def test_labels_of_a_classifier_are_shown(browser: webdriver.Chrome, settings: Settings) -> None:
    open_browse(settings)
    engine = open_database(settings.database)
    make_video(archive_of(settings) / "cars.mp4", 40)
    model = make_model("3" * 64, "car-classifier", "classification")
    film = add_film(settings, engine, "cars.mp4", lambda t_s: make_labels(0, 40), model)
    with served(open_browse(settings)) as url:
        player = Player(browser, Home(settings, {}, url), film, frame=5)
        for frame, label in ((5, "car"), (12, "not_car")):
            player.seek(frame)
            player.until(f"/^{label} 0.\\d\\d$/.test(document.querySelector('#main-stage .caption').textContent)")
    assert not complaints(browser)


def test_an_unprocessed_video_says_what_to_do(browser: webdriver.Chrome, settings: Settings) -> None:
    open_browse(settings)
    engine = open_database(settings.database)
    make_video(archive_of(settings) / "new.mp4", 20)
    film = add_unprocessed_film(settings, engine, "new.mp4")
    with served(open_browse(settings)) as url:
        player = Player(browser, Home(settings, {}, url), film, frame=5)
        assert "nightjar run" in browser.find_element(By.ID, "unprocessed").text
        player.press(".")
        player.at(6)
    assert not complaints(browser)


def test_a_recording_goes_on_with_its_next_file(browser: webdriver.Chrome, settings: Settings) -> None:
    """A click on the recording's timeline opens its first file there, and at its end the second one plays."""
    resize(browser, 1280)
    open_browse(settings)
    engine = open_database(settings.database)
    for number, start_s in enumerate((0.0, 2.5)):
        make_video(archive_of(settings) / f"{number}.mp4", 50 + number)
        film = add_film(settings, engine, f"{number}.mp4", lambda t_s: standing_people(t_s, 2, (128, 96)))
        place_file(engine, f"{number}.mp4", filmed(film.video_id, start_s))
    follow(engine)
    with served(open_browse(settings)) as url:
        browser.get(f"{url}/recording/1")
        wait = WebDriverWait(browser, WAIT_S)
        wait.until(lambda _: len(browser.find_elements(By.CSS_SELECTOR, "#files tr")) == 2)
        canvas = browser.find_element(By.ID, "timeline")
        wait.until(lambda _: canvas.size["height"] > 60)
        ActionChains(browser).move_to_element_with_offset(canvas, -canvas.size["width"] // 4, 0).click().perform()
        wait.until(lambda _: "/video/" in browser.current_url)
        player = "document.querySelector('#player').dataset"
        wait.until(
            lambda _: browser.execute_script(
                f"return document.querySelector('#film').readyState >= 2 && {player}.frame > 5"
            )
        )
        wait.until(lambda _: "File 1 of 2" in browser.find_element(By.ID, "files").text)
        ActionChains(browser).send_keys(" ").perform()
        wait.until(lambda _: film.path in browser.current_url)
        wait.until(lambda _: "File 2 of 2" in browser.find_element(By.ID, "files").text)
        wait.until(lambda _: browser.execute_script("return document.querySelector('#film').readyState >= 2"))
        assert not complaints(browser)


@pytest.mark.slow
def test_an_hour_is_sought_quickly(browser: webdriver.Chrome, settings: Settings) -> None:
    """From the choice of a far frame to its drawn people, in an hour of three people.

    The target is 300 ms. On a busy machine all but the fastest seek may take several times as long.
    """
    open_browse(settings)
    engine = open_database(settings.database)
    long_film(archive_of(settings) / "hour.mp4", 3600)
    film = add_film(settings, engine, "hour.mp4", lambda t_s: standing_people(t_s, 3, (64, 48)))
    with served(open_browse(settings)) as url:
        player = Player(browser, Home(settings, {}, url), film)
        player.at(0)
        took_ms = [seek_ms(player, frame) for frame in np.random.default_rng(0).integers(0, film.video.frames, 10)]
    print("from a seek to drawn people, ms:", [round(each) for each in took_ms])
    assert min(took_ms) < 300
    assert statistics.median(took_ms) < 3000
    assert not complaints(browser)


def seek_ms(player: Player, frame: int) -> float:
    """Milliseconds until the people of a frame are drawn, by the browser's clock."""
    script = """
      const [frame, done] = arguments;
      const stage = document.querySelector("#main-stage"), field = document.querySelector("#frame");
      const begun = performance.now();
      new MutationObserver((_, watch) => {
        if (stage.dataset.frame !== String(frame) || stage.dataset.people !== "3") return;
        watch.disconnect();
        requestAnimationFrame(() => done(performance.now() - begun));
      }).observe(stage, { attributes: true });
      field.value = frame;
      field.dispatchEvent(new Event("change"));
    """
    return float(player.driver.execute_async_script(script, int(frame)))
