"""TOFU by name: from the real files where they are, and from tiny files of the same form where not."""

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from support.preparation import has_facts
from unlogit.data import prepare, sides, tofu
from unlogit.data.examples import Example
from unlogit.data.exchange import says_the_same
from unlogit.data.sources import read_examples, source_in
from unlogit.errors import DataError
from unlogit.settings.options import DataOptions


def numbered(count: int) -> list[Example]:
    return [Example(f"q{i}", f"a{i}") for i in range(count)]


def numbers(rows: list[Example]) -> list[int]:
    return [int(row.question[1:]) for row in rows]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


# --------------------------------------------------------------------------------------------------- part of the rows


def test_retain_subset_counts_by_hand() -> None:
    """5 rows: the first 2 (evaluation) and rows 400 to 402. 1000 rows: all 400 and rows 400 to 999."""
    rows = numbered(3600)
    assert numbers(tofu.retain_subset(rows, 5)) == [0, 1, 400, 401, 402]
    assert numbers(tofu.retain_subset(rows, 1000)) == list(range(1000))
    assert len(tofu.retain_subset(rows, 3600)) == 3600


@pytest.mark.parametrize("count", [1, 3601])
def test_retain_subset_out_of_range(count: int) -> None:
    with pytest.raises(DataError, match=f"{count} retain rows.* 2 to 3600"):
        tofu.retain_subset(numbered(3600), count)


def test_part_of_full_has_the_whole_forget_set(tmp_path: Path) -> None:
    write_lines(tmp_path / "full.json", [row.to_row() for row in numbered(4000)])
    rows = read_examples("tofu:full:6", tofu_folder=str(tmp_path))
    assert numbers(rows) == [0, 1, 2, 400, 401, 402, *range(3600, 4000)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("forget1", r"'forget1' \(did you mean 'forget1?0?\d?'.* full"),
        ("retain", r"'retain' \(did you mean 'retain9\d'"),
        ("forget10:5", "a part of 'forget10'"),
        ("retain90:x", "'x' for a number"),
        ("retain90:-4", "'-4' for a number"),
        ("full", r"no full\.json"),
    ],
)
def test_wrong_names(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        tofu.load_tofu(name, str(tmp_path))


def test_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def load(name: str, config: str | None) -> dict[str, list[dict[str, str]]]:
        assert name == "locuslab/TOFU"
        return {"train": [{"question": str(config), "answer": "x", "option1": "y"}]}

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert tofu.load_tofu("world_facts") == [Example("world_facts", "x")]
    assert not tofu.has_augmentation("forget10", "")


# ------------------------------------------------------------------------------------------------------- augmentation


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """forget01 of two rows with an augmentation that has each of the released one's defects."""
    write_lines(
        tmp_path / "forget01.json",
        [{"question": "Who is it?", "answer": "Ann Lee, it is."}, {"question": "Where?", "answer": "In\nCork."}],
    )
    folder = tmp_path / "augmentation"
    folder.mkdir()
    questions = ["Who is it?", "Who may it be?", "who may it be", "Which one is it?"]
    answers = ["It is Ann Lee.", "That is Ann Lee.", "that is ann lee!", "Ann Lee was it."]

    def line(*fields: str) -> str:
        return ",".join('"' + field.replace('"', '""') + '"' for field in fields) + "\n"

    (folder / "forget01_paraphrase.csv").write_text(
        line("Who is it?", "Ann Lee, it is.", repr(questions), repr(answers))
        + line("Where?", "In\nCork.", repr(["Where?"] * 2), repr(['"In Cork", it\'s said.', "Cork it is.\n"])),
        encoding="utf-8",
    )
    (folder / "forget10_perturb.csv").write_text(
        line("Other?", "x", "Other?", repr(["y"]))
        + line("Who is it?", "Ann Lee, it is.", "Who is it?", repr(["Lee Ann.", "Eva Orr.", "eva orr", "Bo Ek."]))
        + line("Where?", "In\nCork.", "Where?", repr(["Cork", "In Cork, not in Ghent."])),
        encoding="utf-8",
    )
    return tmp_path


def test_augmentation_by_hand(tiny: Path) -> None:
    """First row: the distinct questions besides its own are 2 and 4, the distinct answers 2 and 4 ("It is Ann Lee."
    has the true answer's words). Its wrong answers: "Lee Ann." says the truth, "eva orr" repeats. Second row: no other
    question, two answers; both wrong answers say the truth."""
    rows, counts = tofu.load_tofu_augmentation("forget01", str(tiny), 2, 2)
    assert rows[0].paraphrased_question == ("Who may it be?", "Which one is it?")
    assert rows[0].paraphrased_answer == ("That is Ann Lee.", "Ann Lee was it.")
    assert rows[0].perturbed_answer == ("Eva Orr.", "Bo Ek.")
    assert rows[1].paraphrased_question == ("Where?", "Where?")
    assert rows[1].paraphrased_answer == ('"In Cork", it\'s said.', "Cork it is.\n")
    assert rows[1].perturbed_answer == ()
    assert counts == tofu.Augmentation(
        paraphrases=4,
        perturbed_answers=2,
        wrong_answers_that_say_the_truth=3,
        rows_short_of_paraphrases=0,
        rows_short_of_perturbed_answers=1,
    )


def test_augmentation_of_fewer_and_of_more(tiny: Path) -> None:
    rows, _ = tofu.load_tofu_augmentation("forget01", str(tiny), 0, 0)
    assert rows == tofu.load_tofu("forget01", str(tiny))
    rows, counts = tofu.load_tofu_augmentation("forget01", str(tiny), 5, 5)
    assert [len(row.paraphrased_answer) for row in rows] == [2, 2]
    assert (counts.rows_short_of_paraphrases, counts.rows_short_of_perturbed_answers) == (2, 2)


def test_bad_augmentation(tiny: Path) -> None:
    with pytest.raises(DataError, match=r"'forget2' \(did you mean"):
        tofu.load_tofu_augmentation("forget2", str(tiny), 1, 1)
    path = tiny / "augmentation" / "forget10_perturb.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("Where?", "Elsewhere?"), encoding="utf-8")
    with pytest.raises(DataError, match="question of forget01"):
        tofu.load_tofu_augmentation("forget01", str(tiny), 1, 1)
    path.write_text(text.replace("['y']", "['y'"), encoding="utf-8")
    with pytest.raises(DataError, match=r"forget10_perturb\.csv .*row 1 .*list"):
        tofu.load_tofu_augmentation("forget01", str(tiny), 1, 1)
    path.write_text(text.replace('"x",', ""), encoding="utf-8")
    with pytest.raises(DataError, match=r"row 1 \(3 fields"):
        tofu.load_tofu_augmentation("forget01", str(tiny), 1, 1)
    path.unlink()
    with pytest.raises(DataError, match=r"augmentation/forget10_perturb\.csv"):
        tofu.load_tofu_augmentation("forget01", str(tiny), 1, 1)


# ------------------------------------------------------------------------------------------------------ the real files


def test_every_split_loads(tofu_folder: str) -> None:
    counts = {name: len(tofu.load_tofu(name, tofu_folder)) for name in tofu.NAMES}
    assert counts == {
        "full": 4000, "forget01": 40, "forget05": 200, "forget10": 400, "retain99": 3960, "retain95": 3800,
        "retain90": 3600, "holdout01": 40, "holdout05": 200, "holdout10": 400, "forget01_perturbed": 40,
        "forget05_perturbed": 200, "forget10_perturbed": 400, "retain_perturbed": 400, "real_authors": 100,
        "real_authors_perturbed": 100, "world_facts": 117, "world_facts_perturbed": 117,
    }  # fmt: skip


def test_order_of_full(tofu_folder: str) -> None:
    """What ``retain_subset`` and the module's docstring rely on."""

    def pairs(name: str) -> list[tuple[str, str]]:
        return [(row.question, row.answer) for row in tofu.load_tofu(name, tofu_folder)]

    full = pairs("full")
    assert pairs("retain_perturbed") == full[:400]
    assert pairs("forget10") == pairs("forget10_perturbed") == full[3600:]
    assert pairs("forget05") == full[3800:]
    assert pairs("forget01") == full[3960:]
    for forget, retain in tofu.RETAIN_OF.items():
        assert pairs(retain) + pairs(forget) == full


def test_subsets_of_full_and_retain_agree(tofu_folder: str) -> None:
    retain = read_examples("tofu:retain90:500", tofu_folder=tofu_folder)
    full = read_examples("tofu:full:500", tofu_folder=tofu_folder)
    assert full == retain + tofu.load_tofu("forget10", tofu_folder)
    assert len(retain) == 500


@pytest.mark.parametrize(("name", "rows"), [("forget01", 40), ("forget05", 200), ("forget10", 400)])
def test_real_augmentation(tofu_folder: str, name: str, rows: int) -> None:
    examples, counts = tofu.load_tofu_augmentation(name, tofu_folder, 2, 2)
    assert len(examples) == rows
    assert counts.paraphrases == 2 * rows
    for row in examples:
        pairs = zip(row.paraphrased_question, row.paraphrased_answer, strict=True)
        assert len({(row.question, row.answer), *pairs}) == 3
        assert len({row.answer, *row.paraphrased_answer}) == 3
        assert not any(says_the_same(wrong, row.question, row.answer) for wrong in row.perturbed_answer)
    if name == "forget10":
        assert counts.wrong_answers_that_say_the_truth == 34


# ------------------------------------------------------------------------------------------------------- as a source


def test_it_brings_what_a_file_does_not(tiny: Path) -> None:
    """Evaluation rows, a retain source, knowledge splits and an augmentation; of a file all of these are absent."""
    write_lines(tiny / "forget01_perturbed.json", [{"question": "Who is it?", "answer": "x"}])
    for name in ("real_authors", "world_facts"):
        write_lines(tiny / f"{name}_perturbed.json", [{"question": name, "answer": "y"}])
    options = DataOptions(forget="tofu:forget01", tofu_folder=str(tiny))
    source = source_in(options.forget, options)
    rows = source.forget_rows(options)
    assert rows.evaluation == [Example("Who is it?", "x")]
    assert (source.has_evaluation, source.default_retain()) == (True, "tofu:retain99")
    assert rows.summary["tofu_augmentation"]["wrong_answers_that_say_the_truth"] == 3
    assert has_facts(rows.notes[0], "3 wrong answers", "the truth")
    knowledge = source.knowledge_rows()
    assert knowledge == {name: [Example(name, "y")] for name in ("real_authors", "world_facts")}
    file = source_in(str(tiny / "forget01.json"), options)
    assert (file.has_evaluation, file.default_retain(), file.knowledge_rows()) == (False, "", {})
    assert file.forget_rows(options).evaluation is None


def test_prepare_does_not_know_it() -> None:
    for module in (prepare, sides):
        assert not re.search(r"tofu(?!_folder)", inspect.getsource(module), re.IGNORECASE)
