"""The box of queries and the marks of events in a browser."""

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from storage.sql.query import query
from tasks.site.settings import Settings
from tests.chromium import complaints, needs_chromium
from tests.deployments.browse.conftest import Serve, open_browse
from tests.deployments.browse.falls import ACROSS, HOSTILE, contents, key_of, recorded_falls

pytestmark = needs_chromium
LIMIT_S = 60
BOXES = (
    "return ['img', 'svg'].map((name) => arguments[0].querySelector(`.still ${name}`).getBoundingClientRect().toJSON())"
)
THERE_AND_BACK = """
const [queries, done] = arguments;
import("/static/sql/text.js").then((text) => done([...text.readQueries(text.writeQueries(new Map(queries)))]));
"""


def ask(browser: webdriver.Chrome, sql: str) -> None:
    """Write a query into the box, and run it by the keyboard."""
    box = browser.find_element(By.ID, "q")
    browser.execute_script("arguments[0].value = arguments[1]", box, sql)
    before = browser.find_element(By.TAG_NAME, "html").id
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    WebDriverWait(browser, LIMIT_S).until(lambda driver: driver.find_element(By.TAG_NAME, "html").id != before)


def test_the_box_answers_and_refuses_to_write(browser: webdriver.Chrome, serve: Serve, settings: Settings) -> None:
    browse = open_browse(settings, marks=True)
    assert browse.marks is not None
    recorded_falls(browse.marks)
    before = contents(browse.site.engine)
    browser.get(f"{serve(browse)}/sql")
    complaints(browser)
    for sql in ("DELETE FROM videos", "SELECT 1; DROP TABLE poses"):
        ask(browser, sql)
        assert "Give one SELECT" in browser.find_element(By.ID, "error").text
        assert browser.find_element(By.ID, "q").get_attribute("value") == sql
    complaints(browser)  # the page of an error has the status 400
    assert contents(browse.site.engine) == before
    ask(browser, "SELECT video, peak_video_id, peak_frame FROM events WHERE rule = 'fall'")
    cells = [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, ".answer td")]
    assert cells[1] == f"0 {HOSTILE}".replace("\u202e", "\\u202e")
    link = browser.find_element(By.CSS_SELECTOR, "a.open").get_attribute("href") or ""
    assert link.endswith("/open?video_id=2&frame=1250")
    assert browser.title.startswith("SQL")  # nothing in a name was run
    _save_and_delete(browser)
    assert complaints(browser) == []


def _save_and_delete(browser: webdriver.Chrome) -> None:
    """A query is kept in the browser under a name that looks like markup, and deleted."""
    browser.find_element(By.CSS_SELECTOR, "#saved summary").click()
    browser.find_element(By.CSS_SELECTOR, "#save [name=name]").send_keys("<b>falls</b>", Keys.ENTER)
    saved = browser.find_element(By.CSS_SELECTOR, "#saved li a")
    assert saved.text == "<b>falls</b>"
    assert browser.execute_async_script(THERE_AND_BACK, [["a", "SELECT 1\n-- name: x"], ["b", "c"]]) == [
        ["a", "SELECT 1\n--  name: x"],
        ["b", "c"],
    ]
    browser.get(saved.get_attribute("href"))
    assert browser.find_element(By.ID, "answer").text == "1 row"
    browser.find_element(By.CSS_SELECTOR, "#saved li button").click()
    assert browser.find_elements(By.CSS_SELECTOR, "#saved li") == []


def test_marks_by_the_keyboard(browser: webdriver.Chrome, serve: Serve, settings: Settings) -> None:
    browse = open_browse(settings, marks=True)
    assert browse.marks is not None
    recorded_falls(browse.marks)
    browser.get(f"{serve(browse)}/events")
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys("j")
    card = browser.find_element(By.ID, f"event-{key_of(ACROSS)}")
    assert browser.switch_to.active_element == card
    picture, drawing = browser.execute_script(BOXES, card)
    assert picture == drawing
    for key, mark, precision in (("r", "right", "100%"), ("w", "wrong", "0%")):
        card.send_keys(key)
        _wait_for_mark(browser, card, mark)
        rows = browser.find_elements(By.CSS_SELECTOR, "#precisions tr")
        assert [row.text.split()[-1] for row in rows if row.text.startswith("fall")] == [precision]
    note = card.find_element(By.NAME, "note")
    note.send_keys("<b>a cat</b>", Keys.ENTER)
    asked = "SELECT mark, note FROM event_marks"
    WebDriverWait(browser, LIMIT_S).until(
        lambda _: list(query(browse.site.engine, asked)[1]) == [("wrong", "<b>a cat</b>")]
    )
    note.send_keys(Keys.ESCAPE)
    browser.switch_to.active_element.send_keys("n")
    _wait_for_mark(browser, card, "none")
    assert list(query(browse.site.engine, asked)[1]) == []
    assert [line for line in complaints(browser) if "/still/" not in line] == []  # there are no films here


def _wait_for_mark(browser: webdriver.Chrome, card: WebElement, mark: str) -> None:
    WebDriverWait(browser, LIMIT_S).until(lambda _: card.get_attribute("data-mark") == mark)
