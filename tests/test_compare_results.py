"""A comparison's figures as file, table and plot."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unlogit.compare.results import (
    ComparisonResults,
    Row,
    costs_of,
)
from unlogit.errors import DataError
from unlogit.report.compare_table import comparison_markdown, comparison_table, number, spread
from unlogit.report.comparison_plot import FLOOR, _family, save_plots, utility_plot
from unlogit.terminal import console


def test_spread_by_hand() -> None:
    """Mean of .1 and .3 is .2, their sample standard deviation √2/10 = .141; of p-values the median and the range."""
    assert spread([0.1, 0.3], "model_utility") == "0.200±.141"
    assert spread([1e-9, 0.5, 0.25], "forget_quality") == "0.25\n1e-9–0.50"
    assert spread([10.0, 20.0], "seconds") == "15"
    assert spread([], "seconds") == "–"
    assert spread([49.0, 47.0, 50.0], "general_kept") == "49\n47–50"
    assert number(3 * 2**30, "peak_memory_bytes") == "3.0 GiB"
    assert number(11_200_000, "trainable_parameters") == "11.2 M"
    assert number(2.4e-19, "forget_quality") == "2e-19"
    assert costs_of({"steps": 4, "seconds": 10.0}) == {"seconds": 10.0, "seconds_a_step": 2.5, "steps": 4}
    assert costs_of(None) == {}


def sample() -> ComparisonResults:
    """Two methods, one of them far down, and the two above them."""
    figures = {"forget_quality": 0.3, "model_utility": 0.8, "forget_rouge_l": 0.4}
    path = ({"epoch": 1, "forget_quality": 1e-50, "model_utility": 0.9}, {"epoch": 2, **figures})
    return ComparisonResults(
        (
            Row("target", figures={"forget_quality": 1e-30, "model_utility": 0.9}),
            Row("retain model", figures={"model_utility": 0.88}),
            Row("uld", 0, {"rule": "centred", "alpha": 0.75, "filter_rate": 0.0}, figures=figures, path=path),
            Row("npo_kl", 0, figures={"forget_quality": 0.01, "model_utility": 0.5}),
        )
    )


def test_plot() -> None:
    """Labelled axes, a point a row, a quality below the floor drawn at the floor, the path as a line."""
    (axes,) = utility_plot(sample()).axes
    assert "model utility" in axes.get_xlabel()
    assert "forget quality" in axes.get_ylabel()
    points = [tuple(map(float, one.get_offsets()[0])) for one in axes.collections]
    assert points == [(0.9, FLOOR), (0.88, 1.0), (0.8, 0.3), (0.5, 0.01)]
    assert [FLOOR, 0.3] in [list(line.get_ydata()) for line in axes.lines]
    assert "1e-20 and less" in axes.get_ylabel()
    near = replace(sample(), rows=(Row("target", figures={"forget_quality": 0.02, "model_utility": 0.9}),))
    (axes,) = utility_plot(near).axes
    assert axes.get_ylim()[0] == pytest.approx(1e-3 / 4)
    assert axes.get_ylabel() == "forget quality (p-value)"


def test_more_rows_than_markers_are_numbers() -> None:
    """One number a method, given and picked; in the legend once."""
    figures = {"forget_quality": 0.5, "model_utility": 0.8}
    names = [f"layers_{i}" for i in range(8)]
    rows = [Row(name, figures=figures, picked=picked) for name in names for picked in (False, True)]
    (axes,) = utility_plot(replace(sample(), rows=(*sample().rows[:2], *rows))).axes
    drawn = axes.get_legend().get_texts() if axes.get_legend() else axes.figure.legends[0].get_texts()
    assert [text.get_text() for text in drawn] == [*(row.name for row in sample().rows[:2]), *names]
    assert len(axes.collections) == 2 + len(rows)
    shapes = [len(one.get_paths()[0].vertices) for one in axes.collections[2:]]
    assert shapes[0::2] == shapes[1::2]
    assert len(set(shapes)) > 5
    assert "black number" in axes.get_xlabel()
    (axes,) = utility_plot(replace(sample(), rows=(*sample().rows[:2], *rows[:14]))).axes
    assert "number" not in axes.get_xlabel()


def test_a_variant_has_the_colour_of_its_family() -> None:
    names = ("uld", "dual_uld", "npo_kl", "simnpo_2e-4", "grad_diff_2e-4", "ga", "offset_ga_kl", "undial", "dpo_gd")
    found = [_family(name) for name in names]
    assert found == ["uld", "uld", "npo", "npo", "ga", "ga", "offset", "others", "dpo"]


def test_round_trip_and_table(tmp_path: Path) -> None:
    found = sample()
    found.write(tmp_path / "compare.json")
    assert ComparisonResults.read(tmp_path / "compare.json") == found
    (tmp_path / "other.json").write_text(json.dumps({"format": "unlogit compare 0"}))
    with pytest.raises(DataError, match="does not say"):
        ComparisonResults.read(tmp_path / "other.json")
    screen = console()
    with screen.capture() as captured:
        screen.print(comparison_table(found))
    assert comparison_table(found).row_count == 4
    assert max(map(len, captured.get().splitlines())) <= 120
    assert "| npo_kl | 0.01 | – | 0.500 |" in comparison_markdown(found)
    assert "general" not in comparison_markdown(found)
    target, *others = found.rows
    more = replace(target, figures={**target.figures, "general_kept": 50.0, "forget.repetition": 0.25})
    lines = comparison_markdown(replace(found, rows=(more, *others))).splitlines()
    assert "general answers kept | forget answers that repeat" in lines[0]
    assert "| 50 | 0.250 |" in lines[2]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_without_matplotlib_no_plot_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compare.png").touch()
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    no_plot = save_plots(sample(), tmp_path)
    assert no_plot is not None
    assert no_plot.endswith("pip install 'unlogit[plots]'")
    assert list(tmp_path.iterdir()) == []
