"""How many general questions that the target answers right, another model answers right, too.

General questions are those of the splits on real authors and world facts, and of ``data.general``. An answer is right
where its ROUGE-L recall is at least ``RIGHT``: short true answers are names, of which a model may leave out a part.
"""

from collections.abc import Mapping

from unlogit.evaluate.results import Results, role_of

RIGHT = 0.5
"""Least ROUGE-L recall of a right answer: half of the true answer's words, in their order."""


def right_answers(results: Results) -> set[tuple[str, str]]:
    """Return the general questions, as (split, digest), that a model answers right."""
    return {question for question, recall in _recalls(results).items() if recall >= RIGHT}


def questions_answered(results: Results) -> int:
    """Return how many general questions a model answered."""
    return len(_recalls(results))


def knowledge_retention(results: Results, target: Results) -> dict[str, float]:
    """Return ``general_right``, the questions that the target answers right, and ``general_kept``, of these the
    number that this model does.

    Only questions that both answered are counted; nothing is returned where there are none.
    """
    both = set(_recalls(results)) & set(_recalls(target))
    if not both:
        return {}
    right = right_answers(target) & both
    return {"general_right": float(len(right)), "general_kept": float(len(right & right_answers(results)))}


def _recalls(results: Results) -> Mapping[tuple[str, str], float]:
    recalls: dict[tuple[str, str], float] = {}
    for name, split in results.splits.items():
        if role_of(name) == "knowledge" and "rouge_l_recall" in split.metrics:
            metric = split.metrics["rouge_l_recall"]
            rows = [split.rows[i] for i in metric.row_indices]
            recalls |= {(name, row): value for row, value in zip(rows, metric.per_example, strict=True)}
    return recalls
