"""The README's table against the report, and what the documents name against what is there."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from roboalign_training.demo.experiment import demo_experiment
from roboalign_training.demo.plan import HEADS, DemoConfig
from roboalign_training.demo.stages import reported_arms

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
README = "# Title\n\nbefore\n\n<!-- report:begin -->\nold\n<!-- report:end -->\n\nafter\n"
CREATED = "2026-01-31T23:30:00+00:00"


def load_script():
    """The script as a module; it is no part of a package."""
    spec = importlib.util.spec_from_file_location("readme_table", ROOT / "scripts/readme_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()


CHOICE = {
    "rule": "driven", "kept": 5, "candidate": 5, "n": 48, "base": 0.5, "score": 0.75,
    "difference": 0.25, "interval": [0.12, 0.36], "only_base": 0, "only_candidate": 12,
    "p": 0.0005, "chosen_from": 2, "undecided": "",
}  # fmt: skip


NO_TOKENS = {"prefix_accuracy": None, "prefix_accuracy_interval": None}


def make_stages(heads: bool = True) -> dict:
    """What the demo's stages leave in `stages.json`."""

    def driven(successes: int, valid: int, chunks: int) -> dict:
        from roboalign_training.shared.statistics import wilson_interval

        interval = list(wilson_interval(successes, 25))
        entry = {"successes": successes, "n": 25, "interval": interval}
        suites = {"object": entry, "goal": dict(entry)}
        return {"suites": suites, "decode": {"valid": valid, "n": chunks}}

    def followed(accuracy: float) -> dict:
        return {
            "prefix_accuracy": accuracy,
            "prefix_accuracy_interval": [accuracy - 0.05, accuracy + 0.05],
            "action_l1": 0.25,
            "action_l1_interval": [0.2, 0.3],
            "action_l1_by_dimension": {"dx": 0.25},
            "valid": 120,
            "n": 120,
        }

    results = {
        "dataset": {"episodes": 400, "frames": 6789, "skipped": 0, "tokens_per_chunk": 9.5},
        "sft": {"samples": 44800},
        "grpo": {"samples": 160, "steps": 10, "best_step": 5, "choice": CHOICE},
        "sft_head": {"samples": 9600},
        "grpo_head": {"samples": 9600, "same_as": "sft_head"},
        "open_loop": {
            "sft": followed(0.5),
            "grpo": followed(0.625),
            "sft_head": {**followed(0.5), **NO_TOKENS},
            "grpo_head": {**followed(0.5), **NO_TOKENS},
        },
        "closed_loop": {
            "base": driven(0, 900, 1000),
            "sft": driven(16, 1500, 1500),
            "grpo": driven(25, 1400, 1400),
            "sft_head": driven(20, 700, 700),
            "grpo_head": {**driven(20, 700, 700), "same_as": "sft_head"},
        },
        "choose": {"arm": "sft_head", "name": "sft_head", "why": "it succeeds more often"},
    }
    if not heads:
        results.pop("choose")
        for name in HEADS:
            for place in (results, results["open_loop"], results["closed_loop"]):
                place.pop(name)
    return {
        name: {"seconds": 10.4 * at, "result": result}
        for at, (name, result) in enumerate(results.items(), 1)
    }


def write_results(out: Path) -> None:
    """The episodes of these figures."""
    for arm, won in (
        ("base", 0), ("sft", 16), ("grpo", 25), ("sft_head", 20), ("grpo_head", 20)
    ):  # fmt: skip
        folder = out / "closed_loop" / arm
        folder.mkdir(parents=True)
        records = [
            {"suite": suite, "task": "t", "seed": at, "success": at < won, "chunks": 1,
             "valid_chunks": 1, "faults": []}
            for suite in ("object", "goal")
            for at in range(25)
        ]  # fmt: skip
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / "results.jsonl").write_text(text)


@pytest.fixture
def report(tmp_path):
    """Path of a report as the demo makes it, with a fixed date."""
    return write_report(tmp_path, heads=True)


def write_report(out: Path, heads: bool) -> Path:
    module = pytest.importorskip("roboalign_training.evaluate.report")
    (out / "stages.json").write_text(json.dumps(make_stages(heads)))
    arms = reported_arms(demo_experiment(DemoConfig()))
    write_results(out)
    arms = [arm for arm in arms if heads or arm.name not in HEADS]
    document = {**module.make_report(out, arms, [], {}), "created": CREATED}
    path = out / "report.json"
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def readme(tmp_path):
    """Path of a README with an old block."""
    path = tmp_path / "README.md"
    path.write_text(README)
    return path


def run(report: Path, readme: Path) -> int:
    return script.main(["--report", str(report), "--readme", str(readme)])


def change(report: Path, keys: str, value: object = None) -> None:
    """Set the figure at a dotted path, or take it away."""
    document = json.loads(report.read_text())
    *way, last = keys.split(".")
    place = document
    for key in way:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    report.write_text(json.dumps(document))


def test_the_block_holds_the_reports_figures_and_the_rest_stays(report, readme):
    assert run(report, readme) == 0
    text = readme.read_text()
    assert text.startswith("# Title\n\nbefore\n\n<!-- report:begin -->\nMade by `make demo` on ")
    assert text.endswith("\n<!-- report:end -->\n\nafter\n")
    assert "old" not in text
    lines = text.splitlines()
    # Wilson 95 %: 0/25 -> 0-13 %, 16/25 -> 45-80 %, 25/25 -> 87-100 %
    # 20/25 -> 61-91 %
    row = (
        "0/25 (0-13 %) | 16/25 (45-80 %) | 25/25 (87-100 %) | 20/25 (61-91 %) | 20/25 (61-91 %) |"
    )
    assert "| suite | base | SFT | SFT + GRPO | SFT + head | SFT + GRPO + head |" in lines
    assert f"| object | {row}" in lines
    assert f"| goal | {row}" in lines
    assert "| SFT | 0.500 (0.450-0.550) | 0.250 (0.200-0.300) | 120 |" in lines
    assert "| SFT + GRPO | 0.625 (0.575-0.675) | 0.250 (0.200-0.300) | 120 |" in lines
    assert "| SFT + head | no tokens | 0.250 (0.200-0.300) | 120 |" in lines
    assert "| SFT + GRPO + head | no tokens | 0.250 (0.200-0.300) | 120 |" in lines
    assert "Chunks of the trained arms that decoded: 3,600 of 3,600 (100 %)." in lines
    same = "SFT + GRPO + head is the same training as SFT + head: both start from the same policy."
    assert same in lines
    chosen = "drives by default, chosen on development seeds: it succeeds more often."
    assert f"**SFT + head** {chosen}" in lines
    kept = "Of 10 GRPO steps, the best on held-out episodes (step 5) succeeded in 36 of 48 driven"
    kept += " development episodes, its SFT policy in 24 (McNemar p = 0.0005): step 5 is kept."
    assert kept in lines
    seconds = "dataset 10, sft 21, grpo 31, sft_head 42, grpo_head 52, open_loop 62,"
    seconds += " closed_loop 73, choose 83; together 374."
    assert f"Seconds: {seconds}" in lines
    made = "Made by `make demo` on 2026-01-31 (UTC): 400 demonstrations with 6,789 frames,"
    assert f"{made} 44,800 SFT samples, 160 GRPO prompts, 9,600 samples of SFT + head." in lines


def test_a_report_without_heads_and_without_a_choice_is_filled_in_too(tmp_path, readme):
    """Of a demo of an earlier version."""
    assert run(write_report(tmp_path, heads=False), readme) == 0
    text = readme.read_text()
    assert "| suite | base | SFT | SFT + GRPO |\n" in text
    assert "head" not in text and "by default" not in text
    assert "44,800 SFT samples, 160 GRPO prompts.\n" in text


def test_filling_twice_changes_nothing(report, readme, capsys):
    assert run(report, readme) == 0
    first = readme.read_text()
    assert "filled" in capsys.readouterr().out
    assert run(report, readme) == 0
    assert readme.read_text() == first
    assert "unchanged" in capsys.readouterr().out
    assert [path.name for path in readme.parent.glob(".*")] == []


def test_a_missing_report_is_named_with_the_command_that_makes_it(tmp_path, readme, capsys):
    assert run(tmp_path / "none.json", readme) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'none.json'}: not found" in said
    assert "make demo" in said
    assert readme.read_text() == README


def test_arms_that_are_one_policy_are_named(report, readme):
    change(report, "training.grpo.choice.kept", 0)
    assert run(report, readme) == 0
    assert "so SFT and SFT + GRPO are the same policy." in readme.read_text()


@pytest.mark.parametrize(
    ("changed", "worse"),
    [
        ({"base": 0.75, "score": 0.5, "p": 0.0005}, True),
        ({"base": 0.75, "score": 0.5, "p": 0.051}, False),
        ({"base": 0.5, "score": 0.75, "p": 0.0005}, False),
        ({"rule": "held_out", "base": 0.7, "score": 0.5, "interval": [-0.3, -0.1]}, True),
        ({"rule": "held_out", "base": 0.7, "score": 0.5, "interval": [-0.3, 0.1]}, False),
        ({"rule": "held_out", "base": 0.7, "score": 0.5, "interval": None}, False),
    ],
)
def test_a_step_that_is_worse_beyond_noise_is_not_called_equal(report, readme, changed, worse):
    document = json.loads(report.read_text())
    document["training"]["grpo"]["choice"].update(kept=0, **changed)
    report.write_text(json.dumps(document))
    assert run(report, readme) == 0
    text = readme.read_text()
    same = "SFT and SFT + GRPO are the same policy."
    said = f"worse beyond noise, so SFT is kept: {same}", f"no difference beyond noise, so {same}"
    assert (said[0] in text, said[1] in text) == (worse, not worse)


def test_a_step_of_which_nothing_can_be_told_is_not_called_worse(report, readme):
    document = json.loads(report.read_text())
    document["training"]["grpo"]["choice"].update(
        kept=0, rule="held_out", base=0.7, score=0.5, interval=[-0.3, -0.1],
        undecided="found 2 held-out episodes, expected 3 or more",
    )  # fmt: skip
    report.write_text(json.dumps(document))
    assert run(report, readme) == 0
    assert "too few to tell it from noise, so SFT and SFT + GRPO are" in readme.read_text()


def test_a_choice_by_held_out_frames_is_told_as_such(report, readme):
    change(report, "training.grpo.choice.rule", "held_out")
    assert run(report, readme) == 0
    assert "scored 0.7500 there, its SFT policy 0.5000" in readme.read_text()


@pytest.mark.parametrize(
    "keys, value, said",
    [
        ("closed_loop.goal.grpo.n", None, "closed_loop.goal.grpo.n: not found"),
        ("closed_loop.goal.grpo", None, "closed_loop.goal.grpo: not found"),
        ("closed_loop.goal.sft.interval", [0.8, 0.2], "expected [low, high]"),
        ("closed_loop", {}, "expected an object with entries"),
        ("open_loop.sft.action_l1", "much", "open_loop.sft.action_l1: found 'much'"),
        ("decode.valid", 5000, "decode: found valid 5000, n 3600"),
        ("decode.valid", True, "decode.valid: found True, expected a number"),
        ("created", "yesterday", "created: found 'yesterday', expected ISO 8601"),
        ("samples.grpo", None, "samples.grpo: not found"),
        ("samples.sft_head", "x", "samples.sft_head: found 'x', expected a number"),
        ("chosen.arm", "head", "chosen.arm: found 'head', expected one of the arms"),
        ("chosen.why", None, "chosen.why: not found"),
    ],
)
def test_a_figure_that_is_missing_or_wrong_is_named(report, readme, capsys, keys, value, said):
    change(report, keys, value)
    assert run(report, readme) == 1
    assert said in capsys.readouterr().err
    assert readme.read_text() == README


@pytest.mark.parametrize("text", ["", "{", "[1, 2]"])
def test_a_report_that_is_no_json_object_is_refused(tmp_path, readme, capsys, text):
    path = tmp_path / "report.json"
    path.write_text(text)
    assert run(path, readme) == 1
    assert f"{path}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, said",
    [
        ("nothing", "found 0 times <!-- report:begin -->"),
        (README + "<!-- report:end -->", "found 2 times <!-- report:end -->"),
        ("<!-- report:end --> <!-- report:begin -->", "before <!-- report:begin -->"),
    ],
)
def test_a_readme_without_the_markers_in_order_is_left_alone(report, readme, capsys, text, said):
    readme.write_text(text)
    assert run(report, readme) == 1
    assert said in capsys.readouterr().err
    assert readme.read_text() == text


def test_real_time_is_a_block_of_its_own(tmp_path, report, readme, capsys):
    pair = {"successes": 20, "interval": [0.61, 0.91], "only_realtime": 1, "only_lockstep": 3}
    entry = {"successes": 18, "n": 25, "interval": [0.52, 0.86], "stopped_by_gate": 2}
    entry["in_time"] = 17
    entry["lockstep"] = {**pair, "mcnemar_p": 0.625}
    summary = {
        "created": CREATED,
        "command": "ros2 launch x",
        "cores": 2,
        "inference_p50_s": 0.104,
    }
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**summary, "suites": {"object": entry, "all": entry}}))
    readme.write_text(README + "<!-- realtime:begin -->\n<!-- realtime:end -->\n")
    words = ["--realtime", str(path), "--readme", str(readme)]
    assert script.main(words) == 0
    text = readme.read_text()
    assert text.startswith(README)
    assert "| object | 18/25 (52-86 %) | 17/25 | 20/25 (61-91 %) | 1 / 3 | 0.62 |" in text
    assert "2 cores, through `ros2 launch x`: the same policy" in text
    assert "an answer takes 0.10 s (median), the safety gate stopped 2 runs" in text
    del entry["lockstep"]
    path.write_text(json.dumps({**summary, "suites": {"object": entry, "all": entry}}))
    assert script.main(words) == 1
    assert "suites.object.lockstep: not found" in capsys.readouterr().err
    assert readme.read_text() == text


def test_only_all_of_them_is_100_percent(report, readme):
    change(report, "decode.valid", 3599)
    assert run(report, readme) == 0
    assert "3,599 of 3,600 (99.9 %)" in readme.read_text()


def test_the_readme_of_the_workspace_has_the_markers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "BLOCK" in script.fill(text, "BLOCK")
    assert "BLOCK" in script.fill(text, "BLOCK", markers=script.REALTIME)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_local_link_of_a_document_resolves(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)  # code is no link
    links = [link.split()[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    local = [link.split("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []


def headings(path):
    """Addresses of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = []
    for heading in re.findall(r"^#+ +(.+)$", text, flags=re.MULTILINE):
        words = re.sub(r"\]\([^)]*\)", "", heading).strip().lower()
        found.append(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_to_a_heading_finds_one(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    links = [link.split()[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    marked = [link.split("#") for link in links if re.match(r"(?![a-z]+:)[^#]*(\.md)?#", link)]
    pages = [(path.parent / page if page else path, anchor) for page, anchor in marked]
    lost = [f"{page.name}#{anchor}" for page, anchor in pages if anchor not in headings(page)]
    assert lost == []


def test_the_index_lists_every_document():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    folder = ROOT / "docs"
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")}
    assert {name for name in written - {"README.md"} if f"]({name})" not in index} == set()


def test_the_demos_options_are_documented_with_their_defaults():
    plan = pytest.importorskip("roboalign_training.demo.plan")
    text = (ROOT / "docs/demo.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `--(\w+)` \| ([^|]*?) \|", text, flags=re.MULTILINE))
    declared = {
        f.name: " ".join(f.default_factory()) if f.default is MISSING else f"{f.default}"
        for f in fields(plan.DemoConfig)
    }
    assert documented == declared


def test_the_demos_stages_are_documented_in_order():
    stages = demo_experiment(DemoConfig()).stages()
    text = (ROOT / "docs/demo.md").read_text(encoding="utf-8")
    section = text.split("## Stages")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == list(stages)
