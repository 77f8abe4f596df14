"""When server or network are lost: an error in time, never an older answer, and it heals."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from remote_ends import (
    PATIENT,
    VALUES,
    CountingPolicy,
    Relay,
    first_action,
    wait_for,
)
from websockets.protocol import State

from roboalign_policy.remote.client import RemoteError, RemotePolicy
from roboalign_policy.remote.server import PolicyServer


@pytest.fixture
def policy():
    return CountingPolicy()


@pytest.fixture
def server(policy):
    with PolicyServer(policy) as server:
        yield server
        policy.gate.set()


def answers_only_what_is_asked_now(remote, policy):
    """Ask until there is an answer; it must be one to the request "new"."""
    found = None

    def ask():
        nonlocal found
        try:
            found = remote.act(VALUES, "new")
        except RemoteError:  # two seconds may be short on a busy machine
            return False
        return True

    assert wait_for(ask)
    assert policy.calls[int(first_action(found)) - 1][1] == "new"


def test_a_late_answer_is_an_error_and_is_never_returned_later(policy, server):
    remote = RemotePolicy(server.url, timeout_s=2.0, connect_timeout_s=30.0)
    policy.gate.clear()
    with pytest.raises(RemoteError, match="no answer within 2.0 s|lost"):
        remote.act(VALUES, "old")
    assert not remote.connected  # so that nothing can arrive over it any more
    policy.gate.set()
    assert wait_for(lambda: policy.running == 0)
    for _ in range(3):
        answers_only_what_is_asked_now(remote, policy)
    remote.close()


def test_a_request_whose_client_has_gone_is_not_computed(policy, server):
    policy.gate.clear()
    first = RemotePolicy(server.url, **PATIENT)
    thread = threading.Thread(target=first.act, args=(VALUES, "first"))
    thread.start()
    assert wait_for(lambda: policy.running == 1)
    second = RemotePolicy(server.url, timeout_s=0.3, connect_timeout_s=30.0)
    with pytest.raises(RemoteError):
        second.act(VALUES, "gone")
    second.close()
    assert wait_for(lambda: sum(c.state is State.OPEN for c in server._connections) == 1)
    policy.gate.set()
    thread.join(30.0)
    assert first_action(first.act(VALUES, "third")) == 2.0
    assert [call[1] for call in policy.calls] == ["first", "third"]
    first.close()


def test_a_server_that_ends_is_an_error_and_the_same_policy_is_taken_again(policy):
    with PolicyServer(policy) as server:
        remote = RemotePolicy(server.url, **PATIENT)
        remote.act(VALUES, "x")
        port = server.port
    assert wait_for(lambda: not remote.connected)
    with pytest.raises(RemoteError, match="no connection: .*refused"):
        remote.act(VALUES, "x")
    with PolicyServer(policy, port=port):
        assert first_action(remote.act(VALUES, "x")) == 2.0
    with PolicyServer(CountingPolicy("b" * 64), port=port) as other:
        for _ in range(2):
            with pytest.raises(RemoteError, match=f"found {'b' * 64}, expected {'a' * 64}"):
                remote.act(VALUES, "x")
        assert other._policy.calls == []
    with PolicyServer(policy, port=port):
        assert first_action(remote.act(VALUES, "x")) == 3.0
        remote.close()
        with pytest.raises(RemoteError, match="closed"):
            remote.act(VALUES, "x")


def test_a_server_that_ends_during_an_inference_is_an_error(policy):
    server = PolicyServer(policy)
    remote = RemotePolicy(server.url, **PATIENT)
    policy.gate.clear()
    ending = threading.Thread(target=lambda: wait_for(lambda: policy.running) and server.close(0))
    ending.start()
    with pytest.raises(RemoteError, match="lost: .*1001"):
        remote.act(VALUES, "x")
    policy.gate.set()
    ending.join(30.0)
    assert server.close()
    remote.close()


def test_the_same_hash_with_another_contract_is_refused_when_connecting_again(policy):
    with PolicyServer(policy) as server:
        remote, port = RemotePolicy(server.url, **PATIENT), server.port
    policy.horizon = 4
    with (
        PolicyServer(policy, port=port),
        pytest.raises(RemoteError, match=r"found .* 4, 7, True, .* expected .* 8, 7, True"),
    ):
        remote.act(VALUES, "x")


def test_a_cut_network_is_noticed_between_requests(policy, server):
    with Relay(server.port) as relay:
        remote = RemotePolicy(relay.url, timeout_s=1.0, connect_timeout_s=3.0)
        relay.cut()
        assert wait_for(lambda: not remote.connected)
        with pytest.raises(RemoteError, match=r"no connection"):
            remote.act(VALUES, "x")
        assert policy.calls == []
        remote.close()


def test_a_network_cut_during_a_request_is_an_error_and_heals(policy, server):
    with Relay(server.port) as relay:
        remote = RemotePolicy(relay.url, timeout_s=2.0, connect_timeout_s=10.0)
        policy.gate.clear()
        cutting = threading.Thread(target=lambda: wait_for(lambda: policy.running) and relay.cut())
        cutting.start()
        with pytest.raises(RemoteError, match="no answer|lost"):
            remote.act(VALUES, "old")
        cutting.join(30.0)
        policy.gate.set()
        relay.mend()
        answers_only_what_is_asked_now(remote, policy)
        remote.close()


def test_a_network_cut_in_the_middle_of_a_picture_does_not_hold_the_call(policy, server):
    with Relay(server.port) as relay:
        remote = RemotePolicy(relay.url, timeout_s=3.0, connect_timeout_s=10.0)
        relay.cut()
        huge = {"image.front": np.zeros((2800, 2800, 3), np.uint8)}  # more than sockets buffer
        started_s = time.monotonic()
        with pytest.raises(RemoteError, match="lost|no answer"):
            remote.act(huge, "x")
        assert time.monotonic() - started_s < 30.0  # without a limit: a quarter of an hour
        assert policy.calls == []
        remote.close()


def test_an_observation_that_grew_old_while_connecting_is_not_sent(policy):
    with PolicyServer(policy) as server, Relay(server.port) as relay:
        remote = RemotePolicy(relay.url, timeout_s=0.4, connect_timeout_s=30.0)
        remote._drop()
        relay.cut()
        threading.Timer(0.8, relay.mend).start()
        with pytest.raises(RemoteError, match=r"not sent: .*expected 0\.4 s at most"):
            remote.act(VALUES, "old")
        assert policy.calls == [] and remote.connected
        remote.close()


def test_closing_ends_a_call_that_waits(policy, server):
    remote = RemotePolicy(server.url, **PATIENT)
    policy.gate.clear()
    closing = threading.Thread(target=lambda: wait_for(lambda: policy.running) and remote.close())
    closing.start()
    with pytest.raises(RemoteError, match="lost"):
        remote.act(VALUES, "x")
    closing.join(30.0)
    policy.gate.set()
