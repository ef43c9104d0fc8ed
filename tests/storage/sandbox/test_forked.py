"""The forked children of other folders' tests behave like started ones."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.sandbox.parent import Sandbox, SandboxError, SandboxKilled
from tests.forked_sandboxes import Template
from tests.storage import sandboxed
from tests.storage.sandbox.test_parent import gone


@pytest.fixture(scope="module")
def template() -> Iterator[Template]:
    with Template("tests.storage.sandboxed") as template:
        yield template


@pytest.fixture(params=["started", "forked"])
def sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, template: Template) -> Iterator[Sandbox]:
    if request.param == "forked":
        monkeypatch.setattr(Sandbox, "start_process", staticmethod(template.start_process))
    with Sandbox(1 << 29, sandboxed.ENTRY_POINTS) as one:
        yield one


def test_a_child_has_this_process_folder_environment_umask_and_output(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTJAR_HOME", "a home")
    before = os.umask(0o027)
    try:
        seen = sandbox.call(sandboxed.surroundings, cpu_s=5)
    finally:
        os.umask(before)
    assert seen == {"folder": str(tmp_path), "umask": 0o027, "home": "a home", "path": os.environ["PATH"]}
    assert capfd.readouterr().out == "said by the child\n"


def test_one_child_serves_many_calls(sandbox: Sandbox) -> None:
    first = sandbox.call(sandboxed.own_pid, cpu_s=5)
    assert first not in (os.getpid(), None)
    assert (sandbox.call(sandboxed.own_pid, cpu_s=5), sandbox.pid) == (first, first)


def test_its_end_is_reported(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxKilled, match=r"was killed \(signal 15\)"):
        sandbox.call(sandboxed.raise_signal, signal.SIGTERM, cpu_s=5)
    with pytest.raises(SandboxError, match=r"crashed \(signal 11\)"):
        sandbox.call(sandboxed.crash, cpu_s=5)
    with pytest.raises(SandboxError, match=r"ended by itself \(exit code 3\)"):
        sandbox.call(sandboxed.leave, cpu_s=5)
    assert sandbox.call(sandboxed.echo, "well", cpu_s=5) == "well"


def test_its_limits_hold(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match=r"took more than 0\.5 GB of memory"):
        sandbox.call(sandboxed.eat_memory, cpu_s=60)
    with pytest.raises(SandboxError, match=r"took more than 0\.1 s of CPU"):
        sandbox.call(sandboxed.spin, cpu_s=0.1)


def test_a_closed_sandbox_leaves_no_process(sandbox: Sandbox) -> None:
    pid = sandbox.call(sandboxed.own_pid, cpu_s=5)
    sandbox.close()
    assert gone(pid)
