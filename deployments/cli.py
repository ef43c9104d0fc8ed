"""The `nightjar` command. It reads arguments and prints answers; the work is in the flows.

Every import that costs time is inside its command, so that `nightjar --help` answers at once.
"""

import io
import sys

import click

from deployments.command_line import models, nights, rows, site, trial
from storage.private import be_private


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="nightjar")
def main() -> None:
    """Nightjar turns a video archive into SQL.

    \b
    nightjar convert movenet-multipose                   get a published model
    nightjar run /my/videos --model movenet-multipose    turn videos into rows
    nightjar sql "SELECT * FROM video_summary"           query the rows
    nightjar up --archive /my/videos --model movenet-multipose   run every night, and from Prefect's UI

    Settings are NIGHTJAR_… environment variables or lines of .env. All files are kept in ./.nightjar/ by default.
    """
    be_private()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal in Latin-1 cannot show every name
            stream.reconfigure(errors="backslashreplace")


for topic in (rows, models, nights, site, trial):
    for command in topic.group.commands.values():
        main.add_command(command)


if __name__ == "__main__":
    main()
