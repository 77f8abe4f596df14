"""The page's script: its arithmetic in Node, and the whole page in a browser, where they are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from demo_bags import write_demo
from page_browser import (
    BROKEN_HEADS,
    CLIPPED_WORDS,
    WIDER_THAN_PAGE,
    dom_of,
    measured,
    needs_browser,
)

from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.look import inspect_cli
from roboalign_training.look.document import packed
from roboalign_training.look.page import TEMPLATE
from roboalign_training.look.shell import PLAYER, SCRIPTS, STYLES

NODE = shutil.which("node") or shutil.which("nodejs")
LOOK = resources.files("roboalign_training.look")
HOSTILE = "</script><img src=x onerror=alert(1)>"


def node(expression: str):
    """What an expression gives in Node, with the functions of figures.js as `f`."""
    code = f"const f = require({json.dumps(str(LOOK / 'figures.js'))});"
    code += f"console.log(JSON.stringify({expression}))"
    done = subprocess.run([NODE, "-e", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


@needs_node
def test_numbers_arrive_as_they_left():
    values = np.array([0.1, -2.5, 1e-20, np.nan, 3e7], np.float32)
    found = node(f"Array.from(f.unpack({json.dumps(packed(values))}))")
    assert found[3] is None
    kept = [0, 1, 2, 4]
    np.testing.assert_array_equal(np.array(found)[kept].astype(np.float32), values[kept])


@needs_node
@pytest.mark.parametrize(
    ("t", "index"), [(-0.1, -1), (0, 0), (0.05, 0), (0.1, 1), (0.25, 2), (9, 3)]
)
def test_newest_sample_at_or_before(t, index):
    assert node(f"f.indexAt([0, 0.1, 0.2, 0.3], {t})") == index


@needs_node
def test_times_are_found_although_they_are_float32():
    times = "Float32Array.from({length: 50000}, (_, i) => i / 10)"
    assert node(f"[0.7, 2.2, 1234.5, 4321.1].map((t) => f.indexAt({times}, t))") == [
        7, 22, 12345, 43211,
    ]  # fmt: skip
    back = node(f"[2.2, 4321.1].map((t) => f.stepTo({times}, t, -1).toFixed(2))")
    assert back == ["2.10", "4321.00"]


@needs_node
def test_steps_go_from_image_to_image():
    times = "[0.5, 0.6, 0.8]"
    forward = [node(f"f.stepTo({times}, {t}, 1)") for t in (0, 0.5, 0.55, 0.7, 0.8, 2)]
    assert forward == [0.5, 0.6, 0.6, 0.8, 0.8, 0.8]
    back = [node(f"f.stepTo({times}, {t}, -1)") for t in (0, 0.5, 0.55, 0.6, 2)]
    assert back == [0.5, 0.5, 0.5, 0.5, 0.8]
    assert node("f.stepTo([], 0.3, 1)") == 0.3
    episode = (
        "{cameras: [{times: [0, 0.2]}, {times: [0.1, 0.2, 10]}], "
        "groups: [{plots: [{lines: [{t: [7]}]}]}]}"
    )
    assert node(f"Array.from(f.stepTimes({episode}))") == [0, 0.1, 0.2, 10]
    assert node("Array.from(f.stepTimes({cameras: [], groups: [{plots: [{lines: "
                "[{t: [0, 7]}]}]}]}))") == [0, 7]  # fmt: skip


@needs_node
@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [(0, 1, 4, [0, 0.5, 1]), (0, 1.9, 8, [0, 0.5, 1, 1.5]), (-1.12, 1.12, 3, [-1, 0, 1]),
     (3, 3, 4, [3]), (0, 21.04, 10, [0, 5, 10, 15, 20])],
)  # fmt: skip
def test_ticks_are_round(low, high, most, expected):
    assert node(f"f.ticks({low}, {high}, {most})") == expected


@needs_node
def test_ticks_are_told_apart():
    assert node("f.tickTexts([0.99998, 0.99999, 1])") == ["0.99998", "0.99999", "1.00000"]
    assert node("f.tickTexts([-0.5, 0, 0.5])") == ["\u22120.5", "0.0", "0.5"]
    assert node("f.tickTexts([5])") == ["5"]


@needs_node
def test_curve_breaks_at_gaps_and_at_what_is_not_finite():
    line = "{t: [0, 1, 2, 5, 6, 9], v: [0, 1, NaN, 3, 4, 5]}"
    found = node(f"f.curve({line}, (t) => t, (v) => v, 1.5, false)")
    assert found["path"] == "M0.0 0.0L1.0 1.0M5.0 3.0L6.0 4.0M9.0 5.0"
    assert found["gaps"] == [[2, 5], [6, 9]]
    assert found["dots"] == [[9, 5]]
    held = node("f.curve({t: [0, 1], v: [0, 1]}, (t) => t, (v) => v, Infinity, true)")
    assert held["path"] == "M0.0 0.0H1.0V1.0"


@needs_node
def test_limits_near_the_data_are_shown_and_far_ones_only_for_actions():
    plot = "{lines: [{v: [0.4, 0.5]}], limits: [0.35, 3]}"
    near = node(f"f.yRange({plot}, false)")
    assert near["limits"] == [0.35]
    assert near["low"] < 0.35 < 0.5 < near["high"] < 0.6
    always = node(f"f.yRange({plot}, true)")
    assert always["limits"] == [0.35, 3]
    assert always["high"] > 3
    flat = node("f.yRange({lines: [{v: [2, 2]}], limits: null}, false)")
    assert flat["low"] < 2 < flat["high"]
    nothing = node("f.yRange({lines: [{v: []}], limits: null}, false)")
    assert nothing["low"] < nothing["high"]


@needs_node
def test_chunks_after_one_another():
    assert node("f.chunkAfterChunk(20, 1, 8)") == [0, 8, 16]
    assert node("f.chunkAfterChunk(7, 3, 8)") == [0, 3, 6]
    decoded = "[...Array(2 * 3 * 2).keys()]"
    assert node(f"f.chunkValues({decoded}, 1, 1, 3, 2)") == [7, 9, 11]
    assert node("f.chunkValues([0, NaN], 0, 0, 2, 1)") is None


@needs_node
def test_density_in_quarters():
    assert node("f.fullness([0, 4, 4, 2, 1, 9])") == [0, 1, 1, 0.5, 0.25, 1]
    assert node("f.runs([1, 1, 0, 1])") == [[1, 0, 2], [0, 2, 3], [1, 3, 4]]


@needs_node
def test_long_numbers_beside_a_plot_have_room():
    marks = node("f.tickTexts([-0.00002, -0.00001, 0])")
    assert marks[0] == "\u22120.00002"
    assert node(f"f.labelWidth({json.dumps(marks)})") > 45  # what the margin leaves them
    assert node("f.labelWidth(['0.5', '\u22120.5'])") < 45


@needs_node
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_parse(name):
    done = subprocess.run([NODE, "--check", str(LOOK / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_scripts_write_no_html():
    for name in SCRIPTS:
        text = (LOOK / name).read_text("utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                     "</script", "setAttribute(\"style"):  # fmt: skip
            assert word not in text, f"{name}: {word}"


def test_setup_installs_every_file_of_the_page():
    folder = Path(str(LOOK))
    setup = (folder.parents[1] / "setup.py").read_text("utf-8")
    named = set(re.findall(r'"([\w.]+\.(?:js|css|j2))"', setup))
    found = {path.name for path in folder.iterdir() if path.suffix in (".js", ".css", ".j2")}
    assert found == {*SCRIPTS, STYLES, TEMPLATE, PLAYER}
    assert found <= named


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A data set's page; of a data set made before such an instruction was refused."""
    monkeypatch.setattr(
        "roboalign_training.episodes.episodes.instruction_fault", lambda text: None
    )
    for i in range(2):
        write_demo(tmp_path / f"ep{i}", seed=i, count=20, instruction=HOSTILE)
    build_dataset([tmp_path / "ep0", tmp_path / "ep1"], None, tmp_path / "set")
    fit_dataset(tmp_path / "set", vocab_size=128)
    file = tmp_path / "page.html"
    assert inspect_cli.main([str(tmp_path / "set"), "--html", str(file)]) == 0
    return file


@needs_browser
def test_page_in_a_browser(page, tmp_path):
    dom = dom_of(f"file://{page}#episode=ep1&t=0.5", tmp_path)
    assert dom.count('class="cursor"') >= 7 + 7 + 1
    assert re.search(r'<output id="clock">0\.500 / 1\.90 s', dom)
    assert re.search(r"chunk at 0\.50 s: \d+ tokens", dom)
    assert 'd="NaN' not in dom
    assert "NaN" not in re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    assert "<img" not in re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    hostile = "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;"
    assert f'<div class="instruction">“{hostile}”</div>' in dom


@needs_browser
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_breaks_or_is_cut_off(page, tmp_path, width):
    length = "page.querySelector('.stream svg').clientWidth"
    expression = f"[{WIDER_THAN_PAGE}, {BROKEN_HEADS}, {CLIPPED_WORDS}, {length}]"
    found = measured(page, tmp_path, width, expression)
    wider, broken, clipped, line = found
    assert wider <= 0
    assert broken == []
    assert clipped == []
    assert line > 300
