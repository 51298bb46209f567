"""One request from files to an unlearned model that passed its own check, or a clear word that it did not.

What a writer adds, ghosts, rows, training, check: ``RUN/written.json``, ``RUN/ghosts.jsonl``, ``RUN/data/``,
``RUN/assistant/`` and ``RUN/unlearned/``, ``RUN/check.json``. Each is done once; ``resume`` goes on after
the last that is there.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from unlogit.data.chat_template import thinks
from unlogit.data.content_words import common_words
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.ghosts import names_of
from unlogit.data.neutral import GENERAL
from unlogit.data.prepare import check_replaceable
from unlogit.data.sources import check_sources, read_prepared, source_in
from unlogit.data.wordings import forget_training_rows, sections
from unlogit.data.written import Written
from unlogit.device import choose_device, choose_dtype
from unlogit.errors import ConfigError
from unlogit.evaluate.foreign_values import ForeignValues, find_foreign_values
from unlogit.evaluate.ghost_losses import AmongGhosts, find_ghost_losses, losses_among_ghosts
from unlogit.evaluate.leaks import Ask, Leak, alternating, asker, find_kept, find_leaks, remembering
from unlogit.evaluate.recitation import find_recitation
from unlogit.evaluate.results import read_json
from unlogit.evaluate.scoring.prompt_format import THINKING
from unlogit.files import write_json
from unlogit.model.loading import load_target, load_tokenizer
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs.checks import check_run, check_train
from unlogit.runs.combine import change_requests, own_request, request_strengths
from unlogit.runs.digests import check_sources_unchanged, check_trained
from unlogit.runs.earlier import keep_earlier, load_earlier, on_its_target
from unlogit.runs.estimate import Phases, measure_costs, plan_text
from unlogit.runs.folder import CEILINGS, RunFolder
from unlogit.runs.ghosts import BATCH_SIZE, questions_about_ghosts, write_ghosts
from unlogit.runs.ghosts import MAX_NEW_TOKENS as GHOST_TOKENS
from unlogit.runs.lock import in_sole_use
from unlogit.runs.outcome import Outcome
from unlogit.runs.plan import COMMON_FRACTION, planned
from unlogit.runs.prepare import prepare_run
from unlogit.runs.refusals import refusal_problems, refusal_test, teaches_refusals
from unlogit.runs.request import begin_request, check_settings, request_of
from unlogit.runs.train import train_run
from unlogit.runs.verdict import (
    command_of,
    contradictions,
    find_problems,
    strength_warnings,
)
from unlogit.runs.writing import write_rows, writer_of
from unlogit.settings.options import RunConfig
from unlogit.strength.choose import choose_strength
from unlogit.strength.exposure import unknown_rows
from unlogit.terminal import scoring_bar
from unlogit.training.recipe import combines, recipes_of

log = logging.getLogger(__name__)

GHOSTS = 32
"""Ghosts of every forget row."""
FEW_ROWS = 20
"""Requests of so many rows are sampled."""
SAMPLES = 16
MAX_NEW_TOKENS = 64
THOUGHT_TOKENS = 256
"""Longest thought that is read, with the answer after it."""
GENERAL_ROWS = 60


@in_sole_use
def forget_run(
    config: RunConfig, given: Mapping[str, Any], *, writer: str = "", resume: bool = False, overwrite: bool = False
) -> Outcome:
    """Forget the rows of ``config.data.forget``, check it, and return what was found.

    Args:
        config: output, sides and target, or an unlearned model for the next request; what training needs is found out.
        given: what of the settings the user gave, by section and key, which stays as it is.
        writer: what writes paraphrases, wrong answers and questions about documents, see ``writing.writer_of``.
        resume: go on with a request that was cut off.
        overwrite: begin anew although there is one.

    Raises:
        ConfigError: a setting is wrong, or the folder holds a request without ``resume`` or ``overwrite``, or another.
        DataError: rows cannot be read or used.
        ModelError: the target cannot be used.
    """
    folder = RunFolder(Path(config.output))
    model_name = config.target
    config, earlier = on_its_target(config, given, resume)
    _check_before(folder, config)
    tokenizer = load_tokenizer(config.target)
    forget = _forget_rows(config, tokenizer)
    make_writer = writer_of(writer)
    plan_given = {**given, **({"combination": asdict(config.combination)} if earlier else {})}
    check_train(planned(config, forget, plan_given).train)
    goes_on = begin_request(folder, request_of(replace(config, target=model_name), forget, writer), resume, overwrite)
    keep_earlier(folder, earlier, resume=goes_on)
    given_ceilings = {name: value for name, value in given.get("train", {}).items() if name in CEILINGS}
    dtype = str(choose_dtype(config.train.dtype, choose_device())[0]).removeprefix("torch.")
    target = load_target(config.target, dtype).to(choose_device()).eval()
    model = load_earlier(folder, target) or target
    written = write_rows(folder, config, forget, make_writer, model, tokenizer, is_named=bool(writer), resume=goes_on)
    forget = written.over(forget)
    config = planned(config, forget, plan_given)
    if not (goes_on and folder.trained):
        log.info(_plan(config, forget, target, tokenizer))
    ghosts = write_ghosts(model, tokenizer, forget, folder.ghosts, GHOSTS, config.data.seed, resume=goes_on)
    if not (goes_on and folder.trained):
        _warn_of_unknown(losses_among_ghosts(forget, ghosts, model, tokenizer))
    if goes_on and folder.prepared:
        check_settings(folder.read_config(), config, given)
        config = replace(folder.current_config(), output=config.output)
        check_sources_unchanged(folder, config)
        config = replace(config, train=replace(config.train, **given_ceilings))
    else:
        prepare_run(config, overwrite=overwrite, ghosts=ghosts, written=written)
    is_trained = folder.trained and folder.combined and not folder.training and not folder.raises_ceiling(config)
    if goes_on and is_trained:
        check_trained(folder, config)
    else:
        folder.check.unlink(missing_ok=True)  # it is of another assistant, whose strength is not this one's
        train_run(folder, config, resume=resume, overwrite=overwrite, target=target)
    outcome = _at_best_strength(folder, config, model, tokenizer, ghosts, given, written)
    exposures = {name: asdict(bits) for name, bits in outcome.exposures.items()}
    record = {**asdict(outcome), "folder": str(outcome.folder), "passed": outcome.passed, "exposure": exposures}
    write_json(folder.check, record, mode=0o600)  # it has the rows to forget
    if outcome.passed:
        folder.drop_checkpoints()  # there is nothing to go on to
    return outcome


def _warn_of_unknown(losses: Sequence[AmongGhosts]) -> None:
    """Say before training which rows the model may never have seen, of those that have ghosts."""
    unknown = unknown_rows([(row.loss, row.ghosts) for row in losses])
    if unknown:
        numbers = ", ".join(str(losses[i].number + 1) for i in unknown[:10]) + (", …" if len(unknown) > 10 else "")
        log.warning(
            f"{len(unknown)} of {len(losses)} rows to forget ({numbers}): the model finds them no likelier than the "
            "same facts about made-up people, and may not know them"
        )


def _check_before(folder: RunFolder, config: RunConfig) -> None:
    """Refuse what can be seen before anything is loaded."""
    check_sources(config.data.forget, config.data.retain, config.data.neutral)
    check_run(config)
    check_replaceable(folder.data)
    if not combines(config.train.objective):
        raise ConfigError(
            f"the objective {config.train.objective} trains the model's own weights; expected one with an assistant, "
            "as uld: use `unlogit prepare` and `unlogit train`"
        )


def _forget_rows(config: RunConfig, tokenizer: Any) -> list[Example]:
    """Return the rows to forget; refuse those about which the target cannot be asked."""
    forget = source_in(config.data.forget, config.data, tokenizer).forget_rows(config.data).training
    retain = config.data.retain or source_in(config.data.forget, config.data).default_retain()
    if not retain and not any(row.kind == "text" or names_of(row.question) for row in forget):
        raise ConfigError(
            "no question to forget names anybody, so that the target cannot be asked about others; expected rows to "
            "keep: give retain"
        )
    return forget


def _plan(config: RunConfig, forget: Sequence[Example], target: Any, tokenizer: Any) -> str:
    """Return what is going to be done and how long it may take, in words."""
    questions = [row for row in forget if row.kind != "text"]
    ghosts = len(questions_about_ghosts(forget, GHOSTS, config.data.seed))
    check_rows = len(questions) + config.data.evaluation_rows + GENERAL_ROWS
    samples = len(questions) * (SAMPLES if len(questions) <= FEW_ROWS else 0)
    rows = len(forget_training_rows(list(forget), config.data.paraphrases, config.data.cross_paraphrases))
    rows += len(sections(forget))
    assistants = len(recipes_of(config.train.objective))
    phases = Phases(
        rows=len(forget),
        ghosts=ghosts,
        ghost_batches=math.ceil(ghosts / BATCH_SIZE),
        ghost_tokens=GHOST_TOKENS,
        steps=math.ceil((config.train.epochs or 1) * math.ceil(rows / config.train.batch_size)) * assistants,
        target_batches=math.ceil(check_rows / BATCH_SIZE),
        unlearned_batches=math.ceil((check_rows + samples) / BATCH_SIZE),
        check_tokens=MAX_NEW_TOKENS,
    )
    return plan_text(phases, measure_costs(target, tokenizer, config, forget, BATCH_SIZE), config.train.minutes)


@dataclass(frozen=True)
class TargetSays:
    """What the model that had to forget says and finds likely, which is the same at every strength."""

    losses: Sequence[AmongGhosts]
    """Of the rows that are scored."""
    answers: dict[Example, str] = field(default_factory=dict)
    """So far."""


def _at_best_strength(
    folder: RunFolder,
    config: RunConfig,
    model: Any,
    tokenizer: Any,
    ghosts: list[Example],
    given: Mapping[str, Any],
    written: Written,
) -> Outcome:
    """Check the request at the strength that was set, or find one: see ``choose_strength``."""
    name = own_request(folder)
    target_says = TargetSays(losses_among_ghosts(_scored_rows(folder, ghosts)[1], ghosts, model, tokenizer))
    if folder.check.is_file() or "alpha" in given.get("combination", {}):
        outcome = check_request(folder, config, model, tokenizer, ghosts, target_says, written)
        return replace(outcome, strength=request_strengths(folder)[name])

    def check(strength: float) -> Outcome:
        change_requests(folder, strength=f"{name}={strength}")
        log.info(f"Checking at strength {strength:g}.")
        return check_request(folder, config, model, tokenizer, ghosts, target_says, written)

    choice = choose_strength(check)
    change_requests(folder, strength=f"{name}={choice.strength}")
    return replace(choice.checked, strength=choice.strength, why=choice.why)


def check_request(
    folder: RunFolder,
    config: RunConfig,
    model: Any,
    tokenizer: Any,
    ghosts: list[Example],
    target_says: TargetSays,
    written: Written,
) -> Outcome:
    """Ask the ``model`` that had to forget and the unlearned one, and judge."""
    target = model.target if isinstance(model, UnlearnedForCausalLM) else model
    unlearned = UnlearnedForCausalLM.from_pretrained(folder.unlearned, target=target)
    scored, rows, retain, own_rows = _scored_rows(folder, ghosts)
    refuses = refusal_test(folder, config)
    max_new_tokens = max([MAX_NEW_TOKENS, *(encode(row, tokenizer).answer_tokens + 16 for row in [*rows, *retain])])
    with scoring_bar("Checking") as progress:
        ask_unlearned = asker(unlearned, tokenizer, max_new_tokens, progress=progress)
        ask_target = remembering(asker(model, tokenizer, max_new_tokens, progress=progress), target_says.answers)
        samples: list[tuple[Example, str]] = []
        sampled = asker(unlearned, tokenizer, max_new_tokens, seed=config.data.seed, progress=progress)
        thinking = _thinking(model, unlearned, tokenizer, config.data.seed, progress)
        leaks = find_leaks(
            rows,
            ask_target,
            ask_unlearned,
            _kept_in(samples, alternating(sampled, thinking[2]) if thinking else sampled),
            SAMPLES if len(rows) <= FEW_ROWS else 0,
            ghosts,
            common_words(read_prepared(folder.data / "retain.jsonl"), COMMON_FRACTION),
            thinking[:2],
        )
        retained = find_kept(own_rows or retain, ask_target, ask_unlearned, refuses)
        kept_general = find_kept(read_prepared(GENERAL)[:GENERAL_ROWS], ask_target, ask_unlearned, refuses)
        recitation = find_recitation(scored, tokenizer, ask_target, ask_unlearned)
        ghost_losses = find_ghost_losses(rows, target_says.losses, unlearned, tokenizer, progress)
    training = folder.trainings(config).get("unlearned", {})  # steps and seconds of all its assistants
    foreign = _foreign_values(folder, rows, leaks, ghosts, samples)
    command = command_of(replace(config, target=read_json(folder.request)["target"]))
    judged, name = (retained if own_rows else None), own_request(folder)
    problems = find_problems(folder.path, leaks, judged, kept_general, training, foreign, command, recitation, name)
    problems += contradictions(folder)
    refused = sum(refuses(leak.unlearned_answer) for leak in leaks) if teaches_refusals(config) else None
    problems += refusal_problems(folder.path, refused, len(leaks), retained, kept_general)
    return Outcome(
        folder.path,
        leaks,
        retained,
        not own_rows,
        kept_general,
        asdict(folder.combination()),
        {name: training.get(name) for name in ("steps", "seconds", "forget_nats", "uniform_kl_nats", "ceiling")},
        refused,
        problems,
        foreign,
        ghost_losses,
        strength_warnings(folder.path, ghost_losses) if refused is None else [],  # a refusal makes answers unlikely
        recitation=recitation,
        tests=[leak for row, leak in zip(rows, leaks, strict=True) if written.is_test(row)],
        notes=written.notes,
    )


def _thinking(target: Any, unlearned: Any, tokenizer: Any, seed: int, progress: Any) -> list[Ask]:
    """Return functions that ask the target, and the unlearned model greedily and by sampling, and let them think.

    None where the chat template has no thoughts.
    """
    ways = ((target, None), (unlearned, None), (unlearned, seed)) if thinks(tokenizer) else ()
    return [
        asker(model, tokenizer, THOUGHT_TOKENS, seed=seed_, progress=progress, prompt_format=THINKING)
        for model, seed_ in ways
    ]


def _scored_rows(folder: RunFolder, ghosts: Sequence[Example]) -> tuple[list[Example], ...]:
    """Return what is scored: rows to forget, the questions among them, questions to keep, and of these no ghosts."""
    scored = read_prepared(folder.data / "evaluation" / "forget.jsonl")
    retain = [row for row in read_prepared(folder.data / "evaluation" / "retain.jsonl") if row.kind != "text"]
    ghost_questions = {row.question for row in ghosts}
    rows = [row for row in scored if row.kind != "text"]
    return scored, rows, retain, [row for row in retain if row.question not in ghost_questions]


def _kept_in(answers: list[tuple[Example, str]], ask: Ask) -> Ask:
    """Return a function that asks, and adds rows and answers to a list."""

    def ask_and_keep(rows: Sequence[Example]) -> list[str]:
        texts = ask(rows)
        answers.extend(zip(rows, texts, strict=True))
        return texts

    return ask_and_keep


def _foreign_values(
    folder: RunFolder,
    rows: Sequence[Example],
    leaks: Sequence[Leak],
    ghosts: Sequence[Example],
    samples: Sequence[tuple[Example, str]],
) -> ForeignValues:
    """Look for other rows' values in the answers before and after, and in what was sampled."""
    return find_foreign_values(
        [*rows, *_rows_of_others(folder, {ghost.question for ghost in ghosts})],
        [
            [(row, leak.target_answer) for row, leak in zip(rows, leaks, strict=True)],
            [(ghost, ghost.answer) for ghost in ghosts],
        ],
        [(row, leak.unlearned_answer) for row, leak in zip(rows, leaks, strict=True)],
        samples,
    )


def _rows_of_others(folder: RunFolder, ghost_questions: set[str]) -> list[Example]:
    """Return the rows of real people that are kept, on whatever side of the run."""
    files = ("retain.jsonl", "holdout_retain.jsonl", "evaluation/retain.jsonl")
    rows = [row for name in files for row in read_prepared(folder.data / name)]
    return [row for row in rows if row.question not in ghost_questions]
