"""`nightjar sweep`: prints what the sweep did and found. Imported by the command, never by `--help`."""

import sys

from tasks.site.settings import prepare_prefect, read_settings
from tasks.sweep.sweep import Options, sweep
from tasks.text.log_lines import print_line


def run_sweep(dry_run: bool, verify: bool, expect_within: float | None, second_look_s: float) -> int:
    """0; 1 when something is wrong that a person must look at."""
    settings = read_settings()
    prepare_prefect(settings)
    report = sweep(settings, Options(dry_run, verify, expect_within, second_look_s))
    for line in report.done:
        print_line(line)
    for line in report.wrong:
        print_line(f"WRONG {line}", sys.stderr)
    return 1 if report.wrong else 0
