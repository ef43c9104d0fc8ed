"""Messages of real nights: what they tell, with the picture of a real frame."""

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select, update

from deployments.cli import main
from flows.nightly_batch import nightly_batch
from storage.sql.database import open_database, writing
from storage.sql.tables import analyses, batches, recordings, videos
from tasks.notify.pictures import MOST_BYTES, small_jpeg
from tasks.site.settings import read_settings
from tests.flows.conftest import register_tiny_model, spot_video
from tests.tasks.notify.made_events import MadeUpNight, evaluate
from tests.tasks.notify.receivers import PASSWORD, WebReceiver, web_receiver


@pytest.fixture
def archive(tmp_path: Path, tiny_model: Path) -> Path:
    """A video of 30 frames, and a file that is none."""
    register_tiny_model(tiny_model)
    (tmp_path / "archive").mkdir()
    spot_video(tmp_path / "archive" / "one.mp4", 30)
    (tmp_path / "archive" / "broken.mp4").write_bytes(b"no video")
    return tmp_path / "archive"


def listen(monkeypatch: pytest.MonkeyPatch, receiver: WebReceiver) -> None:
    monkeypatch.setenv("NIGHTJAR_NOTIFY_URLS", receiver.url())
    read_settings.cache_clear()


@pytest.mark.usefixtures("prefect_server", "home")
def test_a_night_tells_its_outcome_and_its_events(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with web_receiver() as web:
        listen(monkeypatch, web)
        nightly_batch(str(archive), model="tiny", overlay="none")
        [night] = web.bodies
        assert "completed" in night["title"]
        assert "quarantined: 1, 1 x " in night["message"]
        assert "/runs/flow-run/" in night["message"]
        assert "\npage: http://127.0.0.1:4270/night/1 (run 'nightjar browse')\n" in night["message"]
        assert night["attachments"] == []

        add_fall(open_database(read_settings().database))
        result = CliRunner().invoke(main, ["notify"])
        assert result.exit_code == 0, result.output
        assert PASSWORD not in result.output
        _, event, again = web.bodies
    assert event["title"] == "Critical: fall at back door"
    assert "video: one.mp4" in event["message"]
    assert "events: fall 1" in again["message"]
    assert event["attachments"][0]["mimetype"] == "image/jpeg"
    jpeg = base64.b64decode(event["attachments"][0]["base64"])
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (224, 224, 3)
    assert int(picture.max()) > 200, "the spot of the frame"


def add_fall(engine: Engine) -> None:
    """Add a fall to the night's video, and forget that anything was sent."""
    with writing(engine) as connection:
        connection.execute(update(recordings).values(camera="back door"))
        connection.execute(update(videos).values(notified_at=None))
        connection.execute(update(batches).values(notified_at=None, batch_key="forgotten"))
        video_id, analysis_id = connection.execute(select(analyses.c.video_id, analyses.c.analysis_id)).one()
    evaluate(MadeUpNight(engine, video_id, 1, analysis_id), ["fall"])


def test_a_picture_is_small() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1080, 1920, 3), np.uint8)
    jpeg = small_jpeg(noise)
    assert 0 < len(jpeg) <= MOST_BYTES
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) is not None
