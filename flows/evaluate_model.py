"""Flow evaluate-model: how right a pose model is on annotated images, with the protocol that the figures hang on."""

import logging
from typing import Annotated, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from tasks.batch.report import data_url
from tasks.model import evaluate as evaluation
from tasks.model.early_checks import check_evaluation
from tasks.model.evaluate import Measured
from tasks.model.store import take_model
from tasks.runs.cancelling import cancellable
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW, Help
from tasks.site.site import open_site
from tasks.text.markdown import code

log = logging.getLogger(__name__)

DESCRIPTION = """\
Measure how right a pose model is on images with COCO keypoint annotations.

The artifact **evaluation** has AP, AR, mean OKS and PCK, the protocol behind them, and the best and worst
images. The same measurement is not done twice.
"""


@flow(
    name="evaluate-model",
    flow_run_name=named_after(lambda given: f"{given['model']} on annotated images, {given['mode']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
def evaluate_model(
    model: Annotated[
        str, Help("A model's name (its newest version) or a version's hash"), Field(min_length=1, max_length=100)
    ],
    coco: Annotated[
        str, Help("COCO's keypoint annotations, such as person_keypoints_val2017.json"), Field(max_length=1000)
    ],
    images: Annotated[str, Help("Folder of the images; missing ones are left out"), Field(max_length=1000)],
    mode: Annotated[
        Literal["multi", "single"],
        Help("multi: all images, everybody in them. single: images of one annotated person, decoded as one, stretched"),
    ] = "multi",
    device: Annotated[str, Help("OpenVINO's name of the device"), Field(max_length=200)] = "CPU",
    limit: Annotated[int | None, Help("Only so many images, the first by id; all when none"), Field(ge=1)] = None,
) -> Measured:
    """AP and AR by pycocotools, mean OKS and PCK of a model, written down with all that they hang on.

    The same model by the same protocol is not measured again. Raises NightjarError.
    """
    with open_site() as site:
        check_evaluation(site, model, device, coco, images)
        model_version_id, folder, manifest = take_model(site, model)
        annotated = evaluation.open_coco(coco, images)
        measured = evaluation.evaluate_version(site, model_version_id, folder, manifest, annotated, mode, device, limit)
    said = measured.lines()
    picture = f"![best and worst images]({data_url(measured.sheet)})\n\n{code(measured.url)}" if measured.sheet else ""
    title = f"{manifest.name}, {manifest.version_id[:12]}"
    text = f"# {title}\n\n{evaluation.table({manifest.name: said})}\n\nCrosses: the annotations.\n\n{picture}\n"
    create_markdown_artifact(text, key="evaluation", description=f"{title}, {mode}")
    log.info("%s: %s", title, "; ".join(f"{label} {value}" for label, value in said.items()))
    return measured


if __name__ == "__main__":
    evaluate_model.serve()
