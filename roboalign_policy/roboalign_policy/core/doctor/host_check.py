"""This computer against what a robot needs: governor, load, shared memory, domain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.doctor.finding import OK, Finding, counted
from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot
from roboalign_policy.core.host.facts import PROFILE_VARIABLES, HostFacts

_MIB = 2**20
_ABANDONED_BYTES = 32 * _MIB  # ports stay behind after every ordinary end, 50 kB each
_PROFILE_FIX = (
    f"export {PROFILE_VARIABLES[0]}=<roboalign_policy>/config/fastdds_profile.xml in the shell of "
    "every node (scripts/env.sh does); it keeps discovery on this machine"
)
_DISCOVERY_VARIABLES = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "ROS_STATIC_PEERS")


def check_host(contract: Contract, snapshot: GraphSnapshot, host: HostFacts) -> Iterator[Finding]:
    """Check this computer."""
    yield _domain(snapshot, host)
    yield _governor(host)
    yield _load(host)
    yield from _shared_memory(contract, snapshot, host)


def _domain(snapshot: GraphSnapshot, host: HostFacts) -> Finding:
    number = host.environment.get("ROS_DOMAIN_ID") or "0"
    ways = [f"{name}={host.environment[name]}" for name in _DISCOVERY_VARIABLES
            if host.environment.get(name)]  # fmt: skip
    where = f"ROS_DOMAIN_ID {number}, {', '.join(ways) or 'discovery as by default'}, "
    where += snapshot.middleware
    if not snapshot.is_empty:
        found = f"{counted(len(snapshot.nodes), 'other node')} in {where}"
        return Finding(OK, "domain", "graph", found)
    others = [str(domain) for domain in host.domains if str(domain) != number]
    seen = f"participants on this computer are in domain {', '.join(others)}: " if others else ""
    guess = others[0] if len(others) == 1 else "<that of the robot>"
    return Finding(
        ERROR,
        "domain",
        "graph",
        f"no other node in {where}",
        "the robot's nodes",
        f"start the robot, or {seen}export ROS_DOMAIN_ID={guess}. On another machine: the "
        "packaged Fast DDS profile and ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST stay on this one",
    )


def _governor(host: HostFacts) -> Finding:
    if not host.governors:
        return Finding(OK, "governor", "CPU", "no cpufreq here (virtual machine, container)")
    if host.governors == ("performance",):
        return Finding(OK, "governor", "CPU", "performance on every core")
    return Finding(
        WARNING,
        "governor",
        "CPU",
        f"governor {', '.join(host.governors)}",
        "performance: others clock down between two control steps, which makes them late",
        "sudo cpupower frequency-set -g performance",
    )


def _load(host: HostFacts) -> Finding:
    found = f"load {host.load:.1f} on {counted(host.cores, 'core')}"
    if host.load <= host.cores:
        return Finding(OK, "load", "CPU", found)
    return Finding(
        WARNING,
        "load",
        "CPU",
        found,
        "less than one process that wants to run a core",
        "`top` shows what runs; end it, or give it other cores (taskset), before driving",
    )


def _shared_memory(
    contract: Contract, snapshot: GraphSnapshot, host: HostFacts
) -> Iterator[Finding]:
    if "fastrtps" not in snapshot.middleware:
        text = f"{snapshot.middleware}: the profile of Fast DDS does not apply"
        yield Finding(OK, "shared_memory", "images", text)
        return
    profile = host.profile
    if profile.fault:
        yield Finding(
            ERROR,
            "shared_memory",
            "images",
            f"profile {profile.path} {profile.fault}",
            "a Fast DDS profile, or none",
            _PROFILE_FIX,
        )
        return
    needed = needed_bytes(contract, snapshot)
    size = profile.segment_bytes
    named = Path(profile.path).name or "Fast DDS's default, no profile"
    found = f"images need {needed / _MIB:.3g} MiB of {size / _MIB:.3g} MiB ({named})"
    large_data = host.environment.get("FASTDDS_BUILTIN_TRANSPORTS", "").startswith("LARGE_DATA")
    if size < needed and not large_data:
        yield Finding(
            WARNING,
            "shared_memory",
            "images",
            found,
            f"at least {needed / _MIB:.3g} MiB: what does not fit is sent by UDP in pieces, and "
            "best-effort images get lost",
            _PROFILE_FIX,
        )
    free = host.shm_free_bytes
    if free is not None and free < 2 * size:
        yield Finding(
            WARNING,
            "shared_memory",
            "/dev/shm",
            f"{free / _MIB:.3g} MiB free",
            f"{2 * size / _MIB:.3g} MiB: every process takes a segment of {size / _MIB:.3g} MiB",
            "end nodes that are not needed; in a container: docker run --shm-size=1g, or "
            "--ipc=host",
        )
    elif size >= needed or large_data:
        yield Finding(OK, "shared_memory", "images", found)
    if host.shm_abandoned_bytes > _ABANDONED_BYTES:
        yield Finding(
            WARNING,
            "shared_memory",
            "killed nodes",
            f"{host.shm_abandoned_bytes / _MIB:.3g} MiB in /dev/shm that no process uses",
            "nothing: it is taken from the memory of this computer until it starts anew",
            "add --clean-shared-memory to this command",
        )


def needed_bytes(contract: Contract, snapshot: GraphSnapshot) -> int:
    """Bytes of shared memory that hold all images of the contract with their queues, and one more.

    Measured with two cameras of 1280 x 720: 64 MiB lose nothing, the default of 0.5 MiB most.
    """
    total = 0
    for stream in contract.images:
        record = snapshot.streams.get(stream.key)
        heard = record.largest if record is not None else 0
        height, width, channels = stream.shape
        a_pixel = channels if stream.range is None else 4  # a float at most
        total += (heard or height * width * a_pixel) * (stream.qos.depth + 1)
    return total
