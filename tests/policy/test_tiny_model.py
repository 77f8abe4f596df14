"""roboalign-tiny: its vocabulary, its size, loading other Qwen models, growing the vocabulary."""

import json

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from roboalign_policy.core.policy.prompt import build_prompt, format_answer
from roboalign_policy.models.loading import (
    ModelError,
    count_fast_tokens,
    extend_vocabulary,
    load_mllm,
    resolve_device,
)
from roboalign_policy.models.tiny import make_tiny_model, make_tiny_processor
from roboalign_policy.models.tiny_vocabulary import (
    IMAGE_PAD,
    NUMBERS,
    VIDEO_PAD,
    VISION_END,
    VISION_START,
    WORDS,
    make_tiny_tokenizer,
)


@pytest.fixture(scope="module")
def tokenizer():
    return make_tiny_tokenizer()


def test_the_vocabulary_has_one_token_a_word_and_a_number(tokenizer):
    assert len(tokenizer) == 562
    for word in (*WORDS, *map(str, NUMBERS)):
        assert len(tokenizer(word)["input_ids"]) == 1, word


def test_coordinates_cost_one_token_each(tokenizer):
    prompt = build_prompt("pick up the red cube", "x 45 y -12 z 20 gripper open", think=True)
    assert len(tokenizer(prompt)["input_ids"]) == len(prompt.split())


@pytest.mark.parametrize("text", ["stapler", "x 300 y -1000", "grab it, now!", "Red CUBE"])
def test_unknown_words_are_spelled_and_read_back(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == text.lower()


def test_tags_are_ordinary_tokens_that_survive_decoding(tokenizer):
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        (token,) = tokenizer(tag)["input_ids"]
        assert token not in tokenizer.all_special_ids
        assert tokenizer.decode([token], skip_special_tokens=True) == tag


def test_the_chat_template_puts_the_image_first_and_the_answer_last(tokenizer):
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "red ?"}]}
    prompt = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert prompt == f"{VISION_START}{IMAGE_PAD}{VISION_END}red ?<|im_start|>"
    whole = tokenizer.apply_chat_template(
        [user, {"role": "assistant", "content": "yes"}], tokenize=False
    )
    assert whole == f"{prompt}yes<|im_end|>"


def test_the_packaged_size_stays_under_sixteen_megabytes():
    processor = make_tiny_processor()
    model = make_tiny_model(processor)
    parameters = sum(p.numel() for p in model.parameters())
    assert parameters == 1_620_096
    assert 4 * parameters < 16e6
    config = model.config
    ids = processor.tokenizer.convert_tokens_to_ids
    assert (config.image_token_id, config.video_token_id) == (ids(IMAGE_PAD), ids(VIDEO_PAD))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_seed_gives_the_same_weights_and_another_one_others(tiny_size):
    processor = make_tiny_processor(tiny_size)
    first, second, other = (make_tiny_model(processor, tiny_size, seed) for seed in (5, 5, 6))
    weights = [m.get_input_embeddings().weight for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_saved_model_loads_with_the_same_logits(tiny_base, tiny_size):
    mllm = load_mllm(tiny_base, device="cpu")
    assert mllm.family == "qwen3_vl"
    fresh = make_tiny_model(make_tiny_processor(tiny_size), tiny_size)
    image = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    inputs = mllm.processor(
        [image], [f"{VISION_START}{IMAGE_PAD}{VISION_END}red ?"], return_tensors="pt"
    )
    assert torch.equal(mllm.model(**inputs).logits, fresh.eval()(**inputs).logits)


def test_the_vocabulary_grows_once_and_old_rows_stay(tiny_base):
    mllm = load_mllm(tiny_base, device="cpu")
    old = mllm.model.get_input_embeddings().weight.detach().clone()
    extend_vocabulary(mllm, 20, seed=1)
    new = mllm.model.get_input_embeddings().weight.detach()
    assert len(mllm.tokenizer) == new.shape[0] == mllm.model.config.text_config.vocab_size == 584
    assert torch.equal(new[:562], old)
    assert abs(float(new[562:].std()) / float(old.std()) - 1) < 0.2
    assert mllm.model.get_output_embeddings().weight.data_ptr() == new.data_ptr()
    (tokens,) = (mllm.tokenizer(format_answer([0, 19]))["input_ids"],)
    assert [mllm.tokenizer.convert_ids_to_tokens(t) for t in tokens] == [
        "<answer>", "<ACTION_START>", "<fast_0>", "<fast_19>", "<ACTION_END>", "</answer>"
    ]  # fmt: skip
    before = new.clone()
    extend_vocabulary(mllm, 20, seed=2)
    assert torch.equal(mllm.model.get_input_embeddings().weight, before)
    with pytest.raises(ModelError, match="found 20 FAST tokens .* expected 30"):
        extend_vocabulary(mllm, 30)


def test_qwen2_5_vl_goes_through_the_same_loader(qwen2_5_folder):
    mllm = load_mllm(qwen2_5_folder, device="cpu", dtype="float32")
    assert mllm.family == "qwen2_5_vl"
    assert isinstance(mllm.model, Qwen2_5_VLForConditionalGeneration)
    extend_vocabulary(mllm, 100)
    assert count_fast_tokens(mllm.tokenizer) == 100
    assert len(mllm.tokenizer) == 664
    assert mllm.model.get_input_embeddings().weight.shape[0] == 664
    image = np.zeros((64, 64, 3), np.uint8)
    text = mllm.processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "red ?"}]}],
        tokenize=False,
        add_generation_prompt=True,
    )
    inputs = mllm.processor([image], [text], return_tensors="pt")
    assert mllm.model(**inputs).logits.shape == (1, inputs["input_ids"].shape[1], 664)


def test_an_untied_head_gets_rows_like_its_own(qwen2_5_folder):
    mllm = load_mllm(qwen2_5_folder, device="cpu")
    extend_vocabulary(mllm, 100)
    for layer in (mllm.model.get_input_embeddings(), mllm.model.get_output_embeddings()):
        weight = layer.weight.detach()
        assert abs(float(weight[562:].std()) / float(weight[:562].std()) - 1) < 0.2


def test_a_folder_without_safetensors_is_refused(tiny_base, tmp_path):
    for path in tiny_base.iterdir():
        if path.suffix != ".safetensors":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match=r"found no \*\.safetensors"):
        load_mllm(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_mllm(tmp_path)


def test_a_model_of_another_family_is_refused(tiny_base, tmp_path):
    for path in tiny_base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ModelError, match="model_type: found 'llama', expected one of qwen2_5_vl"):
        load_mllm(tmp_path)


def test_a_tokenizer_without_chat_template_is_refused(tiny_base, tmp_path):
    for path in tiny_base.iterdir():
        if path.name != "chat_template.jinja":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ModelError, match="found no chat template"):
        load_mllm(tmp_path, device="cpu")


def test_unknown_devices_and_dtypes_are_refused(tiny_base):
    with pytest.raises(ModelError, match="dtype: found 'int8', expected one of auto, float32"):
        load_mllm(tiny_base, dtype="int8")
    with pytest.raises(ModelError, match="device: found 'banana'"):
        resolve_device("banana")
    if not torch.cuda.is_available():
        assert resolve_device("auto") == "cpu"
        with pytest.raises(ModelError, match="torch sees no CUDA device"):
            resolve_device("cuda:0")
