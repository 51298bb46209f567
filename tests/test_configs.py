"""Every published config has its results, measured with the settings that it holds."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from unlogit.config_file import plain, read_config
from unlogit.run_results import RunResults

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_config_has_its_results(config: Path) -> None:
    results = RunResults.read(ROOT / "results" / f"{config.stem}.json")
    assert results.config == plain(asdict(read_config(config)))
    assert {"target", "retain model", "unlearned"} <= set(results.models)
    header = config.read_text(encoding="utf-8").split("\noutput:")[0]
    for model in ("target", "unlearned", "picked"):
        splits = results.models[model].splits
        for split in ("forget", "retain"):
            values = [splits[split].metrics[name].value for name in ("probability", "rouge_l_recall")]
            assert ", ".join(f"{value:.3f}" for value in values) in header


def test_whole_blocks_are_the_same_run_but_for_its_flags() -> None:
    results = RunResults.read(ROOT / "results" / "tofu_forget10_tiny_full.json").config
    config = read_config(ROOT / "configs" / "tofu_forget10_tiny.yaml")
    wanted = replace(
        config,
        output="runs/tofu_forget10_tiny_full",
        assistant=replace(config.assistant, adapter="full"),
        train=replace(config.train, learning_rate=1e-3),
    )
    assert results == plain(asdict(wanted))
