"""Questions about documents: a writer is shown a sentence and writes what it answers; the sentence is the answer.

So every answer stands in the text, word for word, and a weak writer can do no worse than ask oddly. What it asks is
checked (``faithful.asks_about``). A fact about which nothing passed would be forgotten as running text only, and still
be told when it is asked for. So every sentence with a value is asked about by rule, too: by the name that its document
is mostly about, and by its words that tell nothing.
"""

import random
from collections.abc import Sequence

from unlogit.data.examples import Example
from unlogit.data.exchange import STOP_WORDS, lowercase_words
from unlogit.data.faithful import asks_about, first_line, values_of
from unlogit.data.row_keys import question_key
from unlogit.data.sentences import Document
from unlogit.data.written import Count
from unlogit.writer.prompts import question_about
from unlogit.writer.writer import KeptWriter

ATTEMPTS = 3
"""Questions that are asked for about each sentence."""
MAX_SENTENCES = 200
"""Sentences that are asked about, at most; of more, so many at even distances."""
MAX_KEYWORDS = 6
TEST_FRACTION = 1 / 3
SENTENCES_OF_A_NAME = 3
_BY_RULE = ("What do you know about {}?", "Tell me about {}.")
"""Trained on, and only asked."""
_OF_A_SENTENCE = "What do you know about {} ({})?"


def written_questions(documents: Sequence[Document], writer: KeptWriter) -> tuple[list[Example], Count]:
    """Return the questions that pass the check, each once, and how many were asked for."""
    requests = [(*pair, attempt) for pair in sentences_of_all(documents) for attempt in range(ATTEMPTS)]
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
    """Return what is asked about the name that each document is mostly about, to train on and to ask only.

    The answer is the first sentences that have the name; to train on, also each sentence that has a value, which is
    asked for by its other words.
    """
    training, tests = list[Example](), list[Example]()
    names = {document: document.main_name() for document in documents}
    for document, name in names.items():
        if name:
            about = [s for s in document.sentences if any(word in s for word in name.split())][:SENTENCES_OF_A_NAME]
            for rows, form in zip((training, tests), _BY_RULE, strict=True):
                rows.append(Example(form.format(name), " ".join(about), document=document.name))
    for document, sentence in sentences_of_all(documents):
        keywords = keywords_of(sentence, names[document])
        left_to_tell = values_of(sentence) - set(lowercase_words(names[document]))
        if names[document] and keywords and left_to_tell:
            question = _OF_A_SENTENCE.format(names[document], ", ".join(keywords))
            training.append(Example(question, sentence, document=document.name))
    return list({question_key(row): row for row in training}.values()), tests


def sentences_of_all(documents: Sequence[Document]) -> list[tuple[Document, str]]:
    """Return the sentences that are asked about, each with its document."""
    sentences = [(document, sentence) for document in documents for sentence in document.sentences]
    return sentences[:: max(1, -(-len(sentences) // MAX_SENTENCES))]


def keywords_of(sentence: str, name: str) -> list[str]:
    """Return the first content words of a sentence, in lower case, that are no values and not in a name."""
    left_out = STOP_WORDS | values_of(sentence) | set(lowercase_words(name))
    return [word for word in dict.fromkeys(lowercase_words(sentence)) if word not in left_out][:MAX_KEYWORDS]


def set_tests_aside(questions: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """Return questions to train on, and those that are only asked: a third of them, at random."""
    count = int(len(questions) * TEST_FRACTION)
    tests = set(random.Random(seed).sample(range(len(questions)), count))
    return (
        [row for i, row in enumerate(questions) if i not in tests],
        [row for i, row in enumerate(questions) if i in tests],
    )
