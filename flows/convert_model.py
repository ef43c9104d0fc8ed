"""Flow convert-model: a model of TensorFlow, TensorFlow.js, ONNX or OpenVINO to one in the artifact store."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.conversion.spec import ConvertSpec
from models.inference.scaling import scaling_of
from models.manifest import Manifest
from tasks.browse.links import MODELS, pages_of
from tasks.model.convert import log_stored
from tasks.model.early_checks import check_conversion
from tasks.model.model_tasks import convert_source_task, fetch_source_task, store_model_task
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.scratch import scratch_folder
from tasks.site.site import open_site
from tasks.text.markdown import cell, code, link

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
@form(ConvertSpec)
def convert_model(spec: ConvertSpec) -> str:
    """Convert a model to OpenVINO IR, measure it against its source, and store it under its hash.

    Returns the version's hash. Converting the same source the same way again changes nothing.
    Raises NightjarError: no source, unknown format, unknown scaling, parity out of bounds, unfit for the device.
    """
    with open_site() as site, scratch_folder("convert") as scratch:
        check_conversion(spec)
        path, location = fetch_source_task(spec)
        manifest = convert_source_task(path, location, scratch / "ir", spec)
        store_model_task(scratch / "ir", manifest)
        url = log_stored(site, manifest)
        models = link("All models, accuracy against speed", pages_of(site.settings).at(MODELS))
    text = f"{_card(manifest, url)}\n{models}\n"
    create_markdown_artifact(text, key="conversion", description=f"{spec.name}, {manifest.version_id[:12]}")
    return manifest.version_id


def _card(manifest: Manifest, url: str) -> str:
    rows = "\n".join(
        f"| {cell(name)} | {manifest.parity.mean_abs[name]:.2g} | {manifest.parity.bound[name]:.2g} "
        f"| {manifest.parity.max_abs[name]:.2g} |"
        for name in manifest.parity.mean_abs
    )
    outputs = ", ".join(f"{cell(name)} {shape}" for name, shape in manifest.outputs.items())
    return f"""# {manifest.name}

Version `{manifest.version_id}`, {manifest.precision}, from {manifest.source.format} at {code(manifest.source.location)}
(sha256 `{manifest.source.sha256}`). Stored at {code(url)}

Input {manifest.input.shape}, {scaling_of(manifest.input).describe()}: {cell(manifest.input_basis)}.{_proof(manifest)}
Outputs: {outputs}.

| compared | mean difference from the source | allowed of the mean | largest difference |
|---|--:|--:|--:|
{rows}

The mean decides. The largest difference is in one cell of one picture, often one without a person.

Measured on {manifest.parity.image_count} pictures: {cell(manifest.parity.images)}.
Neural Compute Stick: {"fit" if manifest.stick.fit else "not fit"}. {cell(manifest.stick.reason)}
"""


def _proof(manifest: Manifest) -> str:
    if manifest.proof is None:
        return ""
    return f" It labels these of {manifest.proof.pictures} correctly: {cell(manifest.proof.describe())}."


if __name__ == "__main__":
    convert_model.serve()
