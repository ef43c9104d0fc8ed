"""State of a fine-tuning, and its checkpoint on disk. numpy only: no network, no pictures."""

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.car_classifier.params import FinetuneError
from models.types import Epoch, Step

Arrays = list[NDArray[np.generic]]


@dataclass(eq=False)
class State:
    """values: what changes in training, network and optimiser; best: the network's values of the best epoch."""

    values: Arrays
    best: Arrays
    steps: list[Step] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch of the lowest validation loss, the earliest where several have it; 0 before the first."""
        return min(self.epochs, key=lambda epoch: epoch.validation_loss).epoch if self.epochs else 0


def save_state(state: State, identity: str, path: Path) -> None:
    """Save a state, whole or not at all. identity: hash of the parameters, pictures and weights"""
    arrays = {f"value_{number:04d}": value for number, value in enumerate(state.values)}
    arrays |= {f"best_{number:04d}": value for number, value in enumerate(state.best)}
    temporary = path.with_suffix(".tmp.npz")
    with temporary.open("wb") as file:
        np.savez(
            file,
            **arrays,
            steps=np.array(state.steps, np.float64).reshape(-1, len(Step._fields)),
            epochs=np.array(state.epochs, np.float64).reshape(-1, len(Epoch._fields)),
            identity=np.bytes_(identity.encode()),
        )
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_state(identity: str, path: Path) -> State:
    """Load a checkpoint. Raises FinetuneError where it is broken, or of other parameters, pictures or weights."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        found = bytes(arrays.pop("identity")).decode()
        steps = [Step(int(row[0]), int(row[1]), *row[2:]) for row in arrays.pop("steps").tolist()]
        epochs = [Epoch(int(row[0]), int(row[1]), *row[2:]) for row in arrays.pop("epochs").tolist()]
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FinetuneError(f"{path.name} is not a checkpoint ({error}). Remove it to start again.") from error
    if found != identity:
        raise FinetuneError(
            f"{path.name} belongs to a fine-tuning with other parameters, pictures or weights. "
            "Give the same ones, or another folder."
        )
    values, best = ([arrays[name] for name in sorted(arrays) if name.startswith(part)] for part in ("value_", "best_"))
    return State(values, best, steps, epochs)
