"""How the messages of each recorded topic are compressed, chosen by one line of text."""

from __future__ import annotations

from collections.abc import Collection

from roboalign_policy.core.keys import IMAGE_TYPE, IMAGE_TYPES

NONE, LZ4, ZSTD = "none", "lz4", "zstd"
COMPRESSIONS = (NONE, LZ4, ZSTD)
AUTO = "auto"


class CompressionError(ValueError):
    """A choice that names no compression or no topic; the text names it."""


class CompressionChoice:
    """``auto``, or one of `COMPRESSIONS`, then exceptions: ``zstd, camera/front/image_raw=none``.

    ``auto`` is lz4 for raw images (fast), none for compressed ones (in vain) and zstd for all
    else (small).
    """

    def __init__(self, text: str) -> None:
        """Read a choice.

        Raises:
            CompressionError: a word that is none of these.
        """
        first, *exceptions = [word.strip() for word in text.split(",")]
        if first not in (AUTO, *COMPRESSIONS):
            expected = ", ".join((AUTO, *COMPRESSIONS))
            raise CompressionError(f"compression: found {first!r}, expected one of {expected}")
        self._default, self._of = first, {}
        for word in exceptions:
            topic, _, name = (part.strip() for part in word.partition("="))
            if not topic or name not in COMPRESSIONS:
                raise CompressionError(
                    f"compression: found {word!r}, expected TOPIC=NAME, NAME one of "
                    f"{', '.join(COMPRESSIONS)}"
                )
            self._of[topic.lstrip("/")] = name

    def check(self, topics: Collection[str]) -> None:
        """Refuse exceptions for topics that are not recorded.

        Raises:
            CompressionError: naming the topic and those that are.
        """
        known = {topic.lstrip("/") for topic in topics}
        for topic in self._of:
            if topic not in known:
                raise CompressionError(
                    f"compression: found topic {topic!r}, expected one of {', '.join(topics)}"
                )

    def of(self, topic: str, msg_type: str) -> str:
        """Compression of one topic."""
        if chosen := self._of.get(topic.lstrip("/")):
            return chosen
        if self._default != AUTO:
            return self._default
        if msg_type in IMAGE_TYPES:
            return LZ4 if msg_type == IMAGE_TYPE else NONE
        return ZSTD
