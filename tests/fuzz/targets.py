"""Targets of the fuzzer: for each kind of input valid examples, and the product's function that reads one."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from models.types import Segment
from tests.fuzz.mutate import mutate, mutate_json

SANDBOX_MEMORY_BYTES = 1 << 30
SANDBOX_CPU_S = 20.0
FRAMES = 30  # of a video that can be read

Read = Callable[[random.Random], None]
"""Read one damaged input. Raises NightjarError where it is refused; any other error is a fault of the product."""

Target = Callable[[Path, ExitStack], Read]


def videos(folder: Path, held: ExitStack) -> Read:
    """Probe and decode in the sandbox, like the listing and a segment."""
    from models.inference.preprocess import plan_resize
    from storage.sandbox.parent import Sandbox
    from storage.video.probe import from_record, probe_record
    from tasks.segment.sandboxed import segment_tensors

    seeds = [path.read_bytes() for path in _video_seeds(folder / "seeds")]
    sandbox = held.enter_context(Sandbox(SANDBOX_MEMORY_BYTES))
    path = folder / "input.mp4"

    def read(chance: random.Random) -> None:
        path.write_bytes(mutate(chance.choice(seeds), chance, chance.choice(seeds)))
        video, index = from_record(sandbox.call(probe_record, path, cpu_s=SANDBOX_CPU_S))
        resize = plan_resize((video.width, video.height), (64, 64), "stretch")
        stop = min(video.frames, FRAMES)
        arguments = (path, video, index, 0, stop, resize, None)
        with sandbox.stream(segment_tensors, *arguments, shape=(64, 64, 3), slots=4, cpu_s=SANDBOX_CPU_S) as stream:
            for _ in islice(stream, FRAMES):
                stream.release()

    return read


def _video_seeds(folder: Path) -> Iterator[Path]:
    from tests.videos import make_video

    folder.mkdir()
    yield make_video(folder / "a.mp4", 12, gop=4)
    yield make_video(folder / "b.mkv", 12, gop=4, b_frames=0)
    yield make_video(folder / "c.webm", 8, codec="libvpx-vp9", options={})
    yield make_video(folder / "d.avi", 12, codec="mpeg4", options={})
    yield make_video(folder / "e.ts", 12, gop=4)
    yield make_video(folder / "f.mpg", 12, codec="mpeg1video", options={})
    yield make_video(folder / "g.avi", 12, codec="mjpeg", options={}, b_frames=0)
    yield make_video(folder / "h.mp4", 12, rotation=90, times_s=[0.1 * number**1.1 for number in range(12)])


def pictures(folder: Path, held: ExitStack) -> Read:
    """Decode like the survey of a data set."""
    from models.datasets.picture import decode_picture, read_bytes
    from tests.models.picture_files import animated, cmyk_jpeg, encoded, put, scene, with_exif

    image = scene(1)
    seeds = [encoded(image), encoded(image, ".jpg"), encoded(image, ".webp"), encoded(image, ".bmp")]
    seeds += [animated([image, scene(2)], ".gif"), cmyk_jpeg((1, 2, 3, 4)), with_exif(encoded(image, ".jpg"), 6)]

    def read(chance: random.Random) -> None:
        picture = put(folder / "input", mutate(chance.choice(seeds), chance, chance.choice(seeds)))
        decode_picture(read_bytes(picture.path), picture)

    return read


def models(folder: Path, held: ExitStack) -> Read:
    """Load like `nightjar convert`, up to the graph before its conversion."""
    from models.conversion.sources import load_source
    from models.inference.sizes import InputSize

    shipped = Path(__file__).parents[2] / "models" / "data" / "posenet-demo"
    topology = (shipped / "model.json").read_text()
    weights = (shipped / "group1-shard1of1.bin").read_bytes()
    frozen = load_source(shipped / "model.json", width=None, size=None).graph.SerializeToString()

    def read(chance: random.Random) -> None:
        if chance.random() < 0.5:
            path = folder / "model.json"
            path.write_bytes(mutate_json(topology, chance))
            (folder / "group1-shard1of1.bin").write_bytes(weights[: chance.choice([len(weights), 1000])])
        else:
            path = folder / "model.pb"
            path.write_bytes(mutate(frozen, chance))
        load_source(path, width=None, size=chance.choice([None, InputSize(224, 224), InputSize(65, 97)]))

    return read


def onnx(folder: Path, held: ExitStack) -> Read:
    """Load like `nightjar convert`, up to OpenVINO's model before the comparison."""
    from models.conversion.onnx_source.load import load_onnx
    from models.inference.sizes import InputSize
    from tests.models.onnx_models import write_rtmo, write_yolo, write_yolo_end_to_end

    path = folder / "model.onnx"
    writers = (write_rtmo, write_yolo, write_yolo_end_to_end)
    seeds = [write(path, size).read_bytes() for write in writers for size in ((192, 256), ("h", "w"))]

    def read(chance: random.Random) -> None:
        path.write_bytes(mutate(chance.choice(seeds), chance, chance.choice(seeds)))
        load_onnx(path, chance.choice([None, InputSize(192, 256), InputSize(65, 97)]), "image")

    return read


def results(folder: Path, held: ExitStack) -> Read:
    """Read result files like a fleet's parent and `nightjar sweep`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from storage.parquet import METADATA_KEY, Result, encode_result
    from tasks.segment.result_files import ResultReader
    from tests.storage.samples import make_labels, make_poses, make_report, make_video

    video = make_video(frames=100)
    segment = Segment(video.sha256, 0, 40)
    rows = (make_poses(0, 40), make_labels(0, 40))
    seeds = [encode_result(Result(video, segment, "1" * 64, each, make_report(40))) for each in rows]
    reader = held.enter_context(ResultReader())

    def read(chance: random.Random) -> None:
        data = chance.choice(seeds)
        if chance.random() < 0.5:
            table = pq.read_table(pa.BufferReader(data))
            about = mutate_json(table.schema.metadata[METADATA_KEY].decode(), chance)
            sink = pa.BufferOutputStream()
            pq.write_table(table.replace_schema_metadata({METADATA_KEY: about}), sink)
            data = sink.getvalue().to_pybytes()
        else:
            data = mutate(data, chance, chance.choice(seeds))
        reader.read(data, "input")

    return read


def messages(folder: Path, held: ExitStack) -> Read:
    """Read the messages between workers and parents in the store."""
    from storage.objects.artifacts import FolderArtifacts
    from tasks.fleet import messages as orders

    store, name = FolderArtifacts(folder / "store"), "00000001-0123456789abcdef"
    piece = orders.Piece(file=0, start_frame=0, stop_frame=5, attempt=1)
    file = orders.File(key="one.mp4", size_bytes=1, etag="e", sha256="a" * 64)
    done = orders.Done(piece=0, key="results/x.parquet", sha256="a" * 64)
    fault = orders.Fault(piece=1, kind="input", reason="no keyframe")
    seeds = [
        (orders.order_key, orders.read_order, orders.Order(files=[file], pieces=[piece, piece])),
        (orders.call_key, orders.read_call, orders.Call(version_sha256="a" * 64, archive="s3://a/b", precision="f32")),
        (orders.status_key, orders.read_status, orders.Status(worker="pi", device="CPU", done=[done], faults=[fault])),
    ]

    def read(chance: random.Random) -> None:
        key_of, read_message, message = chance.choice(seeds)
        store.put_bytes(key_of(name), mutate_json(message.model_dump_json(), chance))
        read_message(store, name)

    return read


TARGETS: dict[str, Target] = {target.__name__: target for target in (videos, pictures, models, onnx, results, messages)}
