"""The pages keep their word: their commands parse, their Python compiles, their links exist, their map is the disk.

Shell commands stand in code fences, in inline code and in the headers of configs; all are parsed by the real parser.
"""

import ast
import io
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

import unlogit
from benchmarks import BENCHMARKS
from benchmarks.__main__ import parser as benchmarks_parser
from support.small_check import small_check
from support.tiny_run import save_model
from unlogit.cli.main import COMMANDS, main, parse
from unlogit.demo.people import make_people
from unlogit.errors import ConfigError
from unlogit.settings.flags import parse_flags

ROOT = Path(__file__).resolve().parents[1]


SINGLE_PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md")
PAGES = [
    *(ROOT / name for name in SINGLE_PAGES),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(path for path in (ROOT / "results").rglob("*.md") if not path.name.startswith("compare_")),
]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
README = ROOT / "README.md"
MAP = ROOT / "docs" / "map.md"

README_LINES = 150
FLAG = re.compile(r"(?<![\w-])--[a-z][\w.]*")
FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OUR_PATH = re.compile(r"(?:src|configs|docs|tests|results|benchmarks)/[\w./-]+")
MAP_LINE = re.compile(r"^(?P<path>[\w.-]+(?:/[\w.-]+)*/?)\s{2,}\S")
UNMAPPED = ("__init__.py", "__main__.py")
RAW = "https://raw.githubusercontent.com/unlogit/unlogit/main/"


def page_name(page: Path) -> str:
    """A page as the names of tests show it."""
    return str(page.relative_to(ROOT))


def inline_codes(page: Path) -> list[str]:
    """The inline code of a page."""
    return INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8")))


def fences(page: Path, *languages: str) -> list[str]:
    """The text of a page's code fences in these languages, or of all."""
    blocks = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [block["text"] for block in blocks if not languages or block["language"] in languages]


def shell_commands(text: str) -> Iterator[list[str]]:
    """The words of every command in a shell text, without prompts and comments."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        try:
            tokens = list(lexer)
        except ValueError:  # an apostrophe in output that is shown
            continue
        while tokens:
            end = next((i for i, token in enumerate(tokens) if set(token) <= set("&|;")), len(tokens))
            yield tokens[:end]
            tokens = tokens[end + 1 :]


def command_lines(text: str) -> list[list[str]]:
    """The arguments of every ``unlogit …`` or ``… -m unlogit …`` in a shell text."""
    commands = []
    for command in shell_commands(text):
        if command[:1] == ["unlogit"]:
            commands.append(command[1:])
        elif ("-m", "unlogit") in pairwise(command):
            commands.append(command[command.index("-m") + 2 :])
    return commands


def module_commands(page: Path) -> list[list[str]]:
    """Every ``python -m MODULE …`` of a page, from the module on."""
    commands = (command for text in [*fences(page, "bash"), *inline_codes(page)] for command in shell_commands(text))
    return [command[2:] for command in commands if command[:2] == ["python", "-m"]]


def page_commands(page: Path) -> Iterator[list[str]]:
    """Every command line of a page; in inline code a bare name such as ``unlogit sweep`` is no line, but must exist."""
    for block in fences(page, "bash"):
        yield from command_lines(block)
    for code in inline_codes(page):
        for command in command_lines(code):
            is_name = len(command) == 1 and not command[0].startswith("-")
            yield [*command, "--help"] if is_name else command


def header_commands(config: Path) -> list[list[str]]:
    """The command lines in a config's header."""
    header = config.read_text(encoding="utf-8").split("\noutput:")[0]
    return command_lines("\n".join(line.removeprefix("#") for line in header.splitlines()))


def check_command(command: list[str]) -> None:
    """Parse a command line without running it."""
    if command in ([], ["--help"], ["--version"]) or "…" in command:
        return
    if "--help" in command:
        assert command[0] in COMMANDS
        with pytest.raises(SystemExit, match="0"):
            parse(command)
    else:
        parse(command)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_command_of_a_page_can_be_given(page: Path) -> None:
    for command in page_commands(page):
        check_command(command)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_command_of_a_header_can_be_given(config: Path) -> None:
    commands = header_commands(config)
    assert commands
    for command in commands:
        check_command(command)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_module_of_a_page_can_be_run(page: Path) -> None:
    for module, *arguments in module_commands(page):
        check_module(module, arguments)


def check_module(module: str, arguments: list[str]) -> None:
    """Find a module that ``python -m`` runs; parse the arguments of the benchmarks."""
    spec = find_spec(module)
    assert spec, module
    assert not spec.submodule_search_locations or find_spec(f"{module}.__main__"), module
    if module == "benchmarks":
        assert set(parse_flags(benchmarks_parser(), arguments).get("names", ())) <= set(BENCHMARKS)


def known_flags() -> set[str]:
    """The flags of all commands."""
    parsers = [import_module(f"unlogit.cli.commands.{name}").parser() for name in COMMANDS]
    return {flag for parser in parsers for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent.name != "benchmarks"], ids=page_name)
def test_every_flag_that_is_named_exists(page: Path) -> None:
    flags = {flag for code in inline_codes(page) for flag in FLAG.findall(code)}
    assert flags - known_flags() == set()


def test_every_command_has_a_page() -> None:
    names = {command[0] for page in PAGES for command in page_commands(page) if command}
    assert names >= set(COMMANDS)


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of somebody with the README's own data: a tiny model, rows, and nothing to type."""
    save_model(tmp_path / "my-model")
    make_people(6, questions=2, forget_fraction=0.2).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    small_check(monkeypatch, ghosts=2, samples=1, general_rows=4)
    monkeypatch.setattr("unlogit.runs.plan.MAX_STEPS", 4)
    return tmp_path


def test_the_commands_on_own_data_run(own_folder: Path) -> None:
    """Every command of the README but the demo, in order, as it stands there."""
    commands = [command for block in fences(README, "bash") for command in command_lines(block)]
    assert commands[0] == ["demo"]
    for command in commands[1:]:
        assert main(command) == (3 if command[0] == "forget" else 0), command  # a random model knows no row
    assert (own_folder / "runs/mine/results.json").is_file()


def test_the_python_of_the_readme_runs(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = fences(README, "python")
    exec(compile(block, "README.md", "exec"), {})
    assert "Who is Ann Doe?" in capsys.readouterr().out
    assert unlogit.load("runs/python/unlearned") is not None


def test_the_benchmarks_of_the_page_exist() -> None:
    page = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert names
    assert set(names) <= set(BENCHMARKS)


def test_the_readme_is_short_and_comes_to_the_point() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= README_LINES
    assert next(i for i, line in enumerate(lines, 1) if "pip install" in line) <= 20
    output = next(block for block in fences(README) if "unlearned" in block)
    end = README.read_text(encoding="utf-8").index(output) + len(output)
    assert README.read_text(encoding="utf-8")[:end].count("\n") <= 40


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_python_block_compiles(page: Path) -> None:
    for block in fences(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(RAW):
            assert (ROOT / link.removeprefix(RAW)).is_file(), link
        elif "://" not in link:
            path, _, anchor = link.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), link
            assert not anchor or anchor in anchors(linked), link


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as repository hosts make them."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_its_images_on_a_package_index() -> None:
    images = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", README.read_text(encoding="utf-8"))
    assert images
    assert all(image.startswith(RAW) for image in images)


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    paths = [
        code
        for code in inline_codes(page)
        if re.fullmatch(r"(?:src|configs|docs|tests|results|benchmarks)/[\w./-]+", code)
    ]
    paths = [path for path in paths if "NAME" not in path]
    assert [path for path in paths if not (ROOT / path).exists()] == []


def mapped_paths(text: str) -> list[str]:
    """The paths of a map: the lines of its code fences that begin with a path and go on with what it does."""
    lines = [line for block in FENCE.finditer(text) for line in block["text"].splitlines()]
    return [match["path"] for line in lines if (match := MAP_LINE.match(line))]


def disk_paths(root: Path) -> list[str]:
    """The files that a map must have a line for."""
    files = [
        *(file for file in (root / "src/unlogit").rglob("*") if file.suffix in (".py", ".jsonl")),
        *(root / "benchmarks").glob("*.py"),
        *(root / "docs").glob("*.md"),
    ]
    return sorted(str(file.relative_to(root)) for file in files if file.name not in UNMAPPED)


def map_problems(paths: list[str], root: Path) -> tuple[list[str], list[str]]:
    """What is on the map but not on the disk, and a line to add for each file that the map lacks."""
    gone = [path for path in paths if not (root / path).exists()]
    lacking = [path for path in disk_paths(root) if path not in paths]
    return gone, [f"{path.ljust(49)} {first_line(root / path)}" for path in lacking]


def first_line(file: Path) -> str:
    """The first line of a file, without quotes: what a line of the map may begin as."""
    return (file.read_text(encoding="utf-8").splitlines() or [""])[0].strip('"# ')


def test_the_map_is_the_disk() -> None:
    paths = mapped_paths(MAP.read_text(encoding="utf-8"))
    assert map_problems(paths, ROOT) == ([], [])
    assert len(paths) == len(set(paths))


def test_how_commands_are_found() -> None:
    text = (
        "$ unlogit train R \\\n  --rank 4 && unlogit chat R  # ask\npip install unlogit\nunlogit --help | head\n"
        "accelerate launch --num_processes 2 -m unlogit train R\n"
    )
    assert command_lines(text) == [["train", "R", "--rank", "4"], ["chat", "R"], ["--help"], ["train", "R"]]
    check_command(["train", "--help"])
    with pytest.raises(ConfigError):
        check_command(["train", "R", "--rnk", "4"])
    with pytest.raises(ConfigError):
        check_module("benchmarks", ["decode", "--lyers", "4"])
    with pytest.raises(AssertionError):
        check_module("benchmarks.nothing", [])


def test_how_a_page_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A Title: b\n\nSee `unlogit sweep`, `python -m a.b c`.\n\n"
        "```bash\nunlogit chat R\n```\n\n```python\nx = 1\n```\n"
    )
    assert list(page_commands(page)) == [["chat", "R"], ["sweep", "--help"]]
    assert module_commands(page) == [["a.b", "c"]]
    assert fences(page, "python") == ["x = 1\n"]
    assert anchors(page) == {"a-title-b"}


def test_how_the_map_is_compared(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "sub/c.py", "sub/__init__.py"):
        file = tmp_path / "src/unlogit" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('"""Does it."""\n')
    text = "```\nsrc/unlogit/a.py   does a\nsrc/unlogit/d.py   gone\nplain words here\n```\nsrc/unlogit/b.py   no\n"
    assert mapped_paths(text) == ["src/unlogit/a.py", "src/unlogit/d.py"]
    gone, lacking = map_problems(mapped_paths(text), tmp_path)
    assert gone == ["src/unlogit/d.py"]
    assert [line.split()[0] for line in lacking] == ["src/unlogit/b.py", "src/unlogit/sub/c.py"]
    assert all(line.endswith("Does it.") for line in lacking)
