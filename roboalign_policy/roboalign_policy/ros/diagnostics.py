"""Entries of /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from roboalign_policy.ros.stamps import ns_to_stamp


def diagnostic_status(
    name: str, level: bytes, message: str, values: Mapping[str, Any]
) -> DiagnosticStatus:
    """One entry.

    Args:
        name: the node's, then a colon and the part, as the convention has it.
        level: of `DiagnosticStatus`: how bad it is.
        message: a line for people.
        values: what is behind it.
    """
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def diagnostics_to_msg(stamp_ns: int, *entries: DiagnosticStatus) -> DiagnosticArray:
    """Message of some entries; ``stamp_ns``: ROS clock."""
    msg = DiagnosticArray(status=list(entries))
    msg.header.stamp = ns_to_stamp(stamp_ns)
    return msg
