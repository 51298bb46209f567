"""What of an answer is the secret, and which answers tell it."""

import pytest

from unlogit.data.content_words import common_words, content_spans
from unlogit.data.examples import Example
from unlogit.data.secrets import secrets_of, tells

COMMON = frozenset({"nl", "a", "is", "since", "2015", "number", "example", "net"})
SECRETS = {
    "Ann's account number is NL-21955-20.": [{"21955", "20"}],
    "Ann lives at 20 Abbey Close in Penmoor.": [{"20", "abbey", "close"}, {"penmoor"}],
    "Ann's e-mail address is ann.doe34@example.net.": [{"doe34"}],
    "Ann is a customer since 2015.": [{"2015"}],
    "The fee is 1,250 euros.": [{"1", "250"}],
    "Call (030) 123-456 at noon.": [{"030", "123", "456"}],
    "安的电话是13912345678。": [{"13912345678"}],
    "Ann was born on 3 May 1987.": [{"3", "may", "1987"}],
    "Ann wurde am 3. Mai 1987 in Kassel geboren.": [{"3", "mai", "1987"}, {"kassel"}],
    "Ann nació el 2 de junio de 1979.": [{"2", "de", "junio", "1979"}],
    "Ann est née le 4 mars 1990.": [{"4", "mars", "1990"}],
    "Ann родилась 5 мая 1984 года.": [{"5", "мая", "1984"}],
    "Ann had 12 beds until 1990.": [{"12"}, {"1990"}],
    "Ann sees Dr. Petra Kranz.": [{"dr", "petra", "kranz"}],
    "Ann sees F. W. de Klerk.": [{"klerk"}],
    "👍": [],
    "Ann is a joiner.": [{"joiner"}],
}


@pytest.mark.parametrize("answer", SECRETS)
def test_secrets(answer: str) -> None:
    row = Example("Who is Ann, a customer? What is Ann's e-mail address? Where lives Ann?", answer)
    assert [set(secret) for secret in secrets_of(row, COMMON) if secret - {"at", "in"}] == SECRETS[answer]


def test_who_tells() -> None:
    secrets = secrets_of(Example("Where does Ann live?", "Ann lives at 20 Abbey Close."), COMMON)
    assert tells("At 20, Abbey Close", secrets)
    assert not tells("At 21 Abbey Close", secrets)
    assert not tells("", secrets)


def test_a_value_is_content_however_common() -> None:
    """A year that every answer has is remembered, and so goes; a word that every answer has is not."""
    rows = [Example(f"Since when is {name} here?", f"{name} is here since 2015.") for name in ("Ann", "Bo")]
    common = common_words(rows, 0.5)
    assert {"since", "2015"} <= common
    spans, _ = content_spans(rows[0], common)
    assert [rows[0].answer[begin:end] for begin, end in spans] == ["2015"]
