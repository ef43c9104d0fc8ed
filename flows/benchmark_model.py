"""Flow benchmark-model: the speed of models on a device, alone and from a video to its rows."""

import logging

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from models.inference.spec import BenchmarkSpec
from storage.sql.benchmarks import BenchmarkRow
from tasks.batch.report import data_url
from tasks.benchmark import benchmark as benchmarking
from tasks.browse.links import MODELS, pages_of
from tasks.model.early_checks import check_benchmark
from tasks.runs.cancelling import cancellable
from tasks.runs.forms import form
from tasks.runs.names import named_after
from tasks.runs.policy import FLOW
from tasks.site.scratch import scratch_folder
from tasks.site.site import Site, open_site
from tasks.text.markdown import cell, link, markdown_table

log = logging.getLogger(__name__)

DESCRIPTION = """\
Measure the speed of models on a device: inference alone, and all work of a batch from a video to its rows.

Run it while the machine does nothing else. The artifact **benchmark** has a chart and the figures; every run
adds its own.
"""


@flow(
    name="benchmark-model",
    flow_run_name=named_after(lambda given: f"{', '.join(given['models'])} on {given['device']}"),
    description=DESCRIPTION,
    **FLOW,
)
@cancellable
@form(BenchmarkSpec)
def benchmark_model(spec: BenchmarkSpec) -> dict[str, dict[str, float]]:
    """Measure models on a device: inference alone, then all work of a batch on a video.

    Writes the results to SQL (`benchmark_results`) and, as a chart and a table, to an artifact. Returns frames per
    second: name -> `model` and `pipeline`. Measuring again adds rows. Raises NightjarError.
    """
    with open_site() as site, scratch_folder("benchmark") as scratch:
        check_benchmark(site, spec)
        film = spec.video or benchmarking.render_film_task(scratch)
        measured = {}
        for number, name in enumerate(dict.fromkeys(spec.models)):
            place = scratch / str(number)
            place.mkdir()
            measured[name] = benchmarking.benchmark_task(name, spec, film, place, flow_run.get_id())
        _publish(site, measured)
    return {name: {row.what: row.frames_per_s for row in rows} for name, rows in measured.items()}


def _heat(temperature_c: float | None) -> str:
    return "" if temperature_c is None else f" {temperature_c:.0f} degrees C at the end."


def _publish(site: Site, measured: dict[str, list[BenchmarkRow]]) -> None:
    """Publish the results in Prefect's UI, and log the chart's address."""
    chart = benchmarking.draw_chart(measured)
    key = f"benchmarks/{flow_run.get_id()}/speeds.png"
    site.artifacts.put_bytes(key, chart)
    last = next(reversed(measured.values()))[-1]
    title = cell(", ".join(measured))
    where = f"On {last.device}; {last.machine}. OpenVINO {last.openvino}. Film: {last.video}."
    parts = [
        f"# Speed of {title}",
        f"{cell(where)} The machine's load average was {last.load_1m:.1f} at the start.",
        f"![frames per second]({data_url(chart)})",
        markdown_table(benchmarking.speed_table(measured)),
        "The last column is the seed article's figure for its own Neural Compute Stick; it was not measured here.",
        "## Where the time goes",
        markdown_table(benchmarking.cost_table(measured)),
        f"In {last.precision}; both processes' memory at its peak.{_heat(last.temperature_c)}",
        link("All models, accuracy against speed", pages_of(site.settings).at(MODELS)),
    ]
    create_markdown_artifact("\n\n".join(parts), key="benchmark", description=f"{title} on {cell(last.device)}")
    log.info("Stored the chart at %s", site.artifacts.url(key))


if __name__ == "__main__":
    benchmark_model.serve()
