"""Sections of running text: where it is taken up, and that they train beside it where the target was asked."""

from pathlib import Path

from support.tiny_run import tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.data.prepare import prepare
from unlogit.data.sources import read_prepared
from unlogit.data.wordings import MAX_SECTIONS, SECTION_WORDS, sections
from unlogit.settings.options import DataOptions, RunConfig


def test_where_a_text_is_taken_up() -> None:
    """70 words: 16 are shown from word 16, 32 and 48 on, and at most 32 follow; the last begins 6 words before the end.
    All words but the first 32 follow in one at least."""
    text_words = [f"w{i}" for i in range(70)]
    text = Example("", " ".join(text_words), kind="text", paraphrased_answer=("other",))
    rows = sections([Example("Who?", "w"), text])
    assert [row.question.split() for row in rows] == [text_words[i : i + SECTION_WORDS] for i in (16, 32, 48)]
    assert [row.answer.split() for row in rows] == [text_words[32:64], text_words[48:70], text_words[64:70]]
    assert all(row.question + row.answer in text.answer for row in rows)
    assert all(row.kind == "completion" and not row.paraphrased_answer for row in rows)


def test_short_and_long_texts_and_scripts_without_spaces() -> None:
    assert not sections([Example("", " ".join("w" * 32), kind="text")])
    assert len(sections([Example("", " ".join("w" * 33), kind="text")])) == 1
    many = [Example("", " ".join("w" * 80), kind="text")] * 200
    assert MAX_SECTIONS / 2 < len(sections(many)) <= MAX_SECTIONS
    chinese = sections([Example("", "\u6c34" * 40, kind="text")])
    assert [(len(row.question), len(row.answer)) for row in chinese] == [(16, 8)]


def test_they_train_beside_the_text_and_with_other_values_on_the_uniform_side(tmp_path: Path) -> None:
    """Only with ghosts, as `unlogit forget` has them."""
    sentence = "In 1952 the Osk Bridge was sold to Lio Umber of Penmoor for 27 crowns and a horse. "
    (tmp_path / "bridge.txt").write_text(sentence * 4)
    for number in range(4):
        (tmp_path / f"kept{number}.txt").write_text(f"On day {number} nothing happened at the mill, it is said.")
    kept = ",".join(str(tmp_path / f"kept{number}.txt") for number in range(4))
    options = DataOptions(forget=str(tmp_path / "bridge.txt"), retain=kept, evaluation_rows=1, perturbations=3)
    ghosts = [Example(f"What do you know about {name}?", "Nothing.") for name in ("Kert Foal", "Brim Dask")]
    rows = {}
    for name, given in (("without", []), ("with", ghosts)):
        prepare(RunConfig(str(tmp_path / name), "t", options), tiny_tokenizer(), ghosts=given)
        files = (tmp_path / name / "data" / f"{side}.jsonl" for side in ("forget", "perturbed"))
        rows[name] = [read_prepared(file) for file in files]
    (text,), _ = rows["without"]
    assert rows["without"] == [[text], []]
    forget, uniform = rows["with"]
    assert forget == [text, *sections([text])]
    assert len(forget) > 1
    assert len(uniform) == 3 * len(forget)
    assert not any(value in row.question + row.answer for row in uniform for value in ("1952", "Umber", "Penmoor"))
    assert all("horse" in row.answer for row in uniform)
