"""Everything that a fleet's batch needs, all of it real: PostgreSQL, S3 behind faults, Prefect, workers, archives."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.site.settings import read_settings
from tests.chaos.actors import Actor, Database, Worker, clean_environment
from tests.flows.conftest import register_tiny_model, spot_video
from tests.flows.fleet import deploy_edge
from tests.s3_faults import FaultProxy, running
from tests.servers_prefect import PrefectServer
from tests.servers_s3 import new_bucket, running_s3
from tests.tiny_model import write_tiny_model

LEASE_S = 10  # the least that the settings take
FPS = 5  # of frames a second of video: a segment of a second is five frames, so that there are many
FAULT_RATE = 0.08
MS = 10.0  # a frame, of simulated sticks: the pace of a night is not this machine's
HEARTBEAT_S = 30  # what 'nightjar worker' sets, and the least that Prefect takes


@dataclass
class Stage:
    """database: of the results; faults: in front of the store; sound: settings that go past the faults"""

    folder: Path
    database: Database
    prefect: PrefectServer
    faults: FaultProxy
    workers: list[Worker]
    environment: dict[str, str]
    sound: dict[str, str]

    def parent(self, archive: Path, *options: str, environment: dict[str, str] | None = None) -> Actor:
        command = [sys.executable, "-m", "tests.chaos.parent", str(archive), *options]
        return Actor("parent", self.folder / "parent", command, {**(environment or self.environment)})

    def local_night(self, archive: Path) -> Actor:
        """A night of this machine alone, at a site of its own on SQLite and a folder, in segments of five frames."""
        command = [sys.executable, "-m", "tests.chaos.parent", str(archive), "--dispatch", "local"]
        return Actor("local night", self.folder / "local-night", command, self.local_environment())

    def local_environment(self) -> dict[str, str]:
        return {**self.truth_environment(), "NIGHTJAR_HOME": str(self.folder / "local")}

    def truth_environment(self) -> dict[str, str]:
        """A site of its own on SQLite and a folder, which nobody disturbs."""
        home = self.folder / "truth"
        return {**clean_environment(), "PREFECT_API_URL": self.prefect.api_url, "NIGHTJAR_HOME": str(home)}


@contextmanager
def settings_of(environment: dict[str, str]) -> Iterator[None]:
    """This process reads the settings of that one."""
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
    """Videos that no other archive has; each row of theirs tells which frame it is of."""
    folder.mkdir(parents=True)
    for each in range(videos):
        first = (number * videos + each) * 17
        spot_video(folder / f"cam-{number}-{each}.mp4", frames + 5 * each, first=first, fps=FPS, gop=FPS)
    return folder


@contextmanager
def set_up(folder: Path, prefect_database_url: str, workers: int, s3: str = "rclone") -> Iterator[Stage]:
    """The stage with its servers up, the model registered and the workers started."""
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
        fleet = [_stick(f"pi-{number}", folder, environment) for number in range(1, workers + 1)]
        stage = Stage(folder, database, prefect, faults, fleet, environment, sound)
        for each in (sound, stage.truth_environment(), stage.local_environment()):
            with settings_of(each):
                register_tiny_model(model)
        deploy_edge()
        for worker in fleet:
            held.callback(worker.end)
            worker.start()
        yield stage


def _stick(name: str, folder: Path, environment: dict[str, str]) -> Worker:
    return Worker(name, folder / name, {**environment, "NIGHTJAR_DEVICE": f"SIMULATED:ms={MS},id={name}"})
