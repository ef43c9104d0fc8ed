"""The sweep: repair what faults leave behind, in independent steps. Started by cron or a timer, never by Prefect.

It reports repairs, and problems that need attention. A second sweep finds nothing left to repair.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from models.types import NightjarError, Segment
from storage.ledger import analysis_upkeep, assignments, batches, recovery
from storage.ledger.leases import Claim
from storage.objects.artifacts import Artifacts
from storage.objects.places import ObjectError, parse_place
from storage.parquet import Result, ResultError
from storage.sql import trainings
from storage.sql.database import Database, check, migrate, open_database
from tasks.fleet import messages
from tasks.notify.addresses import read_addresses
from tasks.notify.missing import MissedNight, queue_missed
from tasks.notify.start import SWEEP_AHEAD_S, tell
from tasks.segment.load import load_results
from tasks.segment.result_files import result_prefix
from tasks.site.owner import host_name, is_dead
from tasks.site.scratch import clean_up, scratch_folder
from tasks.site.settings import Settings, prefect_api_url
from tasks.site.stores import artifact_store
from tasks.sweep.report import Report
from tasks.text.wording import capitalized

ADOPT_S = 900.0  # time for a killed parent to restart and adopt its work in progress
IDLE_S = recovery.DAY_S  # without activity, after which a batch on another host counts as crashed
MESSAGES_S = 180.0  # systemd ends the processes of a service when its command ends
NAMED = 5  # keys named in one line
MAX_LOOKUPS = 100  # missing keys that are looked up one by one
USER_INFO = re.compile(r"//[^/@\s]*@")  # an address may hold a password


@dataclass(frozen=True)
class Options:
    """Options of a sweep.

    dry_run: report repairs without making them
    verify: compare the content of all result files with the ledger
    expect_within_h: report archives whose newest batch is older than this
    second_look_s: seconds before a silent run is checked again
    """

    dry_run: bool = False
    verify: bool = False
    expect_within_h: float | None = None
    second_look_s: float = 45.0


def sweep(settings: Settings, options: Options) -> Report:
    """Run all steps, even if some fail. Prefect's step also works without the ledger."""
    report, missed = Report(options.dry_run), list[MissedNight]()
    engine: Database | None = None
    with _step(report, "database"):
        engine = _open_ledger(settings, options)
    with _step(report, "temporary files"):
        clean_up_temporary_files(settings, report)
    try:
        if engine is not None:
            _sweep_ledger(engine, artifact_store(settings), options, report)
        if prefect_api_url():
            with _step(report, "Prefect"):
                missed += _sweep_prefect(engine, options, report)
        if engine is not None:
            with _step(report, "nights"):
                report_late_batches(engine, options.expect_within_h, missed, report)
            with _step(report, "messages"):
                send_messages(engine, settings, missed, report)
    finally:
        if engine is not None:
            engine.dispose()
    return report


def _open_ledger(settings: Settings, options: Options) -> Database:
    """Open the ledger. Raises DatabaseError if the database cannot be used or has another version's schema."""
    engine = open_database(settings.database)
    try:
        if options.dry_run:
            check(engine)
        else:
            migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def _step(report: Report, name: str) -> Iterator[None]:
    """Run one step; a failure becomes a line of the report and the next step still runs."""
    try:
        yield
    except Exception as error:
        kind = "" if isinstance(error, NightjarError) else f"{type(error).__name__}: "
        text = (str(error).splitlines() or [""])[0]
        report.wrong.append(f"{name}: {kind}{USER_INFO.sub('//', text)}")


def _sweep_ledger(engine: Database, artifacts: Artifacts, options: Options, report: Report) -> None:
    """Sweep the ledger. Results come first, since loaded segments need not be freed and repeated."""
    with _step(report, "results"):
        compare_results(engine, artifacts, options.verify, report)
    with _step(report, "leases"):
        free_leases(engine, report)
    with _step(report, "assignments"):
        end_abandoned(engine, artifacts, report)
    with _step(report, "batches"):
        crash_idle(engine, report)
    with _step(report, "trainings"):
        close_trainings(engine, report)
    with _step(report, "analyses"):
        clear_analyses(engine, report)


def _sweep_prefect(engine: Database | None, options: Options, report: Report) -> list[MissedNight]:
    """Sweep Prefect, and return the nights that its schedules demanded in vain."""
    from tasks.sweep.prefect import sweep_prefect  # Prefect takes seconds to import
    from tasks.sweep.schedules import missed_nights

    sweep_prefect(engine, options.second_look_s, report)
    missed = missed_nights(engine) if engine is not None else []
    for night in missed:
        report.wrong.append(
            f"no batch over {night.archive} has started, although its schedule demanded one at "
            f"{night.expected_at:%Y-%m-%d %H:%M} UTC. Check Prefect's server and its worker."
        )
    return missed


def clean_up_temporary_files(settings: Settings, report: Report) -> None:
    """Remove the temporary files that killed processes left on this machine and in a store that is a folder."""
    place = parse_place(settings.artifacts_location)
    removed = clean_up(settings, place if isinstance(place, Path) else None, dry=report.dry)
    report.count(removed, "removed {} temporary files and folders of ended processes")


def free_leases(engine: Database, report: Report) -> None:
    """Free segments of this host's dead owners and expired leases; mark batches of dead owners as crashed."""
    for owner in sorted(filter(is_dead, recovery.owners(engine))):
        report.did(f"freed the segments of {owner}, because its process has ended")
    expired = recovery.expired_leases(engine)
    if not report.dry:
        batches.release_dead(engine, is_dead)
        expired = recovery.free_expired(engine)
    report.count(expired, "freed {} segments with an expired lease")


def end_abandoned(engine: Database, artifacts: Artifacts, report: Report) -> None:
    """End assignments without a parent process, and stop workers that still have one."""
    for one in recovery.abandoned(engine, ADOPT_S):
        if one.held:
            status, reason = "lost", "its lease expired, and no batch adopted it"
        else:
            status = "dismissed" if one.status == "waiting" else "done"
            reason = "its batch ended, and no other batch adopted it"
        if not report.dry:
            in_progress = _segment_in_progress(engine, artifacts, one.assignment_id) if one.held else None
            assignments.end(engine, one.assignment_id, status, reason, in_progress)
            artifacts.put_bytes(messages.revoked_key(one.assignment_id), reason.encode())
        report.did(f"ended assignment {one.assignment_id} as {status} and freed {one.held} segments: {reason}")


def _segment_in_progress(engine: Database, artifacts: Artifacts, assignment_id: str) -> Claim | None:
    """Return the segment that the run reported as current, whose attempt counts as failed."""
    with suppress(NightjarError):
        order, status = messages.read_order(artifacts, assignment_id), messages.read_status(artifacts, assignment_id)
        if order and status and status.current is not None and status.current < len(order.pieces):
            at = order.segment(order.pieces[status.current])
            return next((one for one in assignments.claims(engine, assignment_id) if one.segment == at), None)
    return None


def crash_idle(engine: Database, report: Report) -> None:
    """Mark batches as crashed that had no activity for a day, hold no segments and have no process on this machine."""
    for batch_id, owner in recovery.idle_batches(engine, IDLE_S):
        if owner.startswith(f"{host_name()}:") and not is_dead(owner):
            continue
        if not report.dry:
            batches.finish_batch(engine, batch_id, f"{owner} showed no activity for a day")
        report.did(f"marked batch {batch_id} as crashed: {owner} showed no activity for a day")


def close_trainings(engine: Database, report: Report) -> None:
    """Mark trainings as failed whose process has ended."""
    for training_run_id, owner in trainings.abandoned_trainings(engine, is_dead):
        reason = f"its process {owner} has ended. Run the same 'nightjar finetune' again to resume."
        if not report.dry:
            trainings.fail_training(engine, training_run_id, reason)
        report.did(f"marked training run {training_run_id} as failed: {reason}")


def clear_analyses(engine: Database, report: Report) -> None:
    """Give up analyses of ended processes, and delete the rows of those that were given up or replaced."""
    dead = sum(map(is_dead, analysis_upkeep.owners_of_analyses(engine)))
    replaced = analysis_upkeep.count_replaced(engine)
    if not report.dry:
        analysis_upkeep.release_dead_analyses(engine, is_dead)
        analysis_upkeep.delete_replaced(engine)
    report.count(dead, "gave up {} analyses of ended processes, which the next run makes again")
    report.count(replaced, "deleted the rows of {} analyses that newer ones have replaced")


def report_late_batches(engine: Database, within_h: float | None, missed: list[MissedNight], report: Report) -> None:
    """Report archives in use whose newest batch is too old or failed, and add their last missed night."""
    if within_h is None:
        return
    for night in recovery.last_nights(engine, within_h * 3600):
        last = f"the newest batch over {night.archive}, {night.batch_id}, started at {night.started_at}"
        if night.late:
            missed.append(MissedNight(night.archive, _last_due(night.began), f"{capitalized(last)}."))
            report.wrong.append(
                f"{last}, more than {within_h:g} h ago. Run 'nightjar batches --last 1', and check Prefect's schedule."
            )
        elif night.status in ("crashed", "incomplete", "cancelled"):
            why = f": {night.error}" if night.error else ""
            report.wrong.append(
                f"{last} and is {night.status}{why}. Run it again to continue, or hide it with "
                f"'nightjar batches --forget {night.batch_id}'."
            )
        elif night.status == "completed" and night.files_listed == 0:
            report.wrong.append(f"{last} and found no videos. Mount the archive's disk, or correct its location.")


def _last_due(began: datetime) -> datetime:
    """Return the time at which the last nightly batch after this one was due."""
    days = (datetime.now(UTC) - began) // timedelta(days=1)
    return began + timedelta(days=max(days, 1))


def send_messages(engine: Database, settings: Settings, missed: list[MissedNight], report: Report) -> None:
    """Send messages about missed nights, and those that still wait."""
    addresses = read_addresses(settings)
    if report.dry or not addresses:
        return
    number = queue_missed(engine, addresses, missed, settings.zone)
    report.count(number, "queued {} messages about missed nights")
    tell(engine, settings, wait_s=MESSAGES_S, ahead_s=SWEEP_AHEAD_S)


def compare_results(engine: Database, artifacts: Artifacts, verify: bool, report: Report) -> None:
    """Load results that are in the store only, and report missing files and, with verify, changed ones.

    With verify it also reports the files that stay unused, such as those of late attempts.
    """
    unnamed = 0
    for version in recovery.versions(engine):
        ledger_results = _ledger_results(engine, version)
        found = _sort_keys(artifacts, version, ledger_results)
        unnamed += found.unnamed
        _load_unloaded(engine, artifacts, version, found.unloaded, report, verify)
        _report_missing(artifacts, version, found.missing, report)
        if verify:
            _verify(artifacts, version, found.present, report)
    report.count(unnamed if verify and not report.dry else 0, "kept {} result files that no ledger entry uses")


@dataclass(frozen=True)
class _LedgerResults:
    """The ledger's results of one version.

    done: key -> sha256
    open: key prefixes of unfinished segments without a worker
    kept: key prefixes of unfinished segments in progress
    """

    done: dict[str, str]
    open: set[str]
    kept: set[str]


def _ledger_results(engine: Database, version: str) -> _LedgerResults:
    ledger_results = _LedgerResults({}, set(), set())
    for entry in recovery.entries(engine, version):
        if entry.status == "done":
            if entry.result_key and entry.result_sha256:
                ledger_results.done[entry.result_key] = entry.result_sha256
        else:
            segment = Segment(entry.video_sha256, entry.start_frame, entry.stop_frame)
            (ledger_results.kept if entry.has_lease else ledger_results.open).add(result_prefix(version, segment))
    return ledger_results


@dataclass
class _StoreResults:
    """The store's results of one version.

    unloaded: keys of unfinished segments
    present, missing: key -> sha256 of finished segments
    unnamed: number of files that no ledger entry uses
    """

    unloaded: list[str]
    present: dict[str, str]
    missing: dict[str, str]
    unnamed: int = 0


def _sort_keys(artifacts: Artifacts, version: str, ledger_results: _LedgerResults) -> _StoreResults:
    """Compare the ledger with one listing of the store, made after the ledger was read, as files are stored first."""
    found = _StoreResults([], {}, dict(ledger_results.done))
    for key in artifacts.list(f"results/{version}/"):
        prefix = f"{'.'.join(key.split('.')[:-2])}."
        if key in found.missing:
            found.present[key] = found.missing.pop(key)
        elif prefix in ledger_results.open:
            found.unloaded.append(key)
        elif prefix not in ledger_results.kept:
            found.unnamed += 1
    return found


def _load_unloaded(
    engine: Database, artifacts: Artifacts, version: str, keys: Iterable[str], report: Report, verify: bool
) -> None:
    def wanted(key: str, result: Result) -> bool:
        if result.version_sha256 != version or not key.startswith(result_prefix(version, result.segment)):
            raise ResultError(
                f"The content of {key} belongs to another segment or model than its name. Remove the file."
            )
        return not report.dry

    loaded = 0
    for key, loading in load_results(engine, artifacts, sorted(keys), wanted):
        try:
            loaded += loading.result() or report.dry
        except (ResultError, ValueError, ObjectError) as error:
            if verify:
                report.did(f"ignored {key}: {error}")
    report.count(loaded, f"loaded {{}} results of model version {version[:12]}… that were in the store only")


def _report_missing(artifacts: Artifacts, version: str, missing: dict[str, str], report: Report) -> None:
    """Report missing objects. A listing may be outdated, so the first ones are looked up in the store."""
    lost = [key for key in islice(missing, MAX_LOOKUPS) if not artifacts.exists(key)]
    if lost:
        number = len(lost) + max(0, len(missing) - MAX_LOOKUPS)
        report.wrong.append(
            f"{number} result files of model version {version[:12]}… are missing in the store ({_some(lost)}). Restore "
            "them from a copy. Their rows are in the database."
        )


def _verify(artifacts: Artifacts, version: str, present: dict[str, str], report: Report) -> None:
    changed = [key for key, sha256 in present.items() if _sha256_of(artifacts, key) != sha256]
    if changed:
        report.wrong.append(
            f"{len(changed)} result files of model version {version[:12]}… do not match the ledger's hashes "
            f"({_some(changed)}). Restore them from a copy, and check who can write to the store."
        )
    report.count(len(present), f"compared the bytes of {{}} results of model version {version[:12]}…")


def _sha256_of(artifacts: Artifacts, key: str) -> str:
    """Return the sha256 of an object's bytes; "" = the store reports it as damaged."""
    with scratch_folder("sweep") as scratch:
        path = scratch / "result"
        try:
            artifacts.get_file(key, path)
        except ObjectError:
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:NAMED]) + (" …" if len(keys) > NAMED else "")
