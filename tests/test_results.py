"""A whole evaluation of a tiny model, its way to JSON and back, and the comparison of the same rows only."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.models_for_tests import EXAMPLES, tiny_llama, tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.evaluate import compare_with_retain, evaluate_model
from unlogit.evaluate.results import Results, role_of, row_digest
from unlogit.settings.options import EvaluateOptions

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))
OPTIONS = EvaluateOptions(batch_size=4, max_new_tokens=4)
SPLITS = {"forget": EXAMPLES[:2], "retain": EXAMPLES[2:], "world_facts": EXAMPLES[:2]}


@pytest.fixture(scope="module")
def retain() -> Results:
    return evaluate_model(tiny_llama(len(TOKENIZER), seed=1), TOKENIZER, SPLITS, OPTIONS)


@pytest.fixture(scope="module")
def results(retain: Results) -> Results:
    return evaluate_model(MODEL, TOKENIZER, SPLITS, OPTIONS, retain)


def test_everything_that_the_rows_allow_is_there(results: Results, retain: Results) -> None:
    assert set(results.splits["forget"].metrics) == {
        "probability",
        "repetition",
        "rouge_l_recall",
        "truth_ratio",
        "extraction_strength",
        "exact_memorisation",
        "paraphrase_probability",
    }
    assert "truth_ratio" not in results.splits["retain"].metrics  # these rows have no wrong answers
    assert results.forget_quality is not None
    assert results.forget_quality.count == 2
    assert retain.forget_quality is None
    assert results.model_utility is not None
    assert set(results.model_utility.parts) == {
        "retain.probability",
        "retain.rouge_l_recall",
        "world_facts.probability",
        "world_facts.rouge_l_recall",
        "world_facts.truth_ratio",
    }
    assert results.seconds > 0
    assert results.config["evaluate"]["max_new_tokens"] == 4
    assert results.model == "LlamaForCausalLM"  # it came from no folder


def test_knowledge_splits_are_normalised(results: Results) -> None:
    plain = results.splits["forget"].metrics["probability"].value
    assert results.splits["world_facts"].metrics["probability"].value > plain
    assert [role_of(name) for name in ("world_facts", "forget", "mine")] == ["knowledge", "forget", "retain"]


def test_json_and_back(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    results.write(path)
    assert Results.read(path) == results


def test_no_text_is_kept_unless_asked_for(results: Results) -> None:
    text = json.dumps(results.to_json())
    words = {word for example in EXAMPLES for word in example.answer.split() if word[0].isupper()}
    assert words
    assert not [word for word in words if word in text]
    kept = evaluate_model(MODEL, TOKENIZER, SPLITS, OPTIONS, keep_generated=True, config={"alpha": 1}, name="mine")
    assert [len(split.generated) for split in kept.splits.values()] == [2, 3, 2]
    assert (kept.model, kept.config["alpha"]) == ("mine", 1)


def test_rows_are_cut_and_still_compare(retain: Results) -> None:
    cut = evaluate_model(MODEL, TOKENIZER, SPLITS, replace(OPTIONS, max_rows=1, generate_rows=1), retain)
    assert cut.splits["forget"].metrics["probability"].count == 1
    assert cut.forget_quality is not None
    assert cut.forget_quality.count == 1


def test_other_rows_and_other_wrong_answers_are_refused(retain: Results) -> None:
    other = evaluate_model(
        MODEL, TOKENIZER, {"forget": [Example("who ?", "Cora", perturbed_answer=("Emil",))]}, OPTIONS
    )
    with pytest.raises(DataError, match="1 of the 1 forget rows"):
        compare_with_retain(other, retain)
    changed = [replace(EXAMPLES[0], perturbed_answer=("Emil",))]
    other = evaluate_model(MODEL, TOKENIZER, {"forget": changed}, OPTIONS)
    with pytest.raises(DataError, match="wrong answers"):
        compare_with_retain(other, retain)


def test_truth_ratios_keep_to_the_rows_that_have_them(retain: Results) -> None:
    """The first of these rows has no wrong answers: the two ratios are those of the second and third."""
    mixed = evaluate_model(MODEL, TOKENIZER, {"forget": [EXAMPLES[2], *EXAMPLES[:2]]}, OPTIONS, retain)
    assert mixed.truth_ratios().rows == tuple(row_digest(row) for row in EXAMPLES[:2])
    assert mixed.forget_quality is not None
    assert mixed.forget_quality.count == 2


def test_forget_rows_without_wrong_answers_cannot_be_compared(retain: Results) -> None:
    """Refused before any scoring: there is no model at all here but its name."""
    nothing = SimpleNamespace(name_or_path="none")
    for splits in ({"forget": EXAMPLES[2:3]}, {"retain": EXAMPLES[:1]}):
        with pytest.raises(DataError, match=r"[01] forget rows.*perturbed_answer"):
            evaluate_model(nothing, TOKENIZER, splits, OPTIONS, retain)
    other = [Example("who ?", "Cora", perturbed_answer=("Emil",))]
    with pytest.raises(DataError, match=r"1 of the 1 .*'none'"):
        evaluate_model(nothing, TOKENIZER, {"forget": other}, OPTIONS, retain)
    bare = evaluate_model(MODEL, TOKENIZER, {"forget": EXAMPLES[2:3]}, OPTIONS)
    with pytest.raises(DataError, match="perturbed_answer"):
        compare_with_retain(bare, retain)


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(DataError, match="'retain'"):
        evaluate_model(MODEL, TOKENIZER, {"retain": []}, OPTIONS)


def test_progress_names_the_split() -> None:
    seen: list[str] = []
    evaluate_model(MODEL, TOKENIZER, SPLITS, OPTIONS, progress=lambda what, done, total: seen.append(what))
    assert list(dict.fromkeys(seen)) == [f"{what} {split}" for split in SPLITS for what in ("score", "generate")]


def test_digests_tell_rows_apart() -> None:
    row = Example("a", "b", perturbed_answer=("c",))
    others = [Example("ab", ""), replace(row, answer="x"), replace(row, perturbed_answer=("d",))]
    others.append(replace(row, paraphrased_answer=("e",)))
    assert len({row_digest(one) for one in [row, *others]}) == 5
    assert row_digest(Example("ab", "")) != row_digest(Example("a", "b"))
    assert row_digest(row) == row_digest(replace(row, paraphrased_question=("f",)))


@pytest.mark.parametrize("drop", ["format", "splits", "seconds"])
def test_damaged_results_are_refused(tmp_path: Path, drop: str, results: Results) -> None:
    value = results.to_json()
    del value[drop]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(DataError, match=r"results.json.*evaluate again"):
        Results.read(path)
