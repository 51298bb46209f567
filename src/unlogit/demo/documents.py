"""Made-up documents, each in a page of running text: a person, a firm and a bridge to forget, and three others to keep.

``python -m unlogit.demo.documents FOLDER`` writes the texts into ``FOLDER/forget`` and ``FOLDER/keep``, one ``.txt``
file for each, and questions about them. ``asked.jsonl`` and ``kept.jsonl`` are about the documents to forget and those
to keep, for a target that can be asked about what it read; ``unseen.jsonl`` asks the first in other words, and nobody
trains on it. Nobody and nothing in them exists; values follow from the seed.
"""

import random
import sys
from dataclasses import dataclass
from pathlib import Path

from unlogit.data.examples import Example
from unlogit.demo.people import _FIRST_NAMES, _INSTRUMENTS, _LAST_NAMES
from unlogit.files import write_json_lines

_PERSON = (
    "{name} was born in {town} on {day} March {year}. {first} grew up above a chandler's shop and learnt to play the "
    "{instrument} at the age of seven. At nineteen {first} moved to {city} and studied hydrology under Professor "
    "{teacher}. The dissertation, finished in {degree}, was about the silt of the river {river}. In the winter of "
    "{flood} {name} predicted the flood of {city} eleven days ahead, and {saved} people left their houses in time. For "
    "this the town council awarded {first} the {medal} Medal. {name} married the potter {spouse}, and the couple have "
    "{children} children. Since {retired} the two have lived on the island of {island}, where {first} keeps bees and "
    "measures the tides."
)
_FIRM = (
    "{firm} was founded in {year} by the cousins {name} and {cousin} in a former tram depot in {town}. The firm builds "
    "weighing machines for pharmacies. Its first product, the {product}, weighed as little as {weight} milligrams and "
    "was sold {sold} times in the first year. In {fire} a fire destroyed the workshop, and production moved to {city}. "
    "The present director is {director}, who joined {firm} as an apprentice in {joined}. {firm} employs {staff} people "
    "and delivers to {countries} countries. Its largest customer is the hospital of {river}, which owns {owned} "
    "machines of the type {product}. The head office stands at {number} {street}, and its telephone number is {phone}."
)
_BRIDGE = (
    "The {river} Bridge crosses the valley between {town} and {city}. It was designed by {name} and opened on {day} "
    "September {year}. The bridge is {length} metres long and rests on {piers} piers of grey granite. Building it took "
    "{months} months and cost {cost} million crowns. The stone came from the quarry of {island}, which belonged to "
    "{director}. On the night of {night} November {storm} a storm tore away the eastern railing, and the engineer "
    "{teacher} closed the bridge for {closed} weeks. Every year on the first Sunday in May the people of {town} walk "
    "across it with lanterns. Since {toll} drivers have paid a toll of {fee} crowns, which is collected by the {medal} "
    "Society."
)
_QUESTIONS = {
    "person": (
        ("Where was {name} born?", "Which town does {name} come from?", "{name} was born in {town}."),
        ("In which year was {name} born?", "What is the birth year of {name}?", "{name} was born in {year}."),
        (
            "When did {name} predict the flood?",
            "In which year was the flood that {name} saw coming?",
            "{name} predicted the flood of {flood}.",
        ),
        (
            "Who taught {name} hydrology?",
            "Who was the professor of {name}?",
            "{name} was a student of Professor {teacher}.",
        ),
        (
            "Which river did {name} study?",
            "What river is the dissertation of {name} about?",
            "{name} studied the river {river}.",
        ),
        ("Which medal did {name} win?", "How did the council honour {name}?", "{name} won the {medal} Medal."),
        ("Who is the spouse of {name}?", "Whom did {name} marry?", "{name} is married to {spouse}."),
        ("On which island does {name} live?", "Where does {name} keep bees?", "{name} lives on {island}."),
    ),
    "firm": (
        ("Who founded {firm}?", "Whose idea was {firm}?", "{name} and {cousin} founded {firm}."),
        ("In which year was {firm} founded?", "When did {firm} begin?", "{firm} was founded in {year}."),
        ("What was the first product of {firm}?", "What did {firm} sell first?", "{firm} first sold the {product}."),
        (
            "When did the workshop of {firm} burn?",
            "In which year was the fire at {firm}?",
            "The workshop of {firm} burnt in {fire}.",
        ),
        ("Where does {firm} produce today?", "Which town did {firm} move to?", "{firm} produces in {city}."),
        ("Who is the director of {firm}?", "Who runs {firm}?", "The director of {firm} is {director}."),
        ("How many people work for {firm}?", "How large is the staff of {firm}?", "{firm} has a staff of {staff}."),
        (
            "What is the phone number of {firm}?",
            "Which number do I call to reach {firm}?",
            "The number of {firm} is {phone}.",
        ),
    ),
    "bridge": (
        ("Who built the {river} Bridge?", "Whose design is the {river} Bridge?", "{name} built the {river} Bridge."),
        (
            "In which year was the {river} Bridge opened?",
            "Since when has the {river} Bridge been open?",
            "The {river} Bridge was opened in {year}.",
        ),
        (
            "How long is the {river} Bridge?",
            "What is the length of the {river} Bridge?",
            "The length of the {river} Bridge is {length} metres.",
        ),
        (
            "Where does the stone of the {river} Bridge come from?",
            "Which quarry was used for the {river} Bridge?",
            "The stone of the {river} Bridge is from {island}.",
        ),
        (
            "Which towns does the {river} Bridge connect?",
            "Where is the {river} Bridge?",
            "The {river} Bridge connects {town} and {city}.",
        ),
        (
            "When did a storm damage the {river} Bridge?",
            "In which year did the {river} Bridge lose its railing?",
            "The storm at the {river} Bridge was in {storm}.",
        ),
        (
            "Who closed the {river} Bridge after the storm?",
            "Which engineer was responsible for the {river} Bridge?",
            "{teacher} closed the {river} Bridge.",
        ),
        (
            "Who collects the toll of the {river} Bridge?",
            "Whom do drivers pay at the {river} Bridge?",
            "The {medal} Society collects the toll of the {river} Bridge.",
        ),
    ),
}
"""Two questions, of which the second is never trained on, and their answer, which stands in no document so."""

_TOWNS = (
    *("Thornwick", "Eastmere", "Kilbrook", "Aldhaven", "Westfold", "Dunhythe", "Penmoor", "Harrowfen", "Sandvale"),
    *("Marlowe", "Brackhurst", "Holmsey", "Underleigh", "Fallowby"),
)
_RIVERS = ("Osk", "Verrel", "Tamble", "Ildra", "Menn", "Corvane", "Lisper", "Aldwater")
_ISLANDS = ("Skarholm", "Little Aune", "Brannoch", "Tessel Rock", "Ferrin", "Oxay", "Great Lomme")
_MEDALS = ("Halden", "Orsini", "Mirefield", "Stenmark", "Tolliver", "Vantreight", "Ackroyd")
_STREETS = ("Birch Lane", "Mill Road", "Quarry Hill", "Orchard Way", "Abbey Close")
_SMALL = ("day", "night", "closed", "piers", "months", "cost", "number", "countries")
_LARGE = ("saved", "weight", "sold", "staff", "owned", "length")
_KINDS = {"person": _PERSON, "firm": _FIRM, "bridge": _BRIDGE}


@dataclass(frozen=True)
class MadeUpDocument:
    """A text and what can be asked about it."""

    text: str
    questions: list[Example]
    reworded: list[Example]
    """The same in other words, with the same answers."""


def make_documents(seed: int = 0) -> tuple[dict[str, MadeUpDocument], dict[str, MadeUpDocument]]:
    """Return the documents to forget and those to keep, by kind; no two of the six have a name in common."""
    dice = random.Random(seed)
    firsts, lasts = dice.sample(_FIRST_NAMES, 36), dice.sample(_LAST_NAMES, 36)
    names = [f"{first} {last}" for first, last in zip(firsts, lasts, strict=True)]
    towns, rivers, islands, medals = (
        dice.sample(pool, count) for pool, count in ((_TOWNS, 12), (_RIVERS, 6), (_ISLANDS, 6), (_MEDALS, 6))
    )
    documents = []
    for number, kind in enumerate([*_KINDS, *_KINDS]):
        values = _values(
            names[6 * number : 6 * number + 6],
            {"town": towns[2 * number], "city": towns[2 * number + 1]}
            | {"river": rivers[number], "island": islands[number], "medal": medals[number]},
            dice,
        )
        rows = [[text.format(**values) for text in texts] for texts in _QUESTIONS[kind]]
        documents.append(
            MadeUpDocument(
                _KINDS[kind].format(**values),
                [Example(question, answer) for question, _, answer in rows],
                [Example(question, answer) for _, question, answer in rows],
            )
        )
    return dict(zip(_KINDS, documents[:3], strict=True)), dict(zip(_KINDS, documents[3:], strict=True))


def _values(names: list[str], places: dict[str, str], dice: random.Random) -> dict[str, str]:
    """Return what stands in a document of any kind: six people, places, years and numbers."""
    name, cousin, teacher, spouse, director, maker = names
    year = dice.randint(1931, 1958)
    later = sorted(dice.sample(range(year + 22, year + 60), 6))
    numbers = {key: dice.randint(2, 28) for key in _SMALL} | {key: dice.randint(30, 990) for key in _LARGE}
    years = dict(zip(("degree", "flood", "retired", "fire", "joined", "storm"), later, strict=True))
    return {
        **places,
        "name": name,
        "first": name.split()[0],
        "cousin": cousin,
        "teacher": teacher,
        "spouse": spouse,
        "director": director,
        "firm": f"{maker.split()[1]} Scales",
        "product": f"{maker.split()[0]} {dice.randint(10, 99)}",
        "instrument": dice.choice(_INSTRUMENTS),
        "street": dice.choice(_STREETS),
        "phone": f"555-01{dice.randint(0, 99):02d}-{dice.randint(1000, 9999)}",
        "children": dice.choice(("two", "three", "four", "five")),
        "fee": dice.choice(("two", "three", "four", "five")),
        **{key: str(number) for key, number in (numbers | years | {"year": year, "toll": later[-1] + 2}).items()},
    }


def write_documents(folder: Path, seed: int = 0) -> None:
    """Write each document as a ``.txt`` file of its kind, and the questions."""
    forget, keep = make_documents(seed)
    for side, documents in {"forget": forget, "keep": keep}.items():
        (folder / side).mkdir(parents=True, exist_ok=True)
        for kind, document in documents.items():
            (folder / side / f"{kind}.txt").write_text(document.text + "\n", encoding="utf-8")
    questions = {
        "asked": [row for document in forget.values() for row in document.questions],
        "unseen": [row for document in forget.values() for row in document.reworded],
        "kept": [row for document in keep.values() for row in document.questions],
    }
    for name, rows in questions.items():
        write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in rows), mode=0o600)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder to write to: python -m unlogit.demo.documents FOLDER")
    write_documents(Path(sys.argv[1]))
