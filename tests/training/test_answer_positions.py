"""The loss of answers alone against TRL's of all positions, and which positions are scored."""

import numpy as np
import pytest
import torch
from trl import SFTConfig, SFTTrainer

from roboalign_policy.models.loading import load_mllm
from roboalign_training.learning.answer_positions import answer_places, score_answers_only
from roboalign_training.learning.collate import IGNORED, PromptCollator
from roboalign_training.learning.mixture import as_dataset
from roboalign_training.learning.source import request

ANSWERS = ["left", "<think>grasp at 52 -10 2 : stay</think><answer>left</answer>", "52 -10"]


@pytest.fixture
def trainer(tiny_base, tmp_path):
    """TRL's trainer on a very small model; nothing is trained."""
    mllm = load_mllm(str(tiny_base))
    rng = np.random.default_rng(0)
    rows = [
        {
            "images": (rng.integers(0, 255, (32, 32, 3), dtype=np.uint8),),
            "prompt": request("where is the red cube ?" * (at + 1)),
            "completion": answer,
        }
        for at, answer in enumerate(ANSWERS)
    ]
    settings = SFTConfig(
        output_dir=str(tmp_path), remove_unused_columns=False, report_to="none", use_cpu=True,
        bf16=False,
    )  # fmt: skip
    found = SFTTrainer(
        model=mllm.model,
        args=settings,
        train_dataset=as_dataset(len(rows), rows.__getitem__),
        data_collator=PromptCollator(mllm.processor),
        processing_class=mllm.processor,
    )
    return found, found.data_collator(rows)


def step(trainer, batch, items):
    """Loss, gradients and what TRL notes of one step."""
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=items)
    loss.backward()
    noted = {key: values.pop() for key, values in trainer._metrics["train"].items()}
    grads = {
        name: weight.grad.clone()
        for name, weight in trainer.model.named_parameters()
        if weight.grad is not None
    }
    return loss.detach(), grads, noted


@pytest.mark.parametrize("items", [None, 7])
def test_loss_gradients_and_metrics_are_those_of_all_positions(trainer, items):
    trainer, batch = trainer
    loss, grads, noted = step(trainer, batch, items)
    tokens = noted.pop("num_tokens")
    score_answers_only(trainer.model)
    less, fewer, said = step(trainer, batch, items)
    assert said.pop("num_tokens") == 2 * tokens  # counted since the beginning
    torch.testing.assert_close(less, loss, rtol=1e-5, atol=0)
    assert grads.keys() == fewer.keys() and len(grads) > 20
    for name, grad in grads.items():
        torch.testing.assert_close(fewer[name], grad, rtol=1e-3, atol=1e-6, msg=name)
    assert said == pytest.approx(noted, rel=1e-4)
    assert 0 < said["entropy"] and said.keys() == {"entropy", "mean_token_accuracy"}


def test_answers_alone_are_scored_each_for_its_own_token(trainer):
    trainer, batch = trainer
    model = trainer.model.eval()
    labels, longest = batch["labels"], int((batch["labels"] != IGNORED).sum(1).max())
    given = {key: value for key, value in batch.items() if key != "labels"}
    score_answers_only(model)
    with torch.no_grad():
        scored = model(**batch, fused_lm_head=True)
        logits = model(**given).logits[:, :-1].log_softmax(-1)
    assert scored.log_probs.shape == (3, longest) and longest < labels.shape[1] / 2
    expected = logits.gather(-1, labels[:, 1:].clamp(min=0)[..., None])[..., 0]
    for row in range(3):
        of = labels[row, 1:] != IGNORED
        kept = scored.label_mask[row]
        torch.testing.assert_close(scored.log_probs[row][kept], expected[row][of])
        assert (scored.log_probs[row][~kept] == 0).all()


def test_other_calls_stay_as_they_are(trainer):
    trainer, batch = trainer
    model = trainer.model.eval()
    given = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        before, loss = model(**given).logits, model(**batch).loss
        tokens = model.generate(**given, max_new_tokens=4, do_sample=False)
        score_answers_only(model)
        torch.testing.assert_close(model(**given).logits, before, rtol=0, atol=0)
        torch.testing.assert_close(model(**batch).loss, loss, rtol=0, atol=0)
        assert model.generate(**given, max_new_tokens=4, do_sample=False).equal(tokens)


def test_a_failed_call_leaves_no_hook_behind(trainer):
    trainer, batch = trainer
    score_answers_only(trainer.model)
    with pytest.raises(IndexError):  # a token that there is not
        trainer.model(
            input_ids=torch.full((1, 4), 10**6), labels=torch.ones(1, 4).long(), fused_lm_head=True
        )
    assert not trainer.model.base_model._forward_hooks


def test_places_of_rows_with_and_without_answers():
    labels = torch.tensor([[-100, 3, 4, -100], [9, -100, -100, 5], [-100] * 4])
    places, targets = answer_places(labels)
    assert targets.tolist() == [[3, 4], [5, -100], [-100, -100]]
    assert places[0].tolist() == [0, 1] and places[1, 0] == 2
    places, targets = answer_places(labels[2:])
    assert places.tolist() == [[0]] and targets.tolist() == [[-100]]
