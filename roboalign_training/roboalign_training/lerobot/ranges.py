"""What the vectors of all imported episodes reach over: what never changes teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.keys import ACTION


@dataclass
class Ranges:
    """Least and greatest value of every dimension over the episodes that came in."""

    least: dict[str, np.ndarray] = field(default_factory=dict)
    most: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, values: dict[str, np.ndarray]) -> None:
        """Takes in the vectors of an episode, (N, D) by contract key."""
        for key, rows in values.items():
            least, most = rows.min(axis=0), rows.max(axis=0)
            self.least[key] = np.minimum(self.least.get(key, least), least)
            self.most[key] = np.maximum(self.most.get(key, most), most)

    def notes(self, contract: Contract) -> list[str]:
        """Says which dimensions never change: nothing can be learned of them."""
        names = {s.key: s.names for s in contract.states} | {ACTION: contract.action.names}
        found = []
        for key, least in self.least.items():
            still = [names[key][d] for d in np.flatnonzero(least == self.most[key])]
            if len(still) == len(names[key]):
                what = "the arm is never told to move" if key == ACTION else "it never changes"
                found.append(f"{key}: {what}: constant in all episodes ({', '.join(still)})")
            elif still:
                found.append(f"{key}: constant in all episodes: {', '.join(still)}")
        return found
