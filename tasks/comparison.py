"""Fine-tunings side by side, from what SQL and the artifact store have of them. Trains nothing, runs no model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.pictures import SPLITS
from models.types import NightjarError
from storage.trainings import FailureRow, read_failures, read_trainings
from tasks.site import Site
from tasks.wording import duration

NAMED_FAILURES = 20


@dataclass
class Comparison:
    """rows: label and a text a run; failures: lines; addresses: of pictures, by what they show"""

    rows: list[tuple[str, list[str]]]
    failures: list[str]
    addresses: dict[str, str] = field(default_factory=dict)


def compare(site: Site, runs: Sequence[int]) -> Comparison:
    """Hyper-parameters that differ, pictures, curves' best and the test set's figures. Raises DatabaseError."""
    found = read_trainings(site.engine, runs)
    params = [json.loads(run["params"]) for run in found]
    differing = [name for name in params[0] if len(runs) == 1 or len({str(each.get(name)) for each in params}) > 1]
    rows = [(name, [str(run[name]) for run in found]) for name in ("name", "preset", "status")]
    rows += [(name.replace("_", " "), [_text(each.get(name)) for each in params]) for name in differing]
    rows += [
        ("pictures", [" / ".join(str(run[f"pictures_{split}"]) for split in SPLITS) for run in found]),
        ("epochs", [str(len(run["epochs"])) for run in found]),
        ("seconds an epoch", [_mean([epoch.seconds for epoch in run["epochs"]]) for run in found]),
        ("best epoch", [_text(run["best_epoch"]) for run in found]),
        ("validation loss", [_lowest(run) for run in found]),
        *((name, [_text(run[name]) for run in found]) for name in ("accuracy", "precision", "recall")),
        ("ROC AUC", [_auc(run) for run in found]),
        ("cars missed", [_text(run["false_negatives"]) for run in found]),
        ("others taken for cars", [_text(run["false_positives"]) for run in found]),
        ("took", [_took(run) for run in found]),
        ("model version", [str(run["version_sha256"] or "")[:12] for run in found]),
    ]
    comparison = Comparison(rows, [])
    for run in found:
        comparison.failures += _failure_lines(run, read_failures(site.engine, run["training_run_id"]))
    _add_pictures(site, found, comparison)
    return comparison


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean(seconds: list[float]) -> str:
    return f"{sum(seconds) / len(seconds):.2f}" if seconds else ""


def _lowest(run: dict[str, Any]) -> str:
    return _text(min((epoch.validation_loss for epoch in run["epochs"]), default=None))


def _auc(run: dict[str, Any]) -> str:
    if run["roc_auc"] is None:
        return ""
    return f"{run['roc_auc']:.4f} [{run['roc_auc_low']:.4f}, {run['roc_auc_high']:.4f}]"


def _took(run: dict[str, Any]) -> str:
    return duration((run["finished_at"] - run["started_at"]).total_seconds()) if run["finished_at"] else ""


def _failure_lines(run: dict[str, Any], failures: Sequence[FailureRow]) -> list[str]:
    if run["status"] != "completed":
        return [f"run {run['training_run_id']} is {run['status']}{': ' + run['error'] if run['error'] else ''}"]
    lines = [f"run {run['training_run_id']} fails on {len(failures)} of {run['pictures_test']} test pictures"]
    lines += [f"  {row.picture}: {row.label}, scored {row.score:.3f}" for row in failures[:NAMED_FAILURES]]
    return [*lines, f"  and {len(failures) - NAMED_FAILURES} more"] if len(failures) > NAMED_FAILURES else lines


def _add_pictures(site: Site, found: Sequence[dict[str, Any]], comparison: Comparison) -> None:
    """The runs' own pictures; of several runs, their curves one below the other as one picture more."""
    curves = []
    for run in found:
        for what in ("curves", "confusion", "failures"):
            key = f"training/{run['run_key']}/{what}.png"
            if run["status"] == "completed" and site.artifacts.exists(key):
                comparison.addresses[f"run {run['training_run_id']}, {what}"] = site.artifacts.url(key)
                curves += [_picture(site, key)] if what == "curves" else []
    if len(curves) > 1:
        key = f"training/compare/{'-'.join(str(run['training_run_id']) for run in found)}.png"
        site.artifacts.put_bytes(key, cv2.imencode(".png", np.vstack(curves))[1].tobytes())
        comparison.addresses["side by side"] = site.artifacts.url(key)


def _picture(site: Site, key: str) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(site.artifacts.get_bytes(key), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise NightjarError(f"{key} in the artifact store is no picture, expected the run's curves: remove it")
    return np.asarray(picture, np.uint8)
