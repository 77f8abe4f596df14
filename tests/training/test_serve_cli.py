"""`roboalign serve` as users start it: a process without ROS that answers over the network."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.remote.client import RemoteError, RemotePolicy
from roboalign_training.commands import serve_cli

TOKEN = "a-token-of-this-test"
PATIENT = {"timeout_s": 60.0, "connect_timeout_s": 30.0}
NO_ROS = "raise ImportError('there is no ROS on a GPU machine')\n"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder of contract sim_panda with random weights and small actions."""
    pytest.importorskip("torch", reason="torch is not installed: run `make setup`")
    from roboalign_policy.core.hashing import sha256_json
    from roboalign_policy.core.policy.normalise import QuantileStats
    from roboalign_policy.fast import FastTokenizer
    from roboalign_policy.models.loading import extend_vocabulary, load_mllm

    folder = tmp_path_factory.mktemp("serve") / "policy"
    contract = load_contract("sim_panda")
    horizon, dims = contract.action.horizon, len(contract.action.dims)
    random = np.random.default_rng(0)
    fast = FastTokenizer.fit(random.uniform(-1.0, 1.0, (200, horizon, dims)), vocab_size=300)
    mllm = load_mllm(tiny_base, device="cpu")
    extend_vocabulary(mllm, fast.vocab_size)
    mllm.model.save_pretrained(folder)
    mllm.processor.save_pretrained(folder)
    fast.save(folder / "fast")
    # So narrow that even the largest coefficients stay within the limits.
    document = {
        "action": QuantileStats.from_samples(random.uniform(-0.03, 0.03, (500, 7))).to_dict()
    }
    (folder / "stats.json").write_text(json.dumps(document))
    (folder / "contract.yaml").write_text(contract.to_yaml())
    hashes = {"contract": contract.hash, "tokenizer": fast.hash, "stats": sha256_json(document)}
    record = {"kind": "untrained", "horizon": horizon, "dims": dims, "hashes": hashes}
    (folder / "roboalign.json").write_text(json.dumps(record))
    return folder


class Served:
    """The command in a process of its own; its output is collected as it comes."""

    def __init__(self, folder, *options, token="", start=("-m", "roboalign_training.cli")):
        for package in ("rclpy", "roboalign_msgs", "sensor_msgs"):
            (folder / f"{package}.py").write_text(NO_ROS)
        env = {**os.environ, "OMP_NUM_THREADS": "1", "ROBOALIGN_TOKEN": token}
        env["PYTHONPATH"] = os.pathsep.join([str(folder), env.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, *start, "serve", *map(str, options)],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.output += line

    def says(self, pattern, timeout_s=120.0):
        """Wait for a text in the output; its match."""
        until_s = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.output)):
            ended = self.process.poll() is not None and not self._reader.is_alive()
            if ended or time.monotonic() > until_s:
                pytest.fail(f"no {pattern!r} in:\n{self.output}")
            time.sleep(0.05)
        return found

    def stop(self, number=signal.SIGINT):
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


def frame(contract):
    """An observation of zeros, as the streams of a contract are shaped."""
    images = {s.key: np.zeros(s.shape, np.uint8) for s in contract.images}
    states = {s.key: np.zeros(len(s.fields), np.float32) for s in contract.states}
    return {**images, **states}


def test_a_checkpoint_is_served_without_ros_as_it_answers_here(checkpoint, tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    options = (checkpoint, "--port", 0, "--token-file", token_file, "--no-think")
    with Served(tmp_path, *options, "--num-threads", 1, "--device", "cpu") as served:
        url = served.says(r"listening on (ws://127\.0\.0\.1:\d+)")[1]
        remote = RemotePolicy(url, token=TOKEN, **PATIENT)
        assert served.says(r"policy ([0-9a-f]{64})")[1] == remote.hash
        served.says("decoder fast: tokens without a thought; 8 of a chunk's 8 steps are driven")
        served.says("contract sim_panda, chunks of 8 x 7")
        served.says("token required, TLS off")

        from roboalign_policy.core.policy.options import PolicyOptions
        from roboalign_policy.models.open_policy import open_policy

        local = open_policy(checkpoint, options=PolicyOptions(think=False, device="cpu"))
        assert (remote.hash, remote.contract) == (local.hash, local.contract)
        values = frame(remote.contract)
        for instruction in ("put the red cube on the plate", "open the drawer"):
            found, expected = remote.act(values, instruction), local.act(values, instruction)
            assert (found.status, found.tokens) == (ChunkStatus.OK, expected.tokens)
            assert np.abs(found.actions - expected.actions).max() < 1e-6
        with pytest.raises(RemoteError, match="the policy raised KeyError: .*image.front"):
            remote.act({}, "open the drawer")
        with pytest.raises(RemoteError, match="token"):
            RemotePolicy(url, token=TOKEN[::-1], **PATIENT)

        served.says(r"127\.0\.0\.1:\d+: connected: roboalign_policy")
        served.says(r"127\.0\.0\.1:\d+: refused: no token")
        assert served.stop() == 0  # with a client connected
        assert "stopping" in served.output and TOKEN not in served.output
        # The policy's own error is logged with its traceback; ctrl-C has none.
        assert served.output.count("Traceback") == served.output.count("request 3 failed") == 1
        with pytest.raises(RemoteError):
            remote.act(values, "open the drawer")


def test_ending_by_sigterm_and_another_contract(checkpoint, tmp_path):
    contract = tmp_path / "mine.yaml"
    text = (checkpoint / "contract.yaml").read_text()
    contract.write_text(text.replace("name: sim_panda", "name: mine", 1))
    options = (checkpoint, "--port", 0, "--contract", contract, "--num-threads", 1)
    with Served(tmp_path, *options, token=TOKEN) as served:
        url = served.says(r"listening on (\S+);")[1]
        served.says("contract mine, .*\n.*token required")
        remote = RemotePolicy(url, token=TOKEN, **PATIENT)
        assert remote.contract.name == "mine"
        remote.close()
        served.says(r"left: .*; 0 answers")
        assert served.stop(signal.SIGTERM) == 0
        assert "Traceback" not in served.output


HANGS = """
import sys, time
from roboalign_policy.models.policy import MLLMPolicy
MLLMPolicy.act = lambda *values, **more: print("model: started", flush=True) or time.sleep(300)
from roboalign_training.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_second_ctrl_c_does_not_wait_for_a_model_that_hangs(checkpoint, tmp_path):
    with Served(tmp_path, checkpoint, "--port", 0, start=("-c", HANGS)) as served:
        remote = RemotePolicy(served.says(r"listening on (\S+);")[1], **PATIENT)
        errors = []
        asking = threading.Thread(target=lambda: errors.append(error_of(remote)))
        asking.start()
        served.says("model: started")
        served.process.send_signal(signal.SIGINT)
        served.says("the present inference still runs")
        assert served.process.poll() is None
        assert served.stop() == -signal.SIGINT
        asking.join(60)
        assert "lost" in str(errors[0])


def error_of(remote):
    """What an `act` raises."""
    with pytest.raises(RemoteError) as error:
        remote.act(frame(remote.contract), "open the drawer")
    return error.value


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--host", "0.0.0.0"], "found 0.0.0.0, which other machines can reach, without a token"),
        (["--host", "0.0.0.0", "--token-file", "TOKEN"], "other machines can reach, without TLS"),
        (["--token-file", "no/such/file"], "no/such/file: found no readable token"),
        (["--certificate", "c.pem"], "certificate, key: found one of them"),
        (["--certificate", "c.pem", "--key", "k.pem"], "certificate c.pem, key k.pem"),
        (["--port", "70000"], "port: found 70000"),
        (["--contract", "no_such_robot"], "no_such_robot"),
        ([], "found no roboalign.json, expected a checkpoint"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(options, text, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ROBOALIGN_TOKEN", raising=False)
    (tmp_path / "TOKEN").write_text(TOKEN)
    (tmp_path / "policy").mkdir()
    monkeypatch.chdir(tmp_path)
    assert serve_cli.main(["--policy", str(tmp_path / "policy"), *options]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1 and TOKEN not in error


def test_a_missing_policy_is_named_before_a_missing_contract(tmp_path, capsys):
    assert serve_cli.main(["--policy", str(tmp_path / "none"), "--contract", "no_such_robot"]) == 2
    error = capsys.readouterr().err
    assert f"policy: {tmp_path / 'none'}: found no such folder, expected the folder of a" in error
    assert "contract" not in error and error.count("\n") == 1


def test_going_without_tls_is_warned_of_loudly(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ROBOALIGN_TOKEN", TOKEN)
    options = ["--host", "0.0.0.0", "--insecure-no-tls"]
    assert serve_cli.main(["--policy", str(tmp_path), *options]) == 2  # there is no checkpoint
    error = capsys.readouterr().err
    assert "WARNING: 0.0.0.0 has NO TLS" in error and TOKEN not in error


def test_the_token_is_no_option(capsys):
    with pytest.raises(SystemExit) as stop:
        serve_cli.main(["--policy", "policy", f"--token={TOKEN}"])
    assert stop.value.code == 2
    assert "unrecognized arguments: --token" in capsys.readouterr().err
