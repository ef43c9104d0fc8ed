"""What the commands do: call a flow or the database, and print. Imported by a command, never by `--help`."""

import csv
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.flow_calls import call, prepare
from models.scaling import ScalingRequest
from models.types import NightjarError
from tasks import early_checks
from tasks.settings import read_settings
from tasks.site import Site

TABLE_ROWS = 1000


def run_convert(**options: Any) -> None:
    """Convert a model by the flow, and say what came out."""
    given = _given(options)
    ScalingRequest(**{name: options[name] or "" for name in ("scale", "mean", "std", "channels")}).parse()
    pictures = {f"--{name}": given.get(name) for name in ("images", "labelled")}
    prepare(lambda site: early_checks.check_conversion(given["name"], given.get("source"), pictures))
    from flows.convert_model import convert_model

    call(convert_model, given)


def run_batch(**options: Any) -> int:
    """Run the batch by the flow; 0 when every frame that was expected is in the database."""
    prepare(lambda site: _check_batch(site, **options))
    from flows.nightly_batch import nightly_batch
    from tasks.report import print_report

    print_report(call(nightly_batch, options))
    return 0


def _check_batch(site: Site, archive: str, model: str, **options: Any) -> None:
    """What the flow checks, too. options: those of `nightjar run` that were given"""
    device = options.get("device", "CPU") if options.get("dispatch", "local") == "local" else None
    early_checks.check_night(site, archive, model, device, options.get("frames_per_second"))


def run_training(**options: Any) -> None:
    """Train the demo model by the flow, and say where it is."""
    prepare(lambda site: None)
    from flows.train_demo_model import train_demo_model

    model = call(train_demo_model, {**options, "folder": str(options["folder"] or "")})
    print(f"{model}\nTo use it: nightjar convert posenet-demo --source {model}/model.json")


def run_finetuning(**options: Any) -> None:
    """Fine-tune a classifier by the flow, and say what came of it."""
    given = {**_given(options), "folders": [str(folder) for folder in options["folders"]]}
    given["dense"] = list(options["dense"]) or None
    places = {name: given.get(name, "") for name in ("stanford", "devkit", "caltech", "weights", "name")}
    folders = early_checks.PictureFolders(**places, folders=tuple(given["folders"]))
    prepare(lambda site: early_checks.check_pictures(folders))
    from flows.finetune_classifier import finetune_classifier

    run: Any = call(finetune_classifier, given)
    compare_runs((run,))
    print(f"To use it: nightjar run ARCHIVE --model run-{run} --frames-per-second 2")


def run_evaluation(**options: Any) -> None:
    """Measure a model by the flow, and print the figures with their protocol."""
    given = _given(options)
    what = [given[name] for name in ("model", "device", "coco", "images")]
    prepare(lambda site: early_checks.check_evaluation(site, *what))
    from flows.evaluate_model import evaluate_model

    measured: Any = call(evaluate_model, given)
    _print_table(["", options["model"]], measured.lines().items(), sys.stdout)
    if measured.url:
        print(f"the best and the worst images: {measured.url}")


def run_quantization(**options: Any) -> None:
    """Quantise a model by the flow, and say what it is called."""
    given = _given(options)
    asked = early_checks.Quantization(
        *(given.get(name, "") for name in ("model", "archive", "device", "coco", "images"))
    )
    prepare(lambda site: early_checks.check_quantization(site, asked))
    from flows.quantize_model import quantize_model

    version = call(quantize_model, given)
    print(f"version {version}\nTo use it: nightjar run ARCHIVE --model {given.get('name') or str(version)[:12]}")


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, paths as text: parameters of a flow."""
    kept = {name: value for name, value in options.items() if value is not None}
    return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items()}


def compare_runs(runs: tuple[int, ...]) -> None:
    """A column a fine-tuning; without numbers, the list of them."""
    if not runs:
        print_query(
            "SELECT training_run_id AS run, status, started_at, training_runs.name, preset, pictures_test, accuracy,"
            " roc_auc, false_negatives + false_positives AS failures, substr(version_sha256, 1, 12) AS version, error"
            " FROM training_runs LEFT JOIN model_versions"
            " ON model_versions.model_version_id = training_runs.model_version_id ORDER BY training_run_id",
            "table",
        )
        return
    from tasks.comparison import compare
    from tasks.site import open_site

    with open_site() as site:
        found = compare(site, runs)
    _print_table(["", *(f"run {run}" for run in runs)], ([label, *values] for label, values in found.rows), sys.stdout)
    print("\n".join([*found.failures, *(f"{what}: {address}" for what, address in found.addresses.items())]))


def run_benchmark(**options: Any) -> None:
    """Measure by the flow; what is known of all models' speeds comes after it."""
    given = {**options, "models": list(options["models"]), "video": str(options["video"] or "")}
    prepare(lambda site: early_checks.check_benchmark(site, given["models"], given["device"], given["video"]))
    from flows.benchmark_model import benchmark_model

    call(benchmark_model, given)
    _list_speeds(None)


def list_models(shown: str | None, unpin: bool, frames_per_second: float | None) -> None:
    """Print the model versions and their speeds.

    shown: the name of the one that the views are to show from now on; unpin: let batches choose it again
    frames_per_second: to recommend a model for
    """
    if shown and unpin:
        raise NightjarError("--show chooses a model and --unpin takes that choice back. Give one of them")
    if shown or unpin:
        _choose_shown(shown)
    print_query(
        "SELECT CASE shown_models.chosen_by WHEN 'person' THEN '-> by hand' WHEN 'batch' THEN '->' ELSE '' END"
        " AS shown, name,"
        " model_versions.task, precision, frames_per_second,"
        " substr(version_sha256, 1, 12) AS version, source_format, source_location, registered_at"
        " FROM model_versions LEFT JOIN shown_models"
        " ON shown_models.model_version_id = model_versions.model_version_id ORDER BY name, registered_at",
        "table",
    )
    _list_speeds(frames_per_second)


def _list_speeds(frames_per_second: float | None) -> None:
    """What was measured last of each model on each device, and which to take."""
    from storage.benchmarks import newest_speeds
    from storage.database import open_database
    from storage.evaluations import comparable_accuracy
    from tasks.recommendation import recommend

    engine = open_database(read_settings().database)  # migrated by the list before
    speeds, accuracy = newest_speeds(engine), comparable_accuracy(engine)
    engine.dispose()
    if speeds:
        columns = ["model", "version", "worker", "device", "precision", "model alone, frames/s"]
        columns += ["video to rows, frames/s", "p90 ms", "AP", "measured at"]
        rows = (
            [
                *(speed.model, speed.version_sha256[:12], speed.worker, speed.device, speed.precision),
                *(speed.model_frames_per_s, speed.pipeline_frames_per_s, speed.latency_p90_ms),
                *(accuracy.get(speed.version_sha256), speed.measured_at),
            ]
            for speed in speeds
        )
        _print_table(columns, rows, sys.stdout)
    if frames_per_second and not speeds:
        print("No speed was measured yet: run 'nightjar benchmark MODEL', then ask again")
    elif frames_per_second:
        print("\n".join(recommend(speeds, frames_per_second, accuracy)))


def _choose_shown(name: str | None) -> None:
    """Show this model in the views until a person chooses another one; None: let batches choose."""
    from storage import catalogue
    from tasks.model_names import require_model
    from tasks.site import open_site

    with open_site() as site:
        if name is None:
            catalogue.let_batches_choose(site.engine)
            return
        model_version_id, version = require_model(site.engine, name)
        catalogue.show_model(site.engine, version.task, model_version_id)


def print_overlay(video: str, model: str | None, from_s: float, to_s: float | None) -> None:
    """Draw a video that was processed, and print the address of what was drawn."""
    from tasks.overlays import draw_overlay
    from tasks.site import open_site

    with open_site() as site:
        address, remark = draw_overlay(site, video, model, from_s, to_s)
    print(address)
    if remark:
        print(remark, file=sys.stderr)


def list_quarantine(replay: str | None) -> None:
    """Print the quarantine, or let the next run over the archive `replay` try its quarantined things again."""
    from storage import ledger
    from storage.archive import canonical
    from tasks.site import open_site

    if replay:
        with open_site() as site:
            files, segments = ledger.requeue_quarantined(site.engine, canonical(replay))
        print(f"{files} files and {segments} segments will be tried again by the next run over {replay}.")
        return
    print_query("SELECT * FROM quarantine ORDER BY since", "table")


def forget_batches(numbers: Iterable[int]) -> None:
    """Take these batches off the lists. Raises NightjarError for one that runs or is not there."""
    from storage import ledger
    from tasks.owner import is_dead
    from tasks.site import open_site

    with open_site() as site:
        ledger.release_dead(site.engine, is_dead)  # one whose process is gone does not run
        for number in numbers:
            status = ledger.forget_batch(site.engine, number)
            if status is None:
                raise NightjarError(f"no batch {number}. 'nightjar batches' lists them")
            if status == "running":
                raise NightjarError(f"batch {number} is running. Cancel it first")
            print(f"Batch {number} ({status}) is off the list. What it did is kept.")


def print_last_batch() -> None:
    """The newest batch's account: when, how fast, by which devices, which videos."""
    from tasks.account import read_account, video_table
    from tasks.report import print_account
    from tasks.site import open_site

    with open_site() as site:
        account = read_account(site.engine, zone=site.settings.zone)
        print_account(site, account)
    if rows := video_table(account):
        _print_table(list(rows[0]), (list(row.values()) for row in rows), sys.stdout)


def print_query(statement: str, form: str, output: Path | None = None) -> None:
    """Ask the database and print the answer as a table, CSV, JSON or Parquet."""
    from storage.database import migrate, open_database
    from storage.query import query

    if output:
        early_checks.check_writable(output)
    elif form == "parquet":
        raise NightjarError("Parquet is binary and was not given a file: add --output answer.parquet")
    engine = open_database(read_settings().database)
    migrate(engine)
    columns, rows = query(engine, statement)
    if output and form == "parquet":
        _write_parquet(columns, rows, output)
    elif output:
        with output.open("w", newline="", encoding="utf-8") as file:
            _write_text(columns, rows, form, file)
    else:
        _write_text(columns, rows, form, sys.stdout)


def _write_text(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str, file: Any) -> None:
    if form == "csv":
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    elif form == "json":
        json.dump([dict(zip(columns, row, strict=True)) for row in rows], file, indent=1, default=str)
        file.write("\n")
    else:
        _print_table(columns, rows, file)


def _print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: Any) -> None:
    table = Table(*columns)
    count = 0
    for row in rows:
        count += 1
        if count <= TABLE_ROWS:
            table.add_row(*map(_cell, row))
    # Without a terminal, rich would cut the table to 80 columns.
    Console(file=file, width=None if file.isatty() else 300).print(table)
    shown = f"the first {TABLE_ROWS} of " if count > TABLE_ROWS else ""
    print(f"{shown}{count} row{'' if count == 1 else 's'}", file=file)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value.isoformat(" ", "seconds") if hasattr(value, "isoformat") and hasattr(value, "hour") else str(value)
    return text.replace("[", "\\[")  # a name may look like rich's markup


def _write_parquet(columns: Sequence[str], rows: Iterable[Sequence[Any]], output: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    transposed = list(zip(*rows, strict=True)) or [()] * len(columns)
    pq.write_table(pa.table(dict(zip(columns, map(list, transposed), strict=True))), output)
    print(f"{output}: {len(transposed[0]) if transposed else 0} rows")
