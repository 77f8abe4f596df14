"""The safety gate's transports: never shared memory, whatever profile is in use."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from roboalign_policy.core.host.facts import read_profile
from roboalign_policy.core.host.udp_profile import udp_environment, udp_profile

CONFIG = Path(__file__).resolve().parents[2] / "roboalign_policy/config"
SPACE = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"
PACKAGED = (CONFIG / "fastdds_profile.xml").read_text()
BUILTIN = """<dds xmlns="http://www.eprosima.com"><profiles>
  <participant profile_name="lab" is_default_profile="true"><rtps>
    <name>lab</name><builtinTransports>LARGE_DATA</builtinTransports>
  </rtps></participant>
  <participant profile_name="second"/>
</profiles></dds>"""


def transports(text):
    """Types of the transports of each participant, builtin among them, by profile name."""
    root = ET.fromstring(text)
    space = root.tag.partition("}")[0] + "}"
    types = {
        item.findtext(f"{space}transport_id"): item.findtext(f"{space}type")
        for item in root.iter(f"{space}transport_descriptor")
    }
    found = {}
    for participant in root.iter(f"{space}participant"):
        used = [types[i.text] for i in participant.iter(f"{space}transport_id")]
        if participant.findtext(f"{space}rtps/{space}useBuiltinTransports") != "false":
            used.append("builtin")
        found[participant.get("profile_name")] = used
    return found


def test_the_packaged_profile_keeps_its_interface():
    text = udp_profile(PACKAGED, False)
    assert transports(text) == {"roboalign": ["UDPv4"]}
    assert "SHM" not in text
    assert "<address>127.0.0.1</address>" in text
    assert ET.fromstring(text).tag == f"{SPACE}profiles"
    assert "ns0:" not in text  # Fast DDS reads names as they are


def test_without_a_profile_the_default_one_is_made():
    text = udp_profile("", False)
    assert transports(text) == {"roboalign_commands": ["UDPv4"]}
    assert ET.fromstring(text).find(f"{SPACE}participant").get("is_default_profile") == "true"


def test_builtin_transports_become_udp():
    text = udp_profile(BUILTIN, False)
    assert transports(text) == {"lab": ["UDPv4"], "second": ["UDPv4"]}
    assert "builtinTransports" not in text.replace("useBuiltinTransports", "")
    assert "<name>lab</name>" in text


def test_all_participants_of_a_host_are_found_without_multicast():
    for text in (PACKAGED, "", BUILTIN):
        root = ET.fromstring(udp_profile(text, False))
        ranges = [e.text for e in root.iter() if e.tag.endswith("maxInitialPeersRange")]
        assert ranges and set(ranges) == {"100"}


def test_the_environment_names_the_profile_it_wrote(tmp_path):
    environment = {"FASTRTPS_DEFAULT_PROFILES_FILE": str(CONFIG / "fastdds_profile.xml")}
    changes, why = udp_environment(environment, tmp_path)
    assert not why
    assert set(changes) == {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}
    assert read_profile(changes).segment_bytes == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.1"},
        {"ROS_LOCALHOST_ONLY": "1", "ROS_STATIC_PEERS": "10.0.0.1"},
    ],
)
def test_on_this_machine_only_means_the_loopback_interface(environment, tmp_path):
    changes, why = udp_environment(environment, tmp_path)
    assert not why
    # rmw_fastrtps adds shared memory by itself where it is asked for LOCALHOST.
    assert changes["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "SUBNET"
    assert changes["ROS_LOCALHOST_ONLY"] == "0"
    assert changes["ROS_STATIC_PEERS"] == "127.0.0.1;10.0.0.1"
    root = ET.parse(changes["FASTDDS_DEFAULT_PROFILES_FILE"]).getroot()
    (descriptor,) = root.iter(f"{SPACE}transport_descriptor")
    assert [e.text for e in descriptor.iter(f"{SPACE}address")] == ["127.0.0.1"]


def test_interfaces_of_a_robot_over_several_machines_stay(tmp_path):
    path = tmp_path / "lab.xml"
    path.write_text(PACKAGED.replace("127.0.0.1", "192.168.1.5"))
    changes, _ = udp_environment({"FASTDDS_DEFAULT_PROFILES_FILE": str(path)}, tmp_path)
    assert "192.168.1.5" in Path(changes["FASTDDS_DEFAULT_PROFILES_FILE"]).read_text()
    assert "ROS_STATIC_PEERS" not in changes


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}, ""),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA?max_msg_size=1MB"}, "LARGE_DATA"),
    ],
)
def test_where_the_transports_stay_the_reason_is_told(environment, reason, tmp_path):
    changes, why = udp_environment(environment, tmp_path)
    assert changes == {}
    assert reason in why and bool(reason) == bool(why)


@pytest.mark.parametrize("text", [None, "<profiles>"])
def test_a_profile_that_cannot_be_read_is_no_reason_to_go_on_without(text, tmp_path):
    path = tmp_path / "lab.xml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=f"FASTRTPS_DEFAULT_PROFILES_FILE: found {path}"):
        udp_environment({"FASTRTPS_DEFAULT_PROFILES_FILE": str(path)}, tmp_path)
