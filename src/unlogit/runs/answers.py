"""The same question to target and unlearned model, side by side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.evaluate.scoring.generation import generate_answers
from unlogit.model.loading import is_combined, load_target, load_unlearned
from unlogit.runs.folder import RunFolder


@dataclass(frozen=True)
class ModelPair:
    """A target and what was made of it: a combination that holds it, or an ordinary model."""

    target: Any
    unlearned: Any

    @classmethod
    def load(cls, run: str, target: str) -> "ModelPair":
        """Load both by the run's folder; ``target`` says where the target is now, if it has moved.

        Raises:
            ModelError: there is no unlearned model, or its target is gone or another.
        """
        folder = RunFolder(Path(run))
        if folder.config.is_file() and folder.combined and not is_combined(run):
            return cls(load_target(target or folder.read_config().target, "auto"), load_target(run, "auto"))
        model = load_unlearned(run, target)
        return cls(model.target, model)

    def set(self, name: str, value: Any) -> None:
        """Combine otherwise from now on.

        Raises:
            ConfigError: nothing is combined here.
        """
        if self.target is not getattr(self.unlearned, "target", None):
            raise ConfigError(
                f"{name} was given and this run is full-model unlearning: nothing is combined; leave it out"
            )
        setattr(self.unlearned, name, value)


def answers(model: ModelPair, tokenizer: Any, questions: list[str], max_new_tokens: int) -> list[tuple[str, str, str]]:
    """Return (question, target's answer, unlearned model's answer), both greedy, each question by itself."""
    rows = [Example(question=question, answer=".") for question in questions]  # only the prompt is used
    target_answers, unlearned_answers = (
        generate_answers(model_, tokenizer, rows, batch_size=8, max_new_tokens=max_new_tokens)
        for model_ in (model.target, model.unlearned)
    )
    return list(zip(questions, target_answers, unlearned_answers, strict=True))
