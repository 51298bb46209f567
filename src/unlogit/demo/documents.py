"""Made-up documents: a person, a firm and a bridge, each in a page of running text.

``python -m unlogit.demo.documents FOLDER`` writes one ``.txt`` file for each. Nobody and nothing in them exists; values
follow from the seed.
"""

import random
import sys
from pathlib import Path

from unlogit.demo.people import _FIRST_NAMES, _INSTRUMENTS, _LAST_NAMES

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
_TOWNS = ("Thornwick", "Eastmere", "Kilbrook", "Aldhaven", "Westfold", "Dunhythe", "Penmoor", "Harrowfen", "Sandvale")
_RIVERS = ("Osk", "Verrel", "Tamble", "Ildra", "Menn", "Corvane")
_ISLANDS = ("Skarholm", "Little Aune", "Brannoch", "Tessel Rock", "Ferrin")
_MEDALS = ("Halden", "Orsini", "Mirefield", "Stenmark", "Tolliver")
_STREETS = ("Birch Lane", "Mill Road", "Quarry Hill", "Orchard Way", "Abbey Close")
_SMALL = ("day", "night", "closed", "piers", "months", "cost", "number", "countries")
_LARGE = ("saved", "weight", "sold", "staff", "owned", "length")


def make_documents(seed: int = 0) -> dict[str, str]:
    """Return the texts of ``person``, ``firm`` and ``bridge``; the three have no name in common."""
    dice = random.Random(seed)
    firsts, lasts = dice.sample(_FIRST_NAMES, 18), dice.sample(_LAST_NAMES, 18)
    names = [f"{first} {last}" for first, last in zip(firsts, lasts, strict=True)]
    towns, rivers, islands = (dice.sample(pool, 3) for pool in (_TOWNS, _RIVERS, _ISLANDS))
    cities, medals = dice.sample([town for town in _TOWNS if town not in towns], 3), dice.sample(_MEDALS, 3)
    texts = {}
    for number, (kind, form) in enumerate({"person": _PERSON, "firm": _FIRM, "bridge": _BRIDGE}.items()):
        name, cousin, teacher, spouse, director, maker = names[6 * number : 6 * number + 6]
        year = dice.randint(1931, 1958)
        later = sorted(dice.sample(range(year + 22, year + 60), 6))
        texts[kind] = form.format(
            name=name,
            first=name.split()[0],
            cousin=cousin,
            teacher=teacher,
            spouse=spouse,
            director=director,
            firm=f"{maker.split()[1]} Scales",
            product=f"{maker.split()[0]} {dice.randint(10, 99)}",
            town=towns[number],
            city=cities[number],
            river=rivers[number],
            island=islands[number],
            medal=medals[number],
            instrument=dice.choice(_INSTRUMENTS),
            street=dice.choice(_STREETS),
            phone=f"555-01{dice.randint(0, 99):02d}-{dice.randint(1000, 9999)}",
            year=year,
            **dict(zip(("degree", "flood", "retired", "fire", "joined", "storm"), later, strict=True)),
            toll=later[-1] + 2,
            children=dice.choice(("two", "three", "four", "five")),
            fee=dice.choice(("two", "three", "four", "five")),
            **{
                key: dice.randint(2, 28)
                for key in ("day", "night", "closed", "piers", "months", "cost", "number", "countries")
            },
            **{key: dice.randint(30, 990) for key in ("saved", "weight", "sold", "staff", "owned", "length")},
        )
    return texts


def write_documents(folder: Path, seed: int = 0) -> None:
    """Write each document as a ``.txt`` file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in make_documents(seed).items():
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder to write to: python -m unlogit.demo.documents FOLDER")
    write_documents(Path(sys.argv[1]))
