"""The demo's report: the figures that acceptance names, and a page that needs nothing else."""

import base64
import hashlib
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from look_pages import Page, unpack
from page_browser import (
    BROKEN_HEADS,
    CLIPPED_WORDS,
    WIDER_THAN_PAGE,
    dom_of,
    measured,
    needs_browser,
)
from PIL import Image

from roboalign_policy.sim import SUITES
from roboalign_training.demo.cli import success_table
from roboalign_training.demo.experiment import load_experiment, packaged_experiment
from roboalign_training.demo.stages import reported_arms
from roboalign_training.evaluate import report as report_module
from roboalign_training.evaluate.arms import ReportedArm, compare, rate
from roboalign_training.evaluate.closed_loop import FRAMES, RESULTS, DrivenEpisode, summarise
from roboalign_training.evaluate.played import choose
from roboalign_training.evaluate.report import (
    compared,
    read_metrics,
    read_policies,
    write_closed_loop_report,
)
from roboalign_training.evaluate.report_page import sentences
from roboalign_training.learning.choice import by_held_out
from roboalign_training.shared.statistics import (
    mcnemar_p,
    paired_interval,
    paired_mean_interval,
    sign_flip_p,
    wilson_interval,
)

STAGES = ("record", "dataset", "base", "sft", "grpo", "open_loop", "closed_loop")
WINS = {"base": 0, "sft": 3, "grpo": 4}
DEMO = load_experiment(packaged_experiment("demo"))
WITHOUT_HEADS = {name: DEMO.arms[name] for name in WINS}
PAIRS = [("base", "sft"), ("sft", "grpo")]
DEMO = replace(DEMO, arms=WITHOUT_HEADS, compare=PAIRS)
ARMS = list(DEMO.policies())
CHOICE = by_held_out(10, [0.5, 0.6, 0.7], [0.6, 0.7, 0.801], 2)
THOUGHT = "approach <b>red</b> cube at 40 10 2 : move forward 10"


def write_report(out, config):
    return report_module.write_report(out, reported_arms(DEMO), DEMO.compare, config)


def episodes(arm, old=False):
    """Five episodes a suite; the base's chunks are refused. Old results know less."""
    refused = arm == "base"
    records = [
        {
            "suite": suite, "task": "t", "seed": 3_000_000 + i, "success": i < WINS[arm],
            "steps": 11, "chunks": 2, "valid_chunks": 0 if refused else 2,
            "faults": ["out_of_limits"] * 2 if refused else [], "end": "the client cancelled",
            "instruction": "grasp the red cube", "reasonings": [THOUGHT, "release"],
            "mean_inference_s": 0.1,
        }
        for suite in SUITES
        for i in range(5)
    ]  # fmt: skip
    for record in () if old else records:
        record.update(
            limit=48, refused_run=refused, answer_steps=[0, 8],
            answer_faults=["out_of_limits"] * 2 if refused else ["", ""],
            goals={"red cube on white plate": record["success"]},
            moved=["red cube"] if record["success"] else ["blue cube"],
        )  # fmt: skip
    return records


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
        "grpo": {
            "samples": 60, "best_step": 10, "steps": 20, "choice": CHOICE.record()
        },
        "open_loop": {"sft": open_loop(0.0), "grpo": open_loop(0.05)},
        "closed_loop": {arm: summarise(episodes(arm)) for arm in ARMS},
    }  # fmt: skip
    state = {name: {"seconds": 1.5, "result": results[name]} for name in STAGES}
    (tmp_path / "stages.json").write_text(json.dumps(state))
    for run, key in (("sft", "loss"), ("grpo", "reward")):
        (tmp_path / run).mkdir()
        lines = [{"step": i, key: 10.0**-i} for i in range(5)]
        if run == "grpo":
            lines += [{"step": i, "dev_score": 0.5 + i / 10} for i in range(0, 5, 2)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / run / "metrics.jsonl").write_text(text + '{"step": 5, "torn')
    for arm in ARMS:
        folder = tmp_path / "closed_loop" / arm
        (folder / FRAMES).mkdir(parents=True)
        lines = episodes(arm)
        (folder / RESULTS).write_text("".join(json.dumps(r) + "\n" for r in lines))
        for r in lines:
            images = np.full((12, 16, 16, 3), 90, np.uint8) + np.arange(
                12, dtype=np.uint8
            ).reshape(12, 1, 1, 1)
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
    trained = 2 * len(SUITES) * 5 * 2
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
    for arm, won in WINS.items():
        total = report["total"][arm]
        assert (total["successes"], total["n"]) == (4 * won, 20)
    base_sft, sft_grpo = report["paired"]
    assert (sft_grpo["first"], sft_grpo["second"]) == ("sft", "grpo")
    counts = [sft_grpo[k] for k in ("both", "only_first", "only_second", "neither")]
    assert counts == [12, 0, 4, 4]
    assert sft_grpo["p"] == pytest.approx(2 * 0.5**4)
    assert base_sft["only_second"] == 12
    assert report["causes"] == {
        "base": {"chunks refused (out of limits)": 20},
        "sft": {"time limit, only other objects were moved": 8},
        "grpo": {"time limit, only other objects were moved": 4},
    }


def page_of(finished):
    return Page(write_report(finished, {"episodes": 12}))


def words_of(page):
    return " ".join(" ".join([*page.prose, *page.cells]).split())


def test_the_page_is_whole_and_needs_nothing_from_outside(finished):
    page = page_of(finished)
    assert not {"link", "iframe"} & {tag for tag, _ in page.tags}
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.text)
    assert "url(" not in page.text
    for _, attributes in page.tags:
        assert attributes.get("src", "data:").startswith("data:")
        assert "style" not in attributes
        assert attributes.get("href", "#").startswith("#")
    policy = next(
        a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    (script,) = [text for attributes, text in page.scripts if not attributes]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert any(a.get("name") == "viewport" for _, a in page.tags)
    assert "prefers-color-scheme: dark" in page.text


def test_the_page_says_first_what_came_out(finished):
    text = words_of(page_of(finished))
    first = (
        "The policy after SFT and GRPO succeeded in 16 of 20 episodes on unseen scenes (95 % "
        "interval: 58 to 92 %). On the same scenes the base model in 0 of 20 and SFT alone in 12 "
        "of 20."
    )
    assert 0 < text.index(first) < text.index("Success in closed loop")
    assert (
        "4 episodes succeed with grpo alone and 0 with sft alone: no more than chance explains "
        "(McNemar p = 0.12)." in text
    )


def test_the_page_states_the_figures(finished):
    page = page_of(finished)
    text = words_of(page)
    for words in ("12 demonstrations", "480 frames", "9.5 FAST tokens", "6400 SFT samples"):
        assert words in text
    cells = [" ".join(cell.split()) for cell in page.cells]
    assert cells.count("4/5 (38–96 %)") == len(SUITES)
    assert "16/20 (58–92 %)" in cells
    assert "<b>red</b>" not in page.text, "a thought is text, not markup"


def test_arms_stand_side_by_side_by_seed(finished):
    page = page_of(finished)
    titles = [a["title"] for tag, a in page.tags if tag == "td" and "title" in a]
    assert len(titles) == len(SUITES) * 3 * 5
    assert titles[:3] == [
        f"seed {3_000_000 + i}, t, base: chunks refused (out of limits)" for i in range(3)
    ]
    assert titles[5] == "seed 3000000, t, sft: success after 11 steps"
    marks = [cell for cell in page.cells if cell in ("✓", "✗")]
    assert marks[:15] == list("✗✗✗✗✗✓✓✓✗✗✓✓✓✓✗")


def test_failures_are_listed_with_what_is_known(finished):
    page = page_of(finished)
    assert page.cells.count("missing: red cube on white plate; moved: blue cube") == 8 + 4
    refused = (
        "missing: red cube on white plate; moved: blue cube; refused chunks: 2 out of limits of 2"
    )
    assert page.cells.count(refused) == 20


def test_episodes_are_played_with_the_thought_at_its_frame(finished):
    page = page_of(finished)
    episodes = page.data["episodes"]
    found = [(e["group"], e["label"].split(" · ")[1], e["outcome"]) for e in episodes]
    assert found[:4] == [("object", "grpo", "success"), ("object", "sft", "success"),
                         ("object", "base", "failure"), ("object", "sft", "failure")]  # fmt: skip
    by_arm = {arm: [f for f in found if f[1] == arm] for arm in ARMS}
    assert len(by_arm["base"]) == 2 * 4, "two failures a suite, no success"
    assert len(by_arm["sft"]) == 3 * 4
    assert len(by_arm["grpo"]) == 2 * 4, "a success, and the only failure"
    episode = episodes[0]
    assert episode["thoughts"] == [[0.0, THOUGHT, False], [0.8, "release", False]]
    (camera,) = episode["cameras"]
    np.testing.assert_allclose(unpack(camera["times"]), np.arange(12) / 10, atol=1e-6)
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(camera["jpegs"][5]))))
    assert abs(int(image[8, 8, 0]) - 95) < 4
    base = next(e for e in episodes if " base " in e["label"])
    assert base["thoughts"][0] == [0.0, f"{THOUGHT} — chunk refused: out of limits", True]
    assert ["bad", "chunks refused (out of limits)"] in base["badges"]
    links = {a["href"] for tag, a in page.tags if tag == "a"}
    assert "#episode=grpo%2Fobject-t-3000000" in links
    assert {e["id"].replace("/", "%2F") for e in episodes} == {link[9:] for link in links}


def test_old_results_make_a_page_too(finished):
    for arm in ARMS:
        lines = [json.dumps(record) + "\n" for record in episodes(arm, old=True)]
        (finished / "closed_loop" / arm / RESULTS).write_text("".join(lines))
    page = page_of(finished)
    report = json.loads((finished / "report.json").read_text())
    assert report["causes"]["sft"] == {"time limit": 8}
    assert report["causes"]["base"] == {"chunks refused (out of limits)": 20}
    episode = page.data["episodes"][0]
    assert episode["thoughts"] == []
    assert ["thought 1", THOUGHT] in episode["about"]
    assert "when each thought was is not recorded" in episode["notes"][0]


def test_the_page_stays_small(finished, monkeypatch):
    monkeypatch.setattr("roboalign_training.evaluate.played.IMAGE_BYTES", 60_000)
    page = page_of(finished)
    images = [c["jpegs"] for e in page.data["episodes"] for c in e["cameras"]]
    assert all(images)
    assert sum(len(text) for jpegs in images for text in jpegs) * 3 / 4 <= 60_000


def test_curves_of_training(finished):
    page = page_of(finished)
    text = words_of(page)
    for words in ("SFT loss", "loss, log axis", "GRPO validation", "GRPO reward"):
        assert words in text
    assert "SFT validation" not in text, "a single score is no curve"
    points = re.findall(r'<polyline class="curve s1" points="([^"]+)"', page.text)[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    steps = np.diff(heights)
    np.testing.assert_allclose(steps, steps[0], atol=0.2)  # powers of ten are evenly far apart


def test_one_policys_closed_loop_has_a_page(finished, tmp_path):
    folder = finished / "closed_loop" / "grpo"
    page = Page(write_closed_loop_report(folder, tmp_path / "mine"))
    text = words_of(page)
    assert (
        f"The policy {tmp_path / 'mine'} succeeded in 16 of 20 episodes on unseen scenes" in text
    )
    assert "Causes of failure" in text
    assert "Training" not in text
    assert len(page.data["episodes"]) == 8


@needs_browser
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_of_the_report_breaks_or_is_cut_off(finished, tmp_path, width):
    path = write_report(finished, {"episodes": 12})
    expression = f"[{WIDER_THAN_PAGE}, {BROKEN_HEADS}, {CLIPPED_WORDS}]"
    assert measured(path, tmp_path, width, expression) == [0, [], []]


@needs_browser
def test_the_report_plays(finished, tmp_path):
    path = write_report(finished, {"episodes": 12})
    dom = dom_of(f"file://{path}#episode=sft%2Fgoal-t-3000003&t=0.9", tmp_path)
    assert re.search(r'<output id="clock">0\.900 / 1\.10 s', dom)
    assert re.search(
        r'<li class="taken now"><button type="button"><time>0\.8 s</time>release', dom
    )
    assert '<optgroup label="object">' in dom
    assert "time limit, only other objects were moved" in dom


def test_a_policy_without_a_valid_chunk_is_reported_too(finished):
    state = json.loads((finished / "stages.json").read_text())
    broken = state["open_loop"]["result"]["sft"]
    broken.update(action_l1=None, action_l1_interval=None, action_l1_by_dimension={}, valid=0,
                  prefix_accuracy_interval=None)  # fmt: skip
    (finished / "stages.json").write_text(json.dumps(state))
    assert "–" in page_of(finished).cells


def test_what_has_no_frames_is_not_played(finished):
    arms = read_policies(finished, reported_arms(DEMO))
    folders = {arm: finished / "closed_loop" / arm for arm in ARMS}
    shown = choose(arms, folders)
    seeds = {(arm, e.suite): sorted(x.seed for a, x, _ in shown if (a, x.suite) == (arm, e.suite))
             for arm, e, _ in shown}  # fmt: skip
    assert seeds[("base", "goal")] == [3_000_000, 3_000_003], "seeds that other arms show"
    (folders["grpo"] / FRAMES / f"{DrivenEpisode('goal', 't', 3_000_000).name}.npz").unlink()
    kept = [(a, e) for a, e, _ in choose(arms, folders) if a == "grpo" and e.suite == "goal"]
    assert ("grpo", DrivenEpisode("goal", "t", 3_000_000)) not in kept
    for path in (finished / "closed_loop").rglob("*.npz"):
        path.unlink()
    assert choose(arms, folders) == []
    page = page_of(finished)
    assert "No frames were kept." in words_of(page)
    assert not [a for tag, a in page.tags if tag == "img" and a.get("class") == "animation"]


def test_the_last_arm_moves_on_the_page_and_in_a_file(finished):
    page = page_of(finished)
    (shown,) = [a for tag, a in page.tags if tag == "img" and a.get("class") == "animation"]
    prefix, _, text = shown["src"].partition(",")
    assert prefix == "data:image/webp;base64"
    assert base64.b64decode(text) == (finished / "arm.webp").read_bytes()
    image = Image.open(finished / "arm.webp")
    assert image.n_frames > 1
    assert image.width == 4 * 264 + 8, "one panel a suite"


def with_choice(finished, name):
    """The demo's folder where this arm was chosen."""
    state = json.loads((finished / "stages.json").read_text())
    chosen = {"arm": name, "name": name, "policy": f"{name}/policy", "why": "it wins <most>"}
    state["choose"] = {"seconds": 1.5, "result": {**chosen, "n": 48, "hash": "0"}}
    (finished / "stages.json").write_text(json.dumps(state))
    return finished


def test_the_chosen_arm_is_told_first_and_moves(finished, monkeypatch):
    shown = []
    real = report_module.write_animation
    monkeypatch.setattr(
        report_module, "write_animation",
        lambda folder, file: shown.append(folder.name) or real(folder, file),
    )  # fmt: skip
    page = page_of(with_choice(finished, "sft"))
    text = words_of(page)
    first = (
        "SFT alone succeeded in 12 of 20 episodes on unseen scenes (95 % interval: 39 to 78 %). "
        "On the same scenes the base model in 0 of 20 and the policy after SFT and GRPO in 16 of "
        "20. sft drives by default: it wins <most>."
    )
    assert first in text
    assert "12 episodes succeed with sft alone and 0 with base alone" in text
    assert shown == ["sft"]
    report = json.loads((finished / "report.json").read_text())
    assert (report["chosen"]["policy"], report["chosen"]["n"]) == ("sft/policy", 48)
    (image,) = [a for tag, a in page.tags if tag == "img" and a.get("class") == "animation"]
    assert image["alt"].startswith("sft drives the simulated arm")


def test_without_a_choice_the_last_arm_moves(finished):
    page = page_of(finished)
    (image,) = [a for tag, a in page.tags if tag == "img" and a.get("class") == "animation"]
    assert image["alt"].startswith("grpo drives the simulated arm")
    assert "chosen" not in json.loads((finished / "report.json").read_text())


def test_a_training_that_was_taken_from_another_arm_is_named(finished):
    state = json.loads((finished / "stages.json").read_text())
    result = {"samples": 60, "steps": 20, "dev_action_error": 0.0321}
    state["sft"]["result"] = result
    state["grpo"]["result"] = {**result, "same_as": "sft"}
    (finished / "stages.json").write_text(json.dumps(state))
    text = words_of(page_of(finished))
    assert "grpo is the same training as sft, as both start from the same policy" in text
    assert "grpo: the same training as sft, not done again." in text
    assert "sft: 20 steps, action error 3.21 % of the range." in text
    assert "60 SFT samples" in text and "GRPO prompts" not in text, "counted once"


def test_metrics_of_a_killed_run_are_read(finished, tmp_path):
    assert [line["step"] for line in read_metrics(finished / "sft")] == [0, 1, 2, 3, 4]
    assert read_metrics(tmp_path / "none") == []


def test_the_terminal_table_has_every_suite_and_arm(finished):
    write_report(finished, {})
    table = success_table(json.loads((finished / "report.json").read_text()))
    assert table.row_count == len(SUITES)
    assert list(table.columns[2].cells)[0].startswith("3/5 (")


def test_the_page_says_by_which_rule_a_policy_was_kept(finished):
    text = words_of(page_of(finished))
    assert "grpo: 20 steps; kept step 10 of 20, by 3 held-out episodes: step 10 of 20" in text
    assert "sft: 400 steps." in text


def test_chunks_of_a_policy_that_is_another_one_count_once(finished):
    state = json.loads((finished / "stages.json").read_text())
    driven = state["closed_loop"]["result"]
    driven["grpo"] = {**driven["sft"], "same_as": "sft"}
    (finished / "stages.json").write_text(json.dumps(state))
    write_report(finished, {})
    decode = json.loads((finished / "report.json").read_text())["decode"]
    once = driven["sft"]["decode"]
    assert {key: decode[key] for key in ("valid", "n")} == once
    assert decode["by_arm"]["grpo"] == once


def test_the_page_names_no_reward_that_a_run_may_not_have(finished):
    text = words_of(page_of(finished))
    assert (
        "Validation is the score of greedy answers on episodes that were held out: the weig"
        in text
    )
    assert "0 to 1" not in text


def test_an_arm_that_is_another_policy_is_named(finished):
    state = json.loads((finished / "stages.json").read_text())
    state["closed_loop"]["result"]["grpo"]["same_as"] = "sft"
    (finished / "stages.json").write_text(json.dumps(state))
    text = words_of(page_of(finished))
    assert "grpo is the same policy as sft and was not driven again." in text


def won(*seeds, suite="goal"):
    """Results of ten episodes, of which these are successes."""
    return {
        DrivenEpisode(suite, "t", at): {"suite": suite, "success": at in seeds} for at in range(10)
    }


TWO = [
    ReportedArm("sft", "sft", "SFT", "", {"sft-1": 1, "sft-2": 2, "sft-3": 3}),
    ReportedArm("grpo", "grpo", "GRPO", "", {"grpo-1": 1, "grpo-2": 2}),
]
BASE = ReportedArm("base", "base", "the base", "", {"base": None})


def test_arms_are_compared_on_the_same_episodes_and_training_seeds():
    results = {
        "base": won(), "sft-1": won(0, 1), "sft-2": won(0), "sft-3": won(*range(10)),
        "grpo-1": won(0, 2, 3, 4), "grpo-2": won(1, 2),
    }  # fmt: skip
    (pair,) = compare(TWO, [("sft", "grpo")], results)
    counts = (pair.both, pair.only_first, pair.only_second, pair.neither)
    assert counts == (1, 2, 5, 12), "seed 3 has no partner"
    assert pair.by_seed == {"1": pytest.approx(0.2), "2": pytest.approx(0.1)}
    assert pair.difference == pytest.approx(0.15)
    sums = [sum(r[f"grpo-{s}"][e]["success"] - r[f"sft-{s}"][e]["success"] for s in (1, 2))
            for r in [results] for e in results["base"]]  # fmt: skip
    assert (pair.scenes, pair.test) == (10, "sign flip")
    assert pair.p == sign_flip_p(sums)
    assert pair.interval == paired_mean_interval([s / 2 for s in sums])
    # mean 0.15, s 0.0707 / sqrt 2, t(0.975, 1) = 12.706
    assert pair.seed_interval == pytest.approx((0.15 - 0.6353, 0.15 + 0.6353), abs=1e-3)
    (itself,) = compare(TWO, [("sft", "sft")], results)
    assert set(itself.by_seed.values()) == {0.0} and itself.seed_interval is None
    (against_base,) = compare([BASE, *TWO], [("base", "grpo")], results)
    assert (against_base.only_second, against_base.neither) == (6, 14)


def test_one_pair_a_scene_is_compared_by_mcnemar_and_none_has_no_p():
    one = [ReportedArm(name, "sft", name, "", {name: seed}) for name, seed in
           (("a", 1), ("b", 1), ("c", 2))]  # fmt: skip
    results = {"a": won(0), "b": won(*range(1, 8)), "c": won()}
    (pair,) = compare(one, [("a", "b")], results)
    assert (pair.test, pair.p, pair.scenes) == ("McNemar", mcnemar_p(1, 7), 10)
    assert pair.interval == pytest.approx(paired_interval(1, 7, 10))
    (pair,) = compare(one, [("a", "c")], results)
    assert (pair.p, pair.difference, pair.interval, pair.scenes) == (None, None, None, 0)
    report = compared(one, [("a", "c")], {name: {} for name in results})
    report["paired"] = [vars(pair)]
    assert sentences(report)[-1] == "c and a have no episode in common."


def test_an_arms_interval_counts_scenes_not_the_seeds_that_drove_them():
    """Three policies that do the same tell as much as one; three that differ tell more."""
    wide = rate([won(0, 1, 2, 3)] * 3)
    assert (wide["successes"], wide["n"], wide["scenes"]) == (12, 30, 10)
    one = rate([won(0, 1, 2, 3)])
    assert one["interval"] == list(wilson_interval(4, 10))
    assert wide["interval"][0] < one["interval"][0] and one["interval"][1] < wide["interval"][1]
    spread = rate([won(0, 1, 2, 3), won(3, 4, 5, 6), won(6, 7, 8, 9)])
    assert spread["interval"][1] - spread["interval"][0] < one["interval"][1] - one["interval"][0]
    assert rate([won(*range(10))] * 3)["interval"][0] < 1 - 0.2, "all of them, on ten scenes"
    assert rate([], "goal") == {"successes": 0, "n": 0, "scenes": 0, "interval": [0.0, 1.0]}
    assert rate([won(1)], "other")["n"] == 0


def test_the_report_of_several_training_seeds(finished, tmp_path):
    """Every policy is driven; arms count all seeds together, and each seed stands by itself."""
    arms = [
        ReportedArm("base", "base", "the base model", "", {"base": None}),
        ReportedArm("sft", "sft", "SFT", "", {"sft-1": 1, "sft-2": 2}),
    ]
    state = json.loads((finished / "stages.json").read_text())
    for seed, like in ((1, "sft"), (2, "grpo")):
        name = f"sft-{seed}"
        (finished / "closed_loop" / like).rename(finished / "closed_loop" / name)
        state[name] = state["sft"]
        state["closed_loop"]["result"][name] = state["closed_loop"]["result"].pop(like)
        state["open_loop"]["result"][name] = state["open_loop"]["result"].pop(like)
    del state["sft"], state["grpo"]
    (finished / "stages.json").write_text(json.dumps(state))
    path = report_module.write_report(finished, arms, [("base", "sft")], {})
    report = json.loads((finished / "report.json").read_text())
    assert report["total"]["sft"]["successes"] == 4 * (3 + 4)
    assert report["total"]["sft"]["n"] == 40
    assert {s: e["successes"] for s, e in report["by_seed"]["sft"].items()} == {"1": 12, "2": 16}
    assert report["paired"][0]["by_seed"] == {"1": 0.6, "2": 0.8}
    page = Page(path)
    cells = [" ".join(cell.split()) for cell in page.cells]
    assert "28/40 (49–85 %)" in cells and "12/20 (39–78 %)" in cells
    assert "counted, not episodes" in words_of(page)
    assert "6400 SFT-1 samples, 6400 SFT-2 samples" in words_of(page)
    table = success_table(report)
    assert list(table.columns[0].cells)[-3:] == ["all", "seed 1", "seed 2"]
    assert list(table.columns[1].cells)[-1] == "-"
