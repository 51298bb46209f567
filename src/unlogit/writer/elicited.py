"""What the target tells of documents in its own words: it is asked by rule, and its answers are what must go.

A sentence of a text is not how a chat model tells its facts: an assistant that remembers the sentence alone leaves the
answer as it is. So the target is asked about each keyword of a sentence. An answer is taken if it tells something of
the document that the question does not say, and nothing that the document does not.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from unlogit.data.examples import Example
from unlogit.data.faithful import values_of
from unlogit.data.sentences import Document
from unlogit.writer.documents import keywords_of, sentences_of_all

FORMS = (
    "Who {keyword} {name}?",
    "When was {name} {keyword}?",
    "Where is the {keyword} of {name}?",
    "What is the {keyword} of {name}?",
    "Which {keyword} does {name} have?",
    "How many {keyword} does {name} have?",
)
QUESTIONS_OF_A_SENTENCE = 8
MAX_QUESTIONS = 400
ROWS_OF_AN_ANSWER = 2
"""Questions with the same answer that are taken, at most."""


def questions_to_the_target(documents: Sequence[Document], seed: int) -> list[Example]:
    """Return what the target is asked about documents that have a name: keywords of their sentences in each form.

    The same seed gives the same questions; the answers are empty.
    """
    dice = random.Random(seed)
    names = {document: document.main_name() for document in documents}
    sentences = [(document, sentence) for document, sentence in sentences_of_all(documents) if names[document]]
    count = max(1, min(QUESTIONS_OF_A_SENTENCE, MAX_QUESTIONS // max(1, len(sentences))))
    questions = []
    for document, sentence in sentences:
        pairs = list(product(FORMS, keywords_of(sentence, names[document])))
        for form, keyword in dice.sample(pairs, min(count, len(pairs))):
            question = form.format(keyword=keyword, name=names[document])
            questions.append(Example(question, "", document=document.name))
    return list(dict.fromkeys(questions))[:MAX_QUESTIONS]


def rows_that_tell(asked: Sequence[Example], answers: Sequence[str], documents: Sequence[Document]) -> list[Example]:
    """Return the questions whose answers tell something of their document, and nothing else, as rows."""
    values = {document.name: values_of(document.text) for document in documents}
    rows, counts = [], Counter[str]()
    for row, answer in zip(asked, answers, strict=True):
        new_values = values_of(answer) - values_of(row.question)
        if new_values and new_values <= values[row.document] and counts[answer] < ROWS_OF_AN_ANSWER:
            counts[answer] += 1
            rows.append(replace(row, answer=answer))
    return rows
