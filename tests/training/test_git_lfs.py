"""A Git LFS pointer is named as such wherever a large file is read, never called damage."""

from __future__ import annotations

import shutil
from fractions import Fraction

import pytest
from demo_bags import sim_contract, write_demo
from lerobot_sets import make_dataset

from roboalign_policy.core.contract.contract import ContractError, load_contract
from roboalign_policy.core.git_lfs import first_pointer, pointer_fault
from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.files import entries_from_file
from roboalign_policy.core.recording.task_list import TaskListError, load_tasks
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import DataError
from roboalign_training.bags.rescue import recover_cli
from roboalign_training.commands import contract_cli
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.build import build_dataset, load_frames
from roboalign_training.data.fit import fit_dataset
from roboalign_training.data.index import load_index
from roboalign_training.data.table import read_entry
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.video import VideoReader, read_frames
from roboalign_training.lerobot import export_cli, import_cli
from roboalign_training.look import inspect_cli
from roboalign_training.pretraining.pretrain_cli import read_config

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 4194304\n"
TOLD = r"is a Git LFS pointer, the file of 4,194,304 bytes it stands for .* `git lfs pull`"


def test_what_is_a_pointer(tmp_path):
    path = tmp_path / "a.mcap"
    for text in (POINTER, POINTER.replace("\n", "\r\n"), POINTER.replace("oid", "ext-0-x y\noid")):
        path.write_bytes(text.encode())
        assert "git lfs pull" in pointer_fault(path)
    for text in ("", "version 1\n", POINTER + "and more" * 200, POINTER.replace("oid", "id")):
        path.write_bytes(text.encode())
        assert pointer_fault(path) is None
    assert pointer_fault(tmp_path) is None and pointer_fault(tmp_path / "nowhere") is None
    path.write_text(POINTER)
    assert first_pointer(tmp_path)[0] == path


@pytest.mark.parametrize("name", ["a.mcap", "a.db3", "a.mcap.zstd"])
@pytest.mark.parametrize(
    "command", [recover_cli.main, inspect_cli.main], ids=["recover", "inspect"]
)
def test_bags(tmp_path, capsys, name, command):
    (tmp_path / name).write_text(POINTER)
    assert command([str(tmp_path / name)]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "is a Git LFS pointer" in said and "recover` can rescue" not in said
    assert said.count(name) == 1


def test_a_bag_whose_file_or_metadata_is_a_pointer(tmp_path, capsys):
    demo = write_demo(tmp_path / "demo", count=20)
    shutil.copytree(demo.folder, tmp_path / "other")
    (tmp_path / "other/metadata.yaml").write_text(POINTER)
    file = next(demo.folder.glob("*.mcap"))
    file.write_text(POINTER)
    for folder in (demo.folder, tmp_path / "other"):
        with pytest.raises(DataError, match=TOLD):
            read_bag(folder)
    assert convert_cli.main([str(demo.folder), "--out", str(tmp_path / "data")]) == 1
    assert "is a Git LFS pointer" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("images", ["png", "video"])
def test_data_sets(tmp_path, images):
    write_demo(tmp_path / "demo", count=60)
    data = tmp_path / "data"
    index = build_dataset([tmp_path / "demo"], sim_contract(), data, recipe=Recipe(images=images))
    fit_dataset(data, vocab_size=300)
    (entry,) = index.episodes.values()
    for name in entry.get("videos", {}).values():
        video = data / name
        whole = video.read_bytes()
        video.write_text(POINTER)
        with pytest.raises(DataError, match=TOLD):
            load_frames(data)[0].images["image.front"].sum()
        with pytest.raises(DataError, match=TOLD):
            VideoReader(Fraction(10)).image(video, 0)
        with pytest.raises(DataError, match=TOLD):
            list(read_frames(video, 0.0, 1, 10.0))
        video.write_bytes(whole)
    (data / entry["file"]).write_text(POINTER)
    for read in (lambda: load_frames(data), lambda: read_entry(data / entry["file"])):
        with pytest.raises(DataError, match=TOLD):
            read()
    (data / "fast/tokenizer.json").write_text(POINTER)
    with pytest.raises(FastError, match=TOLD):
        FastTokenizer.load(data / "fast")
    (data / "dataset.json").write_text(POINTER)
    with pytest.raises(DataError, match=TOLD):
        load_index(data)


def test_checkpoints(tmp_path, tiny_base):
    from roboalign_policy.models.loading import ModelError, load_mllm

    folder = shutil.copytree(tiny_base, tmp_path / "base")
    (folder / "model.safetensors").write_text(POINTER)
    with pytest.raises(ModelError, match=rf"model.safetensors: {TOLD}"):
        load_mllm(folder)


def test_texts_that_people_write(tmp_path, capsys):
    file = tmp_path / "a.yaml"
    file.write_text(POINTER)
    told = r"Git LFS pointer, the file of 4,194,304 bytes it stands for .* `git lfs pull`"
    with pytest.raises(ContractError, match=rf"^{file}: found a {told} in its repository\)$"):
        load_contract(file)
    assert contract_cli.main(["check", str(file)]) == 1
    said = " ".join("".join(capsys.readouterr()).split())
    assert "git lfs pull" in said and "mapping" not in said
    assert convert_cli.main([str(tmp_path), "--contract", str(file), "--out", "x"]) != 0
    assert "git lfs pull" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(TaskListError, match=rf"^{file}: is a {told}"):
        load_tasks(file)
    with pytest.raises(ParameterError, match=rf"^--params-file: {file} is a {told}"):
        entries_from_file(file)
    with pytest.raises(ValueError, match=rf"^--config: {file} is a {told}"):
        read_config(["--config", str(file)])


@pytest.mark.parametrize("kind", ["meta", "data", "videos"])
def test_lerobot_data_sets(tmp_path, capsys, kind):
    index = make_dataset(tmp_path / "ours")
    set_folder = tmp_path / "set"
    assert export_cli.main([str(index.folder), "--out", str(set_folder)]) == 0
    large = [p for p in sorted((set_folder / kind).rglob("*")) if p.suffix in (".parquet", ".mp4")]
    assert large
    for path in large:
        path.write_text(POINTER)
    shutil.rmtree(set_folder / "roboalign", ignore_errors=True)
    assert import_cli.main([str(set_folder), "--out", str(tmp_path / "back")]) == 1
    assert "is a Git LFS pointer" in " ".join(capsys.readouterr().err.split())
