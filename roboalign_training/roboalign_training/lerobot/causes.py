"""Why an episode was left out, without the numbers of the single case, so that equals add up."""

from __future__ import annotations

_CAUSES = (
    ("too short", "too short"),
    ("gap of", "with a gap"),
    ("unsafe", "unsafe"),
    ("no frame has", "without a whole frame"),
    ("frame_index", "with frames that are not in order"),
    ("timestamp", "with times that are not those of its frames"),
    ("task_index", "of an unknown task"),
    ("its task changes", "whose task changes"),
    ("its task is empty", "without a task"),
    ("its task is no text", "whose task has half a character"),
    ("instruction: found the tag", "whose instruction holds a tag"),
    ("instruction: found the ", "whose instruction holds a character that nobody sees"),
    ("instruction: found half", "whose instruction holds a character that nobody sees"),
    ("instruction", "whose instruction has no words"),
    ("images of", "whose images cannot be told from others"),
    ("frame rate of", "whose video has another frame rate"),
    ("episode id", "whose id is that of another one"),
)
UNREADABLE = "that cannot be read"
KEPT = "of which an older version stays"
NOT_FINITE = "with a value that is not finite"
NO_EPISODE = "of no episode"


def cause_of(reason: str) -> str:
    """The cause of an entry's `reason`; of an unknown one its first words."""
    for begin, cause in _CAUSES:
        if reason.startswith(begin):
            return cause
    return reason.partition(":")[0]
