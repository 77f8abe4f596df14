"""The clients of simulated episodes: they end where nothing moves, and leave nothing running."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import rclpy
from rclpy.exceptions import InvalidNamespaceException
from std_msgs.msg import String

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.clients import rollout_client
from roboalign_policy.nodes.clients.client_node import ClientNode
from roboalign_policy.nodes.clients.record_client import RecordClient
from roboalign_policy.nodes.clients.rollout_client import RolloutClient, RolloutError
from roboalign_policy.ros.definitions import DefinitionError
from roboalign_policy.ros.qos import reliable_qos

STALL_S = 1.5


@pytest.fixture
def contexts(ros_domain, monkeypatch):
    """Every context that is made."""
    made, kind = [], rclpy.Context

    def make(*given):
        made.append(kind(*given))
        return made[-1]

    monkeypatch.setattr(rclpy, "Context", make)
    return made


@pytest.mark.parametrize("moving", [True, False])
def test_a_scene_that_is_repeated_is_no_progress(probe, ros_domain, moving):
    """In lock step the simulator repeats its observation each second until a command comes."""
    scenes = probe.node.create_publisher(String, "scene", reliable_qos(100))
    with RolloutClient("", ros_domain, STALL_S, load_contract("sim_panda"), 0, 0) as client:
        client.until(scenes.get_subscription_count, 30.0)
        began_s = time.monotonic()
        sent = 0

        def over():
            nonlocal sent
            if time.monotonic() - began_s > 0.2 * sent:
                scene = {"stamp_ns": 10**9 + moving * sent, "objects": {}, "step": sent}
                scenes.publish(String(data=json.dumps(scene)))
                sent += 1
            return time.monotonic() - began_s > 3 * STALL_S

        if moving:
            client._while_moving(over, "a policy that answers")
        else:
            with pytest.raises(RolloutError, match=f"waited {STALL_S:g} s for a hung policy"):
                client._while_moving(over, "a hung policy")
            assert client._scene["step"] > 0  # the repeated one was heard
        assert sent > 5


def test_a_rollout_client_that_cannot_be_made_leaves_nothing_running(contexts, monkeypatch):
    def uninstalled(name):
        raise DefinitionError(f"message type: {name!r} is not installed")

    monkeypatch.setattr(rollout_client, "message_class", uninstalled)
    with pytest.raises(DefinitionError, match="is not installed"):
        RolloutClient("", None, STALL_S, load_contract("sim_panda"), 1, 0)
    assert [context.ok() for context in contexts] == [False]


def test_a_record_client_that_cannot_be_made_leaves_nothing_running(contexts, monkeypatch):
    contract = load_contract("sim_panda")
    stream = replace(contract.observations[0], topic="no topic")
    with pytest.raises(RuntimeError, match="failed to resolve name"):
        RecordClient(replace(contract, observations=(stream,)))
    assert [context.ok() for context in contexts] == [False]


def test_a_client_of_no_namespace_leaves_nothing_running(contexts):
    with pytest.raises(InvalidNamespaceException):
        ClientNode("client", "no namespace")
    assert [context.ok() for context in contexts] == [False]


def test_the_executor_ends_before_its_node(contexts, monkeypatch):
    ended = []
    client = ClientNode("client")
    for part, name in ((client._executor, "shutdown"), (client.node, "destroy_node")):
        end = getattr(part, name)
        monkeypatch.setattr(part, name, lambda end=end, name=name: ended.append(name) or end())
    client.close()
    assert ended == ["shutdown", "destroy_node"]
    assert [context.ok() for context in contexts] == [False]
