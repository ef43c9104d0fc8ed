"""The generated parts of the documents, written by `make docs`.

The sources are the `nightjar` command line, the class Settings, the titles of the decisions, the figures of the
published models in models/data/reference.json, and the layouts of recorders. Everything outside the two markers in
these documents is written by hand.
"""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployments.answers import three_digits
from deployments.cli import main as nightjar
from models.evaluation.reference import advice, read_reference
from tasks.site.settings import Settings
from tasks.site_file.layouts import LAYOUTS, LOCAL, Layout

FOLDER = Path(__file__).parents[1] / "docs"
BEGIN = "<!-- generated from the code by 'make docs' -->"
END = "<!-- end of the generated part -->"

GROUPS = {
    "Videos to rows": (
        "run",
        "videos",
        "recordings",
        "browse",
        "sql",
        "overlay",
        "tracks",
        "analyze",
        "batches",
        "quarantine",
    ),
    "Models": (
        "convert",
        "models",
        "benchmark",
        "evaluate",
        "evaluate-tracks",
        "quantize",
        "finetune",
        "compare",
        "intervals",
    ),
    "Every night and fleets": ("up", "deploy", "worker", "edge-gate", "sweep", "notify"),
    "Cameras, zones and events": ("site", "zones", "rules", "events"),
    "Trying it out": ("demo", "train-demo", "doctor"),
}
_DEFAULT = re.compile(r"\s*\[default: (.*)\]$")
_PLACEHOLDERS = {"integer": "N", "integer range": "N", "float": "X", "float range": "X"}
_GIB = 2**30


def cli_reference() -> str:
    """Return a section for each command: usage, description, and a table of its options."""
    parts = []
    for title, names in GROUPS.items():
        parts.append(f"## {title}")
        parts.extend(_command(name, command) for name, command in commands_of(names))
    return "\n\n".join(parts)


def commands_of(names: Iterable[str]) -> Iterator[tuple[str, click.Command]]:
    """Yield commands with their names; for a group, such as `zones`, those in it."""
    for name in names:
        command = nightjar.commands[name]
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in command.commands.items())


def settings_reference() -> str:
    """Return a table of all settings: variable, values, default, meaning."""
    rows = (_setting(name, field) for name, field in Settings.model_fields.items())
    return _table(("variable", "values", "default", "meaning"), rows)


def decisions_index() -> str:
    """Return a list of the decisions by number, each with a link."""
    pages = sorted((FOLDER / "decisions").glob("[0-9]*.md"))
    titles = (page.read_text().partition("\n")[0].partition(": ")[2] for page in pages)
    return "\n".join(f"- {page.name[:3]}: [{title}]({page.name})" for page, title in zip(pages, titles, strict=True))


def layouts_reference() -> str:
    """Return a table of the recorders' layouts that the site file knows by name."""
    rows = ((f"`{name}`", layout.devices, f"`{layout.example}`", *_layout(layout)) for name, layout in LAYOUTS.items())
    return _table(("layout", "device or program", "example", "camera in the path", "times in"), rows)


def _layout(layout: Layout) -> tuple[str, str]:
    first = layout.times[0]
    in_path = all("{camera}" in time.pattern for time in layout.times)
    written = "local time" if first.time_zone == LOCAL else first.time_zone
    return "yes" if in_path else "no", written if first.is_ == "start" else f"{written}, of the end"


MODEL_COLUMNS = {
    "model": "model",
    "size": "size",
    "ap": "AP",
    "mean_oks": "mean OKS",
    "single_mean_oks": "one person: mean OKS",
    "frames_per_s": "frames/s",
    "cpu_ms": "CPU ms per frame",
    "purpose": "recommended for",
}


def models_reference() -> str:
    """Return a table of the published models' accuracy and cost, its protocol, and the recommended models."""
    found = read_reference()
    rows = (tuple(_figure(getattr(model, name)) for name in MODEL_COLUMNS) for model in found.models)
    return "\n\n".join([_table(tuple(MODEL_COLUMNS.values()), rows), *_wrapped([*advice(), found.protocol])])


def _figure(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.3f}" if value < 1 else three_digits(value)


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [textwrap.fill(re.sub(r"'(nightjar [^']*)'", r"`\1`", sentence), 120) for sentence in sentences]


def with_reference(document: str, reference: str) -> str:
    """Return the document with its generated part replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"The document has no {BEGIN!r} followed by {END!r}. Add the two markers.")
    return f"{before}{BEGIN}\n\n{reference}\n\n{END}{after}"


DOCUMENTS: MappingProxyType[str, Callable[[], str]] = MappingProxyType(
    {
        "cli.md": cli_reference,
        "settings.md": settings_reference,
        "decisions/README.md": decisions_index,
        "models.md": models_reference,
        "../README.md": models_reference,
        "site.md": layouts_reference,
    }
)


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"nightjar {name}")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"### nightjar {name}", f"```\n{usage}\n```", "\n\n".join(_paragraphs(command.help or ""))]
    options = [option for option in command.params if isinstance(option, click.Option)]
    if options:
        parts.append(_table(("option", "values", "default", "meaning"), map(_option, options)))
    return "\n\n".join(parts)


def _paragraphs(text: str) -> list[str]:
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _option(option: click.Option) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    meaning, default = _without_default(option.help or "")
    if option.required:
        default = "required"
    elif isinstance(option.show_default, str):
        default = option.show_default
    elif not default and not option.is_flag and isinstance(option.default, str | int | float):
        default = f"`{option.default}`"
    return names, "" if option.is_flag else _values(option), default, meaning


def _values(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    placeholder = option.metavar or _PLACEHOLDERS.get(option.type.name, option.type.name.upper())
    shown = f"`{placeholder}`"
    if isinstance(option.type, click.IntRange | click.FloatRange):
        kind = option.type
        shown += _bounds(kind.min, kind.max, above=kind.min_open, below=kind.max_open)
    return f"{shown}, repeatable" if option.multiple else shown


def _bounds(low: float | None, high: float | None, *, above: bool = False, below: bool = False) -> str:
    if low is not None and high is not None and not above and not below:
        return f", {low:,} to {high:,}"
    ends = []
    if low is not None:
        ends.append(f"{'above' if above else 'at least'} {low:,}")
    if high is not None:
        ends.append(f"{'below' if below else 'at most'} {high:,}")
    return "".join(f", {end}" for end in ends)


def _setting(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    meaning, default = _without_default(field.description or "")
    if not default and field.default not in (None, "", PydanticUndefined):
        default = f"{field.default // _GIB} GiB" if name.endswith("_bytes") else f"`{field.default}`"
    return f"`NIGHTJAR_{name.upper()}`", _setting_values(field), default, meaning


def _setting_values(field: FieldInfo) -> str:
    """Return the choices or bounds of a setting; '' for texts, paths and addresses."""
    if field.annotation is bool:
        return "`true`, `false`"
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if field.annotation is not int:
        return ""
    limits: dict[str, int] = {}
    for bound in field.metadata:
        limits |= asdict(bound)
    return "`N`" + _bounds(limits.get("gt", limits.get("ge")), limits.get("le"), above="gt" in limits)


def _without_default(text: str) -> tuple[str, str]:
    """Split the text from the default in brackets at its end; '' without one."""
    found = _DEFAULT.search(text)
    return (text[: found.start()], found[1]) if found else (text, "")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main() -> None:
    """Write the generated parts of the documents."""
    for name, reference in DOCUMENTS.items():
        path = FOLDER / name
        path.write_text(with_reference(path.read_text(), reference()))


if __name__ == "__main__":
    main()
