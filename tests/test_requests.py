"""One request after the other: branches with names on the same target, taken away or weakened by these."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import unlogit
from support.small_check import small_check
from support.tiny_models import random_assistant, tiny_target
from support.tiny_run import PEOPLE, Place, tiny_tokenizer
from unlogit.cli.main import main
from unlogit.errors import ConfigError
from unlogit.model.configuration import UnlearnedConfig
from unlogit.model.loading import load_target, load_unlearned
from unlogit.model.requests import strengths_of, unused_name, weight_of, with_strength, without_request
from unlogit.runs.earlier import keep_earlier
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import CombinationOptions

FLAGS = ["--train.epochs=2", "--train.save_steps=1", "--train.dtype=float32", "--assistant.rank=4"]
IDS = torch.tensor([[5, 9, 33, 12, 47, 21], [8, 50, 17, 60, 3, 41]])
BRANCHES: list[dict[str, Any]] = [
    {"folder": "assistant-0", "weight": 1.0, "request": "ann", "strength": 1.0, "adds": False},
    {"folder": "assistant-1", "weight": -1.5, "request": "ann", "strength": 1.0, "adds": True},
    {"folder": "assistant-2", "weight": 1.0, "request": "bo", "strength": 0.5, "adds": False},
]


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    return model(IDS).logits  # type: ignore[no-any-return]


def test_a_request_is_changed_with_all_its_branches() -> None:
    assert strengths_of(BRANCHES) == {"ann": 1.0, "bo": 0.5}
    assert [weight_of(branch) for branch in with_strength(BRANCHES, "ann", 2.0)] == [2.0, -3.0, 0.5]
    assert [branch["folder"] for branch in without_request(BRANCHES, "ann")] == ["assistant-2"]
    assert unused_name("cy", BRANCHES) == "cy"
    assert unused_name("ann", [*BRANCHES, {**BRANCHES[0], "request": "ann-2"}]) == "ann-3"


@pytest.mark.parametrize(("name", "fact"), [("anne", "did you mean 'ann'"), ("zoe", "expected one of ann, bo")])
def test_no_such_request(name: str, fact: str) -> None:
    for change in (lambda: without_request(BRANCHES, name), lambda: with_strength(BRANCHES, name, 0.5)):
        with pytest.raises(ConfigError, match=fact):
            change()


def test_the_last_request_stays() -> None:
    with pytest.raises(ConfigError, match="bo is the only request"):
        without_request(BRANCHES[2:], "bo")


def test_folders_of_before_requests_had_names() -> None:
    config = UnlearnedConfig(branches=[{"folder": "assistant", "weight": 1.0, "num_layers": 1}])
    (branch,) = config.branches
    assert (branch["request"], weight_of(branch), branch["adds"]) == ("request", 1.0, False)


def test_a_uniform_branch_changes_nothing() -> None:
    """With a gain of 0 all logits of the second are 0; at strength 0 what it says does not count either."""
    target = tiny_target()
    first, second = random_assistant(target, 2, seed=1), random_assistant(target, 3, seed=2)
    alone = logits_of(unlogit.UnlearnedForCausalLM.build(target, [first]))
    both = unlogit.UnlearnedForCausalLM.build(target, [first, second])
    assert (logits_of(both) - alone).abs().max() > 0.1
    both.config.branches = with_strength(both.config.branches, "request", 0.0)
    torch.testing.assert_close(logits_of(both), logits_of(target))
    both.config.branches = with_strength(both.config.branches, "request", 1.0)
    with torch.no_grad():
        second.gain.zero_()
    torch.testing.assert_close(logits_of(both), alone)


@pytest.fixture(scope="module")
def two_requests(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """``run`` forgets two people, ``second`` one more of those to keep, from the first run's folder."""
    place = Place.make(tmp_path_factory.mktemp("requests"))
    (place.folder / "second.jsonl").write_text("".join(json.dumps(row.to_row()) + "\n" for row in PEOPLE.retain[:4]))
    with pytest.MonkeyPatch.context() as patch:
        small_check(patch, ghosts=3, samples=2, general_rows=4, max_new_tokens=8)
        patch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 8)
        model, rows = place.folder / "target", place.folder / "forget.jsonl"
        alpha = "--combination.alpha=0.5"
        assert main(["forget", f"--model={model}", f"--forget={rows}", f"--output={place.run}", alpha, *FLAGS]) == 3
        assert main(second_line(place)) == 3
    return place


def second_line(place: Place, output: str = "second") -> list[str]:
    rows = f"--forget={place.folder / 'second.jsonl'}"
    return ["forget", f"--model={place.run}", rows, f"--output={place.folder / output}", *FLAGS]


def copied(place: Place, folder: Path) -> Path:
    """A copy of the second run."""
    return Path(shutil.copytree(place.folder / "second", folder / "second"))


def branches_of(run: Path) -> list[tuple[str, float]]:
    branches = json.loads((run / "unlearned" / "config.json").read_text())["branches"]
    return [(branch["request"], branch["strength"]) for branch in branches]


def test_the_next_request_stands_beside_the_first(two_requests: Place) -> None:
    """Each adds alpha times its own difference, at the first one's alpha; the target is the first one's."""
    second = two_requests.folder / "second"
    assert branches_of(second) == [("run", 1.0), ("second", 1.0)]
    assert f"target: {two_requests.folder / 'target'}" in (second / "config.yaml").read_text()
    target = load_target(str(two_requests.folder / "target"))
    first, both = (load_unlearned(str(run), dtype="float32") for run in (two_requests.run, second))
    assert both.combination == first.combination == CombinationOptions(alpha=0.5)
    both.filter_rate = first.filter_rate = 0.0
    own = unlogit.UnlearnedForCausalLM.build(both.target, [both.branches[1]], combination=both.combination)
    expected = logits_of(first) + logits_of(own) - logits_of(target)
    torch.testing.assert_close(logits_of(both), expected, rtol=1e-4, atol=1e-4)
    assert (logits_of(both) - logits_of(first)).abs().max() > 0.1


def test_it_is_whole_without_the_first(two_requests: Place) -> None:
    """Assistants are copied, for their owner only, and the ghosts were answered by the first run's model."""
    second = two_requests.folder / "second"
    files = sorted(path.relative_to(second) for path in second.rglob("assistant.safetensors"))
    folders = ["assistant", "earlier/assistant", "unlearned/assistant-0", "unlearned/assistant-1"]
    assert [str(path.parent) for path in files] == folders
    assert all((second / path).stat().st_mode & 0o077 == 0 for path in files)
    check = json.loads((second / "check.json").read_text())
    first = load_unlearned(str(two_requests.run), dtype="float32")
    from unlogit.runs.answers import ModelPair, answers

    questions = [leak["question"] for leak in check["leaks"]]
    pair = answers(ModelPair(first, load_unlearned(str(second), dtype="float32")), tiny_tokenizer(), questions, 64)
    shown = [(leak["question"], leak["target_answer"], leak["unlearned_answer"]) for leak in check["leaks"]]
    starts = [(question, before[:8], after[:8]) for question, before, after in pair]
    assert [(question, before[:8], after[:8]) for question, before, after in shown] == starts
    assert [(asked["name"], asked["rows"]) for asked in check["earlier"]] == [("run", 8)]
    assert "of 8 rows of run, none told again" in " ".join((second / "check.txt").read_text().split())


def test_a_cut_before_the_copy_does_not_lose_the_first(two_requests: Place, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first = two_requests.run / "unlearned"
    keep_earlier(folder, first, resume=True)
    assert (folder.earlier / "assistant" / "assistant.safetensors").is_file()
    (folder.earlier / "config.json").write_text("{}")
    keep_earlier(folder, first, resume=True)  # it may have been changed since, and was begun from as it was
    assert (folder.earlier / "config.json").read_text() == "{}"
    keep_earlier(folder, None, resume=False)
    assert not folder.earlier.exists()


def test_a_request_is_taken_away(two_requests: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is left is the first run's model, and the assistant is gone from the folder."""
    second = copied(two_requests, tmp_path)
    assert main(["combine", str(second), "--strength", "second=0.5", "--alpha", "0.5"]) == 0
    assert branches_of(second) == [("run", 1.0), ("second", 0.5)]
    assert "forgets run at strength 1, second at strength 0.5 from now on" in capsys.readouterr().out
    assert main(["combine", str(second), "--remove", "second"]) == 0
    assert branches_of(second) == [("run", 1.0)]
    assert not (second / "unlearned" / "assistant-1").exists()
    first, left = (load_unlearned(str(run), dtype="float32") for run in (two_requests.run, second))
    torch.testing.assert_close(logits_of(left), logits_of(first))
    for words in (["--remove", "run"], ["--strength", "run"], ["--strength", "run=-1"], ["--remove", "rnu"]):
        assert main(["combine", str(second), *words]) == 2
    assert branches_of(second) == [("run", 1.0)]


def test_a_third_takes_the_folder_as_it_was_left(two_requests: Place, tmp_path: Path) -> None:
    """Folders' numbers have a gap after the first was taken away, and a name that is there gets a number."""
    second = copied(two_requests, tmp_path)
    assert main(["combine", str(second), "--remove", "run"]) == 0
    model = load_unlearned(str(second / "unlearned"), dtype="float32")
    rows = [row.to_row() for row in PEOPLE.forget]
    settings: dict[str, Any] = {"train": {"epochs": 1}, "assistant": {"num_layers": 1, "rank": 4}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unlogit.runs.forget.GHOSTS", 2)
        patch.setattr("unlogit.runs.ghosts.MAX_NEW_TOKENS", 4)
        third = unlogit.forget(model, tiny_tokenizer(), forget=rows, output=tmp_path / "x" / "second", **settings)
    assert list(strengths_of(third.config.branches)) == ["second", "second-2"]
    again = load_unlearned(str(tmp_path / "x" / "second"), dtype="float32")
    assert again.combination == model.combination
    torch.testing.assert_close(logits_of(again), logits_of(third))


def test_what_an_unlearned_model_is_no_good_for(two_requests: Place, capsys: pytest.CaptureFixture[str]) -> None:
    model, rows = two_requests.run, two_requests.folder / "retain.jsonl"
    output = f"--output={two_requests.folder / 'other'}"
    for line in (
        ["finetune", f"--model={model}", f"--data={rows}", output],
        [
            "prepare",
            f"--target={model}",
            f"--forget={two_requests.folder / 'forget.jsonl'}",
            f"--retain={rows}",
            output,
        ],
    ):
        assert main(line) == 2
        error = capsys.readouterr().err
        assert "is an unlearned model" in error
        assert f"`unlogit forget --model {model}`" in error
    assert not (two_requests.folder / "other").exists()
    assert main([*second_line(two_requests, "run"), "--overwrite"]) == 2
    assert "holds the model that is to forget more" in capsys.readouterr().err
    uld_only = [
        "--common_fraction=0",
        "--lift_weight=0",
        "--uniform_ratio=1",
        "--stop_uniform_kl=0",
        "--stop_forget_nats=0",
    ]
    line = ["train", str(two_requests.folder / "second"), "--objective=npo_kl", "--overwrite", *uld_only]
    assert main(line) == 2
    assert "adds to an earlier unlearned model" in capsys.readouterr().err


def test_a_target_that_moved_is_recorded_for_the_earlier_model_too(two_requests: Place, tmp_path: Path) -> None:
    second = copied(two_requests, tmp_path)
    shutil.copytree(two_requests.folder / "target", tmp_path / "moved")
    assert main(["combine", str(second), "--target", str(tmp_path / "moved")]) == 0
    for name in ("earlier", "unlearned"):
        config = json.loads((second / name / "config.json").read_text())
        assert config["target_name"] == str(tmp_path / "moved")


def test_trained_again_it_is_still_added(two_requests: Place, tmp_path: Path) -> None:
    second = copied(two_requests, tmp_path)
    assert main(["train", str(second), "--overwrite"]) == 0
    assert branches_of(second) == [("run", 1.0), ("second", 1.0)]
