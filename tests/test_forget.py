"""``unlogit forget`` on a tiny random target: the whole way, how it goes on, and every reason not to pass."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.small_check import small_check
from support.tiny_run import Place, tiny_tokenizer
from unlogit.cli.main import main
from unlogit.data.examples import Example
from unlogit.evaluate.foreign_values import ForeignValues
from unlogit.evaluate.ghost_losses import GhostLosses
from unlogit.evaluate.leaks import KeptAnswers, Leak
from unlogit.evaluate.recitation import Recitation, find_recitation, windows_of
from unlogit.evaluate.scoring.continuation import continuation
from unlogit.report.forget_page import _told, forget_page
from unlogit.runs import request_check
from unlogit.runs.outcome import Outcome
from unlogit.runs.plan import planned
from unlogit.runs.verdict import command_of, find_problems, strength_warnings
from unlogit.settings.options import DataOptions, RunConfig

FLAGS = ["--train.epochs=2", "--train.save_steps=1", "--train.dtype=float32", "--assistant.rank=4"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ghosts and few samples."""
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)


def line(place: Place, *more: str) -> list[str]:
    """The command on a request of one file and no rows to keep."""
    paths = [f"--model={place.folder / 'target'}", f"--forget={place.folder / 'forget.jsonl'}"]
    return ["forget", *paths, f"--output={place.run}", *FLAGS, *more]


@pytest.mark.usefixtures("quick")
def test_from_one_file_to_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A random target knows nothing: it is said, with exit code 3; everything stands in the folder. What it finds
    likely of people who do not exist is known of each row when leaks are looked for."""
    rated: list[int] = []
    find = request_check.find_leaks

    def looked_for(*given: Any) -> Any:
        rated.extend(given[5].rates)
        return find(*given)

    monkeypatch.setattr(request_check, "find_leaks", looked_for)
    place = Place.make(tmp_path)
    assert main(line(place)) == 3
    assert rated == list(range(8))
    page = capsys.readouterr().out
    assert "Asking the target 24 questions about people who do not exist." in page
    assert "Not passed: the target does not know these rows" in page
    assert "Asked: 8 rows to forget. The target told 0 of them" in page
    check = json.loads((place.run / "check.json").read_text())
    assert check["passed"] is False
    for name in ("check.json", "ghosts.jsonl", "data/perturbed.jsonl"):
        assert (place.run / name).stat().st_mode & 0o077 == 0, name
    assert len(check["leaks"]) == 8
    assert check["leaks"][0]["samples"] == 2
    assert check["retained_are_ghosts"] is True
    assert (place.run / "unlearned" / "config.json").is_file()
    assert (place.run / "check.txt").read_text().strip() in page
    settings = (place.run / "config.yaml").read_text()
    for setting in ("batch_size: 16", "uniform_ratio: 1.5", "common_fraction: 0.03", "stop_forget_nats: 0.1"):
        assert setting in settings
    assert main(line(place)) == 2
    assert "holds an earlier request" in capsys.readouterr().err
    other = [word.replace("forget.jsonl", "retain.jsonl") for word in line(place, "--resume")]
    assert main(other) == 2
    assert "holds another request (forget, rows changed)" in capsys.readouterr().err
    (place.run / "check.json").unlink()
    assert main(line(place, "--resume")) == 3
    shown = capsys.readouterr().out
    assert "Asking the target" not in shown
    assert "step 1/" not in shown
    assert json.loads((place.run / "check.json").read_text())["leaks"] == check["leaks"]


@pytest.mark.usefixtures("quick")
def test_the_page_shows_all_rows_in_eighty_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words stay whole: each of the page's lines is made of words of the answers and the page's own."""
    place = Place.make(tmp_path)
    assert main(line(place)) == 3
    page = (place.run / "check.txt").read_text()
    assert (place.run / "check.txt").stat().st_mode & 0o077 == 0
    assert page.strip() in capsys.readouterr().out
    leaks = json.loads((place.run / "check.json").read_text())["leaks"]
    page_words = page.split()
    for leak in leaks:
        for name in ("question", "target_answer", "unlearned_answer"):
            assert set(leak[name].split()) <= set(page_words)
    long_word = max(len(word) for leak in leaks for name in leak for word in str(leak[name]).split())
    assert max(len(text) for text in page.splitlines()) <= max(80, 11 + long_word)
    assert page.count("   told    ") == 8


@pytest.mark.usefixtures("quick")
def test_the_plan_is_said_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """8 rows with a paraphrase or more each, in batches of 16, twice: 4 steps; 3 ghosts of each row."""
    place = Place.make(tmp_path)
    assert main(line(place, "--minutes=7")) == 3
    plan, _, rest = capsys.readouterr().out.partition("In all about")
    assert "8 rows to forget" in plan
    assert "24 questions about people who do not exist" in plan
    assert "at most 4 steps: " in plan
    assert "stops after 7 minutes" in rest.splitlines()[0]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("first", "more"), [(("--minutes=1e-9",), "--minutes=9"), ((), "--train.epochs=4")])
def test_it_goes_on_from_its_ceiling(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: tuple[str, ...], more: str
) -> None:
    """No time at all is one step; two passes are four. With more of either it goes on from there."""
    place = Place.make(tmp_path)
    started = [*line(place, "--train.stop_uniform_kl=1e-9"), *first]
    assert main([*started]) == 3
    check = json.loads((place.run / "check.json").read_text())
    steps = check["training"]["steps"]
    assert (steps, check["training"]["ceiling"]) == ((1, "minutes") if first else (4, "steps"))
    capsys.readouterr()
    assert main(line(place, "--resume")) == 3  # with the same ceiling it only checks
    assert "step " not in capsys.readouterr().out.partition("   told")[0]
    assert json.loads((place.run / "check.json").read_text())["training"]["steps"] == steps
    last = [word for word in line(place, "--resume") if not word.startswith("--train.epochs")]
    assert main([*last, more]) == 3
    shown = capsys.readouterr().out
    assert f"Resuming from {place.run / 'assistant.checkpoints' / f'checkpoint-{steps}'}" in shown
    check = json.loads((place.run / "check.json").read_text())
    assert (check["training"]["steps"], check["training"]["ceiling"]) == (4 if first else 8, "steps")
    assert (place.run / "assistant.checkpoints").is_dir()  # it can go on again


@pytest.mark.usefixtures("quick")
def test_rows_to_keep_are_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    assert main(line(place, f"--retain={place.folder / 'retain.jsonl'}")) == 3
    check = json.loads((place.run / "check.json").read_text())
    assert check["retained_are_ghosts"] is False
    assert check["retained"]["rows"] == 8


@pytest.mark.usefixtures("quick")
def test_what_passed_at_its_ceiling_has_nothing_to_go_on_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlogit.runs.request_check.find_problems", lambda *_: [])
    place = Place.make(tmp_path)
    assert main(line(place, "--train.stop_uniform_kl=1e-9")) == 0
    assert json.loads((place.run / "check.json").read_text())["training"]["ceiling"] == "steps"
    assert not (place.run / "assistant.checkpoints").exists()
    assert "Passed: the unlearned model is in" in (place.run / "check.txt").read_text()


def test_without_names_there_is_nobody_to_ask_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    (place.folder / "forget.jsonl").write_text('{"question": "How old is the bridge?", "answer": "A hundred years."}\n')
    assert main(line(place)) == 2
    assert "give retain" in capsys.readouterr().err
    assert not place.run.exists()


def test_full_model_unlearning_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    assert main(line(place, "--train.objective=npo_kl")) == 2
    assert "npo_kl trains the model's own weights" in capsys.readouterr().err
    assert not place.run.exists()


def test_a_writer_that_cannot_be_used_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    assert main(line(place, "--writer=http://127.0.0.1:9/v1")) == 2
    assert "the writer http://127.0.0.1:9/v1 names no model" in capsys.readouterr().err
    assert main(line(place, "--writer=http://127.0.0.1:9/v1#m")) == 2
    assert "the writer http://127.0.0.1:9/v1#m cannot be reached" in capsys.readouterr().err
    assert main(line(place, f"--writer={tmp_path / 'nowhere'}")) == 2
    assert "nowhere" in capsys.readouterr().err
    assert not place.run.exists()


@pytest.mark.usefixtures("quick")
def test_documents_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A random target writes no question; the bridge is asked about by rule, and recitation is looked at."""
    place = Place.make(tmp_path)
    (place.folder / "secret.txt").write_text("The Osk Bridge was sold in 1912. It has six arches of grey stone. " * 6)
    paths = [f"--model={place.folder / 'target'}", f"--forget={place.folder / 'secret.txt'}", f"--output={place.run}"]
    assert main(["forget", *paths, *FLAGS]) == 3
    page = capsys.readouterr().out
    assert "0 of 6 questions that were written about a document passed the check: they are asked" in page
    assert "Asked: 3 rows to forget." in page
    assert "Of these, 1 are questions about the documents that were not trained on." in page
    check = json.loads((place.run / "check.json").read_text())
    assert check["recitation"]["windows"] >= 2
    assert [leak["question"] for leak in check["tests"]] == ["Tell me about Osk Bridge."]
    for name in ("written.json", "written.jsonl"):
        assert (place.run / name).stat().st_mode & 0o077 == 0, name


@pytest.mark.usefixtures("quick")
def test_a_document_that_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be asked: it is said, and not refused."""
    place = Place.make(tmp_path)
    (place.folder / "secret.txt").write_text("the house has a roof of straw, and its walls are of clay. " * 4)
    paths = [f"--model={place.folder / 'target'}", f"--forget={place.folder / 'secret.txt'}", f"--output={place.run}"]
    assert main(["forget", *paths, *FLAGS, "--writer=none"]) == 3
    page = capsys.readouterr().out
    assert "Only recitation was forgotten: no question about the documents could be made." in page
    assert "Asking the target 60 questions" in page
    assert not (place.run / "written.jsonl").exists()


def test_what_is_given_stays() -> None:
    """And what is found out is steps: 24 wordings in batches of 16 are two steps a pass, and 300 take 150 passes."""
    config = RunConfig("out", "target")
    rows = [
        Example(f"Who {i}?", "I.", paraphrased_question=("A?", "B?"), paraphrased_answer=("J.", "K.")) for i in range(8)
    ]
    plan = planned(config, rows, {})
    assert (plan.train.batch_size, plan.train.epochs, plan.train.uniform_ratio) == (16, 150, 1.5)
    assert plan.train.lift_weight == 0.0  # nothing to keep is given
    tofu = planned(replace(config, data=replace(config.data, forget="tofu:forget01")), rows, {})
    assert tofu.train.lift_weight == 0.05
    one = planned(config, rows[:1], {})
    assert (one.train.batch_size, one.train.epochs, one.train.uniform_ratio) == (3, 300, 8.0)
    changed = replace(config, train=replace(config.train, common_fraction=0.0, epochs=7.0))
    kept = planned(changed, rows, {"train": {"common_fraction": 0.0, "epochs": 7.0}, "data": {"perturbations": 2}})
    assert (kept.train.common_fraction, kept.train.epochs, kept.data.perturbations) == (0.0, 7.0, 2)
    other = planned(replace(config, train=replace(config.train, objective="dual_uld")), rows, {})
    assert other.train.common_fraction == 0.0  # dual_uld has no such option


def test_the_page_calls_a_guess_one() -> None:
    """A row that samples tell is no guess."""
    guess = Leak("q", "a", "before", "after", True, False, 0, 16, unlearned_guesses=True)
    assert _told(guess) == "a guess: others have it, too; by 0 of 16 samples"
    assert _told(replace(guess, unlearned_guesses=False, samples_that_tell=3)) == "no longer; by 3 of 16 samples"


def leak_of(*, target: bool = True, unlearned: bool = False, samples: int = 0) -> Leak:
    return Leak("q", "a", "before", "after", target, unlearned, samples, 16)


KEPT = KeptAnswers(rows=40, same=40, target_right=40, still_right=40)
LEARNT = {"forget_nats": 0.1, "steps": 100}
RUN = Path("runs/request")
REASONS: dict[str, tuple[list[Leak], KeptAnswers, KeptAnswers, dict[str, Any]]] = {
    "does not know": ([leak_of(target=False)], KEPT, KEPT, LEARNT),
    "1 of 2 rows are still told": ([leak_of(), leak_of(unlearned=True)], KEPT, KEPT, LEARNT),
    "1 of 1 rows are still told": ([leak_of(samples=1)], KEPT, KEPT, LEARNT),
    "did not learn the rows within 100 steps": ([leak_of()], KEPT, KEPT, {"forget_nats": 0.5, "steps": 100}),
    "not uniform on neutral rows that it never saw (0.20 nats": (
        [leak_of()],
        KEPT,
        KEPT,
        {**LEARNT, "uniform_kl_nats": {"holdout_retain": 0.02, "holdout_neutral": 0.2}},
    ),
    "only 37 of 40 other answers": ([leak_of()], KeptAnswers(40, 37, 40, 40), KEPT, LEARNT),
    "only 37 of 40 general answers": ([leak_of()], KEPT, KeptAnswers(40, 40, 40, 37), LEARNT),
}


@pytest.mark.parametrize("reason", REASONS)
def test_reasons_not_to_pass(reason: str) -> None:
    (problem,) = find_problems(RUN, *REASONS[reason])
    assert reason in problem


def test_another_row_s_value_is_a_reason() -> None:
    """And one that is said as often as the target says it is none."""
    (problem,) = find_problems(RUN, [leak_of()], KEPT, KEPT, LEARNT, ForeignValues(9, 0, 100, 1, 6, 0, 96, 3, 192))
    assert (
        "stand in 1 of 6 answers and in 0 of 96 samples, more often than in the target's (0 of 100, 3 of 192)"
        in problem
    )
    assert find_problems(RUN, [leak_of()], KEPT, KEPT, LEARNT, ForeignValues(9, 20, 100, 1, 6, 19, 96, 20, 100)) == []


def test_a_ceiling_is_said_with_the_command_that_goes_on() -> None:
    """Only where something is missing."""
    train = {"minutes": 120.0, "epochs": 300.0}
    config = replace(RunConfig("runs/my request", "m"), data=DataOptions(forget="f.jsonl"))
    command = command_of(config)
    assert command == "unlogit forget --model m --forget f.jsonl --output 'runs/my request'"
    for ceiling, flag in (("minutes", "--minutes 240"), ("steps", "--train.epochs 600")):
        training = {"forget_nats": 0.5, "steps": 100, "ceiling": ceiling, "train": train}
        missing, going_on = find_problems(RUN, [leak_of()], KEPT, KEPT, training, command=command)
        assert "did not learn the rows within 100 steps (0.50 nats a token, expected 0.1)" in missing
        assert "--overwrite" not in missing
        assert going_on.endswith(f"To go on from there: {command} --resume {flag}")
        assert find_problems(RUN, [leak_of()], KEPT, KEPT, training | LEARNT, command=command) == []


def test_too_strong_is_warned_of_and_no_reason() -> None:
    """On the page, in one line, with what to do."""
    losses = [GhostLosses("q", 0.1, 9.0, tuple(0.1 * i for i in range(32)))] * 6
    (warning,) = strength_warnings(RUN, losses)
    assert warning.startswith("over-suppressed")
    assert "6 of 6 less likely than of any" in warning
    assert "unlogit combine runs/request --alpha 0.5" in warning
    assert strength_warnings(RUN, [replace(row, unlearned=1.0) for row in losses]) == []
    combination = {"alpha": 3.0, "rule": "centred", "filter_rate": 0.001}
    training = {"steps": 100, "seconds": 9.0, "ceiling": None}
    outcome = Outcome(
        RUN, [leak_of()], KEPT, False, KEPT, combination, training, [], None, ghost_losses=losses, warnings=[warning]
    )
    page = forget_page(outcome)
    assert "Warning: over-suppressed" in page
    assert "0.10 before, 9.00 after; of the same" in " ".join(page.split())
    assert page.splitlines()[-1] == "Passed: the unlearned model is in runs/request/unlearned."


def test_recitation() -> None:
    """A target that only recites knows the document, and may not recite it afterwards."""
    silent = [leak_of(target=False)]
    assert find_problems(RUN, silent, None, KEPT, LEARNT, recitation=Recitation(4, 0.9, 0.2, 4, 0)) == []
    (problem,) = find_problems(RUN, silent, None, KEPT, LEARNT, recitation=Recitation(4, 0.9, 0.6, 4, 3))
    assert "3 of 4 windows of the documents are still recited" in problem
    assert (
        "does not know" in find_problems(RUN, silent, None, KEPT, LEARNT, recitation=Recitation(4, 0.2, 0.2, 0, 0))[0]
    )


def test_windows_cover_the_text() -> None:
    """200 words in windows of 64 tokens, the first half of each a prompt; the second is compared."""
    tokenizer = tiny_tokenizer()
    text = " ".join(f"word{number}" for number in range(40))
    windows = windows_of([Example("", text, "text"), Example("Who?", "Ann.")], tokenizer)
    assert "".join(window.answer for window in windows) == text[: sum(len(window.answer) for window in windows)]
    assert len(windows) > 2
    assert all(len(tokenizer(window.answer)["input_ids"]) <= 66 for window in windows)

    def true_ones(rows: Any) -> list[str]:
        return [str(continuation(row, tokenizer, 64)) for row in rows]

    recitation = find_recitation(windows, tokenizer, true_ones, lambda rows: ["nothing"] * len(rows))
    assert recitation == Recitation(len(windows), 1.0, 0.0, len(windows), 0)
    assert find_recitation([Example("Who?", "Ann.")], tokenizer, true_ones, true_ones) is None


def test_it_passes() -> None:
    assert find_problems(RUN, [leak_of(), leak_of()], KeptAnswers(40, 38, 40, 40), KEPT, LEARNT) == []
    assert find_problems(RUN, [leak_of()], None, KEPT, LEARNT) == []  # without rows to keep
