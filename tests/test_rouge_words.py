"""The words that ROUGE counts: every script's, and English as it was."""

import json
import logging
import unicodedata
from pathlib import Path

import pytest
from rouge_score.tokenizers import DefaultTokenizer

from unlogit.data.examples import Example
from unlogit.evaluate.evaluate import wordless_answers
from unlogit.evaluate.metrics.rouge_words import AllScriptsTokenizer, all_scripts_scorer, has_english_words, has_words
from unlogit.evaluate.metrics.table import METRICS, compute_metrics
from unlogit.evaluate.open_unlearning.metrics import METRICS_OF_OPEN_UNLEARNING
from unlogit.evaluate.scoring.score import Score
from unlogit.runs.evaluate import EvaluationRows, Scorer
from unlogit.settings.options import RunConfig

OURS, THEIRS = AllScriptsTokenizer(use_stemmer=True), DefaultTokenizer(use_stemmer=True)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Jürgen Müller wohnt in Köln", ["jürgen", "müller", "wohnt", "in", "köln"]),
        ("Ms. Muller's cats, running", ["ms", "muller", "s", "cat", "run"]),
        ("Анна живёт в Москве.", ["анна", "живёт", "в", "москве"]),
        ("她住在北京123号", ["她", "住", "在", "北", "京", "123", "号"]),
        ("東京のiPhone15です", ["東", "京", "の", "iphone15", "で", "す"]),
        ("서울에 살아요", ["서울에", "살아요"]),
        ("नई दिल्ली", ["नई", "दिल्ली"]),  # vowel signs stay on their letters
        ("ที่ดี", ["ที่", "ดี"]),  # marks stay on their letters, letters are apart
        ("القاهرة ١٢", ["القاهرة", "١٢"]),
        ("cafe\u0301 = caf\u00e9", ["café", "café"]),  # composed or not
        ("I ❤️ it… “so”—much_more", ["i", "it", "so", "much", "more"]),
        ("?! … 🙂", []),
    ],
)
def test_words_of_every_script(text: str, tokens: list[str]) -> None:
    assert OURS.tokenize(text) == tokens
    assert has_words(text) is bool(tokens)


def test_what_the_package_counts_is_not_enough() -> None:
    """The reason for it all: by runs of a–z these have nothing, or too much, in common."""
    scorer = all_scripts_scorer(use_stemmer=True)
    assert scorer.score("她住在北京", "她住在上海")["rougeL"].recall == pytest.approx(3 / 5)
    assert scorer.score("Herr Müller", "Herr Möller")["rougeL"].recall == 0.5
    assert scorer.score("Анна живёт в Москве", "в Москве")["rougeL"].recall == 0.5


def test_english_is_as_it_was(shared_folder: Path) -> None:
    """All of TOFU: the same words, stemmed, but for texts that have letters beyond a–z."""
    lines = (shared_folder / "data" / "tofu" / "full.json").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    answers = [row["answer"] for row in rows]
    accented = [text for text in answers if any(unicodedata.category(c)[0] in "LM" and c > "z" for c in text)]
    assert 3500 < len(answers) - len(accented) < len(answers)
    assert all(OURS.tokenize(text) == THEIRS.tokenize(text) for text in answers if text not in accented)
    quoted = "“Curly”, – dashes – and it’s 50° × 2 ½ £5 … fine"
    assert OURS.tokenize(quoted) == THEIRS.tokenize(quoted)


def _score(answer: str, generated: str) -> Score:
    return Score(1.0, 1, (), None, (), generated, answer)


def test_open_unlearning_and_rows_without_words() -> None:
    """By our protocol a row without words has no ROUGE-L; by theirs, and by theirs a Chinese one as well, it is 0."""
    scores = [_score("北京", "北京"), _score("…", "…"), _score("Oslo", "Oslo")]
    ours = compute_metrics(scores, "retain", METRICS)["rouge_l_recall"]
    theirs = compute_metrics(scores, "retain", METRICS_OF_OPEN_UNLEARNING)["rouge_l_recall"]
    assert (ours.per_example, ours.row_indices) == ((1.0, 1.0), (0, 2))
    assert (theirs.per_example, theirs.row_indices) == ((0.0, 0.0, 1.0), (0, 1, 2))
    assert has_english_words("Müller")
    assert not has_english_words("北京…")


def test_rows_without_words_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """In a line for each split, before any model is scored; held-out rows and running text are not answered."""
    rows = {"retain": [Example("Who?", "?!"), Example("Where?", "北京")], "holdout": [Example("What?", "…")]}
    rows["forget"] = [Example("", "…", kind="text")]
    with caplog.at_level(logging.WARNING, "unlogit"):
        Scorer(RunConfig(output="", target=""), EvaluationRows(rows))
    line = "1 of 2 true answers of retain rows have no letter or digit: no ROUGE-L there"
    assert [record.getMessage() for record in caplog.records] == [line]
    assert wordless_answers(rows, "open_unlearning") == [
        "2 of 2 true answers of retain rows have no a–z or 0–9: by this protocol ROUGE-L is 0 on them"
    ]
