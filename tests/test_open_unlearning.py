"""OpenUnlearning's protocol and files: its formulas by hand and by an independent reference, and the way back."""

import functools
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import hmean, ks_2samp

from support.models_for_tests import tiny_llama
from support.tiny_run import PEOPLE, Place, save_model
from test_metrics import score, split
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.errors import DataError, ModelError
from unlogit.evaluate.evaluate import compare_with_retain, evaluate_model
from unlogit.evaluate.metrics.membership_inference import membership_inference
from unlogit.evaluate.metrics.table import compute_metrics
from unlogit.evaluate.open_unlearning.files import is_open_unlearning, read_open_unlearning, write_open_unlearning
from unlogit.evaluate.open_unlearning.metrics import row_extraction_strength, row_truth_ratio
from unlogit.evaluate.open_unlearning.tokens import DATE, PROMPT_FORMAT, SYSTEM_PROMPT, encode_answers, prompt_ids
from unlogit.evaluate.protocol import PROTOCOLS, EvaluationProtocol
from unlogit.evaluate.published_logs import read_published_log
from unlogit.evaluate.results import AnswerLosses, Results, Role, SplitResult, TruthRatios
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.evaluate.subset import on_rows
from unlogit.runs.results import RETAIN, RunResults, load_retain
from unlogit.settings.options import EvaluateOptions

THEIRS = PROTOCOLS["open_unlearning"]


def theirs(name: str, scores: list[Score], role: Role) -> float:
    return compute_metrics(scores, role, THEIRS.metrics)[name].value


# Formulas


def test_truth_ratio_has_their_epsilon() -> None:
    """Row 1: p_wrong = √(0.1 · 0.4) = 0.2, p_true = 0.5. Row 2: p_wrong = 2e-10 and p_true = 1e-10 give 2e-10 / 2e-10.

    Forget: (min(0.4, 2.5) + min(1, 1)) / 2 = 0.7; else: (0.6 + 0) / 2 = 0.3. Ours has 2 for row 2: 0.45.
    """
    scores = [score(0.9, paraphrased=0.5, wrong=(0.1, 0.4)), score(1e-10, wrong=(2e-10,))]
    assert [row_truth_ratio(one) for one in scores] == pytest.approx([0.4, 1.0])
    assert theirs("truth_ratio", scores, "forget") == pytest.approx(0.7, abs=1e-9)
    assert theirs("truth_ratio", scores, "retain") == pytest.approx(0.3, abs=1e-9)
    assert compute_metrics(scores, "forget")["truth_ratio"].value == pytest.approx(0.45, abs=1e-9)


def test_truth_ratio_of_a_row_that_they_published() -> None:
    """Row 0 of their log of Llama-3.2-1B trained without forget10: the losses in it, and the score in it."""
    wrong = (3.285900115966797, 3.334685802459717, 3.9678597450256348, 3.725228786468506, 3.471944808959961)
    row = Score(1.0, 5, (), 4.264481067657471, wrong, None, "")
    assert row_truth_ratio(row) == pytest.approx(2.0286229411792283, rel=1e-12)


def test_probability_among_choices_has_their_epsilon() -> None:
    """0.2 / (0.2 + 0.1 + 0.1 + 1e-10) is 0.5 less 1.25e-10; 1e-10 / (1e-10 + 1e-10 + 1e-10) is a third, not a half."""
    scores = [score(0.2, wrong=(0.1, 0.1)), score(1e-10, wrong=(1e-10,))]
    found = compute_metrics(scores, "knowledge", THEIRS.metrics)["probability"].per_example
    assert found[0] == pytest.approx(0.5 - 1.25e-10, abs=1e-13)
    assert found[1] == pytest.approx(1 / 3)


def test_probability_of_answers_is_as_ours() -> None:
    """(0.5 + 0.25) / 2."""
    assert theirs("probability", [score(0.5), score(0.25, wrong=(0.9,))], "forget") == pytest.approx(0.375, abs=1e-12)


@pytest.mark.parametrize(
    ("hits", "wanted"),
    [("1111", 1), ("0111", 3 / 4), ("1011", 2 / 4), ("1110", 1 / 4), ("0000", 1 / 4), ("0", 1), ("1", 1), ("", 0)],
)
def test_extraction_strength_of_a_row(hits: str, wanted: float) -> None:
    """k stops at T − 1, so that nothing but misses is 1/T, and one token is always 1; ours is 0 in these cases."""
    assert row_extraction_strength([hit == "1" for hit in hits]) == pytest.approx(wanted)


def test_the_last_token_does_not_count() -> None:
    """Hits 1010|1 and 1|0, before the bar: extraction 1 − 3/4 and 1; memorisation 2/4 and 1.

    The third row is its end alone: extraction 0, no memorisation.
    """
    scores = [score(hits=(True, False, True, False, True)), score(hits=(True, False)), score(hits=(True,))]
    assert theirs("extraction_strength", scores, "forget") == pytest.approx((1 / 4 + 1 + 0) / 3)
    memorised = compute_metrics(scores, "forget", THEIRS.metrics)["exact_memorisation"]
    assert memorised.per_example == pytest.approx((0.5, 1.0))
    assert memorised.row_indices == (0, 1)


def test_membership_is_told_by_tokens_before_the_last() -> None:
    """By min-k, the lowest 40 % of a row: forget rows have −1 before their end and held-out rows −2: AUC 1.

    With the end, −9 for forget rows and 0 for the others, the lowest are −9 and −2: AUC 0.
    """

    def row(*log_probs: float) -> Score:
        return replace(score(answer="a"), token_log_probs=log_probs, token_z_scores=log_probs)

    def auc_by(protocol: EvaluationProtocol, forget: list[Score], holdout: list[Score]) -> float:
        result = membership_inference(protocol.membership_scores(forget), protocol.membership_scores(holdout))
        assert result is not None
        return result.value

    forget, holdout = [row(-1, -1, -9)] * 3, [row(-2, -2, 0)] * 3
    assert auc_by(THEIRS, forget, holdout) == 1
    assert auc_by(PROTOCOLS["unlogit"], forget, holdout) == 0
    assert auc_by(THEIRS, [row(-9)], [row(-2)]) == 0.5  # nothing but an end: 0, both


def test_model_utility_is_of_nine_or_none() -> None:
    """Eight of 1 and one of 0.5: 9 / (8 + 2). Ours takes the numbers that there are."""
    one = {"probability": 1.0, "rouge_l_recall": 1.0, "truth_ratio": 1.0}
    splits = {name: split(name, **one) for name in ("retain", "real_authors")}
    assert THEIRS.model_utility(splits) is None
    ours = PROTOCOLS["unlogit"].model_utility(splits)
    assert ours is not None
    assert ours.value == 1
    whole = splits | {"world_facts": split("world_facts", **{**one, "truth_ratio": 0.5})}
    found = THEIRS.model_utility(whole)
    assert found is not None
    assert found.value == pytest.approx(hmean([1.0] * 8 + [0.5]), abs=1e-12) == pytest.approx(0.9)


def reference(true: Any, wrong: Any, hits: list[list[bool]]) -> dict[str, float]:
    """Their numbers on whole arrays: true [N] and wrong [N, W] are losses, hits with the last token."""
    p_true, p_wrong = np.exp(-true), np.exp(-wrong.mean(1))
    ratios = p_wrong / (p_true + 1e-10)
    found = {
        "forget": np.minimum(ratios, 1 / (ratios + 1e-10)).mean(),
        "retain": np.maximum(0, 1 - ratios).mean(),
        "choice": (p_true / (p_true + np.exp(-wrong).sum(1) + 1e-10)).mean(),
        "memorised": np.mean([np.array(row[:-1]).mean() for row in hits]),
    }
    extracted = []
    for row in hits:
        kept = row[:-1]
        for k in range(len(kept)):
            if all(kept[k:]):
                break
        extracted.append(1 - k / len(kept))
    return found | {"extracted": np.mean(extracted)}


def test_formulas_agree_with_an_independent_reference() -> None:
    chance = random.Random(0)
    true = np.array([chance.expovariate(0.1) for _ in range(40)])
    wrong = np.array([[chance.expovariate(0.1) for _ in range(5)] for _ in range(40)])
    hits = [[chance.random() < 0.7 for _ in range(chance.randrange(2, 9))] for _ in range(40)]
    scores = [
        Score(float(t), len(h), tuple(h), None, tuple(map(float, w)), None, "")
        for t, w, h in zip(true, wrong, hits, strict=True)
    ]
    wanted = reference(true, wrong, hits)
    assert theirs("truth_ratio", scores, "forget") == pytest.approx(wanted["forget"], abs=1e-12)
    assert theirs("truth_ratio", scores, "retain") == pytest.approx(wanted["retain"], abs=1e-12)
    assert theirs("probability", scores, "knowledge") == pytest.approx(wanted["choice"], abs=1e-12)
    assert theirs("exact_memorisation", scores, "forget") == pytest.approx(wanted["memorised"], abs=1e-12)
    assert theirs("extraction_strength", scores, "forget") == pytest.approx(wanted["extracted"], abs=1e-12)


# Tokens

QUESTION = Example("Who?", "Ann", paraphrased_answer=("It is Ann",), perturbed_answer=("Bob", "It is Cora"))
OTHER = Example("Where was Ann born?", "In Ghent.", perturbed_answer=("In Rome.", "Near Oslo."))


def test_tokens_of_a_chat(chat_tokenizer: Any) -> None:
    """A system turn; loss on the answer, on what the template puts behind it, and on an end put behind that."""
    turns = f"<|system|>{SYSTEM_PROMPT}</s>\n<|user|>Who?</s>\n<|assistant|>"
    (row,) = encode_answers(QUESTION, chat_tokenizer, ("Ann",))
    assert chat_tokenizer.decode(row.prompt_ids) == turns
    assert row.prompt_ids == prompt_ids(QUESTION, chat_tokenizer)
    assert chat_tokenizer.decode(row.input_ids[row.prompt_tokens :]) == "Ann</s>\n</s>"


def test_templates_show_their_date_and_may_refuse_the_system_turn(chat_tokenizer: Any) -> None:
    chat_tokenizer.chat_template = "{{ date_string }}" + chat_tokenizer.chat_template
    assert chat_tokenizer.decode(prompt_ids(QUESTION, chat_tokenizer)).startswith(f"{DATE}<|system|>")
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    chat_tokenizer.chat_template = refusing + chat_tokenizer.chat_template
    assert chat_tokenizer.decode(prompt_ids(QUESTION, chat_tokenizer)).startswith(f"{DATE}<|user|>Who?")
    chat_tokenizer.chat_template = "{{ raise_exception('never') }}"
    with pytest.raises(ModelError, match="chat_template"):
        prompt_ids(QUESTION, chat_tokenizer)


def test_tokens_without_a_chat_template(byte_tokenizer: Any) -> None:
    """The space stands before the answer, and belongs to the prompt; 19 characters and <s> make 21 prompt tokens."""
    (row,) = encode_answers(QUESTION, byte_tokenizer, ("Ann",))
    assert byte_tokenizer.decode(row.input_ids) == "<s>Question: Who?\nAnswer: Ann</s>"
    assert row.prompt_tokens == 1 + len("Question: Who?\nAnswer: ")
    assert row.answer_tokens == 4


def test_a_prompt_that_splits_otherwise_alone(word_tokenizer: Any) -> None:
    """A space alone is a token more than in " Ann": the answer loses its first."""
    tokenizer = word_tokenizer("Question: Who? Answer: Ann of Ghent")
    (row,) = encode_answers(Example("Who?", "Ann of Ghent"), tokenizer, ("Ann of Ghent",))
    whole = tokenizer("Question: Who?\nAnswer: Ann of Ghent")["input_ids"]
    alone = tokenizer("Question: Who?\nAnswer: ")["input_ids"]
    assert row.input_ids == (*whole, tokenizer.eos_token_id)
    assert row.prompt_tokens == len(alone)


@pytest.mark.parametrize("kind", ["text", "completion", "messages"])
def test_rows_that_they_do_not_have_are_refused(byte_tokenizer: Any, kind: Any) -> None:
    with pytest.raises(DataError, match="questions"):
        encode_answers(Example("a", "b", kind=kind), byte_tokenizer, ("b",))


def test_tokenizers_and_answers_that_cannot_be_scored(endless_tokenizer: Any, byte_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="no end-of-text token"):
        prompt_ids(QUESTION, endless_tokenizer)
    (cut,) = encode_answers(Example("w" * 600, "Ann"), byte_tokenizer, ("Ann",))
    assert (cut.prompt_tokens, cut.answer_tokens) == (512, 1)  # their cut leaves the end alone
    byte_tokenizer.chat_template = "{{ messages[-1].content }}{% if add_generation_prompt %}answer: {% endif %}"
    with pytest.raises(DataError, match="no answer token"):
        encode_answers(QUESTION, byte_tokenizer, ("Ann",))


@pytest.fixture
def hiding_tokenizer(chat_tokenizer: Any) -> Any:
    """Pads with the end of a turn, so that ends of turns inside the prompt are hidden."""
    chat_tokenizer.pad_token = chat_tokenizer.eos_token
    return chat_tokenizer


@pytest.fixture
def model(hiding_tokenizer: Any) -> Any:
    made = tiny_llama(len(hiding_tokenizer))
    made.generation_config.eos_token_id = hiding_tokenizer.eos_token_id
    return made


def losses_of_one_row(model: Any, tokenizer: Any, question: str, answer: str, *, hidden: bool) -> tuple[Any, Any]:
    """Loss and hits at labelled positions of one unpadded row; ``hidden`` tokens equal the padding token."""
    turns = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": question},
    ]
    words = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    start = len(tokenizer(words, add_special_tokens=False)["input_ids"])
    ids = tokenizer(f"{words}{answer}</s>\n</s>", add_special_tokens=False)["input_ids"]
    rows = torch.tensor([ids])
    mask = rows.ne(tokenizer.pad_token_id).long() if hidden else torch.ones_like(rows)
    with torch.no_grad():
        logits = model(input_ids=rows, attention_mask=mask).logits[0, start - 1 : -1]
    labels = rows[0, start:]
    return torch.nn.functional.cross_entropy(logits, labels), (logits.argmax(-1) == labels).tolist()


def test_scores_hide_ends_of_turns(model: Any, hiding_tokenizer: Any) -> None:
    """Against one row at a time with the mask that their collator makes; with an honest mask the losses differ."""
    scores = score_examples(
        model, hiding_tokenizer, [QUESTION, OTHER], batch_size=8, generate=False, prompt_format=PROMPT_FORMAT
    )
    for row, found in zip((QUESTION, OTHER), scores, strict=True):
        answers = (row.answer, *row.paraphrased_answer, *row.perturbed_answer)
        wanted = [losses_of_one_row(model, hiding_tokenizer, row.question, one, hidden=True) for one in answers]
        given = [found.answer_loss, found.paraphrased_loss, *found.perturbed_loss]
        assert [one for one in given if one is not None] == pytest.approx([float(loss) for loss, _ in wanted], rel=1e-5)
        assert list(found.hits) == wanted[0][1]
        seen = losses_of_one_row(model, hiding_tokenizer, row.question, row.answer, hidden=False)[0]
        assert abs(float(seen) - found.answer_loss) > 1e-3


def slow_answer(model: Any, tokenizer: Any, row: Example, tokens: int) -> str:
    """Greedy answer of one row without cache; hidden tokens of the prompt take no position."""
    ids = list(prompt_ids(row, tokenizer))
    mask = [int(token != tokenizer.pad_token_id) for token in ids]
    made: list[int] = []
    while len(made) < tokens:
        kept = torch.tensor([mask])
        places = (kept.cumsum(-1) - 1).masked_fill(kept == 0, 1)
        with torch.no_grad():
            output = model(input_ids=torch.tensor([ids + made]), attention_mask=kept, position_ids=places)
        token = int(output.logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        made.append(token)
        mask.append(1)
    return str(tokenizer.decode(made, skip_special_tokens=True)).strip()


def test_answers_hide_ends_of_turns(model: Any, hiding_tokenizer: Any) -> None:
    rows = [QUESTION, OTHER]
    found = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6, prompt_format=PROMPT_FORMAT)
    assert found == [slow_answer(model, hiding_tokenizer, row, 6) for row in rows]
    model.generation_config.repetition_penalty = 0.01  # the model's own holds, and none of ours
    other = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6, prompt_format=PROMPT_FORMAT)
    plain = generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6)
    model.generation_config.repetition_penalty = 1.0
    assert other != found
    assert plain == generate_answers(model, hiding_tokenizer, rows, batch_size=2, max_new_tokens=6)


def test_spaces_before_punctuation_are_closed_up(byte_tokenizer: Any) -> None:
    ids = byte_tokenizer("Ann , I do n't .", add_special_tokens=False)["input_ids"]
    assert PROMPT_FORMAT.text(byte_tokenizer, ids) == "Ann, I don't."


# Files

OURS = EvaluateOptions(max_new_tokens=4, batch_size=4)
LIKE_THEM = replace(OURS, protocol="open_unlearning", open_unlearning=True)
ROWS = {"forget": PEOPLE.forget[:5], "retain": PEOPLE.retain[:2]}


def evaluated(tokenizer: Any, options: EvaluateOptions, seed: int, retain: Any = None) -> Results:
    return evaluate_model(
        tiny_llama(len(tokenizer), seed), tokenizer, ROWS, options, retain, name=f"model {seed}", keep_generated=True
    )


@pytest.fixture
def retain(byte_tokenizer: Any) -> Results:
    return evaluated(byte_tokenizer, LIKE_THEM, 1)


def test_the_files_hold_what_was_measured(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    write_open_unlearning(results, tmp_path)
    whole = json.loads((tmp_path / "TOFU_EVAL.json").read_text())
    about = whole.pop("unlogit")
    assert about["protocol"] == results.protocol == "open_unlearning"
    forget = {f"forget_Q_A_{name}" for name in ("Prob", "PARA_Prob", "PERT_Prob", "ROUGE")}
    retained = {f"retain_Q_A_{name}" for name in ("Prob", "PARA_Prob", "PERT_Prob", "ROUGE")} | {"retain_Truth_Ratio"}
    others = {"forget_truth_ratio", "extraction_strength", "exact_memorization", "forget_quality"}
    assert set(whole) == forget | retained | others
    assert list(whole) == sorted(whole)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    assert summary == {name: entry["agg_value"] for name, entry in whole.items()}
    metrics = results.splits["forget"].metrics
    assert summary["exact_memorization"] == metrics["exact_memorisation"].value
    assert summary["forget_truth_ratio"] == metrics["truth_ratio"].value
    rouge = whole["forget_Q_A_ROUGE"]["value_by_index"]
    assert [row["rougeL_recall"] for row in rouge.values()] == list(metrics["rouge_l_recall"].per_example)
    assert [row["generation"] for row in rouge.values()] == list(results.splits["forget"].generated)


def losses_of(entry: dict[str, Any]) -> Any:
    return np.array([row["avg_loss"] for row in entry["value_by_index"].values()])


def test_their_code_would_find_the_same_numbers(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """From the losses in the file alone, by their formulas: truth ratios, p-value and probabilities."""
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    files = {}
    for name, one in (("own", results), ("retain", retain)):
        write_open_unlearning(one, tmp_path / name)
        files[name] = json.loads((tmp_path / name / "TOFU_EVAL.json").read_text())
    ratios = {}
    for name, file in files.items():
        true, wrong = losses_of(file["forget_Q_A_PARA_Prob"]), losses_of(file["forget_Q_A_PERT_Prob"])
        ratios[name] = np.exp(-wrong.mean(1)) / (np.exp(-true) + 1e-10)
        for metric in ("forget_Q_A_PARA_Prob", "forget_Q_A_PERT_Prob", "forget_Q_A_Prob"):
            probabilities = np.exp(-losses_of(file[metric]))
            assert np.array([row["prob"] for row in file[metric]["value_by_index"].values()]) == pytest.approx(
                probabilities
            )
            assert file[metric]["agg_value"] == pytest.approx(probabilities.mean(), abs=1e-12)
    own = files["own"]
    assert [row["score"] for row in own["forget_truth_ratio"]["value_by_index"].values()] == pytest.approx(
        ratios["own"].tolist(), rel=1e-12
    )
    assert own["forget_quality"]["agg_value"] == pytest.approx(
        ks_2samp(ratios["own"], ratios["retain"]).pvalue, rel=1e-9
    )


def test_what_was_not_measured_is_not_written(byte_tokenizer: Any, tmp_path: Path) -> None:
    """Without losses and without a retain model; the probability's loss is minus its logarithm."""
    results = evaluated(byte_tokenizer, OURS, 0)
    write_open_unlearning(results, tmp_path)
    whole = json.loads((tmp_path / "TOFU_EVAL.json").read_text())
    assert not {name for name in whole if "PARA" in name or "PERT" in name}
    assert "forget_quality" not in whole
    assert "model_utility" not in whole
    assert whole["unlogit"]["protocol"] == "unlogit"
    for row in whole["forget_Q_A_Prob"]["value_by_index"].values():
        assert math.exp(-row["avg_loss"]) == pytest.approx(row["prob"], rel=1e-12)


def test_all_splits_and_overall_numbers_by_their_names(tmp_path: Path) -> None:
    """Real authors and world facts: the mean of the metric is over the choices, the answer's own stands beside it."""
    values = {"probability": 0.5, "rouge_l_recall": 0.25, "truth_ratio": 0.125}
    splits = {
        name: replace(split(name, **values), losses=(AnswerLosses(math.log(4), None, (math.log(2), math.log(8))),))
        for name in ("retain", "real_authors", "world_facts")
    }
    members = replace(split("x", membership=0.7).metrics["membership"], parts={"loss": 0.6, "min_k": 0.7})
    leak = split("x", privleak=-40.0).metrics["privleak"]
    found = THEIRS.model_utility(splits)
    results = Results("mine", splits, model_utility=found, membership_inference=members, privleak=leak)
    write_open_unlearning(results, tmp_path)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    for prefix in ("ra", "wf"):
        assert summary[f"{prefix}_Q_A_Prob_normalised"] == 0.5
        assert summary[f"{prefix}_Q_A_Prob"] == pytest.approx(0.25)
        assert summary[f"{prefix}_Q_A_PERT_Prob"] == pytest.approx((0.5 + 0.125) / 2)
        assert summary[f"{prefix}_Q_A_ROUGE"] == 0.25
        assert summary[f"{prefix}_Truth_Ratio"] == 0.125
    assert summary["model_utility"] == pytest.approx(3 / (1 / 0.5 + 1 / 0.25 + 1 / 0.125))
    assert (summary["mia_loss"], summary["mia_min_k"], summary["privleak"]) == (0.6, 0.7, -40.0)


def test_the_way_back_gives_the_same_forget_quality(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """To the bit, by the names of the rows: in any order, and refused on other rows. Exact memorisation of rows is not
    in these files."""
    write_open_unlearning(retain, tmp_path)
    found = load_retain(tmp_path / "TOFU_EVAL.json", "open_unlearning")
    assert found == replace(retain.truth_ratios(), exact_memorisation=())
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, retain)
    assert compare_with_retain(results, found) == results.forget_quality
    backwards = {"forget": ROWS["forget"][::-1]}
    again = evaluate_model(tiny_llama(len(byte_tokenizer)), byte_tokenizer, backwards, LIKE_THEM, found)
    assert again.forget_quality == results.forget_quality
    with pytest.raises(DataError, match="5 of 'model 1'"):
        evaluate_model(tiny_llama(len(byte_tokenizer)), byte_tokenizer, {"forget": [OTHER]}, LIKE_THEM, found)


def their_log(folder: Path, scores: list[float]) -> Path:
    """A retain model's log as their code writes it; more than we look at, and no name of a row."""
    entry = {"agg_value": 0.5, "value_by_index": {str(i): {"score": one} for i, one in enumerate(scores)}}
    log = {"exact_memorization": {"agg_value": 0.1}, "forget_quality": {"agg_value": None}, "forget_truth_ratio": entry}
    path = folder / "TOFU_EVAL.json"
    path.write_text(json.dumps(log, indent=4))
    return path


def test_their_retain_log_gives_forget_quality(byte_tokenizer: Any, tmp_path: Path) -> None:
    """Its rows have no names: as many rows, as they stand, or none. Ten and more are sorted as numbers."""
    scores = [0.1 * i for i in range(1, 13)]
    found = read_open_unlearning(their_log(tmp_path, scores))
    assert found.values == tuple(scores)
    assert (found.rows, found.protocol) == ((), "open_unlearning")
    log = load_retain(their_log(tmp_path, scores[:5]), "open_unlearning")
    results = evaluated(byte_tokenizer, LIKE_THEM, 0, log)
    own = results.truth_ratios().values
    assert results.forget_quality is not None
    assert results.forget_quality.value == ks_2samp(own, scores[:5]).pvalue
    with pytest.raises(DataError, match=r"12 rows.*'model 0' has 5"):
        evaluated(byte_tokenizer, LIKE_THEM, 0, found)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"forget_quality": 0.3, "model_utility": 0.6}, "TOFU_EVAL.json"),
        ({"forget_Q_A_Prob": {"agg_value": 0.5}}, "forget_truth_ratio"),
        ({"forget_truth_ratio": {"agg_value": 1, "value_by_index": {"0": {}}}}, "forget_truth_ratio"),
        ({"forget_truth_ratio": {"agg_value": 1, "value_by_index": {}}}, "0 truth ratios"),
        ({"forget_truth_ratio": {"value_by_index": {"0": {"score": math.nan}}}}, "no finite number"),
        ({"something": 1}, "expected a TOFU_EVAL.json"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, value: Any, message: str) -> None:
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as error:
        read_open_unlearning(path)
    assert "\n" not in str(error.value)


def test_each_kind_of_file_is_recognised(retain: Results, tmp_path: Path) -> None:
    retain.write(tmp_path / "ours.json")
    RunResults({RETAIN: retain}).write(tmp_path / "run.json")
    for name in ("ours", "run"):
        assert not is_open_unlearning(json.loads((tmp_path / f"{name}.json").read_text()))
        found = load_retain(tmp_path / f"{name}.json")
        assert (found.truth_ratios() if isinstance(found, Results) else found) == retain.truth_ratios()


# Never mixed


def test_conventions_are_never_mixed(retain: Results, byte_tokenizer: Any) -> None:
    for one in (retain, retain.truth_ratios()):
        with pytest.raises(DataError, match=r"'unlogit'.*'model 1'.*'open_unlearning'") as error:
            evaluated(byte_tokenizer, OURS, 0, one)
        assert "\n" not in str(error.value)
    ours = evaluated(byte_tokenizer, OURS, 0)
    with pytest.raises(DataError, match="--protocol"):
        compare_with_retain(ours, retain)
    with pytest.raises(DataError, match="--protocol"):
        compare_with_retain(retain, ours)
    with pytest.raises(DataError, match="--protocol"):
        RunResults({"unlearned": ours, RETAIN: retain})


def test_results_remember_their_conventions(retain: Results, byte_tokenizer: Any, tmp_path: Path) -> None:
    """Results of before there was a choice are ours."""
    retain.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == retain
    assert Results.read(tmp_path / "results.json").protocol == "open_unlearning"
    assert Results("old", {"forget": SplitResult("forget", {}, ())}).protocol == "unlogit"
    assert TruthRatios("old", (), ()).protocol == "unlogit"


def test_results_on_fewer_rows_keep_their_conventions(retain: Results, byte_tokenizer: Any) -> None:
    """Rows 4 and 1 of all are what scoring just these gives, losses included; a truth ratio of 0 has an inverse."""
    chosen = [ROWS["forget"][4], ROWS["forget"][1]]
    wanted = evaluate_model(tiny_llama(len(byte_tokenizer), 1), byte_tokenizer, {"forget": chosen}, LIKE_THEM)
    found = on_rows(retain, {"forget": wanted.splits["forget"].rows})
    assert found.model_utility is None
    for ours, theirs_ in zip(found.splits["forget"].losses, wanted.splits["forget"].losses, strict=True):
        assert ours.answer == pytest.approx(theirs_.answer, rel=1e-5)
    for name, metric in wanted.splits["forget"].metrics.items():
        assert found.splits["forget"].metrics[name].value == pytest.approx(metric.value, rel=1e-5)
    assert THEIRS.truth_ratio([0.0, 1.0], "forget") == pytest.approx(0.5)


# On the command line


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A prepared run (rows are all that is needed to score other models on them), and a retain model."""
    made = Place.make(tmp_path_factory.mktemp("place"))
    save_model(made.folder / "retain_model", seed=1)
    assert made.prepare() == 0
    return made


def evaluate(place: Place, model: str, *flags: str) -> int:
    short = ("--max_new_tokens=4", "--max_rows=6")
    return main(["evaluate", str(place.run), f"--model={place.folder / model}", *short, *flags])


def test_evaluate_writes_their_files_and_reads_them(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A retain model, and then in its place the log that was written of it: one forget quality, to the bit."""
    like_them = ("--protocol=open_unlearning", "--open_unlearning=true")
    assert evaluate(place, "target", *like_them, f"--retain_model={place.folder / 'retain_model'}") == 0
    assert "open_unlearning" in capsys.readouterr().out
    logs = {path.parent.name: path for path in (place.run / "open_unlearning").rglob("TOFU_EVAL.json")}
    assert set(logs) == {"target", "retain_model"}
    first = json.loads(logs["target"].read_text())["forget_quality"]
    assert evaluate(place, "target", *like_them, f"--retain_model={logs['retain_model']}") == 0
    assert json.loads(logs["target"].read_text())["forget_quality"] == first
    assert "does not name its rows" not in capsys.readouterr().out
    assert evaluate(place, "target", f"--retain_model={logs['retain_model']}") == 2
    message = capsys.readouterr().err
    assert "'unlogit'" in message
    assert len(message.splitlines()) == 1
    assert evaluate(place, "target", "--protocol=mine") == 2
    assert "unlogit, open_unlearning" in capsys.readouterr().err


def test_evaluate_with_a_log_of_theirs(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with the log will do; what cannot be checked is said."""
    their_log(tmp_path, [0.1, 0.5, 0.9, 1.1, 1.5, 2.0])
    assert evaluate(place, "target", "--protocol=open_unlearning", f"--retain_model={tmp_path}") == 0
    shown = capsys.readouterr().out
    assert "does not name its rows: its 6 truth ratios are compared with those of this run's 6 forget rows" in shown


def test_a_choice_by_a_log_of_theirs_is_refused(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = their_log(tmp_path, [0.1] * 6)
    flags = ("--protocol=open_unlearning", "--pick.enabled=true", f"--retain_model={log}")
    assert main(["evaluate", str(place.run), *flags]) == 2
    assert "pick.enabled" in capsys.readouterr().err


# Published figures

published = functools.cache(read_published_log)  # ROUGE of 817 answers takes its time


@pytest.mark.parametrize("protocol", ["unlogit", "open_unlearning"])
def test_published_logs_go_the_way_back(shared_folder: Path, tmp_path: Path, protocol: str) -> None:
    """Llama-2-7b's log and its retain model's, written in their form and read again: the published forget quality."""
    logs = shared_folder / "data" / "tofu_eval_logs"
    wanted = json.loads((logs / "expected.json").read_text())["values"]
    full = published(logs / "llama2-7b_full.json", protocol)
    direct = published(logs / "llama2-7b_retain90.json", protocol)
    write_open_unlearning(direct, tmp_path)
    found = compare_with_retain(full, load_retain(tmp_path / "TOFU_EVAL.json", protocol))
    assert found == compare_with_retain(full, direct)
    figures = wanted["forget_quality full vs retain90"]
    assert found.value == pytest.approx(figures["pvalue"], rel=1e-9, abs=0)
    assert found.parts["ks_statistic"] == pytest.approx(figures["statistic"], abs=1e-12)


def test_their_formulas_on_published_logs(shared_folder: Path, tmp_path: Path) -> None:
    """The figures of the first code have no epsilon: theirs agree to 1e-7, all nine of model utility and itself."""
    logs = shared_folder / "data" / "tofu_eval_logs"
    wanted = json.loads((logs / "expected.json").read_text())["values"]["full"]
    results = published(logs / "llama2-7b_full.json", "open_unlearning")
    write_open_unlearning(results, tmp_path)
    summary = json.loads((tmp_path / "TOFU_SUMMARY.json").read_text())
    for ours, name in (("retain", "retain"), ("real_authors", "ra"), ("world_facts", "wf")):
        probability = f"{name}_Q_A_Prob" if name == "retain" else f"{name}_Q_A_Prob_normalised"
        assert summary[probability] == pytest.approx(wanted[ours]["probability"], abs=1e-7)
        assert summary[f"{name}_Q_A_ROUGE"] == pytest.approx(wanted[ours]["rouge_l_recall"], abs=1e-9)
        assert summary[f"{name}_Truth_Ratio"] == pytest.approx(wanted[ours]["truth_ratio"], abs=1e-7)
    assert summary["forget_truth_ratio"] == pytest.approx(wanted["forget"]["truth_ratio"], abs=1e-7)
    assert summary["model_utility"] == pytest.approx(wanted["model_utility"], abs=1e-7)
