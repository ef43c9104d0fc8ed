"""Errors of a command as one line each, without a traceback."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from models.errors import NightjarError

INTERRUPTED = 130  # as shells report Ctrl-C
# Missing in an edge worker's environment: only the central machine converts models and queries the database.
CENTRAL_ONLY = (
    "tensorflow",
    "tensorflowjs",
    "keras",
    "psycopg",
    "nncf",
    "scipy",
    "pycocotools",
    "matplotlib",
    "sklearn",
    "duckdb",
    "sqlglot",
)


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Print one line instead of a traceback for errors that the user can repair."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except NightjarError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as interrupt:
            click.echo(str(interrupt) or "Cancelled.", err=True)
            sys.exit(INTERRUPTED)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in CENTRAL_ONLY:
                raise
            raise click.ClickException(_missing_package(str(error.name))) from error
        except BrokenPipeError:
            raise  # click ends the command quietly: the reader has closed the pipe
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(
                f"{error.strerror}: {os.fspath(error.filename)!r}. Give another path."
            ) from error

    return run


def _missing_package(package: str) -> str:
    return (
        f"{package} is not installed, because this is the environment of an edge worker. Run this command on the "
        "central machine. Run 'nightjar worker' or 'nightjar doctor' here."
    )
