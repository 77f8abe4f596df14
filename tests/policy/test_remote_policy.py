"""A policy over a real socket: it answers like the one behind it, or there is an error."""

from __future__ import annotations

import threading
import time

import msgpack
import numpy as np
import pytest
from remote_ends import PATIENT, VALUES, CountingPolicy, first_action
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.remote import client as client_module
from roboalign_policy.remote.client import RemoteError, RemotePolicy
from roboalign_policy.remote.messages import (
    PROTOCOL,
    Fault,
    Hello,
    Reply,
    Request,
    ServerTimings,
    Welcome,
)
from roboalign_policy.remote.server import PolicyServer
from roboalign_policy.remote.wire import WireError, pack, unpack

NO_TIME = ServerTimings(0.0, 0.0, 0.0)


@pytest.fixture
def policy():
    return CountingPolicy()


@pytest.fixture
def server(policy):
    with PolicyServer(policy) as server:
        yield server
        policy.gate.set()


@pytest.fixture
def remote(server):
    remote = RemotePolicy(server.url, **PATIENT)
    yield remote
    remote.close()


def test_the_remote_policy_describes_the_one_behind_it(policy, remote):
    assert remote.contract == policy.contract
    assert (remote.hash, remote.horizon, remote.dims) == (policy.hash, 8, 7)
    assert remote.connected and remote.last_timings is None


def test_an_answer_arrives_as_it_was_given(policy, remote):
    found = remote.act(VALUES, "öffne die Schublade", remaining=np.ones((3, 7), np.float32))
    assert (found.status, found.tokens, found.reasoning) == (ChunkStatus.OK, [1], "call 1")
    assert found.actions.dtype == np.float32 and found.actions.shape == (8, 7)
    assert (found.actions == 1.0).all() and found.inference_s == 0.01
    values, instruction, remaining = policy.calls[0]
    assert instruction == "öffne die Schublade" and remaining.shape == (3, 7)
    assert values.keys() == VALUES.keys()
    for key, value in VALUES.items():
        assert values[key].dtype == value.dtype and (values[key] == value).all()
    remote.act(VALUES, "again")
    assert policy.calls[1][2] is None


def test_timings_tell_model_from_network(policy, remote):
    policy.answer = lambda: (
        time.sleep(0.05) or Prediction(None, [], "", ChunkStatus.UNDECODABLE, "x", 0.05)
    )
    remote.act(VALUES, "x")
    times = remote.last_timings
    assert times.model_s >= 0.05
    assert times.round_trip_s > times.server_s >= times.queued_s + times.model_s
    assert times.network_s == pytest.approx(times.round_trip_s - times.server_s)


def test_an_answer_without_actions_says_why(policy, remote):
    policy.answer = lambda: Prediction(None, [3], "hm", ChunkStatus.UNDECODABLE, "too short", 0.1)
    found = remote.act(VALUES, "x")
    assert (found.actions, found.status, found.detail) == (
        None,
        ChunkStatus.UNDECODABLE,
        "too short",
    )


@pytest.mark.parametrize(
    ("actions", "status", "text"),
    [
        (
            np.zeros((7, 7), np.float32),
            ChunkStatus.OK,
            r"float32 \(7, 7\), expected float32 \(8, 7\)",
        ),
        (np.zeros((8, 7), np.float64), ChunkStatus.OK, "actions float64"),
        (np.full((8, 7), np.nan, np.float32), ChunkStatus.OK, "not finite"),
        (np.full((8, 7), np.inf, np.float32), ChunkStatus.OK, "not finite"),
        (None, ChunkStatus.OK, "actions none"),
        (np.zeros((8, 7), np.float32), ChunkStatus.NON_FINITE, "actions with status non_finite"),
        (np.zeros((8, 7), np.float16), ChunkStatus.OK, "found dtype float16"),
        (None, "fine", "found 'fine', expected ok"),
    ],
)
def test_actions_that_cannot_be_executed_are_an_error(policy, remote, actions, status, text):
    policy.answer = lambda: Prediction(actions, [], "", status, "", 0.1)
    with pytest.raises(RemoteError, match=text):
        remote.act(VALUES, "x")
    assert remote.last_timings is None
    policy.answer = None
    assert first_action(remote.act(VALUES, "x")) == 2.0


def test_what_the_policy_raises_is_told_without_a_traceback(policy, remote):
    def fail():
        raise KeyError("state.ee: not in the values")

    policy.answer = fail
    with pytest.raises(RemoteError, match="the policy raised KeyError: .*state.ee") as error:
        remote.act(VALUES, "x")
    assert "Traceback" not in str(error.value) and ".py" not in str(error.value)
    policy.answer = None
    assert first_action(remote.act(VALUES, "x")) == 2.0


def test_a_value_that_cannot_be_sent_is_told_and_nothing_is_sent(policy, remote):
    with pytest.raises(WireError, match="state.ee: found dtype float16"):
        remote.act({"state.ee": np.zeros(3, np.float16)}, "x")
    assert policy.calls == [] and remote.connected


def test_one_inference_at_a_time_in_one_thread_whoever_asks(policy, server):
    answers = []

    def ask():
        remote = RemotePolicy(server.url, **PATIENT)
        for _ in range(10):
            answers.append(first_action(remote.act(VALUES, "x")))
        remote.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert sorted(answers) == list(range(1, 41))
    assert policy.most == 1 and len(policy.threads) == 1


def test_another_policy_than_expected_is_refused_by_both_hashes(server):
    RemotePolicy(server.url, policy_hash="a" * 64, **PATIENT).close()
    with pytest.raises(RemoteError, match=f"found {'a' * 64}, expected {'c' * 64}"):
        RemotePolicy(server.url, policy_hash="c" * 64, **PATIENT)


def test_a_client_of_another_version_is_told_both(server, monkeypatch):
    def newer(tool, policy_hash):
        return Hello(tool, policy_hash, PROTOCOL + 1)

    monkeypatch.setattr(client_module, "Hello", newer)
    text = f"found {PROTOCOL + 1} of .*, expected {PROTOCOL}"
    with pytest.raises(RemoteError, match=text):
        RemotePolicy(server.url, **PATIENT)


def test_a_server_of_another_version_is_told_both(policy, monkeypatch):
    def newer(*parts):
        return Welcome(*parts, PROTOCOL + 1)

    monkeypatch.setattr("roboalign_policy.remote.server.Welcome", newer)
    with PolicyServer(policy) as server:
        text = f"found {PROTOCOL + 1} of .*, expected {PROTOCOL}"
        with pytest.raises(RemoteError, match=text):
            RemotePolicy(server.url, **PATIENT)


def test_a_message_that_is_too_long_is_refused_by_either_end(policy):
    with PolicyServer(policy, max_message_bytes=30_000) as server:
        long = RemotePolicy(server.url, **PATIENT)
        with pytest.raises(RemoteError, match="lost"):
            long.act(VALUES, "x")
        short = RemotePolicy(server.url, max_message_bytes=30_000, **PATIENT)
        with pytest.raises(WireError, match="expected at most 30000"):
            short.act(VALUES, "x")
        assert policy.calls == []
        short.close()


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([b"\x00junk"], "no valid msgpack"),
        (["text"], "found str, expected a binary message"),
        ([pack(Request(1, {}, "x"))], "found Request, expected the first message"),
        ([pack(Hello("t")), pack(Hello("t"))], "found Hello, expected one above 0"),
        ([pack(Hello("t")), pack(Request(0, {}, "x"))], "found 0, expected one above 0"),
        ([pack(Hello("t")), msgpack.packb({"kind": "act", "id": 1})], "expected the keys"),
    ],
)
def test_the_server_refuses_what_is_not_the_protocol_and_goes_on(policy, server, messages, text):
    with connect(server.url, proxy=None) as raw:
        for message in messages[:-1]:
            raw.send(message)
            assert isinstance(unpack(raw.recv(30.0)), Welcome)
        raw.send(messages[-1])
        fault = unpack(raw.recv(30.0))
        assert isinstance(fault, Fault) and fault.id is None and text in fault.message
        with pytest.raises(ConnectionClosed):
            raw.recv(30.0)
    remote = RemotePolicy(server.url, **PATIENT)
    assert first_action(remote.act(VALUES, "x")) == 1.0
    remote.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda p, i: pack(Reply(i + 1, p.act({}, ""), NO_TIME)), "found Reply 2, .* answer to 1"),
        (lambda p, i: pack(Reply(0, p.act({}, ""), NO_TIME)), "found Reply 0, .* answer to 1"),
        (
            lambda p, i: pack(Fault(i + 1, "ValueError", "x")),
            "found ValueError: x, .* answer to 1",
        ),
        (lambda p, i: pack(Fault(None, "WireError", "x")), "found WireError: x, .* answer to 1"),
        (lambda p, i: pack(Hello("t")), "found Hello , .* answer to 1"),
        (lambda p, i: b"\xc1", "no valid msgpack"),
        (lambda p, i: "text", "expected a binary message"),
    ],
)
def test_what_is_no_answer_to_this_request_is_an_error(policy, answer, text):
    def handle(connection):
        connection.recv()
        connection.send(
            pack(Welcome("t", policy.hash, policy.contract.to_yaml(), 8, 7, True, "fresh", 0))
        )
        connection.send(answer(policy, unpack(connection.recv()).id))

    with serve(handle, "127.0.0.1", 0) as raw:
        threading.Thread(target=raw.serve_forever, daemon=True).start()
        remote = RemotePolicy(f"ws://127.0.0.1:{raw.socket.getsockname()[1]}", **PATIENT)
        with pytest.raises(RemoteError, match=text):
            remote.act(VALUES, "x")
        assert not remote.connected and remote.last_timings is None


def test_a_page_in_a_browser_may_not_ask(server):
    with (
        pytest.raises(InvalidStatus, match="403"),
        connect(server.url, origin="https://example.org", proxy=None),
    ):
        pass


def test_what_a_chunk_is_to_be_made_with_arrives(policy, remote):
    assert (remote.thinks, remote.chunking) == (True, "fresh")
    rest = np.ones((3, 7), np.float32)
    remote.act(VALUES, "go", remaining=rest, thought="grasp the cube", frozen=2)
    assert policy.given == ("grasp the cube", 2)
    remote.act(VALUES, "go")
    assert policy.given == (None, 0)


def test_a_thought_does_not_wait_for_an_action_nor_the_other_way(policy, remote):
    """Both have a connection and, at the server, a thread of their own."""
    policy.gate.clear()
    acting = threading.Thread(target=remote.act, args=(VALUES, "go"))
    acting.start()
    try:
        assert remote.think(VALUES, "go") == "thought 1"
        assert remote.think(VALUES, "go on") == "thought 2"
        assert acting.is_alive()
    finally:
        policy.gate.set()
        acting.join(30.0)
    assert not acting.is_alive()
    (values, instruction, thread), (_, second, other) = policy.thoughts
    assert values.keys() == VALUES.keys()
    assert (instruction, second) == ("go", "go on")
    assert thread == other and thread not in policy.threads


def test_closing_ends_the_thoughts_too(policy, remote):
    remote.think(VALUES, "go")
    remote.close()
    with pytest.raises(RemoteError, match="closed"):
        remote.think(VALUES, "go")
