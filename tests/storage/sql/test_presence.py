"""The view presence_intervals, compared with a plain loop over frames, on both databases."""

from collections.abc import Sequence
from itertools import groupby, pairwise

import numpy as np
import pytest
from sqlalchemy import Engine

from models.types import KEYPOINTS, Poses, Video
from storage.ledger.batches import expect_segments, start_batch
from storage.ledger.commit import commit_segment
from storage.ledger.leases import quarantine_segment
from storage.sql.catalogue import register_model, show_model
from storage.sql.query import query
from tests.storage.samples import cut, make_model, make_report, make_video, must_claim, plan_video, register_video

LENGTH = 40  # frames per segment
NOT_LOOKED_AT = {"x": "undecodable", "q": "quarantined", "-": "not_done"}
Interval = tuple[str, float, float]


def load_film(engine: Engine, video: Video, states: str, t_s: Sequence[float] | None = None) -> None:
    """One letter per frame: `p` people, `.` nobody, `x` undecodable; whole segments: `-` not done, `q` quarantined."""
    video_id, model_version_id = register_video(engine, video), register_model(engine, make_model())
    plan_video(engine, video_id, model_version_id, cut(video, LENGTH))
    batch_id = start_batch(engine, "archive/", model_version_id, "local", "owner")
    expect_segments(engine, batch_id, [video_id], files_listed=1, files_quarantined=0)
    show_model(engine, "pose", model_version_id)
    times = np.arange(video.frames) / (video.fps or 0) if t_s is None else np.asarray(t_s)
    for _ in range(0, video.frames, LENGTH):
        mine = must_claim(engine, batch_id)
        numbers = range(mine.segment.start_frame, mine.segment.stop_frame)
        if states[numbers.start] == "-":
            continue
        if states[numbers.start] == "q":
            assert quarantine_segment(engine, mine, "damaged")
            continue
        seen = np.array([number for number in numbers if states[number] == "p"], np.int64)
        broken = tuple(number for number in numbers if states[number] == "x")
        report = make_report(mine.segment.frames - len(broken), broken)
        assert commit_segment(engine, mine, somebody(seen, times[seen]), report)


def somebody(frame: np.ndarray, t_s: np.ndarray) -> Poses:
    """One person in each of these frames."""
    n = len(frame)
    return Poses(
        frame=frame,
        person=np.zeros(n, np.int16),
        t_s=t_s.astype(np.float64),
        scores=np.ones(n, np.float32),
        keypoints=np.ones((n, KEYPOINTS, 2), np.float32),
        keypoint_scores=np.ones((n, KEYPOINTS), np.float32),
    )


def intervals(engine: Engine) -> list[Interval]:
    _, rows = query(engine, "SELECT state, from_s, to_s FROM presence_intervals ORDER BY video_id, from_s, to_s")
    return [(state, from_s, to_s) for state, from_s, to_s in rows]


def expected(states: str, fps: float) -> list[Interval]:
    """Compute frame by frame: people, runs that were not looked at, and what lies between them for over a second."""
    marks = [("people", number / fps, number / fps) for number, state in enumerate(states) if state == "p"]
    for letter, run in groupby(enumerate(states), key=lambda pair: pair[1]):
        numbers = [number for number, _ in run]
        if letter in NOT_LOOKED_AT:
            marks.append((NOT_LOOKED_AT[letter], numbers[0] / fps, (numbers[-1] + 1) / fps))
    marks.sort(key=lambda mark: mark[1])
    ends = [("start", 0.0, 0.0), *marks, ("end", len(states) / fps, len(states) / fps)]
    found: list[Interval] = []
    for before, mark in pairwise(ends):
        empty = mark[1] - before[2] > 1 + 1e-9
        if empty:
            found.append(("nobody", before[2], mark[1]))
        if mark[0] == before[0] and not empty:
            found[-1] = (mark[0], found[-1][1], mark[2])
        elif mark[0] != "end":
            found.append(mark)
    return found


def random_states(rng: np.random.Generator) -> str:
    """Intervals of all kinds; some segments are not done."""
    frames, letters = int(rng.integers(1, 6)) * LENGTH, ""
    while len(letters) < frames:
        letters += str(rng.choice(["p", ".", "x"], p=[0.4, 0.4, 0.2])) * int(rng.geometric(0.06))
    parts = [letters[start : start + LENGTH] for start in range(0, frames, LENGTH)]
    return "".join(str(rng.choice(["-", "q"])) * LENGTH if rng.random() < 0.2 else part for part in parts)


def test_the_view_distinguishes_people_nobody_and_why_nothing_was_seen(engine: Engine) -> None:
    rng = np.random.default_rng(7)
    films = [random_states(rng) for _ in range(25)]
    for number, states in enumerate(films):
        load_film(engine, make_video(f"{number:064x}", len(states)), states)
    wanted = [interval for states in films for interval in expected(states, 25.0)]
    found = intervals(engine)
    assert [state for state, _, _ in found] == [state for state, _, _ in wanted]
    assert np.array([times for _, *times in found]) == pytest.approx(np.array([times for _, *times in wanted]))
    assert {"people", "nobody", *NOT_LOOKED_AT.values()} == {state for state, _, _ in found}


def test_a_film_without_people_is_empty_throughout(engine: Engine) -> None:
    load_film(engine, make_video(frames=80), "." * 80)
    assert intervals(engine) == [("nobody", 0.0, 3.2)]


def test_a_slow_film_with_people_in_each_frame_has_no_empty_time(engine: Engine) -> None:
    """One frame every two seconds: the time between two frames is no absence."""
    film = Video("d" * 64, 1, "mp4", "h264", 640, 480, 0, 6, 0.5, 12.0, 640, 480)
    load_film(engine, film, "pp.ppp")
    assert [state for state, _, _ in intervals(engine)] == ["people", "nobody", "people"]
    assert intervals(engine)[1] == ("nobody", 2.0, 6.0)


def test_times_of_rows_count_for_variable_frame_rates(engine: Engine) -> None:
    """Frames 0 to 9 last 0.1 s, frame 10 lasts 5 s, then 0.1 s again; frames 20 to 29 do not decode."""
    times = [*np.arange(11) / 10, *(6.0 + np.arange(29) / 10)]
    film = Video("e" * 64, 1, "mkv", "vp9", 640, 480, 0, 40, 40 / 8.9, 8.9, 640, 480)
    load_film(engine, film, "p" * 20 + "x" * 10 + "p" * 10, times)
    assert intervals(engine) == [
        ("people", 0.0, pytest.approx(times[19])),
        ("undecodable", pytest.approx(times[20]), pytest.approx(times[30])),
        ("people", pytest.approx(times[30]), pytest.approx(times[39])),
    ]


def test_frames_two_seconds_apart_leave_no_empty_time_between(engine: Engine) -> None:
    import dataclasses

    video, model = make_video(frames=400), dataclasses.replace(make_model("9" * 64), frames_per_second=0.5)
    video_id, model_version_id = register_video(engine, video), register_model(engine, model)
    plan_video(engine, video_id, model_version_id, cut(video, 400))
    batch_id = start_batch(engine, "archive/", model_version_id, "local", "owner")
    expect_segments(engine, batch_id, [video_id], files_listed=1, files_quarantined=0)
    show_model(engine, "pose", model_version_id)
    looked = np.arange(0, 400, 50)
    seen = np.delete(looked, 3)
    assert commit_segment(engine, must_claim(engine, batch_id), somebody(seen, seen / 25), make_report(400))
    assert intervals(engine) == [("people", 0.0, 4.0), ("nobody", 4.0, 8.0), ("people", 8.0, 14.0)]
