"""The typed errors of the FAST tokenizer and its grammars; every one is a `ValueError`."""

from __future__ import annotations


class FastError(ValueError):
    """Base of everything the FAST package raises about its input.

    Attributes:
        chunk: Index of the offending chunk in the batch; None where no single one is at fault.
    """

    def __init__(self, message: str, *, chunk: int | None = None) -> None:
        super().__init__(message if chunk is None else f"chunk {chunk}: {message}")
        self.chunk = chunk


class FastFormatError(FastError):
    """A tokenizer folder is incomplete, malformed or of a kind that is not FAST."""


class FitError(FastError):
    """A tokenizer cannot be fitted with these chunks and options."""


class ActionInputError(FastError):
    """Actions have the wrong type, dtype or number of axes."""


class EmptyInputError(FastError):
    """No chunk, no step, no dimension or no token was given."""


class NonFiniteActionError(FastError):
    """Actions hold NaN or infinity."""


class CoefficientRangeError(FastError):
    """A quantised DCT coefficient lies outside what the tokenizer represents without loss."""


class TokenLayoutError(FastError):
    """Tokens are not a list of lists of integers (for instance one flat list of ids)."""


class UnknownTokenError(FastError):
    """A token id is not in the vocabulary."""


class UndecodableTokensError(FastError):
    """Tokens do not join to whole coefficients (dangling or invalid UTF-8 bytes)."""


class CoefficientCountError(FastError):
    """A token sequence holds more or fewer coefficients than horizon x dims.

    Attributes:
        expected: horizon x dims.
        found: Coefficients in the sequence.
    """

    def __init__(
        self, message: str, *, expected: int, found: int, chunk: int | None = None
    ) -> None:
        super().__init__(message, chunk=chunk)
        self.expected = expected
        self.found = found


class GrammarError(FastError):
    """A grammar cannot be built, or a token was offered that it does not allow."""
