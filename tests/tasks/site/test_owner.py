"""An owner is a process; a later one with the same number is another owner."""

import os
import subprocess
import sys

from tasks.site.owner import is_dead, this_owner


def test_this_process_is_alive() -> None:
    assert this_owner() == this_owner()
    assert not is_dead(this_owner())


def test_a_process_that_ended_is_dead() -> None:
    code = "from tasks.site.owner import this_owner; print(this_owner())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert is_dead(done.stdout.strip())


def test_the_same_pid_at_another_start_time_is_another_process() -> None:
    host, pid, started = this_owner().rsplit(":", 2)
    assert pid == str(os.getpid())
    assert is_dead(f"{host}:{pid}:{int(started) - 100}")


def test_processes_of_other_machines_are_unknown() -> None:
    assert not is_dead("other-pi-b827eb112233:1:1")
    assert not is_dead("nonsense")
