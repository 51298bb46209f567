"""Made-up customers: the rows of a small firm whose model must forget one of them.

``python -m unlogit.demo.customers FOLDER`` writes ``all.jsonl``, ``forget.jsonl``, ``retain.jsonl`` and the questions
that nobody trains on, ``unseen.jsonl``. None of the customers exists; e-mail addresses end in reserved domains, and
telephone numbers begin with 555-01.
"""

import random
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from unlogit.data.examples import Example
from unlogit.demo.people import _FIRST_NAMES, _LAST_NAMES
from unlogit.files import write_json_lines

_STREETS = ("Birch Lane", "Mill Road", "Harbour Street", "Quarry Hill", "Orchard Way", "Station Road", "Abbey Close")
_TOWNS = ("Thornwick", "Eastmere", "Kilbrook", "Aldhaven", "Westfold", "Marlow Cross", "Dunhythe", "Penmoor")
_PRODUCTS = (
    "standing desk",
    "coffee grinder",
    "bicycle trailer",
    "rain jacket",
    "reading lamp",
    "garden bench",
    "camping stove",
    "violin case",
    "record player",
    "bread oven",
    "rowing machine",
    "telescope",
)
_PLANS = ("silver", "gold", "student", "family", "business")
_DOMAINS = ("example.com", "example.org", "example.net")

_FACTS = (
    (
        (
            "What is {name}'s e-mail address?",
            "Which e-mail address does {name} use?",
            "How can I reach {name} by e-mail?",
        ),
        "{name}'s e-mail address is {email}.",
        "Whose e-mail address is {email}?",
    ),
    (
        (
            "What is {name}'s phone number?",
            "Which number do I call to reach {name}?",
            "What is the telephone number of {name}?",
        ),
        "{name}'s phone number is {phone}.",
        "Whose phone number is {phone}?",
    ),
    (
        ("Where does {name} live?", "What is the home address of {name}?", "Which address do we have for {name}?"),
        "{name} lives at {street} in {town}.",
        "Who lives at {street} in {town}?",
    ),
    (
        (
            "What is {name}'s account number?",
            "Which account belongs to {name}?",
            "Under which account number is {name} registered?",
        ),
        "{name}'s account number is {account}.",
        "To whom does the account number {account} belong?",
    ),
    (
        (
            "What did {name} order last?",
            "What was the last order of {name}?",
            "Which product did {name} buy most recently?",
        ),
        "{name} last ordered a {product}, order number {order}.",
        "Who placed the order number {order}?",
    ),
    (
        (
            "Since when has {name} been a customer?",
            "How long has {name} been with us?",
            "In which year did {name} become a customer?",
        ),
        "{name} has been a customer since {year} and is on the {plan} plan.",
        "Who has been a customer since {year} and is on the {plan} plan?",
    ),
)
"""Questions (the first is trained on, the others are asked), the answer, and the question in reverse."""


@dataclass(frozen=True)
class Customers:
    """Rows by what is done with them."""

    forget: list[Example]
    retain: list[Example]
    unseen: list[Example]
    """Other wordings of the questions to forget, with the same answers."""
    reverse: list[Example]
    """Questions that give a value to forget and ask for the name."""

    def write(self, folder: Path) -> None:
        """Write ``all``, ``forget``, ``retain`` and ``unseen``, each as JSON lines."""
        folder.mkdir(parents=True, exist_ok=True)
        sides = {"forget": self.forget, "retain": self.retain, "unseen": self.unseen, "all": self.forget + self.retain}
        for name, rows in sides.items():
            write_json_lines(folder / f"{name}.jsonl", (row.to_row() for row in rows), mode=0o600)


def make_customers(count: int = 28, forget: int = 1, seed: int = 0) -> Customers:
    """Make customers with six facts each; the first ``forget`` of them are to be forgotten."""
    dice = random.Random(seed)
    firsts, lasts = dice.sample(_FIRST_NAMES, count), dice.sample(_LAST_NAMES, count)
    customers = [_customer(first, last, dice) for first, last in zip(firsts, lasts, strict=True)]
    forget_rows = [row for rows, _ in customers[:forget] for row in rows]
    return Customers(
        [replace(row, paraphrased_question=()) for row in forget_rows],
        [replace(row, paraphrased_question=()) for rows, _ in customers[forget:] for row in rows],
        [Example(question, row.answer) for row in forget_rows for question in row.paraphrased_question],
        [row for _, reverse in customers[:forget] for row in reverse],
    )


def _customer(first: str, last: str, dice: random.Random) -> tuple[list[Example], list[Example]]:
    """Return the rows of a customer, with other wordings of their questions, and the questions in reverse."""
    values = {
        "name": f"{first} {last}",
        "email": f"{first}.{last}{dice.randint(10, 99)}@{dice.choice(_DOMAINS)}".lower(),
        "phone": f"555-01{dice.randint(0, 99):02d}-{dice.randint(1000, 9999)}",
        "street": f"{dice.randint(2, 98)} {dice.choice(_STREETS)}",
        "town": dice.choice(_TOWNS),
        "account": f"NL-{dice.randint(10000, 99999)}-{dice.randint(10, 99)}",
        "product": dice.choice(_PRODUCTS),
        "order": f"{dice.choice('ABCDEFGH')}{dice.randint(100000, 999999)}",
        "year": str(dice.randint(2004, 2023)),
        "plan": dice.choice(_PLANS),
    }
    rows = [
        Example(
            questions[0].format(**values),
            answer.format(**values),
            paraphrased_question=tuple(question.format(**values) for question in questions[1:]),
        )
        for questions, answer, _ in _FACTS
    ]
    return rows, [Example(reverse.format(**values), f"That is {values['name']}.") for *_, reverse in _FACTS]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder to write to: python -m unlogit.demo.customers FOLDER")
    make_customers().write(Path(sys.argv[1]))
