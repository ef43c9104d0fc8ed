"""`python -m tests.chaos`: kills over local nights and fleets' batches, each compared with an undisturbed run.

Prints a table.

It ends with 1 where a row was lost, double or strange, or something did not come to its end.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from prefect import get_client
from prefect.client.schemas.objects import StateType

from storage.sql.database import open_database
from tasks.site.settings import read_settings
from tasks.site.stores import artifact_store
from tasks.sweep import prefect as sweep_prefect
from tasks.sweep.sweep import Options, sweep
from tests.chaos.account import check_store, compare, ledger_faults, read_rows, tallies
from tests.chaos.local_storm import LocalStorm
from tests.chaos.stage import Stage, make_archive, set_up, settings_of
from tests.chaos.storm import Storm
from tests.servers_postgres import running_postgres

FIRST_LOCAL = 500  # number of the first local night's archive: no fleet's night has so many
FINAL = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


@dataclass
class Tale:
    """What happened, for people."""

    counts: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    compared: int = 0
    results: int = 0
    late: int = 0

    def table(self) -> str:
        width = max(len(name) for name in self.counts)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.counts.items())


def run_undisturbed(stage: Stage, archives: Path) -> None:
    """The same videos by this machine alone, in long segments, on SQLite and a folder."""
    parent = stage.parent(archives, "--dispatch", "local", "--segment-s", "60", environment=stage.truth_environment())
    parent.start()
    assert parent.process is not None
    assert parent.process.wait() == 0, (parent.home / "log").read_text()[-3000:]


def check(stage: Stage, archive: str, tale: Tale, site: dict[str, str], table: str = "poses") -> None:
    """Append to the tale what is wrong with this batch. site: the settings of where it ran"""
    with settings_of(stage.truth_environment()):
        truth = read_rows(open_database(read_settings().database), archive)
    with settings_of(site):
        engine, artifacts = open_database(read_settings().database), artifact_store(read_settings())
        difference = compare(read_rows(engine, archive, table), truth)
        tale.compared += difference.rows
        if not difference.is_none:
            tale.faults.append(f"{archive}: {difference}")
        tale.faults += ledger_faults(engine, archive)
        shelf = check_store(engine, artifacts, archive)
        tale.faults += shelf.faults
        tale.results += shelf.objects
        tale.late += shelf.late
        engine.dispose()


def unfinished_runs() -> dict[str, int]:
    """Prefect's runs that are in no final state: state -> how many."""
    found: dict[str, int] = {}
    with get_client(sync_client=True) as client:
        offset = 0
        while page := client.read_flow_runs(limit=200, offset=offset):
            for run in page:
                if run.state_type not in (
                    StateType.COMPLETED,
                    StateType.FAILED,
                    StateType.CRASHED,
                    StateType.CANCELLED,
                ):
                    found[run.state_name or "?"] = found.get(run.state_name or "?", 0) + 1
            offset += len(page)
    return found


def storm_of(stage: Stage, options: argparse.Namespace, tale: Tale) -> None:
    """Batches until the kills are dealt, each followed by its account."""
    archives = stage.folder / "archives"
    for number in range(options.batches):
        make_archive(archives / f"night-{number:02d}", number, options.videos, options.frames)
    run_undisturbed(stage, archives)
    begun, number = time.monotonic(), 0
    storm = Storm(stage, options.seed, options.every_s, say=lambda line: print(line, flush=True))
    while storm.total < options.kills:
        archive = archives / f"night-{number:02d}"
        if not archive.exists():  # the planned ones were over before all was dealt
            make_archive(archive, number, options.videos, options.frames)
            run_undisturbed(stage, archives)
        left = options.kills - storm.total
        storm.blow_over(archive, -(-left // max(1, options.batches - number)))
        check(stage, f"cam-{number}-", tale, stage.sound)
        print(f"{time.monotonic() - begun:6.0f} s: {storm.total} kills, {archive.name} complete", flush=True)
        number += 1
    tale.counts.update({f"killed: {kind}": count for kind, count in sorted(storm.kills.items())})
    tale.counts["killed in all"] = storm.total
    tale.counts["paused past the lease"] = storm.pauses
    tale.counts["parent ended by itself"] = sum(n for code, n in storm.ends.items() if code not in (0, -9))
    tale.counts["wall_s"] = round(time.monotonic() - begun)


def local_storm_of(stage: Stage, options: argparse.Namespace, tale: Tale) -> None:
    """Local nights while their decoders are killed, each followed by its account."""
    storm, number = LocalStorm(stage, options.seed, options.decoder_every_s), FIRST_LOCAL
    while storm.total < options.decoder_kills:
        archive = make_archive(
            stage.folder / "local archives" / f"night-{number}", number, options.videos, options.frames
        )
        run_undisturbed(stage, archive)
        storm.blow_over(archive, options.decoder_kills - storm.total)
        check(stage, f"cam-{number}-", tale, stage.local_environment())
        print(f"{storm.total} decoders of local nights killed, {archive.name} complete", flush=True)
        number += 1
    tale.counts.update({f"killed: {kind}": count for kind, count in sorted(storm.kills.items())})
    tale.counts["decoders killed in local nights"] = storm.total
    tale.counts["local nights"] = storm.ends.total()
    tale.counts["of these incomplete and run again"] = storm.ends.total() - storm.ends[0]


def sweep_up(stage: Stage) -> dict[str, int]:
    """Every worker is gone. What Prefect still shows as unfinished after a sweep; before it: in `sum_up`.

    With the sweep's patience cut to seconds: nobody lives who could be wronged.
    """
    for worker in stage.workers:
        worker.end()
    cut = {"SILENT_S": 5.0, "HEARTBEAT_LOST_S": 5.0, "PENDING_S": 5.0, "GRACE_S": 1.0}
    with ExitStack() as held:
        held.enter_context(settings_of(stage.sound))
        held.enter_context(mock.patch.dict(os.environ, {"PREFECT_API_URL": stage.prefect.api_url}))
        for name, value in cut.items():
            held.enter_context(mock.patch.object(sweep_prefect, name, value))
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and unfinished_runs():
            sweep(read_settings(), Options(second_look_s=1.0))
            time.sleep(2)
    return unfinished_runs()


def sum_up(stage: Stage, tale: Tale) -> None:
    with settings_of(stage.sound):
        engine = open_database(read_settings().database)
        tale.counts.update(tallies(engine))
        engine.dispose()
    seen = stage.faults.seen
    tale.counts["calls of the store"] = seen.total()
    tale.counts.update({f"store: {fault}": count for fault, count in sorted(seen.items()) if fault != "none"})
    tale.counts["rows compared with the undisturbed run"] = tale.compared
    tale.counts["stored results"] = tale.results
    tale.counts["of these late or double, and left unnamed"] = tale.late
    tale.counts["runs that Prefect shows as unfinished"] = unfinished_runs() or 0
    left = sweep_up(stage)
    tale.counts["the same after a sweep"] = left or 0
    if left:
        tale.faults.append(f"Prefect shows as unfinished, after a sweep: {left}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--videos", type=int, default=3, help="of a batch")
    parser.add_argument("--frames", type=int, default=600, help="of a video; five are a segment")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-s", type=float, default=6.0, help="mean time between two kills")
    parser.add_argument("--decoder-kills", type=int, default=40, help="over local nights, of decoders alone")
    parser.add_argument("--decoder-every-s", type=float, default=1.5, help="mean life of one of these")
    parser.add_argument("--s3", choices=["rclone", "swift"], default="rclone")
    parser.add_argument("--keep", type=Path, help="a folder for logs that stays")
    options = parser.parse_args()
    tale = Tale()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, running_postgres() as prefect_url:
        folder = options.keep or Path(scratch)
        with set_up(folder.resolve(), prefect_url, options.workers, options.s3) as stage:
            local_storm_of(stage, options, tale)
            storm_of(stage, options, tale)
            sum_up(stage, tale)
    print(tale.table())
    print("\n".join(f"WRONG {fault}" for fault in tale.faults) or "0 lost, 0 double, 0 strange, 0 half a result")
    return 1 if tale.faults else 0


if __name__ == "__main__":
    sys.exit(main())
