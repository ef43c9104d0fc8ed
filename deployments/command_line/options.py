"""Options that several commands share, as decorators.

Options of a spec that a flow's form has, too, come from deployments/spec_options.py.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., None]], Callable[..., None]]

PATH = click.Path(path_type=Path)


def _together(*options: Decorator) -> Decorator:
    """Return a decorator that gives a command these options, in this order."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def format_option(*forms: str) -> Decorator:
    """Return the option --format, with the first form as its default."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="Output format.",
    )


spreadsheet_option = click.option(
    "--spreadsheet", is_flag=True, help="With --format csv: put an apostrophe before texts that look like formulas."
)


def listing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all listings, and pass them on as one Format."""

    @click.option("--wide", is_flag=True, help="Show all columns, not only those that fit 80 characters.")
    @format_option("table", "csv", "json")
    @spreadsheet_option
    @wraps(command)
    def run(*args: Any, wide: bool, form: Any, spreadsheet: bool, **kwargs: Any) -> None:
        from deployments.answers import Format

        command(*args, chosen=Format(form, wide, spreadsheet), **kwargs)

    return run


still_options = _together(
    click.argument("camera", metavar="CAMERA|VIDEO"),
    click.option("--at", "at_s", type=click.FloatRange(0), help="Second of the video.  [default: its middle]"),
    click.option("--output", type=PATH, help="File to write.  [default: a new one in the store of artifacts]"),
)

night_options = _together(
    click.option("--archive", help="Archive to process every night: a folder or s3://bucket/prefix."),
    click.option("--model", help="Model to run every night. Required with --archive."),
    click.option("--cron", help="Schedule of the nightly batch, in cron's format.  [default: 0 1 * * *]"),
    click.option("--timezone", help="Time zone of the schedule, such as Europe/Berlin.  [default: this machine's]"),
)

host_option = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. A password is required beyond loopback.",
)

marks_option = click.option(
    "--marks", is_flag=True, help="Let events be marked as right or wrong on the pages. Nothing else is ever written."
)

server_option = click.option(
    "--server",
    metavar="URL",
    help="Address of its UI or its API.  [default: PREFECT_API_URL, or that of 'nightjar up']",
)


def port_option(flag: str, default: int, help_text: str) -> Decorator:
    """Return an option for the port of a server that others find at a fixed address."""
    return click.option(flag, type=click.IntRange(1, 65535), default=default, show_default=True, help=help_text)


def fallback_option(help_text: str) -> Decorator:
    """Return the option --fallback of a process with a device."""
    return click.option(
        "--fallback", type=click.Choice(["cpu", "none"]), default="none", show_default=True, help=help_text
    )
