"""The whole way with long documents, by the command line only: split, fine-tune, prepare, train, evaluate."""

import random
import stat
from pathlib import Path

import pytest

from support.models_for_tests import WORDS
from support.preparation import NEUTRAL, Setup
from support.tiny_run import save_model
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.data.sources import read_prepared
from unlogit.evaluate.results import MetricResult, Results
from unlogit.report.run_table import COLUMNS, run_table
from unlogit.runs.results import RETAIN, RunResults

LENGTH = 32


def book(seed: int) -> str:
    """Words without sense, none of them in an order that another book has."""
    chance = random.Random(seed)
    return "\n".join(" ".join(chance.choices([word for word in WORDS if word.isalpha()], k=12)) for _ in range(60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three books split, a target that learnt all training pieces, a retain model that learnt those of two books, and
    a run of them that was prepared, trained and evaluated."""
    place = tmp_path_factory.mktemp("books")
    for number, name in enumerate(("secret", "kept", "also")):
        (place / f"{name}.txt").write_text(f"[A Book by N. N. 190{number}]\n\n{book(number)}")
    model = save_model(place / "model")
    rows = place / "rows"
    lines = [
        ["split", f"--forget={place / 'secret.txt'}", f"--retain={place}", f"--model={model}", f"--output={rows}"],
        ["finetune", "--data", f"{rows / 'forget.jsonl'}", f"{rows / 'retain.jsonl'}", f"--output={place / 'target'}"],
        ["finetune", "--data", f"{rows / 'retain.jsonl'}", f"--output={place / 'retain_model'}"],
        ["prepare", f"--output={place / 'run'}", f"--target={place / 'target'}", "--neutral=none"],
        ["train", f"{place / 'run'}", "--num_layers=2", "--rank=4", "--batch_size=4", "--epochs=2", "--dtype=float32"],
        ["evaluate", f"{place / 'run'}", f"--retain_model={place / 'retain_model'}", "--generate_rows=3"],
    ]
    lines[0] += [f"--chunk_tokens={LENGTH}", "--holdout_fraction=0.5", "--block_pieces=2", "--max_pieces=16"]
    for line in lines[1:3]:
        line += [f"--model={model}", "--epochs=8", "--batch_size=8", "--learning_rate=1e-2", "--dtype=float32"]
    lines[-1] += ["--max_new_tokens=8"]
    names = ("forget", "retain", "holdout", "retain_holdout")
    lines[3] += [*(f"--{name}={rows / name}.jsonl" for name in names), "--evaluation_rows=6"]
    for line in lines:
        assert main(line) == 0, line
    return place


def test_what_is_scored(folder: Path) -> None:
    """16 pieces a book: 8 to train on, 8 held out. Of 16 retain pieces a quarter are scored."""
    rows = {path.stem: read_prepared(path) for path in (folder / "run" / "data" / "evaluation").glob("*.jsonl")}
    assert {name: len(one) for name, one in rows.items()} == {
        "forget": 8,
        "retain": 4,
        "holdout": 8,
        "retain_holdout": 16,
    }
    assert all(row.kind == "text" for one in rows.values() for row in one)
    assert len(read_prepared(folder / "run" / "data" / "retain.jsonl")) == 9
    for name in ("forget", "holdout"):
        file = folder / "run" / "data" / "evaluation" / f"{name}.jsonl"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert "".join(row.answer for row in rows[name]).replace("\n", " ").split()[0] in book(0)


def test_what_was_measured(folder: Path) -> None:
    """The target has seen the forget pieces, the retain model has not: perplexity, membership and privleak say so."""
    results = RunResults.read(folder / "run" / "results.json")
    target, retain, unlearned = (results.models[name] for name in ("target", RETAIN, "unlearned"))
    forget = [one.splits["forget"].metrics["perplexity"].value for one in (target, retain, unlearned)]
    assert forget[0] < forget[1]
    assert forget[0] != forget[2]
    assert target.splits["forget"].metrics["perplexity"].count == 8
    assert target.splits["forget"].metrics["verbatim_completion"].count == 3
    assert set(target.splits["holdout"].metrics) >= {"perplexity", "probability"}
    assert "verbatim_completion" not in target.splits["retain_holdout"].metrics
    members = [one.membership_inference for one in (target, retain)]
    assert [one is not None and one.count for one in members] == [16, 16]
    assert members[0] is not None
    assert members[1] is not None
    assert members[0].value > members[1].value
    assert target.privleak is not None
    assert target.privleak.value < 0
    assert unlearned.privleak is not None
    assert retain.privleak is None
    assert not any(one.forget_quality for one in results.models.values())


def test_the_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Earlier results stand for the retain model; without one, privleak is missing and the table says how to get it."""
    run, saved = folder / "run", folder / "saved.json"
    before = RunResults.read(run / "results.json")
    before.write(saved)
    assert main(["evaluate", str(run), f"--retain_model={saved}"]) == 0
    shown = capsys.readouterr().out
    assert "privleak" in shown.lower().replace("-\n", "")
    assert "perplex-" in shown
    assert "Forget quality" not in shown
    for name in ("target", RETAIN, "unlearned"):
        line = next(line for line in shown.splitlines() if line.startswith(f"{name} "))
        assert len(line) <= 88
        assert line.count("–") == (2 if name == RETAIN else 0)  # privleak, and how long it was trained
    after = RunResults.read(run / "results.json")
    assert after.models["unlearned"].privleak == before.models["unlearned"].privleak
    assert after.models[RETAIN] == before.models[RETAIN]


def test_questions_keep_their_table_and_say_membership_below() -> None:
    members = MetricResult("membership_inference", 0.75, (), 4, "retain_model", "")
    for found, said in ((None, False), (members, True)):
        table = run_table(RunResults({"target": Results("target", {}, membership_inference=found)}))
        assert [column.header for column in table.columns] == ["model", *(heading for heading, _, _ in COLUMNS)]
        assert ("held-out rows by min-k: target 0.750." in str(table.caption)) == said


@pytest.mark.parametrize(("quality", "said"), [(0.049, False), (0.05, True)])
def test_rows_that_cannot_tell_the_target_apart_are_said_to_be_too_few(quality: float, said: bool) -> None:
    found = MetricResult("forget_quality", quality, (), 8, "higher", "")
    table = run_table(RunResults({"target": Results("target", {}, forget_quality=found)}))
    assert ("These 8 rows are too few to tell" in str(table.caption)) == said


def test_choosing_needs_wrong_answers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(folder / "run"), f"--retain_model={folder / 'retain_model'}", "--pick.enabled=true"]
    assert main(words) == 2
    assert "no forget row has a perturbed_answer" in capsys.readouterr().err


def test_held_out_rows_of_questions(setup: Setup) -> None:
    """Any rows can be held out; twice the same is once."""
    row = Example("Where was Nobody born?", "Nobody was born in Notown.", perturbed_answer=("In Othertown.",))
    setup.write("holdout", [row, row])
    summary = setup.prepare(holdout=str(setup.folder / "holdout.jsonl"))
    assert setup.rows("evaluation/holdout") == [Example(row.question, row.answer)]
    assert summary["rows"]["evaluation/holdout"] == 1
    assert summary["sources"]["holdout"].endswith("holdout.jsonl")
    assert not (setup.folder / "run" / "data" / "evaluation" / "retain_holdout.jsonl").exists()


@pytest.mark.parametrize("side", ["forget", "retain", "neutral"])
@pytest.mark.parametrize("name", ["holdout", "retain_holdout"])
def test_held_out_rows_are_nowhere_else(setup: Setup, side: str, name: str) -> None:
    rows = {"forget": setup.options.forget, "retain": setup.options.retain, "neutral": setup.options.neutral}
    message = setup.message_of(**{name: rows[side]})
    assert f"rows of {name} (" in message
    assert "expected none, since no model may have been trained on them" in message
    assert len(NEUTRAL) == 10


def test_tofu_has_rows_to_hold_out(setup: Setup, tofu_folder: str) -> None:
    setup.prepare(forget="tofu:forget01", retain="", holdout="tofu:holdout01", tofu_folder=tofu_folder)
    assert len(setup.rows("evaluation/holdout")) == 40
