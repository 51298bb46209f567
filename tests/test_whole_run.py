"""The whole way of a run by one command, and going on with one that was cut off."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from support.tiny_run import Place
from unlogit.cli.main import main
from unlogit.runs.results import RunResults
from unlogit.settings.config_file import read_config

SHORT = "--max_new_tokens=6"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Target and rows."""
    return Place.make(tmp_path_factory.mktemp("whole"))


CONFIG = """
output: {run}
target: {folder}/target
data:
  forget: {folder}/forget.jsonl
  retain: {folder}/retain.jsonl
  neutral: none
  evaluation_rows: 6
  paraphrases: 0
assistant: {{num_layers: 0.5, rank: 4}}
train: {{batch_size: 4, epochs: 2, dtype: float32, save_steps: 1, logging_steps: 1}}
evaluate: {{max_new_tokens: 4, max_rows: 4}}
"""


def test_run_goes_the_whole_way_and_skips_what_is_done(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "c.yaml", tmp_path / "run"
    config.write_text(CONFIG.format(run=run, folder=place.folder))
    line = ["run", str(config)]
    assert main([*line, "--train.seed=3"]) == 0
    first = (run / "assistant/assistant.safetensors").read_bytes()
    assert read_config(run / "config.yaml").train.seed == 3
    assert len(RunResults.read(run / "results.json").models["target"].splits["forget"].rows) == 4
    capsys.readouterr()
    assert main(line) == 2
    assert "give --overwrite" in capsys.readouterr().err
    assert main([*line, "--resume"]) == 2
    assert "train.seed 3 → 0" in capsys.readouterr().err
    assert main([*line, "--train.seed=3", "--resume"]) == 0
    assert capsys.readouterr().out.count(" already.\n") == 3
    assert main([*line, "--train.seed=3", "--resume", "--combination.alpha=0.0"]) == 0
    assert capsys.readouterr().out.count(" already.\n") == 2
    models = RunResults.read(run / "results.json").models
    target, unlearned = (models[name].splits["forget"].metrics["probability"].value for name in ("target", "unlearned"))
    assert target == unlearned
    assert (run / "assistant/assistant.safetensors").read_bytes() == first
    assert main([*line, "--train.seed=4", "--overwrite"]) == 0
    assert (run / "assistant/assistant.safetensors").read_bytes() != first


def test_cut_off_before_the_first_checkpoint_no_old_assistant_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was measured of the old one goes with it; --resume trains, with the new settings."""
    other = Place.make(tmp_path)
    assert other.prepare() == 0
    assert other.train() == 0
    assert main(["evaluate", str(other.run), SHORT, "--max_rows=2"]) == 0
    old = adapter(other)

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("unlogit.training.loop.FitTrainer.train", cut)
        assert other.train("--overwrite", "--seed=5") == 130
    assert read_config(other.run / "config.yaml").train.seed == 5
    gone = ("assistant", "unlearned", "results.json", ".earlier")
    assert [name for name in gone if (other.run / name).exists()] == []
    capsys.readouterr()
    assert main(["train", str(other.run), "--resume"]) == 0
    assert "trained already" not in capsys.readouterr().out
    assert not torch.equal(adapter(other)["gain"], old["gain"])


def test_an_assistant_of_other_rows_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a trained one nor one in training; the settings of both preparations are the same."""
    other = Place.make(tmp_path)
    assert other.prepare() == 0
    assert other.train() == 0
    assert other.train("--resume") == 0
    record = other.run / "training_settings.json"
    was = json.loads(record.read_text())
    record.write_text(json.dumps(was | {"train": {k: v for k, v in was["train"].items() if k != "near_fraction"}}))
    assert other.train("--resume") == 0  # of a version that had no such option: it was as it is by default
    assert other.train("--resume", "--common_fraction=0.1") == 2
    rows = (tmp_path / "retain.jsonl").read_text().splitlines()
    (tmp_path / "retain.jsonl").write_text("\n".join(rows[:-1]) + "\n")
    assert other.prepare("--overwrite") == 0
    capsys.readouterr()
    assert main(["evaluate", str(other.run)]) == 2
    assert "have changed since" in capsys.readouterr().err
    for folder in ("assistant", "assistant.checkpoints/checkpoint-1"):
        (other.run / folder).mkdir(parents=True, exist_ok=True)
        assert other.train("--resume") == 2
        shown = capsys.readouterr().err
        assert "(the rows of data/ have changed since); expected the same" in shown
        assert other.train("--resume", "--rank=8") == 2
        assert "(assistant.rank 4 → 8; the rows of data/ have changed since)" in capsys.readouterr().err
        shutil.rmtree(other.run / "assistant", ignore_errors=True)
    assert other.train("--overwrite") == 0


def test_training_shorter_than_a_log_line(tmp_path: Path) -> None:
    """Four steps, and a line every ten: there is one of the last step, by which it is judged."""
    short = Place.make(tmp_path)
    assert short.prepare() == 0
    assert short.train("--logging_steps=10") == 0
    assert json.loads((short.run / "assistant" / "log.jsonl").read_text())["step"] == 4


def test_prepare_from_the_same_file(place: Place, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(run=tmp_path / "run", folder=place.folder))
    assert main(["prepare", f"--config={config}", "--evaluation_rows=4"]) == 0
    effective = read_config(tmp_path / "run" / "config.yaml")
    assert effective.data.evaluation_rows == 4
    assert effective.assistant.rank == 4
    assert main(["prepare", f"--config={config}", "--overwrite"]) == 0
    assert read_config(tmp_path / "run" / "config.yaml").data.evaluation_rows == 6


def test_finetune(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes out is an ordinary model that learnt; what was done stands beside it."""
    output = tmp_path / "tuned"
    line = ["finetune", f"--model={place.folder / 'target'}", f"--data={place.folder / 'retain.jsonl'}"]
    line += [f"--output={output}", "--epochs=4", "--batch_size=8", "--learning_rate=1e-2", "--dtype=float32"]
    assert main([*line, "--logging_steps=1"]) == 0
    losses = [float(part.split()[4]) for part in capsys.readouterr().out.splitlines() if part.startswith("step ")]
    settings = json.loads((output / "settings.json").read_text())
    assert settings["data"] == str(place.folder / "retain.jsonl")
    assert settings["learning_rate"] == 0.01
    assert json.loads((output / "finetune.json").read_text())["steps"] == 16
    assert main([*line, "--resume"]) == 0
    assert "trained already" in capsys.readouterr().out
    assert main(line) == 2
    assert len(losses) == 16
    assert losses[-1] < losses[0] - 1
    assert not (tmp_path / "tuned.checkpoints").exists()


def adapter(place: Place) -> dict[str, torch.Tensor]:
    """The weights of the trained adapter."""
    return load_file(place.run / "assistant" / "assistant.safetensors")


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_killed_and_resumed_ends_with_the_same_adapter(place: Place, tmp_path: Path, kind: str) -> None:
    """SIGKILL in the second epoch, one of its three steps saved; resumed, the adapter is the whole run's, bit for bit.

    8 rows in batches of 3 are 3 steps an epoch and 9 in all; step 4 is saved. To end so, the resumed training must
    take the second epoch's order and skip the rows of its first step.
    """
    longer = ["--epochs=3", "--batch_size=3", "--save_steps=4", f"--adapter={kind}", "--overwrite"]
    assert place.prepare("--overwrite") == 0
    assert place.train(*longer) == 0
    whole = adapter(place)
    killed = Place.make(tmp_path)
    assert killed.prepare() == 0
    code = "import sys, time\nfrom unlogit.cli.main import main\n"
    code += "from unlogit.training.loop import FitTrainer as T\n"
    code += "whole = T.compute_loss\n"
    code += "T.compute_loss = lambda self, *a, **k: (time.sleep(0.2), whole(self, *a, **k))[1]\n"
    code += "sys.exit(main(sys.argv[1:]))"
    line = [*killed.train_line, *longer]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *line], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = killed.run / "assistant.checkpoints" / "checkpoint-4" / "trainer_state.json"
    deadline = time.monotonic() + 120
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed.run / "assistant").exists()
    assert main(["train", str(killed.run), "--resume"]) == 0
    resumed = adapter(killed)
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    log = [json.loads(entry)["step"] for entry in (killed.run / "assistant/log.jsonl").read_text().splitlines()]
    assert log == list(range(1, 10))
