"""Records expert demonstrations of the embedded arm through pairs of simulator and recorder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_policy.core.host.facts import free_domains
from roboalign_policy.nodes.clients.record_client import RecordJob
from roboalign_policy.nodes.clients.record_shards import record_sharded
from roboalign_training.nodes.closed_loop_worker import DOMAINS


def main(argv: Sequence[str] | None = None) -> int:
    """Record the jobs of a JSON file, a list of {suite, task, seed, action_noise}.

    Recorded ones are passed over.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", type=Path, help="JSON file")
    parser.add_argument("bags", type=Path, help="folder of all episodes, one bag each")
    parser.add_argument(
        "--contract", default="sim_panda", help="robot contract, path or packaged name"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="pairs of simulator and recorder side by side"
    )
    options = parser.parse_args(argv)
    jobs = [RecordJob(**job) for job in json.loads(options.jobs.read_text())]
    options.bags.mkdir(parents=True, exist_ok=True)
    domains = free_domains(DOMAINS, options.workers)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as progress:
        bar = progress.add_task("recording", total=len(jobs))
        progress.update(
            bar, completed=sum((options.bags / job.episode_id).exists() for job in jobs)
        )
        for _ in record_sharded(jobs, options.bags, domain_ids=domains, contract=options.contract):
            progress.advance(bar)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
