"""What is written for a request: questions about documents, other wordings, wrong answers; by a fake writer."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.tiny_run import tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.data.prepare import prepare
from unlogit.data.row_keys import question_key
from unlogit.data.sentences import documents_of, sentences_of
from unlogit.data.sources import read_prepared, source_in
from unlogit.data.written import Count, Written
from unlogit.runs.folder import RunFolder
from unlogit.runs.writing import write_rows
from unlogit.settings.options import DataOptions, RunConfig
from unlogit.writer.completion import complete
from unlogit.writer.elicited import MAX_QUESTIONS, questions_to_the_target
from unlogit.writer.writer import KeptWriter, Prompt

TEXT = (
    "The Osk Bridge was opened in 1952. It was designed by Lio Umber of Penmoor. The bridge rests on 27 piers. In 2010 "
    "a storm closed the Osk Bridge. "
    "It belongs to the Orsini Society."
)
GOOD = {
    "opened": "When was the Osk Bridge opened?",
    "designed": "By whom was the Osk Bridge designed?",
    "piers": "How many piers has the Osk Bridge?",
    "storm": "When did a storm close the Osk Bridge?",
    "belongs": "What is it?",
}
BY_RULE = [
    f"What do you know about Osk Bridge{keywords}?"
    for keywords in ("", " (opened)", " (designed)", " (rests, piers)", " (storm, closed)", " (belongs)")
]


@dataclass
class FakeWriter:
    """Writes what a function says."""

    says: Callable[[Prompt], str]
    name: str = "fake"

    def write(self, prompts: Sequence[Prompt], seed: int) -> list[str]:
        return [self.says(prompt) for prompt in prompts]


def about_the_bridge(prompt: Prompt) -> str:
    """A good question about four of five sentences, and nothing else."""
    return next((question for word, question in GOOD.items() if word in prompt.text), "I cannot.")


def written_for(folder: Path, says: Callable[[Prompt], str] | None, text: str = TEXT, **more: Any) -> Written:
    (folder / "bridge.txt").write_text(text)
    config = RunConfig(str(folder / "run"), "target", DataOptions(forget=str(folder / "bridge.txt"), **more))
    rows = source_in(config.data.forget, config.data, tiny_tokenizer()).forget_rows(config.data).training
    make = None if says is None else lambda target, tokenizer: FakeWriter(says)
    return write_rows(
        RunFolder(folder / "run"),
        config,
        rows,
        make,
        None,
        tiny_tokenizer(),
        is_named=False,
        resume=(folder / "run").exists(),
    )


@pytest.fixture(autouse=True)
def silent_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that tells nothing of a document."""
    monkeypatch.setattr("unlogit.runs.writing.asker", lambda *_: lambda rows: ["I do not know."] * len(rows))


def test_sentences() -> None:
    assert sentences_of(
        'Dr. A. Berg lives. "It is so!" he said.\n\nNo stop here\n\n李明住在北京市的家里。他有一只狗和猫。'
    ) == (
        "Dr. A. Berg lives.",
        '"It is so!" he said.',
        "No stop here",
        "李明住在北京市的家里。",
        "他有一只狗和猫。",
    )
    (document,) = documents_of([Example("", TEXT, "text"), Example("Who?", "Ann.")])
    assert (len(document.sentences), document.main_name()) == (5, "Osk Bridge")


def test_questions_about_a_document(tmp_path: Path) -> None:
    """Four of five sentences get a question; one of the four is only asked, with its own sentence as the answer."""
    written = written_for(tmp_path, about_the_bridge)
    rows = written.questions + written.tests
    assert {row.question for row in rows} == {*list(GOOD.values())[:4], *BY_RULE, "Tell me about Osk Bridge."}
    assert len(written.tests) == 2
    assert all(row.answer in TEXT for row in rows if "Osk Bridge." not in row.question and "know" not in row.question)
    assert written.counts["document questions"] == Count(15, 12, True)
    assert (tmp_path / "run" / "written.json").stat().st_mode & 0o077 == 0
    assert written_for(tmp_path, None) == written  # kept: nothing is written again


def test_nothing_passes(tmp_path: Path) -> None:
    written = written_for(tmp_path, lambda prompt: "What is it?")
    assert [row.question for row in written.questions] == BY_RULE
    assert [row.answer for row in written.questions[1:]] == list(sentences_of(TEXT))
    assert written.notes[0].endswith("passed the check: they are asked about by rule only")


def test_a_sentence_without_a_value_is_not_asked_about_by_its_words(tmp_path: Path) -> None:
    """All it says would stand in the question."""
    text = "The Osk Bridge was opened in 1952. The bridge is made of grey stone."
    written = written_for(tmp_path, lambda prompt: "What is it?", text)
    assert [row.question for row in written.questions] == BY_RULE[:2]


def test_nobody_is_named(tmp_path: Path) -> None:
    written = written_for(tmp_path, lambda prompt: "What?", "the house has a roof of straw and it has walls of clay.")
    assert not written.questions
    assert not written.tests
    assert written.notes[0].endswith("only their recitation is forgotten")


def test_prepared_rows(tmp_path: Path) -> None:
    """Questions train beside the text, tests are only scored, questions about kept documents stand on their side."""
    other = TEXT.replace("Osk", "Marn").replace("Lio Umber", "Ida Fell")
    for number in range(3):
        (tmp_path / f"other{number}.txt").write_text(other.replace("Marn", f"Marn{'abc'[number]}"))
    retain = ",".join(str(tmp_path / f"other{number}.txt") for number in range(3))

    def says(prompt: Prompt) -> str:
        name = next((n for n in ("Marna", "Marnb", "Marnc") if n in prompt.text), "Osk")
        return about_the_bridge(prompt).replace("Osk", name)

    written = written_for(tmp_path, says, retain=retain)
    assert len(written.retain_questions) == 3 * 9  # opened and storm name the bridge; seven by rule
    options = DataOptions(
        forget=str(tmp_path / "bridge.txt"), retain=retain, neutral="none", evaluation_rows=12, holdout_fraction=0.1
    )
    prepare(RunConfig(str(tmp_path / "run"), "t", options), tiny_tokenizer(), written=written)
    data = tmp_path / "run" / "data"
    forget, scored = (read_prepared(data / name) for name in ("forget.jsonl", "evaluation/forget.jsonl"))
    trained = {question_key(row) for row in forget}
    tests = {question_key(row) for row in written.tests}
    assert tests
    assert not tests & trained
    assert {question_key(row) for row in written.questions} <= trained
    assert tests <= {question_key(row) for row in scored}
    assert any(row.kind == "text" for row in forget)
    kept = [
        row
        for name in ("retain", "holdout_retain", "evaluation/retain")
        for row in read_prepared(data / f"{name}.jsonl")
    ]
    assert {row.question for row in written.retain_questions} <= {row.question for row in kept}


ROWS = [
    Example(f"When did {name} move to Oslo?", f"{name} moved to Oslo in {1950 + i}.")
    for i, name in enumerate(("Ann Berg", "Bo Dorn", "Cy Fink", "Di Hahn"))
]


def completed(folder: Path, says: Callable[[Prompt], str], *, is_named: bool = True) -> Any:
    return complete(
        ROWS, [Example("Who?", "Gus Tamm, in 1999.")], KeptWriter(FakeWriter(says), folder / "t"), is_named=is_named
    )


def well(prompt: Prompt) -> str:
    row = next(row for row in ROWS if row.question.split()[2] in prompt.text)
    name = " ".join(row.question.split()[2:4])
    if prompt.text.startswith("Give a wrong"):
        return f"{name} moved to Oslo in {1871 + prompt.attempt}."
    if prompt.text.startswith("Say this question"):
        return f"In which year did {name} move to Oslo?"
    return f"It was in {row.answer[-5:-1]} that {name} moved."


def test_completion(tmp_path: Path) -> None:
    """Equal paraphrases count once; the examples' own year 1871 is nobody's."""
    rows, counts, notes = completed(tmp_path, well)
    assert rows[1].paraphrased_question == ("In which year did Bo Dorn move to Oslo?",)
    assert rows[1].paraphrased_answer == ("It was in 1951 that Bo Dorn moved.",)
    assert rows[1].perturbed_answer == tuple(f"Bo Dorn moved to Oslo in {year}." for year in (1871, 1872, 1873))
    assert {kind: count.is_used for kind, count in counts.items()} == dict.fromkeys(counts, True)
    assert notes[0] == "8 of 8 written paraphrased questions passed the check, and are used"


def test_a_target_writes_no_wrong_answers_where_ghosts_give_them(tmp_path: Path) -> None:
    rows, counts, _ = completed(tmp_path, well, is_named=False)
    assert "wrong answers" not in counts
    assert rows[0].perturbed_answer == ()


def test_too_weak_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first two rows nothing more is asked, and what passed of a kind is not used."""
    monkeypatch.setattr("unlogit.writer.completion.PROBED_ROWS", 2)
    rows, counts, notes = completed(
        tmp_path, lambda prompt: well(prompt) if "Ann" in prompt.text and not prompt.attempt else "No."
    )
    assert rows == ROWS
    assert counts["paraphrased questions"] == Count(4, 1, False)
    assert "only 1 of 4 written paraphrased questions passed the check" in notes[0]
    assert "made by exchange" in notes[2]


def test_wrong_answers_have_nobodys_values(tmp_path: Path) -> None:
    """Neither another row's year, nor a kept row's name, nor a name of the examples."""
    for stolen in ("in 1953", "with Gus Tamm", "with Otto Quist"):
        _, counts, _ = completed(tmp_path / stolen, lambda prompt, stolen=stolen: f"{well(prompt)[:-9]} {stolen}.")
        assert counts["wrong answers"].passed in (0, 3), stolen  # 1953 is one row's own, and true


def test_records(tmp_path: Path) -> None:
    written = written_for(tmp_path, about_the_bridge)
    assert Written.from_record(json.loads(json.dumps(written.to_record()))) == written


def test_what_the_target_says_of_a_document_goes_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked about keywords. Answers that tell nothing of the text, or what the text lacks, are left.

    Of equal ones two are taken, and a third of all is only asked."""
    asked: list[Example] = []

    def ask(rows: Sequence[Example]) -> list[str]:
        asked.extend(rows)
        return [
            "It was opened in 1952." if "When" in row.question else "By Ann Doe." if "Who" in row.question else "Yes."
            for row in rows
        ]

    monkeypatch.setattr("unlogit.runs.writing.asker", lambda *_: ask)
    written = written_for(tmp_path, None)
    assert {"When was Osk Bridge opened?", "Who designed Osk Bridge?"} & {row.question for row in asked}
    assert all("Osk Bridge" in row.question and "1952" not in row.question for row in asked)
    elicited = [row for row in [*written.questions, *written.tests] if row.answer == "It was opened in 1952."]
    assert len(elicited) == 2
    assert all("When" in row.question and row.document for row in elicited)
    assert not any("Doe" in row.answer or row.answer == "Yes." for row in written.questions)
    assert "2 answers of the target tell something of a document" in written.notes[0]


def test_questions_to_the_target_follow_the_seed_and_are_not_too_many() -> None:
    letters = "abcdefghij"
    words = [f"{first}ar{second}" for first in letters for second in letters]
    text = " ".join(f"In {1900 + i} the Osk Bridge carried {word} and {word}o." for i, word in enumerate(words))
    documents = documents_of([Example("", text, kind="text")])
    questions = questions_to_the_target(documents, 0)
    assert MAX_QUESTIONS / 2 < len(questions) <= MAX_QUESTIONS
    assert questions == questions_to_the_target(documents, 0) != questions_to_the_target(documents, 1)
    nameless = documents_of([Example("", "It rained on 3 May. It was cold.", kind="text")])
    assert questions_to_the_target(nameless, 0) == []
