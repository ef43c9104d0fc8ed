"""Wrong names, places and files, found before anything is started, by commands and by flows alike.

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
            f"model {name!r} looks at {manifest.frames_per_second:g} frames a second, {frames_per_second:g} were asked "
            f"for: give its name, {manifest.name!r}"
        )


def check_archive(site: Site, location: str) -> None:
    """Check that the folder or bucket exists and may be read."""
    site.archive(canonical(location)).check()


def check_conversion(spec: ConvertSpec) -> None:
    """There is something to convert, its scaling can be read, and the folders of pictures are there."""
    spec.scaling.parse()
    refuse_credentials(spec.source)
    refuse_run_number(spec.name)
    if not spec.source:
        require_source(spec.name)
    elif not spec.source.startswith(("https://", "http://")):
        _refuse_absent("--source", spec.source, "file or folder", Path.exists)
    check_places(spec)


def check_benchmark(site: Site, spec: BenchmarkSpec) -> None:
    """All models are there, and so are device and video."""
    check_device(spec.runtime.device)
    for name in spec.models:
        refuse_unfit(check_model(site, name), spec.runtime.device)
    check_places(spec)


def check_evaluation(site: Site, spec: EvaluateSpec) -> None:
    """Model, device and annotations are there."""
    check_device(spec.device)
    check_pose_model(check_model(site, spec.model))
    check_places(spec)


def check_quantization(site: Site, spec: QuantizeSpec) -> None:
    """Model, archive and device are there, and the annotations, where some were named."""
    check_device(spec.device)
    check_pose_model(check_model(site, spec.model))
    if bool(spec.coco) != bool(spec.images):
        raise NightjarError(
            "one of --coco and --images was given, expected both or none: annotations need their images"
        )
    check_places(spec)
    check_archive(site, spec.archive)


def check_pictures(spec: FinetuneSpec) -> None:
    """Check that pictures are named, that their folders and files exist, and that the new name is not a run's."""
    named = spec.sources
    refuse_run_number(spec.name)
    _refuse_other_bytes(path for _, path in _places(spec))
    if bool(named.stanford) != bool(named.devkit):
        raise NightjarError(
            "one of --stanford and --devkit was given, expected both or none: the devkit names the cars"
        )
    if not (named.stanford or named.caltech or named.folders):
        raise NightjarError(
            "no pictures were named. Give --pictures FOLDER (with car/ and not_car/ in it), --stanford with --devkit, "
            "or --caltech"
        )
    check_places(spec)


def _refuse_other_bytes(paths: Iterable[str]) -> None:
    """Prefect takes valid UTF-8 alone as a parameter. Names of the files in a folder may be any bytes."""
    for path in paths:
        if path.encode("utf-8", "replace").decode() != path:
            raise NightjarError(f"The name {path} is not valid UTF-8. Rename the folder, or give a link to it.")


def check_pose_model(manifest: Manifest) -> None:
    """Check that the model finds people."""
    if manifest.task != "pose":
        raise NightjarError(
            f"{manifest.name} is for {manifest.task}, expected a pose model: choose another "
            "('nightjar compare' shows a classifier's figures)"
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
        raise NightjarError(f"no {kind} {given!r}. Give {flag} a path that exists on this machine")


def check_writable(path: Path) -> None:
    """Check that a file can be created or replaced at this path."""
    if path.is_dir():
        raise NightjarError(f"{str(path)!r} is a folder. Give --output the path of a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NightjarError(f"no folder {str(folder)!r}. Give --output a path in a folder that exists")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise NightjarError(f"{str(path)!r} may not be written. Give --output another path, or change the permissions")
