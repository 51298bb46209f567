"""Every published config has its results, measured with the settings that it holds; others say that they have none."""

from dataclasses import replace
from pathlib import Path

import pytest

from unlogit.compare.comparison import METHOD_KEYS, read_comparison
from unlogit.compare.results import ComparisonResults
from unlogit.report.compare_table import comparison_markdown
from unlogit.runs.results import RunResults
from unlogit.settings.config_file import read_config, recorded

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
NOT_MEASURED = "Not measured yet."


def header_of(config: Path) -> str:
    return config.read_text(encoding="utf-8").split("\noutput:")[0]


def measured(prefix: str) -> list[Path]:
    """Configs whose name begins so, or with none of the prefixes where it is empty, that are said to be measured."""
    own = [path for path in CONFIGS if path.stem.startswith("compare_") == (prefix == "compare_")]
    return [path for path in own if NOT_MEASURED not in header_of(path)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_what_is_not_measured_says_so(config: Path) -> None:
    assert (NOT_MEASURED in header_of(config)) != (ROOT / "results" / f"{config.stem}.json").exists()


@pytest.mark.parametrize("config", measured(""), ids=lambda path: path.stem)
def test_config_has_its_results(config: Path) -> None:
    results = RunResults.read(ROOT / "results" / f"{config.stem}.json")
    assert recorded(results.config) == read_config(config)
    assert {"target", "retain model", "unlearned"} <= set(results.models)
    text = "perplexity" in results.models["target"].splits["forget"].metrics
    names = ("verbatim_completion", "perplexity") if text else ("probability", "rouge_l_recall")
    for model in ("target", "unlearned", *(() if text else ("picked",))):
        splits = results.models[model].splits
        for split in ("forget", "retain"):
            values = [splits[split].metrics[name].value for name in names]
            assert ", ".join(f"{value:.3f}" for value in values) in header_of(config)


@pytest.mark.parametrize("config", measured("compare_"), ids=lambda path: path.stem)
def test_comparison_has_its_results(config: Path) -> None:
    """Every method with every seed; the table in the file of its name is what the results give."""
    comparison = read_comparison(config)
    found = ComparisonResults.read(ROOT / "results" / f"{config.stem}.json")
    assert recorded(found.about["config"]) == comparison.base
    for method in comparison.methods:
        own = found.about["methods"][method.name]
        assert own["seeds"] == list(method.seeds)
        sections = {name: own[name] for name in METHOD_KEYS}
        assert recorded({**found.about["config"], **sections}) == method.config
    wanted = {(method.name, seed) for method, seed, _ in comparison.runs()}
    assert {(row.name, row.seed) for row in found.rows if row.seed is not None} == wanted
    table = (ROOT / "results" / f"{config.stem}.md").read_text(encoding="utf-8")
    assert table == f"{comparison_markdown(found)}\n"


def test_whole_blocks_are_the_same_run_but_for_its_flags() -> None:
    results = RunResults.read(ROOT / "results" / "tofu_forget10_tiny_full.json").config
    config = read_config(ROOT / "configs" / "tofu_forget10_tiny.yaml")
    wanted = replace(
        config,
        output="runs/tofu_forget10_tiny_full",
        assistant=replace(config.assistant, adapter="full"),
        train=replace(config.train, learning_rate=1e-3),
    )
    assert recorded(results) == wanted
