"""What of this computer decides whether a robot runs smoothly: cores, load, shared memory, DDS."""

from __future__ import annotations

import os
import random
import shutil
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from roboalign_policy.core.host.shared_memory import abandoned, total_bytes

#: Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (newer) the second.
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
DEFAULT_SEGMENT_BYTES = 512 * 1024
"""Source: Fast DDS, SharedMemTransport::init (2.x) and shm_implicit_segment_size (3.x)."""
_DOMAIN_PORTS, _FIRST_PORT, _DOMAINS = 250, 7400, 102
_CLAIM = "\0roboalign-ros-domain-{}"  # abstract socket: no file stays behind
_claims: dict[int, socket.socket] = {}


@dataclass(frozen=True)
class DdsProfile:
    """The XML profile of Fast DDS that nodes started from this shell load.

    Attributes:
        path: of the file; empty where none is set.
        fault: why it cannot be used; empty where it can, or none is set.
        segment_bytes: size of the shared-memory segment of each process; 0: no shared memory.
    """

    path: str = ""
    fault: str = ""
    segment_bytes: int = DEFAULT_SEGMENT_BYTES


@dataclass(frozen=True)
class HostFacts:
    """This computer, as far as a robot notices.

    Attributes:
        cores: that this process may use.
        load: processes that want to run, mean of the last minute.
        governors: of the cores' clock frequency, each once; empty where the kernel tells none.
        shm_free_bytes: of /dev/shm; None where there is none.
        shm_abandoned_bytes: of /dev/shm, in files of Fast DDS that no living process uses.
        profile: of Fast DDS.
        domains: ROS domains with a participant on this computer.
        environment: variables of this process.
    """

    cores: int
    load: float
    governors: tuple[str, ...]
    shm_free_bytes: int | None
    shm_abandoned_bytes: int
    profile: DdsProfile
    domains: tuple[int, ...]
    environment: Mapping[str, str]


def read_host_facts(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> HostFacts:
    """Look at this computer.

    Args:
        root: of the file system; another one in tests.
        environment: variables.
    """
    cpus = root / "sys/devices/system/cpu"
    governors = {p.read_text().strip() for p in cpus.glob("cpu[0-9]*/cpufreq/scaling_governor")}
    shm = root / "dev/shm"
    return HostFacts(
        cores=len(os.sched_getaffinity(0)),
        load=os.getloadavg()[0],
        governors=tuple(sorted(governors)),
        shm_free_bytes=shutil.disk_usage(shm).free if shm.is_dir() else None,
        shm_abandoned_bytes=total_bytes(abandoned(root=root)),
        profile=read_profile(environment),
        domains=domains_of_ports(root / "proc/net/udp"),
        environment=dict(environment),
    )


def read_profile(environment: Mapping[str, str]) -> DdsProfile:
    """Read size and use of shared memory from the profile that the environment names."""
    path = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), "")
    if not path:
        return DdsProfile()
    try:
        document = ET.parse(path).getroot()
    except OSError as error:
        return DdsProfile(path, f"cannot be read: {error.strerror}")
    except ET.ParseError as error:
        return DdsProfile(path, f"is not XML: {error}")
    texts: dict[str, list[str]] = {}
    for item in document.iter():
        texts.setdefault(item.tag.rpartition("}")[2], []).append((item.text or "").strip())
    sizes = [int(text) for text in texts.get("segment_size", []) if text.isdigit()]
    builtin = texts.get("useBuiltinTransports", ["true"])[0].lower() in ("true", "1")
    if sizes:
        return DdsProfile(path, segment_bytes=min(sizes))
    shared = builtin or "SHM" in texts.get("type", [])
    return DdsProfile(path, segment_bytes=DEFAULT_SEGMENT_BYTES if shared else 0)


def domains_of_ports(table: Path) -> tuple[int, ...]:
    """Find ROS domains with a participant on this computer by the UDP ports in use.

    Args:
        table: /proc/net/udp.

    Source: OMG DDSI-RTPS 2.3, 9.6.1.1: multicast 7400 + 250 d, unicast 7410 + 250 d + 2 p.
    """
    if not table.is_file():
        return ()
    rows = table.read_text().splitlines()[1:]
    ports = {int(line.split()[1].rpartition(":")[2], 16) for line in rows}
    found = set()
    for port in ports:
        domain, rest = divmod(port - _FIRST_PORT, _DOMAIN_PORTS)
        if 0 <= domain < _DOMAINS and rest in (0, 10, 12, 14):
            found.add(domain)
    return tuple(sorted(found))


def free_domains(
    candidates: Iterable[int], count: int, table: Path = Path("/proc/net/udp")
) -> list[int]:
    """Pick ROS domains at random in which this computer has no participant, and claim them.

    Until this process ends, or `release_domains`, no other process is given them here: nodes need
    a moment until they can be seen.

    Args:
        candidates: domains to choose from, at most 101.
        count: how many.
        table: /proc/net/udp.

    Raises:
        RuntimeError: fewer are free.
    """
    used = domains_of_ports(table)
    free = [domain for domain in candidates if domain not in used]
    random.SystemRandom().shuffle(free)
    picked: list[int] = []
    for domain in free:
        if len(picked) < count and _claim(domain):
            picked.append(domain)
    if len(picked) < count:
        release_domains(picked)
        claimed = sorted(set(free) - set(picked))
        raise RuntimeError(
            f"ROS domains: found {len(picked)} without a node on this computer, expected {count}; "
            f"in use are {', '.join(map(str, used)) or 'none'}, other runs are about to use "
            f"{', '.join(map(str, claimed)) or 'none'}"
        )
    return picked


def release_domains(domains: Iterable[int] | None = None) -> None:
    """Let others have domains of `free_domains`; None: all that this process has claimed."""
    for domain in list(_claims) if domains is None else domains:
        _claims.pop(domain).close()


def _claim(domain: int) -> bool:
    """Take a name that one process can have at a time; the kernel frees it with the process."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(_CLAIM.format(domain))
    except OSError:
        claim.close()
        return False
    _claims[domain] = claim
    return True


def free_bytes(folder: Path) -> int:
    """Bytes left on the disk of a folder."""
    return shutil.disk_usage(folder).free
