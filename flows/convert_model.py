"""Flow convert-model: TensorFlow or TensorFlow.js weights become an OpenVINO IR in the artifact store."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from models.manifest import Manifest
from tasks.conversion import convert_source, fetch_source
from tasks.model_store import store_model
from tasks.policy import FLOW
from tasks.progress import byte_progress
from tasks.site import open_site


@flow(name="convert-model", **FLOW)
def convert_model(
    name: Annotated[
        str, Field(description="The model's name here, such as posenet-075", pattern=r"^[a-z0-9][a-z0-9-]*$")
    ],
    source: Annotated[
        str | None, Field(description="File, folder or https address; the published weights when empty")
    ] = None,
    width: Annotated[
        float | None, Field(description="MobileNet's width; read from the weights when empty", gt=0)
    ] = None,
    size: Annotated[
        int | None, Field(description="Input height and width in pixels; 224 when empty", ge=65, le=2049)
    ] = None,
    precision: Annotated[Literal["FP16", "FP32"], Field(description="Data type of the weights in the IR")] = "FP16",
    device_target: Annotated[
        Literal["CPU", "MYRIAD"], Field(description="MYRIAD refuses what a Neural Compute Stick cannot run")
    ] = "CPU",
    images: Annotated[str | None, Field(description="Folder of pictures to measure the parity on")] = None,
) -> str:
    """Convert a model to OpenVINO IR, measure it against TensorFlow, and store it under its hash.

    Returns the version's hash. Converting the same source the same way again changes nothing.
    Raises NightjarError: no source, unknown format, parity out of bounds, not fit for the device.
    """
    with open_site() as site, tempfile.TemporaryDirectory(prefix="nightjar-convert-") as scratch:
        with byte_progress(f"Fetching {name}") as on_bytes:
            path, location = fetch_source(site, name, source, on_bytes)
        manifest = convert_source(
            path, location, Path(scratch) / "ir", name, width, size, precision, device_target, images
        )
        store_model(site, Path(scratch) / "ir", manifest)
        url = site.artifacts.url(f"models/{manifest.version_id}/manifest.json")
    get_run_logger().info("%s is version %s: %s", name, manifest.version_id[:12], url)
    create_markdown_artifact(_card(manifest, url), key="conversion", description=f"{name}, {manifest.version_id[:12]}")
    return manifest.version_id


def _card(manifest: Manifest, url: str) -> str:
    rows = "\n".join(
        f"| {name} | {shape} | {manifest.parity.max_abs[name]:.2g} | {manifest.parity.bound[name]:.2g} |"
        for name, shape in manifest.outputs.items()
    )
    return f"""# {manifest.name}

Version `{manifest.version_id}`, {manifest.precision}, from {manifest.source.format} at {manifest.source.location}
(sha256 `{manifest.source.sha256}`). Input {manifest.input.shape}. Stored at {url}

| output | shape | largest difference from TensorFlow | allowed |
|---|---|---|---|
{rows}

Measured on {manifest.parity.image_count} pictures: {manifest.parity.images}.
Neural Compute Stick: {"fit" if manifest.stick.fit else "not fit"}. {manifest.stick.reason}
"""


if __name__ == "__main__":
    convert_model.serve()
