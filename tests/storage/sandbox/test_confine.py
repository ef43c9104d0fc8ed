"""A process that confined itself can write below its folder only and cannot open connections."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAD = """
import os, socket, sys, threading
from pathlib import Path
from storage.sandbox.confine import confine_writes
inside, outside = Path(sys.argv[1]), Path(sys.argv[2])
if not confine_writes([inside]):
    sys.exit(77)
"""
ATTEMPTS = """
def attempt(function):
    try:
        function()
    except OSError as error:
        return
    print("not refused:", function.__code__.co_consts, function.__code__.co_names)

def all_of_it():
    attempt(lambda: (outside / "new").write_text("x"))
    attempt(lambda: (outside / "kept").open("w"))
    attempt(lambda: (outside / "kept").open("a"))
    attempt(lambda: os.truncate(outside / "kept", 0))
    attempt(lambda: (outside / "kept").unlink())
    attempt(lambda: (outside / "kept").rename(inside / "stolen"))
    attempt(lambda: (outside / "folder").mkdir())
    attempt(lambda: (outside / "link").symlink_to("kept"))
    attempt(lambda: os.link(inside / "own", outside / "hard"))
    attempt(lambda: (inside / "way_out" / "new").write_text("x"))
    attempt(lambda: os.mkfifo(outside / "pipe"))
    attempt(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3])), 2))

(inside / "own").write_text("x")
(inside / "way_out").symlink_to(outside)
(inside / "deep").mkdir()
(inside / "deep" / "own").write_text("x")
all_of_it()
later = threading.Thread(target=all_of_it)
later.start()
later.join()
print((outside / "kept").read_text())
"""
TENSORFLOW = """
import tempfile
tempfile.tempdir = str(inside)  # TensorFlow makes a temporary folder as it is imported
from models.heavy.tensorflow import tf
tf.raw_ops.WriteFile(filename=str(inside / "ours"), contents="x")
for write in (
    lambda: tf.raw_ops.WriteFile(filename=str(outside / "new"), contents="x"),
    lambda: tf.raw_ops.SaveV2(prefix=str(outside / "kept"), tensor_names=["x"], shape_and_slices=[""], tensors=[[1.0]]),
):
    try:
        write()
        print("not refused")
    except tf.errors.OpError:
        pass
"""


def confined(program: str, tmp_path: Path, port: int = 9) -> str:
    """Return the program's output; afterwards `outside` is unchanged."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    arguments = [sys.executable, "-c", HEAD + program, str(inside), str(outside), str(port)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no Landlock")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    return done.stdout


def test_later_threads_cannot_change_anything_outside(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        assert confined(ATTEMPTS, tmp_path, server.getsockname()[1]) == "kept\n"


def test_tensorflows_own_threads_are_confined(tmp_path: Path) -> None:
    assert confined(TENSORFLOW, tmp_path) == ""
    assert (tmp_path / "inside/ours").exists()
