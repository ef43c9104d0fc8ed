"""Flow evaluate-model: the accuracy of a pose model on annotated images, with the protocol of the figures."""

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.evaluation.spec import EvaluateSpec
from tasks.batch.report import data_url
from tasks.browse.links import evaluation_path, pages_of
from tasks.model import evaluate as evaluation
from tasks.model.early_checks import check_evaluation
from tasks.model.evaluate import Measured
from tasks.model.store import take_model
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.site import open_site
from tasks.text.markdown import link

log = logging.getLogger(__name__)

DESCRIPTION = """\
Measure the accuracy of a pose model on images with COCO keypoint annotations.

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
@form(EvaluateSpec)
def evaluate_model(spec: EvaluateSpec) -> Measured:
    """Measure AP and AR by pycocotools, mean OKS and PCK of a model, and store them with their protocol.

    The same model with the same protocol is not measured again. Raises NightjarError.
    """
    with open_site() as site:
        check_evaluation(site, spec)
        model_version_id, folder, manifest = take_model(site, spec.model)
        annotated = evaluation.open_coco_task(spec.coco, spec.images)
        measured = evaluation.evaluate_version_task(model_version_id, folder, manifest, annotated, spec)
        pages = pages_of(site.settings)
    said = measured.lines()
    picture = f"![best and worst images]({data_url(measured.sheet)})" if measured.sheet else ""
    if measured.evaluation_id is not None:
        picture += f"\n\n{link('All figures and images', pages.at(evaluation_path(measured.evaluation_id)))}"
    title = f"{manifest.name}, {manifest.version_id[:12]}"
    text = f"# {title}\n\n{evaluation.table({manifest.name: said})}\n\nCrosses: the annotations.\n\n{picture}\n"
    create_markdown_artifact(text, key="evaluation", description=f"{title}, {spec.mode}")
    log.info("%s: %s", title, "; ".join(f"{label} {value}" for label, value in said.items()))
    return measured


if __name__ == "__main__":
    evaluate_model.serve()
