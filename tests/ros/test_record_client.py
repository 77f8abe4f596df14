"""The client that records demonstrations: its calls cost the same however many came before."""

import time

from roboalign_msgs.srv import GetOutcome

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.clients.record_client import RecordClient
from roboalign_policy.nodes.sim.sim_demonstrator import next_seed

CALLS = 40


def test_no_call_leaves_work_to_the_next_one(start_node, ros_domain, monkeypatch):
    """With `spin_until_future_complete` the n-th call made n tasks and 600 episodes 9 minutes."""
    start_node("sim_robot_node", mode="lockstep", demonstrator="expert")
    with RecordClient(load_contract("sim_panda"), domain_id=ros_domain) as client:
        assert client._outcome.wait_for_service(30.0)
        time.sleep(3.0)  # an answer to a client that the server has not seen yet is lost
        made = []
        create = client._executor.create_task
        monkeypatch.setattr(
            client._executor, "create_task", lambda *given: made.append(given) or create(*given)
        )
        for _ in range(CALLS):
            assert client._call(client._outcome, GetOutcome.Request()).steps == 0
        assert len(made) <= 2 * CALLS


def test_seeds_of_new_scenes_follow_those_that_are_there():
    there = ["object-red_cube_on_plate-7", "goal-open_drawer-40", "20260101T000000-12ab"]
    assert next_seed("object", there, 0) == 8
    assert next_seed("object", there, 100) == 100
    assert next_seed("long", there, 3) == 3
