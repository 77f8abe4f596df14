"""Images and text to model inputs: placeholders, token types, what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from roboalign_policy.models.tiny import make_tiny_processor

HEAD = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.fixture(scope="module")
def processor(tiny_size):
    return make_tiny_processor(tiny_size)  # 32 px, patches of 8, merged 2 x 2: 4 tokens an image


def images(count):
    return list(np.random.default_rng(0).integers(0, 255, (count, 128, 128, 3), dtype=np.uint8))


def test_every_placeholder_becomes_the_tokens_of_its_image(processor):
    out = processor(images(2), [HEAD + "red ?", HEAD + "where is the red cube ?"], padding=True,
                    return_tensors="pt")  # fmt: skip
    assert out["pixel_values"].shape == (2 * 16, 3 * 8 * 8)
    assert out["pixel_values"].dtype == torch.float32
    assert out["image_grid_thw"].tolist() == [[1, 4, 4]] * 2
    is_image = out["input_ids"] == processor.image_token_id
    assert is_image.sum(dim=1).tolist() == [4, 4]
    assert torch.equal(out["mm_token_type_ids"].bool(), is_image)
    assert out["input_ids"].shape == out["attention_mask"].shape == (2, 4 + 2 + 6)
    assert out["attention_mask"][0].tolist() == [0] * 4 + [1] * 8, "padded on the left"


def test_lists_without_return_tensors(processor):
    out = processor(images(1), HEAD + "red ?")
    assert out["mm_token_type_ids"] == [[0, 1, 1, 1, 1, 0, 0, 0]]
    assert "token_type_ids" not in out


def test_arrays_pil_images_and_nested_lists_are_alike(processor):
    (array,) = images(1)
    wanted = processor([array], HEAD, return_tensors="np")["pixel_values"]
    for same in (array, array[None], Image.fromarray(array), [[array]], [Image.fromarray(array)]):
        found = processor(same, HEAD, return_tensors="np")["pixel_values"]
        np.testing.assert_array_equal(found, wanted)


def test_pixels_are_box_averages_in_minus_one_to_one(processor):
    white = processor([np.full((64, 64, 3), 255, np.uint8)], HEAD, return_tensors="np")
    np.testing.assert_allclose(white["pixel_values"], 1.0, atol=1e-6)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # every pair of columns becomes one grey pixel
    grey = processor([stripes], HEAD, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(grey, 0.0, atol=1 / 127)


@pytest.mark.parametrize(("count", "text"), [(2, HEAD), (1, "red ?"), (1, HEAD + HEAD), (0, HEAD)])
def test_placeholders_and_images_must_match(processor, count, text):
    found = text.count("<|image_pad|>")
    with pytest.raises(ValueError, match=f"found {found} .* expected {count}"):
        processor(images(count) or None, text)


def test_text_alone_needs_no_image(processor):
    out = processor(text=["red ?"], return_tensors="pt")
    assert "pixel_values" not in out
    assert out["mm_token_type_ids"].tolist() == [[0, 0]]


@pytest.mark.parametrize("name", ["videos", "audio"])
def test_videos_and_sound_are_refused(processor, name):
    with pytest.raises(ValueError, match=f"{name}: found some"):
        processor(images(1), HEAD, **{name: [np.zeros(4)]})
    processor(images(1), HEAD, **{name: None})


def test_saved_files_hold_template_and_image_settings(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"preprocessor_config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert (tmp_path / "chat_template.jinja").read_text() == processor.chat_template
