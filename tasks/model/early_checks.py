"""Checks of names, locations and files before anything is started, for commands and flows.

Each check reads the database, the store or a folder, changes nothing and raises NightjarError. No Prefect and no
TensorFlow, so that a command checks before it starts a Prefect server.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from models.car_classifier.params import FinetuneSpec
from models.conversion.spec import ConvertSpec, QuantizeSpec
from models.evaluation.spec import EvaluateSpec
from models.inference.devices import check_device
from models.inference.runtime import refuse_unfit
from models.inference.sizes import parse_size
from models.inference.spec import BenchmarkSpec
from models.manifest import Manifest
from models.spec import Parameter, flatten, parameters
from models.types import NightjarError, refuse_credentials
from storage.objects.archive import canonical
from tasks.model.names import refuse_run_number, require_model, require_source
from tasks.site.site import Site


def check_model(site: Site, name: str) -> Manifest:
    """Return the manifest of a registered model."""
    return Manifest.from_json(require_model(site, name)[1].manifest)


def refuse_other_rate(manifest: Manifest, name: str, frames_per_second: float | None) -> None:
    """Refuse a sampling rate other than the one that the version was made with."""
    if manifest.frames_per_second not in (None, frames_per_second) and frames_per_second is not None:
        raise NightjarError(
            f"Model {name!r} processes {manifest.frames_per_second:g} frames per second, not {frames_per_second:g}. "
            f"Give its name, {manifest.name!r}, to use another rate."
        )


def check_archive(site: Site, location: str) -> None:
    """Check that the folder or bucket exists and is readable."""
    site.archive(canonical(location)).check()


def check_conversion(spec: ConvertSpec) -> None:
    """Check that the source and the folders of pictures exist, and that the scaling is valid."""
    spec.scaling.parse()
    parse_size(spec.size)
    refuse_credentials(spec.source)
    refuse_run_number(spec.name)
    if not spec.source:
        require_source(spec.name)
    elif not spec.source.startswith(("https://", "http://")):
        _refuse_absent("--source", spec.source, "file or folder", Path.exists)
    check_places(spec)


def check_benchmark(site: Site, spec: BenchmarkSpec) -> None:
    """Check that all models, the device and the video exist."""
    check_device(spec.runtime.device)
    for name in spec.models:
        refuse_unfit(check_model(site, name), spec.runtime.device)
    check_places(spec)


def check_evaluation(site: Site, spec: EvaluateSpec) -> None:
    """Check that model, device and annotations exist."""
    check_device(spec.device)
    check_pose_model(check_model(site, spec.model))
    check_places(spec)


def check_quantization(site: Site, spec: QuantizeSpec) -> None:
    """Check that model, archive and device exist, and the annotations if some are given."""
    check_device(spec.device)
    check_pose_model(check_model(site, spec.model))
    if bool(spec.coco) != bool(spec.images):
        raise NightjarError("Annotations and their images belong together. Give both --coco and --images, or neither.")
    check_places(spec)
    check_archive(site, spec.archive)


def check_pictures(spec: FinetuneSpec) -> None:
    """Check that pictures are given, that their folders and files exist, and that the name is not that of a run."""
    named = spec.sources
    refuse_run_number(spec.name)
    _refuse_other_bytes(path for _, path in _places(spec))
    if bool(named.stanford) != bool(named.devkit):
        raise NightjarError(
            "The labels of Stanford Cars are in its devkit. Give both --stanford and --devkit, or neither."
        )
    if not (named.stanford or named.caltech or named.folders):
        raise NightjarError(
            "No pictures were given. Give --pictures FOLDER (with car/ and not_car/ in it), --stanford with --devkit, "
            "or --caltech."
        )
    check_places(spec)


def _refuse_other_bytes(paths: Iterable[str]) -> None:
    """Refuse paths that are not valid UTF-8, which Prefect needs. Names inside a folder may be any bytes."""
    for path in paths:
        if path.encode("utf-8", "replace").decode() != path:
            raise NightjarError(f"The name {path} is not valid UTF-8. Rename the folder, or give a link to it.")


def check_pose_model(manifest: Manifest) -> None:
    """Check that the model is a pose model."""
    if manifest.task != "pose":
        raise NightjarError(
            f"{manifest.name} is a {manifest.task} model. Choose a pose model. Run 'nightjar compare' for the figures "
            "of a classifier."
        )


def check_places(spec: Any) -> None:
    """Check that the files and folders named by a spec's path parameters exist."""
    for parameter, path in _places(spec):
        kind = parameter.option.place
        _refuse_absent(parameter.flag, path, kind, Path.is_file if kind == "file" else Path.is_dir)


def _places(spec: Any) -> Iterator[tuple[Parameter, str]]:
    given = flatten(spec)
    for parameter in parameters(type(spec)).values():
        if parameter.option.place and given[parameter.name]:
            value = given[parameter.name]
            yield from ((parameter, path) for path in ([value] if isinstance(value, str) else value))


def _refuse_absent(flag: str, given: str, kind: str, is_there: Callable[[Path], bool]) -> None:
    if not is_there(Path(given).expanduser()):
        raise NightjarError(f"The {kind} {given!r} does not exist. Give {flag} a path that exists on this machine.")


def check_writable(path: Path) -> None:
    """Check that a file can be created or replaced at this path."""
    if path.is_dir():
        raise NightjarError(f"{str(path)!r} is a folder. Give --output the path of a file.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NightjarError(f"The folder {str(folder)!r} does not exist. Give --output a path in an existing folder.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise NightjarError(f"{str(path)!r} is not writable. Give --output another path, or change the permissions.")
