"""Tasks of `train-demo-model`: train, write the model, measure it on people that are not in its training data."""

import dataclasses
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task

from tasks.runs.policy import TASK

if TYPE_CHECKING:  # TensorFlow takes seconds to import, and only these tasks need it
    from models.demo_model.accuracy import Accuracy
    from models.demo_model.params import TrainParams

CARD_FILE = "README.md"
REPORT_FILE = "training.json"
TEST_FRAMES = 500
TEST_SEEDS = (101, 102)  # of the test sets with several people and with one; not used for tuning
ROOT = Path(__file__).parents[2]


def train_posenet(params: "TrainParams", folder: Path) -> dict[str, Any]:
    """Train, or resume from the folder's checkpoint, and write the TF.js model. Returns facts about the training.

    Raises TrainingError.
    """
    from models.demo_model.train import train, trained_variables
    from models.demo_model.write_tfjs import write_posenet

    progress = train(params, folder, processes=os.cpu_count() or 1)
    write_posenet(trained_variables(progress), folder / "model")
    return {
        "seed": params.seed,
        "steps": progress.step,
        "minutes": round(progress.seconds / 60, 1),
        "commit": commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "params": dataclasses.asdict(params),
    }


train_posenet_task = task(name="train", **TASK)(train_posenet)


def measure_posenet(model: Path, frames: int = TEST_FRAMES) -> "Accuracy":
    """Measure AP and PCK of a TF.js PoseNet on rendered frames of 224 x 224, with seeds that no training uses."""
    from models.demo_model.accuracy import SEVERAL, SINGLE, measure, render_test_set
    from models.demo_model.infer import posenet_from_tfjs

    several, single = (
        render_test_set(seed, frames, 224, scene) for seed, scene in zip(TEST_SEEDS, (SEVERAL, SINGLE), strict=True)
    )
    return measure(posenet_from_tfjs(model, 224), several, single)


measure_posenet_task = task(name="measure", **TASK)(measure_posenet)


def write_card(folder: Path, training: dict[str, Any], accuracy: "Accuracy") -> str:
    """Write the model card and, for programs, the same data as JSON. Returns the card.

    The JSON is in the parent folder, since a folder to convert must contain one .json, the model.
    """
    report = {**training, "accuracy": accuracy._asdict()}
    (folder.parent / REPORT_FILE).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    text = card(training, accuracy)
    (folder / CARD_FILE).write_text(text)
    return text


write_card_task = task(name="write card", **TASK)(write_card)


def card(training: dict[str, Any], accuracy: "Accuracy") -> str:
    return f"""# posenet-demo

PoseNet on MobileNetV1 0.50, output stride 16, trained from random weights on rendered people by
`nightjar train-demo`. **It knows synthetic people only:** it is for the demo and the tests, not for photographs.

| | |
|---|---|
| trained on | `models/synthetic`, seed {training["seed"]}: one to five people, no photograph, nothing fetched |
| code | commit {training["commit"]} |
| training | {training["steps"]:,} steps, {training["minutes"]} minutes on {training["machine"]} |
| format | TF.js graph model, weights in uint16, trained at 224 x 224 |

Measured on {accuracy.frames:,} rendered frames of 224 x 224 of held-out seeds (test sets {TEST_SEEDS}), in TensorFlow.
AP is of frames with one to three people, bottom-up, by pycocotools; PCK of frames with one, within 0.2 of the longer
side of the person's box, or of the torso's length:

| AP | AP50 | AP75 | AR | PCK (0.2 of box) | PCK (0.2 of torso) |
|---|---|---|---|---|---|
| {" | ".join(f"{value:.3f}" for value in accuracy[:6])} |
"""


def commit() -> str:
    """Return the checkout's commit, or "unknown" outside a checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
