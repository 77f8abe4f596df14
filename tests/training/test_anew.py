"""`convert` and `import --overwrite` of another contract or other rules: replaced as a whole."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from demo_bags import sim_contract, write_demo
from lerobot_sets import SHAPE, make_v21, so101_contract
from test_lerobot_nothing_lost import tree

from roboalign_policy.core.contract import contract_from_yaml
from roboalign_training import cli
from roboalign_training.data import anew
from roboalign_training.data.dataset import build_dataset
from roboalign_training.data.errors import RefusedError
from roboalign_training.data.fit import fit_dataset
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import DatasetIndex, load_index
from roboalign_training.data.recipe import Recipe
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.shared.exchange import exchanged

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


@pytest.fixture
def converted(tmp_path):
    """Three bags, the last one short, and the fitted data set of the first two, `set`."""
    for number, count in enumerate((16, 16, 3)):
        write_demo(tmp_path / f"bags/ep{number}", seed=number, count=count)
    assert cli.main(words_of(tmp_path)) == 0
    fit_dataset(tmp_path / "set", vocab_size=128)
    return words_of(tmp_path)


def words_of(tmp_path):
    return ["convert", str(tmp_path / "bags"), "--out", str(tmp_path / "set")]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_other_rules_need_overwrite_and_then_replace(converted, tmp_path, capsys):
    assert sorted(load_index(tmp_path / "set").episodes) == ["ep0", "ep1"]
    other = [*converted, "--min-frames", "2"]
    before = tree(tmp_path / "set")
    assert cli.main(other) == 2
    assert "min_frames: found null, now 2; nothing was changed: " in capsys.readouterr().err
    assert tree(tmp_path / "set") == before
    assert cli.main([*other, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert "had statistics and a tokenizer, which went with it: `roboalign fit-tok" in said.err
    assert f"{tmp_path / 'set'}: 3 episodes" in said.out
    index = load_index(tmp_path / "set")
    assert (sorted(index.episodes), index.recipe["min_frames"]) == (["ep0", "ep1", "ep2"], 2)
    assert len(load_frames(tmp_path / "set")) == index.frames == 35
    assert names(tmp_path) == ["bags", "set"], "nothing is left beside it"
    fresh = [*other[:3], str(tmp_path / "fresh"), *other[4:]]
    assert cli.main(fresh) == 0
    assert tree(tmp_path / "fresh") == tree(tmp_path / "set"), "as one that was made at once"
    before = tree(tmp_path / "set")
    for again in (other, [*other, "--overwrite"]):
        assert cli.main(again) == 0
        assert tree(tmp_path / "set") == before


def test_another_contract_too_and_rules_that_are_not_named_stay(tmp_path):
    write_demo(
        tmp_path / "ep", count=16, custom=False, markers=((0, 15, "a", "do it", "success"),)
    )
    contract = sim_contract()
    other = contract_from_yaml(contract.to_yaml().replace("name: sim_panda", "name: my_panda"))
    rules = Recipe(min_frames=3)
    bags = [tmp_path / "ep"]
    build_dataset(bags, contract, tmp_path / "set", recipe=rules)
    with pytest.raises(RefusedError, match=r"contract: found my_panda .*nothing was changed"):
        build_dataset(bags, other, tmp_path / "set")
    index = build_dataset(bags, other, tmp_path / "set", overwrite=True)
    assert (index.contract.name, index.recipe["min_frames"]) == ("my_panda", 3)
    assert index.folder == tmp_path / "set"
    assert load_index(tmp_path / "set").hashes == index.hashes
    index = build_dataset(bags, None, tmp_path / "set", recipe=Recipe(), overwrite=True)
    assert (index.contract.name, index.recipe["min_frames"]) == ("my_panda", None)


def test_what_is_not_made_anew_is_not_lost(converted, tmp_path, capsys):
    other = ["--min-frames", "2", "--overwrite"]
    (tmp_path / "set/notes.txt").write_text("mine")
    before = tree(tmp_path)
    assert cli.main([*converted, *other]) == 2
    assert "holds notes.txt beside the data set that is to be" in capsys.readouterr().err
    assert tree(tmp_path) == before
    (tmp_path / "set/notes.txt").unlink()
    before = tree(tmp_path)
    one = ["convert", str(tmp_path / "bags/ep0"), *converted[2:], *other]
    assert cli.main(one) == 2
    said = capsys.readouterr().err
    assert "holds episodes of other recordings (../bags/ep1), which --overwrite would lose" in said
    assert cli.main([*converted, "--min-frames", "40", "--overwrite"]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'set'}: no episode to put in it: " in said and ".set.new" not in said
    assert tree(tmp_path) == before
    (tmp_path / "link").symlink_to(tmp_path / "set")
    assert cli.main([*converted[:3], str(tmp_path / "link"), *other]) == 2
    assert "link: is a link, expected the folder itself" in capsys.readouterr().err


def test_bags_that_were_moved_are_known(converted, tmp_path):
    shutil.move(tmp_path / "bags", tmp_path / "moved")
    words = ["convert", str(tmp_path / "moved"), *converted[2:], "--min-frames", "2"]
    assert cli.main([*words, "--overwrite"]) == 0
    assert {e["source"] for e in load_index(tmp_path / "set").episodes.values()} == {
        f"../moved/ep{n}" for n in range(3)
    }


def test_a_recording_that_cannot_be_read_any_more_keeps_the_old_set(converted, tmp_path, capsys):
    next((tmp_path / "bags/ep1").glob("*.mcap")).write_bytes(b"broken")
    before = tree(tmp_path / "set")
    assert cli.main([*converted, "--min-frames", "2", "--overwrite"]) == 1
    assert "holds episodes of ../bags/ep1, which cannot be read any more" in (
        capsys.readouterr().err
    )
    assert tree(tmp_path / "set") == before and names(tmp_path) == ["bags", "set"]


def test_a_stop_leaves_the_old_set_and_the_same_command_goes_on(converted, tmp_path, monkeypatch):
    before, real = tree(tmp_path / "set"), DatasetIndex.save

    def stopped(self):
        raise KeyboardInterrupt

    words = [*converted, "--min-frames", "2", "--overwrite"]
    with monkeypatch.context() as patch:
        patch.setattr(DatasetIndex, "save", stopped)
        assert cli.main(words) == 130
    assert tree(tmp_path / "set") == before
    assert names(tmp_path) == [".set.new", "bags", "set"]
    other = [*converted, "--min-frames", "5", "--overwrite"]
    assert DatasetIndex.save is real
    assert cli.main(other) == 0, "what was begun with other rules is no obstacle"
    assert load_index(tmp_path / "set").recipe["min_frames"] == 5
    assert names(tmp_path) == ["bags", "set"]


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_kill_while_they_change_places(converted, tmp_path, monkeypatch, killed_at):
    """After the old set has gone aside, when the new one has its place, or in one step."""
    words = [*converted, "--min-frames", "2", "--overwrite"]

    def killed(fresh, out):
        aside = out.with_name(".set.old")
        if killed_at == 3:
            assert exchanged(fresh, out)
            raise KeyboardInterrupt
        out.rename(aside)
        if killed_at == 2:
            fresh.rename(out)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(anew, "_exchange", killed)
        assert cli.main(words) == 130
    assert cli.main(words) == 0
    assert sorted(load_index(tmp_path / "set").episodes) == ["ep0", "ep1", "ep2"]
    assert names(tmp_path) == ["bags", "set"]


def test_an_unfinished_set_of_other_rules(converted, tmp_path, capsys):
    (tmp_path / "set/dataset.json").unlink()
    before = tree(tmp_path / "set")
    words = [*converted, "--min-frames", "2"]
    assert cli.main(words) == 2
    assert "was made with another contract or other rules; nothing was" in capsys.readouterr().err
    assert tree(tmp_path / "set") == before
    assert cli.main([*words, "--overwrite"]) == 0
    assert len(load_index(tmp_path / "set").episodes) == 3


# import


@pytest.fixture
def imported(tmp_path):
    """A set of two episodes and its import to `ours`; words of the command."""
    make_v21(tmp_path / "cubes", lengths=(12, 15))
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    words = ["import", str(tmp_path / "cubes"), "--out", str(tmp_path / "ours")]
    words += ["--contract", str(tmp_path / "arm.yaml")]
    assert cli.main(words) == 0
    return words


def test_an_import_with_other_rules_replaces(imported, tmp_path, capsys):
    before = tree(tmp_path / "ours")
    other = [*imported, "--min-frames", "13"]
    assert cli.main(other) == 2
    assert "min_frames: found null, now 13; nothing was changed" in capsys.readouterr().err
    assert tree(tmp_path / "ours") == before
    assert cli.main([*other, "--overwrite"]) == 0
    assert capsys.readouterr().out.endswith("left out: 1 episode (too short)\n")
    assert sorted(load_index(tmp_path / "ours").episodes) == ["cubes-000001"]
    assert cli.main([*other, "--overwrite"]) == cli.main(other) == 0
    assert cli.main([*imported, "--min-frames", "3", "--overwrite"]) == 0
    assert len(load_index(tmp_path / "ours").episodes) == 2
    assert names(tmp_path) == ["arm.yaml", "cubes", "ours"]


def test_an_import_with_another_contract_and_of_a_moved_source(imported, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "cubes", tmp_path / "elsewhere/cubes")
    other = replace(CONTRACT, name="my_arm")
    done = import_dataset(tmp_path / "elsewhere/cubes", tmp_path / "ours", other, overwrite=True)
    assert (done.index.contract.name, len(done.added)) == ("my_arm", 2)
    assert done.index.folder == tmp_path / "ours"
    assert load_index(tmp_path / "ours").contract.name == "my_arm"


def test_an_import_loses_no_episode_of_another_source(imported, tmp_path, capsys):
    make_v21(tmp_path / "blocks", lengths=(14,))
    assert cli.main(["import", str(tmp_path / "blocks"), *imported[2:]]) == 0
    before = tree(tmp_path)
    assert cli.main([*imported, "--min-frames", "3", "--overwrite"]) == 2
    assert "holds episodes of other recordings (../blocks), which" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_an_import_that_cannot_read_all_keeps_the_old_set(imported, tmp_path, capsys):
    next((tmp_path / "cubes").glob("videos/*/*/episode_000001.mp4")).write_bytes(b"no video")
    before = tree(tmp_path / "ours")
    assert cli.main([*imported, "--min-frames", "3", "--overwrite"]) == 1
    assert "holds episodes of ../cubes, which cannot be read any more" in capsys.readouterr().err
    assert tree(tmp_path / "ours") == before


def test_folders_change_places_in_one_step_or_not_at_all(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchanged(tmp_path / "one", tmp_path / "other")
    assert names(tmp_path / "one") == ["other"] and names(tmp_path / "other") == ["one"]
    assert not exchanged(tmp_path / "one", tmp_path / "gone")
    assert names(tmp_path) == ["one", "other"]
