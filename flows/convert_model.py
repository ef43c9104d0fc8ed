"""Flow convert-model: TensorFlow or TensorFlow.js weights, or an OpenVINO IR, become a model in the artifact store."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from models.conversion.spec import ConvertSpec
from models.inference.scaling import ScalingRequest, scaling_of
from models.manifest import Manifest
from tasks.model.convert import convert_source, fetch_source
from tasks.model.early_checks import check_conversion
from tasks.model.store import store_model
from tasks.runs.cancelling import cancellable
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW, Address, Help
from tasks.site.scratch import scratch_folder
from tasks.site.site import open_site
from tasks.text.markdown import cell, code
from tasks.text.progress import byte_progress

log = logging.getLogger(__name__)

_NUMBERS = Field(max_length=100)


DESCRIPTION = """\
Convert a model to OpenVINO, so that batches can use it under the name that you give.

Leave *source* empty for a model with published weights; they are downloaded once. The artifact **conversion**
compares the outputs with those of the source. Converting the same source the same way again changes nothing.
"""


@flow(
    name="convert-model",
    flow_run_name=named_after(lambda given: f"{given['name']} to {given['precision']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
def convert_model(
    name: Annotated[
        str,
        Help("The model's name here. posenet-050, -075, -100, -101, openpose and posenet-demo have known weights"),
        Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100),
    ],
    source: Annotated[
        str, Address("File, folder or https address; the published weights when empty"), Field(max_length=1000)
    ] = "",
    width: Annotated[
        float | None,
        Help("MobileNet's width: 0.5, 0.75, 1.0, 1.01; read from the weights when none"),
        Field(gt=0, le=2),
    ] = None,
    size: Annotated[
        int | None,
        Help("Input height and width in pixels; 224, or what the weights say, when none"),
        Field(ge=65, le=2049),
    ] = None,
    precision: Annotated[Literal["FP16", "FP32"], Help("Data type of the weights in the IR")] = "FP16",
    device_target: Annotated[
        Literal["CPU", "MYRIAD"], Help("MYRIAD refuses what a Neural Compute Stick cannot run")
    ] = "CPU",
    images: Annotated[
        str,
        Help("Folder of pictures to measure the parity with the source on; made up ones when empty"),
        Field(max_length=1000),
    ] = "",
    labels: Annotated[
        str,
        Help(
            "Of a classifier, between commas, in the order of its outputs; for one output: what it is not, what it is"
        ),
        Field(max_length=10_000),
    ] = "",
    scale: Annotated[
        Literal["", "-1..1", "0..1", "0..255", "imagenet"],
        Help("Range of the input that the model was trained with; as found in the model when empty"),
    ] = "",
    mean: Annotated[
        str, Help("Subtracted from the scaled pixels: one number, or three in the order of the channels"), _NUMBERS
    ] = "",
    std: Annotated[str, Help("Standard deviation that the difference is divided by, like the mean"), _NUMBERS] = "",
    channels: Annotated[
        Literal["", "RGB", "BGR"], Help("Channel order of the input; RGB, or as found in the model, when empty")
    ] = "",
    labelled: Annotated[
        str,
        Help("Folder with one folder of pictures per label, which the classifier must name rightly"),
        Field(max_length=1000),
    ] = "",
) -> str:
    """Convert a model to OpenVINO IR, measure it against its source, and store it under its hash.

    Returns the version's hash. Converting the same source the same way again changes nothing.
    Raises NightjarError: no source, unknown format, unknown scaling, parity out of bounds, not fit for the device.
    """
    spec = ConvertSpec(
        name=name,
        width=width,
        size=size,
        precision=precision,
        device_target=device_target,
        labels=tuple(filter(None, map(str.strip, labels.split(",")))),
        scaling=ScalingRequest(scale, mean, std, channels),
        labelled=Path(labelled).expanduser() if labelled else None,
    )
    spec.scaling.parse()  # before anything is fetched
    with open_site() as site, scratch_folder("convert") as scratch:
        check_conversion(name, source, {"--images": images, "--labelled": labelled})
        with byte_progress(f"Fetching {name}") as on_bytes:
            path, location = fetch_source(site, name, source or None, on_bytes)
        manifest = convert_source(path, location, scratch / "ir", spec, images or None)
        store_model(site, scratch / "ir", manifest)
        url = site.artifacts.url(f"models/{manifest.version_id}/manifest.json")
    log.info("%s is version %s: %s", name, manifest.version_id[:12], url)
    create_markdown_artifact(_card(manifest, url), key="conversion", description=f"{name}, {manifest.version_id[:12]}")
    return manifest.version_id


def _card(manifest: Manifest, url: str) -> str:
    rows = "\n".join(
        f"| {cell(name)} | {manifest.parity.mean_abs[name]:.2g} | {manifest.parity.bound[name]:.2g} "
        f"| {manifest.parity.max_abs[name]:.2g} | {shape} |"
        for name, shape in manifest.outputs.items()
    )
    return f"""# {manifest.name}

Version `{manifest.version_id}`, {manifest.precision}, from {manifest.source.format} at {code(manifest.source.location)}
(sha256 `{manifest.source.sha256}`). Stored at {code(url)}

Input {manifest.input.shape}, {scaling_of(manifest.input).describe()}: {cell(manifest.input_basis)}.{_proof(manifest)}

| output | mean difference from the source | allowed of the mean | largest difference | shape |
|---|--:|--:|--:|---|
{rows}

The mean is what is judged. The largest difference is in one cell of one picture, often one without a person.

Measured on {manifest.parity.image_count} pictures: {cell(manifest.parity.images)}.
Neural Compute Stick: {"fit" if manifest.stick.fit else "not fit"}. {cell(manifest.stick.reason)}
"""


def _proof(manifest: Manifest) -> str:
    if manifest.proof is None:
        return ""
    return f" Of {manifest.proof.pictures} it names rightly: {cell(manifest.proof.describe())}."


if __name__ == "__main__":
    convert_model.serve()
