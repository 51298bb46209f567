"""What a writer adds to a request, written once: ``RUN/written.json``, and every text of the writer in
``RUN/written.jsonl``. Both have text to forget, and are readable by their owner only.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from unlogit.data.examples import Example
from unlogit.data.sentences import Document, documents_of
from unlogit.data.sources import source_in
from unlogit.data.written import Count, Written
from unlogit.evaluate.leaks import Ask, asker
from unlogit.evaluate.results import read_json
from unlogit.files import write_json
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.runs.folder import RunFolder
from unlogit.settings.options import RunConfig
from unlogit.writer.completion import complete
from unlogit.writer.documents import questions_by_rule, set_tests_aside, written_questions
from unlogit.writer.elicited import questions_to_the_target, rows_that_tell
from unlogit.writer.endpoint import EndpointWriter
from unlogit.writer.writer import KeptWriter, ModelWriter, Writer

log = logging.getLogger(__name__)

MakeWriter = Callable[[Any, Any], Writer]
"""Loads a writer, given the target and its tokenizer."""

WRITTEN, WRITER_TEXTS = "written.json", "written.jsonl"
"""Files of the run folder."""

MAX_NEW_TOKENS = 48
"""Of the target's answers about documents."""

NO_WRITER = "none"
"""Nothing is written."""


def writer_of(source: str, is_done: bool = False) -> MakeWriter | None:
    """Return what makes a writer from the target and its tokenizer, when it is needed; None for no writer.

    Args:
        source: empty for the target, ``none``, ``http://HOST/v1#MODEL``, or a model by its folder or hub id.
        is_done: whether all is written already, so that an endpoint need not be there any more.

    Raises:
        ConfigError: the address cannot be used, or nobody answers there.
        ModelError: the model is not there.
    """
    if source == NO_WRITER:
        return None
    if not source:
        return lambda target, tokenizer: ModelWriter("target", target, tokenizer)
    if source.startswith(("http://", "https://")):
        endpoint = EndpointWriter.of(source)
        if not is_done:
            endpoint.check()
        return lambda target, tokenizer: endpoint
    own_tokenizer = load_tokenizer(source)
    return lambda target, tokenizer: ModelWriter(
        source, load_target(source, str(target.dtype).removeprefix("torch.")).to(target.device).eval(), own_tokenizer
    )


def write_rows(
    folder: RunFolder,
    config: RunConfig,
    forget: Sequence[Example],
    make_writer: MakeWriter | None,
    target: Any,
    tokenizer: Any,
    *,
    is_named: bool,
    resume: bool,
) -> Written:
    """Return what a writer adds to the rows to forget, and the questions about documents to keep.

    Args:
        folder: where it is kept.
        config: whose ``data`` says which rows to keep.
        forget: rows and pieces of documents.
        make_writer: see ``writer_of``; None writes nothing but questions by rule.
        target: the model that must forget.
        tokenizer: the target's.
        is_named: whether the user named the writer.
        resume: take what is kept.
    """
    if resume and (folder.path / WRITTEN).is_file():
        return Written.from_record(read_json(folder.path / WRITTEN))
    keeper = (
        KeptWriter(make_writer(target, tokenizer), folder.path / WRITER_TEXTS, config.data.seed)
        if make_writer
        else None
    )
    retain: list[Example] = []
    if config.data.retain:
        retain = source_in(config.data.retain, config.data, tokenizer).rows()
    ask = asker(target, tokenizer, MAX_NEW_TOKENS)
    questions, tests, counts, notes = _about_documents(forget, keeper, ask, config.data.seed)
    kept_questions = _about_documents(retain, keeper, ask, config.data.seed)
    completed: list[Example] = []
    if keeper:
        completed, more_counts, more_notes = complete([*forget, *questions], retain, keeper, is_named=is_named)
        counts |= more_counts
        notes += more_notes
    originals = len(completed) - len(questions) if keeper else 0
    written = Written(
        completed[:originals],
        completed[originals:] or questions,
        tests,
        [*kept_questions[0], *kept_questions[1]],
        counts,
        notes,
    )
    for note in notes:
        log.info(note[0].upper() + note[1:] + ".")
    write_json(folder.path / WRITTEN, written.to_record(), mode=0o600)
    return written


def _about_documents(
    rows: Sequence[Example], keeper: KeptWriter | None, ask: Ask, seed: int
) -> tuple[list[Example], list[Example], dict[str, Count], list[str]]:
    """Return questions about documents to train on, those only to ask, the count of them, and what to tell people."""
    documents = documents_of(rows)
    if not documents:
        return [], [], {}, []
    questions, count = written_questions(documents, keeper) if keeper else ([], Count(0, 0, False))
    answered = _answered_by_target(documents, ask, seed)
    training, tests = set_tests_aside([*questions, *answered], seed)
    by_rule, rule_tests = questions_by_rule(documents)
    about = "a document" if len(documents) == 1 else f"{len(documents)} documents"
    note = f"{count.passed} of {count.requested} questions that were written about {about} passed the check"
    if answered:
        note += f", and {len(answered)} answers of the target tell something of {about}"
    elif not questions:
        note += ": they are asked about by rule only" if by_rule else ": only their recitation is forgotten"
    return training + by_rule, tests + rule_tests, {"document questions": count}, [note]


def _answered_by_target(documents: Sequence[Document], ask: Ask, seed: int) -> list[Example]:
    """Return questions about documents by rule with the target's answers, where these tell something of them."""
    questions = questions_to_the_target(documents, seed)
    if not questions:
        return []
    log.info(f"Asking the target {len(questions)} questions about the documents.")
    return rows_that_tell(questions, ask(questions), documents)
