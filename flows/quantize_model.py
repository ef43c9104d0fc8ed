"""Flow quantize-model: an INT8 version of a model, with ranges measured on frames of the user's own archive."""

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.conversion.spec import QuantizeSpec
from models.manifest import Manifest
from tasks.model import evaluate as evaluation
from tasks.model import quantize as quantization
from tasks.model.archive_frames import sample_frames_task
from tasks.model.early_checks import check_quantization
from tasks.model.quantize import QuantizedScores
from tasks.model.store import store_model_task, take_model
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.scratch import scratch_folder
from tasks.site.site import open_site
from tasks.text.markdown import code

log = logging.getLogger(__name__)

DESCRIPTION = """\
Make an INT8 version of a pose model, which is smaller and faster, and keep it if it is as good as its source.
Value ranges are measured on frames of your own archive. The artifact **quantization** compares both models. A model
that lost too much is refused, and the run fails.
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
    """Quantise a pose model to INT8 and store it as a separate version if it is as good as its source.

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
        evaluation.keep(site, source_id, source, judged.source)
        _publish(source, manifest, judged)
        quantization.refuse_worse(manifest.name, judged)
        evaluation.keep(site, store_model_task(out, manifest), manifest, judged.quantised)
    log.info("Stored %s as version %s", manifest.name, manifest.version_id[:12])
    return manifest.version_id


def _publish(source: Manifest, manifest: Manifest, judged: QuantizedScores) -> None:
    """Publish a comparison of both models, also when the INT8 version is refused."""
    columns = {source.name: judged.source.lines(), manifest.name: judged.quantised.lines()}
    speed = judged.speed.describe(source.name, manifest.name)
    source_code = code(manifest.source.location)
    text = (
        f"# {manifest.name}\n\nVersion `{manifest.version_id}`, {manifest.precision}, from {source_code}."
        f"\n\n{evaluation.table(columns)}\n\n"
        f"{speed}. AP and mean OKS may be {judged.max_drop:g} lower.\n"
    )
    create_markdown_artifact(text, key="quantization", description=f"{manifest.name}, {manifest.version_id[:12]}")
    for title, lines in columns.items():
        log.info("%s: %s", title, "; ".join(f"{label} {value}" for label, value in lines.items()))
    log.info(speed)


if __name__ == "__main__":
    quantize_model.serve()
