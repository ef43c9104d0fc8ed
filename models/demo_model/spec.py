"""Parameters of training the demo's model. Light."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from models.spec import Option


@dataclass(frozen=True)
class TrainSpec:
    """A training of posenet-demo. The seed must not be a test set's, see models.demo_model.params.TrainParams."""

    minutes: Annotated[float, Option("Time for the training, in minutes.", gt=0, le=600)] = 57
    seed: Annotated[int, Option("Seed of the rendered people and the first weights.", ge=0, le=1_999_999_999)] = 1
    steps: Annotated[int, Option("Maximum number of batches, however much time is left.", ge=1, le=1_000_000_000)] = (
        1_000_000
    )
    folder: Annotated[
        Path | None,
        Option(
            "Folder of the training; an existing one resumes.",
            when_empty="training/posenet-demo in Nightjar's home",
            max_length=1000,
        ),
    ] = None
