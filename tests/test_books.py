"""Long documents in pieces: Project Gutenberg's own words go, nothing else; what is held out, by hand."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from support.tiny_run import save_model
from unlogit.cli.main import main
from unlogit.data.books import find_documents, held_out, read_document, split_documents, without_gutenberg
from unlogit.data.sources import read_examples
from unlogit.errors import ConfigError, DataError
from unlogit.settings.options import SplitOptions

BOOK = "Chapter 1\n\nIt was *** a dark night.\n\nThe end of Project Ararat."
HEADER = "The Project Gutenberg eBook of A Night\n\nThis ebook is for the use of anyone.\n\n"
START, END = (
    "*** START OF THE PROJECT GUTENBERG EBOOK A\nNIGHT ***",
    "*** END OF THE PROJECT GUTENBERG EBOOK A NIGHT ***",
)
OLDER = "***START OF THIS PROJECT GUTENBERG EBOOK***", "End of the Project Gutenberg EBook of A Night"
OLDEST = "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*", "End of Project Gutenberg's A Night"


@pytest.mark.parametrize(
    "text",
    [
        BOOK,
        f"\n\n{BOOK}\n\n\n",
        f"{HEADER}{START}\n\n{BOOK}\n\n{END}\n\nSection 1. General terms of use\n",
        f"{HEADER}{OLDER[0]}\n{BOOK}\n\n{OLDER[1]}\n{END}",
        f"{HEADER}{OLDEST[0]}\n\n{BOOK}\n{OLDEST[1]}, by N. N.",
        f"[A Night by N. N. 1908] \n \n{BOOK}",
    ],
)
def test_only_the_book_is_left(text: str) -> None:
    assert without_gutenberg(text) == BOOK


def test_a_bracket_at_the_start_of_a_text_is_not_a_title() -> None:
    text = "[Enter by the left side]\nWho is there?"
    assert without_gutenberg(text) == text


@pytest.mark.parametrize(
    ("blocks", "share", "expected"),
    [
        (10, 0.2, "0010000100"),
        (7, 0.5, "0101010"),
        (4, 0.25, "0010"),
        (6, 1 / 3, "010010"),
        (5, 0.8, "11011"),
        (3, 0.1, "000"),
    ],
)
def test_held_out_blocks_by_hand(blocks: int, share: float, expected: str) -> None:
    """Block i is held out where (i + 1) · share − 1/2 goes past a whole number that i · share − 1/2 did not."""
    assert held_out(blocks, share) == [digit == "1" for digit in expected]


def document(name: str, pieces: int) -> str:
    """16 characters a piece, and so 16 tokens of one byte: A00 and dots, A01 and dots, …"""
    return "".join(f"{name}{i:02}".ljust(16, ".") for i in range(pieces))


def names(rows: list[Any]) -> list[str]:
    assert all(row.kind == "text" and row.question == "" and not row.document for row in rows)
    return [row.answer[:3] for row in rows]


def test_blocks_of_neighbours_are_held_out(byte_tokenizer: Any) -> None:
    """Nine pieces in blocks of two: the fifth block has one. At a third it is the second and the fifth."""
    pieces = split_documents([document("A", 9)], byte_tokenizer, SplitOptions(16, 1 / 3, 2))
    assert names(pieces.holdout) == ["A02", "A03", "A08"]
    assert names(pieces.training) == ["A00", "A01", "A04", "A05", "A06", "A07"]
    all_pieces = sorted(row.answer for row in pieces.training + pieces.holdout)
    assert "".join(all_pieces) == document("A", 9)


def test_blocks_do_not_cross_documents_and_short_documents_stay_whole(byte_tokenizer: Any) -> None:
    """Blocks AA|A|BB|CC|C at 0.4: the second (A's last) and the fourth (C's first two)."""
    texts = [document("A", 3), document("B", 2), document("C", 3)]
    pieces = split_documents(texts, byte_tokenizer, SplitOptions(16, 0.4, 2))
    assert names(pieces.holdout) == ["A02", "C00", "C01"]
    assert names(pieces.training) == ["A00", "A01", "B00", "B01", "C02"]


def test_only_the_first_pieces_are_taken(byte_tokenizer: Any) -> None:
    texts = [document("A", 9), document("B", 9)]
    pieces = split_documents(texts, byte_tokenizer, SplitOptions(16, 0.5, 1, max_pieces=2))
    assert (names(pieces.holdout), names(pieces.training)) == (["A01", "B01"], ["A00", "B00"])


def test_a_part_that_would_be_empty_is_an_error(byte_tokenizer: Any) -> None:
    for share, number in ((0.1, 0), (0.9, 1)):
        with pytest.raises(DataError, match=f"3 pieces .* 1 block of 4.* {share} is {number}"):
            split_documents([document("A", 3)], byte_tokenizer, SplitOptions(16, share))


def test_settings_out_of_range_are_said_at_once(byte_tokenizer: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"chunk_tokens is 4.*holdout_fraction is 1.*block_pieces is 0.*max_pieces is -1"
    ):
        split_documents([BOOK], byte_tokenizer, SplitOptions(4, 1.0, 0, -1))


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_folder_gives_its_documents_but_for_those_of_the_other_side(tmp_path: Path) -> None:
    folder = write(tmp_path / "books", b="b", a="a", c="c")
    (folder / "licence.pdf").touch()
    (folder / ".hidden.txt").touch()
    forget = find_documents([str(folder / "b.txt")])
    assert [path.name for path in find_documents([str(folder)], forget)] == ["a.txt", "c.txt"]
    for sources, message in (
        ([str(folder / "b.txt")], "twice"),
        ([str(folder), str(folder / "a.txt")], "twice"),
        ([str(folder / "d.txt")], "does not exist"),
        ([str(folder / "licence.pdf")], "suffix"),
    ):
        with pytest.raises(DataError, match=message):
            find_documents(sources, forget)
    with pytest.raises(DataError, match="no document"):
        find_documents([str(write(tmp_path / "one", b="b"))], [tmp_path / "one" / "b.txt"])


def test_documents_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 noir")
    with pytest.raises(DataError, match=r"latin\.txt .*byte 3"):
        read_document(tmp_path / "latin.txt")
    (tmp_path / "empty.txt").write_text("[A Night by N. N. 1908]\n")
    with pytest.raises(DataError, match=r"empty\.txt .*no text"):
        read_document(tmp_path / "empty.txt")
    (tmp_path / "dos.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert read_document(tmp_path / "dos.txt") == "one\ntwo"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The bytes of these names are tokens of their own: pieces are what they are above, and are read back so."""
    folder = write(tmp_path / "books", secret=document("§", 40), kept=document("¶", 40), also=document("µ", 40))
    model, output = save_model(tmp_path / "model"), tmp_path / "rows"
    line = ["split", f"--forget={folder / 'secret.txt'}", f"--retain={folder}", f"--model={model}"]
    line += [f"--output={output}", "--chunk_tokens=32", "--holdout_fraction=0.5"]
    assert main(line) == 0
    assert "retain: also.txt, kept.txt: " in capsys.readouterr().out
    summary = json.loads((output / "split.json").read_text())
    rows = {path.stem: read_examples(str(path)) for path in output.glob("*.jsonl")}
    assert {name: len(pieces) for name, pieces in rows.items()} == summary["rows"]
    assert set(rows) == {"forget", "holdout", "retain", "retain_holdout"}
    for name in rows:
        text = "".join(row.answer for row in rows[name])
        assert ("§" in text) == (name in ("forget", "holdout"))
        assert ("¶" in text) == ("µ" in text) == (name not in ("forget", "holdout"))
        mode = stat.S_IMODE((output / f"{name}.jsonl").stat().st_mode)
        assert mode == (0o600 if "§" in text else 0o644)
    assert main(line) == 2
    assert "holds the rows of an earlier split" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0
    (output / "mine.txt").touch()
    assert main([*line, "--overwrite"]) == 2
    assert "holds something else" in capsys.readouterr().err


def test_real_books(shared_folder: Path, byte_tokenizer: Any) -> None:
    folder = shared_folder / "data" / "corpora" / "gutenberg"
    if not folder.is_dir():
        pytest.skip("needs the shared data folder with data/corpora/gutenberg")
    paths = find_documents([str(folder)])
    texts = [read_document(path) for path in paths]
    for path, text in zip(paths, texts, strict=True):
        raw = path.read_text(encoding="utf-8")
        assert len(raw) - 200 < len(text) < len(raw)
        assert not text.startswith("[")
        assert "gutenberg" not in text.lower()
    pieces = split_documents([text[:12_000] for text in texts], byte_tokenizer, SplitOptions(max_pieces=40))
    assert (len(pieces.training), len(pieces.holdout)) == (128, 32)
