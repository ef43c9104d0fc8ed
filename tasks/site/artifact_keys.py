"""Keys of pictures in the artifact store, built from hashes and numbers of the database: never from a file's name."""

from typing import Literal

TrainingPicture = Literal["curves", "scores", "confusion", "failures", "near_misses"]
TRAINING_PICTURES: tuple[TrainingPicture, ...] = ("curves", "scores", "confusion", "failures", "near_misses")


def training_picture_key(run_key: str, name: str) -> str:
    """Return the key of a training's chart or contact sheet. name: one of TRAINING_PICTURES"""
    return f"training/{run_key}/{name}.png"


def failure_key(run_key: str, sha256: str, box: str) -> str:
    """Return the key of the small copy of a picture that a classifier labels wrongly.

    sha256: of the file's bytes; box: of the used part, as in `training_predictions`, "" = the whole picture
    """
    part = f"-{box.replace(',', '-')}" if box else ""
    return f"training/{run_key}/failures/{sha256}{part}.jpg"


def evaluation_sheet_key(version_sha256: str, protocol_sha256: str) -> str:
    """Return the key of the contact sheet of an evaluation's best and worst images."""
    return f"evaluations/{version_sha256}/{protocol_sha256[:16]}.png"
