"""Parameters of the training of the shipped model. No TensorFlow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decoders.skeleton import COCO_SIGMAS
from models.synthetic.frame import EVERYDAY, TEST_SET, SceneParams
from models.types import NightjarError


class TrainingError(NightjarError):
    """The training cannot start or continue as requested."""


@dataclass(frozen=True)
class Stage:
    """A part of the training, up to this share of it, with one input size and one kind of scene.

    balance: weight of the offsets of keypoints with a small tolerance: COCO's sigma to the power of -balance
    size_power: weight of the errors of small people: the size to the power of -size_power
    weights: of the losses of heatmap, offset, forward and backward displacements
    """

    until: float
    size: int
    scene: SceneParams
    batch_size: int = 8
    balance: float = 1.0
    size_power: float = 1.0
    weights: tuple[float, float, float, float] = (1.0, 3.0, 0.4, 0.4)

    def keypoint_weights(self) -> NDArray[np.float32]:
        """(17,) of mean 1."""
        weights = COCO_SIGMAS**-self.balance
        of_mean_one: NDArray[np.float32] = (weights / weights.mean()).astype(np.float32)
        return of_mean_one


# First small frames filled by the people, three times as many per second; then frames like the real ones, with more
# people in them, because another person costs 1 ms and another frame 25 ms.
STAGES = (
    Stage(0.2, 128, SceneParams(people=(1, 3), height=(0.33, 1.1), overlap=0.35, cut=0.25, actions=EVERYDAY)),
    Stage(1.0, 224, SceneParams(people=(2, 5), height=(0.18, 0.95), overlap=0.3, actions=EVERYDAY)),
)


@dataclass(frozen=True)
class TrainParams:
    """Parameters of a training.

    The same parameters give the same model, unless `minutes` ends the training before `steps`.

    steps: total number of batches
    minutes: longest duration without interruptions; the learning rate and the stages follow whichever of steps and
        minutes is further advanced
    radius_px: of the disks around keypoints
    average: share of the old values in the moving average of the variables

    Raises TrainingError where the seed is one of the test sets'.
    """

    seed: int = 1
    steps: int = 30_000
    minutes: float | None = None
    learning_rate: float = 1e-2
    warmup_steps: int = 200
    radius_px: float = 16.0
    average: float = 0.998
    decay: float = 1e-4
    stages: tuple[Stage, ...] = STAGES

    def __post_init__(self) -> None:
        if not 0 <= self.seed < TEST_SET:
            raise TrainingError(f"The seed is {self.seed}. Give 0 to {TEST_SET - 1}: higher ones are for test sets.")
