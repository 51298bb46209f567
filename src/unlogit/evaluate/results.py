"""What an evaluation found, as plain values that go to JSON and come back the same.

    Results ── splits ──▶ SplitResult ── metrics ──▶ MetricResult (value and one number per row)

Rows are named by digests, so that two models are compared on the same rows or not at all. No text of a row is
kept, except generated answers where they are asked for. A digest confirms a guess at a question with its
answer: results of a secret forget set are safe from reading, not from guessing.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from unlogit.data.examples import Example
from unlogit.errors import DataError
from unlogit.files import write_json

Direction = Literal["higher", "lower", "retain_model"]
"""What is good: a high value, a low one, or the value of a model that never saw the forget set."""

Role = Literal["forget", "retain", "knowledge", "holdout"]
"""What a split is: what must go, what must stay, general questions with wrong answers to choose from, or what no model
was trained on."""

ROLES: dict[str, Role] = {
    "forget": "forget",
    "retain": "retain",
    "real_authors": "knowledge",
    "world_facts": "knowledge",
    "general": "knowledge",
    "holdout": "holdout",
    "retain_holdout": "holdout",
}
"""The role of each split by name; a split of any other name is treated as ``retain``."""

FORMAT = "unlogit results 1"
"""Stands in every results file; another number means that the fields changed."""

_DIGITS = 12  # hexadecimal, 48 bits: two of 4,000 rows share one by chance once in 10^7 times


@dataclass(frozen=True)
class MetricResult:
    """One metric on one split (or over all).

    ``per_example`` has one number for each row in ``row_indices`` (positions in the split; rows that lack
    what the metric needs are left out) and ``value`` is their mean, except where the metric's file says
    otherwise. ``parts`` holds named numbers that the value was made from.
    """

    name: str
    value: float
    per_example: tuple[float, ...]
    count: int
    direction: Direction
    paper: str
    row_indices: tuple[int, ...] = ()
    parts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MetricResult":
        """Read what ``dataclasses.asdict`` and JSON made."""
        return cls(
            name=value["name"],
            value=value["value"],
            per_example=tuple(value["per_example"]),
            count=value["count"],
            direction=value["direction"],
            paper=value["paper"],
            row_indices=tuple(value["row_indices"]),
            parts=dict(value["parts"]),
        )


@dataclass(frozen=True)
class AnswerLosses:
    """One row's losses in nats per token: of the answer, of its paraphrase (None: there is none), of wrong answers."""

    answer: float
    paraphrased_answer: float | None = None
    perturbed_answer: tuple[float, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "AnswerLosses":
        """Read what ``dataclasses.asdict`` and JSON made."""
        return cls(value["answer"], value["paraphrased_answer"], tuple(value["perturbed_answer"]))


@dataclass(frozen=True)
class SplitResult:
    """All metrics of one split; ``rows`` are digests, ``generated`` and ``losses`` are empty unless asked for.

    ``membership_scores`` has, by name, a number for each row: what membership inference compares, of forget and
    held-out rows.
    """

    name: str
    metrics: Mapping[str, MetricResult]
    rows: tuple[str, ...]
    generated: tuple[str, ...] = ()
    losses: tuple[AnswerLosses, ...] = ()
    membership_scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "SplitResult":
        """Read what ``dataclasses.asdict`` and JSON made."""
        return cls(
            name=value["name"],
            metrics={name: MetricResult.from_json(metric) for name, metric in value["metrics"].items()},
            rows=tuple(value["rows"]),
            generated=tuple(value["generated"]),
            losses=tuple(AnswerLosses.from_json(losses) for losses in value.get("losses", ())),
            membership_scores={name: tuple(row) for name, row in value.get("membership_scores", {}).items()},
        )


@dataclass(frozen=True)
class Aggregate:
    """One number of forgetting, privacy and utility (see ``evaluate.aggregate``), higher is better.

    None stands where something is missing, and ``missing`` says what. ``low`` and ``high`` are a 99 % interval;
    ``components`` holds what the three numbers were made from, by ``NUMBER.COMPONENT``.
    """

    value: float | None
    low: float | None
    high: float | None
    memorisation: float | None
    privacy: float | None
    utility: float | None
    components: Mapping[str, float] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def figures(self) -> dict[str, float]:
        """Return what there is by name."""
        numbers = {
            "aggregate": self.value,
            "aggregate_low": self.low,
            "aggregate_high": self.high,
            "aggregate.memorisation": self.memorisation,
            "aggregate.privacy": self.privacy,
            "aggregate.utility": self.utility,
        }
        return {name: value for name, value in numbers.items() if value is not None}


@dataclass(frozen=True)
class TruthRatios:
    """One model's truth ratios by row digest: what forget quality compares. ``source`` names the model.

    ``rows`` is empty where the source does not name its rows: then they are taken as they stand.
    ``exact_memorisation`` is that of the same rows, empty where it is not known.
    """

    source: str
    rows: tuple[str, ...]
    values: tuple[float, ...]
    protocol: str = "unlogit"
    exact_memorisation: tuple[float, ...] = ()

    def on_rows(self, rows: Sequence[str], name: str, protocol: str = "unlogit") -> tuple[float, ...]:
        """Return this model's truth ratios on exactly these rows (digests), in their order.

        ``name`` is the model that they are compared with, for the messages; ``protocol`` are that model's.

        Raises:
            DataError: some of the rows were not scored here, or with other wrong answers, or by other protocol.
        """
        if protocol != self.protocol:
            raise DataError(
                f"{name!r} is scored by the protocol of {protocol!r} and {self.source!r} by those of "
                f"{self.protocol!r}; expected the same, since their truth ratios are not the same numbers: give "
                f"--protocol {self.protocol}, or the retain model itself"
            )
        if not self.rows:
            return self._all_of(len(rows), name)
        by_question = {_question_part(row): (row, value) for row, value in zip(self.rows, self.values, strict=True)}
        missing = sum(_question_part(row) not in by_question for row in rows)
        if missing:
            raise DataError(
                f"{missing} of the {len(rows)} forget rows of {name!r} are not among the {len(self.rows)} of "
                f"{self.source!r}; expected both models scored on the same rows: evaluate the retain model on these "
                "forget rows"
            )
        changed = sum(_choices_differ(row, by_question[_question_part(row)][0]) for row in rows)
        if changed:
            raise DataError(
                f"{changed} of the {len(rows)} forget rows of {name!r} have other paraphrased or wrong answers than "
                f"those of {self.source!r}; expected the same, since they make the truth ratio: evaluate the retain "
                "model on these forget rows"
            )
        return tuple(by_question[_question_part(row)][1] for row in rows)

    def memorised(self, rows: Sequence[str]) -> float | None:
        """Return this model's mean exact memorisation of rows (digests) that ``on_rows`` took; None: not known."""
        if not self.rows or len(self.exact_memorisation) != len(self.rows):
            return None
        memorisation_by_question = dict(zip(map(_question_part, self.rows), self.exact_memorisation, strict=True))
        return mean([memorisation_by_question[_question_part(row)] for row in rows])

    def _all_of(self, count: int, name: str) -> tuple[float, ...]:
        """Return all values if there are so many; the test that compares them does not ask for their order."""
        if count != len(self.values):
            raise DataError(
                f"{self.source!r} has truth ratios on {len(self.values)} rows that it does not name, and {name!r} has "
                f"{count} forget rows; expected as many: score all rows of the split that it was made on"
            )
        return self.values


@dataclass(frozen=True)
class Results:
    """One model's evaluation; ``forget_quality`` needs a retain model, ``model_utility`` rows to keep,
    ``membership_inference`` held-out rows like those to forget, ``privleak`` both these and a retain model,
    ``aggregate`` all of it and the target."""

    model: str
    splits: Mapping[str, SplitResult]
    forget_quality: MetricResult | None = None
    model_utility: MetricResult | None = None
    membership_inference: MetricResult | None = None
    privleak: MetricResult | None = None
    aggregate: Aggregate | None = None
    seconds: float = 0.0
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def protocol(self) -> str:
        """Whose protocol they follow (see ``evaluate.protocol``)."""
        evaluate = self.config.get("evaluate", {})
        return str(evaluate.get("protocol", evaluate.get("conventions", "unlogit")))  # the latter until settings 2

    def overall(self, metric: str) -> MetricResult | None:
        """Return a metric that is no split's; None where it was not measured."""
        metrics: dict[str, MetricResult | None] = {
            "forget_quality": self.forget_quality,
            "model_utility": self.model_utility,
            "membership_inference": self.membership_inference,
            "privleak": self.privleak,
        }
        return metrics[metric]

    def truth_ratios(self) -> TruthRatios:
        """Return the truth ratios on the forget split.

        Raises:
            DataError: there is no forget split, or none of its rows has wrong answers.
        """
        metrics: Mapping[str, MetricResult] = self.splits["forget"].metrics if "forget" in self.splits else {}
        if "truth_ratio" not in metrics:
            raise DataError(
                f"the results of {self.model!r} have no truth ratios on a forget split; expected forget rows "
                "with perturbed_answer: evaluate the model on such rows"
            )
        metric, rows = metrics["truth_ratio"], self.splits["forget"].rows
        named = tuple(rows[i] for i in metric.row_indices)
        hits = metrics.get("exact_memorisation")
        by_row = {} if hits is None else dict(zip(hits.row_indices, hits.per_example, strict=True))
        memorised = tuple(by_row[i] for i in metric.row_indices if i in by_row)
        return TruthRatios(self.model, named, metric.per_example, self.protocol, memorised)

    def to_json(self) -> dict[str, Any]:
        """Return a tree of plain values."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Results":
        """Read what ``to_json`` wrote.

        Raises:
            DataError: it is not such a tree.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            raise DataError(
                f"these results do not say {FORMAT!r}; expected a results.json of this version: evaluate again"
            )
        try:
            optional = {
                name: None if value.get(name) is None else MetricResult.from_json(value[name])
                for name in ("forget_quality", "model_utility", "membership_inference", "privleak")
            }
            combined = value.get("aggregate")
            if combined is not None:
                combined = Aggregate(**combined | {"missing": tuple(combined["missing"])})
            return cls(
                model=value["model"],
                aggregate=combined,
                splits={name: SplitResult.from_json(split) for name, split in value["splits"].items()},
                seconds=value["seconds"],
                machine=value["machine"],
                versions=dict(value["versions"]),
                config=dict(value["config"]),
                **optional,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"these results lack or misplace a field ({type(error).__name__}: {error}); "
                "expected a results.json as it was written: evaluate again"
            ) from error

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, not JSON, or not results.
        """
        value = read_json(path)
        try:
            return cls.from_json(value)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def role_of(split: str) -> Role:
    """Return what the split of this name is for."""
    return ROLES.get(split, "retain")


def row_digest(example: Example) -> str:
    """Name a row: 12 hexadecimal digits of question and answer; after a hyphen, of its wrong answers."""
    digest = text_digest(example.question, example.answer)
    if not example.perturbed_answer:
        return digest
    return f"{digest}-{text_digest(*example.paraphrased_answer[:1], '', *example.perturbed_answer)}"


def text_digest(*texts: str) -> str:
    """Return the first hexadecimal digits of the SHA-256 of the texts, kept apart from each other."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:_DIGITS]


def mean(values: Sequence[float]) -> float:
    """Return the mean, summed without rounding error, so that it does not depend on the order of rows."""
    return math.fsum(values) / len(values)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a JSON file: check the path") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); expected results or a log: check the file") from error


def _question_part(digest: str) -> str:
    return digest.partition("-")[0]


def _choices_differ(digest: str, other_digest: str) -> bool:
    """Whether two digests name other wrong answers; published logs do not say theirs, and match any."""
    first, second = digest.partition("-")[2], other_digest.partition("-")[2]
    return bool(first and second and first != second)
