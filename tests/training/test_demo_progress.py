"""How far a stage of the demo says that it is, from what its run leaves behind."""

import json

from roboalign_training.demo.progress import steps_done, steps_then_driving
from roboalign_training.evaluate.closed_loop import RESULTS
from roboalign_training.learning.run_record import write_json
from roboalign_training.shared.run_layout import DEVELOPMENT, METRICS


def lines(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(value) + "\n" for value in values)


def test_steps_are_told_until_episodes_are_driven(tmp_path):
    count = steps_then_driving(tmp_path, 8)
    assert count() == steps_done(tmp_path)() == (0, 0, "preparing")
    lines(tmp_path / METRICS, {"step": 3, "total_steps": 5, "reward": 0.25, "remaining_s": 12.4})
    assert count() == steps_done(tmp_path)() == (3, 5, "steps, reward 0.250, 12 s left")
    lines(tmp_path / DEVELOPMENT / "base" / RESULTS, *[{"success": True}] * 4)
    lines(tmp_path / DEVELOPMENT / "candidate" / RESULTS, {"success": False})
    assert count() == (5, 8, "development episodes")


def test_a_record_is_json_also_of_what_is_not_finite(tmp_path):
    write_json(tmp_path / "r.json", {"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "x"})
    text = (tmp_path / "r.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text) == {"a": [None, 1.5], "b": {"c": None}, "d": "x"}
