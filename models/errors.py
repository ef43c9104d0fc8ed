"""Base of the errors that users can repair. No numpy, so that `nightjar --help` answers at once."""

from models.text import visible


class NightjarError(Exception):
    """A fault that a user can repair: its text says what happened and what to do. Shown without a traceback.

    The text may contain names from outside, so it is shown as one line of visible characters.
    """

    def __str__(self) -> str:
        return visible(super().__str__())


class ConversionError(NightjarError):
    """The model cannot be converted, or must not be used. Here, so that catching it loads no TensorFlow."""


class ErrorWithRemedy(NightjarError):
    """A fault in two sentences, each with its full stop.

    happened: what happened, with the expected value where values are compared
    remedy: an imperative that repairs it
    """

    def __init__(self, happened: str, remedy: str) -> None:
        super().__init__(happened, remedy)
        self.happened, self.remedy = happened, remedy

    def __str__(self) -> str:
        return visible(f"{self.happened} {self.remedy}")
