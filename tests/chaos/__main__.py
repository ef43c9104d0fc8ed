"""Kill processes during local batches and a fleet's batches, and compare each with an undisturbed run.

`python -m tests.chaos` prints a table. Its exit code is 1 where a row is lost, double or strange, or where a segment,
an assignment or a batch has not ended.
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
from tests.chaos.account import check_store, compare, count_costs, ledger_faults, read_rows
from tests.chaos.decoder_kills import DecoderKills
from tests.chaos.environment import FleetEnvironment, make_archive, set_up, settings_of
from tests.chaos.fleet_kills import FleetKills
from tests.servers_postgres import running_postgres

FIRST_LOCAL = 500  # number of the first local batch's archive, above those of the fleet
FINAL = (StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


@dataclass
class Outcome:
    """Outcome of a run, for the table."""

    counts: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    compared: int = 0
    results: int = 0
    late: int = 0

    def table(self) -> str:
        width = max(len(name) for name in self.counts)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.counts.items())


def run_undisturbed(fleet: FleetEnvironment, archives: Path) -> None:
    """Process the same videos on this machine alone, in long segments, on SQLite and a folder."""
    parent = fleet.parent(archives, "--dispatch", "local", "--segment-s", "60", environment=fleet.truth_environment())
    parent.start()
    assert parent.process is not None
    assert parent.process.wait() == 0, (parent.home / "log").read_text()[-3000:]


def check(fleet: FleetEnvironment, archive: str, outcome: Outcome, site: dict[str, str], table: str = "poses") -> None:
    """Append the faults of this batch to the outcome. site: settings of the place where it ran"""
    with settings_of(fleet.truth_environment()):
        truth = read_rows(open_database(read_settings().database), archive)
    with settings_of(site):
        engine, artifacts = open_database(read_settings().database), artifact_store(read_settings())
        difference = compare(read_rows(engine, archive, table), truth)
        outcome.compared += difference.rows
        if not difference.is_none:
            outcome.faults.append(f"{archive}: {difference}")
        outcome.faults += ledger_faults(engine, archive)
        stored = check_store(engine, artifacts, archive)
        outcome.faults += stored.faults
        outcome.results += stored.objects
        outcome.late += stored.late
        engine.dispose()


def unfinished_runs() -> dict[str, int]:
    """Count Prefect's runs that are in no final state, by state."""
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


def run_fleet_batches(fleet: FleetEnvironment, options: argparse.Namespace, outcome: Outcome) -> None:
    """Run batches until all kills are done, each followed by its account."""
    archives = fleet.folder / "archives"
    for number in range(options.batches):
        make_archive(archives / f"night-{number:02d}", number, options.videos, options.frames)
    run_undisturbed(fleet, archives)
    begun, number = time.monotonic(), 0
    campaign = FleetKills(fleet, options.seed, options.every_s, say=lambda line: print(line, flush=True))
    while campaign.total < options.kills:
        archive = archives / f"night-{number:02d}"
        if not archive.exists():  # the planned ones ended before all kills were done
            make_archive(archive, number, options.videos, options.frames)
            run_undisturbed(fleet, archives)
        left = options.kills - campaign.total
        campaign.run_batch(archive, -(-left // max(1, options.batches - number)))
        check(fleet, f"cam-{number}-", outcome, fleet.sound)
        print(f"{time.monotonic() - begun:6.0f} s: {campaign.total} kills, {archive.name} complete", flush=True)
        number += 1
    outcome.counts.update({f"killed: {kind}": count for kind, count in sorted(campaign.kills.items())})
    outcome.counts["killed in all"] = campaign.total
    outcome.counts["paused past the lease"] = campaign.pauses
    outcome.counts["parent ended by itself"] = sum(n for code, n in campaign.ends.items() if code not in (0, -9))
    outcome.counts["wall_s"] = round(time.monotonic() - begun)


def run_local_batches(fleet: FleetEnvironment, options: argparse.Namespace, outcome: Outcome) -> None:
    """Run local batches while their decoders are killed, each followed by its account."""
    campaign, number = DecoderKills(fleet, options.seed, options.decoder_every_s), FIRST_LOCAL
    while campaign.total < options.decoder_kills:
        archive = make_archive(
            fleet.folder / "local archives" / f"night-{number}", number, options.videos, options.frames
        )
        run_undisturbed(fleet, archive)
        campaign.run_batch(archive, options.decoder_kills - campaign.total)
        check(fleet, f"cam-{number}-", outcome, fleet.local_environment())
        print(f"{campaign.total} decoders of local batches killed, {archive.name} complete", flush=True)
        number += 1
    outcome.counts.update({f"killed: {kind}": count for kind, count in sorted(campaign.kills.items())})
    outcome.counts["decoders killed in local batches"] = campaign.total
    outcome.counts["local nights"] = campaign.ends.total()
    outcome.counts["of these incomplete and run again"] = campaign.ends.total() - campaign.ends[0]


def unfinished_after_sweep(fleet: FleetEnvironment) -> dict[str, int]:
    """Sweep without live workers. Returns the runs that Prefect still shows as unfinished, by state.

    The sweep's patience is cut to seconds, as no live process can be affected.
    """
    for worker in fleet.workers:
        worker.end()
    cut = {"SILENT_S": 5.0, "HEARTBEAT_LOST_S": 5.0, "PENDING_S": 5.0, "GRACE_S": 1.0}
    with ExitStack() as held:
        held.enter_context(settings_of(fleet.sound))
        held.enter_context(mock.patch.dict(os.environ, {"PREFECT_API_URL": fleet.prefect.api_url}))
        for name, value in cut.items():
            held.enter_context(mock.patch.object(sweep_prefect, name, value))
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and unfinished_runs():
            sweep(read_settings(), Options(second_look_s=1.0))
            time.sleep(2)
    return unfinished_runs()


def sum_up(fleet: FleetEnvironment, outcome: Outcome) -> None:
    with settings_of(fleet.sound):
        engine = open_database(read_settings().database)
        outcome.counts.update(count_costs(engine))
        engine.dispose()
    seen = fleet.faults.seen
    outcome.counts["calls of the store"] = seen.total()
    outcome.counts.update({f"store: {fault}": count for fault, count in sorted(seen.items()) if fault != "none"})
    outcome.counts["rows compared with the undisturbed run"] = outcome.compared
    outcome.counts["stored results"] = outcome.results
    outcome.counts["of these late or double, and not referenced"] = outcome.late
    outcome.counts["runs that Prefect shows as unfinished"] = unfinished_runs() or 0
    left = unfinished_after_sweep(fleet)
    outcome.counts["the same after a sweep"] = left or 0
    if left:
        outcome.faults.append(f"Prefect shows as unfinished, after a sweep: {left}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--batches", type=int, default=6)
    parser.add_argument("--videos", type=int, default=3, help="of a batch")
    parser.add_argument("--frames", type=int, default=600, help="of a video; five per segment")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-s", type=float, default=6.0, help="mean time between two kills")
    parser.add_argument("--decoder-kills", type=int, default=40, help="in local batches, of decoders only")
    parser.add_argument("--decoder-every-s", type=float, default=1.5, help="mean life of a decoder in these")
    parser.add_argument("--s3", choices=["rclone", "swift"], default="rclone")
    parser.add_argument("--keep", type=Path, help="folder for logs, which is kept")
    options = parser.parse_args()
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="chaos-") as scratch, running_postgres() as prefect_url:
        folder = options.keep or Path(scratch)
        with set_up(folder.resolve(), prefect_url, options.workers, options.s3) as fleet:
            run_local_batches(fleet, options, outcome)
            run_fleet_batches(fleet, options, outcome)
            sum_up(fleet, outcome)
    print(outcome.table())
    print(
        "\n".join(f"WRONG {fault}" for fault in outcome.faults) or "0 lost, 0 double, 0 strange, 0 incomplete results"
    )
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
