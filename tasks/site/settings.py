"""The only reader of the environment: NIGHTJAR_… variables and `.env`. Opens nothing."""

import logging
import os
import re
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo, available_timezones

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.types import NightjarError, refuse_credentials
from tasks.text.wording import nearest

_log = logging.getLogger(__name__)

# Read by the tests and by the install script of an edge machine, not by the program.
OTHERS = ("NIGHTJAR_TEST_", "NIGHTJAR_SETUPVARS")
OF_ONE_COMMAND = "_NIGHTJAR_PASSING_SERVER"  # the address of a Prefect server that ends with the command
ALREADY_WARNED = "_NIGHTJAR_UNKNOWN"  # names about which a parent process has warned

PRINTABLE = r"^[^\p{C}]+$"  # no control or formatting characters


SLOWEST_BYTES_PER_S = 2_000_000  # a disk with 20 MB/s, five reads per file, half of the time for other work


# Of messages, in Apprise's form. A comma may also belong to an address.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9]*://\S+")
BETWEEN_ADDRESSES = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9]*://)|\s+")


def split_addresses(text: SecretStr | None) -> list[SecretStr]:
    """Return the addresses of a setting, without empty ones and repetitions."""
    parts = BETWEEN_ADDRESSES.split(text.get_secret_value()) if text else []
    return [SecretStr(part) for part in dict.fromkeys(part.strip(",") for part in parts) if part]


class ReadLimits(NamedTuple):
    """Limits for probing a file. cpu_s: CPU seconds; base_s: wall-clock seconds for any file

    One second is added per SLOWEST_BYTES_PER_S: a file is hashed once, and demuxed several times if it has several
    streams or damaged times.
    """

    cpu_s: float
    base_s: float

    def wall_s(self, size_bytes: int) -> float:
        """Wall-clock seconds for a file of this size."""
        return self.base_s + size_bytes / SLOWEST_BYTES_PER_S


class SettingsError(NightjarError):
    """A variable has a value that cannot be used."""


class _PrefectClient(BaseSettings):
    """Settings of Prefect, read from the same places."""

    model_config = SettingsConfigDict(env_prefix="PREFECT_", env_file=".env", extra="ignore")

    server_api_auth_string: SecretStr | None = None
    api_auth_string: SecretStr | None = None
    api_url: str | None = None
    ui_url: str | None = None
    api_database_connection_url: SecretStr | None = None
    server_database_connection_url: SecretStr | None = None


class Settings(BaseSettings):
    """Settings of Nightjar. All have defaults under `home`, so none is needed on a single machine."""

    model_config = SettingsConfigDict(env_prefix="NIGHTJAR_", env_file=".env", extra="ignore")

    home: Path = Field(Path(".nightjar"), description="Folder for all files that have no setting of their own.")
    database_url: SecretStr | None = Field(
        None,
        description="SQLAlchemy URL of the database, which is migrated when it is opened. [default: SQLite in home]",
    )
    artifacts: str = Field(
        "", description="Artifact store: a folder or s3://bucket/prefix. [default: `artifacts` in home]"
    )
    s3_endpoint_url: str | None = Field(
        None, description="Endpoint of an S3 store other than Amazon's. [default: Amazon's]"
    )
    s3_region: str = Field("us-east-1", description="Region of the buckets.")
    s3_access_key_id: str | None = Field(None, description="S3 access key id. [default: from boto3's own sources]")
    s3_secret_access_key: SecretStr | None = Field(
        None, description="S3 secret key. [default: from boto3's own sources]"
    )
    s3_path_style: bool | None = Field(
        None, description="Address buckets as https://host/bucket. [default: true with an endpoint]"
    )
    s3_verify_tls: bool = Field(True, description="Verify the store's certificate.")
    s3_ca_bundle: Path | None = Field(
        None, description="Certificates to trust, for a store with its own certificate authority."
    )
    s3_checksum_mode: Literal["when_supported", "when_required"] = Field(
        "when_supported", description="`when_required` for older stores."
    )
    cache_bytes: int = Field(20 * 2**30, gt=0, description="Maximum size of the cache for videos of an S3 archive.")
    media_cache_bytes: int = Field(
        10 * 2**30,
        ge=2**26,
        description="Maximum size of the cache of `nightjar browse`: videos that were converted for browsers, and "
        "stills.",
    )
    decoder_memory_bytes: int = Field(
        4 * 2**30, gt=0, description="Memory limit of a decoder. A video that exceeds it is quarantined."
    )
    decoder_cpu_s: int = Field(
        3600, gt=0, description="CPU seconds for decoding a segment. A segment that exceeds them is quarantined."
    )
    read_s: int = Field(
        7200, gt=0, description="Seconds for reading a file, plus 1 s per 2 MB. A slower file is left for the next run."
    )
    lease_s: int = Field(
        120, ge=10, description="Seconds without progress after which a segment is given to another worker."
    )
    outage_s: int = Field(
        1800,
        ge=0,
        description="Seconds that a batch waits for an unavailable database, store or Prefect server, also at its "
        "start. 0 = fail at once.",
    )
    worker_name: str | None = Field(
        None,
        min_length=1,
        max_length=100,
        pattern=PRINTABLE,
        description="Name of a worker, which `nightjar worker` passes on to its runs. [default: host and device]",
    )
    device: str = Field(
        "CPU", min_length=1, max_length=100, pattern=PRINTABLE, description="OpenVINO device: CPU, MYRIAD, MULTI:…"
    )
    inference_niceness: int = Field(
        0,
        ge=0,
        le=19,
        description="Niceness of the threads that infer on a CPU. 0 takes a fair share beside other programs; more "
        "leaves the cores to them.",
    )
    fallback: Literal["cpu", "none"] = Field(
        "none", description="Continue on the CPU when a worker's device is lost, or stop."
    )
    timezone: str = Field(
        "",
        description="Time zone of reports, charts, logs and the schedule, such as Europe/Berlin. The database keeps "
        "UTC. [default: the machine's]",
    )
    site_file: Path | None = Field(
        None,
        description="Site file: cameras, clocks, zones, rules and messages, see site.md. [default: `nightjar.toml` in "
        "home]",
    )
    spool_bytes: int = Field(
        2 * 2**30, gt=0, description="Maximum size of the results that a worker keeps while the store is unavailable."
    )
    notify_urls: SecretStr | None = Field(
        None,
        description="Addresses of messages about events and nights, as Apprise writes them, such as "
        "mailto://user:password@example.org. Separate several by spaces or commas. [default: no messages]",
    )

    browse_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="Address at which users reach the pages of `nightjar browse`, for links in reports and messages. "
        "[default: that of the running `nightjar browse`]",
    )

    @field_validator("artifacts", "s3_endpoint_url", "browse_url")
    @classmethod
    def _no_password(cls, address: str | None) -> str | None:
        try:
            refuse_credentials(address or "")
        except NightjarError as error:
            raise ValueError(str(error)) from None
        return address

    @field_validator("notify_urls")
    @classmethod
    def _addresses(cls, text: SecretStr | None) -> SecretStr | None:
        for number, url in enumerate(split_addresses(text), 1):
            if not ADDRESS.fullmatch(url.get_secret_value()):
                raise ValueError(f"Address {number} is not of the form scheme://host.")
        return text

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in _time_zones():
            raise ValueError(f"The time zone {name!r} does not exist. Give one such as Europe/Berlin or UTC.")
        return name

    @property
    def read_limits(self) -> ReadLimits:
        """Limits for probing a file."""
        return ReadLimits(self.decoder_cpu_s, self.read_s)

    @property
    def zone(self) -> ZoneInfo:
        """Time zone for display."""
        return ZoneInfo(self.timezone or machine_time_zone())

    @property
    def database(self) -> str:
        """Address of the database, with its password."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{_escaped(self.home.resolve() / 'nightjar.db')}"

    @property
    def site_file_path(self) -> Path:
        return self.site_file or self.home.resolve() / "nightjar.toml"

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
    def media_cache(self) -> Path:
        return self.home.resolve() / "cache" / "media"

    @property
    def download_cache(self) -> Path:
        return self.home.resolve() / "cache" / "downloads"


def _escaped(path: Path) -> str:
    """Escape the path for a URL, where '?' would begin its options."""
    return str(path).replace("%", "%25").replace("?", "%3F")


@cache
def read_settings() -> Settings:
    """Read the settings. Raises SettingsError naming each wrong variable, never a secret's value.

    Warns about unknown variables: a misspelt one would otherwise be ignored silently.
    """
    for line in _unknown_lines():
        _log.warning(line)
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"NIGHTJAR_{str(item['loc'][0]).upper()}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{wrong.rstrip('.')}. Correct it in the environment or in .env.") from None


def unknown_variables() -> dict[str, str]:
    """Return unknown NIGHTJAR_… variables -> their source, `the environment` or `.env`."""
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
    """Return a warning per unknown variable, unless a parent process has given it already."""
    found = unknown_variables()
    said = os.environ.get(ALREADY_WARNED, "").split()
    os.environ[ALREADY_WARNED] = " ".join(sorted({*said, *found}))
    return [
        f"{name} in {place} is not a setting of Nightjar and has no effect. {_remedy(name)}"
        for name, place in found.items()
        if name not in said
    ]


def _remedy(name: str) -> str:
    prefix = str(Settings.model_config["env_prefix"])
    meant = nearest(name.upper().removeprefix(prefix), map(str.upper, Settings.model_fields))
    return f"Did you mean {prefix}{meant}?" if meant else "Remove it. docs/settings.md lists the settings."


def prepare_prefect(settings: Settings) -> None:
    """Set defaults for Prefect's settings. Call it before the first import of Prefect."""
    if "PREFECT_HOME" not in os.environ:
        folder = settings.home.resolve() / "prefect"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # its database contains the key to Prefect's secrets
        os.environ["PREFECT_HOME"] = str(folder)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")  # without internet access, telemetry waits for DNS
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "20")


def prefect_api_url() -> str | None:
    """Return the address of the user's own Prefect server, if one is set."""
    return _PrefectClient().api_url or None


def prefect_has_own_database() -> bool:
    """Return True if the user has chosen a database for Prefect servers that start here."""
    client = _PrefectClient()
    return bool(client.api_database_connection_url or client.server_database_connection_url)


def use_prefect_api(url: str, *, of_one_command: bool = False) -> None:
    """Let Prefect use this server. Call it before the first import of Prefect.

    of_one_command: the server ends with this command, so that no link to it is worth sending
    """
    os.environ["PREFECT_API_URL"] = url
    os.environ[OF_ONE_COMMAND] = url if of_one_command else ""


def prefect_ui_url() -> str | None:
    """Return the address of Prefect's pages; None if they end with this command, or are not known."""
    read = _PrefectClient()
    if read.ui_url:
        return read.ui_url.rstrip("/")
    if not read.api_url or read.api_url == os.environ.get(OF_ONE_COMMAND):
        return None
    return read.api_url.rstrip("/").removesuffix("/api")


def flow_run_url(ui_url: str, flow_run_id: str) -> str:
    """Return the address of a run on the pages of Prefect at this address."""
    return f"{ui_url}/runs/flow-run/{quote(flow_run_id, safe='')}"


def up_lock() -> Path:
    """Return the file that a running `nightjar up` of this home locks. It contains the UI's address."""
    return prefect_home() / "up.lock"


def prefect_home() -> Path:
    """Return the folder of Prefect's files. Call prepare_prefect first."""
    return Path(os.environ["PREFECT_HOME"]).expanduser()


def prefect_password(of: Literal["server", "client"]) -> str | None:
    """Return the `user:password` that a server here requires, or that a client here sends."""
    read = _PrefectClient()
    password = read.server_api_auth_string if of == "server" else read.api_auth_string
    return password.get_secret_value() if password else None


def use_prefect_password(password: str) -> None:
    """Let Prefect's clients in this process and its children send this password."""
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

    It has no API address of its own, so it is no client of another server. The UI uses the API of the address in the
    browser. Concurrency leases are kept on disk, since those in memory would stay taken if server and worker die.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment.setdefault("PREFECT_SERVER_UI_API_URL", "/api")
    environment.setdefault("PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT", "false")
    environment.setdefault(
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE", "prefect.server.concurrency.lease_storage.filesystem"
    )
    return environment


def set_worker_environment(settings: Settings, name: str, device: str, fallback: str) -> None:
    """Set the environment that flow runs inherit from their worker: its identity and heartbeats."""
    os.environ["NIGHTJAR_HOME"] = str(settings.home.resolve())
    if settings.site_file is not None:
        os.environ["NIGHTJAR_SITE_FILE"] = str(settings.site_file.resolve())
    os.environ["NIGHTJAR_WORKER_NAME"] = name
    os.environ["NIGHTJAR_DEVICE"] = device
    os.environ["NIGHTJAR_FALLBACK"] = fallback
    os.environ.setdefault(
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"
    )  # the automation crashes runs after three missing ones


def temporary_root() -> Path:
    """Return the folder for temporary files: TMPDIR if set, even if it is full; else Python's choice.

    Raises SettingsError if there is none. With a full TMPDIR Python would silently use another folder.
    """
    try:
        return Path(os.environ.get("TMPDIR") or tempfile.gettempdir()).absolute()
    except FileNotFoundError as error:
        raise SettingsError(f"{error.strerror}. Set TMPDIR to a writable folder with free space.") from error


def machine_time_zone() -> str:
    """Return the IANA name of this machine's time zone, UTC if it has none."""
    name = os.environ.get("TZ") or str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return name if name in _time_zones() else "UTC"


@cache
def _time_zones() -> set[str]:
    """Return the names of all time zones. Cached, as Python reads thousands of files for them."""
    return available_timezones()
