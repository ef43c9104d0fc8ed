"""Tasks of `convert-model`: fetch the source, convert it."""

import logging
from collections.abc import Callable
from pathlib import Path

from prefect import task

from models.conversion.spec import ConvertSpec
from models.inference.scaling import scaling_of
from models.manifest import Manifest
from models.types import NightjarError
from storage.objects.downloads import PUBLISHED, fetch_published, fetch_url
from tasks.model.confined_conversion import convert_confined
from tasks.model.names import DEMO_MODEL, require_source
from tasks.runs.policy import TASK
from tasks.site.settings import read_settings
from tasks.text.progress import byte_progress

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "models" / "data" / DEMO_MODEL

OnBytes = Callable[[int, int | None], None]


@task(name="fetch source", **TASK)
def fetch_source_task(spec: ConvertSpec) -> tuple[Path, str]:
    """Fetch the source of a model, with a progress bar. Raises NightjarError if it cannot be fetched."""
    with byte_progress(f"Fetching {spec.name}") as on_bytes:
        return fetch_source(spec, read_settings().download_cache, on_bytes)


def fetch_source(spec: ConvertSpec, cache: Path, on_bytes: OnBytes) -> tuple[Path, str]:
    """Return the source's local files and their origin. Raises NightjarError if they cannot be fetched.

    cache: folder for downloads
    """
    name, source = spec.name, spec.source
    if not source and name == DEMO_MODEL:
        return SHIPPED / "model.json", "shipped with Nightjar"
    if not source:
        require_source(name)
        return fetch_published(name, cache, on_bytes), PUBLISHED[name].url
    if source.startswith(("https://", "http://")):
        return fetch_url(source, cache, on_bytes), source
    path = Path(source).expanduser()
    if not path.exists():
        raise NightjarError(
            f"The file or folder {source} does not exist. Give --source another path or an https address."
        )
    return path, str(path)


def convert_source(path: Path, location: str, out: Path, spec: ConvertSpec) -> Manifest:
    """Convert in a process of its own. Raises ConversionError."""
    log.info("Converting %s in a process that can write to its own folder only", location)
    manifest = convert_confined(path, spec, out, location)
    if manifest.input_basis:
        log.info("Input: %s (%s)", scaling_of(manifest.input).describe(), manifest.input_basis)
    return manifest


convert_source_task = task(name="convert to IR", **TASK)(convert_source)
