"""The campaign's policy behind a `PolicyServer`, in a process of its own."""

from __future__ import annotations

import os
import signal
import threading

from fault_campaign.policy import scripted_policy
from roboalign_policy.remote.server import PolicyServer

PORT_VARIABLE = "FAULT_CAMPAIGN_PORT"


def main() -> None:
    """Serve until told to stop."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    policy = scripted_policy()
    with PolicyServer(policy, port=int(os.environ[PORT_VARIABLE])):
        ended.wait()


if __name__ == "__main__":
    main()
