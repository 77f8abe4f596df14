"""Action server that trains an action head from bags or from a data set."""

import sys

from roboalign_training.nodes.train_server import run_server


def main() -> int:
    """Run the node until it is told to stop; exit status."""
    return run_server("vla")


if __name__ == "__main__":
    sys.exit(main())
