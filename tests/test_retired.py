"""Settings and results of earlier versions are read; what is gone is refused where it is asked for."""

from pathlib import Path

import pytest

from unlogit.compare.results import ComparisonResults
from unlogit.errors import ConfigError
from unlogit.evaluate.results import Results
from unlogit.settings.config_file import read_config, read_yaml, record, recorded, write_config
from unlogit.settings.options import RunConfig
from unlogit.settings.retired import REMOVED, RENAMED, SETTINGS_VERSION, up_to_date

OLD = """
output: runs/old
target: MODEL
data: {holdout_share: 0.2}
assistant: {lora_first_layer: 0}
train: {common_share: 0.03, warmup_share: 0.2, stop_flatness: 0.1, neutral_share: 0.5, near_flat: false}
pick: {validation_share: 0.3}
evaluate: {conventions: open_unlearning}
"""


def test_a_config_of_version_1(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(OLD)
    config = read_config(path)
    assert (config.train.common_fraction, config.train.warmup_ratio, config.train.neutral_fraction) == (0.03, 0.2, 0.5)
    assert (config.train.stop_uniform_kl, config.data.holdout_fraction) == (0.1, 0.2)
    assert (config.pick.validation_fraction, config.evaluate.protocol) == (0.3, "open_unlearning")
    write_config(path, config)
    assert f"version: {SETTINGS_VERSION}" in path.read_text()
    assert "share" not in path.read_text()
    assert read_config(path) == config


def test_an_option_that_is_gone_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    """Off it is passed over; recorded it says how something was made, and is passed over, too."""
    path = tmp_path / "mine.yaml"
    path.write_text(OLD.replace("near_flat: false", "near_flat: true"))
    with pytest.raises(ConfigError, match=r"train\.near_flat is True.*remove it"):
        read_yaml(path)
    assert read_config(path).train.common_fraction == 0.03
    assert recorded({"output": "x", "target": "y", "train": {"flat_share": 0.5}}) == RunConfig("x", "y")


def test_every_key_of_the_tables_is_brought_up_to_date() -> None:
    old: dict[str, dict[str, object]] = {}
    for (section, key), value in REMOVED.items():
        old.setdefault(section, {})[key] = value
    for section, key in RENAMED:
        old.setdefault(section, {})[key] = getattr(getattr(RunConfig("", ""), section), RENAMED[section, key])
    assert recorded(old) == RunConfig("", "")
    assert recorded(record(RunConfig("", ""))) == RunConfig("", "")


def test_settings_of_a_later_version_are_refused() -> None:
    with pytest.raises(ConfigError, match="version is 99"):
        up_to_date({"version": 99}, "here")


def test_results_of_version_1() -> None:
    assert Results("m", {}, config={"evaluate": {"conventions": "open_unlearning"}}).protocol == "open_unlearning"
    folder = Path(__file__).resolve().parents[1] / "results"
    for path in folder.glob("compare_*.json"):
        assert not any("flatness" in name for row in ComparisonResults.read(path).rows for name in row.figures)


def test_a_comparison_of_version_1(tmp_path: Path) -> None:
    text = '{"format": "unlogit compare 1", "rows": [{"name": "a", "seed": 0, "combination": null, "picked": false,'
    text += ' "figures": {"flatness.retain": 0.5}, "costs": {}, "path": []}], "about": {}}'
    path = tmp_path / "compare.json"
    path.write_text(text)
    assert ComparisonResults.read(path).rows[0].figures == {"uniform_kl.retain": 0.5}
