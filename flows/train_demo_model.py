"""Flow train-demo-model: a small PoseNet, trained from random weights on synthetic people."""

import base64
import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from models.demo_model.spec import TrainSpec
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.settings import read_settings
from tasks.site.site import open_site
from tasks.training.demo_model import measure_posenet_task, train_posenet_task, write_card_task

log = logging.getLogger(__name__)

DESCRIPTION = """\
Train the demo's small pose model from random weights on rendered people. No pictures are needed.

The artifact **training** has the losses and the accuracy on unseen people. An interrupted training continues when it
is started again with the same parameters.
"""


@flow(
    name="train-demo-model",
    flow_run_name=named_after(lambda given: f"posenet-demo for {given['minutes']:g} min, seed {given['seed']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(TrainSpec)
def train_demo_model(spec: TrainSpec) -> str:
    """Train posenet-demo on rendered people, on a GPU if there is one, and measure it on unseen people.

    A killed training resumes from its last checkpoint when it is started again with the same parameters.
    Returns the folder of the TF.js model, for `nightjar convert posenet-demo --source`. Raises NightjarError.
    """
    from models.demo_model.params import TrainParams
    from models.demo_model.train import CURVES_FILE

    place = spec.folder or read_settings().home.resolve() / "training" / "posenet-demo"
    training = train_posenet_task(TrainParams(seed=spec.seed, steps=spec.steps, minutes=spec.minutes), place)
    accuracy = measure_posenet_task(place / "model" / "model.json")
    text = write_card_task(place / "model", training, accuracy)
    curves = (place / CURVES_FILE).read_bytes()
    with open_site() as site:
        site.artifacts.put_bytes("training/posenet-demo/losses.png", curves)
        url = site.artifacts.url("training/posenet-demo/losses.png")
    picture = f"![losses](data:image/png;base64,{base64.b64encode(curves).decode()})"
    create_markdown_artifact(f"{text}\n{picture}\n", key="training", description="posenet-demo")
    log.info("Measured AP %.3f, AP50 %.3f, PCK %.3f. Stored the curves at %s", *accuracy[:2], accuracy.pck_box, url)
    return str(place / "model")


if __name__ == "__main__":
    train_demo_model.serve()
