"""The reference values of a training: what the model was before it was trained."""

import pytest
import torch
from torch import nn

from support.tiny_models import tiny_target
from support.tiny_run import tiny_tokenizer as people_tokenizer
from support.tiny_training import FORGET, people_target
from unlogit.data.batches import answer_positions, pad_rows
from unlogit.data.encode import Encoded, encode
from unlogit.training.reference import measure_reference


def test_the_reference_is_the_model_before_training() -> None:
    """Stored hidden states through the stored head give the target's logits also after every weight has changed."""
    model = people_target()
    coded = [encode(row, people_tokenizer()) for row in FORGET]
    needs = frozenset({"forget_reference_nll", "forget_reference_logits"})
    reference = measure_reference(model, {"forget": dict(enumerate(coded))}, needs)
    batch, counted = pad_rows([coded[2], coded[0]]), answer_positions([coded[2], coded[0]])[:, :-1]
    with torch.no_grad():
        logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1][counted]
        nll = nn.functional.cross_entropy(logits, batch["input_ids"][:, 1:][counted], reduction="none")
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = reference.logits_of("forget", [2, 0], torch.device("cpu"))
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)
    sums = [float(part.sum()) for part in torch.split(nll, counted.sum(1).tolist())]
    stored = reference.nll_of("forget", [2, 0])
    assert stored is not None
    assert stored.tolist() == pytest.approx(sums, abs=1e-3)
    assert reference.logits_of("retain", [0], torch.device("cpu")) is None


def test_a_frozen_head_is_not_copied() -> None:
    model = people_target()
    rows = {"retain": {0: Encoded((1, 2, 3), 1)}}
    assert measure_reference(model, rows, frozenset()).head is None
    head = measure_reference(model, rows, frozenset({"retain_reference_logits"})).head
    assert head.get_output_embeddings().weight is not model.get_output_embeddings().weight
    model.requires_grad_(False)
    assert measure_reference(model, rows, frozenset({"retain_reference_logits"})).head is model


def test_two_architectures_have_a_reference_too() -> None:
    """A head that is not tied, and one with soft-capped logits: the reference's logits are the model's own."""
    for architecture in ("gpt_neox", "gemma2"):
        model = tiny_target(architecture)
        rows = {"retain": {0: Encoded((5, 6, 7, 8), 2)}}
        reference = measure_reference(model, rows, frozenset({"retain_reference_logits"}))
        with torch.no_grad():
            expected = model(torch.tensor([[5, 6, 7, 8]])).logits[0, 1:3]
            for parameter in model.parameters():
                parameter.mul_(1.5)
        found = reference.logits_of("retain", [0], torch.device("cpu"))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
