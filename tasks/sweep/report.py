"""Report of a sweep: repairs that were made, and problems that need attention."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """Repairs and problems of a sweep, one line each. dry: nothing is changed, repairs are only announced"""

    dry: bool = False
    done: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def did(self, line: str) -> None:
        self.done.append(f"would have {line}" if self.dry else line)

    def count(self, number: int, line: str) -> None:
        """Report `line` with its number, unless that is zero: 'freed {} segments'."""
        if number:
            self.did(line.format(number))
