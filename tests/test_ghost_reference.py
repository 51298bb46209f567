"""What stands in for a retain model: the same answers about people who do not exist, under the target."""

import pytest

from support.tiny_run import PEOPLE, save_model
from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.evaluate.ghost_reference import LEAST_GHOSTS, ghost_reference
from unlogit.evaluate.metrics.truth_ratio import row_truth_ratio
from unlogit.evaluate.pick import ReferenceFigures
from unlogit.evaluate.results import row_digest
from unlogit.evaluate.scoring.score import score_examples
from unlogit.model.loading import load_target, load_tokenizer

NAMELESS = Example("what is it ?", "a book", perturbed_answer=("a town",))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("target")))


def test_the_same_answers_under_made_up_names(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ghost's truth ratio is that of the row with the name exchanged in the question and in every answer."""
    scored: list[Example] = []

    def score(model: object, tokenizer: object, rows: list[Example], **settings: object) -> object:
        scored.extend(rows)
        return score_examples(model, tokenizer, rows, batch_size=32, generate=False)

    monkeypatch.setattr("unlogit.evaluate.ghost_reference.score_examples", score)
    model, tokenizer = load_target(target), load_tokenizer(target)
    rows = PEOPLE.forget[:3]
    reference = ghost_reference(rows, model, tokenizer, 0, batch_size=32)
    assert len(scored) == 3 * 67
    assert len(scored) >= LEAST_GHOSTS
    name = rows[0].question.removeprefix("Where was ").removesuffix(" born?")
    ghost_name = scored[0].question.removeprefix("Where was ").removesuffix(" born?")
    assert ghost_name not in (name, "")
    for before, after in zip(
        (rows[0].answer, *rows[0].paraphrased_answer, *rows[0].perturbed_answer),
        (scored[0].answer, *scored[0].paraphrased_answer, *scored[0].perturbed_answer),
        strict=True,
    ):
        assert after == before.replace(name, ghost_name)
        assert name not in after
    (score_of_first,) = score_examples(model, tokenizer, scored[:1], batch_size=1, generate=False)
    ratios = reference.truth_ratios[row_digest(rows[0])]
    assert len(ratios) == 67
    assert ratios[0] == pytest.approx(row_truth_ratio(score_of_first), rel=1e-4)


def test_rows_without_a_name_are_left_out(target: str) -> None:
    model, tokenizer = load_target(target), load_tokenizer(target)
    reference = ghost_reference([PEOPLE.forget[0], NAMELESS], model, tokenizer, 0, batch_size=32)
    usable, figures = ReferenceFigures.of([PEOPLE.forget[0], NAMELESS], reference)
    assert usable == [PEOPLE.forget[0]]
    assert len(figures.truth_ratios) == 100
    assert 0 <= (figures.exact_memorisation or 0) <= 1
    with pytest.raises(DataError, match="nobody can be made up"):
        ReferenceFigures.of([NAMELESS], reference)
