"""Flow finetune-classifier: pictures of cars and of other things to a classifier for batches."""

import logging
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from models.car_classifier.params import FinetuneParams, FinetuneSpec
from models.conversion.spec import ConvertSpec
from models.inference.scaling import ScalingRequest
from models.types import NightjarError
from storage.sql import trainings
from tasks.batch.report import data_url
from tasks.browse.links import Pages, pages_of, training_path
from tasks.model.early_checks import check_pictures
from tasks.model.model_tasks import convert_source_task, store_model_task
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.owner import is_dead, this_owner
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site, open_site
from tasks.text.markdown import cell, code, link
from tasks.training import car_classifier as finetuning
from tasks.training import judge as judging
from tasks.training.backgrounds import cut_backgrounds_task
from tasks.training.car_classifier import LABELS, folder_lines
from tasks.training.judge import IrScores, TrainedScores

log = logging.getLogger(__name__)

FOLDERS_SHOWN = 40


DESCRIPTION = """\
Train a classifier on your pictures of cars and of other things, test it, and make it a model that batches can
use.

The artifact **finetuning** has the test's figures, curves, and the pictures that it gets wrong. An interrupted
training continues when it is started again with the same pictures and parameters.
"""


@flow(
    name="finetune-classifier",
    flow_run_name=named_after(lambda given: f"{given['name']}, {given['preset']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(FinetuneSpec)
def finetune_classifier(spec: FinetuneSpec) -> int:
    """Fine-tune a car / not-a-car classifier, test it on unseen pictures, and convert it for batches.

    Returns the run's number, for `nightjar compare` and as `--model run-NUMBER`. An interrupted training resumes from
    its last epoch when it is started again with the same pictures and parameters; a completed one is not repeated.
    Raises NightjarError.
    """
    params = spec.params
    with open_site() as site:
        check_pictures(spec)
        data = finetuning.read_pictures_task(spec, cut_backgrounds_task(spec))  # before 100 MB of weights are fetched
        file = finetuning.fetch_weights_task(spec)
        plan = finetuning.plan_training(spec, data, file)
        run_id, done = trainings.start_training(
            site.engine, plan, flow_run.get_id(), owner=this_owner(), is_dead=is_dead
        )
        if done:
            said = (
                "Run %s has done this with the same pictures, parameters and weights. Use its model as --model run-%s"
            )
            log.info(said, run_id, run_id)
            return run_id
        try:
            with finetuning.keeping_lease(site.engine, run_id):
                trainings.record_pictures(site.engine, run_id, finetuning.prediction_rows(data.pictures, {}))
                _train(site, _Run(run_id, plan, params, data), file)
        except BaseException as error:
            with suppress(NightjarError):  # the database may be what failed
                trainings.fail_training(site.engine, run_id, str(error) or type(error).__name__)
            raise
    return run_id


@dataclass(frozen=True)
class _Run:
    """A running training."""

    run_id: int
    plan: trainings.TrainingPlan
    params: FinetuneParams
    data: finetuning.Data

    @property
    def trained_on(self) -> Counter[bool]:
        """Numbers of training pictures without (False) and with a car (True)."""
        return Counter(picture.car for picture in self.data.pictures if picture.split == "train")


def _train(site: Site, run: _Run, weights: Path) -> None:
    """Train, test, convert and publish. The run is completed when all of it is done."""
    folder = site.settings.home.resolve() / "training" / "classifier" / run.plan.run_key
    trained = finetuning.train_task(run.run_id, run.params, run.data, weights, folder)
    judged = judging.judge_task(run.run_id, run.params, run.plan.preset, trained)
    addresses = finetuning.keep_task(run.plan.run_key, judged.pictures, judged.failures, trained.model)
    with scratch_folder("finetune") as place:
        pictures = finetuning.parity_pictures(trained.test, place / "pictures")
        # The range is that of models.car_classifier.feed.
        spec = ConvertSpec(
            run.plan.name,
            images=pictures,
            labels=LABELS,
            scaling=ScalingRequest("-1..1"),
            threshold=judged.metrics.threshold,
            regions=run.params.regions,
        )
        ir_folder = place / "ir"
        manifest = convert_source_task(trained.model, addresses["model"], ir_folder, spec)
        ir = judging.judge_ir_task(ir_folder, manifest, trained, judged.metrics.threshold)
        model_version_id = store_model_task(ir_folder, manifest)
    _publish(run, judged, ir, manifest.version_id, addresses, pages_of(site.settings))
    found = {
        "base_sha256": trained.base_sha256,
        "best_epoch": trained.best_epoch,
        "model_version_id": model_version_id,
        **judging.columns(judged.metrics),
        **ir.columns(),
    }
    rows = finetuning.prediction_rows(run.data.pictures, judged.scores)
    trainings.finish_training(site.engine, run.run_id, found, rows)


def _publish(
    run: _Run, judged: TrainedScores, ir: IrScores, version: str, addresses: dict[str, str], pages: Pages
) -> None:
    """Publish the result: a page in Prefect's UI, the main figures and warnings in the log."""
    said = judging.lines(judged, ir)
    warned = judging.warnings(run.params, run.trained_on, judged, ir)
    title = f"# Run {run.run_id}: {run.plan.name}, {run.plan.preset}"
    parts = [title, *(f"**{cell(warning)}**" for warning in warned), _page(run, judged, said, version)]
    parts.append(link("This run: curves, failures, pictures", pages.at(training_path(run.run_id))))
    parts.append(f"The Keras model: {code(addresses['model'])}")
    description = f"run {run.run_id}, {run.plan.preset}"
    create_markdown_artifact("\n\n".join(parts), key="finetuning", description=description)
    log.info("Completed run %s: %s", run.run_id, "; ".join(f"{label} {text}" for label, text in said.items()))
    log.info("Use this model, version %s, as --model run-%s", version[:12], run.run_id)
    for warning in warned:
        log.warning(warning)
    for name, address in addresses.items():
        log.info("Stored %s at %s", name, address)


def _page(run: _Run, judged: TrainedScores, said: dict[str, str], version: str) -> str:
    rows = "\n".join(f"| {label} | {cell(text)} |" for label, text in said.items())
    folders = "\n".join(f"| {' | '.join(map(cell, each.cells()))} |" for each in judged.folders[:FOLDERS_SHOWN])
    parts = [
        f"`--model run-{run.run_id}` is this model, version `{version[:12]}`.",
        f"| on the test pictures | |\n|---|---|\n{rows}",
        *(f"## {name.replace('_', ' ')}\n\n![{name}]({data_url(png)})" for name, png in judged.pictures.items()),
        f"## Folders\n\n| folder | test pictures | accuracy | 95 % |\n|---|---|---|---|\n{folders}",
        "## Near misses\n\n"
        + ("\n".join(f"- {code(line)}" for line in judged.near) or "None within 0.2 of the threshold."),
        "## Pictures\n\n```\n"
        + "\n".join([*run.data.table, *folder_lines(run.data.pictures), *run.data.notes])
        + "\n```",
        f"## Parameters\n\n```json\n{run.params.to_json()}\n```",
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    finetune_classifier.serve()
