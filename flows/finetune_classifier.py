"""Flow finetune-classifier: pictures of cars and of others become a classifier that a night can run."""

import dataclasses
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import Field

from models.conversion_spec import ConvertSpec
from models.finetune_params import PRESETS, FinetuneParams
from models.scaling import ScalingRequest
from models.types import NightjarError
from storage import trainings
from tasks import finetuning
from tasks.cancelling import cancellable
from tasks.conversion import convert_source
from tasks.early_checks import PictureFolders, check_pictures
from tasks.finetuning import LABELS, Judged, Sources
from tasks.model_store import store_model
from tasks.policy import FLOW, Help
from tasks.report import data_url
from tasks.run_names import named_after
from tasks.site import Site, open_site

Folder = Field(max_length=1000)


DESCRIPTION = """\
Train a classifier on your pictures of cars and of other things, test it, and make it a model that batches can
use.

The artifact **finetuning** has the test's figures, curves, and the pictures that it gets wrong. A training that
was interrupted continues when it is started again with the same pictures and parameters.
"""


@flow(
    name="finetune-classifier",
    flow_run_name=named_after(lambda given: f"{given['name']}, {given['preset']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
def finetune_classifier(
    preset: Annotated[
        Literal["experiment-1", "experiment-2", "experiment-3"],
        Help("1: split at random. 2: the data sets' own splits. 3: and dropout against overfitting"),
    ] = "experiment-1",
    stanford: Annotated[str, Help("Folder of Stanford Cars' pictures; its devkit below"), Folder] = "",
    devkit: Annotated[str, Help("Folder of Stanford Cars' annotations, the .mat files"), Folder] = "",
    caltech: Annotated[str, Help("Folder of Caltech-256's folders, such as 252.car-side-101"), Folder] = "",
    folders: Annotated[
        list[str] | None, Help("Folders of your own, each with car/ and not_car/ in it"), Field(max_length=100)
    ] = None,
    crop: Annotated[bool, Help("Cut Stanford Cars' pictures to the annotated box")] = False,
    weights: Annotated[
        str, Help("Keras's .h5 of the backbone without its top; the published one when empty"), Folder
    ] = "",
    name: Annotated[
        str, Help("The model's name here"), Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)
    ] = "car-classifier",
    backbone: Annotated[Literal["resnet50", "mobilenet_0_25"] | None, Help("The preset's when none")] = None,
    learning_rate: Annotated[float | None, Help("The preset's when none"), Field(ge=1e-7, le=1)] = None,
    optimizer: Annotated[Literal["adam", "sgd", "rmsprop"] | None, Help("The preset's when none")] = None,
    epochs: Annotated[int | None, Help("The preset's when none"), Field(ge=1, le=1000)] = None,
    batch_size: Annotated[int | None, Help("The preset's, 32, when none"), Field(ge=1, le=1024)] = None,
    seed: Annotated[int | None, Help("Of splits, first weights and order"), Field(ge=0, lt=2**31)] = None,
    dropout: Annotated[float | None, Help("Share of the features that is dropped"), Field(ge=0, le=0.9)] = None,
    dense: Annotated[list[int] | None, Help("Widths of extra layers before the one of 32"), Field(max_length=4)] = None,
    unfrozen_blocks: Annotated[
        int | None, Help("Of the backbone's last blocks, so many learn too: slow"), Field(ge=0, le=16)
    ] = None,
    augment: Annotated[bool | None, Help("Train on flipped, cropped, brighter and darker pictures: slow")] = None,
    class_weights: Annotated[
        Literal["none", "balanced"] | None, Help("balanced: cars and others count the same, however many they are")
    ] = None,
    own_splits: Annotated[
        bool | None,
        Help("true: the data sets' own splits, too. none: the preset's; your folders' own. false: all drawn at random"),
    ] = None,
) -> int:
    """Fine-tune a car / not-a-car classifier, judge it on pictures that it never saw, and convert it for the nights.

    Gives the run's number, for `nightjar compare`. A training that was killed goes on from its last epoch when it is
    started again with the same pictures and parameters; one that is done is not done again. Raises NightjarError.
    """
    given: dict[str, Any] = {
        "backbone": backbone,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "dropout": dropout,
        "dense": None if dense is None else tuple(dense),
        "unfrozen_blocks": unfrozen_blocks,
        "augment": augment,
        "class_weights": class_weights,
        "own_splits": own_splits,
    }
    params = dataclasses.replace(PRESETS[preset], **{key: value for key, value in given.items() if value is not None})
    sources = Sources(stanford, devkit, caltech, tuple(folders or ()), crop, random_splits=own_splits is False)
    with open_site() as site:
        check_pictures(PictureFolders(stanford, devkit, caltech, sources.folders, weights))
        data = finetuning.read_pictures(sources, params)  # before 100 MB of weights are fetched
        file = finetuning.fetch_weights(site, params, weights)
        plan = finetuning.plan_training(name, preset, params, sources, data, file)
        run_id, done = trainings.start_training(site.engine, plan, flow_run.get_id())
        if done:
            get_run_logger().info("the same pictures, parameters and weights: run %s has done this", run_id)
            return run_id
        try:
            _train(site, run_id, plan, params, data, file)
        except BaseException as error:
            with suppress(NightjarError):  # the database may be what failed
                trainings.fail_training(site.engine, run_id, str(error) or type(error).__name__)
            raise
    return run_id


def _train(
    site: Site, run_id: int, plan: trainings.TrainingPlan, params: FinetuneParams, data: finetuning.Data, weights: Path
) -> None:
    folder = site.settings.home.resolve() / "training" / "classifier" / plan.run_key
    trained = finetuning.train(site, run_id, params, data, weights, folder)
    judged = finetuning.judge(run_id, params, plan.preset, trained)
    addresses = finetuning.keep(site, plan.run_key, judged, trained.model)
    with tempfile.TemporaryDirectory(prefix="nightjar-finetune-") as place:
        pictures = finetuning.parity_pictures(trained.test, Path(place) / "pictures")
        spec = ConvertSpec(plan.name, labels=LABELS, scaling=ScalingRequest("-1..1"))  # as models.finetune_feed does
        manifest = convert_source(trained.model, addresses["model"], Path(place) / "ir", spec, str(pictures))
        model_version_id = store_model(site, Path(place) / "ir", manifest)
    found = {
        "base_sha256": trained.base_sha256,
        "best_epoch": trained.best_epoch,
        "model_version_id": model_version_id,
        **finetuning.columns(judged.metrics),
    }
    trainings.finish_training(site.engine, run_id, found, judged.failures)
    _publish(run_id, plan, params, data, judged, addresses)


def _publish(
    run_id: int,
    plan: trainings.TrainingPlan,
    params: FinetuneParams,
    data: finetuning.Data,
    judged: Judged,
    addresses: dict[str, str],
) -> None:
    """What a person looks at: in Prefect's UI, and the main figures in the log."""
    said = finetuning.lines(judged.metrics, judged.failures)
    rows = "\n".join(f"| {label} | {text} |" for label, text in said.items())
    parts = [
        f"# Run {run_id}: {plan.name}, {plan.preset}",
        f"| on the test pictures | |\n|---|---|\n{rows}",
        *(f"## {title}\n\n![{title}]({data_url(png)})" for title, png in judged.pictures.items()),
        "## Pictures\n\n```\n" + "\n".join([*data.table, *data.notes]) + "\n```",
        f"## Parameters\n\n```json\n{params.to_json()}\n```",
        "\n".join(f"- {title}: {address}" for title, address in addresses.items()),
    ]
    create_markdown_artifact("\n\n".join(parts), key="finetuning", description=f"run {run_id}, {plan.preset}")
    log = get_run_logger()
    log.info("run %s: %s", run_id, "; ".join(f"{label} {text}" for label, text in said.items()))
    for title, address in addresses.items():
        log.info("%s: %s", title, address)


if __name__ == "__main__":
    finetune_classifier.serve()
