"""A Fast DDS profile without shared memory, made from the one in use.

A process that is killed while it holds a lock in shared memory stops everybody who writes to it
there, until they are restarted. What stops the arm must not hang on that lock: safety_gate_node
speaks UDP only, and leaves the images, which need shared memory, to a process of its own.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from roboalign_policy.core.host.facts import PROFILE_VARIABLES

BUILTIN_VARIABLE = "FASTDDS_BUILTIN_TRANSPORTS"
_NAMESPACE = "http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles"
_OWN = "roboalign_commands"
#: Without multicast (discovery range LOCALHOST) a participant announces itself to so many others
#: on a host; Fast DDS's default of 4 reaches only the first ones where shared memory is no help.
_INITIAL_PEERS = "100"
_RANGE, _PEERS, _LOCAL_ONLY = (
    "ROS_AUTOMATIC_DISCOVERY_RANGE",
    "ROS_STATIC_PEERS",
    "ROS_LOCALHOST_ONLY",
)
_LOOPBACK = "127.0.0.1"


def udp_environment(environment: Mapping[str, str], folder: Path) -> tuple[dict[str, str], str]:
    """Find the variables with which a process of ROS 2 speaks UDP only.

    Args:
        environment: of this process.
        folder: existing; the profile is written into it.

    Returns:
        Variables to set before the first node is made; empty with another middleware than Fast
        DDS, and where nobody would be reached by UDP: then the reason comes with it, else "".

    Raises:
        ValueError: the profile that the environment names cannot be read.
    """
    if "fastrtps" not in environment.get("RMW_IMPLEMENTATION", "fastrtps"):
        return {}, ""
    builtin = environment.get(BUILTIN_VARIABLE, "")
    if builtin.startswith("LARGE_DATA"):
        # Such participants have no UDP for data: with UDP only, nobody would be reached.
        return {}, f"{BUILTIN_VARIABLE}={builtin} lets commands share a transport with images"
    local = (
        environment.get(_RANGE, "").upper() == "LOCALHOST" or environment.get(_LOCAL_ONLY) == "1"
    )
    name = next((name for name in PROFILE_VARIABLES if environment.get(name)), "")
    path = environment.get(name, "")
    try:
        text = udp_profile(Path(path).read_text(encoding="utf-8") if path else "", local)
    except (OSError, ET.ParseError) as error:
        raise ValueError(f"{name}: found {path} ({error}), expected a Fast DDS profile") from error
    target = folder / "udp_profile.xml"
    target.write_text(text, encoding="utf-8")
    changes = {name: str(target) for name in PROFILE_VARIABLES}
    if local:
        # By LOCALHOST rmw_fastrtps adds shared memory of its own accord. The same without it: a
        # profile that keeps to the loopback interface, and its host as a peer.
        peers = [_LOOPBACK, *filter(None, [environment.get(_PEERS)])]
        changes |= {_RANGE: "SUBNET", _LOCAL_ONLY: "0", _PEERS: ";".join(peers)}
    return changes, ""


def udp_profile(text: str, local: bool) -> str:
    """Rewrite a profile so that no participant uses shared memory.

    Args:
        text: XML of a Fast DDS profile; empty: there is none.
        local: keep to the loopback interface.

    Returns:
        XML; other transports, interfaces and quality-of-service profiles are as they were.

    Raises:
        xml.etree.ElementTree.ParseError: ``text`` is not XML.
    """
    root = ET.fromstring(text or f'<profiles xmlns="{_NAMESPACE}"/>')
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    if space:
        ET.register_namespace("", space[1:-1])  # Fast DDS knows no prefixes
    profiles = root if root.tag == f"{space}profiles" else _child(root, f"{space}profiles")
    descriptors = profiles.find(f"{space}transport_descriptors")
    if descriptors is None:
        descriptors = ET.Element(f"{space}transport_descriptors")
        profiles.insert(0, descriptors)
    shared = set()
    for descriptor in list(descriptors):
        kind = descriptor.findtext(f"{space}type", "").strip()
        if kind == "SHM":
            shared.add(descriptor.findtext(f"{space}transport_id", "").strip())
            descriptors.remove(descriptor)
        elif kind.startswith("UDP"):
            _reach(descriptor, space, local)
    own = ET.SubElement(descriptors, f"{space}transport_descriptor")
    for tag, value in (("transport_id", _OWN), ("type", "UDPv4")):
        _set(own, space + tag, value)
    _reach(own, space, local)
    participants = profiles.findall(f"{space}participant")
    if not any(item.get("is_default_profile") == "true" for item in participants):
        attributes = {"profile_name": _OWN, "is_default_profile": "true"}
        participants.append(ET.SubElement(profiles, f"{space}participant", attributes))
    for participant in participants:
        _without(participant, space, shared)
    return ET.tostring(root, encoding="unicode")


def _without(participant: ET.Element, space: str, shared: set[str]) -> None:
    """Take shared memory from one participant; builtin UDP becomes a transport of our own."""
    rtps = _child(participant, f"{space}rtps")
    users = _child(rtps, f"{space}userTransports")
    for item in list(users):
        if (item.text or "").strip() in shared:
            users.remove(item)
    for item in rtps.findall(f"{space}builtinTransports"):
        rtps.remove(item)
    builtin = (rtps.findtext(f"{space}useBuiltinTransports") or "true").strip().lower()
    if builtin in ("true", "1") or not len(users):
        ET.SubElement(users, f"{space}transport_id").text = _OWN
    _set(rtps, f"{space}useBuiltinTransports", "false")


def _reach(descriptor: ET.Element, space: str, local: bool) -> None:
    """Make a UDP transport reach all participants of a host, with ``local`` of no other one."""
    _set(descriptor, f"{space}maxInitialPeersRange", _INITIAL_PEERS)
    tag = f"{space}interfaceWhiteList"
    if local:
        for item in descriptor.findall(tag):
            descriptor.remove(item)
        ET.SubElement(ET.SubElement(descriptor, tag), f"{space}address").text = _LOOPBACK


def _set(parent: ET.Element, tag: str, value: str) -> None:
    _child(parent, tag).text = value


def _child(parent: ET.Element, tag: str) -> ET.Element:
    """The child of that tag, made where there is none."""
    child = parent.find(tag)
    return ET.SubElement(parent, tag) if child is None else child
