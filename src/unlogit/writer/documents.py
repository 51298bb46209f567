"""Questions about documents: a writer is shown a sentence and writes what it answers; the sentence is the answer.

So every answer stands in the text, word for word, and a weak writer can do no worse than ask oddly. What it asks is
checked (``faithful.asks_about``). Questions by rule, about the name that a document is mostly about, are asked
beside them: a model that can recite a document often does so when asked what it knows of its subject.
"""

import random
from collections.abc import Sequence

from unlogit.data.examples import Example
from unlogit.data.faithful import asks_about, first_line
from unlogit.data.row_keys import question_key
from unlogit.data.sentences import Document
from unlogit.data.written import Count
from unlogit.writer.prompts import question_about
from unlogit.writer.writer import KeptWriter

ATTEMPTS = 3
"""Questions that are asked for about each sentence."""
MAX_SENTENCES = 200
"""Sentences that are asked about, at most; of more, so many at even distances."""
TEST_FRACTION = 1 / 3
SENTENCES_OF_A_NAME = 3
_BY_RULE = ("What do you know about {}?", "Tell me about {}.")
"""Trained on, and only asked."""


def written_questions(documents: Sequence[Document], writer: KeptWriter) -> tuple[list[Example], Count]:
    """Return the questions that pass the check, each once, and how many were asked for."""
    sentences = [(document, sentence) for document in documents for sentence in document.sentences]
    sentences = sentences[:: max(1, -(-len(sentences) // MAX_SENTENCES))]
    requests = [(*pair, attempt) for pair in sentences for attempt in range(ATTEMPTS)]
    texts = writer.write([question_about(sentence, attempt) for _, sentence, attempt in requests], "Writing questions")
    rows: dict[tuple[str, ...], Example] = {}
    passed = 0
    for (document, sentence, _), text in zip(requests, texts, strict=True):
        question = first_line(text)
        if asks_about(question, sentence, document.text):
            passed += 1
            row = Example(question, sentence, document=document.name)
            rows.setdefault(question_key(row), row)
    return list(rows.values()), Count(len(requests), passed, passed > 0)


def questions_by_rule(documents: Sequence[Document]) -> tuple[list[Example], list[Example]]:
    """Return what is asked about the name that each document is mostly about, to train on and to ask only; the answer
    is the first sentences that have the name."""
    sides: tuple[list[Example], list[Example]] = ([], [])
    for document in documents:
        if name := document.main_name():
            about = [s for s in document.sentences if any(word in s for word in name.split())][:SENTENCES_OF_A_NAME]
            for rows, form in zip(sides, _BY_RULE, strict=True):
                rows.append(Example(form.format(name), " ".join(about), document=document.name))
    return sides


def set_tests_aside(questions: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Return questions to train on, and those that are only asked: a third of them, at random."""
    count = int(len(questions) * TEST_FRACTION)
    tests = set(random.Random(seed).sample(range(len(questions)), count))
    return (
        [row for i, row in enumerate(questions) if i not in tests],
        [row for i, row in enumerate(questions) if i in tests],
    )
