"""What is wrong with a robot contract: one fault, and the error that lists them all."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ERROR = "error"
WARNING = "warning"

# A contract can hold aliases that expand without end: what is shown of a value is bounded.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = _SHORT.maxdict = 6
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """Return a bounded, one-line rendering of a value for an error text."""
    return _SHORT.repr(value).replace("\n", " ")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean ...?" for the nearest known word, else an empty text."""
    near = difflib.get_close_matches(str(word), [str(k) for k in known], n=1)
    return f"did you mean {near[0]!r}?" if near else ""


@dataclass(frozen=True)
class ContractFault:
    """One thing wrong with a contract.

    Attributes:
        file: where the contract came from, as given by the caller.
        key: path of the key, as in `observations[0].align.method`; empty for the whole file.
        found: the value found, rendered; "nothing" where the key is missing.
        expected: what would have been right.
        hint: how to repair it; may be empty.
        severity: `error` (the contract is refused) or `warning`.
        line: line of the key in the file, from 1; None where unknown.
    """

    file: str
    key: str
    found: str
    expected: str
    hint: str = ""
    severity: str = ERROR
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line is not None else self.file
        key = f"{self.key}: " if self.key else ""
        hint = f" ({self.hint})" if self.hint else ""
        mark = "warning: " if self.severity == WARNING else ""
        return f"{where}: {mark}{key}found {self.found}, expected {self.expected}{hint}"


class ContractError(ValueError):
    """A contract that cannot be used; the text names every fault, one a line.

    Attributes:
        faults: the faults, in the order of the file.
    """

    def __init__(self, faults: Sequence[ContractFault]):
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self):
        """Rebuild from the faults, so that the error survives a process boundary."""
        return type(self), (self.faults,)


def file_error(
    file: str, found: str, expected: str, hint: str = "", line: int | None = None
) -> ContractError:
    """Error of one fault that is about a whole file; see `ContractFault`."""
    return ContractError([ContractFault(file, "", found, expected, hint, line=line)])
