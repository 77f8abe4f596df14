"""Action server that runs supervised fine-tuning from bags or from a data set."""

from roboalign_training.nodes.train_server import run_server


def main() -> None:
    """Run the node until it is told to stop."""
    run_server("sft")


if __name__ == "__main__":
    main()
