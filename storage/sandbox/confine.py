"""Permanently deny this process writes outside of some folders, and network connections.

Uses Linux's Landlock (kernel 5.13 and newer), which needs no privilege. Of other threads only those that begin later
are confined too, so call it before an untrusted library starts threads.
Constants: include/uapi/linux/landlock.h.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # system calls, the same on x86-64 and ARM
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH, _PR_SET_NO_NEW_PRIVS = 1, 1, 38
_WRITE_FILE = 1 << 1
_CHANGE_FOLDERS = sum(1 << bit for bit in range(4, 13))  # remove and make files, folders, links, sockets, devices
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # since the versions 2 and 3
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1  # since version 4
_DEVICES = ("/dev/null", "/dev/zero", "/dev/tty")  # devices that libraries commonly write to


def confine_writes(folders: Iterable[Path]) -> bool:
    """Confine this process's writes to `folders` and below. Returns False where the kernel cannot confine it.

    Raises OSError where the kernel could but refuses.
    """
    version = _call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION, may_fail=True)
    if version < 1:
        return False
    rights = _WRITE_FILE | _CHANGE_FOLDERS | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    network = _BIND_TCP | _CONNECT_TCP if version >= 4 else 0
    handled = struct.pack("=QQ", rights, network) if version >= 4 else struct.pack("=Q", rights)
    ruleset = _call(_CREATE_RULESET, handled, len(handled), 0)
    try:
        for folder in folders:
            _allow(ruleset, folder, rights)
        for device in map(Path, _DEVICES):
            if device.exists():
                _allow(ruleset, device, rights if device.is_dir() else _WRITE_FILE | (rights & _TRUNCATE))
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "This process cannot give up its privileges")
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object, may_fail: bool = False) -> int:
    result: int = ctypes.CDLL(None, use_errno=True).syscall(number, *arguments)
    if result < 0 and not may_fail:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result
