"""What docs/training.md shows a newcomer works as it stands there: a reward, and a source."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roboalign_policy.models.loading import load_mllm
from roboalign_training.learning import rewards, sources
from roboalign_training.learning.action_source import action_answer, wanted_of
from roboalign_training.learning.arguments import GrpoArguments, SftArguments
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.mixture import training_mixture, training_row
from roboalign_training.learning.rewards import WeightedRewards
from roboalign_training.learning.source import SourceInputs
from roboalign_training.learning.sources import check_sources
from roboalign_training.learning.training_options import read_options

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def blocks(heading):
    """The three blocks below a heading: the code, the line of the table, the YAML."""
    section = PAGE.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"```(\w+)\n(.*?)```", section, flags=re.DOTALL)
    assert [language for language, _ in found] == ["python", "python", "yaml"]
    return [text for _, text in found]


def imported(name, text, tmp_path, monkeypatch):
    """The module of a file with this text, under its name as long as the test runs."""
    file = tmp_path / f"{name}.py"
    file.write_text(text, "utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def options(kind, yaml, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml)
    return read_options(kind, ["--config", str(file), "--dataset", "x"]).ours


def test_the_reward_that_is_shown(demonstrations, monkeypatch, tmp_path):
    code, line, yaml = blocks("A reward of your own")
    text = Path(rewards.__file__).read_text("utf-8")
    table = re.search(r"^REWARDS: .*?^}\n", text, flags=re.DOTALL | re.MULTILINE)[0]
    text = text.replace(table, f"{code}\n\n{table[:-2]}{line}}}\n")
    changed = imported("changed_rewards", text, tmp_path, monkeypatch)
    (name,) = changed.REWARDS.keys() - rewards.REWARDS.keys()
    monkeypatch.setitem(rewards.REWARDS, name, changed.REWARDS[name])

    weights = GrpoArguments(**options("grpo", yaml, tmp_path)).rewards
    assert weights == {"format": 0.5, "prefix": 0.5, "thought": 0.2}
    right = action_answer(demonstrations, 3, think=True)
    other = right.replace("<think>grasp", "<think>drop")
    assert other != right
    found = WeightedRewards(weights, demonstrations.decoder)
    wanted = [wanted_of(demonstrations, 3, think=True)] * 2
    given = {f.__name__: f([right, other], wanted=wanted) for f in found.functions()}
    assert given == {
        "format_reward": [1.0, 1.0],
        "prefix_accuracy_reward": [1.0, 1.0],
        "thought_reward": [1.0, 0.0],
    }
    assert rewards.measure_name(name) == "dev_thought"


@pytest.fixture
def pictures(tmp_path):
    """The folder of the example."""
    folder = tmp_path / "my_questions"
    folder.mkdir()
    rows = [{"image": f"{n}.png", "question": f"is it {n} ?", "answer": "yes"} for n in range(3)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(3):
        Image.new("L", (32, 24), number).save(folder / f"{number}.png")
    return folder


def test_the_source_that_is_shown(demonstrations, pictures, tiny_base, monkeypatch, tmp_path):
    code, line, yaml = blocks("A source of your own")
    ((name, where),) = ast.literal_eval(f"{{{line}}}").items()
    imported(where.partition(":")[0], code, tmp_path, monkeypatch)
    monkeypatch.setitem(sources.SOURCES, name, where)

    yaml = yaml.replace("my_questions", str(pictures)) + "weight_scene: 0\nweight_grasp: 0\n"
    shares = SftArguments(**options("sft", yaml, tmp_path)).shares()
    check_sources(shares)
    mixture = training_mixture(shares, SourceInputs(demonstrations, np.arange(12), 1), 40)
    assert mixture.counts().keys() == {"act", "think", "scene", "grasp", "pictures"}
    assert 0 < mixture.counts()["pictures"] < 20
    file = pictures / "questions.jsonl"
    assert mixture.sources["pictures"].origin == {"file": str(file), "questions": 3}
    of_pictures = np.flatnonzero(mixture.kinds == mixture.names.index("pictures"))
    samples = [mixture[int(index)] for index in of_pictures]
    number = int(mixture.items[of_pictures[0]])
    assert samples[0].origin == f"{file}: line {number + 1}"
    assert samples[0].messages[0]["content"][-1]["text"] == f"is it {number} ?"
    assert samples[0].images[0].tolist() == np.full((24, 32, 3), number).tolist()
    collator = PromptCollator(load_mllm(tiny_base).processor)
    batch = collator([training_row(sample) for sample in samples])
    assert len(batch["input_ids"]) == len(samples)
