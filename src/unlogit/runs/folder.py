"""The run folder: where each step of a run reads and writes, and how far it has come.

    RUN/config.yaml   every setting
    RUN/data/         rows (``prepare``)
    RUN/assistant/    the adapter (``train``), of a second branch assistant-NAME/, as assistant-refusal/; beside it
                      assistant.checkpoints/ while training. Full-model unlearning has none.
    RUN/training_settings.json  what that training was begun with, digests of its rows included
    RUN/earlier/      the unlearned model that a next request is added to
    RUN/unlearned/    the unlearned model: pointer to the target, assistants, tokenizer; or an ordinary model
    RUN/digests.json  hashes of sources, target, tokenizer, rows to score, adapters (``digests``)
    RUN/path.json     figures after each pass, if asked for (``train``)
    RUN/results.json  what was measured (``evaluate``); RUN/pick.json the combinations that were tried
    RUN/sweep.json    the combinations of a grid (``sweep``); the same as a table and a plot: sweep.csv, sweep.png

Paths only, and the settings; what stands in the files is the business of the steps.
"""

import hashlib
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from unlogit.errors import ConfigError, DataError
from unlogit.files import write_json
from unlogit.settings.config_file import differences, plain, read_config, write_config
from unlogit.settings.options import AssistantOptions, CombinationOptions, RunConfig, TrainOptions
from unlogit.settings.retired import SETTINGS_VERSION, options_in_use, up_to_date

TRAINING_FILE = "training.json"
"""Stands beside what was trained: settings, steps, seconds."""

CEILINGS = ("epochs", "minutes")
"""Settings of training that may be raised to go on with one that they ended before it had succeeded."""


def is_raised(name: str, old: float | None, new: float | None) -> bool:
    """Whether a ceiling is higher than it was; no minutes are no ceiling."""
    if old is None or new is None:
        return False
    return new > old or (name == "minutes" and new == 0 < old)


TRAINED_ON = ("forget", "retain", "perturbed", "neutral")
"""The files of ``data/`` whose rows an assistant is trained on."""


@dataclass(frozen=True)
class RunFolder:
    """Paths in one run folder."""

    path: Path

    @property
    def config(self) -> Path:
        """Every setting."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """Folder of the rows."""
        return self.path / "data"

    @property
    def assistant(self) -> Path:
        """Folder of the adapter."""
        return self.path / "assistant"

    def adapter(self, name: str) -> Path:
        """Folder of the adapter of this name, see ``training.recipe``."""
        return self.path / name

    @property
    def adapters(self) -> tuple[Path, ...]:
        """Folders of all adapters that are there, the first branch's first."""
        return tuple(sorted(path.parent for path in self.path.glob("*/assistant.json")))

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        """Folders of trainings that have not ended."""
        return tuple(sorted(self.path.glob("*.checkpoints")))

    @property
    def training_settings(self) -> Path:
        """What the training was begun with; config.yaml may have been written anew since."""
        return self.path / "training_settings.json"

    @property
    def unlearned(self) -> Path:
        """Folder of the unlearned model."""
        return self.path / "unlearned"

    @property
    def earlier(self) -> Path:
        """Folder of the unlearned model that this run's request is added to; there for a next request only."""
        return self.path / "earlier"

    @property
    def results(self) -> Path:
        """What was measured."""
        return self.path / "results.json"

    @property
    def path_points(self) -> Path:
        """Figures after each pass of the training."""
        return self.path / "path.json"

    @property
    def pick(self) -> Path:
        """The combinations that were tried."""
        return self.path / "pick.json"

    @property
    def ghosts(self) -> Path:
        """The target's answers to questions about people who do not exist."""
        return self.path / "ghosts.jsonl"

    @property
    def request(self) -> Path:
        """Which request this folder is of."""
        return self.path / "request.json"

    @property
    def check(self) -> Path:
        """What was asked before and after a request, and the verdict; in words in a file of the same name."""
        return self.path / "check.json"

    @property
    def digests(self) -> Path:
        """Hashes of what the run was made from and what it made."""
        return self.path / "digests.json"

    @property
    def sweep(self) -> Path:
        """The combinations of a grid; a table and a plot of them have the same name and another suffix."""
        return self.path / "sweep.json"

    @property
    def prepared(self) -> bool:
        """Whether the rows are there."""
        return (self.data / "summary.json").is_file() and self.config.is_file()

    @property
    def trained(self) -> bool:
        """Whether something trained is there: an assistant, or an ordinary model."""
        return any((folder / TRAINING_FILE).is_file() for folder in (*self.adapters, self.unlearned))

    @property
    def combined(self) -> bool:
        """Whether the unlearned model is there."""
        return (self.unlearned / "config.json").is_file()

    @property
    def training(self) -> bool:
        """Whether a training was begun and has not ended."""
        return any(
            any(folder.glob("checkpoint-*")) and not self._reached_ceiling(self._trained_from(folder))
            for folder in self.checkpoints
        )

    @property
    def at_ceiling(self) -> bool:
        """Whether a training has ended at its ceiling, and can go on from its checkpoints with a higher one."""
        return any(self._reached_ceiling(self._trained_from(folder)) for folder in self.checkpoints)

    def raises_ceiling(self, config: RunConfig) -> bool:
        """Whether a training that has ended at its ceiling may go on with these settings."""
        return self.at_ceiling and any(
            is_raised(name, value, getattr(config.train, name)) for name, value in self._begun_ceilings().items()
        )

    @staticmethod
    def _trained_from(checkpoints: Path) -> Path:
        return checkpoints.with_name(checkpoints.name.removesuffix(".checkpoints"))

    def _reached_ceiling(self, place: Path) -> bool:
        """Whether what stands in ``place`` is what the latest leg of a training came to, at its ceiling."""
        summary = self.summary_of(place)
        if not summary or not summary.get("ceiling"):
            return False
        return all(value in (None, summary["train"][name]) for name, value in self._begun_ceilings().items())

    def _begun_ceilings(self) -> dict[str, float | None]:
        """Return the ceilings that the latest leg was begun with."""
        from unlogit.evaluate.results import read_json

        train = read_json(self.training_settings)["train"] if self.training_settings.is_file() else {}
        return {name: train[name] for name in CEILINGS if name in train}

    def summary_of(self, place: Path) -> dict[str, Any] | None:
        """Return how what stands in ``place`` was trained, or None where nothing whole does."""
        from unlogit.evaluate.results import read_json

        path = place / TRAINING_FILE
        summary: dict[str, Any] | None = read_json(path) if path.is_file() else None
        return summary

    def read_path(self) -> list[dict[str, Any]]:
        """Return the figures after each pass that were written so far."""
        from unlogit.evaluate.results import read_json

        points: list[dict[str, Any]] = read_json(self.path_points) if self.path_points.is_file() else []
        return points

    def read_config(self) -> RunConfig:
        """Read the settings; ``output`` is this folder, wherever it was when they were written.

        Raises:
            ConfigError: see ``config_file.read_yaml``.
            DataError: this is no run folder.
        """
        if not self.config.is_file():
            raise DataError(f"{self.path} has no config.yaml; expected a run folder: make one with `unlogit prepare`")
        return replace(read_config(self.config), output=str(self.path))

    def write_config(self, config: RunConfig) -> None:
        """Write the settings."""
        write_config(self.config, config)

    def combination(self) -> CombinationOptions:
        """How the unlearned model combines: as is stored with it; before it is there, as config.yaml asks."""
        from unlogit.evaluate.results import read_json

        configured = self.read_config().combination
        stored = read_json(self.unlearned / "config.json") if self.combined else {}
        return replace(configured, **{name: stored[name] for name in asdict(configured) if name in stored})

    def current_config(self) -> RunConfig:
        """Return the settings, with the combination that is stored with the unlearned model."""
        return replace(self.read_config(), combination=self.combination())

    def write_combination(self, combination: CombinationOptions) -> None:
        """Let the unlearned model combine so from now on."""
        from unlogit.evaluate.results import read_json

        path = self.unlearned / "config.json"
        write_json(path, read_json(path) | asdict(combination))

    def check_unchanged(self, config: RunConfig, *names: str) -> None:
        """Refuse to go on with other settings than those that a step was begun with.

        Raises:
            ConfigError: some of the named sections differ from what stands in config.yaml; says all that do.
        """
        if changed := differences(self.read_config(), config, names):
            raise ConfigError(
                f"{self.path} was begun with other settings ({'; '.join(changed)}); expected the same, to go on from "
                "where it stands: leave them as they were, or give --overwrite instead of --resume"
            )

    def begin_training(self, config: RunConfig) -> None:
        """Record what an assistant is going to be trained with, and on which rows."""
        write_json(self.training_settings, self._settings_of(config))

    def check_training(self, config: RunConfig) -> None:
        """Refuse to go on with a training that was begun with other settings, or on other rows.

        Raises:
            ConfigError: target, a setting or the rows differ, or nothing is recorded; says all that do.
            DataError: rows are missing, or the record is not JSON.
        """
        from unlogit.evaluate.results import read_json

        if not self.training_settings.is_file():
            raise ConfigError(
                f"{self.path} has no {self.training_settings.name}; expected it beside an assistant, to tell what "
                "it was trained on: give --overwrite to train again"
            )
        fresh = {"assistant": asdict(AssistantOptions()), "train": asdict(TrainOptions())}  # options of later versions
        was = _flat(plain(fresh)) | _flat(up_to_date(read_json(self.training_settings), "the record", recorded=True))
        is_ = _flat(up_to_date(self._settings_of(config), "the settings"))
        keys = list(dict.fromkeys([*is_, *was]))
        if self.at_ceiling:
            ceilings = {f"train.{name}": name for name in CEILINGS}
            raised = {key for key, name in ceilings.items() if is_raised(name, was.get(key), is_.get(key))}
            keys = [key for key in keys if key not in raised]
        changed = [key for key in keys if was.get(key) != is_.get(key)]
        gone = options_in_use(read_json(self.training_settings))
        differences = [f"{key} was {value!r}, an option that is gone" for key, value in gone.items()]
        differences += [f"{key} {was.get(key)!r} → {is_.get(key)!r}" for key in changed if not key.startswith("rows.")]
        if any(key.startswith("rows.") for key in changed):
            differences.append(f"the rows of {self.data.name}/ have changed since")
        if differences:
            raise ConfigError(
                f"the assistant of {self.path} was begun with other settings or rows ({'; '.join(differences)}); "
                "expected the same, to go on from there: leave them as they were, or give --overwrite instead of "
                "--resume"
            )

    def check_rows(self) -> None:
        """Refuse to measure an assistant on rows that were prepared anew: it may have been trained on them.

        Raises:
            ConfigError: the rows are not those that it was trained beside.
        """
        from unlogit.evaluate.results import read_json

        record = read_json(self.training_settings) if self.training_settings.is_file() else {}
        if not isinstance(record, dict) or record.get("rows") != self._digests():
            raise ConfigError(
                f"the rows of {self.data} have changed since {self.assistant} was trained, or nothing is recorded of "
                "those; expected the same, since it may have been trained on what would be scored: run `unlogit train "
                f"{self.path} --overwrite`"
            )

    def trainings(self, config: RunConfig) -> dict[str, dict[str, Any]]:
        """Return how target, retain model and assistant were trained, as far as they were trained by us and are here:
        steps, seconds, options."""
        from unlogit.evaluate.results import read_json

        model_files = {
            "target": Path(config.target) / "finetune.json",
            "retain model": Path(config.evaluate.retain_model) / "finetune.json",
        }
        summaries = {name: read_json(path) for name, path in model_files.items() if path.is_file()}
        adapter_summaries = [
            summary for folder in (*self.adapters, self.unlearned) if (summary := self.summary_of(folder))
        ]
        if adapter_summaries:
            summed = ("steps", "seconds", "setup_seconds", "trainable_parameters")
            total = {name: round(sum(summary.get(name, 0) for summary in adapter_summaries), 1) for name in summed}
            total["peak_memory_bytes"] = max(summary.get("peak_memory_bytes", 0) for summary in adapter_summaries)
            summaries["unlearned"] = (
                adapter_summaries[0] | total | ({"branches": adapter_summaries} if len(adapter_summaries) > 1 else {})
            )
        return summaries

    def move_target(self, target: str) -> None:
        """Record where the target of the trained assistant is now."""
        from unlogit.evaluate.results import read_json

        self.write_config(replace(self.read_config(), target=target))
        unlearned = [(folder / "config.json", "target_name") for folder in (self.unlearned, self.earlier)]
        for path, name in ((self.training_settings, "target"), *unlearned):
            if path.is_file():
                write_json(path, read_json(path) | {name: target})

    def drop_checkpoints(self) -> None:
        """Remove what a training that stopped at its ceiling could have gone on from."""
        for path in self.checkpoints:
            shutil.rmtree(path)

    def set_training_aside(self) -> None:
        """Move the assistant, whole or half trained, and all that was made with it out of the way of a new training."""
        self.drop_aside()
        self._aside.mkdir(mode=0o700)
        for path in self._of_training:
            if path.exists():
                path.rename(self._aside / path.name)

    def bring_back(self) -> None:
        """Put what was set aside back in place, over what has come there since."""
        for aside in self._aside.iterdir() if self._aside.is_dir() else ():
            path = self.path / aside.name
            if path.is_dir():
                shutil.rmtree(path)
            aside.replace(path)

    def drop_aside(self) -> None:
        """Remove what was set aside."""
        if self._aside.is_dir():
            shutil.rmtree(self._aside)

    @property
    def _aside(self) -> Path:
        return self.path / ".earlier"

    @property
    def _of_training(self) -> tuple[Path, ...]:
        folders = (self.assistant, *self.adapters, *self.checkpoints, self.unlearned)
        return (*folders, self.training_settings, self.path_points, self.results, self.pick, *self._of_sweep)

    @property
    def _of_sweep(self) -> tuple[Path, ...]:
        return self.sweep, self.sweep.with_suffix(".csv"), self.sweep.with_suffix(".png")

    def _settings_of(self, config: RunConfig) -> dict[str, Any]:
        options = {"assistant": asdict(config.assistant), "train": asdict(config.train)}
        settings: dict[str, Any] = plain(
            {"version": SETTINGS_VERSION, "target": config.target, **options, "rows": self._digests()}
        )
        return settings

    def _digests(self) -> dict[str, str]:
        rows = {}
        for name in TRAINED_ON:
            path = self.data / f"{name}.jsonl"
            if not path.is_file():
                raise DataError(f"no {path.name} in {self.data}; expected prepared rows: run `unlogit prepare` first")
            rows[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return rows


def _flat(settings: Any) -> dict[str, Any]:
    """Return ``section.key: value`` of settings as they are recorded."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{key}": value_ for key, value_ in value.items()} if isinstance(value, dict) else {name: value}
    return flat
