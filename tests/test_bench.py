"""Benchmarks on a model small enough for a test: they run, count right, and their file and table say what was found."""

import json
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from time import sleep
from typing import Any

import pytest
import torch

from benchmarks import BENCHMARKS, decode, evaluation, head, prefill, product_training, step, sweep
from benchmarks.__main__ import main
from benchmarks.findings import (
    Finding,
    cells,
    compared,
    conditions,
    counted,
    markdown,
    read_findings,
    write_findings,
)
from benchmarks.models import (
    Setting,
    bytes_of,
    described,
    filled_cache,
    made_up,
    random_rows,
    random_target,
    setting_from,
    unlearned_model,
)
from benchmarks.options import BenchOptions
from benchmarks.timing import Spread, alone, interleaved, ratio
from unlogit.errors import DataError, ModelError

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 1024
SETTING = Setting(BenchOptions(layers=4, hidden=64, vocabularies=(VOCABULARY,), repetitions=2), "float32")
CPU = torch.device("cpu")


def test_spread_and_ratio_by_hand() -> None:
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
    assert Spread.of([1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(3.0, 2.0, 4.0)
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]).median == 3.0


def test_a_comparison_is_the_first_to_the_second() -> None:
    finding = compared("step", "a ÷ b", [2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert finding == Finding("step", "a ÷ b", 2.0, 1.5, 2.5, "×", seconds=4.0)
    assert counted("memory", "a", 3.0) == Finding("memory", "a", 3.0, 3.0, 3.0)


def test_a_way_that_takes_twice_as_long_is_twice_as_slow() -> None:
    """Sleeping is never shorter than asked for, and longer where the machine is busy: a wide margin is left."""
    seconds = interleaved({"slow": lambda: sleep(0.1), "quick": lambda: sleep(0.05)}, 5, CPU)
    finding = compared("sleep", "slow ÷ quick", seconds["slow"], seconds["quick"])
    assert finding.value == pytest.approx(2.0, rel=0.25)
    assert finding.seconds == pytest.approx(0.1, rel=0.25)


def test_ways_take_turns() -> None:
    order: list[str] = []
    seconds = interleaved({name: lambda name=name: order.append(name) for name in "ab"}, 3, CPU)  # type: ignore[misc]
    assert "".join(order) == "ab" + "abbaab"  # once to get warm, then three turns
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_written_and_read(tmp_path: Path) -> None:
    findings = [Finding("decode", "1 row", 1.1, 1.0, 1.2, seconds=0.05), Finding("x", "y", 2, 2, 2, "MiB")]
    path = tmp_path / "bench.json"
    write_findings(path, {"device": "a"}, {"layers": 4}, findings)
    assert read_findings(path) == ({"device": "a"}, {"layers": 4}, findings)
    assert cells(findings[0]) == ("decode", "1 row", "1.10 ×", "1.00–1.20", "0.05")
    assert cells(findings[1]) == ("x", "y", "2.00 MiB", "–", "–")
    assert markdown(findings).count("\n") == 3
    content = json.loads(path.read_text())
    content["findings"][0] |= {"limit": 1.08, "at_least": False, "best": 1.01, "holds": False}  # as once written
    path.write_text(json.dumps(content))
    assert read_findings(path)[2] == findings
    (tmp_path / "other.json").write_text('{"format": "something else"}')
    with pytest.raises(DataError, match="expected what `python -m benchmarks` wrote"):
        read_findings(tmp_path / "other.json")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench.json"
    shape = ["--layers=4", "--hidden=64", f"--vocabularies={VOCABULARY}", "--repetitions=2"]
    assert main(["decode", "prefill", *shape, f"--output={output}"]) == 0
    printed = capsys.readouterr().out
    content = json.loads(output.read_text())
    assert [row["benchmark"] for row in content["findings"]] == ["decode"] * 4 + ["prefill"] * 2
    assert all(row["low"] <= row["value"] <= row["high"] for row in content["findings"])
    setting = content["setting"]
    assert (setting["hidden"], setting["attention"], setting["cache"]) == (64, "sdpa", "DynamicCache")
    assert content["machine"]["device"] in printed
    assert "1 row, vocabulary 1024" in printed
    assert main([f"--show={output}", "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert "sdpa attention, DynamicCache on both sides, 4 blocks of width 64" in shown.splitlines()[0]
    assert "| benchmark | case |" in shown
    assert main(["--help"]) == 0
    assert "python -m benchmarks decode prefill" in capsys.readouterr().out


def test_it_runs_as_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--show", str(tmp_path / "none.json")])
    monkeypatch.delitem(sys.modules, "benchmarks.__main__")
    with pytest.raises(SystemExit) as exit_:
        runpy.run_module("benchmarks", run_name="__main__")
    shown = capsys.readouterr()
    assert (exit_.value.code, shown.out) == (2, "")
    assert shown.err.startswith("python -m benchmarks: error:")


def test_both_sides_have_the_same_attention_type_and_cache() -> None:
    target = random_target(SETTING, VOCABULARY)
    model = unlearned_model(SETTING, target)
    assert model.config._attn_implementation == target.config._attn_implementation == "sdpa"
    assert {p.dtype for p in target.parameters()} == {p.dtype for p in model.parameters()} == {torch.float32}
    caches = [filled_cache(SETTING, one, 1, 4) for one in (target, model)]
    assert [type(cache).__name__ for cache in caches] == [described(SETTING)["cache"]] * 2


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_: Setting) -> Iterator[Finding]:
        yield counted("step", "first", 2.0)
        raise ModelError("memory ran out")

    monkeypatch.setattr(step, "measure", measure)
    assert main(["step", "--layers=4", "--hidden=64", f"--output={tmp_path / 'bench.json'}"]) == 2
    assert [finding.case for finding in read_findings(tmp_path / "bench.json")[2]] == ["first"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decod"], "unknown benchmark 'decod' (did you mean 'decode'?)"),
        (["--hidden=100"], "hidden is 100; expected a multiple of 64"),
        (["--layers=0"], "layers is 0; expected 1 or more"),
        (["--vocabularies=[10]"], "vocabularies is [10]; expected sizes of 1024 or more"),
        (["--show=none.json"], "none.json holds no benchmark's results"),
    ],
)
def test_errors(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
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
    keys = cache.layers[0].keys.clone()
    run = decode.step(SETTING, model, 2, cache=cache)
    for _ in range(2):
        run()
        assert cache.get_seq_length() == 7
        assert torch.equal(cache.layers[0].keys, keys)
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
    for module in (startup, memory, step, head, sweep, evaluation, growth, compiled):
        name = module.__name__.rpartition(".")[2]
        findings = list(module.measure(larger))
        assert findings
        assert {finding.benchmark for finding in findings} == {name}
        assert all(isfinite(finding.value) for finding in findings)
    assert set(called) == set(peaks)


def test_weights_are_counted_once() -> None:
    target = random_target(SETTING, VOCABULARY)
    assert bytes_of([target]) == 4 * sum(p.numel() for p in target.parameters())  # head and embedding are one
    model = unlearned_model(SETTING, target)
    deltas = sum(p.numel() for branch in model.branches for p in branch.parameters())
    assert bytes_of([model]) == bytes_of([target]) + 4 * deltas


@pytest.mark.parametrize("objective", ["uld", "npo_kl", "released"])
def test_a_training_step_trains(objective: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds moves, by a gradient that is a number."""
    trained: list[Any] = []
    optimizer = torch.optim.AdamW.__init__

    def watched(self: Any, parameters: Any, *args: Any, **kwargs: Any) -> None:
        parameters = list(parameters)
        trained.extend(p for group in parameters for p in (group["params"] if isinstance(group, dict) else [group]))
        optimizer(self, parameters, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "__init__", watched)
    if objective == "released":
        run = step.released_step(SETTING, VOCABULARY)
    else:
        run = product_training.product_step(SETTING, objective, VOCABULARY)
    values = [p.detach().clone() for p in trained]
    run()
    assert trained
    assert all(bool(p.isfinite().all()) for p in trained)
    assert any(not torch.equal(p, value) for p, value in zip(trained, values, strict=True))


def test_padded_rows() -> None:
    rows = random_rows(SETTING, 3, VOCABULARY)
    ids, mask, labels = step.padded(rows, 100)
    assert ids.shape == mask.shape == labels.shape == (3, 100)
    assert mask.sum(1).tolist() == [len(row.input_ids) for row in rows]
    assert (labels != -100).sum(1).tolist() == [row.answer_tokens for row in rows]


def test_the_head_in_chunks_has_the_loss_of_whole_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways are given the same hidden states; what they take the gradient of is the same number."""
    losses: list[torch.Tensor] = []
    backward = torch.autograd.backward

    def watched(total: torch.Tensor) -> None:
        losses.append(total.detach())
        backward(total)

    monkeypatch.setattr(torch.autograd, "backward", watched)
    target = random_target(SETTING, VOCABULARY)
    for chunks in (True, False):
        torch.manual_seed(0)
        head.loss(SETTING, target, chunks=chunks)()
    assert losses[0] > 1
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=0)


def test_both_ways_of_evaluation_answer_every_question(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, tokenizer = made_up(2)
    model = unlearned_model(SETTING, random_target(SETTING, max(VOCABULARY, len(tokenizer))))
    answered: list[int] = []
    generate = type(model).generate

    def watched(self: Any, inputs: Any = None, **kwargs: Any) -> Any:
        ids = inputs if inputs is not None else kwargs["input_ids"]
        output = generate(self, inputs, **kwargs)
        answered.append(len(ids))
        return output

    monkeypatch.setattr(type(model), "generate", watched)
    evaluation.plain(SETTING, model, rows, tokenizer, generate=False)()
    assert answered == []
    evaluation.plain(SETTING, model, rows, tokenizer, generate=True)()
    assert answered == [1, 1]


def test_memory_in_a_process_of_its_own() -> None:
    assert setting_from(SETTING.values()) == SETTING
    assert alone("head:peak", values=SETTING.values(), vocabulary=32 * VOCABULARY, chunks=False) > 64 * 2**20
    with pytest.raises(ModelError, match="a measurement in a process of its own failed"):
        alone("nothing:peak", values=SETTING.values())  # before torch is imported


def test_committed_results_are_read() -> None:
    results = sorted((ROOT / "results").glob("bench_*.json"))
    assert results
    for path in results:
        machine, setting, findings = read_findings(path)
        assert {finding.benchmark for finding in findings} <= set(BENCHMARKS)
        assert machine["device"] in conditions(machine, setting)
