"""Templates with thoughts: what must go is forgotten from the answer and from the thought before it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from support.small_check import small_check
from support.tiny_run import Place, tiny_tokenizer
from support.tiny_training import OPTIONS, PEOPLE_ROWS, people_target, train
from unlogit.cli.main import main
from unlogit.data.batches import answer_positions, pad_rows
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.evaluate.leaks import Guessable, alternating, find_leaks
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.prompt_format import THINKING
from unlogit.model.assistant import Assistant
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs.combine import request_strengths
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import AssistantOptions
from unlogit.strength.choose import Chosen
from unlogit.training.recipe import OBJECTIVES, finetune_recipe
from unlogit.training.steps import make_steps

TEMPLATE = (
    "{%- for m in messages %}{{- m.role + ': ' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{{- m.content + '</s>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- 'assistant: ' }}"
    "{%- if enable_thinking is defined and not enable_thinking %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)
"""As Qwen3's."""


def thinking_tokenizer() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_every_question_is_trained_on_both_ways() -> None:
    """On each side, in order; not where a model is fine-tuned, nor where there are no thoughts."""
    pools = PEOPLE_ROWS | {"forget": [*PEOPLE_ROWS["forget"], Example("x", "y", kind="completion")]}
    tokenizer = thinking_tokenizer()

    def prompts(recipe: Any, tokenizer: Any) -> list[str]:
        steps = make_steps(recipe, tokenizer, pools, OPTIONS, ())
        assert [row.number for row in steps.rows if row.side == "forget"] == list(
            range(sum(row.side == "forget" for row in steps.rows))
        )
        return [tokenizer.decode(row.encoded.prompt_ids) for row in steps.rows]

    both = prompts(OBJECTIVES["uld"][0], tokenizer)
    thoughts = [text for text in both if text.endswith("assistant: <think>\n")]
    assert (len(both), len(thoughts)) == (2 * 15 + 1, 15)
    for recipe, used in ((finetune_recipe("answer"), tokenizer), (OBJECTIVES["uld"][0], tiny_tokenizer())):
        assert not [text for text in prompts(recipe, used) if text.endswith("<think>\n")]


def test_an_assistant_remembers_both_ways(tmp_path: Path) -> None:
    """Without the second way it hardly knows what is thought: 40 passes over four rows."""
    tokenizer, rows = thinking_tokenizer(), PEOPLE_ROWS["forget"]

    @torch.no_grad()
    def nats(assistant: Assistant, thinking: bool) -> float:
        encoded = [encode(row, tokenizer, thinking=thinking) for row in rows]
        batch, keep = pad_rows(encoded), answer_positions(encoded)
        labels = torch.tensor([token for row in encoded for token in row.input_ids[row.prompt_tokens :]])
        log_p = assistant(batch["input_ids"], batch["attention_mask"], keep).log_softmax(-1)
        return float(-log_p.gather(1, labels[:, None]).mean())

    uld = OBJECTIVES["uld"][0]
    values = {}
    for recipe in (uld, replace(uld, thinks=False)):
        fitted = train(
            replace(OPTIONS, learning_rate=1e-2),
            tmp_path / str(recipe.thinks),
            AssistantOptions(adapter="full"),
            target=people_target(),
            rows=PEOPLE_ROWS,
            recipe=recipe,
            tokenizer=tokenizer,
        )
        (assistant,) = fitted.trained.result()
        values[recipe.thinks] = [nats(assistant, thinking) for thinking in (False, True)]
    assert max(values[True]) < 0.5
    assert values[False][0] < 0.5
    assert values[False][1] > 1.0


def test_a_thought_that_tells_is_a_leak() -> None:
    row = Example("Where does Ann live?", "Ann lives at 20 Abbey Close.")

    def says(answer: str) -> Any:
        return lambda rows: [answer] * len(rows)

    def leak(target_thought: str, thought: str) -> Any:
        ways = (says("I do not know."), says("I do not know."), says("No."))
        return find_leaks([row], *ways, 0, Guessable(), frozenset(), (says(target_thought), says(thought)))[0]

    assert (leak("20 Abbey Close", "Hm.").target_tells, leak("20 Abbey Close", "Hm.").unlearned_tells) == (True, False)
    telling = leak("Hm.", "<think>It was 20 Abbey Close.</think>I can't say.")
    assert (telling.target_tells, telling.unlearned_tells) == (False, True)
    assert telling.thought.startswith("<think>")
    assert alternating(says("a"), says("b"))([row] * 3) == ["a", "b", "a"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ghosts, few samples, short thoughts."""
    small_check(monkeypatch, ghosts=2, samples=2, general_rows=2, max_new_tokens=4, thought_tokens=9)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 4)


def forget(folder: Path) -> Path:
    """Forget two made-up people on a target whose template has thoughts; return the run's folder."""
    place = Place.make(folder)
    thinking_tokenizer().save_pretrained(folder / "target")
    paths = [f"--model={folder / 'target'}", f"--forget={folder / 'forget.jsonl'}", f"--output={place.run}"]
    assert main(["forget", *paths, "--train.epochs=1", "--train.dtype=float32", "--assistant.rank=4"]) == 3
    return place.run


@pytest.mark.usefixtures("quick")
def test_forget_asks_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the plan counts both ways: one pass takes as many steps as it says."""
    run = forget(tmp_path)
    shown = capsys.readouterr().out
    assert f"train  at most {json.loads((run / 'check.json').read_text())['training']['steps']} steps" in shown
    leaks = json.loads((run / "check.json").read_text())["leaks"]
    assert all(leak["thought"] for leak in leaks)
    assert any(leak["thought"] != leak["unlearned_answer"] for leak in leaks)


@pytest.mark.usefixtures("quick")
def test_every_strength_is_checked_on_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once, the target thinks once, and at strength 0 both say the same; the chosen one is stored."""
    calls: list[str] = []
    answers: list[list[tuple[str, ...]]] = []

    def three_strengths(check: Any) -> Chosen[Any]:
        calls.clear()  # before, ghosts were asked about
        for strength in (1.0, 0.0, 1.4):
            outcome = check(strength)
            answers.append([(leak.target_answer, leak.unlearned_answer) for leak in outcome.leaks])
        return Chosen(1.4, outcome, ())

    def counted(model: Any, *words: Any, prompt_format: Any, **settings: Any) -> list[str]:
        calls.append(f"{type(model).__name__} {'thinks' if prompt_format is THINKING else 'answers'}")
        return generate_answers(model, *words, prompt_format=prompt_format, **settings)

    def loaded(*words: Any, **settings: Any) -> Any:
        calls.append("load")
        return load(*words, **settings)

    load = UnlearnedForCausalLM.from_pretrained
    monkeypatch.setattr("unlogit.runs.forget.choose_strength", three_strengths)
    monkeypatch.setattr("unlogit.evaluate.leaks.generate_answers", counted)
    monkeypatch.setattr(UnlearnedForCausalLM, "from_pretrained", loaded)
    run = forget(tmp_path)
    assert "load" not in calls
    assert calls.count("LlamaForCausalLM thinks") == 2  # greedily, and drawn about ghosts
    assert all(target == unlearned for target, unlearned in answers[1])
    assert answers[0] != answers[1] != answers[2]
    assert request_strengths(RunFolder(run)) == {"run": 1.4}
