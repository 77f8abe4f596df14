"""How much later than on an idle machine everything may be, while a campaign runs on a busy one.

A factor above 1 stretches the gate's and the contract's time-outs, the bounds and all waiting.
What the gate does is judged all the same, how fast it does it is not: figures for that need 1.
"""

from __future__ import annotations

import os

PATIENCE_VARIABLE = "FAULT_CAMPAIGN_PATIENCE"
_GREATEST = 30.0  # beyond it candidate_timeout_s would leave its range


def patience() -> float:
    """Return the factor of this campaign, 1 to 30."""
    return min(_GREATEST, max(1.0, float(os.environ.get(PATIENCE_VARIABLE, "1"))))
