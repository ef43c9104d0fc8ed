"""Time of PoseNet's decoder per frame: `python -m tests.benchmarks.bench_posenet_decode`.

The fast decoder, which reads eight frames at once, compared with the plain one of the tests, on generated scenes. The
aim: a median of 0.3 ms with three people.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from models.decoders.posenet import DecodeParams, decode_frames
from models.inference.runtime import AT_ONCE
from tests.models.posenet_scenes import crowd, make_outputs, standing_people
from tests.models.reference_posenet import decode_poses_plainly

AIM_MS = 0.3
SMALL, LARGE = (14, 14), (33, 33)
SCENES = {
    "nobody": make_outputs(standing_people(0, SMALL), SMALL),
    "1 person": make_outputs(standing_people(1, SMALL), SMALL),
    "3 people": make_outputs(standing_people(3, SMALL), SMALL),
    "3 people, 33x33": make_outputs(standing_people(3, LARGE), LARGE),
    "crowd of 30, 33x33": make_outputs(crowd(30, LARGE), LARGE),
}


PARAMS = dataclasses.replace(DecodeParams(), max_people=40)


def times_ms(decode: Callable[[], object], frames: int, rounds: int) -> NDArray[np.float64]:
    """(rounds,) milliseconds per frame. frames: number of them that are decoded at once"""
    times = []
    for _ in range(rounds):
        start = perf_counter()
        decode()
        times.append((perf_counter() - start) * 1e3 / frames)
    return np.array(times)


def main() -> None:
    print(f"{'scene':20} {'median ms':>10} {'p90 ms':>10} {'plain ms':>10} {'times faster':>13}")
    for name, outputs in SCENES.items():
        together = partial(decode_frames, [outputs] * AT_ONCE, PARAMS)
        times_ms(together, AT_ONCE, 10)  # warm caches
        fast = times_ms(together, AT_ONCE, 150)
        median, plain = np.median(fast), np.median(times_ms(partial(decode_poses_plainly, outputs, PARAMS), 1, 5))
        print(f"{name:20} {median:10.3f} {np.percentile(fast, 90):10.3f} {plain:10.1f} {plain / median:13.0f}")
        if name == "3 people":
            print(f"{'':20} {'within' if median <= AIM_MS else 'BEYOND'} the aim of {AIM_MS} ms")


if __name__ == "__main__":
    main()
