"""The README keeps its word: every command line in it can be given, and its map of the files is the disk."""

import re
import shlex
from pathlib import Path

import pytest

from unlogit.cli.main import parse
from unlogit.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
MAP_LINE = re.compile(r"^(?P<path>[\w.-]+(?:/[\w.-]+)*/?)\s{2,}\S")
UNMAPPED = ("__init__.py", "__main__.py", "py.typed")


def blocks() -> list[str]:
    """The text of every code fence."""
    return FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))


def command_lines(block: str) -> list[list[str]]:
    """The words of every ``unlogit …`` in a block: prompts and comments dropped, ``&&`` taken apart."""
    found = []
    for line in block.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # an apostrophe in output that is shown
            continue
        while words:
            end = next((i for i, word in enumerate(words) if set(word) <= set("&|;")), len(words))
            command, words = words[:end], words[end + 1 :]
            if command[:1] == ["unlogit"]:
                found.append(command[1:])
    return found


def check_line(words: list[str]) -> None:
    """Parse a command line without running it."""
    if words in ([], ["--help"], ["--version"]):
        return
    if "--help" in words:
        with pytest.raises(SystemExit, match="0"):
            parse(words)
    else:
        parse(words)


def mapped(text: list[str]) -> list[str]:
    """The paths of the map: the block with the most lines of a path, two spaces or more, and words."""
    maps = [[found["path"] for line in block.splitlines() if (found := MAP_LINE.match(line))] for block in text]
    return max(maps, key=len, default=[])


def unmapped(paths: list[str], root: Path) -> tuple[list[str], list[str]]:
    """What is on the map but not on the disk, and which files of the package no line (or folder's line) covers."""
    gone = [path for path in paths if not (root / path).exists()]
    folders = tuple(path for path in paths if path.endswith("/"))
    files = [file for file in (root / "src/unlogit").rglob("*") if file.suffix in (".py", ".jsonl")]
    names = sorted(str(file.relative_to(root)) for file in files if file.name not in UNMAPPED)
    return gone, [name for name in names if name not in paths and not name.startswith(folders)]


def test_every_command_line_can_be_given() -> None:
    lines = [line for block in blocks() for line in command_lines(block)]
    assert lines
    for line in lines:
        check_line(line)


def test_the_map_is_the_disk() -> None:
    gone, missing = unmapped(mapped(blocks()), ROOT)
    assert gone == []
    assert missing == []


def test_how_lines_are_found() -> None:
    block = "$ unlogit train R \\\n  --rank 4 && unlogit chat R  # ask\npip install unlogit\nunlogit --help | head\n"
    assert command_lines(block) == [["train", "R", "--rank", "4"], ["chat", "R"], ["--help"]]
    check_line(["train", "--help"])
    with pytest.raises(ConfigError):
        check_line(["train", "R", "--rnk", "4"])


def test_how_the_map_is_compared(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "sub/c.py", "sub/__init__.py"):
        file = tmp_path / "src/unlogit" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    text = ["one line  only\n", "src/unlogit/a.py   does a\nsrc/unlogit/d.py   is gone\nplain words here\n"]
    assert mapped(text) == ["src/unlogit/a.py", "src/unlogit/d.py"]
    assert unmapped(mapped(text), tmp_path) == (["src/unlogit/d.py"], ["src/unlogit/b.py", "src/unlogit/sub/c.py"])
    assert unmapped(["src/unlogit/a.py", "src/unlogit/b.py", "src/unlogit/sub/"], tmp_path) == ([], [])
