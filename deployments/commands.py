"""Bodies of the commands: call a flow or query the database, and print. Never imported by `--help`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployments import listings
from deployments.answers import Column, Format, Rows, print_table, write_listing, write_parquet, write_text
from deployments.flow_calls import call, prepare
from models.car_classifier.params import FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.demo_model.spec import TrainSpec
from models.evaluation.spec import EvaluateSpec
from models.inference.spec import BenchmarkSpec
from models.spec import flatten
from models.types import NightjarError
from storage.sql.listings import read_listing
from tasks.batch.check import check_night
from tasks.batch.spec import NightSpec
from tasks.model import early_checks
from tasks.site.settings import prepare_prefect, read_settings
from tasks.site.stores import keep_private
from tasks.text.log_lines import print_line

if TYPE_CHECKING:
    from storage.sql.database import Database
    from storage.sql.query import QueryLimits
    from tasks.model.interval_request import IntervalRequest

TABLE = Format()


def run_convert(spec: ConvertSpec) -> None:
    """Convert a model by the flow."""
    prepare(lambda site: early_checks.check_conversion(spec))
    from flows.convert_model import convert_model

    call(convert_model, flatten(spec))


def run_batch(spec: NightSpec) -> int:
    """Run the batch by the flow and print its report. Returns the exit code 0."""
    prepare(lambda site: check_night(site, spec), wait_for_outages=True)
    from flows.nightly_batch import nightly_batch
    from tasks.batch.report import print_report

    print_report(call(nightly_batch, flatten(spec), wait_for_outages=True))
    return 0


def run_training(spec: TrainSpec) -> None:
    """Train the demo model by the flow, and print its path."""
    prepare(lambda site: None)
    from flows.train_demo_model import train_demo_model

    model = call(train_demo_model, flatten(spec))
    print_line(str(model))
    print_line(f"To use it: nightjar convert posenet-demo --source {model}/model.json")


def run_finetuning(spec: FinetuneSpec) -> None:
    """Fine-tune a classifier by the flow, and print its figures."""
    prepare(lambda site: early_checks.check_pictures(spec))
    from flows.finetune_classifier import finetune_classifier

    run: Any = call(finetune_classifier, flatten(spec))
    compare_runs((run,), TABLE)
    print_line(f"To use it: nightjar run ARCHIVE --model run-{run} --frames-per-second 2")


def run_evaluation(spec: EvaluateSpec) -> None:
    """Measure a model by the flow, and print the figures with their protocol."""
    prepare(lambda site: early_checks.check_evaluation(site, spec))
    from flows.evaluate_model import evaluate_model

    measured: Any = call(evaluate_model, flatten(spec))
    print_table({"measure": Column(""), "value": Column(spec.model, flexible=True)}, measured.lines().items())
    if measured.url:
        print_line(f"The best and the worst images: {measured.url}")


def run_quantization(spec: QuantizeSpec) -> None:
    """Quantize a model by the flow, and print the new version."""
    prepare(lambda site: early_checks.check_quantization(site, spec))
    from flows.quantize_model import quantize_model

    version = call(quantize_model, flatten(spec))
    print_line(f"Version {version}")
    print_line(f"To use it: nightjar run ARCHIVE --model {spec.name or str(version)[:12]}")


def compare_runs(runs: tuple[int, ...], chosen: Format) -> None:
    """Print one column per fine-tuning; without numbers, list all of them."""
    if not runs:
        print_listing(listings.TRAININGS, chosen)
        return
    from tasks.site.site import open_site
    from tasks.training.compare import compare

    with open_site() as site:
        found = compare(site, runs)
    columns = ["", *(f"run {run}" for run in runs)]
    rows = ([label, *values] for label, values in found.rows)
    if chosen.form != "table":
        write_text(columns, rows, chosen, sys.stdout)
        return
    print_table({name: Column(name, flexible=True) for name in columns}, rows)
    for line in (*found.failures, *(f"{what}: {address}" for what, address in found.addresses.items())):
        print_line(line)


def run_benchmark(spec: BenchmarkSpec) -> None:
    """Measure by the flow, then print the known speeds of all models."""
    prepare(lambda site: early_checks.check_benchmark(site, spec))
    from flows.benchmark_model import benchmark_model

    call(benchmark_model, flatten(spec))
    _list_speeds(None)


def list_models(shown: str | None, unpin: bool, frames_per_second: float | None, chosen: Format) -> None:
    """Print the model versions, the one that the views show, and their speeds.

    shown: name of the model that the views show from now on
    unpin: let batches choose the shown model again
    frames_per_second: rate for which a model is recommended
    """
    if shown and unpin:
        raise NightjarError("--show chooses a model and --unpin undoes that choice. Give one of them.")
    if shown or unpin:
        _choose_shown(shown)
    print_listing(listings.MODELS, chosen)
    if chosen.form == "table":
        _print_shown()
        _list_speeds(frames_per_second, chosen.wide)


def show_intervals(name: str, request: "IntervalRequest") -> None:
    """Print how the intervals of a classifier begin and end, after changing it where asked to."""
    from tasks.model.intervals import settings_of
    from tasks.site.site import open_site

    with open_site() as site:
        found = settings_of(site, name, request)
    if found is None:
        print_line(f"An interval of {name} ends where the label changes")
        return
    print_line(
        f"An interval of {found.label} begins at a probability of {found.enter_score:g}, ends below "
        f"{found.leave_score:g}, and lasts {found.min_duration_s:g} s at least"
    )


def _print_shown() -> None:
    from storage.sql.catalogue import read_shown
    from tasks.batch.shown_model import TABLES, described

    with _database() as engine:
        for task in TABLES:
            if found := read_shown(engine, task):
                print_line(f"The views show this {task} model: {described(found)}")


def _list_speeds(frames_per_second: float | None, wide: bool = False) -> None:
    """Print the last measurement of each model on each device, and a recommendation."""
    from storage.sql.benchmarks import newest_speeds
    from storage.sql.evaluations import comparable_accuracy
    from tasks.benchmark.recommend import recommend

    with _database() as engine:
        speeds, accuracy = newest_speeds(engine), comparable_accuracy(engine)
    if speeds:
        named = [{**speed._asdict(), "ap": accuracy.get(speed.version_sha256)} for speed in speeds]
        columns = {name: Column(name, flexible=True) for name in named[0]} if wide else listings.SPEEDS
        print_table(columns, ([row[name] for name in columns] for row in named))
    if frames_per_second and not speeds:
        print_line("No speed was measured yet. Run 'nightjar benchmark MODEL', then ask again.")
    elif frames_per_second:
        for line in recommend(speeds, frames_per_second, accuracy):
            print_line(line)


def _choose_shown(name: str | None) -> None:
    """Show this model in the views until another one is chosen; None: let batches choose."""
    from storage.sql import catalogue
    from tasks.model.names import require_model
    from tasks.site.site import open_site

    with open_site() as site:
        if name is None:
            catalogue.let_batches_choose(site.engine)
            return
        model_version_id, version = require_model(site, name)
        catalogue.show_model(site.engine, version.task, model_version_id)


def print_overlay(video: str, model: str | None, from_s: float, to_s: float | None) -> None:
    """Draw the results into a copy of a processed video, and print its address."""
    from tasks.batch.overlays import draw_overlay
    from tasks.site.site import open_site

    with open_site() as site:
        address, remark = draw_overlay(site, video, model, from_s, to_s)
    print_line(address)
    if remark:
        print_line(remark, sys.stderr)


def list_quarantine(replay: str | None, chosen: Format) -> None:
    """Print the quarantine, or retry the quarantined files of the archive `replay` in its next run."""
    from storage.ledger import batches
    from storage.objects.archive import canonical
    from tasks.site.site import open_site

    if replay:
        with open_site() as site:
            files, segments = batches.requeue_quarantined(site.engine, canonical(replay))
        print_line(f"The next run over {replay} retries {files} files and {segments} segments.")
        return
    print_listing(listings.QUARANTINE, chosen)


def forget_batches(numbers: Iterable[int]) -> None:
    """Hide these batches from the listings. Raises NightjarError for one that is running or does not exist."""
    from storage.ledger import batches
    from tasks.site.owner import is_dead
    from tasks.site.site import open_site

    with open_site() as site:
        batches.release_dead(site.engine, is_dead)  # a batch whose process has ended is not running
        for number in numbers:
            status = batches.forget_batch(site.engine, number)
            if status is None:
                raise NightjarError(f"Batch {number} does not exist. Choose one from 'nightjar batches'.")
            if status == "running":
                raise NightjarError(f"Batch {number} is running. Cancel it first.")
            print_line(f"Batch {number} ({status}) is hidden. Its results are kept.")


def list_videos(ignored: bool, chosen: Format) -> None:
    """Print the videos with the number of rows of each, or the ignored files with the reason of each."""
    print_listing(listings.IGNORED if ignored else listings.VIDEOS, chosen)


def list_batches(last: int | None, chosen: Format) -> None:
    """Print the batches, the newest first. last: number of batches; 0: the newest in detail"""
    if last == 0:
        _print_last_batch(chosen)
    else:
        print_listing(listings.BATCHES, chosen, last)


def _print_last_batch(chosen: Format) -> None:
    """Print the newest batch's account: times, speed, devices and videos."""
    from tasks.batch.account import read_account, video_table
    from tasks.batch.report import print_account
    from tasks.site.site import open_site

    with open_site() as site:
        account = read_account(site.engine, zone=site.settings.zone)
        if chosen.form == "table":
            print_account(site, account)
    if rows := video_table(account):
        write_text(list(rows[0]), (list(row.values()) for row in rows), chosen, sys.stdout)


def print_listing(table: listings.ListingTable, chosen: Format, limit: int | None = None) -> None:
    """Print a listing, or its first rows."""
    with _database() as engine:
        columns, rows = read_listing(engine, table.listing, limit)
        write_listing(columns, rows, table.narrow, chosen)


def print_query(
    statement: str, chosen: Format, output: Path | None = None, limits: "QueryLimits | None" = None
) -> None:
    """Query the database and print the answer as a table, CSV, JSON or Parquet."""
    if output:
        early_checks.check_writable(output)
    elif chosen.form == "parquet":
        raise NightjarError("Parquet is a binary format and needs a file. Add --output answer.parquet.")
    with _answer(statement, limits) as (columns, rows):
        if output and chosen.form == "parquet":
            write_parquet(columns, rows, output)
        elif output:
            with output.open("w", newline="", encoding="utf-8") as file:
                write_text(columns, rows, chosen, file)
        else:
            write_text(columns, rows, chosen, sys.stdout)


def run_sweep(dry_run: bool, verify: bool, expect_within: float | None, second_look_s: float) -> int:
    """Sweep and print the findings. Returns 1 if something needs attention, else 0."""
    from tasks.sweep.sweep import Options, sweep

    settings = read_settings()
    prepare_prefect(settings)
    report = sweep(settings, Options(dry_run, verify, expect_within, second_look_s))
    for line in report.done:
        print_line(line)
    for line in report.wrong:
        print_line(f"WRONG {line}", sys.stderr)
    return 1 if report.wrong else 0


@contextmanager
def _database() -> Iterator["Database"]:
    """Open and migrate the site's database; the store is not opened."""
    from storage.sql.database import migrate, open_database

    settings = read_settings()
    keep_private(settings)
    engine = open_database(settings.database)
    try:
        migrate(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _answer(statement: str, limits: "QueryLimits | None" = None) -> Iterator[tuple[list[str], Rows]]:
    """Yield the answer's column names and its rows as a stream. limits: for a statement written by a user"""
    from storage.sql.query import query, superuser_warning

    with _database() as engine:
        if limits is not None and (warning := superuser_warning(engine)):
            print_line(f"Warning: {warning}", sys.stderr)
        yield query(engine, statement, limits)
