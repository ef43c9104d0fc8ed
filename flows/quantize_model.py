"""Flow quantize-model: an INT8 version of a model, with ranges measured on frames of the user's own archive."""

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.conversion.spec import QuantizeSpec
from models.manifest import Manifest
from tasks.browse.links import MODELS, Pages, pages_of
from tasks.model import evaluate as evaluation
from tasks.model import quantize as quantization
from tasks.model.archive_frames import sample_frames_task
from tasks.model.early_checks import check_quantization
from tasks.model.model_tasks import store_model_task
from tasks.model.quantize import Judgement
from tasks.model.store import take_model
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.scratch import scratch_folder
from tasks.site.site import open_site
from tasks.text.markdown import code, link

log = logging.getLogger(__name__)

DESCRIPTION = """\
Make an INT8 version of a pose model, which is smaller and faster, and keep it if it is nearly as accurate as its
source. Value ranges are measured on frames of your own archive. The artifact **quantization** compares both models. A
model that lost too much is refused, and the run fails.
"""


@flow(
    name="quantize-model",
    flow_run_name=named_after(lambda given: f"{given['model']} to INT8"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(QuantizeSpec)
def quantize_model(spec: QuantizeSpec) -> str:
    """Quantize a pose model to INT8 and store it as a separate version if it is nearly as accurate as its source.

    Returns the version's hash. The same source and archive give the same version.
    Raises NightjarError; QuantizationRefused with both figures when the INT8 model is worse than allowed.
    """
    with open_site() as site, scratch_folder("quantize") as scratch:
        check_quantization(site, spec)
        source_id, folder, source = take_model(site, spec.model)
        annotated = evaluation.open_coco_task(spec.coco, spec.images) if spec.coco and spec.images else None
        chosen = sample_frames_task(spec.archive, source, spec.frames)
        out = scratch / "ir"
        manifest = quantization.quantize_task(folder, source, spec, chosen, out)
        judged = quantization.judge_task((folder, source), (out, manifest), chosen, annotated, spec)
        for pair in judged.pairs:
            evaluation.keep(site, source_id, source, pair.source)
        _publish(source, manifest, judged, pages_of(site.settings))
        quantization.refuse_worse(manifest.name, judged)
        model_version_id = store_model_task(out, manifest)
        for pair in judged.pairs:
            evaluation.keep(site, model_version_id, manifest, pair.quantized)
    log.info("Stored %s as version %s", manifest.name, manifest.version_id[:12])
    return manifest.version_id


def _publish(source: Manifest, manifest: Manifest, judged: Judgement, pages: Pages) -> None:
    """Publish a comparison of both models, also when the INT8 version is refused."""
    lines = judged.lines(source.name, manifest.name)
    parts = [
        f"# {manifest.name}",
        f"Version `{manifest.version_id}`, {manifest.precision}, from {code(manifest.source.location)}.",
        *lines,
    ]
    for pair in judged.pairs:
        columns = {source.name: pair.source.lines(), manifest.name: pair.quantized.lines()}
        parts.append(evaluation.table(columns))
        for title, values in columns.items():
            log.info("%s: %s", title, "; ".join(f"{label} {value}" for label, value in values.items()))
    parts.append(link("All models, accuracy against speed", pages.at(MODELS)))
    create_markdown_artifact(
        "\n\n".join(parts), key="quantization", description=f"{manifest.name}, {manifest.version_id[:12]}"
    )
    for line in lines:
        log.info(line)


if __name__ == "__main__":
    quantize_model.serve()
