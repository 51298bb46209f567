"""TOFU as a source: its own evaluation rows, retain splits and knowledge splits, under the name ``tofu:SPLIT``.

``tofu`` loads the splits; here they take the shape that every source has. Nothing of the ``_perturbed`` splits is
trained on.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unlogit.data import tofu
from unlogit.data.documents import split
from unlogit.data.examples import Example
from unlogit.data.row_keys import row_key
from unlogit.data.source_rows import SourceRows
from unlogit.errors import ConfigError, DataError, nearest
from unlogit.settings.options import DataOptions

TOFU_PREFIX = "tofu:"

KNOWLEDGE_SPLITS = ("real_authors", "world_facts")
"""Splits about other knowledge that must stay, scored by their perturbed form."""


@dataclass(frozen=True, slots=True)
class TofuSource:
    """A split of TOFU, ``tofu:NAME`` (see ``tofu.load_tofu`` and ``Source``)."""

    name: str
    folder: str = ""
    """Folder of TOFU's files; empty for the hub."""

    @property
    def has_evaluation(self) -> bool:
        """TOFU's evaluation rows are its perturbed splits."""
        return True

    def check(self) -> None:
        """Nothing to look for before the rows are read: the split's name is checked then."""

    def files(self) -> list[Path]:
        """None: TOFU does not change."""
        return []

    def rows(self) -> list[Example]:
        """Return the rows of the split."""
        return tofu.load_tofu(self.name.removeprefix(TOFU_PREFIX), self.folder)

    def forget_rows(self, options: DataOptions) -> SourceRows:
        """Return a forget split, with the authors' augmentation where the folder has it."""
        split_name = self._forget_split()
        evaluation = tofu.load_tofu(f"{split_name}_perturbed", self.folder)
        if not tofu.has_augmentation(split_name, self.folder):
            return SourceRows(tofu.load_tofu(split_name, self.folder), evaluation)
        rows, augmentation = tofu.load_tofu_augmentation(
            split_name, self.folder, options.paraphrases, options.perturbations
        )
        notes = []
        if dropped := augmentation.wrong_answers_that_say_the_truth:
            notes.append(f"{dropped} wrong answers of TOFU's augmentation were left out: they say the truth")
        return SourceRows(rows, evaluation, summary={"tofu_augmentation": asdict(augmentation)}, notes=notes)

    def retain_rows(self, options: DataOptions) -> SourceRows:
        """Return a retain split without the rows that are scored. Of a subset, given by the source's name or by
        ``retain_subset``, half is scored; by ``retain_subset``, the rows outside it count as never seen."""
        split_name, _, named_count = self.name.removeprefix(TOFU_PREFIX).partition(":")
        split_name = self._split(tofu.RETAIN_OF.values(), "retain", split_name)
        rows = self.rows()  # checks the number
        count = int(named_count or options.retain_subset)
        if named_count and options.retain_subset not in (0, count):
            raise ConfigError(
                f"retain is {self.name} and retain_subset {options.retain_subset}; expected one number: leave one of "
                "them out"
            )
        evaluation = tofu.load_tofu("retain_perturbed", self.folder)
        scored = {row_key(row) for row in evaluation}
        training = [row for row in rows if row_key(row) not in scored]
        unseen: list[Example] = []
        if count:
            subset_keys = {row_key(row) for row in (rows if named_count else tofu.retain_subset(rows, count))}
            evaluation = evaluation[: tofu.evaluation_rows(count)]
            unseen, training = split(training, {i for i, row in enumerate(training) if row_key(row) in subset_keys})
        summary: dict[str, Any] = {"split": split_name, "subset": count}
        return SourceRows(training, evaluation, unseen, summary=summary)

    def default_retain(self) -> str:
        """Return the retain split that belongs to this forget split."""
        return TOFU_PREFIX + tofu.RETAIN_OF[self._forget_split()]

    def knowledge_rows(self) -> dict[str, list[Example]]:
        """Return the rows about real authors and world facts."""
        return {name: tofu.load_tofu(f"{name}_perturbed", self.folder) for name in KNOWLEDGE_SPLITS}

    def _forget_split(self) -> str:
        return self._split(tofu.RETAIN_OF, "forget", self.name.removeprefix(TOFU_PREFIX))

    def _split(self, names: Collection[str], side: str, split_name: str) -> str:
        """Return the split's name if it can be used on a side."""
        if split_name not in names:
            raise DataError(
                f"{self.name} was given as the {side} side{nearest(split_name, list(names))}; expected tofu: and one "
                f"of {', '.join(names)}: name one, or give a file"
            )
        return split_name
