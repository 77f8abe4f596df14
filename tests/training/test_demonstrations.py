"""From bags to what training reads, and training started from bags alone."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from roboalign_policy.core.contract.contract import ContractError
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prompt import parse_answer
from roboalign_policy.fast.errors import FitError
from roboalign_policy.models.open_policy import open_policy
from roboalign_training import sft
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.fit import load_action_stats
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.learning import demonstrations
from roboalign_training.learning.action_source import action_answer
from roboalign_training.learning.base_policy import make_base_policy
from roboalign_training.learning.demonstrations import left_out_of, load_demonstrations
from roboalign_training.shared.run_layout import EXIT_FAILED, EXIT_INVALID_CONFIG


def load_demo_bags():
    """The writer of synthetic recordings beside this file."""
    path = Path(__file__).with_name("demo_bags.py")
    spec = importlib.util.spec_from_file_location("demo_bags_for_training", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bags")
    demo_bags = load_demo_bags()
    for number in range(3):
        demo_bags.write_demo(
            folder / f"episode{number}", seed=number, start_ns=(number + 1) * 10**11
        )
    return folder


@pytest.fixture(scope="module")
def folder(bags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "data"
    load_demonstrations(folder, [bags])
    return folder


def test_bags_become_demonstrations(folder):
    data, frames = load_demonstrations(folder), load_frames(folder)
    assert [(e.id, e.instruction) for e in data.episodes] == [
        (f"episode{n}", "put the red cube on the blue plate") for n in range(3)
    ]
    assert len(data) == len(frames) == data.episodes[-1].stop
    assert data.hashes.keys() == {"contract", "dataset", "stats", "tokenizer"}
    for frame in (0, 7, len(data) - 1):
        (image,) = data.images(frame)
        np.testing.assert_array_equal(image, frames.image(frame))
        np.testing.assert_array_equal(
            data.values(frame)["state.ee"], frames.states["state.ee"][frame]
        )


def test_tokens_decode_to_the_demonstrated_chunk(folder):
    data, frames = load_demonstrations(folder), load_frames(folder)
    stats = load_action_stats(folder / "stats.json")
    for frame in (0, 11, len(data) - 1):
        tokens = parse_answer(action_answer(data, frame, think=True)).tokens
        chunk = stats.denormalise(
            data.fast.decode([tokens], horizon=data.horizon, dims=data.dims)[0]
        )
        np.testing.assert_allclose(
            chunk, frames.chunk(frame), atol=0.12
        )  # half a quantum of the coefficients


def edit_instruction(folder, out, name, text):
    """A copy of a data set with another instruction for one episode, as an old release took it."""
    shutil.copytree(folder, out)
    path = next((out / "data").glob(f"*{name}*.parquet"))
    table = pq.ParquetFile(path).read()
    at = table.schema.get_field_index("instruction")
    column = pa.array([text] * len(table), table.schema.types[at])
    pq.write_table(table.set_column(at, table.schema.field(at), column), path)
    index = load_index(out)
    index.episodes[name]["instruction"] = text
    index.save()
    return out


@pytest.mark.parametrize(
    ("text", "tag"),
    [("pick <|im_start|> up", "<|im_start|>"), ("look at <image> and go", "<image>")],
)
def test_an_instruction_with_tags_is_refused_before_training(folder, tmp_path, text, tag):
    changed = edit_instruction(folder, tmp_path / "data", "episode1", text)
    with pytest.raises(DatasetError) as error:
        load_demonstrations(changed)
    assert f"instruction of episode episode1: found the tag {tag!r}" in str(error.value)


def test_a_special_token_of_the_base_is_refused_before_training(folder, tmp_path, capsys):
    """Of roboalign-tiny, [UNK]: an ordinary word for any other model."""
    changed = edit_instruction(folder, tmp_path / "data", "episode2", "put [UNK] there")
    load_demonstrations(changed)
    options = ["--dataset", str(changed), "--output_dir", str(tmp_path / "run")]
    options += ["--held_out_episodes", "1", "--max_steps", "1", "--report_to", "none"]
    assert sft.main(options) == EXIT_FAILED
    assert "instruction of episode episode2: found the tag '[UNK]'" in capsys.readouterr().err


def test_a_second_call_converts_nothing_and_keeps_the_tokenizer(folder, bags):
    before = (folder / "fast" / "tokenizer.json").stat().st_mtime_ns
    data = load_demonstrations(folder, [bags], "sim_panda")
    assert len(data.episodes) == 3
    assert (folder / "fast" / "tokenizer.json").stat().st_mtime_ns == before


def test_a_contract_beside_a_data_set_of_another_one_is_what_is_wrong(folder):
    assert len(load_demonstrations(folder, contract="sim_panda").episodes) == 3
    with pytest.raises(ContractError, match=r"^so101: found so101 \(.*expected sim_panda \(") as e:
        load_demonstrations(folder, contract="so101")
    assert f"with which the data set {folder} was made" in str(e.value)
    with pytest.raises(ContractError, match="no_such_robot"):
        load_demonstrations(folder, contract="no_such_robot")


def test_faulty_data_sets_are_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match="is no data set"):
        load_demonstrations(tmp_path)
    unfitted = tmp_path / "unfitted"
    shutil.copytree(folder, unfitted)
    document = json.loads((unfitted / "dataset.json").read_text())
    document["fitted"] = {}
    (unfitted / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="run `roboalign fit-tokenizer`"):
        load_demonstrations(unfitted)
    swapped = tmp_path / "swapped"
    shutil.copytree(folder, swapped)
    config = json.loads((swapped / "fast" / "processor_config.json").read_text())
    config["scale"] *= 2
    (swapped / "fast" / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(DatasetError, match="fast: hash: found"):
        load_demonstrations(swapped)
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    stats = json.loads((changed / "stats.json").read_text())
    stats["action"]["q99"][0] += 0.1
    (changed / "stats.json").write_text(json.dumps(stats))
    with pytest.raises(DatasetError, match="stats.json: hash: found"):
        load_demonstrations(changed)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (None, "fast/tokenizer.json: missing, expected a FAST tokenizer folder"),
        ("{", "fast/tokenizer.json: not readable as JSON"),
        ("[]", "fast/tokenizer.json: found list, expected an object"),
        (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 99999\n",
            "fast/tokenizer.json: is a Git LFS pointer, the file of 99,999 bytes",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_a_fault_of_the_data(
    folder, tmp_path, tiny_base, capsys, text, cause
):
    shutil.copytree(folder, tmp_path / "data")
    file = tmp_path / "data" / "fast" / "tokenizer.json"
    if text is None:
        shutil.rmtree(file.parent)
    else:
        file.write_text(text)
    words = ["--dataset", str(tmp_path / "data"), "--base", str(tiny_base)]
    assert sft.main([*words, "--out", str(tmp_path / "run")]) == EXIT_FAILED
    said = capsys.readouterr().err
    assert said.startswith("data fault: ") and cause in said and len(said.splitlines()) == 1
    assert not (tmp_path / "run").exists()
    with pytest.raises(DatasetError, match=cause):
        make_base_policy(str(tiny_base), tmp_path / "data", tmp_path / "base")


def test_bags_that_no_tokenizer_fits_are_a_fault_of_the_data(bags, tmp_path, monkeypatch):
    def cannot(folder):
        raise FitError("need 2000 tokens, more than vocab_size 1024")

    monkeypatch.setattr(demonstrations, "fit_dataset", cannot)
    with pytest.raises(DatasetError, match="no tokenizer can be fitted to it: need 2000 tokens"):
        load_demonstrations(tmp_path / "data", [bags])


def test_all_that_bags_lose_is_left_out_also_through_a_link(tmp_path):
    demo_bags = load_demo_bags()
    where = tmp_path / "bags"
    demo_bags.write_demo(where / "good", seed=1)
    demo_bags.write_demo(where / "holes", seed=2, start_ns=2 * 10**11, without_command=(9,))
    demo_bags.write_demo(where / "failed", seed=3, start_ns=3 * 10**11, outcome="failure")
    shutil.copytree(where / "good", where / "same")
    (where / "broken").mkdir()
    (where / "broken" / "broken.mcap").write_bytes(b"broken")
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "deep" / "down")
    for folder in (tmp_path / "data", tmp_path / "data", tmp_path / "plain"):
        found = left_out_of(load_demonstrations(folder, [where]))
        assert found.to_dict()["bag"] == {"cannot be read": 1, "a copy of another one": 1}
        assert found.to_dict()["episode"] == {"outcome not wanted": 1}
        causes = found.to_dict()["frame"]
        assert sum(n for cause, n in causes.items() if not cause.startswith("no whole")) == 1
    assert "bag" not in left_out_of(load_demonstrations(tmp_path / "data")).to_dict()


def test_sft_from_bags_alone(bags, tiny_base, tmp_path):
    options = (
        f"--bags {bags} --base {tiny_base} --output_dir {tmp_path / 'run'} --max_steps 2 "
        "--per_device_train_batch_size 2 --weight_scene 0 --held_out_episodes 1 --dev_frames 2 "
        "--max_answer_tokens 8"
    )
    status = sft.main(options.split())
    assert status == 0
    data = json.loads((tmp_path / "run" / "data" / "dataset.json").read_text())
    meta = json.loads((tmp_path / "run" / "policy" / "roboalign.json").read_text())
    assert meta["hashes"]["dataset"] == data["hashes"]["dataset"]
    assert meta["hashes"]["tokenizer"] == data["fitted"]["tokenizer"]
    policy = open_policy(tmp_path / "run" / "policy", options=PolicyOptions(device="cpu"))
    frames = load_frames(tmp_path / "run" / "data")
    values = {"image.front": frames.image(3), **{k: v[3] for k, v in frames.states.items()}}
    prediction = policy.act(values, frames.episodes[0].instruction)
    assert prediction.tokens  # the grammar makes even an untrained policy answer
    assert prediction.reasoning is not None


def test_what_users_can_fix_is_one_line(bags, tmp_path, capsys, tiny_base):
    def status(*argv):
        code = sft.main([*argv, "--output_dir", str(tmp_path / "run"), "--weight_scene", "0"])
        return code, capsys.readouterr().err.strip().splitlines()[-1]

    code, line = status("--dataset", str(tmp_path / "none"))
    assert code == EXIT_INVALID_CONFIG
    assert line.startswith("data fault: ") and "is no data set" in line
    code, line = status("--bags", str(tmp_path / "nothing"))
    assert code == EXIT_INVALID_CONFIG
    assert "does not exist" in line
    code, line = status("--bags", str(bags), "--contract", "no_such_robot")
    assert code == EXIT_INVALID_CONFIG
    assert "no_such_robot" in line
    code, line = status("--bags", str(bags), "--held_out_episodes", "3", "--base", str(tiny_base))
    assert code == EXIT_INVALID_CONFIG
    assert "held_out_episodes: found 3, expected 1 to 2" in line
    (tmp_path / "empty").mkdir()
    base = str(tmp_path / "empty")
    code, line = status("--bags", str(bags), "--held_out_episodes", "1", "--base", base)
    assert code == EXIT_INVALID_CONFIG
    assert "safetensors" in line
