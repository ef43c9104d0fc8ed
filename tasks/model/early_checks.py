"""Wrong names, places and files, found before anything is started, by commands and by flows alike.

Each check reads the database, the store or a folder, changes nothing and raises NightjarError. No Prefect and no
TensorFlow, so that a command checks before it starts a Prefect server.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.inference.devices import check_device
from models.inference.runtime import refuse_unfit
from models.manifest import Manifest
from models.types import NightjarError, refuse_credentials
from storage.objects.archive import canonical
from tasks.model.names import refuse_run_number, require_model, require_source
from tasks.site.site import Site


def check_night(
    site: Site, archive: str, model: str, device: str | None = None, frames_per_second: float | None = None
) -> None:
    """A batch could begin: model and archive are there, and so is the device, where this machine is to do the work."""
    check_model_on(site, model, device, frames_per_second)
    check_archive(site, archive)


def check_model_on(site: Site, model: str, device: str | None, frames_per_second: float | None) -> None:
    """The model is there, and it fits the device; None: the device is another machine's."""
    manifest = check_model(site, model)
    refuse_other_rate(manifest, model, frames_per_second)
    if device is not None:
        check_device(device)
        refuse_unfit(manifest, device)


def check_model(site: Site, name: str) -> Manifest:
    """The manifest of a registered model."""
    return Manifest.from_json(require_model(site, name)[1].manifest)


def refuse_other_rate(manifest: Manifest, name: str, frames_per_second: float | None) -> None:
    """A version that looks at some frames of each second looks at no other number of them."""
    if manifest.frames_per_second not in (None, frames_per_second) and frames_per_second is not None:
        raise NightjarError(
            f"model {name!r} looks at {manifest.frames_per_second:g} frames a second, {frames_per_second:g} were asked "
            f"for: give its name, {manifest.name!r}"
        )


def check_archive(site: Site, location: str) -> None:
    """The folder or bucket is there and may be read."""
    site.archive(canonical(location)).check()


def check_conversion(name: str, source: str | None, pictures: dict[str, str | None]) -> None:
    """There is something to convert, and so are the folders of pictures; option -> folder, None or empty: not given."""
    refuse_credentials(source or "")
    refuse_run_number(name)
    if not source:
        require_source(name)
    elif not source.startswith(("https://", "http://")):
        check_paths({"--source": source})
    check_folders(pictures)


def check_benchmark(site: Site, models: Iterable[str], device: str, video: str | None) -> None:
    """All models are there, and so are device and video."""
    check_device(device)
    for name in models:
        refuse_unfit(check_model(site, name), device)
    check_files({"--video": video})


def check_evaluation(site: Site, model: str, device: str, coco: str, images: str) -> None:
    """Model, device and annotations are there."""
    check_device(device)
    check_pose_model(check_model(site, model))
    check_annotations(coco, images)


class Quantization(NamedTuple):
    """Inputs of `nightjar quantize`; coco, images: empty where nothing was named."""

    model: str
    archive: str
    device: str
    coco: str = ""
    images: str = ""


def check_quantization(site: Site, asked: Quantization) -> None:
    """Model, archive and device are there, and the annotations, where some were named."""
    check_device(asked.device)
    check_pose_model(check_model(site, asked.model))
    if bool(asked.coco) != bool(asked.images):
        raise NightjarError(
            "one of --coco and --images was given, expected both or none: annotations need their images"
        )
    check_annotations(asked.coco, asked.images)
    check_archive(site, asked.archive)


@dataclass(frozen=True)
class PictureFolders:
    """Places of the pictures and first weights for `nightjar finetune`; empty where nothing was named."""

    stanford: str = ""
    devkit: str = ""
    caltech: str = ""
    folders: tuple[str, ...] = ()
    weights: str = ""
    name: str = ""


def check_pictures(named: PictureFolders) -> None:
    """Some pictures were named, and every folder and file is there; the new model's name is none of a run."""
    refuse_run_number(named.name)
    _refuse_other_bytes((named.stanford, named.devkit, named.caltech, *named.folders, named.weights))
    if bool(named.stanford) != bool(named.devkit):
        raise NightjarError(
            "one of --stanford and --devkit was given, expected both or none: the devkit names the cars"
        )
    if not (named.stanford or named.caltech or named.folders):
        raise NightjarError(
            "no pictures were named. Give --pictures FOLDER (with car/ and not_car/ in it), --stanford with --devkit, "
            "or --caltech"
        )
    check_folders({"--stanford": named.stanford, "--devkit": named.devkit, "--caltech": named.caltech})
    for folder in named.folders:
        check_folders({"--pictures": folder})
    check_files({"--weights": named.weights})


def _refuse_other_bytes(paths: Iterable[str]) -> None:
    """Prefect takes valid UTF-8 alone as a parameter. Names of the files in a folder may be any bytes."""
    for path in paths:
        if path.encode("utf-8", "replace").decode() != path:
            raise NightjarError(f"The name {path} is not valid UTF-8. Rename the folder, or give a link to it.")


def check_pose_model(manifest: Manifest) -> None:
    """It finds people."""
    if manifest.task != "pose":
        raise NightjarError(
            f"{manifest.name} is for {manifest.task}, expected a pose model: choose another "
            "('nightjar compare' shows a classifier's figures)"
        )


def check_annotations(coco: str | None, images: str | None) -> None:
    """The file and the folder are there."""
    check_files({"--coco": coco})
    check_folders({"--images": images})


def check_paths(named: dict[str, str | None]) -> None:
    """There is a file or a folder at each path; option -> path, None or empty where none was given."""
    _check(named, "file or folder", Path.exists)


def check_files(named: dict[str, str | None]) -> None:
    _check(named, "file", Path.is_file)


def check_folders(named: dict[str, str | None]) -> None:
    _check(named, "folder", Path.is_dir)


def _check(named: dict[str, str | None], kind: str, is_there: Callable[[Path], bool]) -> None:
    for option, given in named.items():
        if given and not is_there(Path(given).expanduser()):
            raise NightjarError(f"no {kind} {given!r}. Give {option} a path that exists on this machine")


def check_writable(path: Path) -> None:
    """A file can be made at this path, or is there and can be replaced."""
    if path.is_dir():
        raise NightjarError(f"{str(path)!r} is a folder. Give --output the path of a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NightjarError(f"no folder {str(folder)!r}. Give --output a path in a folder that exists")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise NightjarError(f"{str(path)!r} may not be written. Give --output another path, or change the permissions")
