"""A request that is asked about: one customer's six rows, or three documents, and nothing else given.

SmolLM2-135M-Instruct is taught all rows, ``unlogit forget`` gets those to forget at its defaults, and target and
unlearned model answer: questions that were taught, the same in words that nobody trained on, answers that are begun for
them, questions in reverse, samples, and what must stay.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unlogit.data.content_words import common_words, content_spans, is_value
from unlogit.data.examples import Example
from unlogit.data.neutral import GENERAL
from unlogit.data.secrets import secrets_of, tells
from unlogit.data.sources import read_prepared
from unlogit.demo.customers import make_customers
from unlogit.demo.documents import make_documents, write_documents
from unlogit.demo.smollm2 import smollm2_folder
from unlogit.evaluate.foreign_values import as_the_rows, find_foreign_values
from unlogit.evaluate.leaks import Ask, asker, find_kept
from unlogit.evaluate.recitation import find_recitation
from unlogit.evaluate.results import read_json
from unlogit.evaluate.scoring.prompt_format import PLAIN, PromptFormat
from unlogit.model.loading import load_target, load_tokenizer, load_unlearned
from unlogit.runs.finetune import finetune
from unlogit.runs.folder import RunFolder
from unlogit.runs.plan import PLANNED_COMMON_FRACTION
from unlogit.settings.options import FinetuneOptions

SAMPLES = 16
MAX_NEW_TOKENS = 64
SAMPLED = ("as taught", "otherwise")
"""Ways of asking of which samples are drawn."""


@dataclass(frozen=True)
class AskedRows:
    """What the target is taught, what of it is to be forgotten, and what is asked."""

    forget: Path
    """What ``unlogit forget`` is given."""
    taught: Sequence[Example]
    asked: dict[str, list[Example]]
    """Questions about what is to be forgotten, by how they are asked."""
    others: Sequence[Example]
    """Questions about what must stay."""
    recipe: FinetuneOptions
    texts: Sequence[Example] = field(default=())
    """Running text that must stay."""
    retain: Path | None = None
    """Rows to keep that ``unlogit forget`` is given, too."""


def _customers(folder: Path, seed: int) -> AskedRows:
    """One of 28 made-up customers is to be forgotten."""
    customers = make_customers(seed=seed)
    customers.write(folder)
    return AskedRows(
        folder / "forget.jsonl",
        [*customers.forget, *customers.retain],
        {"as taught": customers.forget, "otherwise": customers.unseen, "in reverse": customers.reverse},
        customers.retain,
        FinetuneOptions(learning_rate=4e-4, epochs=12, batch_size=8, seed=seed),
    )


def _documents(folder: Path, seed: int) -> AskedRows:
    """Three of six made-up documents are to be forgotten; the target also knows questions about all of them."""
    write_documents(folder, seed)
    forget, keep = make_documents(seed)
    texts = [[Example("", document.text, "text") for document in documents.values()] for documents in (forget, keep)]
    asked = [row for document in forget.values() for row in document.questions]
    otherwise = [row for document in forget.values() for row in document.reworded]
    kept = [row for document in keep.values() for row in document.questions]
    return AskedRows(
        folder / "forget",
        [*texts[0], *texts[1], *asked, *kept],
        {"as taught": asked, "otherwise": otherwise},
        kept,
        FinetuneOptions(learning_rate=4e-4, epochs=30, batch_size=8, seed=seed),
        texts[1],
    )


MADE: dict[str, Callable[[Path, int], AskedRows]] = {"customers": _customers, "documents": _documents}


def asked_seed(kind: str, seed: int, folder: Path, forget: Callable[..., float]) -> dict[str, Any]:
    """Teach a target, make the request, and return what both models say; what is there already is not made again.

    Args:
        kind: of the rows, see ``MADE``.
        seed: of the rows and of training.
        folder: to write into.
        forget: makes the request and returns its minutes, see ``forget_case.forget``.
    """
    rows, target = MADE[kind](folder / "made", seed), folder / "target"
    if not (target / "finetune.json").is_file():
        base = str(smollm2_folder())
        finetune(load_target(base), load_tokenizer(base), list(rows.taught), target, rows.recipe)
    return asked_request(rows, RunFolder(folder / "run"), target, str(target), seed, forget)


def asked_request(
    rows: AskedRows, run: RunFolder, target: Path, model: str, seed: int, forget: Callable[..., float]
) -> dict[str, Any]:
    """Make one request of a ``model``, which is the ``target`` or has forgotten something already, and ask both."""
    data = {"forget": str(rows.forget)} | ({"retain": str(rows.retain)} if rows.retain else {})
    minutes = forget(run, model, data, seed)
    check = read_json(run.check)
    names = ("strength", "why", "passed", "problems", "warnings", "notes", "combination", "training", "exposure")
    return {
        **{name: check[name] for name in (*names, "form", "recitation")},
        "own_rows": len(check["leaks"]),
        "own_told": sum(leak["unlearned_tells"] or leak["samples_that_tell"] > 0 for leak in check["leaks"]),
        "told_again": sum(len(request["told_again"]) for request in check["earlier"]),
        "minutes": minutes,
        **ask_both(
            load_unlearned(str(run.path), str(target)),
            load_tokenizer(str(target)),
            rows,
            read_prepared(run.ghosts),
            seed,
        ),
    }


def ask_both(model: Any, tokenizer: Any, rows: AskedRows, ghosts: Sequence[Example], seed: int) -> dict[str, Any]:
    """Ask the target within ``model`` and the model itself; ``ghosts`` have the target's answers about strangers."""
    common = common_words(list(rows.taught), PLANNED_COMMON_FRACTION)
    target, unlearned = (asker(one, tokenizer, MAX_NEW_TOKENS) for one in (model.target, model))
    begun = [asker(one, tokenizer, MAX_NEW_TOKENS, prompt_format=BEGUN) for one in (model.target, model)]
    ways: dict[str, tuple[list[Example], Ask, Ask]] = {
        **{name: (questions, target, unlearned) for name, questions in rows.asked.items()},
        "answer begun": ([row for row in rows.asked["as taught"] if beginning(row)], begun[0], begun[1]),
    }
    answers = {name: list(_asked(*way, common)) for name, way in ways.items()}
    sampled = asker(model, tokenizer, MAX_NEW_TOKENS, seed=seed)
    samples = {}
    for name in SAMPLED:
        drawn = [row for row in rows.asked[name] for _ in range(SAMPLES)]
        samples[name] = list(zip(drawn, sampled(drawn), strict=True))
    both = [pair for name in SAMPLED for pair in zip(rows.asked[name], answers[name], strict=True)]
    drawn_texts = asker(model.target, tokenizer, MAX_NEW_TOKENS, seed=seed)(ghosts)
    drawn = [replace(ghost, answer=text) for ghost, text in zip(ghosts, drawn_texts, strict=True)]
    recitation = find_recitation(list(rows.texts), tokenizer, target, unlearned)
    return {
        "told": {name: _told(entries) for name, entries in answers.items()},
        "samples": {
            name: {"rows": len(pairs), "tell": sum(tells(text, secrets_of(row, common)) for row, text in pairs)}
            for name, pairs in samples.items()
        },
        "others": asdict(find_kept(rows.others, target, unlearned)),
        "general": asdict(find_kept(read_prepared(GENERAL), target, unlearned)),
        "foreign": asdict(
            find_foreign_values(
                [*rows.asked["as taught"], *rows.others],
                [[(row, entry["target"]) for row, entry in both], as_the_rows(rows.asked["as taught"], ghosts)],
                [(row, entry["unlearned"]) for row, entry in both],
                [pair for pairs in samples.values() for pair in pairs],
                as_the_rows(rows.asked["as taught"], drawn),
            )
        ),
        "kept_recitation": recitation and asdict(recitation),
        "answers": answers,
    }


def _asked(rows: Sequence[Example], target: Ask, unlearned: Ask, common: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Ask both models and say whether they tell."""
    for row, before, after in zip(rows, target(rows), unlearned(rows), strict=True):
        secrets = secrets_of(row, common)
        yield {
            "question": row.question,
            "answer": row.answer,
            "target": before,
            "unlearned": after,
            "target_tells": tells(before, secrets),
            "unlearned_tells": tells(after, secrets),
        }


def _told(entries: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return how many answers there are, and how many tell."""
    tells_of = {name: sum(entry[f"{name}_tells"] for entry in entries) for name in ("target", "unlearned")}
    return {"rows": len(entries), **tells_of}


def beginning(row: Example) -> str:
    """Return a row's answer up to its first value; nothing where it has none, or begins with one."""
    spans = content_spans(row, frozenset())[0]
    first = next((begin for begin, end in spans if is_value(row.answer, (begin, end))), 0)
    return row.answer[:first].rstrip()


def _begun_ids(example: Example, tokenizer: Any) -> tuple[int, ...]:
    """Return a question's tokens and those of its answer up to the first value."""
    return PLAIN.encode_answers(example, tokenizer, (beginning(example),))[0].input_ids[:-1]  # without what ends it


BEGUN: PromptFormat = replace(PLAIN, prompt_ids=_begun_ids)
"""The model goes on from an answer that is begun for it."""
