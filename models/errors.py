"""Base of the errors that users can repair. No numpy, so that `nightjar --help` answers at once."""

from models.text import visible


class NightjarError(Exception):
    """A fault that a user can repair: its text says what happened and what to do. Shown without a traceback.

    It may hold names from outside, so that its text is one line of visible signs.
    """

    def __str__(self) -> str:
        return visible(super().__str__())
