"""``results.json`` of a run folder: the results of several models on the same rows.

Each model's own results are as ``evaluate.results`` defines them; here they only stand side by side.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unlogit.errors import DataError
from unlogit.evaluate.aggregate import aggregate
from unlogit.evaluate.results import Results, TruthRatios, read_json
from unlogit.files import write_json
from unlogit.settings.config_file import recorded
from unlogit.settings.options import RunConfig

FORMAT = "unlogit run 1"
RETAIN = "retain model"
"""The key of the retain model's results."""

INDISTINGUISHABLE = 0.05
"""From this forget quality on, TOFU's test cannot distinguish a model from the retain model."""


@dataclass(frozen=True)
class RunResults:
    """Results by model; ``config`` is the run's, ``rows`` says which evaluation rows were scored, ``training`` how each
    model was trained, as far as is known."""

    models: Mapping[str, Results]
    config: Mapping[str, Any] = field(default_factory=dict)
    rows: str = "all"
    training: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse numbers side by side that are not of one kind."""
        protocols = {results.protocol: name for name, results in self.models.items()}
        if len(protocols) > 1:
            listed = ", ".join(f"those of {name!r} by {protocol!r}" for protocol, name in protocols.items())
            raise DataError(
                f"these results follow different protocols: {listed}; expected one kind: evaluate all by the same "
                "--protocol"
            )

    def made_with(self, config: RunConfig) -> bool:
        """Whether a run with these settings has these results, wherever it stands."""
        return replace(recorded(self.config), output=config.output) == config

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        models = {name: results.to_json() for name, results in self.models.items()}
        about = {"format": FORMAT, "rows": self.rows, "config": self.config, "training": self.training}
        write_json(path, about | {"models": models})

    @classmethod
    def read(cls, path: Path) -> "RunResults":
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, not JSON, or not such results.
        """
        value = read_json(path)
        if not is_run_results(value):
            raise DataError(f"{path} does not say {FORMAT!r}; expected a run's results.json: evaluate again")
        models = {name: Results.from_json(results) for name, results in value["models"].items()}
        return cls(models, value["config"], value["rows"], value.get("training", {}))


def with_aggregates(models: Mapping[str, Results]) -> dict[str, Results]:
    """Return results of models on the same rows, each with its aggregate as far as target and retain model allow."""
    target, retain = models.get("target"), models.get(RETAIN)
    return {name: replace(results, aggregate=aggregate(results, target, retain)) for name, results in models.items()}


def is_run_results(value: Any) -> bool:
    """Whether parsed JSON is a run's results."""
    return isinstance(value, Mapping) and value.get("format") == FORMAT


def load_retain(path: Path, protocol: str = "unlogit") -> Results | TruthRatios:
    """Read a retain model's results: a run's results.json that has one, one model's results, a published log, or
    OpenUnlearning's TOFU_EVAL.json.

    A published log holds losses: its numbers are computed by ``protocol``. The others have theirs.

    Raises:
        DataError: the file is none of these.
    """
    from unlogit.evaluate.open_unlearning.files import is_open_unlearning, read_open_unlearning
    from unlogit.evaluate.published_logs import load_retain_truth_ratios

    value = read_json(path)
    if is_open_unlearning(value):
        return read_open_unlearning(path)
    if not is_run_results(value):
        return load_retain_truth_ratios(path, protocol)
    run = RunResults.read(path)
    if RETAIN not in run.models:
        raise DataError(
            f"{path} has results of {', '.join(run.models)}; expected a {RETAIN}'s: evaluate that run with "
            "--retain_model, or give the model itself"
        )
    return run.models[RETAIN]


def write_run_open_unlearning(found: RunResults, path: Path) -> Path:
    """Write OpenUnlearning's two files of each model beside ``path``, the run's results; return their folder.

    Results of another model on a run's rows have a folder of their own.
    """
    from unlogit.evaluate.open_unlearning.files import write_open_unlearning

    folder = path.parent / "open_unlearning"
    if path.name != "results.json":
        folder /= path.stem
    for name, results in found.models.items():
        write_open_unlearning(results, folder / re.sub(r"[^\w.-]+", "_", Path(name).name))
    return folder


def given_out_warning(picked: float, target: float, retain: float) -> str:
    """Return one line where forget answers are still given out by what was picked; else an empty string.

    They are where the share of answer tokens that are the likeliest (exact memorisation, 0 to 1) is nearer to the
    target's than to the retain model's.
    """
    if picked <= (target + retain) / 2:
        return ""
    return (
        f"with what was picked, {picked:.0%} of the forget answers' tokens are still the likeliest (target "
        f"{target:.0%}, retain model {retain:.0%}): look for another with less exact memorisation, or choose on "
        "more rows"
    )


def path_point(epoch: int, results: Results) -> dict[str, Any]:
    """Return the figures of one point of a path, those of a table's row."""
    point: dict[str, Any] = {"epoch": epoch}
    for name, metric in (("forget_quality", results.forget_quality), ("model_utility", results.model_utility)):
        point[name] = None if metric is None else metric.value
    for split in ("forget", "retain"):
        metrics = results.splits[split].metrics
        point |= {
            f"{split}_{name}": metrics[name].value for name in ("probability", "rouge_l_recall") if name in metrics
        }
    return point
