"""A round in a process of its own: in its own session, and no child of the process that started it.

Whatever kills that process, or its children, does not reach it. Its standard output is closed when the round is over.
"""

import os
import sys


def main(ahead_s: float) -> None:
    """Leave the parent, then run one round."""
    if os.fork():
        os._exit(0)
    from tasks.notify.round import run_round

    run_round(ahead_s)


if __name__ == "__main__":
    main(float(sys.argv[1]))
