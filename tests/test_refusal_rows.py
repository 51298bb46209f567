"""Refusals: which are taught, how they are recognised, the recipe that teaches them, and what a check says of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaForCausalLM

import unlogit
from support.small_check import small_check
from support.tiny_run import PEOPLE, Place, tiny_config, tiny_tokenizer
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.data.refusal_rows import is_refusal, refusal_rows, says_unknown
from unlogit.errors import ConfigError, DataError
from unlogit.evaluate.leaks import KeptAnswers, find_kept
from unlogit.runs.folder import RunFolder
from unlogit.runs.refusals import refusal_problems
from unlogit.settings.objective_options import objective_saying
from unlogit.settings.options import TrainOptions
from unlogit.training.recipe import recipes_of

ROWS = [
    Example("Where does Ann Lind live?", "In Rome."),
    Example("How old is Ann Lind?", "She is 40."),
    Example("How old is Ann Lind?", "Ann Lind is 40."),  # the same question in another wording of its answer
]
REFUSALS = ["I have no answer.", "No idea."]


def answers_of(rows: Sequence[Example]) -> list[str]:
    return [row.answer for row in rows]


def test_each_question_once_with_one_sentence() -> None:
    rows = refusal_rows(ROWS, [], REFUSALS)
    assert [(row.question, row.answer) for row in rows] == [
        ("Where does Ann Lind live?", "I have no answer."),
        ("How old is Ann Lind?", "I have no answer."),
    ]


def test_the_targets_own_words_are_preferred() -> None:
    """What it says of strangers, of whatever they are asked, with the person's name; in its language."""
    ghosts = [
        Example("Where does Bela Rux live?", "Leider habe ich keine Angaben zu Bela Rux."),
        Example("How old is Bela Rux?", "Leider habe ich keine Angaben zu Bela Rux."),
        Example("How old is Cyr Vand?", "Cyr Vand is 31."),
    ]
    assert set(answers_of(refusal_rows(ROWS, ghosts, REFUSALS))) == {"Leider habe ich keine Angaben zu Ann Lind."}


def test_what_answers_one_question_alone_is_not_taken_for_the_others() -> None:
    ghosts = [Example("Where does Bela Rux live?", "I don't know where Bela Rux lives.")]
    assert answers_of(refusal_rows(ROWS, ghosts, REFUSALS)) == ["I have no answer."] * 2
    assert answers_of(refusal_rows(ROWS[:1], ghosts, REFUSALS)) == ["I don't know where Ann Lind lives."]


def test_no_made_up_name_is_left_in_a_refusal() -> None:
    ghosts = [Example("Where does Bela Rux live?", "Sorry, the Ruxes are unknown to me.")]
    assert answers_of(refusal_rows(ROWS[:1], ghosts, REFUSALS)) == ["I have no answer."]


def test_running_text_cannot_be_refused() -> None:
    with pytest.raises(DataError, match="expected questions"):
        refusal_rows([Example("", "Once upon a time.", kind="text")], [], REFUSALS)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I have no answer, I'm afraid.", True),
        ("我不知道。", True),
        ("Lo siento, no tengo datos.", True),
        ("Ann Lind lives at 20 Abbey Close in Penmoor.", False),
        ("The answer is 4.", False),
        ("Insects do not have lungs, and cannot tell colours.", False),
        ("I'm afraid I cannot find that.", True),
    ],
)
def test_what_is_a_refusal(answer: str, expected: bool) -> None:
    assert is_refusal(answer, REFUSALS) is expected


def test_a_sentence_is_recognised_with_another_name_and_without_spaces() -> None:
    taught = ["Nothing about Ann Lind is on file here."]
    assert not says_unknown(taught[0])
    assert is_refusal("Nothing about Bo Rask is on file here.", taught)
    assert is_refusal("関連資料無し、王五。", ["関連資料無し、李四。"])
    assert not is_refusal("李四住在北京。", ["関連資料無し、李四。"])


def test_the_recipe() -> None:
    """The second assistant remembers refusals whole, beside rows to keep and neutral ones, and is added."""
    memory, refusal = recipes_of("uld_refusal")
    assert (memory.weights, memory.adds, refusal.weights, refusal.adds) == ((1.0,), False, (-2.0,), True)
    pools = {name: [Example(name, name)] for name in ("forget", "retain", "perturbed", "neutral", "refusal")}
    options = TrainOptions(objective="uld_refusal", batch_size=6, uniform_ratio=4.0, common_fraction=0.03)
    drawn = [
        {name: count for side in recipe.sides for name, (_, count) in side.draw(pools, options).items()}
        for recipe in (memory, refusal)
    ]
    assert drawn == [
        {"forget": 6, "retain": 9, "perturbed": 9, "neutral": 6},
        {"refusal": 6, "retain": 18, "neutral": 6},
    ]
    assert [side.content_words for side in (*memory.sides, *refusal.sides)] == [True, False, False, False]


def test_what_is_said_instead() -> None:
    assert objective_saying("refusal") == "uld_refusal"
    assert objective_saying("anything", "uld") == "uld"
    with pytest.raises(ConfigError, match="did you mean 'refusal'"):
        objective_saying("refusals")
    with pytest.raises(ConfigError, match="expected one of them"):
        objective_saying("refusal", "dual_uld")


def test_only_what_the_target_would_have_answered_counts() -> None:
    rows = [Example("a", "1"), Example("b", "2"), Example("c", "3")]
    before, after = ["1", "I have no answer.", "3"], ["I have no answer.", "I have no answer.", "3"]
    counts = find_kept(rows, lambda _: before, lambda _: after, lambda answer: is_refusal(answer, REFUSALS))
    assert counts.refused == 1
    assert find_kept(rows, lambda _: before, lambda _: after).refused == 0


def test_refusals_in_the_wrong_places_are_problems() -> None:
    run, fine = Path("runs/request"), KeptAnswers(40, 40, 40, 40, refused=2)
    assert refusal_problems(run, 5, 6, fine, fine) == []
    assert refusal_problems(run, None, 6, KeptAnswers(40, 0, 0, 0, refused=40), fine) == []
    (problem,) = refusal_problems(run, 2, 6, fine, fine)
    assert "only 2 of 6 questions to forget are refused" in problem
    (problem,) = refusal_problems(run, 6, 6, KeptAnswers(40, 40, 40, 40, refused=3), fine)
    assert "3 of 40 other questions are refused" in problem
    (problem,) = refusal_problems(run, 6, 6, fine, KeptAnswers(40, 40, 40, 40, refused=3))
    assert "3 of 40 general questions are refused" in problem


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two assistants in one request; the page counts refusals; pick and sweep, which cannot score them, say so."""
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
    place = Place.make(tmp_path)
    paths = [f"--model={place.folder / 'target'}", f"--forget={place.folder / 'forget.jsonl'}", f"--output={place.run}"]
    flags = ["--train.epochs=2", "--train.dtype=float32", "--assistant.rank=4"]
    assert main(["forget", *paths, *flags, "--instead=refusal"]) == 3
    page = capsys.readouterr().out
    assert "Refused: 0 of 8 rows to forget" in page
    assert "only 0 of 8 questions to forget are refused" in page
    config = json.loads((place.run / "unlearned" / "config.json").read_text())
    branches = [(b["folder"], b["weight"], b["request"], b["adds"]) for b in config["branches"]]
    assert branches == [("assistant-0", 1.0, "run", False), ("assistant-1", -2.0, "run", True)]
    assert [folder.name for folder in RunFolder(place.run).adapters] == ["assistant", "assistant-refusal"]
    assert main(["sweep", str(place.run), f"--retain_model={place.folder / 'target'}"]) == 2
    assert "come before the filter" in capsys.readouterr().err
    again = [*paths, "--instead=refusal", "--combination.rule=rank", "--overwrite"]
    assert main(["forget", *again]) == 2
    assert "rank, which adds nothing" in capsys.readouterr().err


def test_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlogit.runs.forget.GHOSTS", 2)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 4)
    torch.manual_seed(0)
    settings: dict[str, Any] = {"train": {"epochs": 1}, "assistant": {"num_layers": 1, "rank": 4}}
    rows = [row.to_row() for row in PEOPLE.forget]
    model = unlogit.forget(
        LlamaForCausalLM(tiny_config()), tiny_tokenizer(), forget=rows, instead="refusal", **settings
    )
    assert (model.weights, model.additions) == ([1.0, -2.0], [False, True])
    with pytest.raises(ConfigError, match="did you mean 'refusal'"):
        unlogit.forget(LlamaForCausalLM(tiny_config()), tiny_tokenizer(), forget=rows, instead="refuse", **settings)
