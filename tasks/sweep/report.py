"""Report of a sweep: repairs that were made, and what a person must look at."""

from dataclasses import dataclass, field


@dataclass
class Report:
    """Repairs and complaints of a sweep, one line each. dry: nothing is changed, "would" is said instead."""

    dry: bool = False
    done: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def did(self, line: str) -> None:
        self.done.append(f"would have {line}" if self.dry else line)

    def count(self, number: int, line: str) -> None:
        """Log `line` with its number, unless that is zero: 'freed {} segments'."""
        if number:
            self.did(line.format(number))
