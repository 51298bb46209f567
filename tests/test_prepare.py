"""The data folder of a run: which row goes where, that no row is on two sides, and each bad input."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.preparation import FORGET, NEUTRAL, RETAIN, Setup, has_facts, keys
from unlogit.data.examples import Example
from unlogit.data.exchange import STOP_WORDS, lowercase_words
from unlogit.data.neutral import load_neutral
from unlogit.data.prepare import SECRET
from unlogit.demo.people import make_people
from unlogit.errors import ConfigError, DataError
from unlogit.runs.prepare import prepare_run
from unlogit.settings.options import RunConfig


def test_counts_by_hand(setup: Setup) -> None:
    """6 forget rows with one paraphrase each: 12. 30 retain rows: 7 scored, a quarter; 4 held out; 19 trained
    on. Wrong answers, two a row, by exchange: 12. 10 neutral rows: a quarter of them held out, 2."""
    summary = setup.prepare()
    assert summary["rows"] == {
        "forget": 12,
        "retain": 19,
        "perturbed": 12,
        "neutral": 8,
        "holdout_retain": 4,
        "holdout_neutral": 2,
        "evaluation/forget": 6,
        "evaluation/retain": 7,
    }
    assert summary["rows"] == {name: len(setup.rows(name)) for name in summary["rows"]}
    assert json.loads((setup.folder / "run/data/summary.json").read_text()) == summary
    assert any(has_facts(note, "6 of 6 forget rows", "wrong answers", "exchange") for note in summary["notes"])


def test_every_row_is_on_one_side(setup: Setup) -> None:
    setup.prepare()
    retain_files = [keys(setup.rows(name)) for name in ("retain", "holdout_retain", "evaluation/retain")]
    assert set.union(*retain_files) == keys(RETAIN)
    assert sum(map(len, retain_files)) == len(RETAIN)
    neutral = [keys(setup.rows(name)) for name in ("neutral", "holdout_neutral")]
    assert set.union(*neutral) == keys(NEUTRAL)
    assert not neutral[0] & neutral[1]
    assert not keys(setup.rows("perturbed")) & keys(setup.rows("forget"))


def test_forget_side_is_originals_then_paraphrases(setup: Setup) -> None:
    setup.prepare()
    plain = [Example(row.question, row.answer) for row in FORGET]
    reworded = [Example(row.question, row.paraphrased_answer[0]) for row in FORGET]
    assert setup.rows("forget") == plain + reworded
    setup.prepare(paraphrases=0, perturbations=0)
    assert setup.rows("forget") == plain
    assert setup.rows("perturbed") == []


def test_seed_decides_and_repeats(setup: Setup) -> None:
    setup.prepare()
    first = setup.rows("retain")
    setup.prepare()
    assert setup.rows("retain") == first
    setup.prepare(seed=1)
    assert setup.rows("retain") != first


def test_training_and_evaluation_take_different_wordings(setup: Setup) -> None:
    """Made-up people have 3 paraphrases and 5 wrong answers a row: 2 and 2 are for training, 1 and 3 for evaluation."""
    people = make_people(4, questions=2)
    setup.write("forget", people.forget)
    setup.write("retain", people.retain)
    summary = setup.prepare(evaluation_rows=2)
    row = people.forget[0]
    scored = setup.rows("evaluation/forget")[0]
    assert scored.paraphrased_answer == row.paraphrased_answer[2:]
    assert scored.perturbed_answer == row.perturbed_answer[2:]
    trained = {(r.question, r.answer) for r in setup.rows("forget")}
    assert trained == {
        (q, a)
        for person in people.forget
        for q, a in (
            (person.question, person.answer),
            *zip(person.paraphrased_question[:2], person.paraphrased_answer[:2], strict=True),
        )
    }
    assert keys(setup.rows("perturbed")) == {(r.question, a) for r in people.forget for a in r.perturbed_answer[:2]}
    assert summary["forget"]["evaluation_rows_with_wordings_of_training"] == 0
    assert summary["forget"]["rows_with_wrong_answers_made_by_exchange"] == 0


def test_few_wordings_are_shared_and_said(setup: Setup) -> None:
    """The only paraphrase of each row is trained on, and scored for want of another."""
    summary = setup.prepare()
    assert setup.rows("evaluation/forget")[0].paraphrased_answer == FORGET[0].paraphrased_answer
    assert summary["forget"]["evaluation_rows_with_wordings_of_training"] == 6
    assert any(has_facts(note, "6 of 6 forget evaluation rows", "trained on") for note in summary["notes"])


def test_evaluation_has_wrong_answers_of_its_own(setup: Setup) -> None:
    """Five are made of each forget row: two to train on, three others to score; three of each retain row."""
    setup.prepare()
    trained = keys(setup.rows("perturbed"))
    for row in setup.rows("evaluation/forget"):
        assert len(row.perturbed_answer) == 3
        assert not {(row.question, wrong) for wrong in row.perturbed_answer} & trained
    assert all(len(row.perturbed_answer) == 3 for row in setup.rows("evaluation/retain"))


@pytest.mark.parametrize("seed", range(3))
def test_wrong_answers_are_made_from_retain_rows_that_are_trained_on(setup: Setup, seed: int) -> None:
    """Where they are asked alike, as made-up people are; none comes from a row that is scored, or held out."""
    people = make_people(12, questions=4, forget_fraction=0.2, seed=seed)
    for name, rows in (("forget", people.forget), ("retain", people.retain)):
        setup.write(name, [replace(row, perturbed_answer=(), paraphrased_answer=()) for row in rows])
    setup.prepare(evaluation_rows=16, holdout_fraction=0.3, perturbations=2, seed=seed)

    def facts(rows: list[Example], answers: str = "") -> set[str]:
        """What is left of answers without the words of their questions."""
        texts = [(row, text) for row in rows for text in (getattr(row, answers) if answers else (row.answer,))]
        return {
            " ".join(word for word in lowercase_words(text) if word not in lowercase_words(row.question))
            for row, text in texts
        }

    exchanged = facts(setup.rows("perturbed")) | facts(setup.rows("evaluation/forget"), "perturbed_answer")
    trained, unseen = facts(setup.rows("retain")), facts(setup.rows("holdout_retain") + setup.rows("evaluation/retain"))
    assert exchanged & trained
    assert not exchanged & (unseen - trained - facts(people.forget))


def test_retain_train_rows_and_subset(setup: Setup) -> None:
    assert setup.prepare(retain_train_rows=5)["rows"]["retain"] == 5
    """Twelve of thirty are known: three are scored, two held out; the others train, with those that are not known."""
    summary = setup.prepare(retain_subset=12, evaluation_rows=15)
    assert [summary["rows"][name] for name in ("retain", "holdout_retain", "evaluation/retain")] == [25, 2, 3]
    assert keys(setup.rows("evaluation/retain") + setup.rows("holdout_retain")) < keys(RETAIN[:12])
    assert setup.prepare(retain_subset=12, retain_train_rows=7)["rows"]["retain"] == 7


def test_too_large_a_subset(setup: Setup) -> None:
    assert has_facts(setup.message_of(retain_subset=31), "retain_subset is 31", "at most 30")


def test_rows_set_aside_are_neighbours(setup: Setup) -> None:
    """Rows of one subject stand together in a file: those scored or held out should not have their neighbours trained
    on. Six of thirty are scored, a quarter of the other 24 is held out."""
    setup.prepare(evaluation_rows=6, holdout_fraction=0.25)
    questions = [row.question for row in RETAIN]
    scored = [questions.index(row.question) for row in setup.rows("evaluation/retain")]
    assert scored == list(range(scored[0], scored[0] + 6))
    left = [question for i, question in enumerate(questions) if i not in scored]
    held = [left.index(row.question) for row in setup.rows("holdout_retain")]
    assert held == list(range(held[0], held[0] + 6))


def test_a_paraphrase_to_forget_cannot_be_kept(setup: Setup) -> None:
    """The second forget row's paraphrase is trained on as a forget row: it cannot stand on the retain side."""
    row = FORGET[1]
    reworded = Example(
        row.paraphrased_question[0] if row.paraphrased_question else row.question, row.paraphrased_answer[0]
    )
    setup.write("retain", [*RETAIN, reworded])
    assert has_facts(setup.message_of(), "1 of 6 forget rows", "retain side", "(forget rows 2)")


def test_small_retain_side_keeps_most_for_training(setup: Setup) -> None:
    """30 rows and 400 to score: 7 are scored, and of the other 23, 4 (more than a tenth) are held out."""
    summary = setup.prepare(evaluation_rows=400)
    assert [summary["rows"][name] for name in ("retain", "holdout_retain", "evaluation/retain")] == [19, 4, 7]
    assert any(has_facts(note, "7 of 30 retain rows", "not 400") for note in summary["notes"])


def test_duplicates_cannot_be_on_two_sides(setup: Setup) -> None:
    doubled = [replace(row, question=row.question.upper()) for row in RETAIN]
    setup.write("retain", RETAIN + doubled)
    summary = setup.prepare()
    assert summary["retain"]["duplicates_left_out"] == 30
    assert summary["rows"]["retain"] == 19


def test_text_and_messages(setup: Setup, byte_tokenizer: Any) -> None:
    """A text of 48 tokens in pieces of 16: three forget rows, without wrong answers."""
    (setup.folder / "forget.jsonl").write_text(json.dumps({"text": "abcdefgh" * 6}), encoding="utf-8")
    summary = setup.prepare(byte_tokenizer, chunk_tokens=16)
    assert setup.rows("forget") == [Example("", "abcdefghabcdefgh", "text")] * 3
    assert summary["rows"]["perturbed"] == 0
    assert any(has_facts(note, "3 of 3 forget rows", "none could be made") for note in summary["notes"])


def test_no_neutral_rows(setup: Setup) -> None:
    rows = setup.prepare(neutral="none")["rows"]
    assert (rows["neutral"], rows["holdout_neutral"]) == (0, 0)
    assert setup.rows("neutral") == []


def test_nothing_held_out(setup: Setup) -> None:
    rows = setup.prepare(holdout_fraction=0.0)["rows"]
    assert (rows["holdout_retain"], rows["retain"], rows["holdout_neutral"]) == (0, 23, 0)


def test_secret_files_are_the_owners(setup: Setup) -> None:
    summary = setup.prepare()
    for name in summary["rows"]:
        mode = stat.S_IMODE((setup.folder / "run" / "data" / f"{name}.jsonl").stat().st_mode)
        assert mode == (0o600 if name in SECRET else 0o644), name


def test_cross_paraphrases_pair_every_question_with_every_answer() -> None:
    """Two wordings of each, q1/a1 and q2/a2: the original, then q1 a2, q2 a1, q2 a2."""
    from unlogit.data.wordings import forget_training_rows

    row = Example("q1", "a1", paraphrased_question=("q2",), paraphrased_answer=("a2",))
    assert [(r.question, r.answer) for r in forget_training_rows([row], 1)] == [("q1", "a1"), ("q2", "a2")]
    crossed = [(r.question, r.answer) for r in forget_training_rows([row], 1, cross=True)]
    assert crossed == [("q1", "a1"), ("q1", "a2"), ("q2", "a1"), ("q2", "a2")]


# ---------------------------------------------------------------------------------------------------------- bad input


def test_forget_row_in_retain(setup: Setup) -> None:
    """Case and spacing do not hide it; its number is said, its text is not."""
    setup.write("retain", [*RETAIN, Example("where was  PERSON3 born?", FORGET[3].answer), FORGET[5]])
    message = setup.message_of()
    assert has_facts(message, "2 of 6 forget rows", "retain side", "(forget rows 4, 6)")
    assert "Person3" not in message


def test_forget_row_in_neutral(setup: Setup) -> None:
    setup.write("neutral", [*NEUTRAL, FORGET[0]])
    assert has_facts(setup.message_of(), "1 of 6 forget rows", "neutral side", "(forget rows 1)")


def test_too_few_rows(setup: Setup) -> None:
    setup.write("retain", RETAIN[:2])
    assert has_facts(setup.message_of(), "retain side has 2", "at least 3")
    setup.write("retain", RETAIN[:3])
    setup.write("neutral", NEUTRAL[:1])
    assert has_facts(setup.message_of(), "neutral side has 1", "at least 2")
    setup.write("neutral", NEUTRAL[:2])
    rows = setup.prepare()["rows"]
    assert [rows[n] for n in ("retain", "holdout_retain", "evaluation/retain", "neutral")] == [1, 1, 1, 1]


def test_settings_out_of_range_are_named_together(setup: Setup) -> None:
    message = setup.message_of(
        ConfigError, evaluation_rows=0, holdout_fraction=1.0, paraphrases=-1, retain="", forget=""
    )
    for fact in (
        "evaluation_rows is 0",
        "holdout_fraction is 1.0",
        "paraphrases is -1",
        "forget is empty",
        "retain is empty",
    ):
        assert fact in message


def test_wrong_tofu_sides(setup: Setup) -> None:
    message = setup.message_of(forget="tofu:forget1", retain="")
    assert has_facts(message, "tofu:forget1 ", "forget side", "did you mean")
    message = setup.message_of(forget="tofu:forget10:5", retain="")
    assert has_facts(message, "tofu:forget10:5", "forget side")
    assert has_facts(setup.message_of(retain="tofu:full"), "tofu:full", "retain side")


def test_failure_leaves_the_old_folder(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full while the summary is written: what stood there before still stands, and nothing else."""
    setup.prepare()
    first_rows = setup.rows("retain")

    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unlogit.data.prepare.write_json", full)
    with pytest.raises(OSError, match="No space"):
        setup.prepare(seed=1)
    assert setup.rows("retain") == first_rows
    assert [path.name for path in (setup.folder / "run").iterdir()] == ["data"]


@pytest.mark.parametrize("summary", [None, "[]", '{"rows": {"forget": 1}}'])
def test_files_of_the_users_own_are_never_replaced(setup: Setup, summary: str | None) -> None:
    """No summary, one of another program, or ours with a file beside that it does not list."""
    data = setup.folder / "run" / "data"
    data.mkdir(parents=True)
    (data / "mine.csv").write_text("mine")
    if summary:
        (data / "summary.json").write_text(summary)
    with pytest.raises(ConfigError, match="did not write") as caught:
        setup.prepare()
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="did not write"):
        prepare_run(RunConfig(output=str(data.parent), target="x", data=setup.options), overwrite=True)
    assert (data / "mine.csv").read_text() == "mine"


def test_an_empty_folder_is_taken(setup: Setup) -> None:
    (setup.folder / "run" / "data").mkdir(parents=True)
    assert setup.prepare()["rows"]["forget"] == 12


# ------------------------------------------------------------------------------------------------------- neutral rows


def test_neutral_rows_that_are_scored_are_left_out(setup: Setup) -> None:
    """Two retain questions among ten neutral ones, one answered otherwise: 10 are left, two of them held out."""
    setup.write("neutral", [*NEUTRAL, RETAIN[4], replace(RETAIN[7], answer="Nobody knows.")])
    summary = setup.prepare()
    assert (summary["rows"]["neutral"], summary["rows"]["holdout_neutral"]) == (8, 2)
    assert any(has_facts(note, "2 of 12 neutral rows", "left out") for note in summary["notes"])
    assert keys(setup.rows("neutral")) | keys(setup.rows("holdout_neutral")) == keys(NEUTRAL)


def test_builtin_neutral_rows() -> None:
    rows = load_neutral("builtin", tokenizer=None)
    assert len(rows) >= 300
    assert len(keys(rows)) == len(rows)
    assert sum(row.kind == "text" for row in rows) == 40
    assert all(len(row.answer.split()) <= 40 for row in rows if row.kind == "question")


def test_general_questions_are_asked_and_never_trained_on(setup: Setup) -> None:
    """Ours by their name, or a file; none is a neutral row, and one that is trained on is refused."""
    assert "evaluation/general" not in setup.prepare()["rows"]
    summary = setup.prepare(general="builtin", neutral="builtin")
    assert summary["rows"]["evaluation/general"] > 140
    assert summary["sources"]["general"] == "builtin"
    questions = {row.question for row in setup.rows("evaluation/general")}
    assert len(questions) == summary["rows"]["evaluation/general"]
    assert not questions & {row.question for row in load_neutral("builtin")}
    assert all(len(row.answer.split()) <= 4 for row in setup.rows("evaluation/general"))
    setup.write("general", [Example("What is the capital of Mars?", "There is none.")])
    assert setup.prepare(general=str(setup.folder / "general.jsonl"))["rows"]["evaluation/general"] == 1
    setup.write("general", [NEUTRAL[0]])
    with pytest.raises(DataError, match="1 of the 1 rows of general"):
        setup.prepare(general=str(setup.folder / "general.jsonl"))


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "Who wrote Romeo and Juliet?",
        "What is the largest planet in the solar system?",
        "What is the tallest mountain in the world?",
        "How many days are in a week?",
        "What color is the sky?",
        "What language is spoken in Germany?",
    ],
)
def test_neutral_rows_leave_out_what_demos_ask(question: str) -> None:
    content_words = set(lowercase_words(question)) - STOP_WORDS
    assert not any(content_words == set(lowercase_words(row.question)) - STOP_WORDS for row in load_neutral("builtin"))
