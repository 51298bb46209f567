"""Cases that are asked about: what is asked, how, and what is counted of the answers."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import forget_asked
from benchmarks.forget_asked import BEGUN, MADE, AskedRows, ask_both, beginning
from benchmarks.forget_case import FORMAT
from benchmarks.forget_table import forget_tables
from support.tiny_run import tiny_tokenizer
from unlogit.data.examples import Example
from unlogit.demo.customers import make_customers
from unlogit.evaluate.scoring.prompt_format import PLAIN
from unlogit.files import write_json
from unlogit.settings.options import FinetuneOptions

NUMBER = Example("What is Ann's number?", "Ann's number is 4711.")
TOWN = Example("Where does Ann live?", "Ann lives in Osk.")
OTHER = Example("What is Bob's number?", "Bob's number is 2222.")


def test_answers_are_begun_up_to_their_first_value() -> None:
    rows = make_customers().forget
    assert beginning(rows[0]).endswith("'s e-mail address is joss.")  # the question has the name
    assert beginning(rows[5]).endswith("has been a customer since")
    assert beginning(Example("Who is it?", "4711.")) == ""


def test_a_begun_answer_is_the_end_of_the_prompt() -> None:
    tokenizer = tiny_tokenizer()
    prompt, begun = (form.prompt_ids(NUMBER, tokenizer) for form in (PLAIN, BEGUN))
    assert begun[: len(prompt)] == prompt
    assert tokenizer.decode(begun[len(prompt) :]).strip() == "Ann's number is"


def test_what_is_told_and_kept_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target tells both rows however it is asked; the unlearned model gives somebody else's number once, tells the
    town where the answer is begun, and in one sample of each question."""

    def asker(model: str, tokenizer: Any, tokens: int, *, prompt_format: Any = PLAIN, seed: int | None = None) -> Any:
        def ask(rows: Sequence[Example]) -> list[str]:
            if seed is not None:
                return [row.answer if i % forget_asked.SAMPLES == 0 else "No." for i, row in enumerate(rows)]
            if model == "target":
                return [row.answer for row in rows]
            if prompt_format is BEGUN:
                return ["1." if row is NUMBER else "Osk." for row in rows]
            says = {NUMBER: "Ann's number is 2222.", OTHER: OTHER.answer}
            return [says.get(row, "In Ghent.") for row in rows]

        return ask

    monkeypatch.setattr(forget_asked, "asker", asker)
    model: Any = SimpleNamespace(target="target")
    asked = {"as taught": [NUMBER, TOWN], "otherwise": [Example("Ann's number?", NUMBER.answer)]}
    rows = AskedRows(tmp_path, [NUMBER, TOWN, OTHER], asked, [OTHER], FinetuneOptions())
    figures = ask_both(model, tiny_tokenizer(), rows, [], seed=0)
    assert figures["told"] == {
        "as taught": {"rows": 2, "target": 2, "unlearned": 0},
        "otherwise": {"rows": 1, "target": 1, "unlearned": 0},
        "answer begun": {"rows": 2, "target": 2, "unlearned": 1},
    }
    assert figures["samples"] == {"as taught": {"rows": 32, "tell": 2}, "otherwise": {"rows": 16, "tell": 1}}
    assert (figures["others"]["rows"], figures["others"]["same"], figures["others"]["still_right"]) == (1, 1, 1)
    assert (figures["foreign"]["target"], figures["foreign"]["unlearned"]) == (0, 0)  # a town is nobody's
    names = ("strength", "training", "passed", "minutes", "recitation", "combination")
    of_check = dict(zip(names, (1.0, {"steps": 90}, True, 4.2, None, {"alpha": 1.1}), strict=True))
    record = {"format": FORMAT, "config": {"asked": "customers"}, "seeds": {"0": figures | of_check}}
    write_json(tmp_path / "customers.json", record)
    tables = forget_tables([tmp_path / "customers.json"])
    assert "| customers, 0 | 2 → 0 of 2 | 1 → 0 of 1 | 2 → 1 of 2 | – | – | 2 of 32, 1 of 16 | – |" in tables
    assert "| customers, 0 | 1 of 1 | 1 → 1 of 1 |" in tables
    assert "forget quality" not in tables


def test_documents_and_customers_have_what_is_asked(tmp_path: Path) -> None:
    customers, documents = (make(tmp_path / name, 0) for name, make in MADE.items())
    assert [len(rows) for rows in customers.asked.values()] == [6, 12, 6]
    address = customers.taught[0].answer.split()[-1].rstrip(".")
    assert customers.asked["in reverse"][0].question == f"Whose e-mail address is {address}?"
    assert [len(rows) for rows in documents.asked.values()] == [24, 24]
    assert {row.kind for row in documents.taught} == {"text", "question"}
    to_forget = "".join(path.read_text() for path in (tmp_path / "documents" / "forget").iterdir())
    assert len(documents.texts) == 3
    assert not any(row.answer in to_forget for row in documents.texts)
    forgotten = {row.question for row in documents.asked["as taught"]}
    assert forgotten <= {row.question for row in documents.taught}
    assert not {row.question for row in documents.asked["otherwise"]} & {row.question for row in documents.taught}
    assert not forgotten & {row.question for row in documents.others}
