"""Commands that run every night or as long as they are not stopped: servers, pages, workers, repairs, messages."""

import sys
from typing import Any

import click

from deployments.command_line.errors import plain_errors
from deployments.command_line.options import (
    fallback_option,
    host_option,
    marks_option,
    night_options,
    port_option,
    server_option,
)

group = click.Group()


@group.command()
@host_option
@port_option("--port", 4200, "Port of Prefect's UI.")
@port_option("--browse-port", 4270, "Port of the pages of 'nightjar browse'.")
@marks_option
@night_options
@click.option(
    "--edge", metavar="DEVICE", help="Also process segments on this machine, on this device: CPU, MYRIAD, MULTI:…"
)
@fallback_option("With --edge: continue on the CPU when the device is lost, or stop.")
@plain_errors
def up(
    host: str, port: int, browse_port: int, marks: bool, edge: str | None, fallback: str, **night: str | None
) -> None:
    """Start Prefect's server with its UI, the pages of results and a worker, and deploy the flows. Ctrl-C stops all."""
    from deployments.deploy import NightSchedule
    from deployments.up import Listeners, bring_up

    bring_up(Listeners(host, port, browse_port, marks), NightSchedule(**night), edge, fallback)


@group.command()
@host_option
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 = any free one.  [default: 4270]")
@marks_option
@plain_errors
def browse(host: str, port: int | None, marks: bool) -> None:
    """Show nights, videos with skeletons, events and queries as pages in a browser. Ctrl-C stops it.

    'nightjar up' serves the same pages. While they run, this only prints their address.
    """
    from deployments.browse.serve import serve

    serve(host, port, marks=marks)


@group.command()
@night_options
@server_option
@plain_errors
def deploy(server: str | None, **night: str | None) -> None:
    """Create or update the work pools, deployments and nightly schedule on a Prefect server."""
    from deployments.deploy import NightSchedule, deploy

    deploy(NightSchedule(**night), server)


@group.command()
@click.option(
    "--pool",
    type=click.Choice(["central", "edge"]),
    default="edge",
    show_default=True,
    help="Work pool whose runs are executed.",
)
@click.option("--device", default="CPU", show_default=True, help="Device of an edge worker: CPU, MYRIAD, MULTI:…")
@click.option("--name", help="Name, unique for each device.  [default: NIGHTJAR_WORKER_NAME, or host and device]")
@fallback_option("Continue on the CPU when the device is lost, or stop.")
@click.option(
    "--limit",
    type=click.IntRange(1, 100),
    default=2,
    show_default=True,
    help="Runs at once. The second one waits, ready, until the first releases the device.",
)
@server_option
@plain_errors
def worker(**options: Any) -> None:
    """Execute the runs of a work pool on this machine. An edge worker needs no database."""
    from deployments.worker import run_worker

    run_worker(**options)


@group.command(name="edge-gate")
@port_option("--port", 4201, "Port on loopback, to which nginx forwards.")
@click.option(
    "--server", metavar="URL", default="http://127.0.0.1:4200", show_default=True, help="Address of Prefect's server."
)
@plain_errors
def edge_gate(port: int, server: str) -> None:
    """Restrict edge workers to the work pool edge. Runs between nginx and Prefect's server."""
    from deployments.edge_gate import run_edge_gate

    run_edge_gate(port, server.rstrip("/").removesuffix("/api"))


@group.command()
@click.option("--dry-run", is_flag=True, help="Print the repairs without making them.")
@click.option(
    "--verify", is_flag=True, help="Compare the content of every result file with the ledger, not only its presence."
)
@click.option(
    "--expect-within",
    type=click.FloatRange(0, min_open=True),
    metavar="HOURS",
    help="Report archives whose newest batch is older than this, or failed.",
)
@click.option(
    "--second-look-s",
    type=click.FloatRange(0, 600),
    default=45,
    show_default=True,
    help="Check a silent run again after this many seconds, and end it if it is still silent.",
)
@plain_errors
def sweep(**options: Any) -> None:
    """Repair the ledger, the store and Prefect after faults. For cron or a systemd timer."""
    from deployments.commands import run_sweep

    sys.exit(run_sweep(**options))


@group.command()
@click.option("--test", is_flag=True, help="Send a test message to every address, and print whether it was accepted.")
@plain_errors
def notify(test: bool) -> None:
    """Send the messages that wait, and show those that still wait or were given up.

    Addresses are in the setting NIGHTJAR_NOTIFY_URLS; the section [notify] of the site file chooses the messages.
    """
    from deployments.commands import run_notify

    sys.exit(run_notify(test))
