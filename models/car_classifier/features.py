"""Heavy: the features that a frozen backbone computes from pictures, by OpenVINO, cached on disk. No training.

A cache has one folder per backbone with one .npz per 256 pictures, each written to a temporary file, renamed, and never
changed. A killed process loses its last part only. Two processes may fill one cache at the same time.
"""

import hashlib
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.car_classifier.network import SIZE, Base
from models.car_classifier.params import FinetuneError
from models.conversion.graph import to_graph
from models.conversion.keras_files import freeze_keras
from models.datasets.picture import Picture, read_picture
from models.heavy.openvino import ov
from models.heavy.tensorflow import silent_stderr
from models.inference.preprocess import preprocess

Features = NDArray[np.float32]
Progress = Callable[[int, int], None]
PART_PICTURES = 256
_KEY_BYTES = 32


def features(
    base: Base, pictures: Sequence[Picture], cache: Path, on_progress: Progress = lambda done, total: None
) -> Features:
    """(n, width) float32 of the pictures in their order: 8 KiB per picture with ResNet50.

    cache: a folder, made where missing; on_progress: receives (computed so far, to compute) after each part
    Raises FinetuneError for a picture without its sha256, PictureError for a file that is not a picture.
    """
    folder = cache / base.sha256[:32]
    folder.mkdir(parents=True, exist_ok=True)
    keys = [_key(picture) for picture in pictures]
    rows: dict[bytes, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    found = np.empty((len(pictures), base.width), np.float32)
    missing = _fill_from_disk(folder, rows, found)
    if missing:
        todo = [pictures[rows[key][0]] for key in missing]
        done = 0
        for part in _compute(base, todo):
            part_keys = missing[done : done + len(part)]
            _write_part(folder, part_keys, part)
            for key, values in zip(part_keys, part, strict=True):
                found[rows[key]] = values
            done += len(part)
            on_progress(done, len(missing))
    return found


def tensor_of(picture: Picture) -> NDArray[np.uint8]:
    """(224, 224, 3) uint8 RGB, resized as the nightly batch resizes a frame. Raises PictureError."""
    return preprocess(read_picture(picture), (SIZE, SIZE), "stretch", "RGB")[0]


def _key(picture: Picture) -> bytes:
    if not picture.sha256:
        raise FinetuneError(f"{picture.path} has no sha256. Survey the pictures first.")
    return hashlib.sha256(f"{picture.sha256} {picture.box}".encode()).digest()


def _fill_from_disk(folder: Path, rows: dict[bytes, list[int]], found: Features) -> list[bytes]:
    """Fill `found` from the parts. Returns the keys that no part contains. A broken part is removed."""
    missing = dict.fromkeys(rows)
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as part:
                keys = [row.tobytes() for row in part["keys"]]
                wanted = [(number, key) for number, key in enumerate(keys) if key in missing]
                values = part["features"] if wanted else np.empty(0)
                for number, key in wanted:
                    found[rows[key]] = values[number]
        except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile):
            path.unlink(missing_ok=True)
            continue
        for _, key in wanted:
            missing.pop(key, None)
    return list(missing)


def _write_part(folder: Path, keys: Sequence[bytes], values: Features) -> None:
    """Write a part, named by its keys, so that the same part written twice is one file."""
    joined = b"".join(keys)
    name = hashlib.sha256(joined).hexdigest()[:32]
    temporary = folder / f".{name}-{os.getpid()}"
    with temporary.open("wb") as file:
        np.savez(file, keys=np.frombuffer(joined, np.uint8).reshape(-1, _KEY_BYTES), features=values)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / f"{name}.npz")


def _compute(base: Base, pictures: Sequence[Picture]) -> Iterator[Features]:
    """Compute the features in parts of 256 pictures: decoded in threads, with the best number of requests."""
    queue = ov.AsyncInferQueue(_compiled(base))
    part = np.empty((PART_PICTURES, base.width), np.float32)

    def keep(request: ov.InferRequest, row: int) -> None:
        part[row] = request.get_output_tensor(0).data[0]

    queue.set_callback(keep)
    tensors = _decoded(pictures)
    try:
        for begin in range(0, len(pictures), PART_PICTURES):
            size = min(PART_PICTURES, len(pictures) - begin)
            for row in range(size):
                queue.start_async({0: next(tensors)[None]}, row)
            queue.wait_all()
            yield part[:size].copy()
    finally:
        queue.wait_all()  # a queue that goes while requests run corrupts memory


def _decoded(pictures: Sequence[Picture]) -> Iterator[NDArray[np.uint8]]:
    """Yield the tensors in order, decoded ahead of their use."""
    workers = os.cpu_count() or 1
    ahead: deque[Future[NDArray[np.uint8]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for picture in pictures:
                ahead.append(pool.submit(tensor_of, picture))
                if len(ahead) > 4 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for waiting in ahead:
                waiting.cancel()


def _compiled(base: Base) -> Any:
    """Compile the backbone for a picture's bytes, in f32: bf16, a default of OpenVINO, would change the features."""
    with silent_stderr():
        graph, _ = freeze_keras(base.network, None)
        model = ov.convert_model(to_graph(graph))
    model.reshape([1, SIZE, SIZE, 3])
    steps = ov.preprocess.PrePostProcessor(model)
    given = steps.input()
    given.tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    given.preprocess().convert_element_type(ov.Type.f32).mean(127.5).scale(127.5)
    hints = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32"}
    return ov.Core().compile_model(steps.build(), "CPU", hints)
