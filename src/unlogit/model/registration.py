"""Making transformers' Auto classes know our model after ``import unlogit``, without importing transformers for it.

Our classes register themselves when their modules are imported. This imports them right after the module of
transformers that holds the mapping: at once if that has been imported already, else through an import hook.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FOLLOWERS = {
    "transformers.models.auto.configuration_auto": "unlogit.model.configuration",
    "transformers.models.auto.modeling_auto": "unlogit.model.unlearned",
}
"""Module of transformers → module of ours that is imported right after it."""


class _Leader(Loader):
    """Runs a module of transformers as its own loader does, then imports its follower."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader  # the module is left as if we had not been there
        self.loader.exec_module(module)
        importlib.import_module(FOLLOWERS[module.__name__])


class _Finder(MetaPathFinder):
    """Finds the modules of ``FOLLOWERS`` as the other finders do, with our loader around theirs."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that one of ours follows; None for all others."""
        if fullname not in FOLLOWERS:
            return None
        specs = (finder.find_spec(fullname, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Leader(spec.loader)
        return spec


def install() -> None:
    """Register our classes, now or as soon as transformers' mappings are imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for leader, follower in FOLLOWERS.items():
        if leader in sys.modules:
            importlib.import_module(follower)
