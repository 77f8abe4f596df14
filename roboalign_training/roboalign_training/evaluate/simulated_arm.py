"""The packaged contracts of the simulated arm, which differ in its cameras alone."""

from __future__ import annotations

from roboalign_policy.core.contract.contract import Contract, load_contract

SIMULATED = ("sim_panda", "sim_panda_wrist")


def simulated_arm(contract: Contract) -> str:
    """The one with the cameras of another contract, else the first."""
    cameras = [stream.key for stream in contract.images]
    for name in SIMULATED:
        if [stream.key for stream in load_contract(name).images] == cameras:
            return name
    return SIMULATED[0]
