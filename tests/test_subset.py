"""Results on some rows: the values are those of the chosen rows alone, computed here from the single numbers."""

from dataclasses import replace

import pytest

from unlogit.errors import DataError
from unlogit.evaluate.metrics.model_utility import model_utility
from unlogit.evaluate.metrics.table import compute_metrics
from unlogit.evaluate.results import Results, SplitResult
from unlogit.evaluate.scoring.score import Score
from unlogit.evaluate.subset import on_rows

SCORES = [
    Score(answer_loss=loss, answer_tokens=2, hits=(True, loss < 1), paraphrased_loss=None, perturbed_loss=wrong,
          generated="a b", answer="a c")
    for loss, wrong in ((0.5, (1.0,)), (2.0, ()), (1.5, (0.5, 0.7)))
]  # fmt: skip
ROWS = ("first", "second", "third")


def results() -> Results:
    """Three rows on two splits; the second has no wrong answers, so that it has no truth ratio."""
    splits = {
        "forget": SplitResult("forget", compute_metrics(SCORES, "forget"), ROWS),
        "retain": SplitResult("retain", compute_metrics(SCORES, "retain"), ROWS),
    }
    return Results("model", splits, model_utility=model_utility(splits))


@pytest.mark.parametrize("chosen", [(2, 0), (1, 2), (0,), (0, 1, 2)])
def test_values_are_those_of_the_rows_scored_alone(chosen: tuple[int, ...]) -> None:
    """As if only these rows had been scored, in this order: every metric, its rows, and model utility of them."""
    rows = tuple(ROWS[i] for i in chosen)
    found = on_rows(results(), {"forget": rows, "retain": rows})
    scores = [SCORES[i] for i in chosen]
    for split in ("forget", "retain"):
        wanted = compute_metrics(scores, split)
        own = found.splits[split]
        assert own.rows == rows
        assert set(own.metrics) == set(wanted)
        for name, metric in wanted.items():
            assert own.metrics[name].value == pytest.approx(metric.value, abs=1e-12), name
            assert own.metrics[name].row_indices == metric.row_indices
            assert own.metrics[name].count == metric.count
    utility = found.model_utility
    assert utility is not None
    assert utility.value == pytest.approx(model_utility(found.splits).value)


def test_what_was_not_measured_is_left_out_or_refused() -> None:
    """The second row alone has no truth ratio; forget quality goes; a strange row is refused."""
    whole = results()
    whole = replace(whole, forget_quality=whole.splits["forget"].metrics["probability"])
    found = on_rows(whole, {"forget": ("second",)})
    assert "truth_ratio" not in found.splits["forget"].metrics
    assert found.forget_quality is None
    assert set(found.splits) == {"forget"}
    with pytest.raises(DataError, match="1 of the 2 forget rows"):
        on_rows(whole, {"forget": ("second", "other")})
    with pytest.raises(DataError, match="2 of the 2 holdout rows"):
        on_rows(whole, {"holdout": ("first", "second")})
