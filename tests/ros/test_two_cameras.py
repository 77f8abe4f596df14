"""Two cameras all the way: recorded, converted, learnt, driven and replayed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from other_folders import load_helper

pytest.importorskip("torch", reason="torch is not installed: run `make setup`")

from roboalign_policy.core.host.facts import free_domains, release_domains  # noqa: E402
from roboalign_policy.core.policy.options import PolicyOptions  # noqa: E402
from roboalign_policy.models.loading import ModelError  # noqa: E402
from roboalign_policy.models.open_policy import open_policy  # noqa: E402
from roboalign_policy.nodes.clients.record_client import RecordJob  # noqa: E402
from roboalign_policy.nodes.clients.record_shards import record_sharded  # noqa: E402
from roboalign_training import sft  # noqa: E402
from roboalign_training.data.frame_dataset import load_frames  # noqa: E402
from roboalign_training.evaluate import replay_cli  # noqa: E402
from roboalign_training.evaluate.closed_loop import (  # noqa: E402
    DrivenEpisode,
    DrivingOptions,
    run_closed_loop,
)
from roboalign_training.evaluate.replay import REPORT  # noqa: E402
from roboalign_training.nodes.closed_loop_worker import DOMAINS  # noqa: E402

ROBOT = "sim_panda_wrist"
BOTH = ["image.front", "image.wrist"]


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Two demonstrations of the expert, recorded with both cameras."""
    folder = tmp_path_factory.mktemp("two") / "bags"
    jobs = [RecordJob("object", "red_cube_on_plate", seed, 0.05) for seed in (1, 2)]
    domains = free_domains(DOMAINS, 1)
    done = list(record_sharded(jobs, folder, domain_ids=domains, contract=ROBOT))
    release_domains(domains)
    assert len(done) == 2
    return folder


@pytest.fixture(scope="module")
def trained(bags, tmp_path_factory):
    """Run folder of a policy that was trained on them for a step or two."""
    folder = tmp_path_factory.mktemp("sft")
    base = load_helper("training", "conftest").make_tiny_base(folder / "base")
    options = (
        f"--bags {bags} --base {base} --output_dir {folder / 'run'} --max_steps 2 "
        "--per_device_train_batch_size 4 --weight_scene 0.2 --scene_questions 8 "
        "--held_out_episodes 1 --dev_frames 2 --max_answer_tokens 8"
    )
    assert sft.main(options.split()) == 0
    return folder / "run"


def test_the_policy_has_learnt_on_both(trained):
    frames = load_frames(trained / "data")
    assert list(frames.image_keys) == BOTH
    assert not np.array_equal(frames.image(0, BOTH[0]), frames.image(0, BOTH[1]))
    assert json.loads((trained / "policy" / "roboalign.json").read_text())["images"] == BOTH
    policy = open_policy(trained / "policy", options=PolicyOptions(device="cpu"))
    assert list(policy.images) == BOTH


def test_live_and_offline_chunks_are_equal(trained, bags, tmp_path):
    bag = sorted(bags.glob("[!.]*"))[0]
    argv = [str(bag), "--policy", str(trained / "policy"), "--out", str(tmp_path / "out")]
    assert replay_cli.main([*argv, "--no-think"]) == 0
    identity = json.loads((tmp_path / "out" / REPORT).read_text())["identity"]
    assert identity["same"] and identity["n"] > 5
    assert identity["greatest"] <= 1e-6


def test_it_drives_with_both_and_not_with_one(trained, tmp_path):
    episodes = [DrivenEpisode("object", "red_cube_on_plate", 5)]
    options = DrivingOptions(workers=1)  # the contract is found by the cameras
    (result,) = run_closed_loop(trained / "policy", episodes, tmp_path / "both", options)
    assert result["chunks"] > 0
    one = DrivingOptions(workers=1, contract="sim_panda")
    with pytest.raises(ModelError, match="another robot: .*image.wrist"):
        run_closed_loop(trained / "policy", episodes, tmp_path / "one", one)
