"""Judging a stream against the contract: rate, gaps, stamps, clocks, lateness, content."""

from __future__ import annotations

import io
import math
import sys
from dataclasses import replace
from types import SimpleNamespace as Msg

import numpy as np
import pytest
from graph_world import HOST, START_NS, faults, graph, message, only, panda, with_record
from PIL import Image as PilImage

from roboalign_policy.core.doctor.graph_check import audit_streams, check_graph
from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.graph.endpoints import Endpoint, EndpointQos

JOINTS = "sensor_msgs/msg/JointState"


def check(key="image.front", contract=None, **arguments):
    """The one fault of a robot whose stream `key` is as `record` says."""
    contract = contract or panda()
    return only(contract, with_record(graph(contract), contract, key, **arguments))


def edited(**changes):
    """Contract sim_panda with changes in its camera."""
    return panda(lambda data: data["observations"][0].update(changes))


def test_a_publisher_that_sends_nothing_is_an_error():
    finding = check(skip=range(50))
    assert (finding.severity, finding.check) == ("error", "silence")
    assert "/driver publishes it" in finding.found


def test_a_slow_stream_is_a_warning_as_long_as_its_messages_stay_fresh():
    finding = check(rate_hz=5.0)
    assert (finding.severity, finding.check, finding.found) == ("warning", "rate", "5.0 Hz")
    assert "10 Hz" in finding.expected
    assert "rate_hz of the contract to 5 or less" in finding.fix


def test_a_stream_slower_than_its_greatest_age_is_an_error():
    finding = check(rate_hz=2.0)
    assert (finding.severity, finding.check) == ("error", "rate")
    assert "max_age_s 0.3 s" in finding.expected
    assert "raise observations[0].max_age_s" in finding.fix


def test_one_gap_is_a_warning_two_are_an_error():
    assert check(skip=range(20, 24)).severity == "warning"
    finding = check(skip=[*range(20, 24), *range(30, 34)])
    assert (finding.severity, finding.check) == ("error", "gaps")
    assert "2 silences beyond 0.3 s, the longest 0.50 s" in finding.found


def test_an_irregular_stream_is_a_warning():
    late = [n for n in range(100) if n % 10 in (1, 2, 3)]
    finding = check(rate_hz=20.0, skip=late)
    assert (finding.severity, finding.check) == ("warning", "jitter")


def test_a_tolerance_shorter_than_the_period_leaves_frames_without_a_message():
    contract = edited(align={"method": "asof", "clock": "header", "tolerance_s": 0.02})
    finding = check(contract=contract)
    assert (finding.severity, finding.check) == ("warning", "align")
    assert "20% of the frames" in finding.found


def test_stamps_of_zero_are_an_error_unless_receipt_counts():
    snapshot = graph(panda())
    snapshot.streams["image.front"].header_ns[:] = [0] * 50
    finding = only(panda(), snapshot)
    assert (finding.severity, finding.check) == ("error", "stamps")
    assert "0 in 50 of 50 messages" in finding.found
    assert "edit observations[0].align to {clock: receive}" in finding.fix
    by_receipt = edited(align={"method": "hold", "clock": "receive", "tolerance_s": 0.05})
    assert not faults(by_receipt, snapshot)


def test_stamps_of_zero_of_a_driver_that_waits_for_a_clock():
    snapshot = graph(panda(), use_sim_time={"/driver": True})
    snapshot.streams["image.front"].header_ns[:] = [0] * 50
    stamps = [f for f in faults(panda(), snapshot) if f.check == "stamps"]
    assert "ros2 param set /driver use_sim_time false" in stamps[0].fix


def test_a_stamp_that_stands_still_is_an_error_and_nothing_else():
    snapshot = graph(panda())
    snapshot.streams["image.front"].header_ns[:] = [START_NS - 10**12] * 50
    finding = only(panda(), snapshot)
    assert (finding.severity, finding.check) == ("error", "stamps")
    assert "stands still" in finding.found


def test_repeated_and_falling_stamps_are_a_warning():
    snapshot = graph(panda())
    stamps = snapshot.streams["image.front"].header_ns
    stamps[10], stamps[20] = stamps[9], stamps[18] - 1
    finding = only(panda(), snapshot)
    assert finding.severity == "warning"
    assert finding.found == "1 repeated stamps, 1 that go back"


@pytest.mark.parametrize(
    ("ahead_s", "severity"), [(0.02, "warning"), (0.06, "error"), (2.0, "error")]
)
def test_stamps_in_the_future_count_as_fresher_than_they_are(ahead_s, severity):
    finding = check(late_s=-ahead_s)
    assert (finding.severity, finding.check) == (severity, "clock")
    assert "in the future" in finding.found
    assert "chronyc" in finding.fix


def test_a_clock_of_the_devices_own_is_told_from_lateness():
    finding = check(late_s=(START_NS - 10**12) / 1e9)  # stamps count from about 1000 s
    assert (finding.severity, finding.check) == ("error", "clock")
    assert "since the device was started?" in finding.found
    assert "clock: receive" in finding.fix
    finding = check(late_s=3600.0)
    assert "/driver has a clock of its own" in finding.found


def test_late_images_are_a_warning_in_control_steps():
    finding = check(late_s=np.linspace(0.12, 0.2, 50), wire_s=0.01)
    assert (finding.severity, finding.check) == ("warning", "late")
    assert "1.6 control steps" in finding.found
    assert "before it was sent, 10 ms on the way" in finding.found
    assert "smaller images" in finding.fix
    assert "chronyc" not in finding.fix
    assert "clock: receive" in finding.fix


def test_lateness_on_the_way_and_a_steady_offset_have_other_fixes():
    assert "Fast DDS profile" in check(late_s=np.linspace(0.12, 0.2, 50), wire_s=0.15).fix
    assert "a clock that is behind" in check(late_s=0.16).fix


def test_images_older_than_their_greatest_age_are_an_error():
    finding = check(late_s=0.4)
    assert (finding.severity, finding.check) == ("error", "late")
    assert "max_age_s 0.3 s" in finding.expected


# --- content -----------------------------------------------------------------------------------


def test_an_image_of_another_size_names_both_ways_to_mend_it():
    picture = message(panda().stream("image.front"), height=480, width=640, step=1920)
    finding = check(msg=picture)
    assert (finding.severity, finding.check) == ("error", "image")
    assert "640 x 480 px" in finding.found
    assert "edit observations[0].shape to [480, 640, 3]" in finding.fix


def test_an_encoding_that_cannot_be_read_is_found_beside_a_wrong_size():
    stream = panda().stream("image.front")
    finding = check(msg=message(stream, encoding="16UC1", step=256))
    assert "'16UC1'" in finding.found
    assert "rgb8" in finding.fix and "range" in finding.fix
    both = message(stream, encoding="nv21", height=64)
    snapshot = with_record(graph(panda()), panda(), "image.front", msg=both)
    assert [f.check for f in faults(panda(), snapshot)] == ["image", "image"]


def test_a_range_of_8_bits_is_to_be_left_out():
    finding = check(contract=edited(range=[0, 255]))
    assert (finding.severity, finding.check) == ("error", "image")
    assert "image.front: range: found [0.0, 255.0], but image encoding 'rgb8'" in finding.found
    assert finding.fix.startswith("leave observations[0].range out, or edit observations[0].topic")
    assert "pixel format" not in finding.fix


@pytest.mark.parametrize("encoding", ["yuyv", "uyvy", "rgb8"])
def test_images_without_pixels_point_at_the_driver(encoding):
    empty = message(panda().stream("image.front"), height=0, width=0, step=0, encoding=encoding)
    finding = check(msg=empty)
    assert (finding.severity, finding.check) == ("error", "image")
    assert "50 of 50 messages looked into cannot be read: an image of 0 x 0" in finding.found
    assert "driver's log" in finding.fix


def test_images_that_take_a_missing_library_say_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    finding = check(msg=message(panda().stream("image.front"), encoding="bayer_rggb8"))
    assert "takes OpenCV" in finding.found and "pip install opencv" in finding.found
    assert finding.fix.startswith("install what is missing")


@pytest.mark.parametrize(
    ("form", "mode", "words"),
    [
        ("16UC1; png compressed ", "I;16", "image.front: range: found none, but compressed"),
        ("bayer_rggb8; jpeg compressed ", "L", "compressed image encoding 'bayer_rggb8'"),
        ("rgb16; png compressed ", "RGB", "compressed image encoding 'rgb16'"),
        ("png", "I;16", "compressed image is a PNG of 16 bits a channel"),
    ],
)
def test_a_compressed_image_that_is_no_8_bit_picture_is_an_error(form, mode, words):
    contract = edited(type="sensor_msgs/msg/CompressedImage")
    file = io.BytesIO()
    PilImage.new(mode, (128, 128)).save(file, "PNG")
    finding = check(contract=contract, msg=Msg(format=form, data=file.getvalue()))
    assert (finding.severity, finding.check) == ("error", "image")
    assert f"50 of 50 messages looked into cannot be read: {words}" in finding.found
    assert "pixel format to rgb8" in finding.fix
    assert finding.fix.startswith("say in observations[0].range") is ("range: " in words)


def test_a_missing_joint_suggests_the_one_that_comes_near():
    joints = panda().stream("state.joints")
    names = message(joints).name
    finding = check(
        "state.joints", msg=message(joints, name=[*names[:2], "panda_jnt3", *names[3:]])
    )
    assert (finding.severity, finding.check) == ("error", "fields")
    assert "no joint panda_joint3; the messages name panda_joint1, panda_joint2" in finding.found
    assert "edit observations[1].fields[2].path (did you mean 'panda_jnt3'?)" in finding.fix


def shared(*lists, own=True):
    """Contract and graph of a robot on whose joint_states two nodes publish these joints too."""
    contract = panda()
    two = tuple(Endpoint(f"/{n}", JOINTS, EndpointQos()) for n in ("arm", "hand"))
    snapshot = graph(contract)
    snapshot = replace(snapshot, publishers={**snapshot.publishers, "/joint_states": two})
    stream = contract.stream("state.joints")
    record = snapshot.streams["state.joints"]
    if not own:
        record = snapshot.streams["state.joints"] = StreamRecord(stream)
    for number in range(100):
        ns = START_NS + number * 50_000_000
        for names in lists:
            # Stamps of a clock of its own: they say nothing about this stream.
            record.arrived(number, ns, ns, 0, 100, tuple(names))
            record.content.take(message(stream, name=list(names), position=[9.0] * len(names)))
    return contract, snapshot


def test_messages_of_other_joints_are_no_fault_and_are_named():
    contract, snapshot = shared(["finger"], ["wheel_left", "wheel_right"])
    assert faults(contract, snapshot) == []
    (finding,) = [f for f in check_graph(contract, snapshot, HOST) if f.subject == "state.joints"]
    assert finding.found == (
        "10.0 Hz, 5 ms after its stamp, content as in the contract; passed over: 200 messages of "
        "other joints (finger; wheel_left, wheel_right)"
    )
    audit = {a.key: a for a in audit_streams(contract, snapshot)}["state.joints"]
    assert audit.to_dict()["other_joints"] == {"finger": 100, "wheel_left, wheel_right": 100}
    assert (audit.count, audit.backward) == (50, 0)


def test_only_messages_of_other_joints_are_an_error_that_names_both():
    finding = only(*shared(["finger"], own=False))
    assert (finding.severity, finding.check) == ("error", "fields")
    assert "no joint panda_joint1, panda_joint2" in finding.found
    assert finding.found.endswith("the messages name finger")


def test_joints_in_two_messages_are_put_together():
    names = [f"panda_joint{k}" for k in range(1, 8)]
    contract, snapshot = shared(names[:3], names[3:], own=False)
    record = snapshot.streams["state.joints"]
    assert len(record.receive_ns) == 100 and record.sets.parts == 200
    snapshot = shared(names[:3], own=False)[1]
    finding = only(contract, snapshot)
    assert "no joint panda_joint4, panda_joint5, panda_joint6, panda_joint7" in finding.found


def test_a_joint_that_is_missing_now_and_then_is_an_error():
    contract, snapshot = shared()
    record, stream = snapshot.streams["state.joints"], contract.stream("state.joints")
    names = message(stream).name
    for number in range(50):
        ns = START_NS + number * 10**8
        record.arrived(ns, ns, ns, 0, 100, tuple(names))
        if number % 10 == 0:
            record.arrived(ns + 1, ns + 1, ns, 0, 100, tuple(names[:6]))
    found = {f.check: f for f in faults(contract, snapshot)}["fields"]
    assert found.severity == "error"
    assert "5 of 55 messages cannot be read: it lacks panda_joint7, which other" in found.found


def test_two_publishers_of_the_same_joints_stay_a_warning():
    contract = panda()
    two = tuple(Endpoint(f"/{n}", JOINTS, EndpointQos()) for n in ("arm", "twin"))
    snapshot = graph(contract)
    snapshot = replace(snapshot, publishers={**snapshot.publishers, "/joint_states": two})
    assert only(contract, snapshot).check == "publisher"


def test_values_that_are_not_finite_name_the_field():
    joints = panda().stream("state.joints")
    finding = check("state.joints", msg=message(joints, position=[0.0] * 6 + [math.nan]))
    assert (finding.check, finding.subject) == ("values", "state.joints.joint7")
    assert "50 of 50" in finding.found


def limited(limits, unit="rad"):
    """Contract sim_panda whose first joint has limits."""

    def edit(data):
        data["observations"][1]["fields"][0].update(limits=limits, unit=unit)

    return panda(edit)


@pytest.mark.parametrize(
    ("value", "limits", "unit", "fix"),
    [
        (90.0, [-2.9, 2.9], "rad", "edit observations[1].fields[0].gain to 0.01745329"),
        (40.0, [0.0, 0.08], "m", "edit observations[1].fields[0].gain to 0.001"),
        (3.1, [-2.9, -0.1], "rad", "move the arm back"),
    ],
)
def test_values_outside_of_limits_and_units_that_explain_them(value, limits, unit, fix):
    contract = limited(limits, unit)
    msg = message(contract.stream("state.joints"), position=[value] + [0.05] * 6)
    finding = check("state.joints", contract, msg=msg)
    assert (finding.severity, finding.check) == ("error", "limits")
    assert finding.found == f"{value:g} {unit}"
    assert fix in finding.fix


def test_of_several_values_outside_the_farthest_is_shown():
    contract = limited([-1.0, 1.0])
    stream = contract.stream("state.joints")
    snapshot = graph(contract)
    for value in (1.2, -3.0, 1.5, 0.5):
        snapshot.streams["state.joints"].content.take(
            message(stream, position=[value] + [0.05] * 6)
        )
    assert only(contract, snapshot).found == "-3 rad"
