"""The shipped model in INT8 on rendered people: nearly as accurate, a new version, reproducible; or refused."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from deployments.cli import main
from flows.convert_model import convert_model
from flows.nightly_batch import nightly_batch
from flows.quantize_model import quantize_model
from models.conversion.spec import QuantizeSpec
from models.evaluation import loss
from models.spec import build
from models.synthetic.frame import EVERYDAY, SceneParams, render_frame
from models.types import NightjarError
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.model.names import DEMO_MODEL
from tasks.model.quantize import QuantizationRefused
from tasks.model.store import take_model
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tests.coco_files import write_set
from tests.flows.conftest import register_tiny_model, spot_video
from tests.videos import make_video

pytestmark = pytest.mark.usefixtures("prefect_server", "home")
PEOPLE = SceneParams(people=(1, 2), actions=EVERYDAY, height=(0.5, 0.9))


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of 16 different rendered pictures each, and a file that is not a video."""
    folder = tmp_path_factory.mktemp("archive")
    pictures = [render_frame([51, number], 224, PEOPLE)[0] for number in range(32)]
    for name, some in (("a.mp4", pictures[:16]), ("b.mp4", pictures[16:])):
        make_video(folder / name, pictures=[np.ascontiguousarray(each) for each in some])
    (folder / "0.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """Messages of flows and tasks, not by the root logger's handlers, whose level a quantization sets."""
    lines: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    collector = Collector()
    for package in ("flows", "tasks"):
        logging.getLogger(package).addHandler(collector)
    yield lines
    for package in ("flows", "tasks"):
        logging.getLogger(package).removeHandler(collector)


@pytest.mark.slow
def test_int8_is_a_reproducible_version_nearly_as_accurate_as_its_source(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "LEAST_PEOPLE", 30)
    source = convert_model(DEMO_MODEL)
    coco, images = map(str, write_set(tmp_path / "coco", 20))
    options: dict[str, Any] = {"frames": 20, "coco": coco, "images": images, "max_drop": 0.05}
    version = quantize_model(DEMO_MODEL, str(rendered), **options)
    assert version != source
    rows = ask(
        "SELECT m.name, m.precision, mode, images, ap, mean_oks FROM evaluations"
        " JOIN model_versions AS m USING (model_version_id) ORDER BY m.name"
    )
    assert [row[:4] for row in rows] == [
        (DEMO_MODEL, "FP16", "multi", 20),
        (f"{DEMO_MODEL}-int8", "FP16-INT8", "multi", 20),
    ]
    assert rows[0][4] > 0.3, "the source finds these people"
    assert rows[1][4] >= 0.95 * rows[0][4]
    assert rows[1][5] > rows[0][5] - 0.05
    lineage = ask(f"SELECT source_sha256, source_location FROM model_versions WHERE version_sha256 = '{version}'")
    assert lineage[0][0] == source
    assert "20 frames of 2 videos" in lineage[0][1]
    with open_site() as site:
        _, _, manifest = take_model(site, version)
    assert build(QuantizeSpec, manifest.parameters) == build(
        QuantizeSpec, {"model": DEMO_MODEL, "archive": str(rendered), **options}
    )
    assert quantize_model(DEMO_MODEL, str(rendered), **options) == version
    assert ask("SELECT count(*) FROM evaluations") == [(2,)]
    report = nightly_batch(str(rendered), f"{DEMO_MODEL}-int8", overlay="none")
    assert report.counts.people > 16


def test_with_few_annotated_people_the_agreement_decides(rendered: Path, tmp_path: Path, log_lines: list[str]) -> None:
    convert_model(DEMO_MODEL)
    coco, images = map(str, write_set(tmp_path / "coco", 4))
    words = ["quantize", DEMO_MODEL, "--archive", str(rendered), "--frames", "20", "--coco", coco, "--images", images]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    said = "\n".join(log_lines)
    assert "has agreement 0." in said
    assert "people are annotated, and AP says little about fewer than 200" in said
    assert "It does not decide, but posenet-demo-int8 has AP 0." in said
    assert ask("SELECT mode, count(*), count(ap) FROM evaluations GROUP BY mode ORDER BY mode") == [
        ("agreement", 2, 0),
        ("multi", 2, 2),
    ]


@pytest.mark.slow
def test_without_annotations_people_are_compared_with_the_source(rendered: Path) -> None:
    convert_model(DEMO_MODEL)
    result = CliRunner().invoke(
        main, ["quantize", DEMO_MODEL, "--archive", str(rendered), "--frames", "20", "--name", "small"]
    )
    assert result.exit_code == 0, result.output
    assert "--model small" in result.output
    found = ask(
        "SELECT m.name, mode, images, mean_oks, ap FROM evaluations JOIN model_versions AS m USING (model_version_id)"
        " ORDER BY m.name"
    )
    kept = [(row[0], row[1], row[4]) for row in found]
    assert kept == [(DEMO_MODEL, "agreement", None), ("small", "agreement", None)]
    assert found[0][3] > 0.99, "the source with itself"
    assert 0.8 < found[1][3] < found[0][3]
    with pytest.raises(
        QuantizationRefused, match=r"agreement 0\.\d+ where the source has [01]\.\d+: .* and at most 0\.0% may be lost"
    ):
        quantize_model(DEMO_MODEL, str(rendered), 20, "perfect", max_drop=0)
    assert ask("SELECT count(*) FROM model_versions WHERE name = 'perfect'") == [(0,)]
    with pytest.raises(NightjarError, match="is FP16-INT8 already"):
        quantize_model("small", str(rendered), 20)


def test_wrong_parameters_give_one_clear_error(tiny_model: Path, tmp_path: Path) -> None:
    register_tiny_model(tiny_model)
    (tmp_path / "empty").mkdir()
    (tmp_path / "short").mkdir()
    spot_video(tmp_path / "short" / "a.mp4", 8)
    for archive, words in (("empty", "has no readable video"), ("short", "and 10 are needed")):
        with pytest.raises(NightjarError, match=words):
            quantize_model("tiny", str(tmp_path / archive), 20)
    with pytest.raises(NightjarError, match="Give both --coco and --images, or neither"):
        quantize_model("tiny", str(tmp_path / "short"), coco="a.json")
