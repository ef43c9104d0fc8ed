"""Pauses between failed attempts. No SQL: edge workers import this."""

import time

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


def pause(failures: int) -> None:
    """Wait before the next attempt, longer after each consecutive failure: memory and disks need time to recover."""
    if failures:
        time.sleep(min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S))
