"""Progress as a line of text; the tests of the flows cover the bar and the artifact."""

import time

import pytest

from tasks.text.progress import FrameProgress


def test_a_line_shows_frames_speed_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    frames = FrameProgress(1000)
    assert frames.text() == "0 of 1,000 frames"
    now[0] += 1.0
    frames.add(100, "a.mp4")
    assert frames.text("a.mp4") == "100 of 1,000 frames, 100 frames/s, 9 s left, a.mp4"
    now[0] += 4.0
    frames.add(900)
    assert frames.text() == "1,000 of 1,000 frames, 200 frames/s, 0 s left"
