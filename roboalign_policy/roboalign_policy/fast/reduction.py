"""The first BPE merges done by numpy: runs of the commonest coefficient and two-byte characters.

Most coefficients of smooth motion are 0, and the first merges a FAST vocabulary learns build
powers of two of it: 00, 0000, ... BPE applies merges in the order of their rank, so a run of n
zeros is known to become as many of the largest power as fit and then one token for each set bit of
the rest, before any other merge looks at it. The two bytes of a character are known to join when
no other merge wants either of them. `Reduction.prove` checks that a vocabulary is so, gives each
such token one symbol, and renames the vocabulary and the remaining merges to the symbols: the BPE
then starts from a text several times shorter and gives the same ids.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from roboalign_policy.fast.vocabulary import byte_characters

# Private-use characters stand for tokens: powers of the run, its single joined with the lead byte
# of the next character, and two-byte characters by their code.
_POWER, _JOINED, _CHARACTER = 0xE000, 0xE020, 0xE100
_MAX_POWERS = 0x20
_CODES = np.arange(0x800)
_BYTES = np.array([ord(character) for character in byte_characters()], dtype="<u4")
# The two bytes of each code below 0x800, as the characters ByteLevel writes for them.
LEADS, TRAILS = _BYTES[0xC0 | _CODES >> 6], _BYTES[0x80 | _CODES & 0x3F]
_LEAD_SET = frozenset(map(chr, LEADS[0x80:]))
_TRAIL_SET = frozenset(map(chr, TRAILS))
_HIGH_SET = frozenset(map(chr, _BYTES[0x80:]))


class Reduction:
    """Rows of code points to strings of symbols, and the BPE over those symbols.

    Attributes:
        vocab: Symbol strings to ids; the ids of the original vocabulary.
        merges: The merges that remain, in order.
    """

    def __init__(
        self, run: str, powers: int, lead: str | None, characters: frozenset[str] | None
    ) -> None:
        self.vocab: dict[str, int] = {}
        self.merges: list[tuple[str, str]] = []
        self._powers = powers
        self._zero = _code(run)
        self._bytes = characters is not None
        single = np.array([self._bytes and chr(a) + chr(b) in characters for a, b in _pairs()])
        self._single = single | (not self._bytes)
        self._symbols = np.where(single, _CHARACTER + _CODES, LEADS).astype("<u4")
        self._wanted = np.zeros(0x800, bool) if lead is None else LEADS == ord(lead)

    @classmethod
    def prove(cls, model: dict, layout: str) -> Reduction | None:
        """The reduction of a vocabulary, or None where its conditions do not hold.

        Args:
            model: The `model` object of tokenizer.json.
            layout: "bytes" or "characters".
        """
        merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
        # A token made by two different merges would need two names.
        if not merges or len({a + b for a, b in merges}) < len(merges):
            return None
        run, rank = merges[0][0], 0
        if layout == "bytes":
            run, rank = "".join(merges[0]), 1
            if merges[0][0] not in _LEAD_SET or merges[0][1] not in _TRAIL_SET:
                return None
        powers = [run]
        while rank < len(merges) and merges[rank] == (powers[-1], powers[-1]):
            powers.append(powers[-1] * 2)
            rank += 1
        if len(powers) < 2 or len(powers) > _MAX_POWERS:
            return None
        lead = None
        joins = layout == "bytes" and rank < len(merges) and merges[rank][0] == run
        if joins and merges[rank][1] in _LEAD_SET:
            lead = merges[rank][1]
            rank += 1
        characters = None
        if layout == "bytes":
            if not _bytes_meet_their_own(merges[rank:], None if lead is None else run + lead):
                return None
            characters = frozenset(a + b for a, b in merges[rank:] if a in _LEAD_SET)
        reduction = cls(run, len(powers), lead, characters)
        reduction._rename(model["vocab"], merges[rank:], powers, lead)
        return reduction if len(reduction.vocab) == len(model["vocab"]) else None

    def rows(self, codes: np.ndarray) -> list[str]:
        """The symbols of each row.

        Args:
            codes: int64 (N, L); in the "bytes" layout all within 0x80..0x7FF.

        Returns:
            N strings.
        """
        width = codes.shape[1]
        zero = codes == self._zero
        edges = np.zeros((len(codes), width + 2), dtype=np.int8)
        edges[:, 1:-1] = zero
        # One column more than codes: its index less its row is the index into the flat codes.
        steps = np.diff(edges, axis=1).ravel()
        begin, end = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
        row = begin // (width + 1)
        begin, end = begin - row, end - row
        spelled, sizes, starts, odd = _runs(width, self._powers)
        run = end - begin
        zero, flat = zero.ravel(), codes.ravel()
        if self._bytes:
            symbols, single = self._symbols[flat], self._single[flat]
            follows = odd[run] & (end < (row + 1) * width)
            joined = end[follows]
            joined = joined[self._wanted[flat[joined]]]
            # Its lead byte goes to the run before it; the trailing byte is what is left.
            symbols[joined], single[joined] = TRAILS[flat[joined]], True
            counts = np.where(zero, 0, 2 - single.astype(np.int64))
        else:
            symbols, joined = flat.astype("<u4"), np.zeros(0, dtype=np.int64)
            counts = 1 - zero.astype(np.int64)
        counts[begin] = sizes[run]
        stops = np.cumsum(counts)
        offsets = stops - counts
        out = np.empty(int(stops[-1]), dtype="<u4")
        rest = np.flatnonzero(~zero)
        out[offsets[rest]] = symbols[rest]
        if self._bytes:
            pairs = rest[counts[rest] == 2]
            out[offsets[pairs] + 1] = TRAILS[flat[pairs]]
        length = sizes[run]
        before = np.cumsum(length) - length
        count = np.arange(int(length.sum()))
        out[np.repeat(offsets[begin] - before, length) + count] = spelled[
            np.repeat(starts[run] - before, length) + count
        ]
        out[offsets[joined] - 1] = _JOINED
        text = out.tobytes().decode("utf-32-le")
        cuts = [0, *stops[width - 1 :: width].tolist()]
        return [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]

    def _rename(
        self, vocab: dict[str, int], merges: list, powers: list[str], lead: str | None
    ) -> None:
        names = {token: token for token in vocab if len(token) == 1}
        names.update({power: chr(_POWER + i) for i, power in enumerate(powers)})
        if lead is not None:
            names[powers[0] + lead] = chr(_JOINED)
        for left, right in merges:
            if self._bytes and left in _LEAD_SET:
                names[left + right] = chr(_CHARACTER + _code(left + right))
            elif left in names and right in names:
                names[left + right] = names[left] + names[right]
                self.merges.append((names[left], names[right]))
        self.vocab = {names[token]: i for token, i in vocab.items() if token in names}


def _bytes_meet_their_own(merges: list[tuple[str, str]], joined: str | None) -> bool:
    """Whether a lead and a trailing byte join each other and nothing else can take one of them.

    Args:
        merges: Merges after the run's.
        joined: The run's single with the lead byte of the next character, where that is a merge.
    """
    dangling = {joined}  # tokens that end in that lead byte and wait for its other half
    for left, right in merges:
        if left in _LEAD_SET and right in _TRAIL_SET:
            continue
        if left in dangling:
            if right not in _TRAIL_SET:
                return False
        elif left in _HIGH_SET or right in _HIGH_SET:
            return False
        elif right in dangling:
            dangling.add(left + right)
    return True


def _pairs() -> zip:
    return zip(LEADS.tolist(), TRAILS.tolist(), strict=True)


def _code(text: str) -> int:
    """The code of one character; of the character that a lead and a trailing byte spell."""
    if len(text) == 1:
        return ord(text)
    lead, trail = (byte_characters().index(character) for character in text)
    return (lead & 0x1F) << 6 | trail & 0x3F


@lru_cache(maxsize=8)
def _runs(longest: int, powers: int) -> tuple[np.ndarray, ...]:
    """Spelling of runs of 0..longest: symbols, count and start of each, whether it is odd."""
    rows = [
        [_POWER + powers - 1] * (n >> powers - 1)
        + [_POWER + bit for bit in range(powers - 2, -1, -1) if n >> bit & 1]
        for n in range(longest + 1)
    ]
    sizes = np.array([len(row) for row in rows])
    spelled = np.array([symbol for row in rows for symbol in row], dtype="<u4")
    return spelled, sizes, np.cumsum(sizes) - sizes, np.arange(longest + 1) % 2 == 1
