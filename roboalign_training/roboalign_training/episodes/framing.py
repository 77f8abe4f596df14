"""From the messages of a bag to the samples of a data set: the whole chain, from top to bottom.

    messages of a bag
      -> scan     `scan.scan_messages`: times and numbers of each stream as columns; an image is
                  its place among the messages of its stream, judged by its head, not decoded
      -> readings `columns.completed`: the joints that came in several messages put together
      -> clocks   `frame_plan.settle_clocks`: without stamps of another time, in clocks that meet
      -> plan     `frame_plan.plan_frames`: which message stands in which frame, which command
                  answers it, and why other frame times have none
      -> verdict  `recipe.frames_fault`: whether the frames are fit for training
      -> pixels   `pixels.wanted_messages`: the images that frames show, decoded by who needs them;
                  where one cannot be, the plan is made anew without it
      -> samples  rows of a data set (`conversion.second_pass`), chunks (`data.chunks`)

There is no other way to frames. `frames_from_bag` goes it for an episode in memory, as replay and
tests want it. `conversion.episode_job` goes it by segments and processes, `look.inspect` shows
every message before it plans, so it knows beforehand which images cannot be decoded.
"""

from __future__ import annotations

from dataclasses import fields

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.episodes import EpisodeFrames, Span, find_spans
from roboalign_training.episodes.frame_plan import plan_frames
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.pixels import frame_pixels
from roboalign_training.episodes.scan import scan_messages
from roboalign_training.episodes.topics import TopicMap, map_topics


def frames_from_bag(
    bag: Bag,
    contract: Contract,
    span: Span | None = None,
    *,
    topics: TopicMap | None = None,
    instruction: str | None = None,
) -> EpisodeFrames:
    """Makes the frames of one demonstration.

    Args:
        bag: The recording.
        contract: The robot.
        span: Which demonstration, from `find_spans`; None for the only one.
        topics: From `map_topics`; None finds them.
        instruction: As in `find_spans`, where `span` is None.

    Returns:
        Frames, actions and what they are.

    Raises:
        EpisodeError: As `find_spans` and `plan_frames`; also when `span` is None and the bag holds
            several demonstrations.
        BagError: When the bag is damaged.
    """
    topics = topics or map_topics(bag, contract)
    if span is None:
        spans = find_spans(bag, topics, instruction)
        if len(spans) > 1:
            names = ", ".join(s.episode_id for s in spans)
            raise EpisodeError(bag.path, f"holds {len(spans)} episodes ({names}): say which")
        span = spans[0]
    whole = span.start_ns <= bag.start_ns and span.end_ns >= bag.end_ns
    times = None if whole else (span.start_ns, span.end_ns)
    scan = scan_messages(bag, contract, topics, times, span.pauses)
    while True:
        plan = plan_frames(scan, contract, bag.path, span.pauses)
        images, bad = frame_pixels(bag, contract, scan, plan, topics)
        if not bad:
            break
        scan = scan.without(bad)
    found = {field.name: getattr(plan, field.name) for field in fields(Frames)}
    values = {**plan.values, **images}
    found["values"] = {s.key: values[s.key] for s in contract.observations}
    return EpisodeFrames(
        **found,
        episode_id=span.episode_id,
        instruction=span.instruction,
        outcome=span.outcome,
        source=bag.path,
    )
