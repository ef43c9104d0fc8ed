"""Commands that try Nightjar out: the demo, the training of its model, and a check of the installation."""

import sys
from pathlib import Path

import click

from deployments.command_line.errors import plain_errors
from deployments.command_line.options import PATH
from deployments.spec_options import spec_options
from models.demo_model.spec import TrainSpec

group = click.Group()


@group.command()
@click.option("--videos", type=PATH, help="Process your own folder of videos, with movenet-multipose.")
@click.option("--data", type=PATH, help="Folder with the weights of movenet-multipose.  [default: download them]")
@plain_errors
def demo(videos: Path | None, data: Path | None) -> None:
    """Render videos of people with known joints, turn them into rows, and measure the accuracy."""
    from deployments.demo import run_demo

    run_demo(videos, data)


@group.command(name="train-demo")
@spec_options(TrainSpec)
@plain_errors
def train_demo(spec: TrainSpec) -> None:
    """Train posenet-demo from random weights on rendered people, and measure it. An interrupted run resumes."""
    from deployments.commands import run_training

    run_training(spec)


@group.command()
@plain_errors
def doctor() -> None:
    """Check the installation, the devices, the database and the store."""
    from deployments.doctor import examine

    sys.exit(examine())
