"""Kills recorder_node (SIGKILL) at random moments and looks at what is left on the disk.

Each time three cameras 640x480 and joint states at 500 Hz are recorded, an episode after the
other, until the recorder is killed: while an episode grows, while one is finished, or between two.
Then:

- whole: every finished episode reads to its last message, with the counts of its metadata, and
  every episode whose end the recorder has confirmed is there;
- recovered: of the unfinished one `roboalign recover` gives back, byte for byte, every message of
  every chunk that stands whole in its file (found with `mcap`'s own reader), and the contract;
- lost: how long before the kill the last message is that was recovered.

    python bench/recorder_kills.py --kills 50 --out out/bench/recorder_kills
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import rclpy
import yaml
from mcap.exceptions import McapError
from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import StreamReader, breakup_chunk
from recording_processes import contract
from roboalign_msgs.srv import StartEpisode, StopEpisode

from roboalign_policy.core.host.facts import free_domains
from roboalign_policy.core.host.shared_memory import abandoned, remove, shared_memory_files
from roboalign_policy.nodes.node_process import NodeProcess
from roboalign_policy.nodes.start import module_of
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.rescue.recovery import recover

PARTS = Path(__file__).with_name("recording_processes.py")
EPISODE_S, LATEST_S = 0.8, 4.0


class Killed(Exception):
    """The moment has come."""


class Operator:
    """Starts and ends episodes until the recorder is killed."""

    def __init__(self, context: rclpy.Context) -> None:
        """Join the graph."""
        self._node = rclpy.create_node("operator", context=context)
        self._executor = rclpy.executors.SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        kinds = {"start_episode": StartEpisode, "stop_episode": StopEpisode}
        self._clients = {
            name: self._node.create_client(kind, f"recorder_node/{name}")
            for name, kind in kinds.items()
        }

    def wait(self, timeout_s: float = 60.0) -> None:
        """Until the recorder answers and cameras are there."""
        end_s = time.monotonic() + timeout_s
        while not (
            all(client.service_is_ready() for client in self._clients.values())
            and self._node.count_publishers("/camera/wrist/image_raw")
        ):
            if time.monotonic() > end_s:
                raise TimeoutError("no recorder, or no cameras")
            self._executor.spin_once(timeout_sec=0.05)

    def record(self, until_s: float) -> list[str]:
        """Record episode after episode; ids of those whose end was confirmed."""
        confirmed: list[str] = []
        with contextlib.suppress(Killed):
            while True:
                begun = self._call(
                    "start_episode", StartEpisode.Request(instruction="go"), until_s
                )
                assert begun.ok, begun.message
                self._spin(min(until_s, time.monotonic() + EPISODE_S), until_s)
                ended = self._call("stop_episode", StopEpisode.Request(outcome="success"), until_s)
                assert ended.ok, ended.message
                confirmed.append(ended.episode_id)
        return confirmed

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _call(self, name: str, request: object, until_s: float) -> object:
        future = self._clients[name].call_async(request)
        while not future.done():
            if time.monotonic() >= until_s:
                raise Killed
            self._executor.spin_once(timeout_sec=max(0.0, until_s - time.monotonic()))
        return future.result()

    def _spin(self, end_s: float, until_s: float) -> None:
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)
        if time.monotonic() >= until_s:
            raise Killed


def whole_chunks(file: Path) -> Counter[tuple[str, int, bytes]]:
    """(topic, log time, hash) of the messages in the whole chunks of a file that ends anywhere."""
    found: Counter[tuple[str, int, bytes]] = Counter()
    topics: dict[int, str] = {}
    with file.open("rb") as stream, contextlib.suppress(McapError):  # where the file ends
        for record in StreamReader(stream, emit_chunks=True, validate_crcs=True).records:
            if isinstance(record, Channel):
                topics[record.id] = record.topic
            if isinstance(record, Chunk):
                for part in breakup_chunk(record, validate_crc=True):
                    if isinstance(part, Message):
                        key = hashlib.sha256(part.data).digest()
                        found[topics[part.channel_id], part.log_time, key] += 1
    return found


def messages_of(path: Path) -> Counter[tuple[str, int, bytes]]:
    """(topic, log time, hash) of the messages of a bag; reading checks its counts."""
    return Counter(
        (topic, log_ns, hashlib.sha256(data).digest())
        for topic, log_ns, data in read_bag(path).raw_messages()
    )


def judge(bags: Path, confirmed: list[str], killed_ns: int) -> dict:
    """What a killed recorder left."""
    finished = sorted(p.name for p in bags.iterdir() if not p.name.startswith("."))
    faults = [f"{name}: confirmed, and not there" for name in confirmed if name not in finished]
    for name in finished:
        try:
            bag = read_bag(bags / name)
            if sum(messages_of(bags / name).values()) != bag.message_count or not bag.custom:
                faults.append(f"{name}: not whole")
        except BagError as error:
            faults.append(f"{name}: {error}")
    result = {"finished": len(finished), "confirmed": len(confirmed), "unfinished": 0}
    partials = [p for p in bags.iterdir() if p.name.startswith(".")]
    if len(partials) > 1:
        faults.append(f"found {len(partials)} unfinished bags, expected at most 1")
    for partial in partials:
        result["unfinished"] = 1
        expected = Counter()
        for file in partial.glob("*.mcap"):
            expected += whole_chunks(file)
        result["expected"] = expected.total()
        try:
            there = messages_of(recover(partial, bags / "recovered").folder)
        except BagError as error:
            there = Counter()
            if expected:
                faults.append(f"{partial.name}: {error}")
        else:
            if read_bag(bags / "recovered").custom.get("roboalign.contract") is None:
                faults.append(f"{partial.name}: recovered without its contract")
        missing = expected - there
        if missing:
            faults.append(f"{partial.name}: {missing.total()} messages of whole chunks lost")
        result["recovered"] = there.total()
        if there:
            result["lost_s"] = (killed_ns - max(log_ns for _, log_ns, _ in there)) / 1e9
    return {**result, "faults": faults}


def one(folder: Path, number: int, after_s: float) -> dict:
    """Record, kill after so many seconds, look."""
    (domain,) = free_domains(range(60, 100), 1)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    before = shared_memory_files()
    bags = folder / f"{number}"
    log = (folder / "sources.log").open("w")
    sources = subprocess.Popen(
        [sys.executable, str(PARTS), "sources", str(folder / "sent.json")], stdout=log, stderr=log
    )
    robot = folder / "cameras.yaml"
    robot.write_text(yaml.safe_dump(contract()), encoding="utf-8")
    parameters = {"contract": str(robot), "bag_dir": str(bags), "min_free_mb": 0}
    recorder = NodeProcess(module_of("recorder_node"), parameters, folder / "log")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    operator = Operator(context)
    try:
        operator.wait()
        confirmed = operator.record(time.monotonic() + after_s)
        recorder.kill()
        killed_ns = time.time_ns()
    finally:
        recorder.stop()
        sources.send_signal(signal.SIGKILL)  # it may hang on a lock that the killed one held
        sources.wait()
        log.close()
        operator.close()
        context.try_shutdown()
        remove(abandoned(shared_memory_files() - before))
    result = judge(bags, confirmed, killed_ns)
    shutil.rmtree(bags)
    return {"after_s": after_s, **result}


def main() -> int:
    """Run; 0 when nothing that must be there was missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/bench/recorder_kills"))
    options = parser.parse_args()
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    moments = random.Random(options.seed)
    results = []
    for number in range(options.kills):
        results.append(one(options.out, number, moments.uniform(0.0, LATEST_S)))
        r = results[-1]
        print(
            f"{number + 1}/{options.kills}: after {r['after_s']:.2f} s, {r['finished']} finished, "
            f"{r.get('recovered', 0)} of {r.get('expected', 0)} messages recovered, "
            f"{'; '.join(r['faults']) or 'well'}",
            flush=True,
        )
    lost_s = [r["lost_s"] for r in results if "lost_s" in r]
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "seed": options.seed,
        "kills": len(results),
        "with_faults": sum(bool(r["faults"]) for r in results),
        "finished": sum(r["finished"] for r in results),
        "unfinished": sum(r["unfinished"] for r in results),
        "without_a_message": sum(r["unfinished"] and not r["recovered"] for r in results),
        "messages_in_whole_chunks": sum(r.get("expected", 0) for r in results),
        "messages_recovered": sum(r.get("recovered", 0) for r in results),
        "lost_s": {q: float(np.percentile(lost_s, q)) for q in (50, 90, 100)} if lost_s else {},
        "results": results,
    }
    text = json.dumps(record, indent=1)
    (options.out / "recorder_kills.json").write_text(text, encoding="utf-8")
    print({key: value for key, value in record.items() if key != "results"})
    return int(record["with_faults"] > 0)


if __name__ == "__main__":
    sys.exit(main())
