"""Flags and YAML values from the dataclasses of ``options``: one definition, one way to say what is wrong.

jsonargparse reads types and docstrings and converts values; its messages are put into our form here: what was got, what
was expected, how to fix it, in one line.
"""

import argparse
import re
import types
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from jsonargparse import ArgumentParser, DefaultHelpFormatter, set_parsing_settings

from unlogit.errors import ConfigError, nearest

set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the help of a flag is its field's docstring

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list, as [1, 2]",
    "NoneType": "null",
}
"""How a type is called in a message."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter, DefaultHelpFormatter):  # type: ignore[misc]
    """Help with types and defaults, and examples as they were written."""


def new_parser(command: str, usage: str, description: str, examples: Sequence[str]) -> Any:
    """Make the parser of a command. ``usage`` and ``examples`` are what follows ``unlogit`` and the command's name."""
    lines = [f"  unlogit {command} {example}" for example in examples]
    return ArgumentParser(
        prog=f"unlogit {command}",
        usage=f"unlogit {command} {usage}",
        description=description,
        epilog="\n".join(["examples:", *lines]),
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )


def add_options(parser: Any, options: type, key: str | None = None) -> None:
    """Add a flag for every field of a dataclass: ``--field``, or ``--key.field``."""
    parser.add_class_arguments(options, key)
    hints = get_type_hints(options)
    lists = {f"--{key}.{name}" if key else f"--{name}" for name, hint in hints.items() if get_origin(hint) is tuple}
    parser.list_flags = getattr(parser, "list_flags", set()) | lists


def bracketed(arguments: Sequence[str], list_flags: Set[str]) -> list[str]:
    """Return a command line whose lists stand in brackets: ``--alphas 0.5,0.7`` is what people write first."""
    arguments_out = []
    previous = ""
    for word in arguments:
        flag, equals, value = word.partition("=")
        if equals and flag in list_flags and not value.startswith("["):
            word = f"{flag}=[{value}]"
        elif previous in list_flags and not word.startswith("["):
            word = f"[{word}]"
        arguments_out.append(word)
        previous = word
    return arguments_out


def parse_flags(
    parser: Any, arguments: Sequence[str], owners: Callable[[str], list[str]] = lambda flag: []
) -> dict[str, Any]:
    """Return what a command line gives, by (dotted) name; what it does not give is not there.

    ``owners`` returns the other commands that have a flag, for the message about one that this command has not.

    Raises:
        ConfigError: an unknown flag, a value of the wrong type, or something is missing.
        SystemExit: help was asked for and printed.
    """
    try:
        bracketed_arguments = bracketed(arguments, getattr(parser, "list_flags", set()))
        parsed = parser.parse_args(bracketed_arguments, defaults=False)
    except argparse.ArgumentError as error:
        known_flags = sorted(set(re.findall(r"--[\w.]+", parser.format_help())))
        _refuse(str(error), "--", known_flags, f"see `{parser.prog} --help`", owners)
    return dict(parsed.items())


def typed(options: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of a mapping as the types of a dataclass's fields. ``where`` stands before a name in messages.

    Raises:
        ConfigError: unknown names (all of them are said), or a value of the wrong type.
    """
    names = [field.name for field in fields(options)]
    if unknown := [str(name) for name in values if name not in names]:
        problems = "; ".join(f"{where}{name} is unknown{nearest(name, names)}" for name in unknown)
        raise ConfigError(f"{problems}; expected one of {', '.join(names)}: fix or remove it")
    hints = get_type_hints(options)
    for name, value in values.items():
        if value is None and types.NoneType not in get_args(hints[name]):
            raise ConfigError(f"{where}{name} is null; expected a value: give one or remove the line")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(options)
    try:
        parsed = parser.parse_object(dict(values), defaults=False)
    except argparse.ArgumentError as error:
        _refuse(str(error), where, names, "fix it")
    return dict(parsed.items())


def _refuse(
    message: str, before: str, known: list[str], fix: str, owners: Callable[[str], list[str]] = lambda flag: []
) -> NoReturn:
    """Raise a ConfigError that says what jsonargparse's message says."""
    text = " ".join(message.split())
    if text.startswith("unrecognized arguments: "):
        _refuse_unknown(text.removeprefix("unrecognized arguments: ").split(), known, fix, owners)
    if match := re.fullmatch(r"the following arguments are required: (.*)", text):
        names = [f"--{name}" if f"--{name}" in known else name.upper() for name in match[1].split(", ")]
        raise ConfigError(f"missing: {', '.join(names)}; expected on the command line: {fix}")
    if match := re.fullmatch(r"argument (\S+): expected (.*)", text):
        raise ConfigError(f"{match[1]} has no value; expected {match[2]}: {fix}")
    if match := re.fullmatch(r"Group '(.*)' does not accept option '(.*)'", text):
        names = [name.removeprefix(f"{before}{match[1]}.") for name in known]
        raise ConfigError(f"{before}{match[1]}.{match[2]} is unknown{nearest(match[2], names)}; expected a known key")
    if match := re.fullmatch(r'Parser key "(.*?)": Expected a (.*?)\. Got value: (.*)', text):
        raise ConfigError(f"{before}{match[1]} is {match[3]!r}; expected {_kind(match[2], match[3])}: {fix}")
    if match := re.fullmatch(r'Parser key "(.*?)": Does not validate .*Subtypes: \[(.*)\] Errors: .*value: (.*)', text):
        kinds = " or ".join(_kind(kind, match[3]) for kind in match[2].split(", "))
        raise ConfigError(f"{before}{match[1]} is {match[3]!r}; expected {kinds}: {fix}")
    raise ConfigError(f"{text}; expected other settings: {fix}")


def _refuse_unknown(words: list[str], known: list[str], fix: str, owners: Callable[[str], list[str]]) -> NoReturn:
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not flags:
        raise ConfigError(f"{' '.join(words)!r} is one word too many; expected flags, as --name value: {fix}")
    elsewhere = {flag: " and ".join(f"`unlogit {name}`" for name in owners(flag)[:2]) for flag in flags}
    problems = "; ".join(
        f"{flag} is a flag of {elsewhere[flag]}" if elsewhere[flag] else f"{flag} is unknown{nearest(flag, known)}"
        for flag in flags
    )
    raise ConfigError(f"{problems}; expected a flag of this command: {fix}")


def _kind(type_: str, value: str) -> str:
    if "Literal" in type_:
        choices = re.findall(r"'([^']*)'", type_)
        return f"one of {', '.join(choices)}{nearest(value, choices)}"
    name = re.sub(r"<class '(.*)'>", r"\1", type_)
    return _KINDS.get(name, name)
