"""Unique names of this machine and of this process, which differ from other processes with the same number."""

import platform
import uuid

import psutil

TAG = "nightjar"  # of all Nightjar runs in Prefect, set by deployments and commands
PROCESS = "process "  # a command's run is tagged `process host-address:process:start`, for the sweep


def this_owner() -> str:
    """Return host-address:process:start, as in `pi-4-b827eb112233:4711:1795402800`."""
    process = psutil.Process()
    return f"{host_name()}:{process.pid}:{int(process.create_time())}"


def is_dead(owner: str) -> bool:
    """Return True if the owner was a process of this machine and has ended; False for other machines."""
    host, _, rest = owner.partition(":")
    pid, _, started = rest.partition(":")
    if host != host_name() or not (pid.isdigit() and started.isdigit()):
        return False
    try:
        return int(psutil.Process(int(pid)).create_time()) != int(started)
    except psutil.NoSuchProcess:
        return True


def host_name() -> str:
    """Return a name unique to this machine: Raspberry Pis are often cloned, host name included."""
    return f"{platform.node()}-{uuid.getnode():012x}"
