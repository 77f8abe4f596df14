"""Fixtures for tests that start the whole suite."""

import os
import signal

import pytest

from roboalign_policy.core.host.facts import release_domains
from roboalign_policy.core.host.shared_memory import abandoned, remove, shared_memory_files

# Tests run beside each other; torch would take a thread a core and let each spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def signals_arrive():
    """Has the nodes that tests start hear SIGINT and SIGHUP.

    Under nohup, or in the background of a shell, they are ignored; children inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _shared_memory():
    """Leave none behind: what killed nodes of this test left, and nobody uses."""
    before = shared_memory_files()
    yield
    made = shared_memory_files() - before
    # A test beside this one may be about such files: it takes its own away.
    remove(abandoned(path for path in made if not path.name.startswith("fastrtps_test_")))


@pytest.fixture(autouse=True)
def _domains():
    """Let other tests have the ROS domains of this one."""
    yield
    release_domains()


@pytest.fixture(scope="session")
def untrained_policy(tmp_path_factory):
    """Checkpoint folder that drives sim_panda without having learnt anything."""
    pytest.importorskip("torch", reason="torch is not installed: run `make setup`")
    from untrained_policy import make_untrained_policy

    return make_untrained_policy(tmp_path_factory.mktemp("launch") / "policy")
