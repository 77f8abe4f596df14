"""Publishers and subscriptions of the whole graph as plain data, those of one's own left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.validate_namespace import validate_namespace

from roboalign_policy.core.graph.endpoints import UNNAMED, Endpoint, EndpointQos

Endpoints = dict[str, tuple[Endpoint, ...]]

# Source: rmw_dds_common, graph_cache.cpp: not known yet, and made without ROS.
_UNKNOWN = ("_NODE_NAME_UNKNOWN_", "_CREATED_BY_BARE_DDS_APP_")
_FOREVER_NS = 10**18


def publishers_of_graph(node: Node) -> Endpoints:
    """Return the publishers of all nodes but `node`, by full topic name."""
    return _endpoints(node, node.get_publishers_info_by_topic)


def subscribers_of_graph(node: Node) -> Endpoints:
    """Return the subscriptions of all nodes but `node`, by full topic name."""
    return _endpoints(node, node.get_subscriptions_info_by_topic)


def full_node_name(namespace: str, name: str) -> str:
    """Return a node's full name, or `UNNAMED` while the middleware does not know it."""
    return UNNAMED if name in _UNKNOWN else f"{namespace.rstrip('/')}/{name}"


def checked_namespace(namespace: str) -> str:
    """Return a namespace that nodes can be in; empty: none.

    Raises:
        ValueError: it is none, and why.
    """
    try:
        validate_namespace(namespace if namespace.startswith("/") else f"/{namespace}")
    except InvalidNamespaceException as error:
        fault = str(error).splitlines()[0]
        raise ValueError(f"namespace: found {namespace!r}: {fault}") from None
    return namespace


def _endpoints(node: Node, infos: Callable[[str], list[Any]]) -> Endpoints:
    own, found = node.get_fully_qualified_name(), {}
    for topic, _ in node.get_topic_names_and_types():
        ends = tuple(end for info in infos(topic) if (end := endpoint_of(info)).node != own)
        if ends:
            found[topic] = ends
    return found


def endpoint_of(info: Any) -> Endpoint:
    """One publisher or subscription as rclpy describes it."""
    profile = info.qos_profile
    deadline_ns = profile.deadline.nanoseconds
    return Endpoint(
        full_node_name(info.node_namespace, info.node_name),
        info.topic_type,
        EndpointQos(
            ReliabilityPolicy(profile.reliability).name.lower(),
            DurabilityPolicy(profile.durability).name.lower(),
            # Not set is 0 or, as the middleware has it, a duration without end.
            deadline_ns / 1e9 if 0 < deadline_ns < _FOREVER_NS else math.inf,
            profile.liveliness.name.lower(),
        ),
    )
