"""Tasks of `evaluate-model`: read the annotations, measure, store the figures. The measures are in models/."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from prefect import task

from models.evaluation.coco import CocoSet
from models.evaluation.coco_file import read_coco
from models.evaluation.protocol import Figures, Plan, Protocol, evaluate, plan_evaluation
from models.evaluation.spec import EvaluateSpec
from models.inference.benchmark import inferences_per_s
from models.inference.devices import open_runtime
from models.inference.runtime import Runtime
from models.inference.spec import RuntimeSpec
from models.manifest import Manifest
from storage.sql import evaluations
from storage.sql.evaluations import Evaluation
from tasks.model.early_checks import check_pose_model
from tasks.runs.policy import TASK
from tasks.site.artifact_keys import evaluation_sheet_key
from tasks.site.site import Site, reopen_site
from tasks.text.markdown import markdown_table

log = logging.getLogger(__name__)

LOG_EVERY_IMAGES = 500


@dataclass(frozen=True)
class Measured:
    """Figures of a model.

    inferences_per_s: None = not measured, or in doubt
    sheet: PNG bytes of the best and worst images, may be empty; url: its address once stored
    evaluation_id: None before it is stored
    """

    protocol: Protocol
    figures: Figures
    inferences_per_s: float | None = None
    sheet: bytes = b""
    url: str = ""
    evaluation_id: int | None = None

    def lines(self) -> dict[str, str]:
        """Format the figures, then the protocol that they depend on, label -> text."""
        known = self.inferences_per_s is not None
        speed = {"speed": f"{self.inferences_per_s:,.0f} inferences/s"} if known else {}
        return {**self.figures.lines(), **speed, **self.protocol.lines()}


def open_coco(annotations: Path, images: Path) -> CocoSet:
    """Open the data set. Raises CocoError if the file holds no COCO annotations or no listed image exists."""
    return read_coco(annotations, images)


open_coco_task = task(name="read annotations", **TASK)(open_coco)


@task(name="evaluate", **TASK)
def evaluate_version_task(
    model_version_id: int, folder: Path, manifest: Manifest, coco: CocoSet, spec: EvaluateSpec
) -> Measured:
    """Measure a stored model. Raises as evaluate_version does."""
    with reopen_site() as site:
        return evaluate_version(site, model_version_id, folder, manifest, coco, spec)


def evaluate_version(
    site: Site, model_version_id: int, folder: Path, manifest: Manifest, coco: CocoSet, spec: EvaluateSpec
) -> Measured:
    """Measure and record a stored model's figures; figures of the same protocol are reused."""
    runtime = open_for_evaluation(folder, manifest, spec.device)
    plan = plan_evaluation(coco, manifest, runtime, spec.mode, spec.limit)
    known = evaluations.find_evaluation(site.engine, model_version_id, plan.protocol.sha256)
    if known is not None:
        log.info("This model was measured by the same protocol before. The stored figures are used.")
        return _read(site, model_version_id, manifest, known)
    measured = measure(plan, runtime)
    speed = inferences_per_s(runtime, grey(manifest.input.height, manifest.input.width))
    return keep(site, model_version_id, manifest, dataclasses.replace(measured, inferences_per_s=speed))


def open_for_evaluation(folder: Path, manifest: Manifest, device: str) -> Runtime:
    """Open the model. Raises NightjarError if it detects no people or the device cannot be opened."""
    check_pose_model(manifest)
    return open_runtime(folder, manifest, RuntimeSpec(device))


def measure(plan: Plan, runtime: Runtime) -> Measured:
    """Measure the model's accuracy, not its speed. Raises RuntimeFault, or CocoError for an unreadable image."""
    done = 0

    def on_image() -> None:
        nonlocal done
        done += 1
        if done % LOG_EVERY_IMAGES == 0:
            log.info("%s of %s images", f"{done:,}", f"{len(plan.images):,}")

    found = evaluate(plan, runtime, on_image)
    return Measured(plan.protocol, found.figures, sheet=cv2.imencode(".png", found.sheet)[1].tobytes())


def grey(height: int, width: int) -> NDArray[np.uint8]:
    """Return a grey input (1, height, width, 3): the speed does not depend on its content."""
    return np.full((1, height, width, 3), 127, np.uint8)


def keep(site: Site, model_version_id: int, manifest: Manifest, measured: Measured) -> Measured:
    """Store the figures in SQL and the picture in the artifact store. Returns the stored figures."""
    if measured.sheet:
        site.artifacts.put_bytes(evaluation_sheet_key(manifest.version_id, measured.protocol.sha256), measured.sheet)
    protocol = measured.protocol
    row = Evaluation(
        protocol_sha256=protocol.sha256,
        protocol=protocol.to_json(),
        mode=protocol.mode,
        images=protocol.images,
        people=protocol.people,
        **measured.figures._asdict(),
        inferences_per_s=measured.inferences_per_s,
        device=protocol.device,
        precision=protocol.precision,
    )
    return _read(site, model_version_id, manifest, evaluations.record_evaluation(site.engine, model_version_id, row))


def _read(site: Site, model_version_id: int, manifest: Manifest, row: Evaluation) -> Measured:
    protocol = Protocol(**json.loads(row.protocol))
    figures = Figures(**{name: getattr(row, name) for name in Figures._fields})
    evaluation_id = evaluations.find_evaluation_id(site.engine, model_version_id, row.protocol_sha256)
    found = Measured(protocol, figures, row.inferences_per_s, evaluation_id=evaluation_id)
    key = evaluation_sheet_key(manifest.version_id, protocol.sha256)
    if not site.artifacts.exists(key):
        return found
    return dataclasses.replace(found, sheet=site.artifacts.get_bytes(key), url=site.artifacts.url(key))


def table(columns: dict[str, dict[str, str]]) -> str:
    """Format a Markdown table: one row per label, one column per model. columns: heading -> its lines"""
    labels = dict.fromkeys(label for lines in columns.values() for label in lines)
    rows = [{"": label, **{name: lines.get(label, "") for name, lines in columns.items()}} for label in labels]
    return markdown_table(rows)
