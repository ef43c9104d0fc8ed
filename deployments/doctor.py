"""`nightjar doctor`: check the installed packages, the devices, the database and the store."""

import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.text import visible
from models.types import NightjarError
from tasks.site.settings import Settings, read_settings

EVERYWHERE = ("prefect", "av", "opencv-python-headless", "numpy", "pyarrow", "boto3")
CENTRAL = ("tensorflow", "tensorflowjs", "psycopg")  # not needed by an edge worker
LOW_DISK_BYTES = 2 * 2**30


def examine() -> int:
    """Print one line per check. Returns 1 if a check failed, else 0."""
    settings = read_settings()
    checks: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "packages": _packages,
        "devices": _devices,
        "video encoder": _encoder,
        "disk": lambda: _disk(settings),
        "artifact store": lambda: _store(settings),
    }
    if not _is_edge():
        checks["site file"] = lambda: _site_file(settings)
        checks["database"] = lambda: _database(settings)
        checks["messages"] = lambda: _messages(settings)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    failures = 0
    for name, check in checks.items():
        try:
            table.add_row(name, "[green]ok[/green]", Text(visible(check())))
        except NightjarError as error:
            failures += 1
            table.add_row(name, "[red]wrong[/red]", Text(str(error)))
    Console().print(table)
    return 1 if failures else 0


def _is_edge() -> bool:
    """Return True in an edge worker's environment, which lacks the packages of the central machine."""
    return not any(find_spec(name) for name in CENTRAL)


def _packages() -> str:
    found, missing = [], []
    for name in EVERYWHERE if _is_edge() else EVERYWHERE + CENTRAL:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        raise NightjarError(f"{', '.join(missing)} not installed. Run 'make demo' or 'make test' again.")
    return ", ".join(found)


def _devices() -> str:
    from models.inference.runtime import available_devices, openvino_version

    devices = "; ".join(f"{name}: {full_name}" for name, full_name in available_devices().items())
    return f"openvino {openvino_version()}, {devices or 'no device'}"


def _encoder() -> str:
    from storage.video.encode import find_encoder

    encoder = find_encoder()
    return f"{encoder.codec} for overlay videos" + ("" if encoder.plays else ", which browsers cannot play")


def _disk(settings: Settings) -> str:
    folder = next(path for path in [settings.home.resolve(), *settings.home.resolve().parents] if path.exists())
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < LOW_DISK_BYTES:
        raise NightjarError(
            f"{free_bytes / 2**30:.1f} GiB are free at {folder}, and Nightjar needs 2. Free some space, or set "
            "NIGHTJAR_HOME to another folder."
        )
    return f"{free_bytes / 2**30:.0f} GiB free at {folder}"


def _site_file(settings: Settings) -> str:
    from tasks.site_file.load import read_site_file

    found = read_site_file(settings)
    if not settings.site_file_path.exists():
        return "none: files have no camera and no time of day"
    return f"{settings.site_file_path}, [[cameras]]: {len(found.cameras)}"


def _database(settings: Settings) -> str:
    from storage.sql.database import check, migrate, open_database

    engine = open_database(settings.database)
    migrate(engine)
    return check(engine)


def _messages(settings: Settings) -> str:
    from tasks.notify.addresses import read_addresses

    found = ", ".join(map(str, read_addresses(settings)))
    return f"{found}. 'nightjar notify --test' tries them" if found else "no address in NIGHTJAR_NOTIFY_URLS"


def _store(settings: Settings) -> str:
    from storage.objects.artifacts import prove
    from tasks.site.stores import artifact_store

    prove(artifact_store(settings))
    return f"{settings.artifacts_location} (written, read back, compared)"
