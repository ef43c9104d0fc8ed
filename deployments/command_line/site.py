"""Commands about cameras, zones, rules and events: the site file and what was found with it."""

import sys
from pathlib import Path
from typing import Any

import click

from deployments.command_line.errors import plain_errors
from deployments.command_line.options import listing_options, still_options

group = click.Group()


@group.command()
@click.option("--since", metavar="DAY", help="Only events that begin on this day or later: 2026-11-23.")
@click.option("--camera", help="Only events of this camera.")
@click.option("--rule", help="Only events of this rule: a name from 'nightjar rules'.")
@listing_options
@plain_errors
def events(since: str | None, camera: str | None, rule: str | None, chosen: Any) -> None:
    """List the events, the latest first: intervals in which a rule held.

    Events of videos without a clock come last. --since leaves them out.
    """
    from deployments.commands import list_events

    list_events(since or "", camera, rule, chosen)


@group.group(invoke_without_command=True)
@listing_options
@click.pass_context
@plain_errors
def rules(context: click.Context, chosen: Any) -> None:
    """List the rules, with the settings of the site file: name, meaning, condition, severity."""
    if context.invoked_subcommand is None:
        from deployments.commands import list_rules

        list_rules(chosen)


@rules.command(name="check")
@plain_errors
def check_rules() -> None:
    """Check the rules of the site file: their settings, and their conditions against the columns of their rows."""
    from deployments.commands import check_rules

    check_rules()


@group.group()
def zones() -> None:
    """List, show or draw the zones of the cameras: areas and lines of [[zones]] in the site file."""


@zones.command(name="list")
@click.argument("camera", required=False)
@listing_options
@plain_errors
def list_zones(camera: str | None, chosen: Any) -> None:
    """List the zones of the site file, of all cameras or of CAMERA."""
    from deployments.commands import list_zones

    list_zones(camera, chosen)


@zones.command(name="show")
@still_options
@plain_errors
def show_zones(camera: str, at_s: float | None, output: Path | None) -> None:
    """Draw the zones on a frame of the camera's newest video, or of VIDEO, and print the picture's path."""
    from deployments.commands import print_zone_picture

    print_zone_picture(camera, at_s, output)


@zones.command(name="draw")
@still_options
@plain_errors
def draw_zones(camera: str, at_s: float | None, output: Path | None) -> None:
    """Write a page to draw the camera's zones on a frame of its newest video, and print its path.

    Open the page in a browser. It works offline, and shows the text for the site file.
    """
    from deployments.commands import print_drawing_page

    print_drawing_page(camera, at_s, output)


@group.group()
def site() -> None:
    """Cameras, clocks, zones and rules: the site file nightjar.toml."""


@site.command(name="check")
@click.argument("archive", required=False)
@plain_errors
def check_site(archive: str | None) -> None:
    """Check the site file, and show which camera and time it gives to the files of ARCHIVE, or of all known ones.

    ARCHIVE may be new. Nothing is changed.
    """
    from deployments.commands import check_site_file

    sys.exit(check_site_file(archive))
