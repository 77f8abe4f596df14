"""Fixtures for tests that start the whole suite."""

import pytest


@pytest.fixture(scope="session")
def untrained_policy(tmp_path_factory):
    """Checkpoint folder that drives sim_panda without having learnt anything."""
    pytest.importorskip("torch", reason="torch is not installed: run `make setup`")
    from untrained_policy import make_untrained_policy

    return make_untrained_policy(tmp_path_factory.mktemp("launch") / "policy")
