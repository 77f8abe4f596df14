"""The wire of remote inference: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import pickle

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboalign_policy.core.policy.prediction import ANSWERED, ChunkStatus, Prediction
from roboalign_policy.remote.messages import (
    PROTOCOL,
    Fault,
    Hello,
    Reply,
    Request,
    ServerTimings,
    ThinkRequest,
    ThoughtReply,
    Welcome,
)
from roboalign_policy.remote.wire import DTYPES, VersionError, WireError, pack, unpack

ACTIONS = np.arange(6, dtype=np.float32).reshape(3, 2)
TIMINGS = ServerTimings(0.1, 0.2, 0.4)
REPLY = Reply(3, Prediction(ACTIONS, [1, 2], "red cube", ChunkStatus.OK, "", 0.2), TIMINGS)
REQUEST = Request(7, {"image.front": np.zeros((4, 5, 3), np.uint8)}, "open the drawer", ACTIONS)
MESSAGES = [
    Hello("tool 1", "abc"),
    Welcome("tool 2", "abc", "schema: x\n", 8, 7, True, "fresh", 4),
    ThinkRequest(4, {"state.ee": np.zeros(3, np.float32)}, "go"),
    ThoughtReply(4, "grasp it", ServerTimings(0.1, 0.2, 0.3)),
    REQUEST,
    Request(8, {}, "stay"),
    REPLY,
    Reply(4, Prediction(None, [], "", ChunkStatus.UNDECODABLE, "too short", 0.0), TIMINGS),
    Fault(None, "WireError", "what"),
    Fault(2, "ValueError", "grüße"),
]


def same(a, b):
    """Equality that looks into arrays, with dtype and shape."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if hasattr(a, "__dataclass_fields__"):
        return type(a) is type(b) and same(vars(a), vars(b))
    return type(a) is type(b) and a == b


def body_of(message):
    """The plain data that travels, to be spoilt."""
    return msgpack.unpackb(pack(message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_comes_back_as_it_was(message):
    assert same(unpack(pack(message)), message)


@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4), st.data())
def test_an_array_comes_back_with_dtype_shape_and_values(dtype, shape, data):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    array = np.frombuffer(raw, dtype).reshape(shape)
    found = unpack(pack(Request(1, {"a": array}, ""))).values["a"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == raw
    assert found.flags.writeable and found.flags.c_contiguous and found.flags.aligned


def test_an_array_that_is_a_view_is_sent_in_c_order():
    wide = np.arange(24, dtype=np.int64).reshape(4, 6)
    for view in (wide.T, wide[::2, ::-1], np.asfortranarray(wide)):
        assert same(unpack(pack(Request(1, {"a": view}, ""))).values["a"], view)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object),
        np.zeros(2, np.float16),
        np.zeros(2, bool),
        np.zeros(2, "U3"),
        np.zeros(2, ">f4"),
        np.zeros(2, [("x", "f4")]),
        np.zeros(2, "datetime64[ns]"),
    ],
    ids=lambda array: str(array.dtype),
)
def test_another_dtype_is_not_sent(array):
    with pytest.raises(WireError, match=r"act\.values\.state\.x: found dtype .*, expected uint8"):
        pack(Request(1, {"state.x": array}, ""))


@pytest.mark.parametrize(
    ("part", "value", "text"),
    [
        ("dtype", "object", "found dtype 'object'"),
        ("dtype", "float16", "found dtype 'float16'"),
        ("dtype", "O8", "found dtype 'O8'"),
        ("dtype", ["f4"], "expected text"),
        ("shape", [4, 5, 4], "found 60 bytes for uint8"),
        ("shape", [2**32, 2**32], "expected 18446744073709551616"),
        ("shape", [-4, -15], "expected a whole number"),
        ("shape", [4.0, 15], "expected a whole number"),
        ("shape", [True, 60], "expected a whole number"),
        ("shape", [1] * 9 + [60], "at most 8 dimensions"),
        ("shape", "60", "expected a list"),
        ("data", "a" * 60, "expected bytes"),
        ("data", b"a" * 59, "found 59 bytes"),
        ("data", [0] * 60, "expected bytes"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(part, value, text):
    body = body_of(REQUEST)
    body["values"]["image.front"][part] = value
    with pytest.raises(WireError, match=r"act\.values\.image\.front") as error:
        unpack(msgpack.packb(body))
    assert text in str(error.value)


def test_an_empty_array_as_wide_as_memory_is_refused():
    body = body_of(REQUEST)
    body["values"]["image.front"].update(shape=[0, 2**62, 2**62], data=b"")
    with pytest.raises(WireError, match=r"image\.front"):
        unpack(msgpack.packb(body))


@pytest.mark.parametrize(
    ("message", "path", "value"),
    [
        (REQUEST, ["id"], -1),
        (REQUEST, ["id"], "7"),
        (REQUEST, ["id"], True),
        (REQUEST, ["instruction"], b"open"),
        (REQUEST, ["values"], [1]),
        (REQUEST, ["values"], {"a": None}),
        (REQUEST, ["values"], {b"a": body_of(REQUEST)["remaining"]}),
        (REQUEST, ["remaining"], 3),
        (REQUEST, ["extra"], 1),
        (REPLY, ["prediction", "status"], "fine"),
        (REPLY, ["prediction", "status"], ["ok"]),
        (REPLY, ["prediction", "tokens"], [1.5]),
        (REPLY, ["prediction", "inference_s"], float("nan")),
        (REPLY, ["prediction", "extra"], 1),
        (REPLY, ["timings", "model_s"], -1.0),
        (REPLY, ["timings", "model_s"], float("inf")),
        (REPLY, ["timings"], None),
        (REPLY, ["kind"], "reply"),
        (REPLY, ["kind"], ["act"]),
    ],
)
def test_a_field_that_is_wrong_is_refused(message, path, value):
    body = inner = body_of(message)
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(WireError, match=path[-1]):
        unpack(msgpack.packb(body))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_field_that_is_missing_is_refused(message):
    for key in body_of(message):
        body = body_of(message)
        del body[key]
        with pytest.raises(WireError, match=key):
            unpack(msgpack.packb(body))


@pytest.mark.parametrize(
    "message", [Hello("new"), Welcome("new", "h", "", 1, 1, False, "fresh", 0)]
)
def test_another_version_is_told_by_both_numbers_whatever_else_it_says(message):
    body = {"kind": body_of(message)["kind"], "protocol": PROTOCOL + 1, "tool": "new", "more": 1}
    with pytest.raises(VersionError, match=rf"found {PROTOCOL + 1} of 'new', expected {PROTOCOL}"):
        unpack(msgpack.packb(body))


class Trap:
    """Would be executed by whoever unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # a list of 4e9
        b"\x91" * 100_000,
        msgpack.packb(3),
        msgpack.packb([1]),
        msgpack.packb({"kind": "act"}) + b"\x00",
        msgpack.packb({1: 2}),
        msgpack.packb({"kind": msgpack.ExtType(5, b"abc")}),
        msgpack.packb({"kind": msgpack.Timestamp(1)}),
        b"\x81\xa4kind\xa1\xff",  # not UTF-8
        pickle.dumps(Trap()),
        "text",
        None,
    ],
    ids=range(14),
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(WireError):
        unpack(data)


def test_a_message_of_many_small_parts_is_refused_before_it_fills_the_memory():
    with pytest.raises(WireError, match="more than 256 lists"):
        unpack(msgpack.packb([[] for _ in range(10_000)]))
    with pytest.raises(WireError, match="max_array_len"):
        unpack(msgpack.packb([0] * 100_000))


def test_a_message_that_is_too_long_is_neither_sent_nor_read():
    data = pack(REQUEST)
    with pytest.raises(WireError, match=f"found {len(data)} bytes, expected at most 50"):
        pack(REQUEST, max_bytes=50)
    with pytest.raises(WireError, match=f"found {len(data)} bytes, expected at most 50"):
        unpack(data, max_bytes=50)
    assert same(unpack(data, max_bytes=len(data)), REQUEST)


def test_tokens_that_are_no_plain_numbers_are_not_sent():
    with pytest.raises(WireError, match="prediction: .*numpy.int64"):
        pack(
            Reply(
                1, Prediction(None, [np.int64(3)], "", ChunkStatus.UNDECODABLE, "", 0.1), TIMINGS
            )
        )


@given(st.binary(max_size=300))
def test_any_bytes_give_a_wire_error(data):
    with pytest.raises(WireError):
        unpack(data)


@given(st.sampled_from(MESSAGES), st.data())
def test_a_spoilt_message_is_a_message_or_a_wire_error(message, data):
    spoilt = bytearray(pack(message))
    for _ in range(data.draw(st.integers(1, 4))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = unpack(bytes(spoilt))
    except WireError:
        return
    if isinstance(found, Reply):
        assert found.prediction.status in ANSWERED
    for array in getattr(found, "values", {}).values():
        assert array.dtype.name in DTYPES
