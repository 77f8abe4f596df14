"""The word list and tokenizer of roboalign-tiny: whole words and integers, the rest spelled out.

Every word of the embedded tabletop and every integer of its centimetre grid is one token, so that
a coordinate costs one step of generation. Words outside the list are spelled in characters
(WordPiece), never replaced by an unknown token.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, EOS, BOS = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE_PAD, VIDEO_PAD = "<|image_pad|>", "<|video_pad|>"
SPECIAL_TOKENS = (PAD, EOS, BOS, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD)

# Not special: TRL decodes completions without special tokens, and the format reward has to see
# the tags.
ANSWER_TAGS = ("<think>", "</think>", "<answer>", "</answer>")

NUMBERS = range(-128, 129)

WORDS = """
a above act after all an and are arm at back backward behind below beside between big black blue
bottom box brown by can centre centimetres close closed closer cm colour colours cube cubes cyan
describe disc does down drawer drop empty far farther farthest finish five fold four forward from
front fully go grasp gray green grey grip gripper half handle have hold holding holds home how i
in inside into is it joint joints keep lay left lift long lower magenta many me middle move moves
near nearer nearest next no nothing object objects of off on one open opened or orange other out
over pick picture pink pitch place plate plates pull purple push put raise reach red release
retreat right roll rotate scene see side six small stack state stay still table take task the them
then there they thing things think three to top touch towards turn two under up violet wait what
where which white width with wrist x y yaw yellow yes you z zero
""".split()

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message.role == 'user' or message.role == 'system' -%}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}"
    + VISION_START
    + IMAGE_PAD
    + VISION_END
    + "{%- elif part.type == 'text' -%}"
    "{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}" + BOS + "{%- else -%}"
    "{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}"
    "{%- if part.type == 'text' -%}{{ part.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}" + EOS + "{%- endif -%}"
    "{%- endfor -%}"
)


def make_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer of roboalign-tiny.

    Returns:
        A fast tokenizer of 562 entries; ``<think>`` and ``<answer>`` are ordinary added tokens,
        the chat template puts the image first, then the text, then ``<|im_start|>`` before the
        answer.
    """
    characters = [c for c in string.printable if not c.isspace() and not c.isupper()]
    pieces = [*SPECIAL_TOKENS, "[UNK]", *dict.fromkeys([*WORDS, *map(str, NUMBERS), *characters])]
    pieces += [f"##{c}" for c in characters]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(
        models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=64)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ANSWER_TAGS])
    fast.chat_template = CHAT_TEMPLATE
    return fast
