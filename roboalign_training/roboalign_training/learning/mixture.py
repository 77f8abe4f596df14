"""The SFT mixture: a seeded sequence of samples, drawn from sources by their shares.

Grounding is not decoration: a small model trained on actions alone never learned to look at the
image. Everything is a function of (seed, index), so a run stopped at any step resumes with the
same samples.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from roboalign_training.bags.errors import DatasetError
from roboalign_training.learning.action_source import action_prompt, wanted_of
from roboalign_training.learning.augmentation import Augmentation
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.source import (
    Source,
    SourceInputs,
    TrainingSample,
    UnreadableSample,
    request,
)
from roboalign_training.learning.sources import ACTIONS, SourceShare, open_sources
from roboalign_training.shared.run_layout import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

LOG = logging.getLogger(__name__)


MOST_UNREADABLE, FEWEST_DRAWN, TRIES = 0.01, 100, 20
"""The share of drawn samples that may be unreadable, of this many at least; and how many samples of
a source are tried in place of one."""


class TooManyUnreadable(DatasetError):
    """More samples of a mixture cannot be read than are passed over."""

    refused = False


class Mixture:
    """A fixed, seeded sequence of samples; each source gives all it has before it repeats any.

    A sample that cannot be read is counted, named in the log and replaced by the next one of its
    source.

    Attributes:
        names: of all sources, those without a share among them.
        kinds: (size,) int, number of the source of each sample.
        items: (size,) int, which sample of its source it is.
        drawn: how many samples were asked for.
        unreadable: origin -> fault of those that could not be read.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float],
        size: int,
        *,
        seed: int,
    ) -> None:
        """Draws the plan; the samples themselves are made when asked for.

        Args:
            sources: by name; needed where the weight is above 0, and none of them empty.
            weights: relative shares by name.
            size: number of samples.
            seed: of the draw.
        """
        rng = np.random.default_rng(seed)
        shares = np.array(list(weights.values()), dtype=float)
        kinds = rng.choice(len(shares), size=size, p=shares / shares.sum())
        self._plan(sources, tuple(weights), kinds, rng)

    @classmethod
    def counted(
        cls, sources: Mapping[str, Source], counts: Mapping[str, int], *, seed: int
    ) -> Mixture:
        """A mixture with exactly so many samples of each source, in random order."""
        rng = np.random.default_rng(seed)
        kinds = rng.permutation(np.repeat(np.arange(len(counts)), list(counts.values())))
        mixture = cls.__new__(cls)
        mixture._plan(sources, tuple(counts), kinds, rng)
        return mixture

    def _plan(
        self,
        sources: Mapping[str, Source],
        names: tuple[str, ...],
        kinds: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        self.sources, self.names, self.kinds = sources, names, kinds
        self.drawn, self.unreadable = 0, {}
        self.items = np.zeros(len(kinds), dtype=np.int64)
        for number, name in enumerate(names):
            places = np.flatnonzero(kinds == number)
            if places.size:
                count = len(sources[name])
                rounds = -(-places.size // count)
                order = np.concatenate([rng.permutation(count) for _ in range(rounds)])
                self.items[places] = order[: places.size]

    def __len__(self) -> int:
        return len(self.kinds)

    def source_of(self, index: int) -> str:
        """The source of a sample, by name."""
        return self.names[self.kinds[index]]

    def __getitem__(self, index: int) -> TrainingSample:
        """The sample at a place, or what takes its place.

        Raises:
            TooManyUnreadable: of the samples that were drawn, or all that were tried.
        """
        name = self.source_of(index)
        source, item = self.sources[name], int(self.items[index])
        self.drawn += 1
        for _ in range(min(TRIES, len(source))):
            try:
                return source[item]
            except UnreadableSample as error:
                self._note(name, error)
                item = (item + 1) % len(source)
        raise TooManyUnreadable(
            name, f"found no sample that can be read at {index} and after it, expected one"
        )

    def _note(self, name: str, error: UnreadableSample) -> None:
        if error.origin not in self.unreadable:
            self.unreadable[error.origin] = error.fault
            LOG.warning("left out: %s", error)
        if len(self.unreadable) > MOST_UNREADABLE * max(self.drawn, FEWEST_DRAWN):
            raise TooManyUnreadable(
                name,
                f"found {len(self.unreadable)} unreadable of {self.drawn:,} samples, expected at "
                f"most {MOST_UNREADABLE:.0%}; the last is {error}",
            )

    def counts(self) -> dict[str, int]:
        """How many samples of each source there are."""
        return {name: int((self.kinds == number).sum()) for number, name in enumerate(self.names)}


def training_mixture(
    shares: Mapping[str, SourceShare], inputs: SourceInputs, size: int
) -> Mixture:
    """A mixture of sources as the configuration has them.

    Args:
        shares: by name.
        inputs: what the sources are made from; its seed is that of the draw.
        size: number of samples.

    Raises:
        ConfigError: a source's option cannot be used.
        DatasetError: a source with a share has nothing to draw from.
    """
    weights = {name: share.weight for name, share in shares.items()}
    return Mixture(open_sources(shares, inputs), weights, size, seed=inputs.seed)


def validation_mixture(shares: Mapping[str, SourceShare], inputs: SourceInputs) -> Mixture | None:
    """Actions of held-out frames, with and without a thought; of either kind no frame twice.

    None where no actions are learnt: no question about a scene is held out.

    Args:
        shares: of the training mixture.
        inputs: its frames are the held-out ones.

    Raises:
        DatasetError: there are no such frames.
    """
    if not len(inputs.frames):
        raise DatasetError(
            inputs.data.folder,
            "held_out_episodes: found no frame with a whole chunk of actions in those held out, "
            "expected some: hold out more, or record longer episodes",
        )
    actions = {name: share for name, share in shares.items() if name in ACTIONS}
    if not any(share.weight for share in actions.values()):
        return None
    return training_mixture(actions, inputs, len(inputs.frames))


def split_episodes(
    data: Demonstrations, held_out: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Frames to train on and frames of `held_out` whole episodes, the development set.

    Which episodes are held out follows from their ids and the seed alone, so SFT and GRPO hold
    out the same ones.

    Returns:
        (F,) and (G,) int64 frame numbers, ascending; frames without a whole chunk are in neither.

    Raises:
        DatasetError: when fewer episodes than `held_out` + 1 are there.
    """
    if not 0 <= held_out < len(data.episodes):
        expected = f"expected 0 .. {len(data.episodes) - 1}, less than there are"
        raise DatasetError(data.folder, f"held_out_episodes: found {held_out}, {expected}")
    ranked = sorted(
        data.episodes, key=lambda e: hashlib.sha256(f"{seed}:{e.id}".encode()).digest()
    )
    out = {episode.id for episode in ranked[:held_out]}
    is_held = np.repeat(
        [e.id in out for e in data.episodes], [e.stop - e.start for e in data.episodes]
    )
    return np.flatnonzero(~is_held & data.usable), np.flatnonzero(is_held & data.usable)


class _Rows:
    """A transform of `datasets` that makes rows when they are read.

    `datasets` pickles a transform to hash it: with it would go all demonstrations, which took
    longer than loading them. It sees a name instead, under which this process finds the transform.
    """

    _by_name: ClassVar[WeakValueDictionary[str, _Rows]] = WeakValueDictionary()

    def __init__(self, make: Callable[[int], dict]) -> None:
        self.make, self.name = make, uuid.uuid4().hex
        self._by_name[self.name] = self

    def __call__(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list]:
        made = [self.make(int(index)) for index in batch["index"]]
        return {name: [row[name] for row in made] for name in made[0]}

    def __reduce__(self) -> tuple:
        return _rows_named, (self.name,)


def _rows_named(name: str) -> _Rows:
    try:
        return _Rows._by_name[name]
    except KeyError:
        raise ConfigError(
            "dataloader_num_workers: found workers that are started afresh, expected forked ones: "
            "the demonstrations stay in the process that has read them"
        ) from None


def as_dataset(size: int, make: Callable[[int], dict]) -> Dataset:
    """A `datasets.Dataset` whose rows are made when read: what TRL's trainers insist on."""
    from datasets import Dataset

    return Dataset.from_dict({"index": list(range(size))}).with_transform(_Rows(make))


def training_row(sample: TrainingSample) -> dict:
    """A sample as `PromptCollator` takes it: `images`, `prompt`, `completion`, `origin`."""
    return {
        "images": sample.images,
        "prompt": sample.prompt,
        "completion": sample.completion,
        "origin": sample.origin,
    }


def sft_dataset(mixture: Mixture, augment: Augmentation | None = None) -> Dataset:
    """The rows of a mixture; see `training_row`.

    Args:
        mixture: the samples.
        augment: changes the pictures of a sample, each place in the mixture in its own way.
    """

    def row(index: int) -> dict:
        made = training_row(mixture[index])
        return made if augment is None else {**made, "images": augment(made["images"], index)}

    return as_dataset(len(mixture), row)


def grpo_dataset(
    data: Demonstrations, frames: np.ndarray, think: bool, augment: Augmentation | None = None
) -> Dataset:
    """Columns `prompt` (chat messages), `images` (PIL) and `wanted`, which the rewards read.

    Args:
        data: the demonstrations.
        frames: (F,) int, each a prompt.
        think: whether the prompts ask for a thought.
        augment: changes the pictures of a frame; all answers to a prompt see the same ones, since
            the change follows from epoch and frame.
    """

    def row(index: int) -> dict:
        frame = int(frames[index])
        images = data.images(frame)
        if augment is not None:
            images = augment(images, frame)
        return {
            "prompt": request(action_prompt(data, frame, think), data.cameras),
            "images": [Image.fromarray(image) for image in images],
            "wanted": wanted_of(data, frame, think),
        }

    return as_dataset(len(frames), row)
