"""Membership inference: every score by hand or against a slow reference, AUC by counting pairs, privleak by hand."""

import json
import math
import random
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.models_for_tests import EXAMPLES, WORDS, tiny_llama, tiny_tokenizer
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.evaluate.evaluate import evaluate_model
from unlogit.evaluate.metrics.membership_inference import (
    SCORES,
    auc,
    lowest,
    membership_inference,
    membership_scores,
    privleak,
)
from unlogit.evaluate.results import MetricResult, Results
from unlogit.evaluate.scoring import score as scoring
from unlogit.evaluate.scoring.score import Score, score_examples
from unlogit.evaluate.subset import on_rows
from unlogit.report.run_table import run_table
from unlogit.runs.results import RETAIN, RunResults
from unlogit.settings.options import EvaluateOptions

TOKENIZER = tiny_tokenizer()
MODEL = tiny_llama(len(TOKENIZER))
OPTIONS = EvaluateOptions(batch_size=4, max_new_tokens=4)


def texts(count: int, seed: int) -> list[Example]:
    chance = random.Random(seed)
    return [Example("", " ".join(chance.choices(WORDS, k=chance.randint(6, 14))), kind="text") for _ in range(count)]


SPLITS = {"forget": texts(5, 0), "retain": texts(3, 1), "holdout": texts(7, 2), "retain_holdout": texts(3, 3)}


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([-1.0, -2.0, -3.0, -4.0, -5.0], 4.5),
        ([-7.0], 7.0),
        ([-1.0, -9.0], 9.0),
        ([2.0, -1.0, 0.5, 4.0, 4.0, 4.0], 0.25),
    ],
)
def test_lowest_by_hand(values: list[float], wanted: float) -> None:
    """40 % of five is two: (5 + 4) / 2; of one or two less than one: the lowest; of six two: −(−1 + 0.5) / 2."""
    assert lowest(values) == pytest.approx(wanted)


def test_scores_of_a_row_by_hand() -> None:
    """Loss 3; zlib by its own bytes; min-k the lowest two of five log p; min-k++ the same of the z-scores."""
    text = "the cat sat on the mat, the cat sat on the mat"
    row = Score(
        3.0, 5, (), None, (), None, text, "text", None, (-1.0, -2.0, -3.0, -4.0, -5.0), (0.0, 1.0, -1.0, 2.0, 3.0)
    )
    assert SCORES["loss"](row) == 3.0
    assert SCORES["zlib"](row) == pytest.approx(3.0 / len(zlib.compress(text.encode("utf-8"))))
    assert SCORES["zlib"](row) > 3.0 / len(text)  # it was compressed
    assert SCORES["min_k"](row) == pytest.approx(4.5)
    assert SCORES["min_k_plus_plus"](row) == pytest.approx(0.5)


def test_z_scores_by_hand() -> None:
    """Two tokens of p = 3/4 and 1/4: log p differ by log 3, μ lies a quarter of that below the upper one, σ² is
    3/16 log² 3. So z is (1/4) / (√3/4) = 1/√3 of the likely, −√3 of the other. Flat: no token differs from μ."""
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0], [0.7, 0.7]])
    found = scoring._z_scores(logits, torch.tensor([0, 1, 1]))
    assert found.shape == (1, 3)
    assert found[0].tolist() == pytest.approx([1 / math.sqrt(3), -math.sqrt(3), 0.0], abs=1e-4)


def test_a_model_that_is_sure_has_finite_z_scores() -> None:
    found = scoring._z_scores(torch.tensor([[200.0, 0.0, -200.0]] * 2), torch.tensor([0, 2]))
    assert found.isfinite().all()
    assert found[0, 0] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("chunk", [256, 5])
def test_token_scores_against_one_row_at_a_time(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded batches with wrong answers beside them, in float32 pieces, against the whole softmax in float64."""
    monkeypatch.setattr(scoring, "_CHUNK", chunk)
    scores = score_examples(MODEL, TOKENIZER, EXAMPLES, batch_size=3, generate=False, token_scores=True)
    for example, score in zip(EXAMPLES, scores, strict=True):
        row = encode(example, TOKENIZER)
        with torch.no_grad():
            logs = MODEL(torch.tensor([row.input_ids])).logits[0].double().log_softmax(-1)
        log_probs, z_scores = [], []
        for t in range(row.prompt_tokens, len(row.input_ids)):
            here = logs[t - 1]
            mean = sum(math.exp(x) * x for x in here.tolist())
            square = sum(math.exp(x) * x * x for x in here.tolist())
            log_probs.append(here[row.input_ids[t]].item())
            z_scores.append((log_probs[-1] - mean) / math.sqrt(square - mean**2))
        assert score.token_log_probs == pytest.approx(log_probs, abs=1e-5)
        assert score.token_z_scores == pytest.approx(z_scores, abs=1e-3)
        assert -sum(score.token_log_probs) / score.answer_tokens == pytest.approx(score.answer_loss)


def test_token_scores_only_where_asked_for() -> None:
    assert not any(
        s.token_log_probs or s.token_z_scores
        for s in score_examples(MODEL, TOKENIZER, EXAMPLES, batch_size=3, generate=False)
    )


def test_auc_by_counting_pairs() -> None:
    """Few different values, so that there are ties; and the ends: all below 1, all above 0, all equal 1/2."""
    chance = random.Random(0)
    for _ in range(20):
        members = [float(chance.randint(0, 6)) for _ in range(chance.randint(1, 12))]
        others = [float(chance.randint(1, 7)) for _ in range(chance.randint(1, 12))]
        pairs = sum(1.0 if m < o else 0.5 if m == o else 0.0 for m in members for o in others)
        assert auc(members, others) == pytest.approx(pairs / (len(members) * len(others)))
    assert [auc([1.0, 2.0], [3.0]), auc([3.0], [1.0, 2.0]), auc([1.0, 1.0], [1.0])] == [1.0, 0.0, 0.5]


@pytest.mark.parametrize(
    ("own", "retain", "wanted"), [(0.9, 0.5, -80.0), (0.5, 0.5, 0.0), (0.1, 0.5, 80.0), (1.0, 0.6, -100.0)]
)
def test_privleak_by_hand(own: float, retain: float, wanted: float) -> None:
    """((1 − 0.9) − (1 − 0.5)) / (1 − 0.5) · 100 = −80, and so on."""
    result = privleak(*(MetricResult("", value, (), 4, "retain_model", "") for value in (own, retain)))
    assert result is not None
    assert result.value == pytest.approx(wanted, abs=1e-9)
    assert result.parts == {"auc": own, "retain_auc": retain}


def test_privleak_means_nothing_where_the_retain_model_tells_all_apart() -> None:
    assert privleak(MetricResult("", 0.5, (), 4, "lower", ""), MetricResult("", 1.0, (), 4, "lower", "")) is None


@pytest.fixture(scope="module")
def retain() -> Results:
    return evaluate_model(tiny_llama(len(TOKENIZER), seed=1), TOKENIZER, SPLITS, OPTIONS)


@pytest.fixture(scope="module")
def results(retain: Results) -> Results:
    return evaluate_model(MODEL, TOKENIZER, SPLITS, OPTIONS, retain)


def test_an_evaluation_has_them(results: Results, retain: Results) -> None:
    """The whole equals the parts put together by hand; the retain model compares with none."""
    scores = {
        split: score_examples(MODEL, TOKENIZER, SPLITS[split], batch_size=1, generate=False, token_scores=True)
        for split in ("forget", "holdout")
    }
    own = membership_inference(membership_scores(scores["forget"]), membership_scores(scores["holdout"]))
    found = results.membership_inference
    assert found is not None
    assert own is not None
    assert found.parts == own.parts
    assert set(found.parts) == {"loss", "zlib", "min_k", "min_k_plus_plus"}
    assert (found.value, found.count, found.direction) == (found.parts["min_k"], 12, "retain_model")
    assert results.privleak is not None
    assert retain.membership_inference is not None
    a, b = found.value, retain.membership_inference.value
    assert results.privleak.value == pytest.approx((b - a) / (1 - b) * 100)
    assert retain.privleak is None
    assert results.forget_quality is None  # running text has no wrong answers


def test_what_no_model_was_trained_on_is_read_but_not_continued(results: Results) -> None:
    metrics = {name: set(split.metrics) for name, split in results.splits.items()}
    assert "verbatim_completion" in metrics["forget"] & metrics["retain"]
    for name in ("holdout", "retain_holdout"):
        assert "perplexity" in metrics[name]
        assert "verbatim_completion" not in metrics[name]
    assert results.model_utility is not None
    assert set(results.model_utility.parts) == {"retain.probability"}


def test_json_and_back(tmp_path: Path, results: Results) -> None:
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results
    older = results.to_json()
    del older["membership_inference"], older["privleak"]  # as written before there were any
    (tmp_path / "older.json").write_text(json.dumps(older), encoding="utf-8")
    assert Results.read(tmp_path / "older.json") == replace(results, membership_inference=None, privleak=None)


def test_it_is_read_against_the_retain_model(results: Results, retain: Results) -> None:
    """Under the table stands the retain model's AUC as the aim, never 0.5; where there is none, that is said."""
    questions = {"forget": EXAMPLES[:2], "holdout": EXAMPLES[4:]}
    auc_of = {}
    models = {}
    for seed, name in enumerate(("target", RETAIN)):
        models[name] = evaluate_model(tiny_llama(len(TOKENIZER), seed), TOKENIZER, questions, OPTIONS)
        inference = models[name].membership_inference
        assert inference is not None
        auc_of[name] = inference.value
    text = str(run_table(RunResults(models)).caption)
    assert f"Best is the retain model's {auc_of[RETAIN]:.3f}, not 0.5." in text
    assert "nothing to read it against" in str(run_table(RunResults({"target": models["target"]})).caption)
    of_texts = str(run_table(RunResults({"target": results, RETAIN: retain})).caption)
    assert "best is the retain model's, not 0.5" in of_texts
    assert not any("chance" in caption for caption in (text, of_texts))


def test_without_held_out_rows_or_on_others_there_is_none(retain: Results) -> None:
    splits = {name: rows for name, rows in SPLITS.items() if name != "holdout"}
    without = evaluate_model(MODEL, TOKENIZER, splits, OPTIONS, retain)
    assert (without.membership_inference, without.privleak) == (None, None)
    other = evaluate_model(MODEL, TOKENIZER, SPLITS | {"holdout": texts(4, 9)}, OPTIONS, retain)
    assert other.membership_inference is not None
    assert other.privleak is None


def test_on_fewer_rows_what_is_no_mean_of_rows_is_left_out(results: Results) -> None:
    rows = {name: split.rows for name, split in results.splits.items()}
    assert on_rows(results, rows).membership_inference == results.membership_inference
    assert on_rows(results, rows).splits == results.splits
    fewer = on_rows(results, rows | {"forget": rows["forget"][1:]})
    of_fewer = evaluate_model(MODEL, TOKENIZER, SPLITS | {"forget": SPLITS["forget"][1:]}, OPTIONS).membership_inference
    assert fewer.membership_inference is not None
    assert of_fewer is not None
    assert fewer.membership_inference.parts == pytest.approx(of_fewer.parts)
    older = replace(results, splits={n: replace(s, membership_scores={}) for n, s in results.splits.items()})
    assert on_rows(older, rows | {"forget": rows["forget"][1:]}).membership_inference is None
    assert "perplexity" not in fewer.splits["forget"].metrics
    assert "verbatim_completion" in fewer.splits["forget"].metrics
    assert fewer.splits["holdout"] == results.splits["holdout"]


def test_questions_have_it_too() -> None:
    """On questions, as TOFU's holdout rows are, it is computed from the answers; forget quality stays beside it."""
    splits = {"forget": EXAMPLES[:2], "holdout": EXAMPLES[4:]}
    retain = evaluate_model(tiny_llama(len(TOKENIZER), seed=1), TOKENIZER, splits, OPTIONS)
    found = evaluate_model(MODEL, TOKENIZER, splits, OPTIONS, retain)
    assert found.forget_quality is not None
    assert found.membership_inference is not None
    assert found.membership_inference.count == 3
