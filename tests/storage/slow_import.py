"""A module for test_parent.py whose import takes half a second of CPU in a sandbox's child."""

import sys
import time

if "tests.storage.sandbox.test_parent" not in sys.modules:
    _until = time.process_time() + 0.5
    while time.process_time() < _until:
        pass


def echo(value: object) -> object:
    return value
