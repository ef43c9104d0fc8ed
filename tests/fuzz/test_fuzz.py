"""A short run of the fuzzer with a fixed seed."""

import os
import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import campaign, targets
from tests.fuzz.mutate import mutate, mutate_json

DRAW = {"videos": 60, "pictures": 200, "models": 12, "onnx": 100, "results": 60, "messages": 300}


@pytest.mark.parametrize(("kind", "count"), DRAW.items())
def test_damaged_input_is_read_or_refused(kind: str, count: int) -> None:
    tally = campaign.fuzz(kind, count, seed=1)
    assert tally.faults == []
    assert sum(tally.outcomes.values()) == count
    assert tally.outcomes["refused"] > 0
    assert 50 < tally.peak_mb < 1500
    assert tally.child_peak_mb < 2000, "the sandbox may take 1 GiB beyond its loaded libraries"


def test_the_same_seed_gives_the_same_damage() -> None:
    data = bytes(range(256)) * 10
    assert mutate(data, random.Random(7)) == mutate(data, random.Random(7)) != data
    assert mutate_json('{"a": [1, 2]}', random.Random(7)) == mutate_json('{"a": [1, 2]}', random.Random(7))


def crashing(folder: Path, held: ExitStack) -> targets.Read:
    def read(chance: random.Random) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    return read


def hanging(folder: Path, held: ExitStack) -> targets.Read:
    return lambda chance: time.sleep(60)


def failing(folder: Path, held: ExitStack) -> targets.Read:
    def read(chance: random.Random) -> None:
        raise RuntimeError("a bug")

    return read


def greedy(folder: Path, held: ExitStack) -> targets.Read:
    def read(chance: random.Random) -> None:
        np.ones(400 << 20, np.uint8)

    return read


def modest(folder: Path, held: ExitStack) -> targets.Read:
    return lambda chance: None


def test_the_peak_memory_is_that_of_the_reader_only() -> None:
    """The suite's earlier memory does not count, and freed memory does."""
    ballast = np.ones(400 << 20, np.uint8)
    assert campaign.fuzz("tests.fuzz.test_fuzz:modest", 1, seed=1).peak_mb < 300
    del ballast
    assert campaign.fuzz("tests.fuzz.test_fuzz:greedy", 1, seed=1).peak_mb > 400


@pytest.mark.parametrize(("kind", "says"), [("crashing", "exit code -11"), ("hanging", "hung"), ("failing", "a bug")])
def test_the_fuzzer_detects_faults(kind: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without it the fuzzer could pass without finding anything."""
    monkeypatch.setattr(campaign, "HANG_S", 1.0)
    tally = campaign.fuzz(f"tests.fuzz.test_fuzz:{kind}", 2, seed=1)
    assert len(tally.faults) == 2
    assert all(says in fault for fault in tally.faults)
