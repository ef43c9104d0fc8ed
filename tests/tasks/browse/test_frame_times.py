"""Times and geometry of a video's frames: exact, probed once, and a plain error for files that cannot be read."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from models.types import NightjarError
from storage.ledger.commit import commit_segment
from storage.sql.browse.videos import StoredVideo, stored_video
from storage.sql.catalogue import show_model
from storage.sql.database import open_database, writing
from storage.sql.tables import videos
from storage.video.probe import probe_video
from tasks.browse import frame_times
from tasks.browse.frame_times import UnreadableVideo, probed_video, shown_geometry
from tasks.segment import open_video
from tasks.site.settings import Settings
from tasks.site.site import Site
from tasks.site.stores import artifact_store
from tests.deployments.browse.conftest import client_of, open_browse
from tests.deployments.browse.test_data import decoded
from tests.ffmpeg import ffprobe
from tests.servers_postgres import write_migrated
from tests.storage.samples import make_poses, make_report, must_claim, planned_batch, record_file, register_video
from tests.storage.samples import make_video as made_up
from tests.videos import make_video

UNEVEN = [0.0, 0.04, 0.1, 0.35, 0.36, 1.2, 1.21, 1.5, 1.8, 2.5]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty home, and an archive in the folder `films`."""
    (tmp_path / "films").mkdir()
    url = write_migrated(tmp_path / "nightjar.sqlite")
    settings = Settings(home=tmp_path / "home", database_url=url, _env_file=None)
    engine = open_database(url)
    yield Site(settings, engine, artifact_store(settings))
    engine.dispose()


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are probed."""
    found: list[Path] = []

    def probe(sandbox: Any, path: Path, limits: Any) -> Any:
        found.append(path)
        return open_video.probe(sandbox, path, limits)

    monkeypatch.setattr(frame_times, "probe", probe)
    return found


def folder_of(site: Site) -> Path:
    return site.settings.home.parent / "films"


def store(site: Site, path: Path, sha256: str | None = None) -> StoredVideo:
    """Store a file as a batch does. sha256: of a file that is no video, which only a video could be"""
    video = made_up(sha256) if sha256 else probe_video(path)[0]
    video_id = register_video(site.engine, video)
    status = path.stat()
    record_file(site.engine, str(path.parent), path.name, status.st_size, str(status.st_mtime_ns), video_id=video_id)
    found = stored_video(site.engine, video.sha256)
    assert found is not None
    return found


def client(site: Site) -> TestClient:
    return client_of(open_browse(site.settings))


def test_times_are_those_of_a_player(site: Site, probes: list[Path]) -> None:
    """The same as ffprobe's, of a variable frame rate; read once."""
    path = make_video(folder_of(site) / "uneven.mkv", times_s=UNEVEN, frames=len(UNEVEN))
    video = store(site, path)
    answers = [client(site).get(f"/api/video/{video.sha256[:16]}/times") for _ in range(2)]
    times = np.frombuffer(answers[0].content, "<f8")
    told = json.loads(ffprobe("-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "json", path))
    assert times == pytest.approx([float(frame["pts_time"]) for frame in told["frames"]], abs=1e-6)
    assert answers[1].content == answers[0].content
    assert len(probes) == 1


def test_concurrent_requests_share_one_probe(site: Site, probes: list[Path]) -> None:
    video = store(site, make_video(folder_of(site) / "a.mp4"))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: probed_video(site, video)[1].timestamps_s, range(4)))
    assert all(np.array_equal(each, found[0]) for each in found)
    assert len(probes) == 1


def test_a_hostile_file_is_probed_once_and_refused(
    site: Site, probes: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder_of(site) / "<img src=x>.mp4"
    path.write_bytes(b"\0\0\0\x18ftypmp42" + bytes(range(256)) * 40)
    video = store(site, path, hashlib.sha256(path.read_bytes()).hexdigest())
    for _ in range(2):
        answer = client(site).get(f"/api/video/{video.sha256[:16]}/times")
        assert (answer.status_code, answer.headers["content-type"]) == (400, "application/json")
        assert answer.json()["error"]
    assert client(site).get(f"/api/video/{video.sha256[:16]}/timeline").json()["width"] == video.width
    assert len(probes) == 1
    monkeypatch.setattr(frame_times, "FAILED_S", -1.0)
    with pytest.raises(UnreadableVideo):
        probed_video(site, video)
    assert len(probes) == 2


def test_a_file_with_other_bytes_is_not_the_video(site: Site) -> None:
    path = make_video(folder_of(site) / "a.mp4")
    video = store(site, path)
    make_video(path, frames=20)
    with pytest.raises(NightjarError):
        probed_video(site, video)
    status = path.stat()
    record_file(
        site.engine, str(path.parent), "a.mp4", status.st_size, str(status.st_mtime_ns), video_id=video.video_id
    )
    with pytest.raises(UnreadableVideo, match=r"has changed since it was read\. Run 'nightjar run"):
        probed_video(site, video)
    path.unlink()
    with pytest.raises(NightjarError):
        probed_video(site, video)


def test_a_damaged_cache_is_read_again(site: Site, probes: list[Path]) -> None:
    video = store(site, make_video(folder_of(site) / "a.mp4"))
    times = probed_video(site, video)[1].timestamps_s
    (kept,) = (site.settings.home / "cache" / "frames").glob("*.frames")
    sound = kept.read_bytes()
    for damage in (b"", sound[:-1], sound[:99] + b"x" + sound[100:]):
        kept.write_bytes(damage)
        assert np.array_equal(probed_video(site, video)[1].timestamps_s, times)
    assert len(probes) == 4


def test_rows_are_in_pixels_of_the_frames_as_they_are_read_now(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video that an earlier version read without its pixels' aspect: its rows are moved to the wider picture."""
    path = make_video(folder_of(site) / "wide.mp4", frames=20, pixel_aspect=Fraction(2))
    found = probe_video(path)[0]
    narrow = dataclasses.replace(found, width=found.stored_width, pixel_aspect=1.0)
    video_id, model_id, batch_id = planned_batch(site.engine, narrow, 20)
    video = store(site, path)
    with writing(site.engine) as connection:
        assert connection.execute(update(videos).values(width=narrow.width, pixel_aspect=1.0)).rowcount == 1
    show_model(site.engine, "pose", model_id)
    poses = make_poses(0, 20)
    assert commit_segment(site.engine, must_claim(site.engine, batch_id), poses, make_report(20))
    there = client(site)
    assert there.get(f"/api/video/{video.sha256[:16]}/timeline").json()["width"] == 2 * narrow.width
    x, y, _ = decoded(there.get(f"/api/video/{video.sha256[:16]}/pieces/0").content).keypoints
    np.testing.assert_allclose(x, poses.keypoints[:, :, 0] * 2 + 0.5, rtol=1e-4)
    np.testing.assert_allclose(y, poses.keypoints[:, :, 1], rtol=1e-4, atol=1e-3)
    path.unlink()
    (kept,) = (site.settings.home / "cache" / "frames").glob("*.frames")
    kept.unlink()
    monkeypatch.setattr(frame_times, "_GEOMETRIES", {})
    assert shown_geometry(site, video).size == (narrow.width, narrow.height)
    assert video_id == video.video_id
