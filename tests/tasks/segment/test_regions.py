"""Regions of a film's frames, cropped in the sandbox: the same for any segmentation."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.decoders.region_spec import RegionSpec
from models.inference.preprocess import RegionCuts, plan_cuts
from models.types import FrameIndex, Video
from storage.sandbox.parent import Sandbox
from storage.video.encode import write_video
from storage.video.probe import from_record, probe_record
from tasks.segment.sandboxed import region_tensors
from tasks.site.settings import Settings

SIZE, FRAMES, BOX = (320, 240), 40, 48
Cut = tuple[tuple[float, ...], bytes]


def box_left(frame: int) -> int:
    """Left edge of the chequered box, which is still for ten frames and then moves by 8 pixels per frame."""
    return 20 + 8 * max(0, frame - 9)


def street() -> Iterator[tuple[float, np.ndarray]]:
    box = np.random.default_rng(1).choice([20, 250], (BOX // 12, BOX // 12, 1)).repeat(12, axis=0).repeat(12, axis=1)
    for frame in range(FRAMES):
        picture = np.full((SIZE[1], SIZE[0], 3), 180, np.uint8)
        picture[100 : 100 + BOX, box_left(frame) : box_left(frame) + BOX] = box
        yield frame / 20, picture


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Video, FrameIndex]:
    path = write_video(tmp_path_factory.mktemp("film") / "street", street(), *SIZE, 20.0)
    return path, *from_record(probe_record(path, None))


def cut(
    film: tuple[Path, Video, FrameIndex], cuts: RegionCuts, start: int, stop: int, wanted: list[int] | None = None
) -> list[Cut]:
    numbers = None if wanted is None else np.array(wanted, np.int64)
    with Sandbox(Settings().decoder_memory_bytes) as sandbox:
        arguments = (*film, start, stop, cuts, numbers)
        with sandbox.stream(region_tensors, *arguments, shape=(32, 32, 3), slots=4, cpu_s=60) as stream:
            found = []
            for values, tensor in stream:
                found.append((values, tensor.tobytes()))
                stream.release()
    return found


def test_moving_regions_are_classified_next_to_the_whole_frame(film: tuple[Path, Video, FrameIndex]) -> None:
    found = cut(film, plan_cuts(SIZE, RegionSpec(), (32, 32)), 0, FRAMES)
    whole = [values[0] for values, _ in found if values[2:] == (0, 0, *SIZE)]
    assert whole == list(range(FRAMES))
    moving = [values for values, _ in found if values[2:] != (0, 0, *SIZE)]
    assert {values[0] for values in moving} == set(range(10, FRAMES))
    for frame in range(11, FRAMES):  # in the tenth it has moved by 8 pixels only
        middle = box_left(frame) + BOX / 2
        assert any(
            left <= middle <= left + width and top <= 124 <= top + height
            for n, _, left, top, width, height in moving
            if n == frame
        )


@pytest.mark.parametrize("start", [1, 12, 30])
def test_regions_do_not_depend_on_the_start_of_a_segment(film: tuple[Path, Video, FrameIndex], start: int) -> None:
    cuts = plan_cuts(SIZE, RegionSpec(levels=(0.5,)), (32, 32))
    whole = cut(film, cuts, 0, FRAMES)
    assert cut(film, cuts, start, FRAMES) == [each for each in whole if each[0][0] >= start]
    sampled = list(range(start, FRAMES, 7))
    assert cut(film, cuts, start, FRAMES, sampled) == [each for each in whole if each[0][0] in sampled]


def test_tiles_need_no_earlier_frame(film: tuple[Path, Video, FrameIndex]) -> None:
    found = cut(film, plan_cuts(SIZE, RegionSpec(levels=(1.0,), moving=0), (32, 32)), 5, 7)
    expected = [
        (frame, *place) for frame in (5, 6) for place in ((0, 0, 320, 240), (0, 0, 240, 240), (80, 0, 240, 240))
    ]
    assert [(values[0], *values[2:]) for values, _ in found] == expected
