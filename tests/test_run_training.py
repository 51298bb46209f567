"""Every kind of objective by the command line: train, evaluate, chat and resume in a run folder."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from support.tiny_run import Place, save_model
from unlogit.cli.main import main
from unlogit.runs.folder import RunFolder
from unlogit.runs.results import RunResults
from unlogit.training.trainer import LogLines

SHORT = "--max_new_tokens=4"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A prepared run and a retain model."""
    made = Place.make(tmp_path)
    save_model(made.folder / "retain_model", seed=1)
    assert made.prepare() == 0
    return made


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let training be interrupted after this step, before it is saved; steps of all branches count."""
    taken: list[int] = []

    def cut(self: LogLines, args: Any, state: Any, control: Any, **_: Any) -> None:
        taken.append(state.global_step)
        if len(taken) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(LogLines, "on_step_end", cut)


def test_full_model_unlearning(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """An ordinary model that differs from the target, whose own files stay; evaluated beside it, and asked."""
    before = (place.folder / "target" / "model.safetensors").read_bytes()
    flags = ["--objective=npo_kl", "--adapter=full", "--learning_rate=1e-2"]
    assert place.train(*flags) == 0
    assert "an ordinary one" in capsys.readouterr().out
    assert not (place.run / "assistant").exists()
    assert (place.folder / "target" / "model.safetensors").read_bytes() == before
    target, unlearned = (
        AutoModelForCausalLM.from_pretrained(f) for f in (place.folder / "target", place.run / "unlearned")
    )
    assert set(target.state_dict()) == set(unlearned.state_dict())
    assert any(not torch.equal(a, b) for a, b in zip(target.parameters(), unlearned.parameters(), strict=True))
    retain = f"--retain_model={place.folder / 'retain_model'}"
    assert main(["evaluate", str(place.run), SHORT, retain]) == 0
    shown = capsys.readouterr().out
    assert "unlearned: full-model unlearning by npo_kl" in " ".join(shown.split())
    results = RunResults.read(place.run / "results.json")
    assert list(results.models) == ["target", "retain model", "unlearned"]
    assert results.training["unlearned"]["steps"] == 4
    assert main(["evaluate", str(place.run), SHORT, "--alpha=0.5"]) == 2
    error = capsys.readouterr().err
    assert "alpha" in error
    assert "npo_kl" in error
    assert "nothing is combined" in error
    assert main(["chat", str(place.run), "--question=Who?", "--max_new_tokens=3"]) == 0
    assert main(["chat", str(place.run), "--question=Who?", "--alpha=0.5"]) == 2
    assert "nothing is combined" in capsys.readouterr().err
    assert main(["evaluate", str(place.run), SHORT, retain, "--pick.enabled=true"]) == 2
    assert place.train(*flags) == 2
    assert "give --resume" in capsys.readouterr().err
    assert place.train(*flags, "--resume") == 0
    assert "is trained already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("adapter", "types"),
    [("full", {(True, torch.float32)}), ("lora", {(True, torch.float32), (False, torch.bfloat16)})],
)
def test_only_what_trains_is_in_float32(
    place: Place, monkeypatch: pytest.MonkeyPatch, adapter: str, types: set[tuple[bool, torch.dtype]]
) -> None:
    """Whole weights are loaded in it; beside LoRA the frozen ones are in the type that is computed in."""
    seen: set[tuple[bool, torch.dtype]] = set()

    def look(_: Any, args: Any, state: Any, control: Any, model: Any = None, **__: Any) -> None:
        seen.update((parameter.requires_grad, parameter.dtype) for parameter in model.parameters())

    monkeypatch.setattr(LogLines, "on_pre_optimizer_step", look)
    flags = ["--objective=npo_kl", f"--adapter={adapter}", "--dtype=bfloat16", "--learning_rate=5e-2"]
    assert place.train(*flags) == 0
    assert seen == types
    paths = [folder / "model.safetensors" for folder in (place.folder / "target", place.run / "unlearned")]
    target, unlearned = map(load_file, paths)
    assert any(not torch.equal(weight.bfloat16(), unlearned[name].bfloat16()) for name, weight in target.items())
    assert {weight.dtype for weight in unlearned.values()} == {torch.float32}  # small deltas are not rounded away


@pytest.mark.parametrize(
    ("objective", "step", "first"), [("grad_diff", 3, 3), ("offset_npo_kl", 3, 3), ("dual_uld", 8, 2)]
)
def test_cut_off_and_resumed_ends_alike(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: str, step: int, first: int
) -> None:
    """Interrupted after the third of four steps; or with two branches, of six and two steps, after the last one of all:
    resumed, what comes out is the whole run's, bit for bit, and only what was missing was done."""
    flags = [f"--objective={objective}", "--adapter=full", "--learning_rate=1e-2"]
    whole = Place(tmp_path / "whole")
    place.folder.joinpath("whole").mkdir()
    other = Place.make(whole.folder)
    assert other.prepare(f"--target={place.folder / 'target'}") == 0
    assert other.train(*flags) == 0
    with monkeypatch.context() as patch:
        cut_at(step, patch)
        assert place.train(*flags) == 130
    assert not RunFolder(place.run).combined
    steps: list[int] = []
    monkeypatch.setattr(LogLines, "on_step_end", lambda self, a, state, c, **_: steps.append(state.global_step))
    assert place.train(*flags, "--resume") == 0
    files = sorted(path.relative_to(other.run) for path in (other.run / "unlearned").rglob("*.safetensors"))
    assert files
    for file in files:
        assert (place.run / file).read_bytes() == (other.run / file).read_bytes(), file
    assert steps == list(range(first, 3 if objective == "dual_uld" else 5))
    assert not list(place.run.glob("*.checkpoints"))


def test_the_path_of_two_branches_is_that_of_both(place: Place) -> None:
    """Measured in the passes of the second beside the first, which is done: its end is the unlearned model itself."""
    settings = place.run / "config.yaml"
    settings.write_text(settings.read_text().replace("path_rows: 0", "path_rows: 6"))
    assert place.train("--objective=dual_uld", "--epochs=2") == 0
    points = RunFolder(place.run).read_path()
    assert [point["epoch"] for point in points] == [1, 2]
    assert main(["evaluate", str(place.run), "--max_new_tokens=4", "--with_target=false", "--max_rows=6"]) == 0
    found = RunResults.read(place.run / "results.json").models["unlearned"].splits
    for split in ("forget", "retain"):
        value = found[split].metrics["probability"].value
        assert points[-1][f"{split}_probability"] == pytest.approx(value, rel=1e-4)
    parts = RunFolder(place.run).trainings(RunFolder(place.run).read_config())["unlearned"]["branches"]
    assert [part["setup_seconds"] >= 0 for part in parts] == [True, True]


def test_offset_and_second_branch_are_unlearned_models(place: Place) -> None:
    """Branches and weights as their papers have them; each loads as an ordinary transformers model."""
    assert (
        place.train("--objective=divergence", "--adapter=full", "--rule=paper", "--alpha=1.5", "--filter_rate=0") == 0
    )
    config = json.loads((place.run / "unlearned" / "config.json").read_text())
    assert [branch["weight"] for branch in config["branches"]] == [1.0, -1.0]
    summary = RunFolder(place.run).trainings(RunFolder(place.run).read_config())["unlearned"]
    parts = summary["branches"]
    assert summary["steps"] == sum(part["steps"] for part in parts)
    assert [list(part["rows_a_step"]) for part in parts] == [["forget+retain"], ["retain"]]
    assert place.train("--objective=offset_ga_kl", "--overwrite") == 0
    config = json.loads((place.run / "unlearned" / "config.json").read_text())
    assert [branch["weight"] for branch in config["branches"]] == [-1.0, 1.0]
    assert [folder.name for folder in RunFolder(place.run).adapters] == ["assistant"]
    assert AutoModelForCausalLM.from_pretrained(place.run / "unlearned").weights == [-1.0, 1.0]


def test_finetune_joins_sources_and_starts_from_nothing(tmp_path: Path) -> None:
    """Both files' rows are trained on; from scratch the weights are those of the seed, and none of the model's."""
    place = Place.make(tmp_path)
    files = [str(place.folder / f"{side}.jsonl") for side in ("forget", "retain")]
    line = [
        "finetune",
        f"--model={place.folder / 'target'}",
        "--epochs=0.01",
        "--learning_rate=1e-12",
        "--dtype=float32",
    ]
    new_flags = ["--from_scratch", "--seed=3"]  # the target itself is random, of seed 0
    for name, flags in (("joined", []), ("new", new_flags), ("again", new_flags)):
        assert main([*line, *flags, f"--output={tmp_path / name}", "--data", *files]) == 0
    assert json.loads((tmp_path / "joined" / "finetune.json").read_text())["rows"] == 8 + 32
    models = [
        AutoModelForCausalLM.from_pretrained(place.folder / name) for name in ("target", "joined", "new", "again")
    ]
    target, joined, new, again = (model.get_output_embeddings().weight for model in models)
    torch.testing.assert_close(joined, target)
    torch.testing.assert_close(new, again)
    assert (new - target).abs().mean() > 0.1
    assert json.loads((tmp_path / "new" / "settings.json").read_text())["from_scratch"] is True
