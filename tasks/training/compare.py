"""Comparison of fine-tunings, from SQL and the artifact store. Trains nothing, runs no model."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.car_classifier.charts import RunCurve, draw_compared
from models.car_classifier.metrics import THRESHOLD, Confusion, confusion
from models.car_classifier.params import FinetuneParams
from models.datasets.picture import SPLITS
from models.types import Epoch
from storage.sql.catalogue import find_model
from storage.sql.database import Database
from storage.sql.trainings import PredictionRow, read_pictures, read_trainings
from tasks.site.artifact_keys import TRAINING_PICTURES, training_picture_key
from tasks.site.site import Site
from tasks.text.wording import duration
from tasks.training.failures import failed
from tasks.training.judge import empty_column, imbalance

NAMED_FAILURES = 20


@dataclass
class Comparison:
    """Comparison of runs. rows: label and a text per run; failures: lines; addresses: title of a picture -> address"""

    rows: list[tuple[str, list[str]]]
    failures: list[str]
    addresses: dict[str, str] = field(default_factory=dict)


def compare(site: Site, runs: Sequence[int]) -> Comparison:
    """Compare runs as `compare_figures` does, and store their curves on shared axes. Raises DatabaseError."""
    found = read_trainings(site.engine, runs)
    comparison = compare_figures(site.engine, found)
    _add_pictures(site, found, comparison)
    return comparison


def compare_figures(engine: Database, found: Sequence[dict[str, Any]]) -> Comparison:
    """Compare hyper-parameters, pictures, epochs and test figures of runs. Writes nothing.

    found: from `read_trainings`
    """
    runs = [run["training_run_id"] for run in found]
    pictures = [read_pictures(engine, run) for run in runs]
    tested = [_test_set(run, rows) for run, rows in zip(found, pictures, strict=True)]
    rows = [(name, [str(run[name]) for run in found]) for name in ("name", "preset", "status")]
    rows += [("model version", [_version(run) for run in found]), ("model of that name now", _meanings(engine, found))]
    rows += [*_differing(found), *_figures(found)]
    if len(found) > 1:
        rows.append(("test set", _test_sets(runs, tested)))
    comparison = Comparison(rows, [])
    for run, rows_of_run in zip(found, pictures, strict=True):
        comparison.failures += _failure_lines(run, rows_of_run)
    if len({each for each in tested if each is not None}) > 1:
        comparison.failures.append("The test sets differ, so the figures of these runs cannot be compared.")
    return comparison


def _differing(found: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    params = [json.loads(run["params"]) for run in found]
    differing = [name for name in params[0] if len(found) == 1 or len({str(each.get(name)) for each in params}) > 1]
    return [(name.replace("_", " "), [_text(each.get(name)) for each in params]) for name in differing]


def _figures(found: Sequence[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [
        ("pictures", [" / ".join(str(run[f"pictures_{split}"]) for split in SPLITS) for run in found]),
        ("epochs", [str(len(run["epochs"])) for run in found]),
        ("seconds per epoch", [_mean([epoch.seconds for epoch in run["epochs"]]) for run in found]),
        ("best epoch", [_text(run["best_epoch"]) for run in found]),
        ("validation loss", [_lowest(run) for run in found]),
        ("threshold", [_text(run["threshold"]) for run in found]),
        ("accuracy", [_with_interval(run, "accuracy") for run in found]),
        *((name, [_text(run[name]) for run in found]) for name in ("precision", "recall")),
        ("ROC AUC", [_with_interval(run, "roc_auc") for run in found]),
        ("average precision", [_text(run["average_precision"]) for run in found]),
        ("accuracy of the IR", [_text(run["ir_accuracy"]) for run in found]),
        ("cars missed", [_text(run["false_negatives"]) for run in found]),
        ("others called cars", [_text(run["false_positives"]) for run in found]),
        ("took", [_took(run) for run in found]),
    ]


def _version(run: dict[str, Any]) -> str:
    """Return the version's hash and its permanent name."""
    version = str(run["version_sha256"] or "")[:12]
    return f"{version} (run-{run['training_run_id']})" if version else ""


def _meanings(engine: Database, found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the model that each run's name refers to now: every training of that name changes it."""
    said = []
    for run in found:
        today = find_model(engine, run["name"])
        if today is None:
            said.append("no model yet")
        elif today[0] == run["model_version_id"]:
            said.append("this model")
        else:
            said.append(f"another one, {today[1].version_sha256[:12]}")
    return said


TestSet = frozenset[tuple[str, str, str]]


def _test_set(run: dict[str, Any], pictures: Sequence[PredictionRow]) -> TestSet | None:
    """Return hash, box and label of each test picture; None for an older run, of which only failures are stored."""
    rows = frozenset((row.sha256, row.box, row.label) for row in pictures if row.split == "test")
    return rows if len(rows) == run["pictures_test"] else None


def _test_sets(runs: Sequence[int], tested: Sequence[TestSet | None]) -> list[str]:
    """Describe how much of the first run's test set each run has."""
    first = tested[0]
    said = []
    for other in tested:
        if other is None:
            said.append("not stored")
        elif first is None or not said:
            said.append(f"{len(other)} pictures")
        elif other == first:
            said.append(f"same as run {runs[0]}")
        else:
            said.append(f"{len(other)} pictures, {len(other & first)} of run {runs[0]}")
    return said


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _mean(seconds: list[float]) -> str:
    return f"{sum(seconds) / len(seconds):.2f}" if seconds else ""


def _lowest(run: dict[str, Any]) -> str:
    return _text(min((epoch.validation_loss for epoch in run["epochs"]), default=None))


def _with_interval(run: dict[str, Any], name: str) -> str:
    if run[name] is None or run[f"{name}_low"] is None:
        return _text(run[name])
    return f"{run[name]:.4f} [{run[f'{name}_low']:.4f}, {run[f'{name}_high']:.4f}]"


def _took(run: dict[str, Any]) -> str:
    return duration((run["finished_at"] - run["started_at"]).total_seconds()) if run["finished_at"] else ""


def _failure_lines(run: dict[str, Any], pictures: Sequence[PredictionRow]) -> list[str]:
    if run["status"] != "completed":
        return [f"run {run['training_run_id']} is {run['status']}{': ' + run['error'] if run['error'] else ''}"]
    wrong = failed([row for row in pictures if row.split == "test"], run["threshold"])
    lines = [f"run {run['training_run_id']} fails on {len(wrong)} of {run['pictures_test']} test pictures"]
    lines += [f"  {row.picture}: {row.label}, scored {row.score:.3f}" for row in wrong[:NAMED_FAILURES]]
    if len(wrong) > NAMED_FAILURES:
        lines.append(f"  and {len(wrong) - NAMED_FAILURES} more")
    return lines + _one_sided(run, pictures)


def _one_sided(run: dict[str, Any], pictures: Sequence[PredictionRow]) -> list[str]:
    """Warn if one class was never predicted, at the run's threshold or at 0.5."""
    names = ("true_positives", "false_negatives", "true_negatives", "false_positives")
    at_own = Confusion(**{name: run[name] for name in names})
    scored = [row for row in pictures if row.split == "test" and row.score is not None]
    cars, scores = (np.array(values) for values in ([r.label == "car" for r in scored], [r.score for r in scored]))
    whole = len(scored) == run["pictures_test"]  # older runs have predictions of their failures only
    at_default = confusion(cars, scores) if whole else at_own
    said = [(found, at) for found, at in ((at_own, run["threshold"]), (at_default, THRESHOLD)) if empty_column(found)]
    if not said:
        return []
    found, threshold = said[0]
    trained_on = Counter(row.label == "car" for row in pictures if row.split == "train")
    proposal = imbalance(FinetuneParams.from_json(run["params"]), trained_on)
    return [f"  WARNING: {empty_column(found)} at a threshold of {threshold:.3g}.", *(f"  {line}" for line in proposal)]


def _add_pictures(site: Site, found: Sequence[dict[str, Any]], comparison: Comparison) -> None:
    """Add the runs' own pictures; for several runs also their curves on shared axes."""
    for run in found:
        for what in TRAINING_PICTURES:
            key = training_picture_key(run["run_key"], what)
            if run["status"] == "completed" and site.artifacts.exists(key):
                comparison.addresses[f"run {run['training_run_id']}, {what}"] = site.artifacts.url(key)
    curves = [_curve(run) for run in found if run["epochs"]]
    if len(curves) > 1:
        key = f"training/compare/{'-'.join(str(run['training_run_id']) for run in found)}.png"
        site.artifacts.put_bytes(key, draw_compared(curves))
        comparison.addresses["side by side"] = site.artifacts.url(key)


def _curve(run: dict[str, Any]) -> RunCurve:
    epochs = [Epoch(*epoch) for epoch in run["epochs"]]
    return RunCurve(f"run {run['training_run_id']}, {run['preset']}", epochs, run["best_epoch"])
