"""Overlays requested after a batch: video, frames, model and geometry."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from models.types import FrameIndex, NightjarError, Poses
from storage.ledger.commit import commit_segment
from storage.ledger.due_analyses import Due
from storage.ledger.plan import frames_done_in, videos_done
from storage.objects.archive import canonical
from storage.sql.analyses.shown_tracks import analysis_identity
from storage.sql.analyses.versions import register_analysis, show_first_analysis
from storage.sql.catalogue import mark_gone, show_model
from storage.video.frames import read_frames
from storage.video.probe import probe_video
from tasks.batch import overlays
from tasks.batch.overlays import DrawnModel, Part, draw_overlay, find_overlay, find_video, frames_between
from tasks.batch.spec import OverlayRequest
from tasks.segment.sandboxed import Drawn, _draw, frames_written, progress_file
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tasks.text.progress import FrameProgress
from tests.servers_postgres import write_migrated
from tests.storage.analysed import analyse_made_up
from tests.storage.samples import make_report, must_claim, planned_batch, record_file
from tests.videos import make_video

pytestmark = pytest.mark.usefixtures("forked_sandboxes")

FRAMES = 40
MODEL = DrawnModel(1, "1" * 64, "pose")  # as samples.make_model has it


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder with one film with wide pixels, displayed as 256x96; the first 20 of 40 frames are done."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    read_settings.cache_clear()
    write_migrated(tmp_path / "home" / "nightjar.db")
    (tmp_path / "archive").mkdir()
    path = make_video(tmp_path / "archive" / "cam.mp4", FRAMES, pixel_aspect=Fraction(2))
    video, _ = probe_video(path)
    with open_site() as opened:
        video_id, model_version_id, batch_id = planned_batch(opened.engine, video, length=20)
        show_model(opened.engine, "pose", model_version_id)
        status = path.stat()
        archive = canonical(str(path.parent))
        record_file(opened.engine, archive, "cam.mp4", status.st_size, str(status.st_mtime_ns), video_id=video_id)
        claims = [must_claim(opened.engine, batch_id) for _ in range(2)]  # the order is not defined
        first = min(claims, key=lambda claim: claim.segment.start_frame)
        commit_segment(opened.engine, first, one_person(), make_report(20), video=video)
        yield opened
    read_settings.cache_clear()


def one_person() -> Poses:
    """A person in frames 0 to 19 with every joint at x 200, y 48."""
    keypoints = np.full((20, 17, 2), (200, 48), np.float32)
    return Poses(
        np.arange(20),
        np.zeros(20, np.int16),
        np.arange(20) / 25,
        np.ones(20, np.float32),
        keypoints,
        np.ones((20, 17), np.float32),
    )


def test_a_part_is_drawn_in_displayed_pixels(site: Site) -> None:
    address, remark = draw_overlay(site, OverlayRequest("cam.mp4", from_s=0.2, to_s=0.6))
    video, _ = probe_video(Path(address))
    assert (video.width, video.height, video.frames, remark) == (256, 96, 10, "")
    drawn = next(read_frames(Path(address), video, probe_video(Path(address))[1], 0, 1)).rgb
    around = drawn[44:52, 196:204].astype(int)
    assert np.ptp(around, axis=2).max() > 60  # the coloured dot, in displayed pixels
    sha256 = Path(address).name.partition("-")[0]
    assert find_overlay(site.artifacts, MODEL, sha256, Part(5, 15, 10), None) == address
    assert find_overlay(site.artifacts, MODEL, sha256, Part(5, 15, 9), None) is None


def test_a_part_is_exported_to_a_file(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, counted = tmp_path / "part.MP4", []
    monkeypatch.setattr(FrameProgress, "add", lambda _, frames: counted.append(frames))
    monkeypatch.setattr(overlays, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(overlays, "frames_written", lambda out: 5)
    address, _ = draw_overlay(site, OverlayRequest("cam.mp4", from_s=0.2, to_s=0.6, output=output))
    assert (address, probe_video(output)[0].frames) == (str(output), 10)
    assert output.stat().st_mode & 0o077 == 0
    assert not list(site.artifacts.list("overlays/"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert counted[0] == 5, "the progress is shown meanwhile"


@pytest.mark.parametrize(("name", "words"), [("part.avi", "ends in .mp4"), ("no/part.mp4", "does not exist")])
def test_a_file_that_cannot_be_written_is_refused_before_any_work(
    site: Site, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(NightjarError, match=words):
        draw_overlay(site, OverlayRequest("no such video", output=tmp_path / name))


def test_faces_are_blurred_where_every_frame_is_processed(site: Site) -> None:
    request = OverlayRequest("cam.mp4", from_s=0.2, to_s=0.6)
    plain, blurred = (draw_overlay(site, replace(request, blur_faces=blur))[0] for blur in (False, True))
    assert Path(blurred).stem == f"{Path(plain).stem}-blurred"
    with pytest.raises(NightjarError, match="20 of 40 frames are not processed, so their faces cannot be blurred"):
        draw_overlay(site, OverlayRequest("cam.mp4", blur_faces=True))


def test_a_frame_is_drawn_with_blurred_heads() -> None:
    keypoints = np.full((1, 17, 2), 60, np.float32)
    keypoints[0, 5:] += (0, 400)  # the rest of the body is outside, and its lines beside the head
    one = np.ones(1, np.float32)
    rows = Poses(
        np.zeros(1, np.int64), np.zeros(1, np.int16), np.zeros(1), one, keypoints, np.ones((1, 17), np.float32)
    )
    before = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    plain, blurred = before.copy(), before.copy()
    _draw(plain, Drawn(rows, None), 0, 1.0, "")
    _draw(blurred, Drawn(rows, None, hide_faces=True), 0, 1.0, "")
    assert (plain[60, 40:50] == before[60, 40:50]).all()
    assert (blurred[60, 40:50] != before[60, 40:50]).any()
    assert (blurred[:5] == before[:5]).all()


def test_progress_counts_written_frames(tmp_path: Path) -> None:
    out = tmp_path / "overlay"
    assert frames_written(out) == 0
    progress_file(out).write_text("")
    assert frames_written(out) == 0
    progress_file(out).write_text("75")
    assert frames_written(out) == 75


def test_other_tracks_are_drawn_anew(site: Site) -> None:
    """With the track's number above the head. An overlay of no tracks, or of other ones, has another name."""
    before, _ = draw_overlay(site, OverlayRequest("cam.mp4", from_s=0.2, to_s=0.6))
    version = register_analysis(site.engine, "e" * 64, "{}")
    assert show_first_analysis(site.engine, version)
    video_id = find_video(site, "cam.mp4").video_id
    analyse_made_up(site.engine, Due(video_id, 1, 20), version)
    identity = analysis_identity(site.engine, video_id, 1)
    after, _ = draw_overlay(site, OverlayRequest("cam.mp4", from_s=0.2, to_s=0.6))
    assert identity is not None
    assert Path(after).stem == f"{Path(before).stem}-tracks-{identity}"
    pictures = [
        next(read_frames(Path(address), *probe_video(Path(address)), 0, 1)).rgb.astype(int)
        for address in (before, after)
    ]
    assert abs(pictures[0] - pictures[1])[:44].max() > 60


def test_unprocessed_frames_are_reported(site: Site) -> None:
    assert (
        draw_overlay(site, OverlayRequest("cam.mp4"))[1]
        == "Nothing is drawn on 20 of 40 frames, because they are not processed yet."
    )
    with pytest.raises(
        NightjarError, match=r"cam.mp4 has no rows in this interval. Run 'nightjar run .*archive' first"
    ):
        draw_overlay(site, OverlayRequest("cam.mp4", from_s=1.0))
    assert frames_done_in(site.engine, 1, 1, 10, 30) == 10
    assert videos_done(site.engine, 1) == {1}
    assert videos_done(site.engine, 2) == set()


def test_a_video_is_found_by_key_path_or_hash(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "archive" / "cam.mp4"
    names = ("cam.mp4", str(path), probe_video(path)[0].sha256[:12])
    assert len({draw_overlay(site, OverlayRequest(name, to_s=0.1))[0] for name in names}) == 1


def test_a_relative_path_is_found_from_the_current_folder(site: Site) -> None:
    assert find_video(site, "archive/cam.mp4").key == "cam.mp4"


def test_a_missing_file_is_drawn_from_its_copy(site: Site, tmp_path: Path) -> None:
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


def test_a_changed_file_is_not_drawn(site: Site, tmp_path: Path) -> None:
    path = make_video(tmp_path / "archive" / "cam.mp4", FRAMES + 1)
    for change in (path.touch, path.unlink):
        change()
        with pytest.raises(
            NightjarError, match=r"'cam.mp4' was removed or changed .* Run 'nightjar run .*archive' to read"
        ):
            draw_overlay(site, OverlayRequest("cam.mp4"))


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        ("cam.mp5", None, "Did you mean 'cam.mp4'"),
        ("cam.mp4", "posenet-07", "Did you mean 'posenet-075'"),
        ("%", None, "No run has read a video '%'. Run 'nightjar videos'"),
    ],
)
def test_a_wrong_name_gives_one_clear_error(site: Site, name: str, model: str | None, reason: str) -> None:
    with pytest.raises(NightjarError) as caught:
        draw_overlay(site, OverlayRequest(name, model))
    assert reason in str(caught.value)


def test_frames_between_two_seconds_are_selected() -> None:
    index = FrameIndex(np.arange(4), np.array([0.0, 0.5, 4.0, 4.5]), np.zeros(1, np.int64))
    assert frames_between(index, 0, None, "a") == (0, 4)
    assert frames_between(index, 0.5, 4.5, "a") == (1, 3)
    for from_s, to_s in ((5.0, None), (1.0, 0.5), (0.6, 3.9)):
        with pytest.raises(NightjarError, match=r"Give --from and --to between 0.00 and 4.50 s."):
            frames_between(index, from_s, to_s, "a")
