"""Hidden states of a layer, and thoughts: what the action head reads."""

import numpy as np
import pytest
import torch

from roboalign_policy.core.policy.prompt import build_prompt, build_question, user_content
from roboalign_policy.models.flow_decoder import read_hidden
from roboalign_policy.models.hidden_states import depth, hidden_states, with_tokens
from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.thought import (
    ThoughtRule,
    generate_thoughts,
    thought_ids,
    thought_tokens,
)

STATE = "x 45 y -12 z 20 gripper open"


@pytest.fixture(scope="module")
def mllm(tiny_base):
    mllm = load_mllm(tiny_base, device="cpu")
    mllm.model.eval()
    return mllm


def asked(mllm, *prompts):
    """Inputs of some prompts, each with a picture of its own, padded on the left."""
    texts = [
        mllm.processor.apply_chat_template(
            [{"role": "user", "content": user_content(words, ("front",))}],
            tokenize=False,
            add_generation_prompt=True,
        )
        for words in prompts
    ]
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in prompts]
    return mllm.processor(images=images, text=texts, return_tensors="pt", padding=True)


def test_every_layer_is_what_the_model_says_of_it(mllm, qwen2_5_folder):
    for found in (mllm, load_mllm(qwen2_5_folder, device="cpu", dtype="float32")):
        check_layers(found)


def check_layers(mllm):
    inputs = asked(mllm, build_prompt("grasp the red cube", STATE, True))
    with torch.no_grad():
        wanted = mllm.model(**inputs, output_hidden_states=True).hidden_states
    assert len(wanted) == depth(mllm.model) + 1 == 3
    for layer, states in enumerate(wanted):
        with torch.no_grad():
            found = hidden_states(mllm.model, inputs, layer)
        torch.testing.assert_close(found, states)
    with pytest.raises(ValueError, match="layer: found 3, expected 0 to 2"):
        hidden_states(mllm.model, inputs, 3)


def test_layers_behind_the_one_that_is_read_are_not_computed(mllm):
    inputs, reached = asked(mllm, build_prompt("grasp the red cube", STATE, True)), []
    layers = mllm.model.model.language_model.layers
    hooks = [
        layer.register_forward_hook(lambda *_, number=number: reached.append(number))
        for number, layer in enumerate(layers)
    ]
    try:
        with torch.no_grad():
            hidden_states(mllm.model, inputs, 1)
    finally:
        for hook in hooks:
            hook.remove()
    assert reached == [0]
    assert not layers[1]._forward_pre_hooks


def test_in_a_batch_a_sample_is_read_as_alone(mllm):
    prompts = [
        build_prompt("grasp the red cube", STATE, True),
        build_prompt("put the small red cube on the left blue plate", STATE, True),
    ]
    thoughts = ["grasp at 52 -10 2 : move forward 7 right 3 down 12", "finish : stay"]
    inputs = asked(mllm, *prompts)
    hidden, mask = read_hidden(mllm, inputs, thoughts, "thought", 2)
    merge = 2
    for row, thought in enumerate(thoughts):
        alone = asked(mllm, prompts[row])
        patches = inputs["image_grid_thw"].prod(dim=1)
        first = int(patches[:row].sum())
        alone["pixel_values"] = inputs["pixel_values"][first : first + int(patches[row])]
        single, ones = read_hidden(mllm, alone, [thought], "thought", 2)
        assert bool(ones.all()) and merge
        found = hidden[row][mask[row].bool()]
        torch.testing.assert_close(found, single[0], atol=2e-5, rtol=1e-4)


def test_the_thought_is_read_behind_the_prompt(mllm):
    inputs = asked(mllm, build_prompt("grasp the red cube", STATE, True))
    text = "grasp at 52 -10 2 : stay"
    tokens = thought_tokens(mllm.tokenizer, text, tagged=True)
    assert mllm.tokenizer.decode(tokens) == f"<think>{text}</think>" or "<think>" in (
        mllm.tokenizer.decode(tokens)
    )
    longer = with_tokens(inputs, [tokens], mllm.tokenizer.pad_token_id)
    assert longer["input_ids"][0, -len(tokens) :].tolist() == tokens
    assert set(longer) == set(inputs)
    for name in ("attention_mask", "mm_token_type_ids"):
        assert longer[name].shape == longer["input_ids"].shape, name
    plain, _ = read_hidden(mllm, inputs, [text], "prompt", 2)
    assert plain.shape[1] == inputs["input_ids"].shape[1]
    with_it, mask = read_hidden(mllm, inputs, [text], "thought", 2)
    assert with_it.shape[1] == plain.shape[1] + len(tokens) and bool(mask.all())
    torch.testing.assert_close(with_it[:, : plain.shape[1]], plain, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("tagged", [True, False])
def test_thoughts_of_random_weights_are_words_and_end(mllm, tagged):
    words = build_prompt("grasp the red cube", STATE, True)
    if not tagged:
        words = build_question("grasp the red cube", STATE)
    inputs, ids = asked(mllm, words, words + " now"), thought_ids(mllm.tokenizer, tagged)
    for attempt in range(3):
        texts = generate_thoughts(mllm, inputs, ids, 5, attempt)
        assert len(texts) == 2
        for text in texts:
            assert "<" not in text
            assert len(mllm.tokenizer(text, add_special_tokens=False)["input_ids"]) <= 5
    same = [generate_thoughts(mllm, inputs, ids, 5, attempt=1) for _ in range(2)]
    assert same[0] == same[1]


def test_a_thought_is_closed_once_it_is_long_enough(mllm):
    ids = thought_ids(mllm.tokenizer, tagged=True)
    rule, vocabulary = ThoughtRule(ids, 3, most=2), len(mllm.tokenizer)
    text, close = int(ids.text[40]), ids.closing[0]
    written = [[7, 7, 7]]

    def allowed():
        scores = rule(torch.tensor(written), torch.zeros(1, vocabulary))
        return set(torch.isfinite(scores[0]).nonzero().ravel().tolist())

    for token in ids.opening:
        assert allowed() == {token}
        written[0].append(token)
    assert allowed() == {*ids.text.tolist(), close}
    written[0] += [text, text]
    for token in (*ids.closing, ids.eos):
        assert allowed() == {token}
        written[0].append(token)
    assert len(allowed()) == vocabulary  # finished: whatever comes is padding
    written[0].append(mllm.tokenizer.pad_token_id)
    assert mllm.tokenizer.pad_token_id != ids.eos and len(allowed()) == vocabulary
