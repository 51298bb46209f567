"""The plot of a sweep: what it says beside its data, and that every combination stands where its figures are."""

import math
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from unlogit.errors import ConfigError
from unlogit.evaluate.pick import PickRow
from unlogit.evaluate.sweep import Sweep, SweepRow, figures
from unlogit.model.logit_difference import RULES
from unlogit.report.plots import (
    COLOURS,
    INDISTINGUISHABLE,
    RULE_COLOURS,
    STYLE,
    figure,
    front_plot,
    legend,
    note,
    save,
    save_if_possible,
)
from unlogit.settings.extras import optional_module
from unlogit.settings.options import CombinationOptions


def point(rule: str, alpha: float, rate: float, quality: float, kept: float, neutral: float | None) -> SweepRow:
    """A row with these figures; KS statistic 1 minus forget quality, so that both have one order."""
    combination = CombinationOptions(rule, alpha, rate)  # type: ignore[arg-type]
    row = PickRow(combination, 0.5, 1 - quality, quality, 0.1, 0.2, 0.3, 0.8, 0.9, kept, neutral)
    return SweepRow(row, row)


def made(neutral: bool = True) -> Sweep:
    """Two rules, two alphas, two filters; suppress at alpha 1 without a filter is picked; one lies far below."""
    rows = [
        point("centred", 0.5, 0.0, 0.2, 0.95, 0.96),
        point("centred", 1.0, 0.0, 0.6, 0.85, 0.9),
        point("centred", 0.5, 0.1, 0.01, 0.9, 0.97),
        point("centred", 1.0, 0.1, 1e-30, 0.5, 0.4),
        point("suppress", 0.5, 0.0, 0.1, 0.97, 0.99),
        point("suppress", 1.0, 0.0, 0.8, 0.92, 0.98),
    ]
    target = point("centred", 0.0, 0.0, 1e-6, 1.0, 1.0)
    if not neutral:
        target, *rows = (
            SweepRow(*(replace(part, neutral_kept=None) for part in (row.validation, row.test)))
            for row in (target, *rows)
        )
    known = figures(point("centred", 0.0, 0.0, 1.0, 0.99, 0.94 if neutral else None).test)
    counts = {"forget": 30, "retain": 20, "neutral": 5 if neutral else 0}
    return Sweep(tuple(rows), target, rows[5], {"validation": counts, "test": counts}, known)


def points(axes: Any, **wanted: Any) -> set[tuple[float, float]]:
    """Where the markers of one kind stand."""
    found = set()
    for line in axes.get_lines():
        if all(getattr(line, f"get_{name}")() == value for name, value in wanted.items()):
            found |= {(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)}
    return found


def texts(drawn: Any) -> list[str]:
    return [text.get_text().replace("\n", " ") for text in drawn.legends[0].get_texts()]


def test_it_says_what_is_seen() -> None:
    drawn = front_plot(made())
    left, right = drawn.axes
    assert drawn.get_suptitle().startswith("Forgetting against keeping: better")
    assert left.get_ylabel() == "forget quality (p-value; log scale)"
    assert left.get_yscale() == "log"
    assert left.get_xlabel() == "retain answers kept\n(share of the target's probability)"
    assert right.get_xlabel() == "neutral answers kept\n(share of the target's probability)"
    assert "30 forget + 20 retain + 5 neutral rows, none of which helped to choose." in drawn.get_supxlabel()
    assert texts(drawn) == [
        "centred",
        "suppress",
        "front: no other is better in both",
        "picked: suppress, α 1, filter 0",
        "target (α 0)",
        "retain model",
        "0.05: above, indistinguishable from the retain model",
    ]


@pytest.mark.parametrize("y", ["forget_quality", "ks_statistic"])
def test_every_combination_stands_where_its_figures_are(y: Any) -> None:
    sweep = made()
    for axes, x in zip(front_plot(sweep, y).axes, ("retain_kept", "neutral_kept"), strict=True):
        for rule in ("centred", "suppress"):
            wanted = {(getattr(r.test, x), getattr(r.test, y)) for r in sweep.rows if r.combination.rule == rule}
            assert points(axes, color=RULE_COLOURS[rule], marker="o") == wanted
        assert points(axes, marker="*") == {(getattr(sweep.picked.test, x), getattr(sweep.picked.test, y))}
        assert points(axes, marker="s") == {(1.0, getattr(sweep.target.test, y))}
        assert points(axes, marker="D") == {(sweep.retain_model[x], sweep.retain_model[y])}
        (front,) = (one for one in axes.get_lines() if str(one.get_label()).startswith("front"))
        assert list(zip(*front.get_data(), strict=True)) == [
            (getattr(row.test, x), getattr(row.test, y)) for row in sweep.front(x)
        ]
    assert [row.test.retain_kept for row in sweep.front()] == [1.0, 0.97, 0.95, 0.92]


def test_paths_begin_at_the_target_and_go_with_alpha() -> None:
    """One for each rule and filter_rate: 3 here; alphas of the picked one's are named where they are seen."""
    sweep = made()
    axes = front_plot(sweep).axes[0]
    paths = [line for line in axes.get_lines() if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert len(paths) == 3
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in paths} == {(1.0, 1e-6)}
    (path,) = (line for line in paths if line.get_color() == RULE_COLOURS["suppress"])
    assert list(path.get_xdata()) == [1.0, 0.97, 0.92]
    assert [text.get_text() for text in axes.texts] == ["α 0.5", "α 1", "1 of 7 lie below"]


def test_all_that_is_not_far_below_is_inside() -> None:
    """Seven points, one of them below a tenth of the target's forget quality; and the level of the test."""
    sweep = made()
    axes = front_plot(sweep).axes[0]
    (low, high), (left, right) = axes.get_ylim(), axes.get_xlim()
    assert low == pytest.approx(1e-7)
    inside = [row for row in sweep.rows if low < row.test.forget_quality < high and left < row.test.retain_kept < right]
    assert len(inside) == 5
    assert left > 0.8
    levels = [line for line in axes.get_lines() if list(line.get_ydata()) == [INDISTINGUISHABLE] * 2]
    assert len(levels) == 1


def test_up_is_better_by_the_statistic_too() -> None:
    low, high = front_plot(made(), "ks_statistic").axes[0].get_ylim()
    assert low > 1 > 0 > high


def test_without_neutral_rows_and_retain_model() -> None:
    drawn = front_plot(replace(made(neutral=False), retain_model={}))
    assert len(drawn.axes) == 1
    assert "retain model" not in texts(drawn)
    assert "neutral" not in drawn.get_supxlabel()


def seen_without_green(colour: str) -> tuple[float, float, float]:
    """A colour as somebody without green cones sees it (Viénot, Brettel and Mollon 1999): linear R, G, B, 0 to 1.

    Red and green become one value, .293 R + .707 G; blue is B with .022 of the red-green difference taken off.
    """
    red, green, blue = ((int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5))
    yellow = 0.29275 * red + 0.70725 * green
    return yellow, yellow, -0.02234 * red + 0.02234 * green + blue


def test_colours_differ_for_the_colour_blind_too() -> None:
    """As drawn: the lines of two rules are never alike. A red and a green of like lightness would be (0.02)."""
    swept = made()
    drawn = {line.get_label(): line.get_color() for line in front_plot(swept).axes[0].get_lines()}
    assert seen_without_green(drawn["centred"]) != seen_without_green(drawn["suppress"])
    red_green = math.dist(seen_without_green("#D40000"), seen_without_green("#008E00"))
    closest = min(math.dist(seen_without_green(a), seen_without_green(b)) for a, b in combinations(COLOURS, 2))
    assert red_green < 0.05 < closest
    assert list(RULE_COLOURS) == list(RULES)


def test_the_style_and_what_is_written(tmp_path: Path) -> None:
    """Text has the style's size; the file is PNG of 150 dots an inch, whole or not there at all."""
    drawn, (axes,) = figure("A title", width=4.0, height=3.0)
    axes.plot([0, 1], [0, 1], label="line")
    legend(drawn, axes)
    note(drawn, "a note")
    assert axes.xaxis.label.get_size() == STYLE["axes.labelsize"]
    path = tmp_path / "new" / "plot.png"
    save(drawn, path)
    head = path.read_bytes()
    assert head.startswith(b"\x89PNG")
    assert (int.from_bytes(head[16:20]), int.from_bytes(head[20:24])) == (600, 450)
    drawn.savefig = lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        save(drawn, path)
    assert path.read_bytes() == head
    assert [one.name for one in path.parent.iterdir()] == ["plot.png"]


INSTALL_LINE = "pip install 'unlogit[plots]'"


def test_without_matplotlib_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "front.png"
    assert save_if_possible(lambda: figure("a")[0], path) is None
    assert path.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    with pytest.raises(ConfigError) as error:
        figure("a")
    assert str(error.value).endswith(INSTALL_LINE)
    reason = save_if_possible(lambda: pytest.fail("drawn"), path)
    assert reason is not None
    assert reason.startswith("front.png is skipped")
    assert reason.endswith(INSTALL_LINE)
    assert not path.exists()  # that of earlier figures


def test_a_package_that_lacks_something_itself_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_extra.py").write_text("import no_such_module_of_anyone")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_anyone"):
        optional_module("broken_extra", "plots")
    with pytest.raises(ConfigError, match=r"pip install 'unlogit\[gguf\]'"):
        optional_module("no_such_module_of_anyone", "gguf")
