"""``forget --resume`` and ``--overwrite``: a request is never checked with another's rows, settings or strength."""

import json
import shutil
from pathlib import Path

import pytest

from support.small_check import small_check
from support.tiny_run import Place
from unlogit.cli.main import main
from unlogit.runs.combine import change_requests
from unlogit.runs.folder import RunFolder

FLAGS = ["--train.save_steps=1", "--train.dtype=float32", "--assistant.rank=4", "--train.stop_uniform_kl=1e-9"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few ghosts and few samples."""
    small_check(monkeypatch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
    monkeypatch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)


def line(place: Place, *more: str, forget: str = "forget.jsonl", epochs: int = 2) -> list[str]:
    paths = [f"--model={place.folder / 'target'}", f"--forget={place.folder / forget}", f"--output={place.run}"]
    return ["forget", *paths, *FLAGS, f"--train.epochs={epochs}", "--writer=none", *more]


def strengths(run: Path) -> dict[str, float]:
    branches = json.loads((run / "unlearned" / "config.json").read_text())["branches"]
    return {branch["request"]: branch["strength"] for branch in branches}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A request that was made."""
    made = Place.make(tmp_path)
    assert main(line(made)) == 3
    return made


def test_a_cut_after_overwrite_leaves_nothing_of_the_earlier_rows(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (place.folder / "forget.jsonl").read_text().splitlines()
    (place.folder / "two.jsonl").write_text("\n".join(rows[:2]) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr("unlogit.runs.forget.write_ghosts", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(line(place, "--overwrite", forget="two.jsonl")) == 130
    capsys.readouterr()
    assert main(line(place, "--resume", forget="two.jsonl")) == 3
    assert "Asked: 2 rows to forget" in capsys.readouterr().out
    questions = {json.loads(row)["question"] for row in rows[:2]}
    check = json.loads((place.run / "check.json").read_text())
    assert {leak["question"] for leak in check["leaks"]} == questions


@pytest.mark.parametrize("flag", ["--combination.alpha=0.3", "--assistant.rank=8", "--instead=refusal"])
def test_other_settings_are_refused(place: Place, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept_flags = [word for word in line(place, "--resume") if word.partition("=")[0] != flag.partition("=")[0]]
    assert main([*kept_flags, flag]) == 2
    assert "begun with other settings" in capsys.readouterr().err


def test_rows_to_keep_that_changed_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place.make(tmp_path)
    retain = place.folder / "retain.jsonl"
    assert main(line(place, f"--retain={retain}")) == 3
    retain.write_text("".join(retain.read_text().splitlines(keepends=True)[:-1]))
    assert main(line(place, f"--retain={retain}", "--resume")) == 2
    assert "the rows of retain" in capsys.readouterr().err


def test_a_strength_outlives_another_look_at_the_training(place: Place) -> None:
    change_requests(RunFolder(place.run), strength="run=1.4")
    assert main(["train", str(place.run), "--resume"]) == 0
    assert strengths(place.run) == {"run": 1.4}


def test_trained_on_it_is_given_its_strength_anew(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """A check of before says nothing of the assistant that was trained on."""
    change_requests(RunFolder(place.run), strength="run=1.4")
    capsys.readouterr()
    assert main(line(place, "--resume", epochs=4)) == 3
    assert "Checking at strength 1." in capsys.readouterr().out
    assert "as was set" not in (place.run / "check.txt").read_text()


def test_a_request_that_was_taken_away_is_not_checked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    second = place.folder / "b" / "run"  # its name is taken
    words = [f"--model={place.run}", f"--output={second}"]
    second_line = [*(word for word in line(place) if not word.startswith(("--model", "--output"))), *words]
    assert main(second_line) == 3
    assert list(strengths(second)) == ["run", "run-2"]
    problems = json.loads((second / "check.json").read_text())["problems"]
    assert not any("--strength run=" in problem for problem in problems)
    shutil.move(place.run, place.folder / "gone")
    assert main([*second_line, "--resume"]) == 3  # it is complete by itself
    assert main(["combine", str(second), "--remove", "run-2"]) == 0
    capsys.readouterr()
    assert main([*second_line, "--resume"]) == 2
    assert "was taken away" in capsys.readouterr().err
