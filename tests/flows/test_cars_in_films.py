"""Cars in whole frames of real films, second by second, compared with labels by hand.

labels.csv: film, second, label. A second is `car` if a car, or a recognisable part of one, is in view in half of its
frames. Labelled by hand: intel_car-detection.mp4 on two frames per second, and every frame around arrivals and
departures; the two films without cars on one frame per second. No frame of these three films is trained on.
"""

import csv
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from flows.finetune_classifier import finetune_classifier
from flows.nightly_batch import nightly_batch
from storage.sql.database import open_database
from storage.sql.query import query
from tasks.site.settings import read_settings

pytestmark = [
    pytest.mark.usefixtures("prefect_server", "home"),
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.timeout(900),
]
LABELS = Path(__file__).with_name("labels.csv")
CARS, OTHERS = "intel_car-detection.mp4", ("intel_one-by-one-person-detection.mp4", "sports2d_demo.mp4")
BACKGROUNDS = ("mmaction2_test.avi", "intel_asl_walk.mkv", "pixeltable_v_shooting_01_01.mpg")


def truth() -> dict[str, list[bool]]:
    """For each film, second by second, whether it shows a car."""
    found: dict[str, list[bool]] = defaultdict(list)
    with LABELS.open() as file:
        for row in csv.DictReader(file):
            assert int(row["second"]) == len(found[row["film"]])
            found[row["film"]].append(row["label"] == "car")
    return found


def ask(sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in query(open_database(read_settings().database), sql)[1]]


def copied(files: list[Path], folder: Path) -> str:
    folder.mkdir()
    for file in files:
        shutil.copy(file, folder)
    return str(folder)


def test_cars_are_found_second_by_second_without_false_ones(data: Path, tmp_path: Path) -> None:
    videos = data / "videos"
    backgrounds = [*sorted((data / "falls/ADL").glob("*.mp4")), *(videos / name for name in BACKGROUNDS)]
    run_id = finetune_classifier(
        stanford=str(data / "cars/stanford_train"),
        devkit=str(data / "cars/devkit"),
        caltech=str(data / "cars/caltech256"),
        weights=str(data / "keras/mobilenet_0_25_224_notop.h5"),
        backbone="mobilenet_0_25",
        backgrounds=copied(backgrounds, tmp_path / "backgrounds"),
        moving_regions=3,
        class_weights="balanced",
    )
    archive = copied([videos / name for name in (CARS, *OTHERS)], tmp_path / "archive")
    nightly_batch(archive, f"run-{run_id}", overlay="none", frames_per_second=4)
    seen = defaultdict(set)
    for video, second in ask(
        "SELECT DISTINCT s.video, CAST(floor(c.t_s) AS integer) FROM classifications AS c"
        " JOIN video_summary AS s USING (video_id) WHERE c.label = 'car'"
    ):
        seen[video].add(second)
    expected = truth()
    called = {video: [second in seen[video] for second in range(len(labels))] for video, labels in expected.items()}
    assert f1_score(expected[CARS], called[CARS]) >= 0.9
    for video in OTHERS:
        assert sum(called[video]) <= 0.01 * len(called[video]), seen[video]
    # The region of a car is inside the frame and follows the car: it is rarely the whole frame.
    regions = ask(
        "SELECT region_left, region_top, region_width, region_height FROM classifications WHERE label = 'car'"
    )
    assert all(
        left >= 0 and left + width <= 768 and top >= 0 and top + height <= 432 for left, top, width, height in regions
    )
    assert sum(width < 768 for _, _, width, _ in regions) > len(regions) / 2
