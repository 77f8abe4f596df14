"""Recording three raw cameras and fast joint states: what is lost, and what a gigabyte costs.

Three cameras 640x480 rgb8 at 30 Hz and joint states at 500 Hz, about 83 MB/s, come from one
process. recorder_node records them as it does on a robot, for a time; then a minimal script does
(rclpy subscriptions that decode every message and write it with `mcap`), then `ros2 bag record`
where it is installed. All see the same publishers, in the same run, one after the other.

A message is lost when it was published between the first and the last recorded one of its topic
and is not in the bag. CPU is that of the recording process alone, user and system, from its first
message to its last.

    python bench/recording.py --seconds 60 --out out/bench/recording
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from mcap.exceptions import McapError
from mcap.reader import make_reader

from roboalign_policy.core.host.facts import free_domains

PARTS = Path(__file__).with_name("recording_processes.py")
TICKS_HZ = os.sysconf("SC_CLK_TCK")
SETTLE_S = 2.0


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, with its threads; user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_HZ


def peak_mb(pid: int) -> float:
    """Greatest resident memory of a process, MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1e3
    return float("nan")


class Run:
    """Publishers, and one recorder after the other."""

    def __init__(self, folder: Path, seconds: float) -> None:
        """Start the publishers."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.seconds = folder, seconds
        from recording_processes import contract

        self.contract = folder / "cameras.yaml"
        self.contract.write_text(yaml.safe_dump(contract()), encoding="utf-8")
        self.sent = folder / "sent.json"
        self.sources = self.start("sources", str(self.sent))
        time.sleep(SETTLE_S)

    def start(self, name: str, *arguments: str) -> subprocess.Popen:
        """Start a process of recording_processes.py."""
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, str(PARTS), name, *arguments], stdout=log, stderr=log
            )

    def recorder(self) -> dict:
        """recorder_node with its defaults."""
        from roboalign_policy.core.recording.operator_keys import Ask
        from roboalign_policy.core.recording.task_list import TaskEntry, TaskList
        from roboalign_policy.nodes.clients.recording_panel import RecordingPanel
        from roboalign_policy.nodes.node_process import NodeProcess
        from roboalign_policy.nodes.start import module_of

        bags = self.folder / "recorder"
        parameters = {"contract": str(self.contract), "bag_dir": str(bags)}
        node = NodeProcess(module_of("recorder_node"), parameters, self.folder / "recorder.log")
        try:
            with RecordingPanel(TaskList([TaskEntry("stay")])) as panel:
                until(panel, lambda: panel.ready)
                panel.spin(SETTLE_S)
                panel.ask(Ask.GO)
                until(panel, lambda: panel.recording)
                before_s = cpu_s(node.pid)
                panel.spin(self.seconds)
                used_s, peak = cpu_s(node.pid) - before_s, peak_mb(node.pid)
                queue = panel.health.queue_peak_bytes / 1e6
                panel.ask(Ask.GO)
                until(panel, lambda: not panel.busy and not panel.recording)
                said = panel.said[-1]
        finally:
            node.stop()
        (bag,) = (p for p in bags.iterdir() if p.is_dir())
        return {"bag": str(bag), "cpu_s": used_s, "peak_mb": peak, "queue_mb": queue, "said": said}

    def script(self) -> dict:
        """The minimal script."""
        out = self.folder / "script.mcap"
        process = self.start("script", str(out), str(self.seconds))
        time.sleep(SETTLE_S)  # Python, DDS, discovery
        before_s = cpu_s(process.pid)
        time.sleep(self.seconds)
        used_s, peak = cpu_s(process.pid) - before_s, peak_mb(process.pid)
        process.wait(60)
        return {"bag": str(out), "cpu_s": used_s, "peak_mb": peak}

    def rosbag2(self) -> dict:
        """`ros2 bag record`, of all that is published."""
        from recording_processes import topics

        out = self.folder / "rosbag2"
        command = ["ros2", "bag", "record", "-s", "mcap", "-o", str(out), "--topics", *topics()]
        process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
        time.sleep(2 * SETTLE_S)
        before_s = cpu_s(process.pid)
        time.sleep(self.seconds)
        used_s, peak = cpu_s(process.pid) - before_s, peak_mb(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        return {"bag": str(out), "cpu_s": used_s, "peak_mb": peak}

    def stop(self) -> None:
        """End the publishers; they then write what they sent."""
        self.sources.send_signal(signal.SIGINT)
        self.sources.wait(30)


def until(panel: object, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not happen.
    """
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"the recorder: {list(panel.said)}")
        panel.spin(0.05)


def judge(result: dict, sent: dict[str, list[int]], seconds: float) -> dict:
    """Compare a bag with what was published; CPU seconds are those of `seconds` of it."""
    path = Path(result["bag"])
    files = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
    stamps: dict[str, list[int]] = {}
    size = 0
    for file in files:
        with file.open("rb") as stream:
            for _, channel, message in make_reader(stream).iter_messages(log_time_order=False):
                if channel.topic in sent:
                    head = message.data[4:12]
                    sec, nanosec = (int.from_bytes(head[i : i + 4], "little") for i in (0, 4))
                    stamps.setdefault(channel.topic, []).append(sec * 10**9 + nanosec)
                    size += len(message.data)
    lost = {}
    for topic, all_sent in sent.items():
        got = set(stamps.get(topic, []))
        if not got:
            raise RuntimeError(f"{path}: nothing of {topic}")
        first, last = min(got), max(got)
        wanted = [s for s in all_sent if first <= s <= last]
        lost[topic] = [len(set(wanted) - got), len(wanted)]
    rate = size / (max(max(s) - min(s) for s in stamps.values()) / 1e9)
    on_disk = sum(file.stat().st_size for file in files)
    return {
        **result,
        "gb": size / 1e9,
        "disk_gb": on_disk / 1e9,
        "mb_per_s": rate / 1e6,
        "lost": sum(n for n, _ in lost.values()),
        "sent": sum(n for _, n in lost.values()),
        "lost_by_topic": lost,
        "cpu_s_per_gb": result["cpu_s"] / (rate * seconds / 1e9),
    }


def main() -> int:
    """Run; 0 when recorder_node lost nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("out/bench/recording"))
    parser.add_argument("--keep", action="store_true", help="leave the bags (5 GB each)")
    options = parser.parse_args()
    # In the background of a shell it is ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["ROS_DOMAIN_ID"] = str(*free_domains(range(11, 101), 1))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    if not os.environ.get("FASTRTPS_DEFAULT_PROFILES_FILE"):
        parser.error("no Fast DDS profile with shared memory: source scripts/env.sh")
    run = Run(options.out, options.seconds)
    sides = {"recorder_node": run.recorder, "script": run.script}
    if shutil.which("ros2"):
        sides["ros2 bag record"] = run.rosbag2
    results = {}
    try:
        for name, record in sides.items():
            print(f"{name}: {options.seconds:g} s", flush=True)
            results[name] = record()
    finally:
        run.stop()
    sent = json.loads(run.sent.read_text(encoding="utf-8"))
    found = {}
    for name, result in results.items():
        try:
            found[name] = judge(result, sent, options.seconds)
        except (RuntimeError, McapError) as error:  # the others' figures stay
            print(f"{name}: no figures: {error}", file=sys.stderr)
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "seconds": options.seconds,
        "results": found,
    }
    (options.out / "recording.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    print("| recorder | lost | of | MB/s | CPU s/GB | CPU % | peak MB | GB on disk |")
    print("|---|---|---|---|---|---|---|---|")
    for name, r in found.items():
        print(
            f"| {name} | {r['lost']} | {r['sent']} | {r['mb_per_s']:.1f} "
            f"| {r['cpu_s_per_gb']:.2f} "
            f"| {100 * r['cpu_s'] / options.seconds:.0f} | {r['peak_mb']:.0f} "
            f"| {r['disk_gb']:.2f} |"
        )
    if not options.keep:
        for result in results.values():
            path = Path(result["bag"])
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return 0 if found.keys() == results.keys() and found["recorder_node"]["lost"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
