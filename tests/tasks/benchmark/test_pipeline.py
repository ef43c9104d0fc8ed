"""The cost of each pipeline stage is attributed to that stage, and a slow device determines the speed."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.inference import pipeline
from models.inference.devices import open_runtime
from models.inference.spec import RuntimeSpec
from models.manifest import MANIFEST_FILE, Manifest
from models.types import VideoError
from tasks.benchmark.pipeline import PipelineSpeed, measure_pipeline
from tests.flows.conftest import spot_video
from tests.tiny_model import write_tiny_model

STAGES = ("decode", "inference", "reading", "storing", "other")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return spot_video(tmp_path_factory.mktemp("film") / "spots.mp4", 80)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "ir"
    write_tiny_model(folder)
    return folder


def measured(model: Path, film: Path, scratch: Path, device: str = "CPU", seconds: float = 0.3) -> PipelineSpeed:
    manifest = Manifest.from_json((model / MANIFEST_FILE).read_text())
    return measure_pipeline(film, open_runtime(model, manifest, RuntimeSpec(device)), manifest, seconds, 1000, scratch)


def test_every_stage_has_a_cost_and_short_films_are_repeated(model: Path, film: Path, tmp_path: Path) -> None:
    speed = measured(model, film, tmp_path, seconds=1.0)
    assert speed.seconds >= 1.0
    assert speed.frames >= 80
    assert speed.frames % 80 == 0, "whole rounds of a film of one segment"
    costs = {stage: getattr(speed, f"{stage}_cpu_ms") for stage in STAGES}
    assert all(0 < cost < 1000 for cost in costs.values()), costs
    assert 0 < speed.latency.p50_ms <= speed.latency.p90_ms <= speed.latency.p99_ms
    assert 10 << 20 < speed.decoder_memory_bytes < 4 << 30
    assert (speed.video.width, speed.video.frames) == (224, 80)


def test_a_slow_device_sets_the_pace(model: Path, film: Path, tmp_path: Path) -> None:
    speed = measured(model, film, tmp_path, "SIMULATED:ms=15")
    assert speed.frames_per_s < 1000 / 15
    assert speed.latency.p50_ms >= 15


def test_a_slow_pose_decoder_shows_in_its_cost(
    model: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before").mkdir()
    before = measured(model, film, tmp_path / "before")
    read = pipeline.DECODERS["posenet"]

    def slow(params: dict[str, Any]) -> pipeline.Decoder:
        def decode(outputs: Sequence[pipeline.Outputs]) -> list[pipeline.Seen]:
            until = time.thread_time() + 0.02 * len(outputs)
            while time.thread_time() < until:
                pass
            return read(params)(outputs)

        return decode

    monkeypatch.setitem(pipeline.DECODERS, "posenet", slow)
    (tmp_path / "after").mkdir()
    after = measured(model, film, tmp_path / "after")
    assert after.reading_cpu_ms - before.reading_cpu_ms == pytest.approx(20, rel=0.25)
    for stage in ("inference", "storing", "other"):
        assert getattr(after, f"{stage}_cpu_ms") < getattr(before, f"{stage}_cpu_ms") + 10, stage


def test_other_files_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(VideoError):
        measured(model, tmp_path / "text.mp4", tmp_path)
