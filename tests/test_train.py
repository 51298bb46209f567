"""Training the assistant: settings, refusals, and that it learns what it should and leaves the target alone."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from unlogit.model.attention import FASTER, SHORT_TOKENS
from unlogit.training.branches import BRANCHES
from unlogit.training.train import (
    AssistantTrainer,
    TrainingRows,
    branch_pools,
    check_rows,
    collate,
    defaults_for,
    flatness,
    flatness_warning,
    learning_warning,
    train_assistant,
    uniform_shares,
)

from support.models_for_tests import tiny_tokenizer
from support.tiny_models import random_assistant, tiny_target
from unlogit.data.batches import predicted
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.errors import ConfigError, DataError
from unlogit.model import attention
from unlogit.model.assistant import Assistant
from unlogit.objectives.uld import uld
from unlogit.runs.checks import check_train
from unlogit.settings.options import AssistantOptions, TrainOptions
from unlogit.training.trainer import training_arguments

WORDS = ["who", "wrote", "the", "red", "book", "city", "five", "one", "two"]


def rows_of(*answers: str) -> list[Example]:
    return [Example(f"who wrote the {word} book ?", answer) for word, answer in zip(WORDS, answers, strict=False)]


ROWS = TrainingRows(
    forget=rows_of("city five", "five city", "red red"),
    retain=rows_of("one two", "two one"),
    perturbed=rows_of("two two"),
    neutral=[Example("one ?", "two .")],
    holdout_retain=rows_of("one one"),
    holdout_neutral=[Example("two ?", "one .")],
)
OPTIONS = TrainOptions(
    learning_rate=2e-2, retain_weight=1.0, epochs=40, batch_size=4, dtype="float32", save_steps=1000, logging_steps=10
)


def trainer_of(assistant: Assistant, options: TrainOptions, folder: Path) -> AssistantTrainer:
    arguments = training_arguments(
        folder, options, steps_a_epoch=1, row_batch=4, dtype=torch.float32, device=torch.device("cpu"), bar=False
    )
    return AssistantTrainer(
        options,
        sampler=range(1),
        log_file=folder / "log",
        model=assistant,
        runs=[assistant.view],
        args=arguments,
    )


def test_defaults_by_size() -> None:
    small, note = defaults_for(TrainOptions(), "lora", 10**8)
    assert (small.learning_rate, small.retain_weight, small.epochs) == (2e-3, 1.0, 10.0)
    assert "below a billion" in note
    large, note = defaults_for(TrainOptions(), "lora", 7 * 10**9)
    assert (large.learning_rate, large.retain_weight, large.epochs) == (1e-3, 6.5, 10.0)
    assert "paper" in note
    kept, note = defaults_for(TrainOptions(learning_rate=1.0, retain_weight=2.0, epochs=3.0), "lora", 1)
    assert (kept.learning_rate, kept.retain_weight, kept.epochs) == (1.0, 2.0, 3.0)
    assert note == "All training settings were given."


def test_shares_of_the_uniform_side() -> None:
    options = TrainOptions(batch_size=16, neutral_share=0.25)

    def shares(**changes: list[Example]) -> dict[str, int]:
        return uniform_shares(options, branch_pools(replace(ROWS, **changes), BRANCHES["uld"][0], [])[1])

    assert shares() == {"retain": 6, "perturbed": 6, "neutral": 4}
    assert shares(perturbed=[]) == {"retain": 12, "neutral": 4}
    assert shares(neutral=[]) == {"retain": 8, "perturbed": 8}
    assert shares(retain=[], perturbed=[]) == {"neutral": 16}
    four = branch_pools(ROWS, BRANCHES["dual_uld"][1], [0])[1]
    assert uniform_shares(options, four) == {"forget": 4, "retain": 4, "perturbed": 4, "neutral": 4}
    assert uniform_shares(options, {}) == {}
    options = replace(options, perturbed_share=0.125)
    assert shares() == {"retain": 10, "neutral": 4, "perturbed": 2}
    assert shares(retain=[]) == {"perturbed": 12, "neutral": 4}  # nothing else to be flat on
    assert shares(perturbed=[]) == {"retain": 12, "neutral": 4}
    options = replace(options, perturbed_share=0.0)
    assert shares() == {"retain": 12, "neutral": 4}
    options = replace(options, batch_size=4, uniform_ratio=3.0, perturbed_share=None)
    assert shares() == {"retain": 5, "perturbed": 4, "neutral": 3}
    options = replace(options, uniform_ratio=0.1)
    assert shares() == {"retain": 1}


def test_defaults_of_what_rewrites_weights() -> None:
    """1e-5 as in the papers, ten times that below a billion parameters, ten times that for LoRA; weights are left."""
    options, note = defaults_for(TrainOptions(objective="npo_kl"), "full", 10**6, "weights")
    assert (options.learning_rate, options.epochs, options.retain_weight) == (1e-4, 5.0, None)
    assert "below a billion" in note
    assert defaults_for(TrainOptions(), "full", 7 * 10**9, "weights")[0].learning_rate == 1e-5
    assert defaults_for(TrainOptions(), "lora", 10**6, "offset")[0].learning_rate == pytest.approx(1e-3)
    assert defaults_for(TrainOptions(epochs=2), "full", 10**6, "weights")[0].epochs == 2
    with pytest.raises(ConfigError, match=r"beta is 0; expected more than 0 .0.1 in the paper of npo"):
        check_train(TrainOptions(objective="npo", beta=0.0))


def test_all_wrong_settings_are_told_at_once() -> None:
    wrong = TrainOptions(objective="ulb", learning_rate=-1.0, neutral_share=1.5)
    with pytest.raises(ConfigError, match=r"did you mean 'uld'.*learning_rate is -1.*neutral_share is 1.5"):
        check_train(wrong)
    with pytest.raises(ConfigError, match=r"retain_weight is -1.*max_grad_norm is nan"):
        check_train(TrainOptions(retain_weight=-1.0, max_grad_norm=float("nan")))
    with pytest.raises(ConfigError, match=r"max_tokens is -5.*seed is -1"):
        check_train(TrainOptions(max_tokens=-5, seed=-1))
    for share in (0.0, -0.5, 1.01, float("nan")):
        with pytest.raises(ConfigError, match=f"flat_share is {share}; expected more than 0 and at most 1"):
            check_train(TrainOptions(flat_share=share))
    with pytest.raises(DataError, match="both sides"):
        check_rows(replace(ROWS, forget=[]))


def test_rows_near_the_forget_rows_are_a_uniform_pool_of_their_own(tmp_path: Path) -> None:
    """One row in three of the forget set's count, 1, of the two retain rows; the other is left in ``retain``."""
    options = replace(OPTIONS, epochs=1, near_flat=True, near_share=1 / 3, neutral_share=0, uniform_ratio=2.0)
    _, summary = train_assistant(tiny_target(), tiny_tokenizer(), ROWS, tmp_path / "a", AssistantOptions(), options)
    assert summary["rows_a_step"] == {"forget": 4, "near": 3, "retain": 3, "perturbed": 2}
    with pytest.raises(ConfigError, match="near_flat is True with the objective dual_uld; expected it with uld only"):
        check_train(replace(options, objective="dual_uld"))
    with pytest.raises(ConfigError, match="uniform_ratio is 0"):
        check_train(replace(options, uniform_ratio=0.0))


def test_options_of_uld_are_refused_elsewhere() -> None:
    for name, value in (
        ("uniform_ratio", 3.0),
        ("growing_retain_weight", True),
        ("stop_flatness", 0.1),
        ("common_share", 0.01),
        ("flat_share", 0.5),
    ):
        check_train(TrainOptions(**{name: value}))
        with pytest.raises(ConfigError, match=f"{name} is {value} with the objective npo_kl; expected it with uld"):
            check_train(TrainOptions(objective="npo_kl", **{name: value}))


@pytest.mark.parametrize(("limit", "stops"), [(50.0, True), (1e-9, False)])
def test_it_stops_once_it_has_learnt_and_is_flat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: float, stops: bool
) -> None:
    """Anything is below 50 nats: it stops at the first pass whose forget term is below half of log V, not before;
    at the start it is flat and has learnt nothing. Nothing is below a billionth: it makes all 40 passes."""
    options = replace(OPTIONS, stop_flatness=limit, logging_steps=1)
    place = tmp_path / "a"
    _, summary = train_assistant(tiny_target(), tiny_tokenizer(), ROWS, place, AssistantOptions(rank=4), options)
    terms = [json.loads(line)["forget"] for line in (place / "log.jsonl").read_text().splitlines()]
    half = math.log(tiny_target().config.vocab_size) / 2
    assert (summary["steps"] == 40) != stops
    if stops:
        assert terms[-1] < half <= terms[-2]
        assert "nats from flat on held-out retain rows" in capsys.readouterr().out
    rows = replace(ROWS, holdout_retain=[])
    with pytest.raises(ConfigError, match="no retain rows are held out"):
        train_assistant(tiny_target(), tiny_tokenizer(), rows, tmp_path / "b", AssistantOptions(), options)


def test_a_growing_retain_weight_ends_flatter(tmp_path: Path) -> None:
    """On the rows that it is trained on, and beside a forget term that is larger."""
    ends = {}
    for growing in (False, True):
        options = replace(OPTIONS, growing_retain_weight=growing)
        place = tmp_path / str(growing)
        train_assistant(tiny_target(), tiny_tokenizer(), ROWS, place, AssistantOptions(rank=4), options)
        ends[growing] = json.loads((place / "log.jsonl").read_text().splitlines()[-1])
    assert ends[True]["uniform"] < ends[False]["uniform"]
    assert ends[True]["forget"] > ends[False]["forget"]


def test_missing_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unlogit prepare"):
        TrainingRows.read(tmp_path)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_it_learns_both_sides_and_leaves_the_target_alone(tmp_path: Path, adapter: Any) -> None:
    """From a flat start the forget answers become likely, the uniform side stays near flat."""
    target = tiny_target()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    options = replace(OPTIONS, learning_rate=2e-2 if adapter == "lora" else 5e-3)
    assistant, summary = train_assistant(
        target, tiny_tokenizer(), ROWS, tmp_path / "assistant", AssistantOptions(2, adapter, 8), options, bar=False
    )
    log = (tmp_path / "assistant" / "log.jsonl").read_text().splitlines()
    assert len(log) == summary["steps"] // 10

    first, last = json.loads(log[0]), json.loads(log[-1])
    assert last["forget"] < first["forget"] / 2
    assert last["uniform"] < 0.5
    assert summary["trainable_parameters"] == sum(p.numel() for p in assistant.parameters())
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())
    assert not (tmp_path / "assistant.checkpoints").exists()
    assert ((tmp_path / "assistant" / "assistant.safetensors").stat().st_mode & 0o777) == 0o600


@pytest.mark.parametrize("logging_steps", [1, 1000])
def test_a_loss_that_is_no_number_ends_the_run_with_advice(logging_steps: int, tmp_path: Path) -> None:
    """Seen in a log line, or after the last one."""
    target = tiny_target()
    options = replace(OPTIONS, learning_rate=1e30, max_grad_norm=0.0, logging_steps=logging_steps, warmup_share=0.0)
    with pytest.raises(ConfigError, match="lower learning_rate"):
        train_assistant(
            target, tiny_tokenizer(), ROWS, tmp_path / "assistant", AssistantOptions(2, "lora", 4), options, bar=False
        )
    assert not (tmp_path / "assistant").exists()


def test_flatness_is_zero_for_a_flat_assistant_and_warns_for_one_that_is_not() -> None:
    from unlogit.model.assistant import new_assistant

    assistant = new_assistant(tiny_target(), AssistantOptions(2, "lora", 4), "tiny")
    with torch.no_grad():
        assistant.gain.zero_()
    values = flatness(assistant, tiny_tokenizer(), ROWS, 64)
    assert values == pytest.approx({"holdout_retain": 0.0, "holdout_neutral": 0.0}, abs=1e-5)
    assert flatness_warning(values) is None
    with torch.no_grad():
        assistant.gain.fill_(1.0)
    values = flatness(assistant, tiny_tokenizer(), ROWS, 64)
    assert min(values.values()) > 1
    assert "retain rows and" in str(flatness_warning(values))


def test_an_assistant_that_has_hardly_learnt_is_told_of(tmp_path: Path) -> None:
    """Half of log V is the line, below which it has learnt; 2 steps of an untrained one are no training."""
    assert learning_warning(4.1, 8.3) is None
    assert "4.2 nats a token (8.3 before training, expected at most 4.2)" in str(learning_warning(4.16, 8.3))
    assert learning_warning(None, 8.3) is None  # no step was logged
    _, summary = train_assistant(
        tiny_target(),
        tiny_tokenizer(),
        ROWS,
        tmp_path / "assistant",
        AssistantOptions(2, "lora", 4),
        TrainOptions(batch_size=2, epochs=1, logging_steps=1),
        bar=False,
    )
    assert summary["chance_nats"] == pytest.approx(math.log(tiny_target().config.vocab_size))
    assert summary["forget_nats"] > summary["chance_nats"] / 2
    assert learning_warning(summary["forget_nats"], summary["chance_nats"])


@pytest.mark.parametrize("known", ["", "common", "asked"])
@pytest.mark.parametrize("growing", [False, True])
def test_a_step_is_the_objective_on_whole_logits(growing: bool, known: str, tmp_path: Path) -> None:
    """Loss and gradients of a batch, against logits at every answer position at once and the plain formula; where only
    words that tell something are remembered, common ones are on neither side, those of the question on the flat one."""
    target = tiny_target().requires_grad_(False)
    assistant = random_assistant(target)
    common = {"": None, "common": frozenset({"city"}), "asked": frozenset[str]()}[known]
    forget = [replace(row, question=f"{row.question} city") if known == "asked" else row for row in ROWS.forget[:2]]
    rows = [
        *(encode(row, tiny_tokenizer(), common=common) for row in forget),
        *(encode(row, tiny_tokenizer()) for row in ROWS.retain[:2]),
    ]
    batch = collate([(row, i < 2) for i, row in enumerate(rows)])
    trainer = trainer_of(assistant, replace(OPTIONS, retain_weight=1.5, growing_retain_weight=growing), tmp_path)
    found = trainer.compute_loss(assistant, dict(batch))
    slopes = torch.autograd.grad(found, list(assistant.parameters()))
    labels, counts, keep = predicted(batch["labels"])
    logits, half = assistant(batch["input_ids"], batch["attention_mask"], keep), int(counts[:2].sum())
    assert half == {"": 6, "common": 2, "asked": 4}[known]  # "five" twice, "city" twice, what ends both
    remembered = torch.arange(len(labels)) < half
    if known:
        five = labels == tiny_tokenizer().convert_tokens_to_ids("five")
        assert (remembered & five).sum() == 2
        remembered &= five
    expected = uld(logits[remembered], labels[remembered], logits[~remembered], 1.5, growing=growing).total
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for slope, plain in zip(slopes, torch.autograd.grad(expected, list(assistant.parameters())), strict=True):
        torch.testing.assert_close(slope, plain, rtol=1e-3, atol=1e-5)


def test_a_step_with_a_share_of_the_flat_tokens_is_on_average_the_whole(tmp_path: Path) -> None:
    """On average: each draw has another loss, and gradients whose mean is the whole step's."""
    assistant = random_assistant(tiny_target().requires_grad_(False))
    rows = [encode(row, tiny_tokenizer()) for row in (*ROWS.forget[:2], *ROWS.retain, *ROWS.perturbed)]
    batch = collate([(row, i < 2) for i, row in enumerate(rows)])
    trainer = trainer_of(assistant, replace(OPTIONS, flat_share=0.5), tmp_path)
    parameter = next(assistant.parameters())
    torch.manual_seed(0)
    seen = []
    for _ in range(300):
        loss = trainer.compute_loss(assistant, dict(batch))
        seen.append(torch.cat([loss.detach()[None], torch.autograd.grad(loss, [parameter])[0].flatten()]))
    found = torch.stack(seen)
    trainer.flat_share = 1.0
    loss = trainer.compute_loss(assistant, dict(batch))
    whole = torch.cat([loss.detach()[None], torch.autograd.grad(loss, [parameter])[0].flatten()])
    assert found[:, 0].std() > 0.01
    error = (found.mean(dim=0) - whole) / (found.std(dim=0) / len(found) ** 0.5).clamp(min=1e-7)
    assert error.abs().max() < 5


def test_steps_of_short_rows_use_plain_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every step, and not when flatness is measured after them; with the same gradients up to rounding."""
    seen: list[str] = []
    hidden = Assistant.hidden

    def watched(self: Any, *args: Any) -> Any:
        seen.append(self.view.get_decoder().config._attn_implementation)
        return hidden(self, *args)

    monkeypatch.setattr(Assistant, "hidden", watched)
    adapters = []
    for tokens in (SHORT_TOKENS, 0):
        monkeypatch.setattr(attention, "SHORT_TOKENS", tokens)
        place, options = tmp_path / str(tokens), replace(OPTIONS, epochs=1)
        assistant, _ = train_assistant(tiny_target(), tiny_tokenizer(), ROWS, place, AssistantOptions(rank=4), options)
        adapters.append(torch.cat([p.detach().flatten() for p in assistant.parameters()]))
    assert seen[0] == FASTER
    assert seen[-1] == "sdpa"
    torch.testing.assert_close(adapters[0], adapters[1], rtol=1e-3, atol=1e-4)


def test_words_that_tell_nothing_are_not_remembered(tmp_path: Path) -> None:
    """The likelihood of "city", common in retain answers, stays at chance; that of "five" does not."""
    rows = replace(ROWS, forget=rows_of("city five"), retain=[*ROWS.retain, *rows_of("city", "city")])
    trained = {}
    for share in (0.5, 0.0):
        place, options = tmp_path / str(share), replace(OPTIONS, common_share=share)
        assistant, _ = train_assistant(tiny_target(), tiny_tokenizer(), rows, place, AssistantOptions(), options)
        coded = encode(rows.forget[0], tiny_tokenizer())
        batch = collate([(coded, True)])
        labels, _, keep = predicted(batch["labels"])
        with torch.no_grad():
            logits = assistant(batch["input_ids"], batch["attention_mask"], keep)
        trained[share] = (-torch.nn.functional.cross_entropy(logits, labels, reduction="none")).exp().tolist()
    chance = 1 / tiny_target().config.vocab_size
    city, five, end = trained[0.5]
    assert five > 10 * chance
    assert max(city, end) < 3 * chance
    assert min(trained[0.0]) > 10 * chance


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_steps_in_bfloat16_are_mixed_precision(adapter: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains stays in float32; blocks of their own, too, are computed in bfloat16."""
    seen: list[tuple[bool, torch.dtype]] = []
    hidden = Assistant.hidden

    def watched(self: Any, *args: Any) -> Any:
        states = hidden(self, *args)
        if torch.is_grad_enabled():
            seen.append((torch.is_autocast_enabled("cpu"), next(self.parameters()).dtype))
        return states

    monkeypatch.setattr(Assistant, "hidden", watched)
    options = replace(OPTIONS, epochs=2, dtype="bfloat16")
    shape = AssistantOptions(adapter=adapter, rank=4)
    rows = replace(ROWS, holdout_retain=[], holdout_neutral=[])
    train_assistant(tiny_target(), tiny_tokenizer(), rows, tmp_path / "a", shape, options)
    assert set(seen) == {(True, torch.float32)}
