"""Statistics that are safe to normalise with, and the tokenizer fitted to a data set."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from demo_bags import sim_contract, write_recordings

from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.fast import FastTokenizer
from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.data import fit_cli
from roboalign_training.data.fit import action_stats, fit_dataset, load_action_stats, state_stats
from roboalign_training.data.frame_dataset import load_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data set of the five recordings."""
    bags = write_recordings(tmp_path_factory.mktemp("recordings"))
    out = tmp_path_factory.mktemp("set") / "data"
    build_dataset(find_bags([bags]), None, out)
    return out


def test_fit_writes_what_a_policy_needs(folder, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    found = fit_dataset(out, vocab_size=128)
    data = load_frames(out)
    tokenizer = FastTokenizer.load(out / "fast")
    assert data.hashes["tokenizer"] == tokenizer.hash == found["tokenizer"]
    stats = load_action_stats(out / "stats.json")
    chunks = data.chunks()[data.usable]
    assert found["chunks"] == len(chunks) == 75
    tokens = tokenizer.encode(stats.normalise(chunks).astype(np.float64))
    assert found["tokens_per_chunk"]["mean"] == pytest.approx(
        np.mean([len(row) for row in tokens]), abs=1e-3
    )
    decoded = stats.denormalise(tokenizer.decode(tokens, horizon=8, dims=7))
    for d, name in enumerate(data.contract.action.names):
        error = np.abs(decoded[..., d] - chunks[..., d]).max()
        assert found["reconstruction"][name]["max"] == pytest.approx(error, abs=1e-5)
        assert error < 0.15
    again = fit_dataset(out, vocab_size=128)
    assert again == found


def test_dimensions_without_spread_get_another_range(folder):
    contract = sim_contract()
    actions = np.tile(load_frames(folder).actions, (4, 1))
    random = np.random.default_rng(0)
    noise = 1e-4 * random.standard_normal(len(actions))
    actions[:, 4] = 0.3 + noise  # held
    actions[:, 5] = 0.0
    actions[7, 5] = 0.8  # once
    stats, reasons = action_stats(actions, contract)
    assert reasons.keys() == {"droll", "dpitch", "dyaw", "gripper"}
    assert reasons["dpitch"].startswith("never moves")
    assert reasons["dyaw"].startswith("moves rarely")
    assert (stats.q01[3], stats.q99[3]) == pytest.approx((-0.02, 0.02))
    assert (stats.q01[4], stats.q99[4]) == pytest.approx((0.28, 0.32), abs=2e-4)
    for d in (5, 6):
        assert (stats.q01[d], stats.q99[d]) == (-1.0, 1.0)
    for d in range(3):
        assert stats.q01[d] == pytest.approx(np.quantile(actions[:, d], 0.01))
    normalised = stats.normalise(actions)
    reach = (noise.max() - noise.min()) / 2  # around its place, a fiftieth of a unit to each side
    assert np.abs(normalised[:, 4]).max() == pytest.approx(reach / 0.02, rel=1e-2)
    assert set(np.round(normalised[:, 6], 5)) == {-1.0, 1.0}
    moved = stats.denormalise(np.ones_like(normalised)) - stats.denormalise(0 * normalised)
    assert np.abs(moved[:, 3:5]).max() < 0.021, "a wrong value hardly moves what never moves"


def test_states_that_never_move():
    states = np.array([[1.0, 0.0], [1.0, 2.0]] * 50)
    stats, reasons = state_stats(states, ("still", "moving"))
    assert reasons.keys() == {"still"}
    assert (stats.q01[0], stats.q99[0]) == (0.0, 2.0)
    assert (stats.q01[1], stats.q99[1]) == (0.0, 2.0)


def test_statistics_read_back(folder, tmp_path):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    fit_dataset(out, vocab_size=128)
    document = json.loads((out / "stats.json").read_text())
    assert document["action"]["names"] == list(sim_contract().action.names)
    assert set(document["state"]) == {"state.joints", "state.ee", "state.gripper"}
    stats = QuantileStats.from_dict(document["action"])
    np.testing.assert_array_equal(stats.q01, load_action_stats(out / "stats.json").q01)
    (out / "stats.json").write_text("{}")
    with pytest.raises(DatasetError, match="no valid statistics"):
        load_action_stats(out / "stats.json")


def hashes(folder):
    return {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("fitted", [False, True])
def test_a_tokenizer_of_another_data_set_is_not_replaced(folder, tmp_path, fitted):
    out, other = tmp_path / "set", tmp_path / "other"
    for place in (out, other):
        shutil.copytree(folder, place)
    fit_dataset(other, vocab_size=256)
    if fitted:
        fit_dataset(out, vocab_size=128)
        shutil.rmtree(out / "fast")
    shutil.copytree(other / "fast", out / "fast")
    before = hashes(out)
    with pytest.raises(DatasetError, match="fast: is damaged or was not fitted to this data set"):
        fit_dataset(out, vocab_size=128)
    assert hashes(out) == before
    fit_dataset(out, vocab_size=128, overwrite=True)
    assert FastTokenizer.load(out / "fast").hash == load_frames(out).hashes["tokenizer"]


@pytest.mark.parametrize("missing", ["fast", "stats.json", "index"])
def test_a_fit_that_was_interrupted_is_finished(folder, tmp_path, missing):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    index = (out / "dataset.json").read_bytes()
    whole = fit_dataset(out, vocab_size=128)
    if missing == "index":
        (out / "dataset.json").write_bytes(index)
    elif missing == "fast":
        shutil.rmtree(out / missing)
    else:
        (out / missing).unlink()
    assert fit_dataset(out, vocab_size=128) == whole


def test_command_line(folder, tmp_path, capsys):
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    assert fit_cli.main([str(out), "--vocab-size", "128"]) == 0
    assert "75 chunks" in capsys.readouterr().out
    assert fit_cli.main([str(out), "--vocab-size", "20"]) == 2
    assert "(found 20)" in capsys.readouterr().err.replace("\n", " ")
    assert fit_cli.main([str(tmp_path)]) == 2
    assert "is no data set" in capsys.readouterr().err
