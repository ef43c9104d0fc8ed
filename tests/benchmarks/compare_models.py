"""Accuracy and cost of the published models side by side: `make reference`, which writes models/data/reference.json.

Accuracy as `nightjar evaluate` measures it, on the annotated images of NIGHTJAR_TEST_DATA. Speed in rounds in turns,
every other one in the reverse order, so that other work of the machine affects all models alike.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from models.evaluation.coco import CocoSet
from models.evaluation.coco_file import read_coco
from models.evaluation.protocol import Protocol, evaluate, plan_evaluation
from models.evaluation.reference import FILE, ReferenceFigures, ReferenceModel
from models.evaluation.spec import Mode
from models.inference.benchmark import ModelSpeed, OtherLoad, measure_model
from models.inference.runtime import OpenVinoRuntime
from models.manifest import MANIFEST_FILE, Manifest
from tasks.benchmark.machine import describe_machine

DATA = Path(os.environ.get("NIGHTJAR_TEST_DATA", "../shared/data"))
SOURCES = {
    "movenet-multipose": "movenet/multipose",
    "movenet-thunder": "movenet/thunder",
    "movenet-lightning": "movenet/lightning",
    "posenet-050": "posenet/tfjs_graph_uint16_050",
    "posenet-075": "posenet/tfjs_manifest_075",
    "openpose": "openpose/human-pose-estimation-0001-FP16-INT8",
}
MEASURED = (
    *(("movenet-multipose", size) for size in ("256", "192x320", "320")),
    *(("posenet-050", size) for size in ("224", "257", "353")),
    *(("posenet-075", size) for size in ("224", "257", "353", "513")),
    ("openpose", "256x456"),
    ("movenet-thunder", "256"),
    ("movenet-lightning", "192"),
)
MODES: tuple[Mode, Mode] = ("multi", "single")
ROUNDS, ROUND_S, WARM_UP_S = 12, 0.4, 0.5
CONVERT = (
    "import sys; from pathlib import Path; from models.conversion.convert import convert; "
    "from models.conversion.spec import ConvertSpec; "
    "convert(Path(sys.argv[1]), ConvertSpec(sys.argv[2], size=sys.argv[3]), Path(sys.argv[4]))"
)


class Subject(NamedTuple):
    """A converted model, ready to run. size: as `nightjar convert --size` takes it"""

    name: str
    size: str
    manifest: Manifest
    runtime: OpenVinoRuntime


class Accuracy(NamedTuple):
    """Figures of several people, and the mean OKS of one."""

    ap: float
    mean_oks: float
    single_mean_oks: float


def opened(name: str, size: str, folder: Path, data: Path = DATA) -> Subject:
    """Convert the model unless that was done before, in another process, for TensorFlow's threads, and open it."""
    out = folder / f"{name}-{size}"
    if not (out / MANIFEST_FILE).exists():
        command = [sys.executable, "-c", CONVERT, str(data / SOURCES[name]), name, size, str(out)]
        subprocess.run(command, check=True, capture_output=True)
    manifest = Manifest.from_json((out / MANIFEST_FILE).read_text(encoding="utf-8"))
    return Subject(name, size, manifest, OpenVinoRuntime(out, manifest))


def measure_speeds(subjects: Sequence[Subject], rounds: int) -> tuple[list[list[ModelSpeed]], float]:
    """Measure the speeds of each subject in all rounds, and the share of the CPUs that others used meanwhile."""
    for subject in subjects:
        measured(subject, WARM_UP_S)
    load = OtherLoad()
    speeds: list[list[ModelSpeed]] = [[] for _ in subjects]
    for number in range(rounds):
        for at in range(len(subjects))[:: -1 if number % 2 else 1]:
            speeds[at].append(measured(subjects[at], ROUND_S))
    return speeds, load.share()


def measured(subject: Subject, seconds: float) -> ModelSpeed:
    """Measure for some seconds, without a warm-up."""
    return measure_model(subject.runtime, subject.manifest.input.height, subject.manifest.input.width, seconds, 0)


def measure_accuracy(coco: CocoSet, subject: Subject) -> tuple[Accuracy, Protocol, Protocol]:
    """Measure several people, then one. Returns both protocols, too."""
    several, single = (plan_evaluation(coco, subject.manifest, subject.runtime, mode, None) for mode in MODES)
    figures = evaluate(several, subject.runtime).figures
    accuracy = Accuracy(figures.ap or 0.0, figures.mean_oks, evaluate(single, subject.runtime).figures.mean_oks)
    return accuracy, several.protocol, single.protocol


def described(subject: Subject, accuracy: Accuracy, speeds: Sequence[ModelSpeed]) -> ReferenceModel:
    """Round the figures, and print them with the middle half of the rounds."""
    cpu_ms = [speed.inference_cpu_ms for speed in speeds]
    low, middle, high = quantiles(cpu_ms, n=4)
    frames_per_s = round(median(speed.frames_per_s for speed in speeds), 1)
    rounded = {name: round(value, 3) for name, value in accuracy._asdict().items()}
    model = ReferenceModel(subject.name, subject.size, **rounded, frames_per_s=frames_per_s, cpu_ms=round(middle, 2))
    print(f"{model}; CPU ms {low:.2f} to {high:.2f}", flush=True)
    return model


def compare(subjects: Sequence[Subject], coco: CocoSet, rounds: int) -> ReferenceFigures:
    """Measure speed and accuracy of all subjects."""
    speeds, other_load = measure_speeds(subjects, rounds)
    found = [measure_accuracy(coco, subject) for subject in subjects]
    _, several, single = found[0]
    by_subject = zip(subjects, found, speeds, strict=True)
    return ReferenceFigures(
        images=f"{several.images} images of COCO train2017 with {several.people} annotated people",
        single_images=single.images,
        truth_sha256=several.truth_sha256,
        images_sha256=several.images_sha256,
        machine=describe_machine(),
        openvino=version("openvino"),
        other_load=round(other_load, 3),
        rounds=rounds,
        measured_on=f"{datetime.now(UTC):%Y-%m-%d}",
        models=tuple(described(subject, accuracy, rates) for subject, (accuracy, _, _), rates in by_subject),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--models", type=Path, help="folder of converted models, kept between runs")
    arguments = parser.parse_args()
    coco = read_coco(next((DATA / "coco_mini/annotations").glob("*.json")), DATA / "coco_mini/train2017")
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.models or Path(scratch)
        subjects = [opened(name, size, folder) for name, size in MEASURED]
        found = compare(subjects, coco, arguments.rounds)
    FILE.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n", encoding="utf-8")
    print(f"{FILE}, from {found.rounds} rounds")


if __name__ == "__main__":
    main()
