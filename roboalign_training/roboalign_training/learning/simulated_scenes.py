"""Whether what is rendered of the simulated arm's table may be taught beside demonstrations."""

from __future__ import annotations

from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.contract.parts import Stream
from roboalign_training.shared.run_layout import ConfigError

SIMULATED, CAMERAS = "sim_panda", ("front", "wrist")


def check_simulated(contract: Contract, key: str, share: str) -> None:
    """Refuse rendered scenes for another robot: they would teach it another table's places.

    Args:
        contract: of the demonstrations.
        key: what the configuration calls the source.
        share: how it is left out, for the text.

    Raises:
        ConfigError: the demonstrations are not of the simulated arm.
    """
    if fault := _unlike_the_simulated_arm(contract):
        raise ConfigError(
            f"{key}: found demonstrations of {contract.name} {fault}, expected the simulated "
            f"arm's ({SIMULATED}): rendered scenes would teach another table's places; {share}"
        )


def _unlike_the_simulated_arm(contract: Contract) -> str:
    """Why the simulated arm's scenes do not fit a contract; empty where they do."""
    arm = load_contract(SIMULATED)
    if contract.prompt_state != arm.prompt_state:
        return "with another prompt.state"
    shown = {f"image.{name}": arm.images[0].shape for name in CAMERAS}
    other = [s.key for s in contract.seen_images if not s.as_sent or s.shape != shown.get(s.key)]
    if other:
        return f"with another {', '.join(other)}"
    measured = {s.key: _measured(s) for s in arm.states}
    other = [s.key for s in contract.states if _measured(s) != measured.get(s.key)]
    return f"with another {', '.join(other)}" if other else ""


def _measured(stream: Stream) -> list[tuple[str, str, str]]:
    """What a state says, whatever its topic, limits and rates are."""
    return [(field.name, field.path, field.unit) for field in stream.fields]
