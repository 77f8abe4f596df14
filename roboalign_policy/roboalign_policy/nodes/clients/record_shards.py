"""Records demonstrations with several pairs of nodes at once, each in its own ROS domain."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from roboalign_policy.nodes.clients.record_client import RecordJob, RecordResult, record_episodes
from roboalign_policy.nodes.node_process import NodeProcess
from roboalign_policy.nodes.start import module_of


def record_sharded(
    jobs: Sequence[RecordJob],
    bag_dir: Path,
    *,
    domain_ids: Sequence[int],
    contract: str = "sim_panda",
    log_dir: Path | None = None,
) -> Iterator[RecordResult]:
    """Record jobs with several pairs of simulator and recorder at once.

    What is recorded already is passed over.

    Args:
        jobs: what to record; dealt out in turn.
        bag_dir: folder of all episodes.
        domain_ids: one ROS domain a pair; nothing else may use them.
        contract: the robot's contract, path or packaged name.
        log_dir: where the nodes' output goes; None: ``<bag_dir>-logs``.

    Raises:
        RecordError: as of :func:`record_episodes`; the other pairs are stopped.
        NodeProcessError: a node ended by itself.
    """
    left = [job for job in jobs if not (bag_dir / job.episode_id).exists()]
    logs, results, halt = (
        log_dir or bag_dir.with_name(f"{bag_dir.name}-logs"),
        queue.Queue(),
        threading.Event(),
    )

    def work(share: Sequence[RecordJob], domain_id: int, nodes: Sequence[NodeProcess]) -> None:
        try:
            for result in record_episodes(share, contract=contract, domain_id=domain_id):
                results.put(result)
                if halt.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the results are read
            results.put(error)
            return
        finally:
            for node in nodes:
                node.stop()

    with ExitStack() as stack:
        stack.callback(halt.set)
        for number, domain_id in enumerate(domain_ids):
            if share := left[number :: len(domain_ids)]:
                nodes = _start_pair(stack, bag_dir, contract, domain_id, logs)
                threading.Thread(target=work, args=(share, domain_id, nodes), daemon=True).start()
        for _ in left:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result


def _start_pair(
    stack: ExitStack, bag_dir: Path, contract: str, domain_id: int, logs: Path
) -> list[NodeProcess]:
    """Simulator and recorder of one domain; the stack stops them."""
    sim = {"mode": "lockstep", "demonstrator": "expert", "contract": contract}
    recorder = {
        "lossless": True,
        "log_time": "header",
        "contract": contract,
        "bag_dir": str(bag_dir.resolve()),
    }
    env = {"ROS_DOMAIN_ID": str(domain_id), "OMP_NUM_THREADS": "1"}
    pair = [("sim_robot_node", sim), ("recorder_node", recorder)]
    return [
        stack.enter_context(
            NodeProcess(
                module_of(name),
                parameters,
                logs / f"{name}-{domain_id}.log",
                env=env,
            )
        )
        for name, parameters in pair
    ]
