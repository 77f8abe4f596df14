"""`roboalign replay`: a recorded episode through the live policy node, against what was done."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markdown import Markdown

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.definition_folder import add_definitions
from roboalign_training.episodes.episodes import bag_contract
from roboalign_training.evaluate.checks import check_ros
from roboalign_training.evaluate.replay import (
    ANSWERS,
    JOB,
    REPORT,
    Recording,
    ReplayAnswer,
    ReplaySettings,
    compare,
    lockstep_contract,
    make_recording,
    read_answers,
)
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.outputs import Found, add_overwrite, judge, only_writer, remove
from roboalign_training.shared.places import REPLAY, check_place
from roboalign_training.shared.progress import counted
from roboalign_training.shared.write_errors import write_fault, writing

if TYPE_CHECKING:
    from roboalign_policy.models.policy import MLLMPolicy

ACTIONS_PNG, ERRORS_PNG = "actions.png", "errors.png"
PRODUCTS = (
    ANSWERS, REPORT, ACTIONS_PNG, ERRORS_PNG, JOB, "contract.yaml", "policy_node.log"
)  # fmt: skip
WORKER = "roboalign_training.nodes.replay_worker"


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign replay",
        description="Feed a recorded episode to the real policy node in lock step: are its chunks "
        "those of the offline evaluation, and how far are they from what the demonstrator did?",
    )
    p.add_argument("bag", type=Path, help="a bag with one episode")
    p.add_argument("--policy", type=Path, required=True, help="checkpoint folder")
    p.add_argument(
        "--out", type=Path, help="folder of report and figures; default: out/replay/EPISODE"
    )
    p.add_argument(
        "--contract",
        help="robot contract, path or packaged name; default: the bag's, else the checkpoint's",
    )
    p.add_argument("--every", type=int, default=1, help="ask in every N-th frame")
    p.add_argument("--max-frames", type=int, default=0, help="so many frames at most; 0: all")
    p.add_argument("--no-think", action="store_true", help="act without reasoning first")
    p.add_argument(
        "--decoder",
        choices=("auto", "fast", "flow"),
        default="auto",
        help="tokens or action head, where a policy has both (default: as its folder says)",
    )
    add_definitions(p)
    add_overwrite(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Replay and print the figures.

    Returns:
        0; 1 when it cannot be done, or when live and offline chunks are not the same; 2 when bag,
        policy, contract or --out cannot be used; 130 when it was interrupted.
    """
    args = parser().parse_args(argv)
    try:
        settings = ReplaySettings(
            every=args.every,
            max_frames=args.max_frames,
            think=not args.no_think,
            decoder=args.decoder,
        )
        report, fault = replay(
            args.bag, args.policy, args.out, args.contract, settings, overwrite=args.overwrite
        )
    except OSError as error:
        fault = write_fault(error, argv or ()) or str(error)
        print(f"roboalign replay: {fault}", file=sys.stderr)
        return status_of(error)
    except (RuntimeError, ValueError) as error:  # of bag, contract, checkpoint, node
        print(f"roboalign replay: {error}", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt:
        print("roboalign replay: interrupted", file=sys.stderr)
        return 130
    from roboalign_training.evaluate.replay_report import summary

    console = Console()
    console.print(Markdown(summary(report)))
    console.print(f"report and figures: {report['out']}", soft_wrap=True, markup=False)
    if fault:
        print(f"roboalign replay: live and offline chunks differ: {fault}", file=sys.stderr)
    return int(bool(fault))


def replay(
    bag_path: Path, checkpoint: Path, out: Path | None, contract: str | None,
    settings: ReplaySettings, *, overwrite: bool = False,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Replay an episode and write ``replay.json``, ``actions.png`` and ``errors.png``.

    Args:
        bag_path: a bag with one episode.
        checkpoint: folder of the policy.
        out: folder for everything that is written; None: ``out/replay/<episode>``.
        contract: path or packaged name; None: the bag's, else the checkpoint's.
        settings: how.
        overwrite: remove another replay that is in `out`.

    Returns:
        The report, and what differs between live and offline chunks (empty: nothing).

    Raises:
        OutputError: another replay is in `out`.
        ValueError: bag, contract or checkpoint cannot be used, or do not fit each other.
        RuntimeError: there is no ROS, or the live half failed; its error was printed.
    """
    # Here, so that a wrong option is told without waiting for torch.
    from roboalign_policy.models.checkpoint import check_same_robot, read_checkpoint

    parts, bag = read_checkpoint(checkpoint, settings.decoder), read_bag(bag_path)
    robot = load_contract(contract) if contract else bag_contract(bag)
    robot = robot or parts.contract
    check_same_robot(checkpoint, parts.contract, robot, parts.images)
    lockstep_contract(robot)  # refuses what cannot be replayed before anything is started
    recording = make_recording(bag, robot)
    rows = recording.chosen(settings)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", recording.frames.episode_id)
    out = out or Path("out/replay") / name
    check_place("--out", out, REPLAY, [("the recording", bag_path), ("--policy", checkpoint)])
    job = make_job(recording, checkpoint, parts.hash, settings)
    done = out / REPORT

    def made_before() -> bool:
        """Whether this very replay is there."""
        return Found.FINISHED is judge(
            out, JOB, job, PRODUCTS,
            finished=done.is_file(), overwrite=overwrite, ignored=("bag", "policy"),
        )  # fmt: skip

    if not made_before():
        check_ros()
        with writing(out, "the replay"):
            out.mkdir(parents=True, exist_ok=True)
            with only_writer(out):
                if not made_before():  # another process may have made it meanwhile
                    return _replay(recording, rows, checkpoint, out, settings, job)
    print("roboalign replay: made before; nothing was changed", file=sys.stderr)
    report = {**json.loads(done.read_text("utf-8")), "out": str(out)}
    return report, report["identity"].get("fault", "")


def _replay(
    recording: Recording, rows: Sequence[int], checkpoint: Path, out: Path,
    settings: ReplaySettings, job: dict[str, Any],
) -> tuple[dict[str, Any], str]:  # fmt: skip
    from roboalign_policy.models.open_policy import open_policy
    from roboalign_training.evaluate import replay_report

    remove(out, PRODUCTS)
    robot = recording.contract
    live = drive_live(out, job)
    policy = open_policy(checkpoint, robot, settings.policy_options())
    offline = answer_offline(policy, recording, rows)
    identity = compare(live, offline, rows, robot.action.names)
    report = replay_report.make_report(recording, rows, live, identity, policy.tokens_of, settings)
    report["identity"]["fault"] = identity.fault
    report = {
        "policy": path_from(out, checkpoint), "policy_hash": job["policy_hash"], "out": str(out),
        **report,
    }  # fmt: skip
    replay_report.plot_actions(out / ACTIONS_PNG, recording, rows, live)
    replay_report.plot_errors(out / ERRORS_PNG, robot, report)
    # Last: where it is, the replay is whole.
    (out / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report, identity.fault


def path_from(folder: Path, path: Path) -> str:
    """A path as it stands in a file of a folder: relative to that, in another tree absolute."""
    here, there = folder.resolve(), path.resolve()
    apart = os.path.commonpath([here, there]) == here.anchor
    return str(there) if apart else os.path.relpath(there, here)


def make_job(
    recording: Recording, checkpoint: Path, policy_hash: str, settings: ReplaySettings
) -> dict[str, Any]:
    """What is replayed, by what and how; `job.json`."""
    return {
        "bag": str(recording.bag.path.resolve()),
        "bag_sha256": recording.bag.sha256,
        "contract": recording.contract.to_yaml(),
        "policy": str(checkpoint.resolve()),
        "policy_hash": policy_hash,
        # Without the default it is as replays from before there were two decoders.
        "settings": {n: v for n, v in vars(settings).items() if (n, v) != ("decoder", "auto")},
    }


def drive_live(out: Path, job: dict[str, Any]) -> list[ReplayAnswer]:
    """Feed the frames to a policy node; needs ROS, so it is a process of its own.

    Raises:
        RuntimeError: it failed; its error was printed.
    """
    (out / JOB).write_text(json.dumps(job, indent=1), "utf-8")
    command = [sys.executable, "-m", WORKER, str(out)]
    if status := subprocess.run(command, check=False).returncode:
        raise RuntimeError(f"the live half ended with status {status}; see above, and {out}")
    return read_answers(out / ANSWERS)


def answer_offline(
    policy: MLLMPolicy, recording: Recording, rows: Sequence[int]
) -> list[ReplayAnswer]:
    """Ask the policy without nodes, in the frames of the data pipeline."""
    frames, answers = recording.frames, []
    for row in counted(rows, "offline"):
        values = {key: column[row] for key, column in frames.values.items()}
        p = policy.act(values, frames.instruction)
        stamp_ns = int(frames.stamps_ns[row])
        answers.append(
            ReplayAnswer(stamp_ns, p.status, p.detail, p.actions, list(p.tokens), p.inference_s)
        )
    return answers


if __name__ == "__main__":
    raise SystemExit(main())
