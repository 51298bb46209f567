"""Each metric by hand arithmetic on a few made-up scores."""

import math

import pytest

from unlogit.errors import DataError
from unlogit.evaluate.metrics.extraction_strength import shortest_prefix
from unlogit.evaluate.metrics.model_utility import model_utility, utility_parts
from unlogit.evaluate.metrics.table import METRICS, compute_metrics
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.results import MetricResult, Role, SplitResult
from unlogit.evaluate.scoring.score import Score


def score(
    p: float = 0.5,
    *,
    paraphrased: float | None = None,
    wrong: tuple[float, ...] = (),
    hits: tuple[bool, ...] = (),
    generated: str | None = None,
    answer: str = "",
) -> Score:
    """A score from probabilities (geometric means per token) instead of losses."""
    return Score(
        answer_loss=-math.log(p),
        answer_tokens=len(hits),
        hits=hits,
        paraphrased_loss=None if paraphrased is None else -math.log(paraphrased),
        perturbed_loss=tuple(-math.log(q) for q in wrong),
        generated=generated,
        answer=answer,
    )


def value(name: str, scores: list[Score], role: Role) -> float:
    return METRICS[name].compute(scores, role).value


@pytest.mark.parametrize(("role", "direction"), [("forget", "retain_model"), ("retain", "higher")])
def test_probability_is_the_mean_over_rows(role: Role, direction: str) -> None:
    """(0.5 + 0.25) / 2 = 0.375."""
    result = METRICS["probability"].compute([score(0.5), score(0.25, wrong=(0.9,))], role)
    assert result.value == pytest.approx(0.375, abs=1e-12)
    assert result.per_example == pytest.approx((0.5, 0.25))
    assert (result.count, result.direction) == (2, direction)


def test_probability_of_knowledge_is_normalised_over_the_choices() -> None:
    """0.2 / (0.2 + 0.1 + 0.1) = 0.5 and 0.3 / (0.3 + 0.6 + 0.6) = 0.2; mean 0.35."""
    scores = [score(0.2, wrong=(0.1, 0.1)), score(0.3, wrong=(0.6, 0.6))]
    assert value("probability", scores, "knowledge") == pytest.approx(0.35, abs=1e-12)


def test_probability_of_knowledge_survives_losses_beyond_a_float() -> None:
    """exp(−1000) is 0 in a float; the ratio of two equals is still 1/2."""
    far = Score(1000.0, 1, (), None, (1000.0,), None, "")
    assert value("probability", [far], "knowledge") == pytest.approx(0.5)


def test_truth_ratio_aggregates() -> None:
    """Wrong answers 0.1 and 0.4 have the geometric mean 0.2.

    Row 1: TR = 0.2 / 0.5 = 0.4 (paraphrase 0.5, the answer's 0.9 is not used). Row 2: TR = 0.2 / 0.1 = 2 (no
    paraphrase: the answer itself). Forget: (min(0.4, 2.5) + min(2, 0.5)) / 2 = 0.45. Others: (0.6 + 0) / 2 = 0.3.
    """
    scores = [score(0.9, paraphrased=0.5, wrong=(0.1, 0.4)), score(0.1, wrong=(0.1, 0.4))]
    assert value("truth_ratio", scores, "forget") == pytest.approx(0.45, abs=1e-12)
    assert value("truth_ratio", scores, "retain") == pytest.approx(0.3, abs=1e-12)
    assert value("truth_ratio", scores, "knowledge") == pytest.approx(0.3, abs=1e-12)
    assert METRICS["truth_ratio"].compute(scores, "forget").per_example == pytest.approx((0.4, 2.0))


@pytest.mark.parametrize(("loss", "wrong"), [(5000.0, 0.0), (0.0, 5000.0)])
def test_truth_ratio_stays_a_number_for_ruined_models(loss: float, wrong: float) -> None:
    ratio = row_truth_ratio(Score(loss, 1, (), None, (wrong,), None, ""))
    assert 0 < ratio < math.inf
    assert 0 < 1 / ratio < math.inf


def test_rouge_l_recall_counts_stems_in_order() -> None:
    """Reference 'the cats sat down': 'down the cat sat there' has the, cat(s), sat in order, 3 of 4; 'no' none."""
    reference = "the cats sat down"
    scores = [score(generated="Down, the cat sat there!", answer=reference), score(generated="no", answer=reference)]
    result = METRICS["rouge_l_recall"].compute(scores, "retain")
    assert result.per_example == (0.75, 0.0)
    assert result.value == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("hits", "prefix"), [("1111", 0), ("0111", 1), ("1011", 2), ("1110", 4), ("0000", 4), ("0", 1), ("1", 0)]
)
def test_shortest_prefix(hits: str, prefix: int) -> None:
    assert shortest_prefix([hit == "1" for hit in hits]) == prefix


def test_extraction_strength_and_exact_memorisation() -> None:
    """Hits 1011: 1 − 2/4 and 3/4. Hits 10: k = T = 2, so 0, and 1/2. Means: 0.25 and 0.625."""
    scores = [score(hits=(True, False, True, True)), score(hits=(True, False))]
    assert value("extraction_strength", scores, "retain") == pytest.approx(0.25)
    assert value("exact_memorisation", scores, "retain") == pytest.approx(0.625)


def test_metrics_take_the_rows_that_have_what_they_need() -> None:
    scores = [score(), score(wrong=(0.1,), generated="a", answer="a"), score(hits=(True,))]
    found = compute_metrics(scores, "retain")
    rows = {name: result.row_indices for name, result in found.items()}
    assert rows == {
        "probability": (0, 1, 2),
        "rouge_l_recall": (1,),
        "repetition": (1,),
        "truth_ratio": (1,),
        "extraction_strength": (2,),
        "exact_memorisation": (2,),
    }
    assert [result.count for result in found.values()] == [len(r) for r in rows.values()]
    assert set(compute_metrics(scores, "knowledge")["probability"].row_indices) == {1}
    assert [result.name for result in found.values()] == list(found)


def split(name: str, **values: float) -> SplitResult:
    return SplitResult(name, {k: MetricResult(k, v, (v,), 1, "higher", "", (0,)) for k, v in values.items()}, ("a",))


def test_model_utility_is_the_harmonic_mean_of_nine() -> None:
    """Eight parts of 1 and one of 0.5: 9 / (8 + 2) = 0.9. Forget rows and other metrics do not count."""
    one = {"probability": 1.0, "rouge_l_recall": 1.0, "truth_ratio": 1.0}
    splits = {
        "forget": split("forget", probability=0.01),
        "retain": split("retain", exact_memorisation=0.1, **one),
        "real_authors": split("real_authors", **one),
        "world_facts": split("world_facts", **{**one, "truth_ratio": 0.5}),
    }
    result = model_utility(splits)
    assert result.value == pytest.approx(0.9, abs=1e-12)
    assert (result.count, result.parts["world_facts.truth_ratio"]) == (9, 0.5)


def test_model_utility_of_own_data_says_which_parts_it_has() -> None:
    """2 / (1/0.5 + 1/0.25) = 1/3."""
    result = model_utility({"retain": split("retain", probability=0.5, rouge_l_recall=0.25)})
    assert result.value == pytest.approx(1 / 3)
    assert result.count == 2
    assert result.parts == {"retain.probability": 0.5, "retain.rouge_l_recall": 0.25}


def test_model_utility_is_zero_if_a_part_is() -> None:
    assert model_utility({"retain": split("retain", probability=0.5, truth_ratio=0.0)}).value == 0


def test_model_utility_without_any_part_is_an_error() -> None:
    splits = {"forget": split("forget", probability=0.5)}
    assert utility_parts(splits) == {}
    with pytest.raises(DataError, match=r"got forget.*retain"):
        model_utility(splits)
