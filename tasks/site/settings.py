"""The only reader of the environment: NIGHTJAR_… variables and `.env`. Opens nothing."""

import logging
import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.types import NightjarError, refuse_credentials
from tasks.text.wording import nearest

_log = logging.getLogger(__name__)

# Read by the project's tests and by the install script of an edge machine, not by the program.
OTHERS = ("NIGHTJAR_TEST_", "NIGHTJAR_SETUPVARS")
SAID = "_NIGHTJAR_UNKNOWN"  # names that a parent process has warned of

PRINTABLE = r"^[^\p{C}]+$"  # no control or formatting characters


SLOWEST_BYTES_PER_S = 2_000_000  # a disk of 20 MB/s may be read five times, and be busy half of the time


class ReadLimits(NamedTuple):
    """Limits for probing a file. cpu_s: CPU seconds; base_s: seconds by the clock for any file

    By the clock there is one more second per SLOWEST_BYTES_PER_S: a file is hashed once, and demuxed several times
    where it has several streams or damaged times.
    """

    cpu_s: float
    base_s: float

    def wall_s(self, size_bytes: int) -> float:
        """Seconds by the clock for a file of this size."""
        return self.base_s + size_bytes / SLOWEST_BYTES_PER_S


class SettingsError(NightjarError):
    """A variable has a value that cannot be used."""


class _PrefectClient(BaseSettings):
    """Settings that Prefect itself reads, from the same places."""

    model_config = SettingsConfigDict(env_prefix="PREFECT_", env_file=".env", extra="ignore")

    server_api_auth_string: SecretStr | None = None
    api_auth_string: SecretStr | None = None
    api_url: str | None = None
    api_database_connection_url: SecretStr | None = None
    server_database_connection_url: SecretStr | None = None


class Settings(BaseSettings):
    """Everything has a default under `home`, so that nothing needs to be set on one machine."""

    model_config = SettingsConfigDict(env_prefix="NIGHTJAR_", env_file=".env", extra="ignore")

    home: Path = Field(Path(".nightjar"), description="Folder of everything that has no setting of its own.")
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy's URL of the database, which is migrated when it is opened. [default: SQLite in home]",
    )
    artifacts: str = Field("", description="A folder or s3://bucket/prefix. [default: `artifacts` in home]")
    s3_endpoint_url: str | None = Field(None, description="For S3 stores that are not Amazon's. [default: Amazon's]")
    s3_region: str = Field("us-east-1", description="Region of the buckets.")
    s3_access_key_id: str | None = Field(None, description="Name of the S3 key. [default: boto3's own chain]")
    s3_secret_access_key: SecretStr | None = Field(None, description="The S3 key. [default: boto3's own chain]")
    s3_path_style: bool | None = Field(
        None, description="Address buckets as https://host/bucket. [default: true with an endpoint]"
    )
    s3_verify_tls: bool = Field(True, description="Verify the store's certificate.")
    s3_ca_bundle: Path | None = Field(None, description="Certificates to trust, for a store with its own authority.")
    s3_checksum_mode: Literal["when_supported", "when_required"] = Field(
        "when_supported", description="`when_required` for older stores."
    )
    cache_bytes: int = Field(20 * 2**30, gt=0, description="Videos of an S3 archive kept on disk, at most.")
    decoder_memory_bytes: int = Field(
        4 * 2**30, gt=0, description="Memory of a decoder; a video beyond is quarantined."
    )
    decoder_cpu_s: int = Field(3600, gt=0, description="CPU seconds per segment; a segment beyond is quarantined.")
    read_s: int = Field(
        7200, gt=0, description="A file that takes longer to read, plus 1 s per 2 MB, is left for the next run."
    )
    lease_s: int = Field(120, ge=10, description="A segment whose worker is silent this long is given to another one.")
    outage_s: int = Field(
        1800,
        ge=0,
        description="Time that a night waits for a database, a store or a Prefect server that is away, also at its "
        "start; 0 to fail at once.",
    )
    worker_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=PRINTABLE,
        description="Identity of a worker; `nightjar worker` passes it on to its runs. [default: host and device]",
    )
    device: str = Field(
        "CPU", min_length=1, max_length=100, pattern=PRINTABLE, description="OpenVINO device: CPU, MYRIAD, MULTI:…"
    )
    fallback: Literal["cpu", "none"] = Field("none", description="Device to continue on when a worker's is lost.")
    timezone: str = Field(
        "",
        description="Zone of the times in reports, charts and logs, and of the schedule, such as Europe/Berlin; the "
        "database keeps UTC. [default: the machine's]",
    )
    spool_bytes: int = Field(2 * 2**30, gt=0, description="Results kept on a worker's disk while the store is away.")

    @field_validator("artifacts", "s3_endpoint_url")
    @classmethod
    def _no_password(cls, address: str | None) -> str | None:
        try:
            refuse_credentials(address or "")
        except NightjarError as error:
            raise ValueError(str(error)) from None
        return address

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in available_timezones():
            raise ValueError(f"there is no time zone {name!r}, give one such as Europe/Berlin or UTC")
        return name

    @property
    def read_limits(self) -> ReadLimits:
        """The limits for probing a file."""
        return ReadLimits(self.decoder_cpu_s, self.read_s)

    @property
    def zone(self) -> ZoneInfo:
        """The zone that people read times in."""
        return ZoneInfo(self.timezone or machine_time_zone())

    @property
    def database(self) -> str:
        """The database's address, with its password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{_escaped(self.home.resolve() / 'nightjar.db')}"

    @property
    def artifacts_location(self) -> str:
        return self.artifacts or str(self.home.resolve() / "artifacts")

    @property
    def model_cache(self) -> Path:
        return self.home.resolve() / "cache" / "models"

    @property
    def video_cache(self) -> Path:
        return self.home.resolve() / "cache" / "videos"

    @property
    def download_cache(self) -> Path:
        return self.home.resolve() / "cache" / "downloads"


def _escaped(path: Path) -> str:
    """Escape the path for a URL, where '?' would begin its options."""
    return str(path).replace("%", "%25").replace("?", "%3F")


@cache
def read_settings() -> Settings:
    """Read the settings. Raises SettingsError naming each wrong variable, never a secret's value.

    Warns of variables that nobody reads: a misspelt one would leave its default in place without a word.
    """
    for line in _unknown_lines():
        _log.warning(line)
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"NIGHTJAR_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{wrong}: correct it in the environment or in .env") from None


def unknown_variables() -> dict[str, str]:
    """NIGHTJAR_… variables that are no settings -> where each was found, `the environment` or `.env`."""
    prefix = str(Settings.model_config["env_prefix"])
    known = {f"{prefix}{name.upper()}" for name in Settings.model_fields}
    in_file = dotenv_values(".env") if Path(".env").is_file() else {}
    places = {"the environment": list(os.environ), ".env": list(in_file)}
    return {
        name: place
        for place, names in places.items()
        for name in names
        if name.upper().startswith(prefix) and name.upper() not in known and not name.upper().startswith(OTHERS)
    }


def _unknown_lines() -> list[str]:
    """Warn of each unknown variable once per tree of processes: a child need not repeat its parent's warning."""
    found = unknown_variables()
    said = os.environ.get(SAID, "").split()
    os.environ[SAID] = " ".join(sorted({*said, *found}))
    return [
        f"{name} in {place} is no setting of Nightjar and changes nothing. {_remedy(name)}"
        for name, place in found.items()
        if name not in said
    ]


def _remedy(name: str) -> str:
    prefix = str(Settings.model_config["env_prefix"])
    meant = nearest(name.upper().removeprefix(prefix), map(str.upper, Settings.model_fields))
    return f"Did you mean {prefix}{meant}?" if meant else "Remove it: docs/settings.md lists the settings."


def prepare_prefect(settings: Settings) -> None:
    """Prefect's own settings, where the user has none. To be called before Prefect is first imported."""
    if "PREFECT_HOME" not in os.environ:
        folder = settings.home.resolve() / "prefect"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # its database holds the key to Prefect's secrets
        os.environ["PREFECT_HOME"] = str(folder)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # without the internet, its call home waits for DNS
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "20")


def prefect_api_url() -> str | None:
    """Return the address of the user's own Prefect server, if one is set."""
    return _PrefectClient().api_url or None


def prefect_has_own_database() -> bool:
    """Return True if the user has chosen a database for Prefect servers that start here."""
    client = _PrefectClient()
    return bool(client.api_database_connection_url or client.server_database_connection_url)


def use_prefect_api(url: str) -> None:
    """Let Prefect, when it is imported, talk to this server."""
    os.environ["PREFECT_API_URL"] = url


def up_lock() -> Path:
    """Return the file that a running `nightjar up` of this home locks; it holds the address of its server's pages."""
    return prefect_home() / "up.lock"


def prefect_home() -> Path:
    """Folder of Prefect's own files. After prepare_prefect."""
    return Path(os.environ["PREFECT_HOME"]).expanduser()


def prefect_password(of: Literal["server", "client"]) -> str | None:
    """Password that a server here asks for and a client here presents: Prefect's `user:password`."""
    read = _PrefectClient()
    password = read.server_api_auth_string if of == "server" else read.api_auth_string
    return password.get_secret_value() if password else None


def use_prefect_password(password: str) -> None:
    """Let Prefect, here and in children, show this password."""
    os.environ["PREFECT_API_AUTH_STRING"] = password


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with these variables changed, for a child."""
    return {**os.environ, **changes}


def fresh_prefect_environment(home: Path) -> dict[str, str]:
    """Return this process's environment for a Prefect with another home and none of the user's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**environment, "PREFECT_HOME": str(home)}


def prefect_server_environment() -> dict[str, str]:
    """Return the environment of a server that is started here.

    It is nobody's client, and a browser finds its API beside its pages, whatever name it was reached by. Leases on the
    disk are freed when server and worker die together; those in memory are not.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment.setdefault("PREFECT_SERVER_UI_API_URL", "/api")
    environment.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    environment.setdefault(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.filesystem"
    )
    return environment


def become_worker(settings: Settings, name: str, device: str, fallback: str) -> None:
    """Environment that flow runs inherit from the worker that starts them: its identity, and heartbeats."""
    os.environ["NIGHTJAR_HOME"] = str(settings.home.resolve())
    os.environ["NIGHTJAR_WORKER_NAME"] = name
    os.environ["NIGHTJAR_DEVICE"] = device
    os.environ["NIGHTJAR_FALLBACK"] = fallback
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")  # the automation waits for three of them


def temporary_root() -> Path:
    """Return the folder for temporary files: TMPDIR if set, even if it is full; else Python's choice.

    Raises SettingsError where there is none. With a full TMPDIR Python would silently take another folder, at last the
    current one.
    """
    try:
        return Path(os.environ.get("TMPDIR") or tempfile.gettempdir()).absolute()
    except FileNotFoundError as error:
        raise SettingsError(f"{error.strerror}. Let TMPDIR name a folder that can be written and has room") from error


def machine_time_zone() -> str:
    """Return the IANA name of this machine's time zone, UTC if it has none."""
    name = os.environ.get("TZ") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return name if name in available_timezones() else "UTC"
