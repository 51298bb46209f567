"""The command line: help that imports nothing heavy, one definition for flags and YAML, and what ends a command."""

import errno
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from unlogit.cli.main import COMMANDS, main, parse
from unlogit.compare.comparison import read_comparison
from unlogit.errors import ConfigError
from unlogit.runs.folder import RunFolder
from unlogit.settings.config_file import SECTIONS, build_config, differences, read_config, updated, write_config
from unlogit.settings.options import AssistantOptions, PickOptions, RunConfig, TrainOptions

HEAVY = ("torch", "transformers", "datasets", "numpy", "scipy", "peft", "rich")


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name.ljust(8)}  {summary}\n" in shown


def test_no_help_imports_anything_heavy() -> None:
    """One process asks for all of them; what it has imported then is what each would have to wait for."""
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "import sys; from unlogit.cli.main import main\n"
        f"codes = [main(line) for line in {lines!r}]\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'{codes} {heavy}' if any(codes) or heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_each_help_can_be_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    examples = [line.strip() for line in shown.partition("\nexamples:\n")[2].splitlines()]
    assert len(examples) in (2, 3, 4, 5)
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "unlogit"
        module, _ = parse(words)
        assert module is import_module(f"unlogit.cli.commands.{name}")


def test_every_setting_has_its_flag_and_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--help"])
    shown = capsys.readouterr().out
    for section, options in SECTIONS.items():
        for field in fields(options):
            assert f"--{section}.{field.name}" in shown
    assert "Share of the uniform side that is neutral." in shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from unlogit import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unlogit {__version__}\n"


def test_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "unlogit", "trian"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("unlogit: error: unknown command 'trian' (did you mean 'train'?)")


def test_flags_give_typed_values_and_nothing_that_was_not_given() -> None:
    _, given = parse(["train", "RUN", "--rank", "8", "--learning_rate", "1e-3", "--epochs", "null"])
    assert given == {"run": "RUN", "rank": 8, "learning_rate": 0.001, "epochs": None}
    _, given = parse(["evaluate", "RUN", "--pick.enabled", "true", "--pick.alphas", "[1, 2]"])
    assert given == {"run": "RUN", "pick.enabled": True, "pick.alphas": (1.0, 2.0)}


CHANGED = RunConfig(
    output="out",
    target="a: target",
    assistant=AssistantOptions(num_layers=3, adapter="full"),
    train=TrainOptions(learning_rate=1e-5, epochs=None),
    pick=PickOptions(enabled=True, alphas=(0.5,), rules=("suppress",)),
)


def test_a_list_needs_no_brackets() -> None:
    for words in (["--alphas", "0.5,0.7"], ["--alphas=0.5,0.7"], ["--alphas", "[0.5, 0.7]"], ["--alphas=[0.5,0.7]"]):
        assert parse(["sweep", "R", *words])[1]["alphas"] == (0.5, 0.7)
    assert parse(["sweep", "R", "--rules", "centred"])[1]["rules"] == ("centred",)
    assert parse(["evaluate", "R", "--pick.alphas", "1"])[1]["pick.alphas"] == (1.0,)


def test_a_config_comes_back_from_its_file(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", CHANGED)
    assert read_config(tmp_path / "config.yaml") == CHANGED


def test_yaml_may_write_numbers_as_people_do(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-3 as text; a field that is a number makes a number of it."""
    file = tmp_path / "c.yaml"
    file.write_text("output: a\ntarget: b\ntrain:\n  learning_rate: 1e-3\n  epochs: 3\npick:\n  alphas: [1, 2]\n")
    config = read_config(file)
    assert config.train.learning_rate == 0.001
    assert config.train.epochs == 3
    assert config.pick.alphas == (1.0, 2.0)


def test_every_config_that_is_shipped_can_be_read() -> None:
    files = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    assert files
    for file in files:
        compares = file.stem.startswith("compare_")
        assert (read_comparison(file).base if compares else read_config(file)).output


def test_later_settings_go_before_earlier() -> None:
    config = build_config({"output": "a", "target": "b", "train": {"seed": 1, "epochs": 2.0}}, {"train": {"seed": 3}})
    assert (config.train.seed, config.train.epochs) == (3, 2.0)
    assert updated(config, {"target": "c"}).target == "c"


def test_differences_are_said() -> None:
    other = replace(CHANGED, target="b", train=replace(CHANGED.train, seed=7))
    assert differences(CHANGED, other, ("target", "data", "train")) == ["target 'a: target' → 'b'", "train.seed 0 → 7"]
    assert differences(CHANGED, other, ("data",)) == []


def test_going_on_with_other_settings_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_config(CHANGED)
    folder.check_unchanged(replace(CHANGED, target="b"), "assistant")
    with pytest.raises(ConfigError, match=r"assistant\.rank 32 → 8"):
        folder.check_unchanged(replace(CHANGED, assistant=replace(CHANGED.assistant, rank=8)), "assistant")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["train"], "missing: RUN;"),
        (["train", "a", "b"], "'b' is one word too many"),
        (["train", "a", "--rank"], "--rank has no value"),
        (["train", "a", "--ran", "3"], "--ran is unknown (did you mean '--rank'?)"),
        (["train", "a", "--learning-rate=3"], "--learning-rate is unknown (did you mean '--learning_rate'?)"),
        (["train", "a", "--rank", "big"], "--rank is 'big'; expected a whole number"),
        (["train", "a", "--epochs", "x"], "--epochs is 'x'; expected a number or null"),
        (["train", "a", "--adapter", "lor"], "--adapter is 'lor'; expected one of lora, full (did you mean 'lora'?)"),
        (["evaluate", "a", "--pick.alpha", "1"], "--pick.alpha is unknown (did you mean '--pick.alphas'?)"),
        (["evaluate", "a", "--pick", "{alphs: [1]}"], "--pick.alphs is unknown (did you mean 'alphas'?)"),
        (["evaluate", "a", "--pick.enabled", "maybe"], "expected true or false"),
        (["finetune", "--data", "x"], "missing: --model, --output;"),
        (["prepare", "--output", "x"], "target missing"),
        (["nothing"], "unknown command 'nothing'"),
    ],
)
def test_wrong_command_lines(line: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.startswith("unlogit: error: ")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def ending(error: BaseException, monkeypatch: pytest.MonkeyPatch, line: list[str]) -> int:
    """Run a command that ends with this error."""

    def run(given: dict[str, Any]) -> None:
        raise error

    monkeypatch.setattr(import_module(f"unlogit.cli.commands.{line[0]}"), "run", run)
    return main(line)


@pytest.mark.parametrize(
    ("line", "go_on"),
    [
        (["train", "my run", "--overwrite"], "unlogit train 'my run' --resume"),
        (["run", "c.yaml", "--resume"], "unlogit run c.yaml --resume"),
        (["evaluate", "r"], "unlogit evaluate r"),
    ],
)
def test_interrupted(
    line: list[str], go_on: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(KeyboardInterrupt(), monkeypatch, line) == 130
    assert capsys.readouterr().err == f"unlogit: interrupted; nothing is half-written; to go on: {go_on}\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "no space for /a/b"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "the disk is full"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 251776"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "/a/b"), "/a/b cannot be used (Permission denied)"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory ran out"),
    ],
)
def test_trouble_with_the_machine(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error, monkeypatch, ["train", "r"]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


def test_our_own_defects_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError(), monkeypatch, ["train", "r"])
