"""The errors that a user can cause, each a single line that says what was got, what was expected and how to fix it.

    UnlogitError
    ├── ConfigError    a setting, flag or config key
    ├── DataError      a file, row, column or split
    └── ModelError     a target, assistant, tokenizer, or two that do not belong together

The command line prints the message after "error:" and exits with code 2. Everything else is a defect of ours and
keeps its traceback.
"""


class UnlogitError(Exception):
    """Root of all errors that a user can fix."""


class ConfigError(UnlogitError):
    """A setting is missing, unknown, out of range or contradicts another."""


class DataError(UnlogitError):
    """A file, row, column or split is missing or not of the expected form."""


class ModelError(UnlogitError):
    """A model, assistant or tokenizer cannot be used, or two of them do not belong together."""


def nearest(name: str, known: list[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the known name closest to ``name``, or an empty string."""
    import difflib

    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
