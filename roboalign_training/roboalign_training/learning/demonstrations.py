"""Demonstrations as training reads them: image, states, instruction and FAST tokens by frame."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from rich.progress import Progress as ProgressBar

from roboalign_policy.core.contract.contract import (
    Contract,
    ContractError,
    find_contract,
    load_contract,
)
from roboalign_policy.core.contract.faults import ContractFault
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.prompt import camera_names
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import FastError
from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion import leaving_out
from roboalign_training.conversion.build import Converted, build_dataset, find_bags, load_frames
from roboalign_training.data.fit import fit_dataset, load_action_stats
from roboalign_training.data.index import INDEX, STATS, TOKENIZER, load_index
from roboalign_training.learning.reasoning import episode_progress, reasoning_text
from roboalign_training.learning.rewards import ChunkDecoder
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.thoughts.style import PLACE, Progress


@dataclass(frozen=True)
class EpisodeSpan:
    """An episode and its frames start .. stop - 1."""

    id: str
    start: int
    stop: int
    instruction: str


@dataclass(frozen=True)
class Demonstrations:
    """All usable episodes of a data set, one after the other.

    Attributes:
        folder: data set folder, with `fast/`, `stats.json` and `contract.yaml`.
        contract: robot contract of the recordings.
        fast: the data set's FAST tokenizer.
        hashes: SHA-256 of contract, tokenizer, stats and dataset.
        episodes: spans in ascending order, without gaps.
        states: stream key -> (N, D) float32, units of the contract.
        stats: of the normalisation of actions.
        read_chunk: frame -> (T, A) float32, units of the contract: the chunk that starts there.
        read_image: frame and key of an image stream -> (H, W, 3) uint8 rgb.
        chunk_tokens: N lists of FAST token ids, the normalised chunk that starts at each frame.
        usable: (N,) bool; False where a chunk has a missing frame inside: never an action sample.
        left_out: what conversion left out of the bags that were given.
        thought_style: what the thoughts of frames say, one of `thoughts.style.STYLES`.
    """

    folder: Path
    contract: Contract
    fast: FastTokenizer
    hashes: dict[str, str]
    episodes: tuple[EpisodeSpan, ...]
    states: dict[str, np.ndarray]
    stats: QuantileStats
    read_chunk: Callable[[int], np.ndarray]
    read_image: Callable[[int, str], np.ndarray]
    chunk_tokens: list[list[int]]
    usable: np.ndarray
    left_out: LeftOut = field(default_factory=LeftOut)
    thought_style: str = PLACE

    @property
    def horizon(self) -> int:
        """Steps in a chunk, T."""
        return self.contract.action.horizon

    @property
    def dims(self) -> int:
        """Dimensions of an action, A."""
        return len(self.contract.action.dims)

    def __len__(self) -> int:
        return self.episodes[-1].stop if self.episodes else 0

    def episode(self, frame: int) -> EpisodeSpan:
        """The episode of a frame."""
        return self.episodes[int(np.searchsorted(self._starts, frame, side="right")) - 1]

    def images(self, frame: int) -> tuple[np.ndarray, ...]:
        """What the model sees of a frame: an (H, W, 3) uint8 rgb of each of `cameras`."""
        return tuple(self.read_image(frame, key) for key in self.image_keys)

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Keys of the image streams that the model sees, in order."""
        return tuple(stream.key for stream in self.contract.seen_images)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras that the model sees, in order, as they stand in the prompt."""
        return camera_names(self.image_keys)

    def instruction(self, frame: int) -> str:
        """What the episode was to do."""
        return self.episode(frame).instruction

    def values(self, frame: int) -> dict[str, np.ndarray]:
        """The states of a frame, as the policy gets them: stream key -> (D,) float32."""
        return {key: column[frame] for key, column in self.states.items()}

    def episode_states(self, frame: int) -> tuple[dict[str, np.ndarray], int]:
        """States of the frame's episode, stream key -> (n, D), and the frame's place in it."""
        span = self.episode(frame)
        return {
            key: column[span.start : span.stop] for key, column in self.states.items()
        }, frame - span.start

    def thought(self, frame: int) -> str:
        """The thought that the frame's demonstration would have had, in the style of these.

        Raises:
            ValueError: the contract's prompt has no state, or a state is not finite.
        """
        states, at = self.episode_states(frame)
        progress = None
        if self.thought_style != PLACE:
            of_episode = self.progress(frame)
            progress = of_episode[at] if of_episode else None
        return reasoning_text(self.contract, states, at, self.thought_style, progress)

    def progress(self, frame: int) -> list[Progress] | None:
        """Where each frame of a frame's episode stands in its instruction; None: not known."""
        span = self.episode(frame)
        if span.id not in self._progress:
            states = self.episode_states(frame)[0]
            self._progress[span.id] = episode_progress(self.contract, states, span.instruction)
        return self._progress[span.id]

    def unnamed_episodes(self) -> list[str]:
        """Ids of episodes whose gripper tells of another number of sub-goals than their words."""
        return [e.id for e in self.episodes if self.progress(e.start) is None]

    def tokens(self, frame: int) -> list[int]:
        """FAST token ids of the chunk that starts at the frame."""
        return self.chunk_tokens[frame]

    def chunk(self, frame: int) -> np.ndarray:
        """(T, A) float32, units of the contract: the chunk that starts at the frame."""
        return self.read_chunk(frame)

    @cached_property
    def decoder(self) -> ChunkDecoder:
        """FAST tokens back to a chunk."""
        return ChunkDecoder(self.fast, self.stats, self.horizon, self.dims)

    @cached_property
    def ranges(self) -> np.ndarray:
        """(A,) float32, units of the contract: upper minus lower limit of each dimension."""
        limits = np.array([dim.limits for dim in self.contract.action.dims], np.float32)
        return limits[:, 1] - limits[:, 0]

    @cached_property
    def _progress(self) -> dict[str, list[Progress] | None]:
        return {}

    @cached_property
    def _starts(self) -> np.ndarray:
        return np.array([span.start for span in self.episodes])


def check_instructions(data: Demonstrations, special: Iterable[str] = ()) -> None:
    """Makes sure that every instruction can be put into a prompt: before training, not within.

    Args:
        data: the demonstrations.
        special: what the tokenizer has added to its vocabulary; of it tags alone matter, as added
            words are words too.

    Raises:
        DatasetError: naming the first episode whose instruction holds a tag, and how many do.
    """
    special = tuple(text for text in special if set(text) & set("<>[]{}|"))
    bad = [(e.id, f) for e in data.episodes if (f := instruction_fault(e.instruction, special))]
    if bad:
        name, fault = bad[0]
        more = f" (and {len(bad) - 1} more episodes)" if len(bad) > 1 else ""
        raise DatasetError(
            data.folder,
            f"instruction of episode {name}: {fault}{more}: convert or import with --instruction",
        )


def load_demonstrations(
    folder: str | Path, bags: Sequence[str | Path] = (), contract: str = ""
) -> Demonstrations:
    """Loads a data set for training; with bags, converts them into it first.

    Args:
        folder: the data set.
        bags: bags, or folders of bags, to add to it.
        contract: path or packaged name; empty: the data set's, or the one in the bags.

    Raises:
        DataError: bags or data set cannot be read, or do not fit together.
        ContractError: `contract` is not valid, or not the data set's.
    """
    folder = Path(folder)
    left = convert(folder, bags, contract) if bags else LeftOut()
    frames = load_frames(folder)
    if contract and not bags:
        _check_contract(contract, frames.contract, folder)
    if not {"stats", "tokenizer"} <= frames.hashes.keys():
        raise DatasetError(
            folder, "has no statistics and tokenizer yet: run `roboalign fit-tokenizer` on it"
        )
    fast, stats = load_fast(folder), load_action_stats(folder / STATS)
    document = json.loads((folder / STATS).read_text("utf-8"))
    for name, value in ((TOKENIZER, fast.hash), (STATS, sha256_json(document))):
        expected = frames.hashes["stats" if name == STATS else "tokenizer"]
        if value != expected:
            cause = f"hash: found {value[:12]}, expected {expected[:12]} as in {INDEX}"
            raise DatasetError(folder / name, cause)
    normalised = stats.normalise(frames.chunks()).astype(np.float64)
    try:
        tokens = fast.encode(normalised)
    except FastError as error:
        cause = f"its tokenizer cannot encode it ({error}): were episodes added?"
        raise DatasetError(folder, f"{cause} Run `roboalign fit-tokenizer` again") from error
    data = Demonstrations(
        folder=folder,
        contract=frames.contract,
        fast=fast,
        hashes=dict(frames.hashes),
        episodes=tuple(EpisodeSpan(e.id, e.start, e.stop, e.instruction) for e in frames.episodes),
        states=frames.states,
        stats=stats,
        read_chunk=frames.chunk,
        read_image=frames.image,
        chunk_tokens=tokens,
        usable=frames.usable,
        left_out=left,
    )
    check_instructions(data)
    return data


def load_fast(folder: Path) -> FastTokenizer:
    """The FAST tokenizer of a data set.

    Raises:
        DatasetError: it is missing or damaged.
    """
    try:
        return FastTokenizer.load(folder / TOKENIZER)
    except FastError as error:
        raise DatasetError(folder / TOKENIZER, f"no valid tokenizer: {error}") from error


def load_state_stats(folder: Path) -> dict[str, QuantileStats]:
    """Statistics of a data set's states by stream key, the fields in the contract's order.

    Raises:
        DatasetError: they are missing or damaged.
    """
    path = folder / STATS
    try:
        document = json.loads(path.read_text("utf-8"))
        return {key: QuantileStats.from_dict(own) for key, own in document["state"].items()}
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(path, f"no valid statistics of states: {error}") from error


def dataset_hashes(folder: str | Path) -> dict[str, str]:
    """SHA-256 of contract, tokenizer, stats and data set, without reading any frame.

    Raises:
        DataError: there is no data set, or it is damaged.
    """
    return dict(load_index(Path(folder)).hashes)


def left_out_of(data: Demonstrations) -> LeftOut:
    """What of the demonstrations, and of bags that were given, no sample is made of."""
    left = LeftOut()
    left.update(data.left_out)
    for episode in data.episodes:
        usable = data.usable[episode.start : episode.stop]
        left.add("frame", "no whole chunk of actions after it", int((~usable).sum()))
        if not usable.any():
            left.add("episode", "no frame with a whole chunk of actions")
    return left


def _check_contract(name: str, held: Contract, folder: Path) -> None:
    """Refuses a contract that is named beside a data set of another one."""
    named = load_contract(find_contract(name))
    if named.hash != held.hash:
        raise ContractError(
            [
                ContractFault(
                    name,
                    "",
                    f"{named.name} ({named.hash[:12]})",
                    f"{held.name} ({held.hash[:12]}), with which the data set {folder} was made, "
                    "or no --contract",
                )
            ]
        )


def convert(folder: Path, bags: Sequence[str | Path], contract: str) -> LeftOut:
    """Adds bags to a data set; fits statistics and tokenizer where it has none yet.

    Those that it has stay: policies of theirs could not be trained further with others.

    Returns:
        What is left out of these bags, also of those that the data set had before.
    """
    wanted = load_contract(find_contract(contract)) if contract else None
    found = find_bags(bags)
    done: list[Converted] = []
    with ProgressBar(disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("reading bags", total=len(found))

        def take(result: Converted) -> None:
            done.append(result)
            bar.advance(task)

        index = build_dataset(found, wanted, folder, on_bag=take)
    if not index.fitted:
        try:
            fit_dataset(folder)
        except FastError as error:
            raise DatasetError(folder, f"no tokenizer can be fitted to it: {error}") from error
    elif index.fitted.get("dataset") != index.hashes["dataset"]:
        print(
            f"{folder}: episodes came in; statistics and tokenizer stay those that were fitted "
            "before. `roboalign fit-tokenizer --overwrite` fits them anew; policies of the "
            "earlier ones could then not be trained further on it",
            file=sys.stderr,
            flush=True,
        )
    return leaving_out.left_out_of(done, index)
