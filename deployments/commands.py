"""Bodies of the commands: call a flow or query the database, and print. Never imported by `--help`."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from deployments import listings
from deployments.answers import Column, Format, Rows, print_table, print_text, write_listing, write_parquet, write_text
from deployments.flow_calls import call, prepare, without_prefect
from models.car_classifier.params import FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.demo_model.spec import TrainSpec
from models.evaluation.spec import EvaluateSpec
from models.inference.spec import BenchmarkSpec
from models.spec import flatten
from models.types import NightjarError
from storage.sql.listings import read_listing
from tasks.analysis.check import check_analysis
from tasks.analysis.spec import AnalyzeSpec
from tasks.batch.check import check_night
from tasks.batch.spec import NightSpec, OverlayRequest
from tasks.browse import links
from tasks.browse.links import pages_of
from tasks.model import early_checks
from tasks.site.settings import prepare_prefect, read_settings
from tasks.site.stores import keep_private
from tasks.text.log_lines import print_line
from tasks.text.wording import capitalized, count

if TYPE_CHECKING:
    from storage.sql.database import Database
    from storage.sql.query import QueryLimits
    from tasks.analysis.evaluate_tracks import ArchiveRequest
    from tasks.batch.report import BatchReport
    from tasks.model.interval_request import IntervalRequest

TABLE = Format()
NARROW = 80  # columns of a terminal
LONGEST_PATH = 2000  # characters: a longer one fills a terminal, and some programs cut it


def run_convert(spec: ConvertSpec) -> None:
    """Convert a model: in this process, or by the flow where a Prefect server shows it."""
    if without_prefect(lambda: _convert_here(spec)):
        return
    prepare(lambda site: early_checks.check_conversion(spec))
    from flows.convert_model import convert_model

    call(convert_model, flatten(spec))


def _convert_here(spec: ConvertSpec) -> bool:
    from tasks.model.confined_conversion import ConfinedConverter
    from tasks.site.scratch import scratch_folder

    with scratch_folder("convert") as scratch, ConfinedConverter(scratch) as converter:
        from tasks.model.convert import convert_and_store  # while the converter loads TensorFlow

        convert_and_store(spec, converter, scratch)
    return True


def run_batch(spec: NightSpec) -> int:
    """Run the batch and print its report: by the flow, unless there is nothing to do. Returns the exit code 0."""
    from tasks.batch.report import print_report

    if unchanged := without_prefect(lambda: _run_unchanged(spec)):
        print_report(unchanged)
        return 0
    prepare(lambda site: check_night(site, spec), wait_for_outages=True)
    from flows.nightly_batch import nightly_batch

    print_report(call(nightly_batch, flatten(spec), wait_for_outages=True))
    return 0


def _run_unchanged(spec: NightSpec) -> "BatchReport | None":
    from tasks.batch.unchanged import run_unchanged
    from tasks.notify.start import telling
    from tasks.site.site import open_site
    from tasks.waiting.retry import may_recover

    try:
        with open_site() as site, telling(site.engine, site.settings) as over:
            report = run_unchanged(site, spec)
            over.quiet = report is None  # the flow runs the batch
            return report
    except NightjarError as error:
        if not may_recover(error):
            raise
        return None  # the flow waits for databases and stores


def run_analysis(spec: AnalyzeSpec) -> None:
    """Analyse stored rows by the flow, and print the outcome."""
    prepare(lambda site: check_analysis(site, spec), wait_for_outages=True)
    from flows.analyze import analyze
    from tasks.analysis.due import outcome

    done = call(analyze, flatten(spec), wait_for_outages=True)
    print_line(outcome(done))
    if not done.shown:
        print_line("The views still show the former analysis, because some videos are not analysed by this one yet.")


def check_site_file(location: str | None) -> int:
    """Print the site file's mistakes, or its entries with each file's camera and clock. Returns the exit code."""
    from tasks.analysis.places import files_to_check
    from tasks.site.site import open_site
    from tasks.site_file.check import describe_files, describe_mistakes, describe_site_file
    from tasks.site_file.load import SiteFileError, read_site_file

    settings = read_settings()
    path = settings.site_file_path
    try:
        site_file = read_site_file(settings)
    except SiteFileError as error:
        for line in describe_mistakes(path, error.problems):
            print_line(line, sys.stderr)
        return 1
    for line in describe_site_file(site_file, path if path.exists() else None):
        print_line(line)
    with open_site() as site:
        files = files_to_check(site, location)
    for line in describe_files(site_file, files):
        print_line(line)
    if not files:
        print_line("No archive is known yet. Name one: nightjar site check ARCHIVE.")
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
    if measured.evaluation_id is not None:
        print_page(links.evaluation_path(measured.evaluation_id))


def print_track_figures(folder: Path, request: "ArchiveRequest", fps: float | None) -> None:
    """Print the figures of the tracks of a sequence or an archive, one per line."""
    from models.evaluation.mot import is_sequence
    from tasks.analysis.evaluate_tracks import evaluate_archive, evaluate_sequence
    from tasks.site.site import open_site

    if is_sequence(folder):
        figures = evaluate_sequence(folder, fps)
    else:
        with open_site() as site:
            figures = evaluate_archive(site, folder, request)
    for label, value in figures.lines().items():
        print_line(f"{label} {value}")


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
    for run in runs:
        print_page(links.training_path(run))


def run_benchmark(spec: BenchmarkSpec) -> None:
    """Measure by the flow, then print the known accuracy and speed of all models."""
    prepare(lambda site: early_checks.check_benchmark(site, spec))
    from flows.benchmark_model import benchmark_model

    call(benchmark_model, flatten(spec))
    _list_measured(None)


def list_models(shown: str | None, unpin: bool, frames_per_second: float | None, chosen: Format) -> None:
    """Print the model versions, the one that the views show, and the accuracy and speed of models side by side.

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
        _list_measured(frames_per_second, chosen.wide)
        _print_reference()


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
                print_text(f"The views show this {task} model: {described(found)}")


def _list_measured(frames_per_second: float | None, wide: bool = False) -> None:
    """Print accuracy and speed of each measured model on each device, and a recommendation for a rate."""
    from storage.sql.benchmarks import newest_speeds
    from storage.sql.evaluations import comparable_accuracy
    from tasks.benchmark.recommend import recommend
    from tasks.benchmark.side_by_side import protocol_line, side_by_side

    with _database() as engine:
        speeds, accuracy = newest_speeds(engine), comparable_accuracy(engine)
    if measured := [vars(model) for model in side_by_side(speeds, accuracy)]:
        print_line("")
        print_line("Measured here")
        columns = {name: Column(name, flexible=True) for name in measured[0]} if wide else listings.MEASURED
        print_table(columns, ([row[name] for name in columns] for row in measured))
        for line in protocol_line(accuracy):
            print_text(line)
    if frames_per_second and not speeds:
        print_text("No speed was measured yet. Run 'nightjar benchmark MODEL', then ask again.")
    elif frames_per_second:
        for line in recommend(speeds, frames_per_second, accuracy.ap):
            print_text(line)


def _print_reference() -> None:
    """Print accuracy and cost of the published models as this project measured them, and the recommended ones."""
    from models.evaluation.reference import advice, read_reference

    reference = read_reference()
    print_line("")
    print_line("Measured by Nightjar's project")
    columns = listings.REFERENCE
    print_table(columns, ([getattr(model, name) for name in columns] for model in reference.models))
    for line in (reference.protocol, *advice()):
        print_text(line)


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


def print_overlay(request: OverlayRequest) -> None:
    """Draw the results into a copy of a processed video, and print its address."""
    from tasks.batch.overlays import draw_overlay
    from tasks.site.site import open_site

    with open_site() as site:
        address, remark = draw_overlay(site, request)
    print_line(address)
    if remark:
        print_line(remark, sys.stderr)


def list_zones(camera: str | None, chosen: Format) -> None:
    """Print the zones of the site file. camera: those of this camera only"""
    from tasks.site_file.load import read_site_file
    from tasks.zones.show import ListedZone, listed_zones

    found = listed_zones(read_site_file(read_settings()), camera)
    write_listing(list(ListedZone._fields), found, listings.ZONE_COLUMNS, chosen)


def print_zone_picture(name: str, at_s: float | None, output: Path | None) -> None:
    """Draw the zones of a camera on a frame, and print the picture's address."""
    from tasks.site.site import open_site
    from tasks.zones.show import write_zone_picture

    with open_site() as site:
        address, remark = write_zone_picture(site, name, at_s, output)
    print_line(address)
    if remark:
        print_line(remark, sys.stderr)


def print_drawing_page(name: str, at_s: float | None, output: Path | None) -> None:
    """Write the page on which a camera's zones are drawn, and print its address."""
    from tasks.site.site import open_site
    from tasks.zones.show import write_drawing_page

    with open_site() as site:
        print_line(write_drawing_page(site, name, at_s, output))


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


def list_recordings(chosen: Format) -> None:
    """Print the recordings of all cameras."""
    print_listing(listings.RECORDINGS, chosen)


def list_tracks(name: str, chosen: Format) -> None:
    """Print the people who were followed through a video, or the reason why there is nobody."""
    from storage.sql.listings import ListedTrack, tracks_of_video
    from tasks.analysis.reasons import reason_for_no_tracks
    from tasks.site.site import open_site
    from tasks.site.stored_videos import find_stored_video

    with open_site() as site:
        video = find_stored_video(site, name)

        def page(row: ListedTrack) -> str:
            return links.video_path(video.sha256, t=row.first_s, track=row.track)

        found = read_listing(site.engine, tracks_of_video(video.video_id))
        columns, rows = listings.with_pages(*found, page, pages_of(site.settings))
        write_listing(columns, rows, listings.TRACK_COLUMNS, chosen)
        print_page(links.video_path(video.sha256), chosen)
        if reason := reason_for_no_tracks(site.engine, video.video_id):
            print_line(reason, sys.stderr)


def list_events(since: str, camera: str | None, rule: str | None, chosen: Format) -> None:
    """Print the events, the latest first."""
    from storage.sql.events.listing import EventFilter, ListedEvent
    from storage.sql.events.listing import list_events as read_events
    from tasks.analysis.check import read_day
    from tasks.site.site import open_site

    with open_site() as site:
        found = read_events(site.engine, EventFilter(read_day(site, since), camera, rule))
        zone = site.settings.zone
    if chosen.form != "table" or chosen.wide:
        pages = pages_of(read_settings())
        write_text(*listings.with_pages(ListedEvent._fields, found, listings.event_page, pages), chosen, sys.stdout)
    else:
        print_table(listings.EVENT_COLUMNS, (listings.narrow_event(event, zone) for event in found))
    print_page(links.events_path(rule=rule, camera=camera, since=since or None), chosen)


def list_rules(chosen: Format) -> None:
    """Print the rules with the settings of the site file."""
    from tasks.site_file.load import read_site_file
    from tasks.site_file.rules import known_rules

    entries = read_site_file(read_settings()).rules
    rows = [listings.listed_rule(*found) for found in known_rules(entries)]
    write_listing(listings.ListedRule._fields, rows, listings.RULE_COLUMNS, chosen)


def check_rules() -> None:
    """Evaluate every rule of the site file over no rows, and print their number. Raises NightjarError."""
    from tasks.events.check import check_rules
    from tasks.site_file.load import read_site_file

    print_line(f"{count(check_rules(read_site_file(read_settings())), 'rule')} can be used")


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
        found = read_listing(engine, table.listing, limit)
        columns, rows = listings.with_pages(*found, table.page, pages_of(read_settings()))
        write_listing(columns, rows, table.narrow, chosen)
    if table.overview:
        print_page(table.overview, chosen)


def print_page(path: str, chosen: Format = TABLE) -> None:
    """Print the address of a page under a table, and the command that serves it; nothing in formats for programs."""
    if chosen.form == "table":
        _print_address(path, sys.stdout)


def _print_address(path: str, file: TextIO) -> None:
    """Print an address, which is never broken, and the hint in the same line where both fit."""
    pages = pages_of(read_settings())
    line = f"Page: {pages.line(path)}"
    lines = [line] if len(line) <= NARROW or not pages.hint else [f"Page: {pages.at(path)}", f"({pages.hint})"]
    for each in lines:
        print_line(each, file)


def print_query_page(statement: str) -> None:
    """Print the address of the page that shows this query, unless the output goes to a program or a file."""
    path = links.sql_path(statement)
    if sys.stdout.isatty() and sys.stderr.isatty() and len(path) <= LONGEST_PATH:
        _print_address(path, sys.stderr)


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
        print_line(capitalized(line))
    for line in report.wrong:
        print_line(f"WRONG {capitalized(line)}", sys.stderr)
    return 1 if report.wrong else 0


def run_notify(test: bool) -> int:
    """Send what waits, or a test message to every address. Returns 1 if a message was not accepted, else 0."""
    from tasks.notify.command import print_waiting, send_test, send_waiting
    from tasks.site.site import open_site

    with open_site() as site:
        if test:
            return 0 if send_test(site) else 1
        send_waiting(site)
        return 0 if print_waiting(site) else 1


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
        columns, rows = query(engine, statement, limits)
        with closing(rows):
            yield columns, rows
