"""posenet-python as a peer: `python -m tests.benchmarks.posenet_python CHECKOUT WEIGHTS VIDEO FRAMES`.

Its published loop without the window: OpenCV reads and resizes a frame, TensorFlow runs the frozen graph, its own
decoder reads the outputs. It was written for TensorFlow 1, so that the graph is run by `tf.compat.v1`; preparation and
decoder are the checkout's own. Prints the number of frames, their seconds and their CPU seconds.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.benchmarks.models import DATA

WEIGHTS = {"posenet-050": "posenet/frozen_050/model-mobilenet_v1_050.pb"}
SIZE_PX = 225  # the checkout takes sizes of 16 n + 1 only: the next one to 224
STRIDE_PX = 16
FRAMES, WARM_UP = 200, 10


@dataclass(frozen=True)
class Peer:
    """The checkout, the weights and the video of a measurement."""

    checkout: Path
    weights: Path
    video: Path

    size = f"{SIZE_PX}x{SIZE_PX}"

    @classmethod
    def of(cls, checkout: Path | None, model: str, video: Path) -> "Peer | str":
        """Return the peer, or the reason why it is not measured."""
        if checkout is None:
            return "not measured, no checkout was given: --posenet-python PATH (make bench: POSENET_PYTHON=PATH)"
        if not (checkout / "posenet" / "decode_multi.py").exists():
            return f"not measured, {checkout} is no checkout of it"
        if model not in WEIGHTS:
            return "not measured, there are no weights in its format"
        if not (DATA / WEIGHTS[model]).exists():
            return f"not measured, there is no {WEIGHTS[model]} in {DATA}"
        return cls(checkout.resolve(), (DATA / WEIGHTS[model]).resolve(), video)

    def cost_ms(self) -> tuple[float, float]:
        """Return the CPU and clock milliseconds per frame of one run of its loop, without its start."""
        arguments = [str(self.checkout), str(self.weights), str(self.video), str(FRAMES)]
        command = [sys.executable, "-m", "tests.benchmarks.posenet_python", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        frames, wall_s, cpu_s = map(float, done.stdout.split()[-3:])
        return 1e3 * cpu_s / frames, 1e3 * wall_s / frames


def main() -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    checkout, weights, video, frames = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    sys.path.insert(0, str(checkout))
    import cv2
    import tensorflow as tf

    decode = import_module("posenet.decode_multi").decode_multiple_poses
    prepare = import_module("posenet.utils")._process_input

    graph = tf.compat.v1.GraphDef()
    graph.ParseFromString(weights.read_bytes())
    names = [f"{name}:0" for name in ("heatmap", "offset_2", "displacement_fwd_2", "displacement_bwd_2")]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.import_graph_def(graph, name="")
        capture, done, begun, cpu_s = cv2.VideoCapture(video), 0, 0.0, 0.0
        while done < frames + WARM_UP:
            if done == WARM_UP:
                begun, cpu_s = time.perf_counter(), time.process_time()
            found, picture = capture.read()
            if not found:
                break
            tensor, _, scale = prepare(cv2.resize(picture, (SIZE_PX, SIZE_PX)))
            maps = session.run(names, feed_dict={"image:0": tensor})
            poses = decode(*(output.squeeze(axis=0) for output in maps), output_stride=STRIDE_PX, min_pose_score=0.15)
            poses[2][:] *= scale
            done += 1
        print(done - WARM_UP, time.perf_counter() - begun, time.process_time() - cpu_s)


if __name__ == "__main__":
    main()
