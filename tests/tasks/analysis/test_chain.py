"""Tracks and motion across the files of a recording, on both databases, with the real tracker and the real motion."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, select, update

from models.checkpoints import read_arrays, write_arrays
from models.tracking import tracker
from models.tracking.params import TrackParams
from models.types import Poses
from storage.ledger import analysis_claims, chain, due_analyses
from storage.ledger.commit import commit_segment
from storage.sql.catalogue import show_model
from storage.sql.database import open_database, writing
from storage.sql.query import query
from storage.sql.tables import analyses as table
from storage.sql.tables import archive_files, segments
from tasks.analysis.continued.checkpoint import read_checkpoint
from tasks.analysis.due import analyse_history, analyse_night
from tasks.analysis.recordings import arrange
from tests.servers_postgres import write_migrated
from tests.storage.samples import make_report, make_video, must_claim, planned_batch, record_file
from tests.storage.walkers import walkers
from tests.tasks.analysis.filmed import MIDNIGHT

LEASE_S, GAP_S, FPS, PEOPLE = 60.0, 2.0, 25, 3
ROWS = {
    "people": "SELECT v.sha256, p.frame, p.person, p.track FROM people AS p JOIN videos AS v USING (video_id)"
    " ORDER BY v.sha256, p.frame, p.person",
    "tracks": "SELECT v.sha256, t.track, first_frame, last_frame, first_s, last_s, t.frames, mean_score, box_left,"
    " box_top, box_width, box_height FROM tracks AS t JOIN analyses AS a USING (analysis_id) JOIN videos AS v USING"
    " (video_id) WHERE a.status = 'done' ORDER BY v.sha256, t.track",
    "motion": "SELECT v.sha256, m.* FROM track_motion AS m JOIN videos AS v USING (video_id)"
    " ORDER BY v.sha256, m.track, m.frame",
    "counts": "SELECT v.sha256, a.people, a.tracks, a.made_from, a.decided_frame, a.continued_by FROM analyses AS a"
    " JOIN videos AS v USING (video_id) WHERE status = 'done' ORDER BY v.sha256",
}
# Numbers that depend on the order in which files arrive, and times, which SQLite returns as text.
UNTOLD = {"video", "video_id", "model_version_id", "at", "local_at"}


class Camera:
    """A camera whose files are cut from one film of walkers, at these frames."""

    def __init__(self, engine: Engine, edges: Sequence[int], gap_s: float = GAP_S) -> None:
        self.engine, self.edges, self.gap_s = engine, edges, gap_s
        self.name, self.model_version_id, self.batch_id = "door", 0, 0

    def add(self, number: int) -> None:
        """Let a file arrive, with all of its rows, and arrange."""
        self.plan(number)
        self.commit(number)
        arrange(self.engine, self.gap_s)

    def key(self, number: int) -> str:
        return f"{self.name}/{number:03d}.mp4"

    def plan(self, number: int) -> None:
        start, stop = self.edges[number], self.edges[number + 1]
        video = replace(make_video(f"{ord(self.name[0])}{number:062d}", stop - start), width=1920, height=1080)
        video_id, self.model_version_id, self.batch_id = planned_batch(self.engine, video, stop - start)
        record_file(self.engine, "archive/", self.key(number), 1, "etag", video_id=video_id)
        place = {"camera": self.name, "start_at": MIDNIGHT + timedelta(seconds=start / FPS), "time_zone": "UTC"}
        with writing(self.engine) as connection:
            mine = archive_files.c.key == self.key(number)
            connection.execute(update(archive_files).where(mine).values(place))
        show_model(self.engine, "pose", self.model_version_id)

    def commit(self, number: int) -> None:
        start, stop = self.edges[number], self.edges[number + 1]
        film = walkers(start, stop, PEOPLE)
        poses = Poses(film.frame - start, film.person, film.frame / FPS - start / FPS, *columns(film))
        assert commit_segment(self.engine, must_claim(self.engine, self.batch_id), poses, make_report(stop - start))

    def night(self) -> int:
        done = analyse_night(self.engine, self.model_version_id, LEASE_S)
        assert not done.failed
        assert not due_analyses.awaiting(self.engine)
        return done.videos


def columns(poses: Poses) -> tuple[np.ndarray, ...]:
    return poses.scores, poses.keypoints, poses.keypoint_scores


def answers(engine: Engine) -> dict[str, list[tuple]]:
    found = {}
    for name, sql in ROWS.items():
        names, rows = query(engine, sql)
        kept = [index for index, column in enumerate(names) if column not in UNTOLD]
        found[name] = [tuple(row[index] for index in kept) for row in rows]
    return found


def all_at_once(engine: Engine, edges: Sequence[int]) -> dict[str, list[tuple]]:
    camera = Camera(engine, edges)
    for number in range(len(edges) - 1):
        camera.add(number)
    assert camera.night() == len(edges) - 1
    return answers(engine)


EDGES = (0, 180, 210, 330, 470)  # one file is shorter than the time that a decision looks ahead


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple]]:
    """Rows of all files of EDGES, analysed in one night, on SQLite."""
    engine = open_database(write_migrated(tmp_path_factory.mktemp("chain") / "expected.sqlite"))
    found = all_at_once(engine, EDGES)
    engine.dispose()
    return found


def rounded(found: dict[str, list[tuple]]) -> dict[str, list[tuple]]:
    """Rows of either database: one returns a REAL as it is, the other its shortest text."""
    return {
        name: [tuple(np.float32(value) if isinstance(value, float) else value for value in row) for row in rows]
        for name, rows in found.items()
    }


def test_files_of_a_recording_have_the_tracks_of_one_film(engine: Engine, expected: dict[str, list[tuple]]) -> None:
    """The rows of the same film in one file, cut at the frames where the files begin."""
    whole = all_at_once(engine, (EDGES[0], EDGES[-1]))
    starts = {f"{ord('d')}{number:062d}": edge for number, edge in enumerate(EDGES[:-1])}
    joined = sorted((starts[sha256] + frame, *rest) for sha256, frame, *rest in expected["people"])
    assert joined == [row[1:] for row in whole["people"]]
    names = [name for name in query(engine, "SELECT * FROM track_motion")[0] if name not in UNTOLD]
    frame, t_s = 1 + names.index("frame"), 1 + names.index("t_s")
    moved = sorted(
        (row[frame] + starts[row[0]], *(value for at, value in enumerate(row) if at not in (0, frame, t_s)))
        for row in expected["motion"]
    )
    of_whole = sorted(
        (row[frame], *(v for at, v in enumerate(row) if at not in (0, frame, t_s))) for row in whole["motion"]
    )
    assert [row[:2] for row in moved] == [row[:2] for row in of_whole]


@pytest.mark.parametrize(
    "order",
    [
        (0, 1, 2, 3),
        (3, 2, 1, 0),
        pytest.param((0, 2, 3, 1), marks=pytest.mark.slow),
        pytest.param((1, 3, 0, 2), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_order_of_arrival_changes_no_row(
    engine: Engine, expected: dict[str, list[tuple]], order: tuple[int, ...]
) -> None:
    """A night after each file."""
    camera = Camera(engine, EDGES)
    for number in order:
        camera.add(number)
        camera.night()
    assert rounded(answers(engine)) == rounded(expected)
    assert not due_analyses.outdated(engine, 1)
    stored = [query(engine, f"SELECT count(*) FROM {table}")[1].__next__()[0] for table in ("tracks", "motion")]
    assert stored == [len(expected[table]) for table in ("tracks", "motion")]


def test_a_file_at_the_end_is_all_that_is_analysed(engine: Engine) -> None:
    camera = Camera(engine, EDGES)
    for number in range(4):
        camera.add(number)
        assert camera.night() == 1


def test_a_file_in_the_middle_is_put_in_its_place(engine: Engine, expected: dict[str, list[tuple]]) -> None:
    """Later files are analysed again, and the file before it for its last rows."""
    camera = Camera(engine, EDGES, gap_s=10.0)
    for number in (0, 1, 3):
        camera.add(number)
    assert camera.night() == 3
    camera.add(2)
    assert camera.night() == 3
    assert rounded(answers(engine)) == rounded(expected)


def test_a_file_that_moves_to_another_camera_leaves_no_trace(engine: Engine, expected: dict[str, list[tuple]]) -> None:
    camera = Camera(engine, (*EDGES, 600))
    for number in range(5):
        camera.add(number)
    camera.night()
    with writing(engine) as connection:
        connection.execute(update(archive_files).where(archive_files.c.key == camera.key(4)).values(camera="shed"))
    arrange(engine, GAP_S)
    camera.night()
    moved = f"{ord('d')}{4:062d}"
    left = {name: [row for row in rows if row[0] != moved] for name, rows in answers(engine).items()}
    assert rounded(left) == rounded(expected)


def test_the_same_bytes_under_two_cameras_are_analysed_in_both(engine: Engine) -> None:
    camera = Camera(engine, EDGES)
    for number in (0, 1):
        camera.add(number)
    video_id = query(engine, "SELECT max(video_id) FROM videos")[1].__next__()[0]
    record_file(engine, "archive/", "shed/copy.mp4", 1, "etag", video_id=video_id)
    place = {"camera": "shed", "start_at": MIDNIGHT, "time_zone": "UTC"}
    with writing(engine) as connection:
        connection.execute(update(archive_files).where(archive_files.c.key == "shed/copy.mp4").values(place))
    arrange(engine, GAP_S)
    assert camera.night() == 3
    assert not due_analyses.outdated(engine, 1)


def test_rows_that_come_late_change_what_follows(engine: Engine, expected: dict[str, list[tuple]]) -> None:
    """The first file is inferred last: in the meantime the others are analysed without it."""
    camera = Camera(engine, EDGES)
    camera.plan(0)
    late = camera.batch_id
    for number in (1, 2, 3):
        camera.add(number)
    assert due_analyses.awaiting(engine, in_order=True) == []
    assert camera.night() == 3
    camera.batch_id = late
    camera.commit(0)
    assert camera.night() == 4
    assert rounded(answers(engine)) == rounded(expected)


def test_a_chain_by_other_parameters(engine: Engine) -> None:
    camera = Camera(engine, EDGES)
    for number in range(4):
        camera.add(number)
    camera.night()
    before = answers(engine)["people"]
    done = analyse_history(engine, {"smoothed_keypoints": True}, LEASE_S)
    assert (done.videos, done.shown) == (4, True)
    assert answers(engine)["people"] == before


def test_two_processes_never_make_a_chain_out_of_order(engine: Engine) -> None:
    camera = Camera(engine, EDGES)
    for number in (0, 1):
        camera.add(number)
    camera.night()
    done = analyse_history(engine, {"max_gap_s": 2.5}, LEASE_S)
    version = 2
    assert done.videos == 2
    with writing(engine) as connection:
        connection.execute(update(table).where(table.c.analysis_version_id == version).values(status=None))
    first, second = due_analyses.outdated(engine, version)
    claim = analysis_claims.claim_analysis(engine, first, version, "one", LEASE_S)
    assert claim is not None
    assert analysis_claims.claim_analysis(engine, second, version, "other", LEASE_S) is None
    analysis_claims.abandon_analysis(engine, claim)
    assert analysis_claims.claim_analysis(engine, second, version, "other", LEASE_S) is not None


def test_a_checkpoint_that_cannot_be_read_is_made_again(engine: Engine, expected: dict[str, list[tuple]]) -> None:
    camera = Camera(engine, EDGES)
    for number in (0, 1, 2):
        camera.add(number)
    camera.night()
    with writing(engine) as connection:
        connection.execute(update(table).values(checkpoint=b"rotten"))
    camera.add(3)
    assert camera.night() > 1
    assert rounded(answers(engine)) == rounded(expected)


def test_a_checkpoint_whose_fault_shows_at_the_first_pose_is_made_again(
    engine: Engine, expected: dict[str, list[tuple]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tracker has seen a later frame than any of the recording."""
    makers, maker_of = [""], tracker._maker

    def maker(params: TrackParams, size: tuple[int, int], frame_s: float | None) -> str:
        makers[0] = maker_of(params, size, frame_s)
        return makers[0]

    monkeypatch.setattr(tracker, "_maker", maker)
    camera = Camera(engine, EDGES)
    for number in (0, 1, 2):
        camera.add(number)
    camera.night()
    with writing(engine) as connection:
        for analysis_id, data in connection.execute(select(table.c.analysis_id, table.c.checkpoint)).all():
            state = read_checkpoint(data)
            arrays = read_arrays(state.tracker, makers[0], tracker._LAYOUT)
            arrays["last_frame"][:] = 10**6
            forged = replace(state, tracker=write_arrays(makers[0], arrays)).to_bytes()
            connection.execute(update(table).where(table.c.analysis_id == analysis_id).values(checkpoint=forged))
    camera.add(3)
    assert camera.night() > 1
    assert rounded(answers(engine)) == rounded(expected)


@pytest.mark.parametrize("files", [36, pytest.param(360, marks=pytest.mark.slow)])
def test_one_dwell_through_many_files(tmp_path: Path, files: int) -> None:
    """Somebody who stands through files of ten seconds, 360 of which are an hour, at five frames per second."""
    engine = open_database(write_migrated(tmp_path / "hour.sqlite"))
    edges = [10 * FPS * number for number in range(files + 1)]
    one = walkers(0, 1, people=1)
    camera = Camera(engine, edges)

    def standing(number: int) -> Poses:
        frame = np.arange(0, 10 * FPS, 5)
        shape = (len(frame), *(1,) * 2)
        keypoints = np.tile(np.nan_to_num(one.keypoints, nan=300.0), shape)
        return Poses(
            frame,
            np.zeros(len(frame), np.int16),
            frame / FPS,
            np.full(len(frame), 0.9, np.float32),
            keypoints,
            np.tile(np.float32(0.9), (len(frame), 17)),
        )

    for number in range(files):
        camera.plan(number)
        claim = must_claim(engine, camera.batch_id)
        assert commit_segment(engine, claim, standing(number), make_report(10 * FPS))
    arrange(engine, GAP_S)
    assert camera.night() == files
    found = query(engine, "SELECT count(DISTINCT track), count(*), sum(frames) FROM tracks")[1].__next__()
    assert found == (1, files, files * 50)
    summed = query(engine, "SELECT frames, duration_s FROM track_summary")[1].__next__()
    assert summed == (files * 50, pytest.approx(10 * files - 0.2))
    engine.dispose()


def checkpoints(engine: Engine) -> list[bool]:
    """Return which analyses of the recording have a checkpoint, in the order of its files."""
    rows = query(
        engine,
        "SELECT a.checkpoint IS NOT NULL FROM analyses AS a JOIN recording_videos AS r USING (recording_id, video_id)"
        " WHERE a.status = 'done' ORDER BY r.position",
    )[1]
    return [bool(has) for (has,) in rows]


@pytest.fixture
def few_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the checkpoints of the newest file and of the first one only."""
    monkeypatch.setattr(chain, "NEWEST_KEPT", 0)
    monkeypatch.setattr(chain, "KEPT_EVERY", 1000)


@pytest.mark.usefixtures("few_checkpoints")
def test_checkpoints_that_no_file_at_the_end_needs_are_removed(
    engine: Engine, expected: dict[str, list[tuple]]
) -> None:
    camera = Camera(engine, EDGES)
    for number in range(4):
        camera.add(number)
        assert camera.night() == 1
    assert checkpoints(engine) == [True, False, False, True]
    assert rounded(answers(engine)) == rounded(expected)


@pytest.mark.usefixtures("few_checkpoints")
@pytest.mark.parametrize("order", [(0, 1, 3, 2), (3, 1, 2, 0)], ids=str)
def test_a_file_behind_a_removed_checkpoint_changes_no_row(
    engine: Engine, expected: dict[str, list[tuple]], order: tuple[int, ...]
) -> None:
    """Analyses back to the nearest checkpoint are made again."""
    camera = Camera(engine, EDGES, gap_s=10.0)
    for number in order:
        camera.add(number)
        camera.night()
    assert rounded(answers(engine)) == rounded(expected)
    assert not due_analyses.outdated(engine, 1)


@pytest.mark.usefixtures("few_checkpoints")
def test_a_file_that_is_inferred_again_behind_a_removed_checkpoint(
    engine: Engine, expected: dict[str, list[tuple]]
) -> None:
    """Analysis 3 is dropped: its predecessor has no checkpoint, and neither has the one before that."""
    camera = Camera(engine, EDGES)
    for number in range(4):
        camera.add(number)
    camera.night()
    with writing(engine) as connection:
        last = query(engine, "SELECT max(analysis_id) FROM analyses WHERE status = 'done'")[1].__next__()[0]
        connection.execute(update(table).where(table.c.analysis_id == last).values(chain.DROPPED))
        connection.execute(update(segments).values(awaits_analysis=True))
    assert checkpoints(engine) == [True, False, False]
    assert camera.night() >= 3  # 1, 2 and 3; the first one is continued from its checkpoint
    assert rounded(answers(engine)) == rounded(expected)


def test_some_checkpoints_are_kept_for_files_in_the_middle(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "NEWEST_KEPT", 1)
    monkeypatch.setattr(chain, "KEPT_EVERY", 3)
    camera = Camera(engine, range(0, 201, 25))
    for number in range(8):
        camera.add(number)
    camera.night()
    assert checkpoints(engine) == [True, False, False, True, False, False, True, True]
