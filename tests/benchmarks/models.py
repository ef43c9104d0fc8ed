"""Models and videos for the benchmarks, made from the real weights and films in NIGHTJAR_TEST_DATA.

Conversion runs in a process of its own: TensorFlow's memory and threads do not belong to what is measured.
"""

import os
import subprocess
import sys
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av

from models.manifest import MANIFEST_FILE

DATA = Path(os.environ.get("NIGHTJAR_TEST_DATA", "../shared/data"))
VIDEOS = {
    "768x432": "videos/intel_one-by-one-person-detection.mp4",
    "1768x994": "videos/sports2d_demo.mp4",
}
MODELS = {
    "posenet-050": ("posenet/tfjs_graph_uint16_050/model-stride16.json", "224"),
    "posenet-075": ("posenet/tfjs_manifest_075/manifest.json", "224"),
    "movenet-multipose": ("movenet/multipose/movenet-multipose.json", "192x320"),
}
"""Weights and input size, PoseNet's as in the seed article."""
INT8_FRAMES = 100

CONVERT = """
import sys
from pathlib import Path
from models.conversion.convert import convert
from models.conversion.spec import ConvertSpec
source, name, size, folder = sys.argv[1:]
convert(Path(source), ConvertSpec(name, size=size), Path(folder))
"""
QUANTIZE = """
import sys
from pathlib import Path
import av, cv2
from models.conversion.quantize import quantize
from models.conversion.spec import QuantizeSpec
from models.manifest import MANIFEST_FILE, Manifest
source, video, frames, out = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
manifest = Manifest.from_json((source / MANIFEST_FILE).read_text(encoding="utf-8"))
size = (manifest.input.width, manifest.input.height)
with av.open(video) as container:
    all_frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
step = max(1, len(all_frames) // frames)
pictures = [cv2.resize(frame, size) for frame in all_frames[::step]]
quantize(source, manifest, QuantizeSpec(manifest.name, video), pictures, Path(video).name, out)
"""


def converted(name: str, folder: Path, source: Path | None = None) -> Path:
    """Convert a model into the folder, unless it is there. source: None = one of MODELS"""
    weights, size = (str(source), "") if source else (str(DATA / MODELS[name][0]), MODELS[name][1])
    return _made(folder, CONVERT, weights, name, size)


def quantized(source: Path, folder: Path) -> Path:
    """Quantize a converted model into the folder, on frames of the small film."""
    return _made(folder, QUANTIZE, str(source), str(DATA / VIDEOS["768x432"]), str(INT8_FRAMES))


def _made(folder: Path, program: str, *arguments: str) -> Path:
    if not (folder / MANIFEST_FILE).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-c", program, *arguments, str(folder)], check=True, capture_output=True)
    return folder


def missing_data() -> str:
    """Return the name of a file that the benchmarks need and that is not there; empty = all are there."""
    needed = [*VIDEOS.values(), *(weights for weights, _ in MODELS.values())]
    return next((name for name in needed if not (DATA / name).exists()), "")


def lengthened(source: Path, target: Path, frames: int) -> Path:
    """Copy the video's packets, repeated if necessary, until it has this number of frames, without encoding."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        stream = given.streams.video[0]
        whole = (packet for packet in given.demux(stream) if packet.size)
        packets = [(packet, packet.pts or 0, packet.dts or 0) for packet in islice(whole, frames)]
        copy = out.add_stream_from_template(stream)
        first = min(pts for _, pts, _ in packets)
        length = max(pts + (packet.duration or 0) for packet, pts, _ in packets) - first
        for turn in range(-(-frames // len(packets))):
            for packet, pts, dts in packets:
                packet.stream, packet.time_base = copy, stream.time_base or Fraction(1, 1000)
                packet.pts, packet.dts = pts - first + turn * length, dts - first + turn * length
                out.mux(packet)
    return target
