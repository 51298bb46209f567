"""The check of a request: target and unlearned model are asked, and what they say is judged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from unlogit.data.chat_template import thinks
from unlogit.data.content_words import common_words
from unlogit.data.encode import encode
from unlogit.data.examples import Example
from unlogit.data.neutral import GENERAL
from unlogit.data.sources import read_prepared
from unlogit.data.written import Written
from unlogit.evaluate.foreign_values import ForeignValues, as_the_rows, find_foreign_values
from unlogit.evaluate.forms import find_form_fit
from unlogit.evaluate.ghost_losses import AmongGhosts, Rates, find_ghost_losses
from unlogit.evaluate.leaks import Ask, Guessable, Leak, alternating, asker, find_kept, find_leaks, remembering
from unlogit.evaluate.recitation import find_recitation
from unlogit.evaluate.results import read_json
from unlogit.evaluate.scoring.prompt_format import THINKING
from unlogit.model.unlearned import UnlearnedForCausalLM
from unlogit.runs.combine import own_request
from unlogit.runs.earlier_rows import EarlierRequest, ask_again, rows_of, told_again_problems
from unlogit.runs.folder import RunFolder
from unlogit.runs.ghosts import rows_of_kept_people
from unlogit.runs.outcome import Outcome
from unlogit.runs.plan import PLANNED_COMMON_FRACTION
from unlogit.runs.refusals import refusal_problems, refusal_test, teaches_refusals
from unlogit.runs.verdict import command_of, contradictions, find_problems, strength_warnings
from unlogit.settings.options import RunConfig
from unlogit.terminal import scoring_bar

FEW_ROWS = 20
"""Requests of so many rows are sampled."""
SAMPLES = 16
MAX_NEW_TOKENS = 64
THOUGHT_TOKENS = 256
"""Longest thought that is read, with the answer after it."""
GENERAL_ROWS = 60


@dataclass(frozen=True)
class TargetSays:
    """What the model that had to forget says and finds likely, which is the same at every strength."""

    losses: Sequence[AmongGhosts]
    """Of the rows that are scored."""
    ghosts: Sequence[Example]
    """With its answers."""
    earlier: Sequence[EarlierRequest]
    """What it had forgotten before."""
    answers: dict[Example, str] = field(default_factory=dict)
    """So far."""
    thoughts: dict[Example, str] = field(default_factory=dict)
    """So far, with the answers after them; none where the chat template has no thoughts."""
    drawn: dict[Example, str] = field(default_factory=dict)
    """So far, to the ghosts, drawn as the unlearned model's answers are."""

    @property
    def rates(self) -> dict[int, Rates]:
        """How likely it finds a row's secrets of strangers, by its place."""
        return {among.number: among.rates for among in self.losses}


def check_request(
    folder: RunFolder,
    config: RunConfig,
    model: Any,
    unlearned: UnlearnedForCausalLM,
    tokenizer: Any,
    target_says: TargetSays,
    written: Written,
) -> Outcome:
    """Ask the ``model`` that had to forget and the unlearned one as it is set, and judge."""
    scored, rows, retain, own_rows, kept_people = scored_rows(folder, target_says.ghosts)
    refuses = refusal_test(folder, config)
    max_new_tokens = max_answer_tokens([*rows, *retain, *rows_of(target_says.earlier)], tokenizer)
    with scoring_bar("Checking") as progress:
        ask_unlearned = asker(unlearned, tokenizer, max_new_tokens, progress=progress)
        ask_target = remembering(asker(model, tokenizer, max_new_tokens, progress=progress), target_says.answers)
        samples = list[tuple[Example, str]]()
        thinking = _thinking(model, unlearned, tokenizer, config.data.seed, progress, target_says.thoughts)
        draws = _draws((unlearned, model), tokenizer, max_new_tokens, config.data.seed, progress, thinking[2:])
        drawn_ghosts = _drawn_ghosts(target_says, draws[1], rows)
        leaks = find_leaks(
            rows,
            ask_target,
            ask_unlearned,
            _kept_in(samples, draws[0]),
            SAMPLES if is_sampled(rows) else 0,
            Guessable(target_says.ghosts, drawn_ghosts, kept_people, target_says.rates),
            words_of_many(folder),
            thinking[:2],
        )
        retained = find_kept(own_rows or retain, ask_target, ask_unlearned, refuses)
        kept_general = find_kept(read_prepared(GENERAL)[:GENERAL_ROWS], ask_target, ask_unlearned, refuses)
        recitation = find_recitation(scored, tokenizer, ask_target, ask_unlearned)
        earlier_leaks = ask_again(target_says.earlier, ask_target, ask_unlearned, thinking[:2])
        ghost_losses = find_ghost_losses(
            rows, target_says.losses, unlearned, tokenizer, words_of_many(folder), progress
        )
        foreign = _foreign_values([*rows, *kept_people], rows, leaks, samples, target_says.ghosts, drawn_ghosts)
    refused = sum(refuses(leak.unlearned_answer) for leak in leaks) if teaches_refusals(config) else None
    training = folder.trainings(config).get("unlearned", {})  # steps and seconds of all its assistants
    outcome = Outcome(
        folder.path,
        leaks,
        retained,
        not own_rows,
        kept_general,
        asdict(folder.combination()),
        {name: training.get(name) for name in ("steps", "seconds", "forget_nats", "uniform_kl_nats", "ceiling")},
        refused,
        [],
        foreign,
        ghost_losses,
        strength_warnings(folder.path, ghost_losses) if refused is None else [],  # a refusal makes answers unlikely
        recitation=recitation,
        tests=[leak for row, leak in zip(rows, leaks, strict=True) if written.is_test(row)],
        notes=written.notes,
        form=find_form_fit(rows, leaks, target_says.ghosts),
        earlier=earlier_leaks,
    )
    return replace(outcome, problems=_problems(folder, config, outcome, training))


def _problems(folder: RunFolder, config: RunConfig, outcome: Outcome, training: dict[str, Any]) -> list[str]:
    """Return why a request did not pass."""
    command = command_of(replace(config, target=read_json(folder.request)["target"]))
    problems = find_problems(
        folder.path,
        outcome.leaks,
        None if outcome.retained_are_ghosts else outcome.retained,
        outcome.general,
        training,
        outcome.foreign,
        command,
        outcome.recitation,
        own_request(folder),
    )
    problems += contradictions(folder) + told_again_problems(folder.path, outcome.earlier)
    return problems + refusal_problems(
        folder.path, outcome.refused, len(outcome.leaks), outcome.retained, outcome.general
    )


def words_of_many(folder: RunFolder) -> frozenset[str]:
    """Return the words that so many answers have that they are no secret."""
    return common_words(read_prepared(folder.data / "retain.jsonl"), PLANNED_COMMON_FRACTION)


def is_sampled(rows: Sequence[Example]) -> bool:
    """Whether answers to these rows to forget are drawn, too."""
    return len(rows) <= FEW_ROWS


def _draws(
    models: Sequence[Any], tokenizer: Any, max_new_tokens: int, seed: int, progress: Any, thinking: Sequence[Ask]
) -> list[Ask]:
    """Return functions that draw each model's answers, every other one with a thought where there is a way to think."""
    asks = [asker(model, tokenizer, max_new_tokens, seed=seed, progress=progress) for model in models]
    return [alternating(*pair) for pair in zip(asks, thinking, strict=True)] if thinking else asks


def _drawn_ghosts(target_says: TargetSays, ask: Ask, rows: Sequence[Example]) -> list[Example]:
    """Return the ghosts with answers drawn from the target, where those to ``rows`` are drawn, too."""
    ghosts = target_says.ghosts if is_sampled(rows) else []
    answers = remembering(ask, target_says.drawn)(ghosts)
    return [replace(ghost, answer=answer) for ghost, answer in zip(ghosts, answers, strict=True)]


def max_answer_tokens(rows: Sequence[Example], tokenizer: Any) -> int:
    """Return how many tokens an answer may have, so that each of these rows could be told whole."""
    return max([MAX_NEW_TOKENS, *(encode(row, tokenizer).answer_tokens + 16 for row in rows)])


def _thinking(
    target: Any, unlearned: Any, tokenizer: Any, seed: int, progress: Any, target_thoughts: dict[Example, str]
) -> list[Ask]:
    """Return functions that ask target and unlearned model so that they think, and draw the latter's and the former's.

    Empty where the chat template has no thoughts. What the target thinks is kept in ``target_thoughts``.
    """
    ways = ((target, None), (unlearned, None), (unlearned, seed), (target, seed)) if thinks(tokenizer) else ()
    asks = [
        asker(model, tokenizer, THOUGHT_TOKENS, seed=seed_, progress=progress, prompt_format=THINKING)
        for model, seed_ in ways
    ]
    return [remembering(asks[0], target_thoughts), *asks[1:]] if asks else []


def scored_rows(folder: RunFolder, ghosts: Sequence[Example]) -> tuple[list[Example], ...]:
    """Return what is scored: rows to forget, the questions among them, questions to keep, of these no ghosts; last all
    rows that are kept, scored or not."""
    scored = read_prepared(folder.data / "evaluation" / "forget.jsonl")
    retain = [row for row in read_prepared(folder.data / "evaluation" / "retain.jsonl") if row.kind != "text"]
    ghost_questions = {row.question for row in ghosts}
    rows = [row for row in scored if row.kind != "text"]
    own_rows = [row for row in retain if row.question not in ghost_questions]
    return scored, rows, retain, own_rows, rows_of_kept_people(folder, ghosts)


def _kept_in(answers: list[tuple[Example, str]], ask: Ask) -> Ask:
    """Return a function that asks, and adds rows and answers to a list."""

    def ask_and_keep(rows: Sequence[Example]) -> list[str]:
        texts = ask(rows)
        answers.extend(zip(rows, texts, strict=True))
        return texts

    return ask_and_keep


def _foreign_values(
    owners: Sequence[Example],
    rows: Sequence[Example],
    leaks: Sequence[Leak],
    samples: Sequence[tuple[Example, str]],
    ghosts: Sequence[Example],
    drawn: Sequence[Example],
) -> ForeignValues:
    """Look for other rows' values in the answers before and after, and in what was sampled."""
    return find_foreign_values(
        owners,
        [[(row, leak.target_answer) for row, leak in zip(rows, leaks, strict=True)], as_the_rows(rows, ghosts)],
        [(row, leak.unlearned_answer) for row, leak in zip(rows, leaks, strict=True)],
        samples,
        as_the_rows(rows, drawn),
    )
