"""The plan of a request in words, and lines of progress where there is no bar."""

import logging
from dataclasses import replace

import pytest

from support.tiny_run import PEOPLE, save_model
from unlogit import terminal
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.runs.estimate import Costs, Phases, measure_costs, plan_text
from unlogit.runs.plan import planned
from unlogit.settings.options import RunConfig
from unlogit.terminal import duration, scoring_bar

PHASES = Phases(
    rows=6,
    ghosts=192,
    ghost_batches=12,
    ghost_tokens=50,
    steps=300,
    target_tokens=240,
    unlearned_tokens=600,
    strengths=3,
)


def test_the_plan_by_hand() -> None:
    """12 batches of 50 tokens at 0.1 s are a minute; 300 steps of 2 s are ten, and at most five by the ceiling; the
    check is 240 + 1.25 · 600 tokens at 0.1 s, 99 s. For each of two more strengths the unlearned model alone is asked:
    75 s."""
    text = plan_text(PHASES, Costs(step=2.0, token=0.1, unlearned_factor=1.25), minutes=120)
    assert "192 questions about people who do not exist: 60 s" in text
    assert "at most 300 steps: 10 min" in text
    assert "check  99 s" in text
    assert "In all about 13 min, or 16 min if 3 strengths have to be tried. Training stops after 120 minutes" in text
    assert "In all about 13 min. Tr" in plan_text(replace(PHASES, strengths=1), Costs(2.0, 0.1, 1.25), minutes=120)
    assert "at most 300 steps: 5 min" in plan_text(PHASES, Costs(2.0, 0.1, 1.25), minutes=5)
    assert "--minutes" not in plan_text(PHASES, Costs(2.0, 0.1, 1.25), minutes=0)
    assert "at most 300 steps\n" in plan_text(PHASES, Costs(0.0, 0.1, 1.25), minutes=0)


@pytest.mark.parametrize("objective", ["uld", "dual_uld", "offset_ga_kl"])
def test_costs_are_measured_on_the_model(objective: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A branch is a quarter of four blocks; where the loss needs reference values, no step is timed."""
    folder = save_model(tmp_path_factory.mktemp("model"))
    config = RunConfig("out", str(folder))
    config = planned(config, PEOPLE.forget, {})
    config = replace(config, train=replace(config.train, objective=objective))
    target = load_target(str(folder))
    costs = measure_costs(target, load_tokenizer(str(folder)), config, PEOPLE.forget, 4)
    assert (costs.step > 0) == (objective != "offset_ga_kl")
    assert costs.unlearned_factor == {"uld": 1.25, "dual_uld": 1.5, "offset_ga_kl": 1.25}[objective]
    assert not any(parameter.grad is not None for parameter in target.parameters())


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (119, "119 s"), (121, "3 min"), (9000, "2.5 h")])
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_lines_in_place_of_a_bar(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Ten seconds for 16 rows; the last need no line. Another list of rows is timed from its first ones on."""
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0)
    clock = iter([0.0, 10.0, 20.0, 30.0, 100.0, 130.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "unlogit"), scoring_bar("Checking") as report:
        for done, total in ((16, 64), (32, 64), (64, 64), (16, 96), (32, 96)):
            report("generate", done, total)
    assert [record.message for record in caplog.records] == [
        "Checking: 16 of 64 · 30 s left",
        "Checking: 32 of 64 · 20 s left",
        "Checking: 32 of 96 · 2 min left",
    ]
