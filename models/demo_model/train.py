"""Heavy: trains PoseNet MobileNetV1 0.50 from random weights on rendered people: the loop, its checkpoints, its curves.

Not here: the network and its losses (network.py), pictures (feed.py), the model's files (write_tfjs.py).
"""

import csv
import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.demo_model.feed import FeedPlan, FrameBatch, FrameFeed
from models.demo_model.loss_chart import draw_curves
from models.demo_model.network import folded, initial_values, losses, make_targets, run_network
from models.demo_model.params import Stage, TrainingError, TrainParams
from models.heavy.tensorflow import tf

log = logging.getLogger(__name__)

CHECKPOINT_FILE = "checkpoint.npz"
LOSSES_FILE = "losses.csv"
CURVES_FILE = "losses.png"
LOSS_COLUMNS = ("step", "minutes", "size_px", "learning_rate", "loss", "heatmap", "offset", "forward", "backward")


@dataclass
class Progress:
    """State of a training. values: the arrays that change; losses: one row of LOSS_COLUMNS per report."""

    step: int
    seconds: float
    values: dict[str, NDArray[np.float32]]
    losses: list[list[float]] = field(default_factory=list)

    def share(self, params: TrainParams) -> float:
        in_time = self.seconds / (60 * params.minutes) if params.minutes else 0.0
        return max(self.step / params.steps, in_time)


def start(params: TrainParams) -> Progress:
    learnt, counted = initial_values(params.seed)
    values = {"learnt": learnt, "counted": counted, "average": learnt.copy()}
    return Progress(0, 0.0, {**values, "first": np.zeros_like(learnt), "second": np.zeros_like(learnt)})


def save(progress: Progress, params: TrainParams, path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    rows = np.array(progress.losses, np.float64).reshape(-1, len(LOSS_COLUMNS))
    temporary = path.with_suffix(".tmp.npz")
    with temporary.open("wb") as file:
        np.savez(
            file,
            **progress.values,
            step=np.int64(progress.step),
            seconds=np.float64(progress.seconds),
            losses=rows,
            params=np.bytes_(_identity(params)),
        )
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load(params: TrainParams, path: Path) -> Progress:
    """Load a checkpoint. Raises TrainingError where it is broken or of a training with other parameters."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        same = bytes(arrays.pop("params")).decode() == _identity(params)
        step, seconds = int(arrays.pop("step")), float(arrays.pop("seconds"))
        rows = arrays.pop("losses").tolist()
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise TrainingError(f"{path.name} is not a checkpoint ({error}). Remove it to start again.") from error
    if not same:
        raise TrainingError(
            f"{path.name} belongs to a training with other parameters. Give the same ones, or another folder."
        )
    return Progress(step, seconds, arrays, rows)


def _identity(params: TrainParams) -> str:
    """Parameters that must not change when a training resumes; its time limit may."""
    return json.dumps({**dataclasses.asdict(params), "minutes": None}, sort_keys=True)


def train(
    params: TrainParams,
    folder: Path,
    *,
    processes: int = 2,
    checkpoint_s: float = 120.0,
    stop: Callable[[Progress], bool] = lambda progress: False,
) -> Progress:
    """Train from the start or from the folder's checkpoint. Writes a checkpoint, losses.csv and losses.png.

    processes: number of processes that render; stop: called after each step, True ends this part of the training
    Raises TrainingError where the checkpoint does not fit, or the losses are no longer numbers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT_FILE
    progress = load(params, path) if path.exists() else start(params)
    stepper = Stepper(params, progress)
    while progress.share(params) < 1:
        stage = next(stage for stage in params.stages if progress.share(params) < stage.until)
        if _run_stage(params, stage, stepper, progress, processes, checkpoint_s, folder, stop):
            break
    _keep(stepper, progress, params, folder)
    return progress


def _run_stage(
    params: TrainParams,
    stage: Stage,
    stepper: "Stepper",
    progress: Progress,
    processes: int,
    checkpoint_s: float,
    folder: Path,
    stop: Callable[[Progress], bool],
) -> bool:
    """Train to the end of a stage. Returns whether `stop` ended it."""
    plan = FeedPlan(params.seed, stage.batch_size, stage.size, stage.scene)
    stepper.enter(stage)
    with FrameFeed(plan, progress.step, processes) as feed:
        saved = before = time.monotonic()
        while progress.share(params) < stage.until:
            rate = learning_rate(params, progress)
            found = stepper.step(feed.take(), progress.step, rate)
            progress.step += 1
            now = time.monotonic()
            progress.seconds, before = progress.seconds + now - before, now
            if progress.step % 25 == 0:
                _note(progress, stage.size, rate, found.numpy())
            if stop(progress):
                return True
            if now - saved > checkpoint_s:
                _keep(stepper, progress, params, folder)
                saved = now
    return False


def _note(progress: Progress, size: int, rate: float, found: NDArray[Any]) -> None:
    if not np.isfinite(found).all():
        raise TrainingError(f"The losses of step {progress.step} are {found.tolist()}. Lower the learning rate.")
    row = [progress.step, progress.seconds / 60, size, rate, *found.tolist()]
    progress.losses.append(row)
    if progress.step % 100 == 0:
        parts = " ".join(f"{name} {value:.3f}" for name, value in zip(LOSS_COLUMNS[4:], found, strict=True))
        minutes = progress.seconds / 60
        log.info("Step %s at %s px after %.1f min, rate %.5f: %s", progress.step, size, minutes, rate, parts)


def _keep(stepper: "Stepper", progress: Progress, params: TrainParams, folder: Path) -> None:
    progress.values = stepper.values()
    save(progress, params, folder / CHECKPOINT_FILE)
    with (folder / LOSSES_FILE).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(LOSS_COLUMNS)
        writer.writerows([[f"{value:.6g}" for value in row] for row in progress.losses])
    if progress.losses:
        picture = draw_curves(np.array(progress.losses), LOSS_COLUMNS)
        cv2.imwrite(str(folder / CURVES_FILE), picture)


def learning_rate(params: TrainParams, progress: Progress) -> float:
    """Compute the rate, which rises over the first steps, then falls along half a cosine to 1 % of its maximum."""
    warm = min(1.0, (progress.step + 1) / params.warmup_steps)
    falling = 0.5 * (1 + math.cos(math.pi * min(1.0, progress.share(params))))
    return params.learning_rate * warm * (0.01 + 0.99 * falling)


class Stepper:
    """Trained variables on the training device; one step of Adam (Kingma and Ba 2015) with decoupled decay."""

    def __init__(self, params: TrainParams, progress: Progress) -> None:
        self.params = params
        self.variables = {name: tf.Variable(value) for name, value in progress.values.items()}
        self.enter(params.stages[0])

    def enter(self, stage: Stage) -> None:
        """Prepare for the steps of a stage."""
        self.stage = stage
        self.balance = tf.constant(stage.keypoint_weights())
        self._compiled = tf.function(self._step, reduce_retracing=False)

    def step(self, batch: FrameBatch, step: int, rate: float) -> Any:
        """(5,) losses: the weighted sum, heatmap, offset, forward, backward."""
        arguments = (batch.images, batch.people, float(step), rate)
        return self._compiled(*(tf.constant(value) for value in arguments))

    def values(self) -> dict[str, NDArray[np.float32]]:
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def _step(self, images: Any, people: Any, step: Any, rate: Any) -> Any:
        params, stage, variables = self.params, self.stage, self.variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables["learnt"])
            pixels = tf.cast(images, tf.float32) / 127.5 - 1.0
            heads, counted = run_network(variables["learnt"], variables["counted"], pixels, training=True)
            targets = make_targets(people, images.shape[1], params.radius_px, stage.size_power)
            parts = list(losses(heads, targets, params.radius_px, self.balance).values())
            total = tf.add_n([weight * part for weight, part in zip(stage.weights, parts, strict=True)])
        gradient = tf.clip_by_norm(tape.gradient(total, variables["learnt"]), 5.0)
        variables["counted"].assign(counted)
        self._adam(gradient, step, rate)
        return tf.stack([total, *parts])

    def _adam(self, gradient: Any, step: Any, rate: Any) -> None:
        learnt, first, second = (self.variables[name] for name in ("learnt", "first", "second"))
        first.assign(0.9 * first + 0.1 * gradient)
        second.assign(0.999 * second + 0.001 * gradient * gradient)
        count = step + 1.0
        direction = first / (1 - 0.9**count) / (tf.sqrt(second / (1 - 0.999**count)) + 1e-7)
        learnt.assign_sub(rate * (direction + self.params.decay * learnt))
        # The average forgets fast at first, so that the random start does not stay in it.
        keep = tf.minimum(self.params.average, count / (count + 10.0))
        average = self.variables["average"]
        average.assign(keep * average + (1 - keep) * learnt)


def trained_variables(progress: Progress) -> dict[str, NDArray[np.float32]]:
    """Return the averaged weights with batch norm folded in, for posenet_graph.build_graph."""
    return folded(progress.values["average"], progress.values["counted"])
