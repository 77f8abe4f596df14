"""The demo's report: the figures that acceptance names, and a page that needs nothing else."""

import base64
import html.parser
import io
import json

import numpy as np
import pytest
from PIL import Image

from roboalign_policy.sim import SUITES
from roboalign_training.demo.cli import success_table
from roboalign_training.demo.plan import ARMS
from roboalign_training.evaluate.closed_loop import FRAMES, RESULTS, summarise
from roboalign_training.evaluate.figures import filmstrip
from roboalign_training.evaluate.report import collect_strips, read_metrics, write_report

STAGES = ("record", "dataset", "base", "sft", "grpo", "open_loop", "closed_loop")
WINS = {"base": 0, "sft": 3, "grpo": 4}
THOUGHT = "approach <b>red</b> cube at 40 10 2 : move forward 10"


def episodes(arm):
    """Five episodes a suite; the base's chunks are broken."""
    return [
        {
            "suite": suite, "task": "t", "seed": 3_000_000 + i, "success": i < WINS[arm],
            "steps": 30, "chunks": 4, "valid_chunks": 0 if arm == "base" else 4, "faults": [],
            "instruction": "grasp the red cube", "reasonings": [THOUGHT],
        }
        for suite in SUITES
        for i in range(5)
    ]  # fmt: skip


def open_loop(shift):
    errors = {name: 0.1 + shift for name in ("dx", "dy", "gripper")}
    return {
        "prefix_accuracy": 0.5 + shift, "prefix_accuracy_interval": [0.4, 0.6 + shift],
        "action_l1": 0.1 + shift, "action_l1_interval": [0.05, 0.3],
        "action_l1_by_dimension": errors, "valid": 20, "n": 20,
    }  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """A demo's folder as the stages leave it, before the report."""
    results = {
        "record": {"episodes": 12},
        "dataset": {
            "episodes": 12, "frames": 480, "skipped": 0, "tokens_per_chunk": 9.5,
            "tokens_per_chunk_max": 20, "chunks": 470,
        },
        "base": {},
        "sft": {"samples": 6400, "loss": 0.4, "steps": 400},
        "grpo": {"samples": 60, "best_step": 10, "steps": 20},
        "open_loop": {"sft": open_loop(0.0), "grpo": open_loop(0.05)},
        "closed_loop": {arm: summarise(episodes(arm)) for arm in ARMS},
    }  # fmt: skip
    state = {name: {"seconds": 1.5, "result": results[name]} for name in STAGES}
    (tmp_path / "stages.json").write_text(json.dumps(state))
    for run, key in (("sft", "loss"), ("grpo", "reward")):
        (tmp_path / run).mkdir()
        lines = [{"step": i, key: 1.0 / (i + 1)} for i in range(5)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / run / "metrics.jsonl").write_text(text + '{"step": 5, "torn')
    for arm in ARMS:
        folder = tmp_path / "closed_loop" / arm
        (folder / FRAMES).mkdir(parents=True)
        lines = episodes(arm)
        (folder / RESULTS).write_text("".join(json.dumps(r) + "\n" for r in lines))
        for r in lines:
            images = np.full((12, 16, 16, 3), 90, np.uint8)
            name = f"{r['suite']}-{r['task']}-{r['seed']}.npz"
            np.savez_compressed(folder / FRAMES / name, steps=np.arange(12), images=images)
    return tmp_path


def test_report_json_holds_every_figure_with_its_n(finished):
    write_report(finished, {"episodes": 12})
    report = json.loads((finished / "report.json").read_text())
    assert set(report["closed_loop"]) == set(SUITES)
    for suite in SUITES:
        assert set(report["closed_loop"][suite]) == {"base", "sft", "grpo"}
        for arm, won in WINS.items():
            entry = report["closed_loop"][suite][arm]
            assert (entry["successes"], entry["n"]) == (won, 5)
            assert entry["interval"][0] <= won / 5 <= entry["interval"][1]
    trained = 2 * len(SUITES) * 5 * 4
    assert (report["decode"]["valid"], report["decode"]["n"]) == (trained, trained)
    assert report["decode"]["by_arm"]["base"] == {"valid": 0, "n": trained // 2}
    assert set(report["open_loop"]) == {"sft", "grpo"}
    for entry in report["open_loop"].values():
        assert {"prefix_accuracy", "action_l1", "n"} <= set(entry)
    assert report["data"]["episodes"] == 12
    assert report["data"]["frames"] == 480
    assert report["data"]["tokens_per_chunk"] == 9.5
    assert report["samples"] == {"sft": 6400, "grpo": 60}
    assert report["seconds"] == dict.fromkeys(STAGES, 1.5)
    assert report["config"] == {"episodes": 12}


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_needs_nothing_from_outside(finished):
    path = write_report(finished, {})
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 4 + 2 * 2 * len(SUITES), "figures; success and failure a suite and arm"
    for source in images:
        head, data = source.split(",", 1)
        assert head == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(data))).verify()


def test_the_page_states_the_figures(finished):
    text = Page(write_report(finished, {}).read_text()).text
    for words in ("12 demonstrations", "480 frames", "9.5 FAST tokens", "6400 SFT samples", "4/5"):
        assert words in text
    assert THOUGHT in text, "a thought is text, not markup"


def test_a_policy_without_a_valid_chunk_is_reported_too(finished):
    state = json.loads((finished / "stages.json").read_text())
    broken = state["open_loop"]["result"]["sft"]
    broken.update(action_l1=None, action_l1_interval=None, action_l1_by_dimension={}, valid=0,
                  prefix_accuracy_interval=None)  # fmt: skip
    (finished / "stages.json").write_text(json.dumps(state))
    assert "–" in Page(write_report(finished, {}).read_text()).text


def test_strips_are_a_success_and_a_failure_of_each_suite_and_trained_arm(finished):
    strips = collect_strips(finished)
    found = [(s["suite"], s["arm"], s["success"]) for s in strips]
    wanted = {(s, a, ok) for s in SUITES for a in ARMS[1:] for ok in (True, False)}
    assert set(found) == wanted
    assert len(found) == len(wanted)
    for path in (finished / "closed_loop").rglob("*.npz"):
        path.unlink()
    assert collect_strips(finished) == []


def test_metrics_of_a_killed_run_are_read(finished, tmp_path):
    assert [line["step"] for line in read_metrics(finished / "sft")] == [0, 1, 2, 3, 4]
    assert read_metrics(tmp_path / "none") == []


@pytest.mark.parametrize(("frames", "shown"), [(1, 1), (7, 7), (40, 10)])
def test_a_filmstrip_shows_first_and_last(frames, shown):
    images = np.zeros((frames, 8, 6, 3), np.uint8)
    images[:] = np.arange(frames, dtype=np.uint8)[:, None, None, None]
    strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(filmstrip(images).split(",")[1]))))
    assert strip.shape == (8, 6 * shown, 3)
    values = strip[0, ::6, 0].tolist()
    assert (values[0], values[-1]) == (0, frames - 1)
    assert values == sorted(set(values))


def test_the_terminal_table_has_every_suite_and_arm(finished):
    write_report(finished, {})
    table = success_table(json.loads((finished / "report.json").read_text()))
    assert table.row_count == len(SUITES)
    assert list(table.columns[2].cells)[0].startswith("3/5 (")
