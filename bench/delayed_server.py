"""`roboalign serve` with a policy whose every answer comes later by a fixed time.

    python bench/delayed_server.py --policy FOLDER --delay-ms 300 --chunking guided

Prints its address. The delay is spent in the model's thread, as a slower model would.
"""

from __future__ import annotations

import argparse
import inspect
import signal
import sys
import threading
import time
from typing import Any

from roboalign_policy.core.policy.options import CHUNKING, FRESH, PolicyOptions
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.remote.server import PolicyServer


class Delayed:
    """A policy whose chunks come later; thoughts, which are made beside them, do not."""

    def __init__(self, policy: Policy, delay_s: float) -> None:
        """Take the policy and the delay, s."""
        self._policy, self._delay_s = policy, delay_s
        for name in inspect.get_annotations(Policy):  # what a policy says of itself
            setattr(self, name, getattr(policy, name))
        self.think = policy.think

    def act(self, *asked: Any, **more: Any) -> Any:
        """The policy's answer, late."""
        answer = self._policy.act(*asked, **more)
        time.sleep(self._delay_s)
        return answer


def main() -> int:
    """Serve until the signal to end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", required=True, help="folder of the checkpoint")
    parser.add_argument("--delay-ms", type=float, required=True)
    parser.add_argument("--chunking", choices=CHUNKING, default=FRESH)
    parser.add_argument("--decoder", choices=("auto", "fast", "flow"), default="auto")
    parser.add_argument("--contract", default="sim_panda")
    options = parser.parse_args()
    from roboalign_policy.core.contract.contract import load_contract

    policy = open_policy(
        options.policy,
        load_contract(options.contract),
        PolicyOptions(num_threads=1, chunking=options.chunking, decoder=options.decoder),
    )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with PolicyServer(Delayed(policy, options.delay_ms / 1e3)) as server:
        print(server.url, flush=True)
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
