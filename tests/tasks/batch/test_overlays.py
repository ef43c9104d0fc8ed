"""Overlays that are asked for after the fact: which video, which frames, which model, and in which geometry."""

import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.types import FrameIndex, NightjarError, Poses
from storage.ledger.commit import commit_segment
from storage.ledger.plan import frames_done_in, videos_done
from storage.objects.archive import canonical
from storage.sql.catalogue import mark_gone, record_file, show_model
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tasks.batch.overlays import DrawnModel, Part, draw_overlay, find_overlay, find_video, frames_between
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tests.storage.samples import make_report, must_claim, planned_batch
from tests.videos import make_video

FRAMES = 40
MODEL = DrawnModel(1, "1" * 64, "pose")  # as samples.make_model has it


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder with one film of wide pixels, 256x96 as shown, of which the first 20 of 40 frames are done."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    (tmp_path / "archive").mkdir()
    path = make_video(tmp_path / "archive" / "cam.mp4", FRAMES, pixel_aspect=Fraction(2))
    video, _ = probe_video(path)
    with open_site() as opened:
        video_id, model_version_id, batch_id = planned_batch(opened.engine, video, length=20)
        show_model(opened.engine, "pose", model_version_id)
        status = path.stat()
        archive = canonical(str(path.parent))
        record_file(opened.engine, archive, "cam.mp4", status.st_size, str(status.st_mtime_ns), video_id=video_id)
        claims = [must_claim(opened.engine, batch_id) for _ in range(2)]  # they come in any order
        first = min(claims, key=lambda claim: claim.segment.start_frame)
        commit_segment(opened.engine, first, one_person(), make_report(20), video=video)
        yield opened
    read_settings.cache_clear()


def one_person() -> Poses:
    """Somebody in frames 0 to 19 whose every joint is at x 200, y 48."""
    keypoints = np.full((20, 17, 2), (200, 48), np.float32)
    return Poses(
        np.arange(20),
        np.zeros(20, np.int16),
        np.arange(20) / 25,
        np.ones(20, np.float32),
        keypoints,
        np.ones((20, 17), np.float32),
    )


def test_a_part_is_drawn_where_players_show_it(site: Site) -> None:
    address, remark = draw_overlay(site, "cam.mp4", from_s=0.2, to_s=0.6)
    video, _ = probe_video(Path(address))
    assert (video.width, video.height, video.frames, remark) == (256, 96, 10, "")
    drawn = next(read_frames(Path(address), video, probe_video(Path(address))[1], 0, 1)).rgb
    around = drawn[44:52, 196:204].astype(int)
    assert np.ptp(around, axis=2).max() > 60  # the coloured dot, in shown pixels
    sha256 = Path(address).name.partition("-")[0]
    assert find_overlay(site.artifacts, MODEL, sha256, Part(5, 15, 10)) == address
    assert find_overlay(site.artifacts, MODEL, sha256, Part(5, 15, 9)) is None


def test_frames_that_are_not_processed_are_said(site: Site) -> None:
    assert (
        draw_overlay(site, "cam.mp4")[1] == "Nothing is drawn on 20 of 40 frames, because they are not processed yet."
    )
    with pytest.raises(
        NightjarError, match=r"cam.mp4 has no rows in this interval. Run 'nightjar run .*archive' first"
    ):
        draw_overlay(site, "cam.mp4", from_s=1.0)
    assert frames_done_in(site.engine, 1, 1, 10, 30) == 10
    assert videos_done(site.engine, 1) == {1}
    assert videos_done(site.engine, 2) == set()


def test_a_video_is_known_by_key_path_and_hash(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "archive" / "cam.mp4"
    names = ("cam.mp4", str(path), probe_video(path)[0].sha256[:12])
    assert len({draw_overlay(site, name, to_s=0.1)[0] for name in names}) == 1


def test_a_path_is_found_from_the_folder_where_one_is(site: Site) -> None:
    assert find_video(site, "archive/cam.mp4").key == "cam.mp4"


def test_a_file_that_is_gone_is_drawn_from_its_copy(site: Site, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    copy = Path(shutil.copy(tmp_path / "archive" / "cam.mp4", tmp_path / "copies" / "cam.mp4"))
    status, video_id = copy.stat(), find_video(site, "cam.mp4").video_id
    copies = canonical(str(copy.parent))
    record_file(site.engine, copies, "cam.mp4", status.st_size, str(status.st_mtime_ns), video_id=video_id)
    mark_gone(site.engine, canonical(str(tmp_path / "archive")), ["cam.mp4"])
    assert find_video(site, "cam.mp4").archive == copies
    mark_gone(site.engine, copies, ["cam.mp4"])
    with pytest.raises(NightjarError, match=r"'cam.mp4' is no longer in .*(archive|copies). Put it back"):
        find_video(site, "cam.mp4")


def test_a_file_that_changed_since_is_not_drawn(site: Site, tmp_path: Path) -> None:
    path = make_video(tmp_path / "archive" / "cam.mp4", FRAMES + 1)
    for change in (path.touch, path.unlink):
        change()
        with pytest.raises(
            NightjarError, match=r"'cam.mp4' was removed or changed .* Run 'nightjar run .*archive' to read"
        ):
            draw_overlay(site, "cam.mp4")


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("cam.mp5", None, "Did you mean 'cam.mp4'"),
        ("cam.mp4", "posenet-07", "Did you mean 'posenet-075'"),
        ("%", None, "No run has read a video '%'. Run 'nightjar videos'"),
    ],
)
def test_a_wrong_name_is_a_sentence(site: Site, name: str, model: str | None, reason: str) -> None:
    with pytest.raises(NightjarError) as caught:
        draw_overlay(site, name, model)
    assert reason in str(caught.value)


def test_frames_between_two_seconds() -> None:
    index = FrameIndex(np.arange(4), np.array([0.0, 0.5, 4.0, 4.5]), np.zeros(1, np.int64))
    assert frames_between(index, 0, None, "a") == (0, 4)
    assert frames_between(index, 0.5, 4.5, "a") == (1, 3)
    for from_s, to_s in ((5.0, None), (1.0, 0.5), (0.6, 3.9)):
        with pytest.raises(NightjarError, match=r"Give --from and --to between 0.00 and 4.50 s."):
            frames_between(index, from_s, to_s, "a")
