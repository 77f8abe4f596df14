"""The automaton of one action chunk: which FAST token may come next so that the chunk decodes."""

from __future__ import annotations

import numpy as np

from roboalign_policy.fast.dct import check_size
from roboalign_policy.fast.errors import GrammarError


class ActionGrammar:
    """Which FAST tokens may come next while a chunk is written.

    Tokens of length 0 (parts of a character) are never allowed. A state is the number of
    coefficients still missing; it is entered only if some sequence of tokens fills it exactly,
    found by dynamic programming from the end, so generation can never get stuck.

    Args:
        token_lengths: Integers (V,), coefficients of each token, 0 for tokens that are no whole
            number of coefficients (`FastTokenizer.token_lengths`).
        horizon: Steps of a chunk.
        dims: Dimensions of a step.

    Raises:
        GrammarError: No sequence of tokens fills horizon x dims exactly, or bad lengths.
    """

    def __init__(self, token_lengths: np.ndarray, horizon: int, dims: int) -> None:
        lengths = np.asarray(token_lengths)
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
            raise GrammarError(
                f"token_lengths are {lengths.dtype} of shape {lengths.shape}, expected (V,)"
                " integers of at least 0"
            )
        self.lengths = lengths.astype(np.int64)
        self.lengths.setflags(write=False)
        self.total = check_size(horizon, "horizon") * check_size(dims, "dims")
        steps = np.unique(self.lengths[(self.lengths > 0) & (self.lengths <= self.total)])
        self._reachable = np.zeros(self.total + 1, dtype=bool)
        self._reachable[0] = True
        for remaining in range(1, self.total + 1):
            self._reachable[remaining] = self._reachable[
                remaining - steps[: np.searchsorted(steps, remaining, side="right")]
            ].any()
        if not self._reachable[self.total]:
            raise GrammarError(
                f"no sequence of tokens has exactly {self.total} coefficients (horizon {horizon}"
                f" x dims {dims}); token lengths are {steps.tolist()}"
            )
        self._masks: dict[int, np.ndarray] = {}

    def allowed(self, remaining: int) -> np.ndarray:
        """Mask (V,) bool, read-only, of the tokens that may come when `remaining` are missing.

        All False at 0: the chunk is full. Computed once for each `remaining`.

        Raises:
            GrammarError: `remaining` is not a state that `advance` leads to.
        """
        mask = self._masks.get(remaining)
        if mask is None:
            if not 0 <= remaining <= self.total or not self._reachable[remaining]:
                raise GrammarError(f"{remaining} missing of {self.total} cannot be completed")
            mask = (self.lengths > 0) & (self.lengths <= remaining)
            mask &= self._reachable[np.where(mask, remaining - self.lengths, 0)]
            mask.setflags(write=False)
            self._masks[remaining] = mask
        return mask

    def advance(self, remaining: int, token: int) -> int:
        """How many coefficients are missing after `token`.

        Raises:
            GrammarError: The token is not allowed here.
        """
        if not 0 <= token < len(self.lengths) or not self.allowed(remaining)[token]:
            raise GrammarError(f"FAST token {token} is not allowed with {remaining} missing")
        return remaining - int(self.lengths[token])
