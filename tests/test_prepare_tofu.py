"""A run on the real TOFU files. Skipped without them."""

import time
from pathlib import Path
from typing import Any

from support.preparation import NEUTRAL, Setup, has_facts, keys
from unlogit.data import tofu
from unlogit.data.examples import Example
from unlogit.data.neutral import load_neutral
from unlogit.errors import ConfigError


def tofu_options(folder: str, **options: Any) -> dict[str, Any]:
    return {"forget": "tofu:forget10", "retain": "", "neutral": "builtin", "tofu_folder": folder} | options


def test_tofu(setup: Setup, tofu_folder: str) -> None:
    """400 rows and 2 paraphrases each; of 3600 − 400 retain rows 320 are held out; TOFU's own evaluation rows."""
    begin = time.perf_counter()
    summary = setup.prepare(**tofu_options(tofu_folder))
    assert time.perf_counter() - begin < 20
    rows = summary["rows"]
    assert (rows["forget"], rows["retain"], rows["holdout_retain"]) == (1200, 2880, 320)
    assert summary["sources"]["retain"] == "tofu:retain90"
    for name, split in (("forget", "forget10"), ("retain", "retain"), ("real_authors", "real_authors")):
        assert setup.rows(f"evaluation/{name}") == tofu.load_tofu(f"{split}_perturbed", tofu_folder)
    assert rows["evaluation/world_facts"] == 117
    assert 780 <= rows["perturbed"] <= 800
    assert summary["forget"]["rows_with_wrong_answers_made_by_exchange"] == 4


def test_tofu_evaluation_is_not_trained_on(setup: Setup, tofu_folder: str) -> None:
    rows = setup.prepare(**tofu_options(tofu_folder))["rows"]
    scored = keys([r for name in rows if name.startswith("evaluation/") for r in setup.rows(name)])
    forget = keys(tofu.load_tofu("forget10", tofu_folder))
    for name in ("retain", "neutral", "perturbed", "holdout_retain", "holdout_neutral"):
        assert not keys(setup.rows(name)) & (scored | forget), name
    questions = {question.casefold() for question, _ in scored}
    assert not questions & {row.question.casefold() for row in load_neutral("builtin")}


def test_tofu_subset(setup: Setup, tofu_folder: str) -> None:
    """500 retain rows are known: 250 of retain_perturbed are scored; with the subset as source, rows 400 to 649 are
    trained on or held out, else all that could not be scored."""
    names = ("evaluation/retain", "retain", "holdout_retain")
    summary = setup.prepare(**tofu_options(tofu_folder, retain="tofu:retain90:500"))
    assert [summary["rows"][n] for n in names] == [250, 225, 25]
    both = setup.rows("retain") + setup.rows("holdout_retain")
    assert keys(both) == keys(tofu.load_tofu("full", tofu_folder)[400:650])
    scored = keys(setup.rows("evaluation/retain"))
    assert keys(both) | scored == keys(tofu.load_tofu("retain90:500", tofu_folder))
    summary = setup.prepare(**tofu_options(tofu_folder, retain_subset=500))
    assert [summary["rows"][n] for n in names] == [250, 3175, 25]
    assert keys(setup.rows("holdout_retain")) < keys(both)
    assert keys(setup.rows("evaluation/retain")) == scored


def test_tofu_without_augmentation(setup: Setup, tofu_folder: str, tmp_path: Path) -> None:
    """As from the hub: no paraphrases, and all wrong answers by exchange, none of them from the evaluation's files."""
    folder = tmp_path / "tofu"
    folder.mkdir()
    for path in Path(tofu_folder).glob("*.json"):
        (folder / path.name).symlink_to(path)
    summary = setup.prepare(**tofu_options(str(folder), forget="tofu:forget01"))
    assert (summary["rows"]["forget"], summary["rows"]["perturbed"]) == (40, 80)
    assert summary["forget"]["rows_with_wrong_answers_made_by_exchange"] == 40
    assert len(summary["notes"]) == 2


def test_tofu_bad_pairs(setup: Setup, tofu_folder: str) -> None:
    message = setup.message_of(**tofu_options(tofu_folder, retain="tofu:retain95"))
    assert has_facts(message, "200 of 400 forget rows", "retain side")
    options = tofu_options(tofu_folder, retain="tofu:retain90:500", retain_subset=400)
    assert has_facts(setup.message_of(ConfigError, **options), "tofu:retain90:500", "retain_subset 400")
    options = tofu_options(tofu_folder, retain_subset=5000)
    assert has_facts(setup.message_of(**options), "5000", "2 to 3600")


def test_neutral_rows_of_the_knowledge_splits_are_left_out(setup: Setup, tofu_folder: str) -> None:
    fact = tofu.load_tofu("world_facts_perturbed", tofu_folder)[3]
    setup.write("neutral", [*NEUTRAL, Example(fact.question.upper(), "I do not know.")])
    summary = setup.prepare(**tofu_options(tofu_folder, forget="tofu:forget01", neutral=setup.options.neutral))
    assert any(has_facts(note, "1 of 11 neutral rows", "left out") for note in summary["notes"])
    assert summary["rows"]["neutral"] + summary["rows"]["holdout_neutral"] == 10
