"""A partial recording is recognised as a prefix of the finished one, even if the header has changed."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.video.coded_film import CodedDigest, CodedFilm
from storage.video.probe import probe_video
from tests.recordings import record
from tests.videos import numbered_picture

FRAMES, HALFWAY = 60, 40
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "1")
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-lag-in-frames", "0", "-cluster_time_limit", "200")
MPEG4 = ("-c:v", "mpeg4", "-bf", "2")
# True if the finished file also begins with the bytes of the partial one.
RECORDERS = {
    "a.flv": (X264, False),
    "a.mkv": ((*X264, "-cluster_time_limit", "200"), False),
    "reserved.mkv": ((*X264, "-cluster_time_limit", "200", "-reserve_index_space", "2000"), False),
    "a.webm": (VP8, False),
    "a.avi": (MPEG4, False),
    "h264.avi": (X264, False),
    "a.mxf": (("-c:v", "mpeg2video"), False),
    "a.wmv": (("-c:v", "wmv2"), False),
    "a.mp4": ((*X264, "-movflags", "frag_keyframe+empty_moov"), True),
    "a.ts": (X264, True),
}


def films(first: int = 0) -> list[NDArray[np.uint8]]:
    return [numbered_picture(first + number) for number in range(FRAMES)]


def digest_of(packets: list[bytes], former: CodedFilm | None = None) -> CodedDigest:
    digest = CodedDigest(former)
    for packet in packets:
        digest.add(memoryview(packet))
    return digest


def continues(path: Path, former: CodedFilm) -> bool:
    digest = CodedDigest(former)
    probe_video(path, coded=digest)
    return digest.continues_former


def coded(path: Path) -> CodedFilm:
    video, _ = probe_video(path)
    assert video.coded_bytes is not None
    assert video.coded_sha256 is not None
    return CodedFilm(video.coded_bytes, video.coded_sha256)


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1), st.lists(st.binary(min_size=1, max_size=8), min_size=1))
def test_a_film_continues_its_prefix(whole: list[bytes], other: list[bytes]) -> None:
    """The plain comparison of all bytes is the oracle."""
    former = digest_of(other).film
    assert digest_of(whole, former).continues_former == b"".join(whole).startswith(b"".join(other))


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1), st.data())
def test_a_truncated_last_picture_is_a_prefix_of_the_complete_one(whole: list[bytes], data: st.DataObject) -> None:
    joined = b"".join(whole)
    part = joined[: data.draw(st.integers(1, len(joined)))]
    assert digest_of(whole, digest_of([part]).film).continues_former
    assert not digest_of([part], digest_of([*whole, b"more"]).film).continues_former


@pytest.mark.parametrize("name", RECORDERS)
def test_a_finished_recording_continues_its_partial_file(tmp_path: Path, name: str) -> None:
    coding, same_beginning = RECORDERS[name]
    whole, part = tmp_path / name, tmp_path / f"part_{name}"
    part.write_bytes(record(whole, films(), HALFWAY, *coding))
    assert whole.read_bytes().startswith(part.read_bytes()) == same_beginning
    former = coded(part)
    assert 5 < probe_video(part)[0].frames <= HALFWAY
    assert continues(whole, former)
    assert not continues(part, coded(whole)), "a film that became shorter is a different one"
    record(whole, [*films()[:10], *films(500)[10:]], HALFWAY, *coding)
    assert not continues(whole, former), "a film with the same beginning only"


def test_reserved_space_that_is_filled_later_hides_nothing(tmp_path: Path) -> None:
    """Part and whole have the same size."""
    whole, part = tmp_path / "a.ts", tmp_path / "part.ts"
    taken = record(whole, films(), HALFWAY, *X264)
    part.write_bytes(taken.ljust(whole.stat().st_size, b"\0"))
    assert continues(whole, coded(part))
