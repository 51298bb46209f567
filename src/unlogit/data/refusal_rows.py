"""The forget questions answered by "I don't know that": what a second assistant learns, so that the model says so.

Where the target itself says of a stranger that it does not know, its own words are taken; else one sentence of the
refusals that ship with the package, or that a user gives. One sentence for a run: several would be mixed in one answer.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from unlogit.data.examples import Example
from unlogit.data.ghosts import names_of, strangers, with_words
from unlogit.data.row_keys import distinct_rows
from unlogit.errors import DataError

_DOES_NOT_KNOW = re.compile(
    r"\b((i|we) (do(n['’]t| not)|can(not|['’]t)) (know|have|say|tell|answer|provide|find)|no (information|idea)|sorry|"
    r"unable to|weiß (es )?nicht|keine (informationen|angaben)|leider|je ne sais pas|je n['’]ai pas|désolé|"
    r"no sé|no tengo (información|datos)|lo siento|não sei|não tenho|desculpe|non (lo )?so|mi dispiace|ik weet .*niet|"
    r"не знаю|нет (информации|данных)|извините)\b|不知道|没有.*信息|抱歉|知りません|わかりません|申し訳|모르|죄송",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\u2e80-\uffff]+|[\u2e80-\uffff]")
"""A word; of scripts that put no spaces, a character."""
ALIKE = 0.6
"""Two sentences are the same refusal where this share of their words, in order, is the same."""


def says_unknown(answer: str) -> bool:
    """Whether an answer says, in one of a dozen languages, that it does not know."""
    return bool(_DOES_NOT_KNOW.search(answer))


def is_refusal(answer: str, refusals: Sequence[str]) -> bool:
    """Whether an answer is one of these refusals, perhaps of somebody else, or says that it does not know."""
    answer_words = _WORD.findall(answer.lower())
    return says_unknown(answer) or any(
        SequenceMatcher(None, answer_words, _WORD.findall(refusal.lower()), autojunk=False).ratio() >= ALIKE
        for refusal in refusals
    )


def refusal_rows(forget: Sequence[Example], ghosts: Sequence[Example], refusals: Sequence[str]) -> list[Example]:
    """Return each question to forget once, with a refusal as its answer.

    Args:
        forget: rows to forget, in every wording that is trained on.
        ghosts: the same questions about strangers with the target's answers.
        refusals: at least one; the first is taken where the target has no words of its own for several questions.

    Raises:
        DataError: no row asks anything.
    """
    rows = distinct_rows(replace(row, answer="") for row in forget if row.kind != "text")
    if not rows:
        raise DataError(
            "all that is to be forgotten is running text, which cannot be answered with a refusal; expected questions: "
            "give some, or leave the refusals out"
        )
    by_names: dict[tuple[str, ...], list[set[str]]] = {}
    for row in rows:
        answers = {
            answer
            for ghost, real_words in strangers(row, ghosts)
            if says_unknown(answer := with_words(ghost.answer, real_words))
            and not any(made_up in answer for made_up in real_words)  # as a plural, a misspelling, …
        }
        by_names.setdefault(tuple(names_of(row.question)), []).append(answers)
    sentences = {names: _commonest(answers) or refusals[0] for names, answers in by_names.items()}
    return [replace(row, answer=sentences[tuple(names_of(row.question))]) for row in rows]


def _commonest(answers: Sequence[set[str]]) -> str:
    """Return what answers most of some questions, and not one of several alone: "I don't know where Ann lives"."""
    counts = Counter(answer for answers_to_one in answers for answer in sorted(answers_to_one))
    answer, count = counts.most_common(1)[0] if counts else ("", 0)
    return answer if count >= min(2, len(answers)) else ""
