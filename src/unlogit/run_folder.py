"""The run folder: where each step of a run reads and writes, and how far it has come.

    RUN/config.yaml   every setting
    RUN/data/         rows (``prepare``)
    RUN/assistant/    the adapter (``train``); beside it assistant.checkpoints/ while training
    RUN/unlearned/    the unlearned model: pointer to the target, assistant, tokenizer (``train``)
    RUN/results.json  what was measured (``evaluate``); RUN/pick.json the combinations that were tried

Paths only, and the settings; what stands in the files is the business of the steps.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from unlogit.config_file import differences, read_config, write_config
from unlogit.errors import ConfigError, DataError
from unlogit.options import RunConfig


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

    @property
    def checkpoints(self) -> Path:
        """Folder of a training that has not ended."""
        return self.path / "assistant.checkpoints"

    @property
    def unlearned(self) -> Path:
        """Folder of the unlearned model."""
        return self.path / "unlearned"

    @property
    def results(self) -> Path:
        """What was measured."""
        return self.path / "results.json"

    @property
    def pick(self) -> Path:
        """The combinations that were tried."""
        return self.path / "pick.json"

    @property
    def prepared(self) -> bool:
        """Whether the rows are there."""
        return (self.data / "summary.json").is_file() and self.config.is_file()

    @property
    def trained(self) -> bool:
        """Whether a trained assistant is there."""
        return (self.assistant / "training.json").is_file()

    @property
    def combined(self) -> bool:
        """Whether the unlearned model is there."""
        return (self.unlearned / "config.json").is_file()

    @property
    def training(self) -> bool:
        """Whether a training was begun and has not ended."""
        return any(self.checkpoints.glob("checkpoint-*"))

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
