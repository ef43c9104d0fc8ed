"""Values that Prefect passes on to tasks whole. No Prefect: commands that need no run use the same values."""

from typing import TypeVar

T = TypeVar("T")


def not_traversed(made: type[T]) -> type[T]:
    """Let Prefect pass on the objects of a dataclass without traversing them.

    Prefect visits all fields of a dataclass, with nested lists and dicts, several times per task, which takes minutes
    for the files of a large archive. It recognises a dataclass by this attribute, which the class no longer needs.
    """
    del made.__dataclass_fields__  # type: ignore[attr-defined]
    return made
