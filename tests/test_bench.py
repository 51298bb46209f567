"""Benchmarks on a model small enough for a test: they run, count right, and their file and table say what was found."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import BENCHMARKS, decode, evaluation, frozen, head, prefill, step, sweep
from benchmarks.findings import (
    Finding,
    cells,
    compared,
    counted,
    markdown,
    read_findings,
    write_findings,
)
from benchmarks.models import (
    Setting,
    bytes_of,
    filled_cache,
    made_up,
    random_rows,
    random_target,
    setting_from,
    unlearned_model,
)
from benchmarks.timing import Spread, alone, interleaved, ratio

from unlogit.cli.main import main
from unlogit.errors import DataError, ModelError
from unlogit.model.assistant import Assistant
from unlogit.objectives.head import FrozenHead
from unlogit.settings.options import BenchOptions

VOCABULARY = 1024
SETTING = Setting(BenchOptions(layers=4, hidden=64, vocabularies=(VOCABULARY,), repetitions=2), "float32")
CPU = torch.device("cpu")


def test_spread_and_ratio_by_hand() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).median == 3.0


def test_a_comparison_is_the_first_to_the_second() -> None:
    found = compared("step", "a ÷ b", [2.0, 6.0, 4.0], [1.0, 2.0, 4.0], limit=2.0, best=0.5)
    assert (found.value, found.low, found.high, found.seconds) == (2.0, 1.5, 2.5, 4.0)
    assert (found.benchmark, found.case, found.limit, found.best, found.holds) == ("step", "a ÷ b", 2.0, 0.5, True)
    assert compared("step", "a", [1.0], [2.0], seconds=9.0).seconds == 9.0
    assert counted("memory", "a", 3.0, limit=2.0).holds is False


def test_ways_take_turns() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3, CPU)  # type: ignore[misc]
    assert "".join(order) == "ab" + "abbaab"  # once to get warm, then three turns
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


@pytest.mark.parametrize(("value", "at_least", "holds"), [(1.0, False, True), (3.0, False, False), (3.0, True, True)])
def test_a_limit_is_a_ceiling_or_a_floor(value: float, at_least: bool, holds: bool) -> None:
    assert Finding("b", "c", value, value, value, limit=2.0, at_least=at_least).holds is holds
    assert Finding("b", "c", value, value, value).holds is None


def test_written_and_read(tmp_path: Path) -> None:
    found = [Finding("decode", "1 row", 1.1, 1.0, 1.2, limit=1.08, best=1.01, seconds=0.05), Finding("x", "y", 2, 2, 2)]
    write_findings(tmp_path / "bench.json", {"device": "a"}, {"layers": 4}, found)
    assert read_findings(tmp_path / "bench.json") == ({"device": "a"}, {"layers": 4}, found)
    assert cells(found[0]) == ("decode", "1 row", "1.10 ×", "1.00–1.20", "≤ 1.08 ×", "no", "1.01 ×", "0.05")
    assert markdown(found).count("\n") == 3
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    with pytest.raises(DataError, match="expected what `unlogit bench` wrote"):
        read_findings(tmp_path / "other.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"
    shape = ["--layers=4", "--hidden=64", f"--vocabularies=[{VOCABULARY}]", "--repetitions=2"]
    assert main(["bench", "decode", "prefill", *shape, f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    content = json.loads(output.read_text())
    assert [row["benchmark"] for row in content["findings"]] == ["decode"] * 6 + ["prefill"] * 2
    assert all(row["value"] > 0 and row["low"] <= row["value"] <= row["high"] for row in content["findings"])
    assert content["setting"]["hidden"] == 64
    assert content["machine"]["device"] in printed
    assert "1 row, vocabulary 1024" in printed
    assert main(["bench", f"--show={output}", "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "4 blocks of width 64" in shown.splitlines()[0]
    assert "| benchmark | case |" in shown


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Setting) -> Iterator[Finding]:
        yield counted("step", "first", 2.0)
        raise ModelError("memory ran out")

    monkeypatch.setattr(step, "measure", measure)
    assert main(["bench", "step", "--layers=4", "--hidden=64", f"--output={tmp_path / 'bench.json'}"]) == 2
    assert [finding.case for finding in read_findings(tmp_path / "bench.json")[2]] == ["first"]


def test_a_step_takes_the_share_of_flat_tokens_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    whole = FrozenHead.uniform_excess

    def watched(self: FrozenHead, hidden: torch.Tensor, share: float) -> torch.Tensor:
        seen.append(share)
        return whole(self, hidden, share)

    monkeypatch.setattr(FrozenHead, "uniform_excess", watched)
    target = random_target(SETTING, VOCABULARY)
    for share in step.FLAT_SHARES:
        step.uld_step(SETTING, VOCABULARY, share, target)()
    assert tuple(seen) == step.FLAT_SHARES


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["decod"], "unknown benchmark 'decod' (did you mean 'decode'?)"),
        (["--hidden=100"], "hidden is 100; expected a multiple of 64"),
        (["--layers=0"], "layers is 0; expected 1 or more"),
        (["--vocabularies=[10]"], "vocabularies is [10]; expected sizes of 1024 or more"),
        (["--show=none.json"], "none.json holds no benchmark's results"),
    ],
)
def test_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert message in capsys.readouterr().err


def test_every_benchmark_is_there() -> None:
    from importlib import import_module

    for name in BENCHMARKS:
        assert callable(import_module(f"benchmarks.{name}").measure)


def test_a_step_leaves_the_cache_as_it_was() -> None:
    model = unlearned_model(SETTING, random_target(SETTING, VOCABULARY))
    assert model.mode == "fused"
    cache = filled_cache(SETTING, model, 2, 7)
    assert len(cache.layers) == 4 + 1
    before = cache.layers[0].keys.clone()
    run = decode.step(SETTING, model, 2, cache=cache)
    for _ in range(2):
        run()
        assert cache.get_seq_length() == 7
        assert torch.equal(cache.layers[0].keys, before)
    prefill.prompt(SETTING, model, 2, 5)()


def test_every_measurement_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, in this process and on less: each gives figures that are numbers, under its own name."""
    from benchmarks import compiled, growth, memory, startup

    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(startup, "REPETITIONS", 1)
    monkeypatch.setattr(memory, "TOKENS", 64)
    monkeypatch.setattr(head, "LARGE", 2048)
    monkeypatch.setattr(growth, "FORGET_ROWS", (8, 16))
    monkeypatch.setattr(growth, "CONTEXTS", (8,))
    monkeypatch.setattr(growth, "BRANCHES", (1, 2))
    for module in (sweep, evaluation):
        monkeypatch.setattr(module, "ROWS", 2)
    monkeypatch.setattr(evaluation, "NEW_TOKENS", 2)
    peaks = {"step:peak": step.peak, "head:peak": head.peak, "memory:logits_peak": memory.logits_peak}
    called: list[str] = []

    def here(function: str, **values: Any) -> int:
        called.append(function)
        return max(1, peaks[function](**values))

    for module in (step, head, memory):
        monkeypatch.setattr(module, "alone", here)
    larger = replace(SETTING, options=replace(SETTING.options, layers=8, vocabularies=(4096,)))
    for module in (startup, memory, step, head, frozen, sweep, evaluation, growth, compiled):
        name = module.__name__.rpartition(".")[2]
        found = list(module.measure(larger))
        assert found
        assert {finding.benchmark for finding in found} == {name}
        assert all(finding.value > 0 or finding.unit == "MiB" for finding in found)
    assert set(called) == set(peaks)


def test_a_frozen_step_starts_from_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = replace(SETTING, options=replace(SETTING.options, layers=8))
    run = frozen.frozen_step(deep, VOCABULARY, 1, tmp_path)
    monkeypatch.setattr(Assistant, "hidden", lambda *_: pytest.fail("all blocks were run"))
    run()


def test_weights_are_counted_once() -> None:
    target = random_target(SETTING, VOCABULARY)
    assert bytes_of([target]) == 4 * sum(p.numel() for p in target.parameters())  # head and embedding are one
    model = unlearned_model(SETTING, target)
    deltas = sum(p.numel() for branch in model.branches for p in branch.parameters())
    assert bytes_of([model]) == bytes_of([target]) + 4 * deltas


@pytest.mark.parametrize("make", [step.uld_step, step.npo_kl_step, step.released_step])
def test_a_training_step_trains(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds moves, by a gradient that is a number."""
    made: list[Any] = []
    optimizer = torch.optim.AdamW.__init__

    def watched(self: Any, parameters: Any, *args: Any, **kwargs: Any) -> None:
        parameters = list(parameters)
        made.extend(p for group in parameters for p in (group["params"] if isinstance(group, dict) else [group]))
        optimizer(self, parameters, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", watched)
    run = make(SETTING, VOCABULARY)
    before = [p.detach().clone() for p in made]
    run()
    assert made
    assert all(bool(p.isfinite().all()) for p in made)
    assert any(not torch.equal(p, old) for p, old in zip(made, before, strict=True))


def test_padded_rows() -> None:
    rows = random_rows(SETTING, 3, VOCABULARY)
    ids, mask, labels = step.padded(rows, 100)
    assert ids.shape == mask.shape == labels.shape == (3, 100)
    assert mask.sum(1).tolist() == [len(row.input_ids) for row in rows]
    assert (labels != -100).sum(1).tolist() == [row.answer_tokens for row in rows]


def test_least_work_is_a_sixth_where_the_head_is_small() -> None:
    """Two thirds of a quarter of the blocks; a head that is larger counts more."""
    deep = replace(SETTING, options=BenchOptions(layers=4000, hidden=64))
    assert step.least_work(deep, 1, 1.0) == pytest.approx(1 / 6, rel=1e-3)
    assert step.least_work(SETTING, 100_000, 1.0) > 0.5
    assert step.least_work(SETTING, 10**9, 0.5) == pytest.approx(2 / 3 * 0.75, rel=1e-3)  # all of it is the head


def test_other_ways_run() -> None:
    head.loss(SETTING, random_target(SETTING, VOCABULARY), chunks=True)()
    head.loss(SETTING, random_target(SETTING, VOCABULARY), chunks=False)()
    rows, tokenizer = made_up(2)
    larger = max(VOCABULARY, len(tokenizer))
    model = unlearned_model(SETTING, random_target(SETTING, larger))
    evaluation.ours(SETTING, model, rows, tokenizer, True)()
    evaluation.plain(SETTING, model, rows, tokenizer, True)()
    sweep.losses(SETTING, larger, [sweep.CombinationOptions()])()


def test_memory_in_a_process_of_its_own() -> None:
    assert setting_from(SETTING.values()) == SETTING
    assert alone("head:peak", setting=SETTING.values(), vocabulary=32 * VOCABULARY, chunks=False) > 64 * 2**20
    with pytest.raises(ModelError, match="a measurement in a process of its own failed"):
        alone("head:nothing", setting=SETTING.values())
