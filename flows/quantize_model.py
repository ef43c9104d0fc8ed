"""Flow quantize-model: a model in INT8, its ranges measured on frames of one's own archive, kept if it is as good."""

import logging
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from models.manifest import Manifest
from tasks.model import evaluate as evaluation
from tasks.model import quantize as quantization
from tasks.model.archive_frames import sample_frames
from tasks.model.early_checks import Quantization, check_quantization
from tasks.model.quantize import Judged
from tasks.model.store import store_model, take_model
from tasks.runs.cancelling import cancellable
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW, Address, Help
from tasks.site.scratch import scratch_folder
from tasks.site.site import open_site
from tasks.text.markdown import code

log = logging.getLogger(__name__)

DESCRIPTION = """\
Make an INT8 version of a pose model, which is smaller and faster, and keep it if it is as good as its source.

Value ranges are measured on frames of your own archive. The artifact **quantization** has both models side by
side. A model that lost too much is refused, and the run fails.
"""


@flow(
    name="quantize-model",
    flow_run_name=named_after(lambda given: f"{given['model']} to INT8"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
def quantize_model(
    model: Annotated[
        str, Help("A model's name (its newest version) or a version's hash"), Field(min_length=1, max_length=100)
    ],
    archive: Annotated[
        str, Address("Folder or s3://bucket/prefix with videos like those that it shall see"), Field(max_length=1000)
    ],
    frames: Annotated[int, Help("Number of frames, from all its videos, to calibrate on"), Field(ge=10, le=5000)] = 300,
    name: Annotated[
        str, Help("The new model's name; with -int8 behind it when empty"), Field(pattern=r"^([a-z0-9][a-z0-9-]*)?$")
    ] = "",
    coco: Annotated[
        str, Help("COCO's keypoint annotations to judge by; the agreement with the source when empty"), Field()
    ] = "",
    images: Annotated[str, Help("Folder of the annotated images"), Field(max_length=1000)] = "",
    max_drop: Annotated[
        float | None,
        Help("AP and mean OKS may be so much lower; 0.02 when none, 0.3 of the agreement without annotations"),
        Field(ge=0, le=1),
    ] = None,
    device: Annotated[str, Help("OpenVINO's name of the device to judge on"), Field(max_length=200)] = "CPU",
) -> str:
    """Quantise a pose model to INT8 and store it as a version of its own, if it is as good as its source.

    Returns the version's hash. The same source and archive give the same version.
    Raises NightjarError; QuantizationRefused with both figures when the INT8 model is worse than allowed.
    """
    with open_site() as site, scratch_folder("quantize") as scratch:
        check_quantization(site, Quantization(model, archive, device, coco, images))
        source_id, folder, source = take_model(site, model)
        annotated = evaluation.open_coco(coco, images) if coco else None
        chosen = sample_frames(site, archive, source, frames)
        out = scratch / "ir"
        manifest = quantization.quantize(folder, source, name or f"{source.name}-int8", chosen, out)
        judged = quantization.judge((folder, source), (out, manifest), chosen, annotated, device, max_drop)
        evaluation.keep(site, source_id, source, judged.source)
        _publish(source, manifest, judged)
        quantization.refuse_worse(manifest.name, judged)
        evaluation.keep(site, store_model(site, out, manifest), manifest, judged.quantised)
    log.info("%s is version %s", manifest.name, manifest.version_id[:12])
    return manifest.version_id


def _publish(source: Manifest, manifest: Manifest, judged: Judged) -> None:
    """Both side by side, also when the one is refused."""
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
