"""The environment of a fleet's batch, all of it real: PostgreSQL, S3 behind faults, Prefect, workers, archives."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.site.settings import read_settings
from tests.chaos.processes import Database, ManagedProcess, Worker, clean_environment
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.fleet import deploy_edge
from tests.s3_faults import FaultProxy, running
from tests.servers_prefect import PrefectServer
from tests.servers_s3 import new_bucket, running_s3
from tests.tiny_model import write_tiny_model

LEASE_S = 10  # the shortest that the settings allow
FPS = 5  # frames per second of video: a segment of a second has five frames, so that there are many segments
FAULT_RATE = 0.08
MS = 10.0  # per frame, of simulated sticks: the speed does not depend on this machine
HEARTBEAT_S = 30  # like 'nightjar worker', and the shortest that Prefect allows


@dataclass
class FleetEnvironment:
    """A fleet's environment. database: of the results; faults: in front of the store; sound: settings without faults"""

    folder: Path
    database: Database
    prefect: PrefectServer
    faults: FaultProxy
    workers: list[Worker]
    environment: dict[str, str]
    sound: dict[str, str]

    def parent(self, archive: Path, *options: str, environment: dict[str, str] | None = None) -> ManagedProcess:
        command = [sys.executable, "-m", "tests.chaos.parent", str(archive), *options]
        return ManagedProcess("parent", self.folder / "parent", command, {**(environment or self.environment)})

    def local_night(self, archive: Path) -> ManagedProcess:
        """Create a batch of this machine alone, with its own SQLite and folder, in segments of five frames."""
        command = [sys.executable, "-m", "tests.chaos.parent", str(archive), "--dispatch", "local"]
        return ManagedProcess("local night", self.folder / "local-night", command, self.local_environment())

    def local_environment(self) -> dict[str, str]:
        return {**self.truth_environment(), "NIGHTJAR_HOME": str(self.folder / "local")}

    def truth_environment(self) -> dict[str, str]:
        """Return the settings of an undisturbed site on SQLite and a folder."""
        home = self.folder / "truth"
        return {**clean_environment(), "PREFECT_API_URL": self.prefect.api_url, "NIGHTJAR_HOME": str(home)}


@contextmanager
def settings_of(environment: dict[str, str]) -> Iterator[None]:
    """Make this process read the settings of an environment."""
    own = {name: value for name, value in environment.items() if name.startswith("NIGHTJAR_")}
    others = [name for name in os.environ if name.startswith("NIGHTJAR_")]
    with mock.patch.dict(os.environ, own):
        for name in others:
            os.environ.pop(name, None)
        os.environ.update(own)
        read_settings.cache_clear()
        try:
            yield
        finally:
            read_settings.cache_clear()


def make_archive(folder: Path, number: int, videos: int, frames: int) -> Path:
    """Make videos that no other archive has. Each of their rows reveals its frame."""
    folder.mkdir(parents=True)
    for each in range(videos):
        first = (number * videos + each) * 17
        spot_video(folder / f"cam-{number}-{each}.mp4", frames + 5 * each, first=first, fps=FPS, gop=FPS)
    return folder


@contextmanager
def set_up(folder: Path, prefect_database_url: str, workers: int, s3: str = "rclone") -> Iterator[FleetEnvironment]:
    """Provide the environment with its servers up, the model registered and the workers started."""
    model = folder / "model"
    write_tiny_model(model)
    with ExitStack() as held:
        server = held.enter_context(running_s3(s3))
        bucket = new_bucket(server.options)
        faults = FaultProxy(str(server.options.endpoint_url), FAULT_RATE)
        faulty = held.enter_context(running(faults))
        database = Database()
        database.start()
        held.callback(database.remove)
        prefect = PrefectServer(folder / "prefect", prefect_database_url)
        prefect.start()
        held.callback(lambda: prefect.kill())
        held.enter_context(temporary_settings({PREFECT_API_URL: prefect.api_url}))
        environment = {
            **clean_environment(),
            "PREFECT_API_URL": prefect.api_url,
            "NIGHTJAR_HOME": str(folder / "parent"),
            "NIGHTJAR_DATABASE_URL": database.url,
            "NIGHTJAR_ARTIFACTS": f"s3://{bucket}/nightjar",
            "NIGHTJAR_S3_ENDPOINT_URL": faulty,
            "NIGHTJAR_S3_ACCESS_KEY_ID": str(server.options.access_key),
            "NIGHTJAR_S3_SECRET_ACCESS_KEY": str(server.options.secret_key),
            "NIGHTJAR_LEASE_S": str(LEASE_S),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        }
        sound = {**environment, "NIGHTJAR_S3_ENDPOINT_URL": str(server.options.endpoint_url)}
        members = [_make_worker(f"pi-{number}", folder, environment) for number in range(1, workers + 1)]
        fleet = FleetEnvironment(folder, database, prefect, faults, members, environment, sound)
        for each in (sound, fleet.truth_environment(), fleet.local_environment()):
            with settings_of(each):
                register_tiny_model(model)
        deploy_edge()
        for worker in members:
            held.callback(worker.end)
            worker.start()
        yield fleet


def _make_worker(name: str, folder: Path, environment: dict[str, str]) -> Worker:
    return Worker(name, folder / name, {**environment, "NIGHTJAR_DEVICE": f"SIMULATED:ms={MS},id={name}"})
