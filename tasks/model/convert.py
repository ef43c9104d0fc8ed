"""Steps of a conversion: fetch the source, convert it, store the model."""

import logging
from collections.abc import Callable
from pathlib import Path

from models.conversion.spec import ConvertSpec
from models.inference.scaling import scaling_of
from models.manifest import MANIFEST_FILE, Manifest
from models.types import NightjarError
from storage.objects.downloads import PUBLISHED, fetch_published, fetch_url
from tasks.model.cache import model_prefix
from tasks.model.confined_conversion import ConfinedConverter, convert_confined
from tasks.model.early_checks import check_conversion
from tasks.model.names import DEMO_MODEL, require_source
from tasks.model.store import store_model
from tasks.site.settings import read_settings
from tasks.site.site import Site, open_site
from tasks.text.progress import byte_progress

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parents[2] / "models" / "data" / DEMO_MODEL

OnBytes = Callable[[int, int | None], None]
Convert = Callable[[Path, ConvertSpec, Path, str], Manifest]


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


def fetch_with_progress(spec: ConvertSpec) -> tuple[Path, str]:
    """Fetch the source of a model, with a progress bar. Raises NightjarError if it cannot be fetched."""
    with byte_progress(f"Fetching {spec.name}") as on_bytes:
        return fetch_source(spec, read_settings().download_cache, on_bytes)


def convert_source(path: Path, location: str, out: Path, spec: ConvertSpec) -> Manifest:
    """Convert in a process of its own. Raises ConversionError."""
    return _convert(path, location, out, spec, convert_confined)


def _convert(path: Path, location: str, out: Path, spec: ConvertSpec, convert: Convert) -> Manifest:
    log.info("Converting %s in a process that can write to its own folder only", location)
    manifest = convert(path, spec, out, location)
    if manifest.input_basis:
        log.info("Input: %s (%s)", scaling_of(manifest.input).describe(), manifest.input_basis)
    return manifest


def convert_and_store(spec: ConvertSpec, converter: ConfinedConverter, folder: Path) -> Manifest:
    """Convert a model, measure it against its source, and store it under its hash.

    folder: the one that the converter may write
    The flow convert-model, without Prefect. Raises NightjarError as it does.
    """
    with open_site() as site:
        check_conversion(spec)
        path, location = fetch_with_progress(spec)
        manifest = _convert(path, location, folder / "ir", spec, converter.convert)
        store_model(site, folder / "ir", manifest)
        log_stored(site, manifest)
    return manifest


def log_stored(site: Site, manifest: Manifest) -> str:
    """Log where a converted model is. Returns the address of its manifest."""
    url = site.artifacts.url(f"{model_prefix(manifest.version_id)}/{MANIFEST_FILE}")
    log.info("Stored %s as version %s at %s", manifest.name, manifest.version_id[:12], url)
    return url
