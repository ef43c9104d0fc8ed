"""The functions below the tasks of a night, called without Prefect."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from models.inference.spec import RuntimeSpec
from storage.ledger import batches
from storage.sandbox.parent import Sandbox
from storage.sql.query import query
from tasks.batch.listing import read_archive
from tasks.batch.local import run_segments, set_up
from tasks.batch.night import NightKey, open_night
from tasks.batch.pictures import draw_pictures
from tasks.model.store import take_model
from tasks.site.owner import this_owner
from tasks.site.site import open_site
from tasks.text.progress import FrameProgress
from tests.flows.conftest import has_spot, register_tiny_model, spot_video

NOBODY = "http://127.0.0.1:9/api"
FRAMES = 30


@pytest.fixture
def key(home: Path, tiny_model: Path, tmp_path: Path) -> NightKey:
    """A batch over an archive with one film, without any work done."""
    register_tiny_model(tiny_model)
    archive = tmp_path / "archive"
    archive.mkdir()
    spot_video(archive / "one.mp4", FRAMES)
    with open_site() as site:
        model_version_id, folder, manifest = take_model(site, "tiny")
        batch_id = batches.start_batch(site.engine, str(archive), model_version_id, "local", this_owner())
    return NightKey(str(archive), batch_id, model_version_id, folder, manifest)


def test_a_night_needs_no_prefect(key: NightKey) -> None:
    """Listing, segments and pictures, each with resources of its own, as tasks open them."""
    with temporary_settings({PREFECT_API_URL: NOBODY, PREFECT_CLIENT_MAX_RETRIES: 0}):
        with open_night(key) as night:
            listing = read_archive(night, 1)
            batches.expect_segments(night.site.engine, key.batch_id, listing.entries, 1, 0)
        with open_night(key) as night:
            progress = FrameProgress(FRAMES)
            run_segments(night, listing.entries, listing.probes, set_up(night, RuntimeSpec()), progress)
        with open_night(key) as night:
            pictures = draw_pictures(night, listing.entries, "none")
            found = [tuple(row) for row in query(night.site.engine, "SELECT frame FROM poses ORDER BY frame")[1]]
            counts = batches.count_segments(night.site.engine, key.batch_id)
    assert (counts.frames_missing, progress.done, found) == (
        0,
        FRAMES,
        [(frame,) for frame in range(FRAMES) if has_spot(frame)],
    )
    assert pictures.sheet.startswith(b"\x89PNG")


def test_many_files_are_probed_two_at_a_time_and_listed_as_one_by_one(
    key: NightKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 7):
        spot_video(Path(key.location) / f"{number}.mp4", 5 + number)
    (Path(key.location) / "3.mp4").write_bytes(b"not a video")
    monkeypatch.setattr("tasks.batch.listing.MANY_FILES", 2)
    started: list[Sandbox] = []

    def start(limit: int) -> Sandbox:
        started.append(Sandbox(limit))
        return started[-1]

    monkeypatch.setattr("tasks.batch.listing.Sandbox", start)
    with open_night(key) as night:
        listing = read_archive(night, 60)
        videos = [tuple(row) for row in query(night.site.engine, "SELECT video_id, frames FROM videos ORDER BY 1")[1]]
    assert [listing.entries[video].key for video, _ in videos] == [f"{name}.mp4" for name in (1, 2, 4, 5, 6, "one")]
    assert [frames for _, frames in videos] == [6, 7, 9, 10, 11, FRAMES]
    assert listing.refused == 1
    assert [sandbox.pid for sandbox in started] == [None]  # it served, and ended
