"""The computer against what a robot needs: governor, load, shared memory, Fast DDS, domains."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
from graph_world import HOST, faults, graph, only, panda, with_record

from roboalign_policy.core.host import facts as host_facts
from roboalign_policy.core.host.facts import (
    DEFAULT_SEGMENT_BYTES,
    DdsProfile,
    domains_of_ports,
    free_domains,
    read_host_facts,
    read_profile,
    release_domains,
)


@pytest.mark.parametrize(
    ("changes", "severity", "check", "fix"),
    [
        ({"governors": ("powersave",)}, "warning", "governor", "cpupower frequency-set"),
        ({"load": 9.0}, "warning", "load", "taskset"),
        ({"shm_free_bytes": 2**20}, "warning", "shared_memory", "--shm-size=1g"),
        ({"shm_abandoned_bytes": 2**26}, "warning", "shared_memory", "--clean-shared-memory"),
        (
            {"profile": DdsProfile("p.xml", "cannot be read: no such file")},
            "error",
            "shared_memory",
            "FASTRTPS_DEFAULT_PROFILES_FILE",
        ),
    ],
)
def test_a_fault_of_the_computer(changes, severity, check, fix):
    finding = only(panda(), graph(panda()), replace(HOST, **changes))
    assert (finding.severity, finding.check) == (severity, check)
    assert fix in finding.fix


def test_a_computer_without_cpufreq_and_without_dev_shm_is_in_order():
    assert not faults(panda(), graph(panda()), replace(HOST, governors=(), shm_free_bytes=None))


def test_shared_memory_is_asked_for_what_the_images_need():
    host = replace(HOST, profile=DdsProfile())
    assert not faults(panda(), graph(panda()), host)  # 128 x 128 fits the default

    def edit(data):
        data["observations"][0]["shape"] = [720, 1280, 3]

    contract = panda(edit)
    snapshot = with_record(graph(contract), contract, "image.front")
    snapshot.streams["image.front"].largest = 720 * 1280 * 3
    finding = only(contract, snapshot, host)
    assert (finding.severity, finding.check) == ("warning", "shared_memory")
    assert "15.8 MiB" in finding.found
    assert not faults(contract, snapshot)
    large = {**HOST.environment, "FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}
    assert not faults(contract, snapshot, replace(host, environment=large))
    exact = replace(HOST, profile=DdsProfile("p.xml", segment_bytes=6 * 720 * 1280 * 3))
    assert not faults(contract, snapshot, exact)
    short = replace(HOST, profile=DdsProfile("p.xml", segment_bytes=6 * 720 * 1280 * 3 - 1))
    assert only(contract, snapshot, short).check == "shared_memory"
    assert not faults(contract, replace(snapshot, middleware="rmw_zenoh_cpp"), host)


def test_facts_are_read_from_the_files_of_the_kernel(tmp_path):
    for number, governor in enumerate(("performance", "powersave")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
    facts = read_host_facts(tmp_path, {"ROS_DOMAIN_ID": "3"})
    assert facts.governors == ("performance", "powersave")
    assert facts.shm_free_bytes is None
    assert facts.profile == DdsProfile()
    assert facts.cores >= 1


def test_only_domains_without_a_participant_are_given_away(tmp_path, monkeypatch):
    monkeypatch.setattr(host_facts, "_CLAIM", f"\0roboalign-{os.getpid()}-{{}}")
    table = tmp_path / "udp"
    rows = [
        f"{n}: 00000000:{7400 + 250 * d + 10:04X} 00000000:0000" for n, d in enumerate((11, 13))
    ]
    table.write_text("\n".join(["head", *rows]))
    assert sorted(free_domains(range(11, 16), 3, table)) == [12, 14, 15]
    release_domains()
    with pytest.raises(RuntimeError, match="found 1 .*, expected 2; in use are 11, 13"):
        free_domains(range(11, 13), 2, table)
    release_domains()


def test_two_processes_never_get_one_domain():
    script = "from roboalign_policy.core.host.facts import *; print(*free_domains([203, 204], 1))"

    def other():
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    (mine,) = free_domains([203, 204], 1)
    assert other().stdout.split() == [str({203, 204}.difference({mine}).pop())]
    free_domains([203, 204], 1)
    refused = other()
    assert refused.returncode == 1 and "found 0 without a node" in refused.stderr
    assert "other runs are about to use 203, 204" in refused.stderr
    release_domains()
    assert other().returncode == 0


def test_what_killed_nodes_left_in_shared_memory_is_counted(tmp_path):
    (tmp_path / "dev/shm").mkdir(parents=True)
    (tmp_path / "dev/shm/fastrtps_0123").write_bytes(b"x" * 100)
    facts = read_host_facts(tmp_path, {})
    assert facts.shm_abandoned_bytes == 100 and facts.shm_free_bytes > 0


def test_the_packaged_profile_is_read_and_others_are_understood(tmp_path):
    from roboalign_policy.core.contract.files import packaged_contract_path

    packaged = packaged_contract_path("sim_panda").parents[1] / "fastdds_profile.xml"
    name = "FASTRTPS_DEFAULT_PROFILES_FILE"
    assert read_profile({name: str(packaged)}).segment_bytes == 64 * 2**20
    assert "cannot be read" in read_profile({name: str(tmp_path / "none.xml")}).fault
    path = tmp_path / "profile.xml"
    path.write_text("<profiles")
    assert "is not XML" in read_profile({name: str(path)}).fault
    path.write_text("<profiles><useBuiltinTransports>true</useBuiltinTransports></profiles>")
    assert read_profile({name: str(path)}).segment_bytes == DEFAULT_SEGMENT_BYTES
    path.write_text(
        "<profiles><type>UDPv4</type><useBuiltinTransports>false</useBuiltinTransports></profiles>"
    )
    assert read_profile({"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}).segment_bytes == 0


def test_domains_are_found_by_the_ports_of_their_participants(tmp_path):
    table = tmp_path / "udp"
    rows = [f"  0: 00000000:{port:04X} 00000000:0000 07" for port in (7400, 17910, 68, 8000)]
    table.write_text("\n".join(["header", *rows]) + "\n")
    assert domains_of_ports(table) == (0, 42)
    assert domains_of_ports(tmp_path / "none") == ()
