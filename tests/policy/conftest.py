"""Fixtures of the policy tests: a very small random base, and checkpoint folders made of it."""

import os
from pathlib import Path

import hypothesis
import pytest
from checkpoints import MOVING, write_checkpoint

# Tests run beside each other; torch would take a thread a core and let each spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test of a property is a test of speed: on a busy machine any call may take long.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_size():
    """Dimensions of some ten thousand parameters."""
    from roboalign_policy.models.tiny import TinySize

    return TinySize(hidden=48, layers=2, heads=4, vision_hidden=32, vision_depth=1, image_px=32)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory, tiny_size):
    """Folder of a very small random base without action vocabulary."""
    from roboalign_policy.models.tiny import make_tiny_model, make_tiny_processor

    folder = tmp_path_factory.mktemp("tiny_base")
    processor = make_tiny_processor(tiny_size)
    make_tiny_model(processor, tiny_size).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose every chunk is small; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), tiny_base)


@pytest.fixture(scope="session")
def wild_checkpoint(tmp_path_factory, tiny_base):
    """Checkpoint folder whose chunks leave the limits; not to be changed."""
    return write_checkpoint(tmp_path_factory.mktemp("wild"), tiny_base, MOVING)


@pytest.fixture(scope="session")
def universal():
    """The universal FAST tokenizer, from the data beside this checkout."""
    from roboalign_policy.fast import FastTokenizer

    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "fast_universal").exists():
            return FastTokenizer.load(parent / "shared" / "data" / "fast_universal")
    pytest.skip("shared/data/fast_universal is not beside this checkout")
