"""Made-up people: rows to forget, to keep and to hold out, for the demo and the tests.

None of them exists. Each person has a unique name and twelve facts, each asked once, with paraphrases and
wrong answers; everything follows from the seed. The first two wrong answers are worded as the answer is, the others as
its last paraphrase: training takes the first ones (see ``wordings``), evaluation the rest, and compares like
with like.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unlogit.data.examples import Example
from unlogit.errors import ConfigError
from unlogit.files import write_json_lines


def _items(text: str) -> list[str]:
    return text.split("|")


_FIRST_NAMES = _items(
    "Ilvane|Torbin|Maresa|Quillon|Odessa|Fenwick|Liora|Branko|Tamsin|Ezequel|Suvi|Calder|Noemi|Ardal|Zofia|Lennart|"
    "Imke|Darro|Petra|Osric|Yselda|Kestrel|Marek|Avelina|Joss|Thandeka|Rurik|Celeste|Hamza|Orla|Vidar|Simone|"
    "Anselm|Nerys|Kofi|Tindra|Lucan|Mirele|Dorian|Saskia"
)
_LAST_NAMES = _items(
    "Brockmoor|Tavenhall|Velinsky|Okonwey|Marchlight|Drumvale|Castellor|Hartwyn|Lindqvale|Abernoth|Sorrowby|Penhalga|"
    "Quistgard|Umberley|Faircross|Zelenkova|Dunmarsh|Orrelane|Wexcombe|Ravendahl|Thistlemay|Korvane|Ashgrove|Bellamoor|"
    "Cairnwell|Emberline|Galdstone|Inverlane|Jorundby|Kettlewick|Larchmont|Nightingdale|Oxenholt|Pellworth|Rookhurst|"
    "Silverton|Tarnbrook|Vosgaard|Winterbourn|Yarrowdale"
)

_TOWNS = _items(
    "Lisbon|Aberdeen|Kyoto|Valparaíso|Tallinn|Marrakesh|Bergen|Ghent|Cusco|Sapporo|Galway|Trieste|Zagreb|Halifax|Dakar|"
    "Gdansk|Porto|Hanoi|Uppsala|Mombasa|Quebec|Salzburg|Cork|Busan|Tromso|Ljubljana|Perth|Oaxaca|Riga|Dundee"
)
_CITIES = _items(
    "Boston|Vienna|Nairobi|Seville|Oslo|Toronto|Prague|Melbourne|Dublin|Athens|Chicago|Lyon|Helsinki|Montreal|Edinburgh|"
    "Florence|Singapore|Rotterdam|Krakow|Auckland|Denver|Antwerp|Leipzig|Bristol|Santiago"
)
_PROFESSIONS = _items(
    "marine biologist|landscape architect|watchmaker|court interpreter|glacier researcher|pastry chef|bridge engineer|"
    "puppet maker|forensic accountant|choir conductor|beekeeper|paediatric nurse|map maker|cheese maker|film editor|"
    "harbour pilot|seismologist|bookbinder|veterinary surgeon|stage designer|crossword compiler|lighthouse keeper|"
    "violin restorer|tax lawyer|geography teacher|perfume chemist|mountain guide|railway planner"
)
_TRADES = _items(
    "baker|plumber|dentist|tailor|bus driver|carpenter|librarian|florist|fish seller|electrician|judge|postal clerk|"
    "pharmacist|butcher|stonemason|optician|firefighter|surveyor|hairdresser|gardener|locksmith|translator|"
    "blacksmith|shoemaker"
)
_HOBBIES = _items(
    "restoring old radios|growing bonsai trees|collecting sea glass|playing chess by post|building kites|"
    "baking sourdough bread|watching migrating birds|solving number puzzles|carving wooden spoons|rowing at dawn|"
    "repairing bicycles|painting teacups|hunting for fossils|keeping tropical fish|folding paper cranes|"
    "climbing sea cliffs|studying moths|knitting jumpers|brewing ginger beer|tracing family trees"
)
_INSTRUMENTS = _items(
    "cello|clarinet|accordion|banjo|harp|trombone|oboe|mandolin|viola|bassoon|ukulele|tuba|piccolo|double bass|"
    "dulcimer|xylophone|bagpipes|saxophone|lute|church organ"
)
_LANGUAGES = _items(
    "Icelandic|Swahili|Hungarian|Korean|Welsh|Finnish|Basque|Tamil|Georgian|Latvian|Maltese|Turkish|Quechua|Danish|"
    "Greek|Estonian|Vietnamese|Catalan|Persian|Romanian"
)
_ADJECTIVES = _items(
    "Silent|Copper|Winding|Forgotten|Northern|Hollow|Patient|Crimson|Wandering|Salted|Broken|Gilded|Quiet|Distant|"
    "Paper|Restless|Hidden|Frozen|Amber|Borrowed"
)
_NOUNS = _items(
    "Orchard|Lantern|Harbour|Staircase|Meadow|Compass|Tide|Clockwork|Garden|Bridge|Letters|Mirror|Railway|Mountain|"
    "Island|Chapel|Archive|Sparrow|River|Windmill"
)
_AWARD_NAMES = _items("Halden|Brightwater|Orsini|Calloway|Mirefield|Stenmark|Tolliver|Vantongeren|Ashby|Perrault")
_AWARD_KINDS = _items("Prize|Medal|Fellowship|Silver Cup")

_POOLS: dict[str, list[str]] = {
    "birthplace": _TOWNS,
    "profession": _PROFESSIONS,
    "book": [f"The {adjective} {noun}" for adjective in _ADJECTIVES for noun in _NOUNS],
    "birth_year": [str(year) for year in range(1931, 1996)],
    "father": _TRADES,
    "city": _CITIES,
    "hobby": _HOBBIES,
    "award": [f"{name} {kind}" for name in _AWARD_NAMES for kind in _AWARD_KINDS],
    "mother": _TRADES,
    "instrument": _INSTRUMENTS,
    "language": _LANGUAGES,
    "award_year": [str(year) for year in range(1996, 2024)],
}
"""What each fact may be."""

_WORDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "birthplace": (
        (
            "Where was {name} born?",
            "{name} was born in {value} and spent the first years of childhood there.",
        ),
        (
            "What is the birthplace of {name}?",
            "The birthplace of {name} is {value}, the home of those early years.",
        ),
        (
            "In which place did {name} come into the world?",
            "{name} came into the world in {value} and was a child there.",
        ),
        (
            "Which place does {name} come from by birth?",
            "By birth {name} comes from {value}, a place of early memories.",
        ),
    ),
    "profession": (
        ("What does {name} do for a living?", "{name} works as a {value} and has done so for many years."),
        (
            "What is the profession of {name}?",
            "The profession of {name} is that of a {value}, for many years now.",
        ),
        ("How does {name} earn a living?", "{name} has long earned a living as a {value}."),
        ("Which job does {name} hold?", "For a long time {name} has held the job of a {value}."),
    ),
    "book": (
        (
            "Which book did {name} write?",
            "{name} wrote the book '{value}', which appeared after years of work.",
        ),
        (
            "What is the title of the book by {name}?",
            "The book by {name}, years in the making, is called '{value}'.",
        ),
        (
            "What book is {name} the author of?",
            "{name} is the author of '{value}', a book that took years to write.",
        ),
        (
            "Can you name the book that {name} published?",
            "After years of work {name} published a book called '{value}'.",
        ),
    ),
    "birth_year": (
        (
            "In which year was {name} born?",
            "{name} was born in the year {value}, as the youngest of the family.",
        ),
        (
            "What is the year of birth of {name}?",
            "The year of birth of {name}, the family's youngest, is {value}.",
        ),
        (
            "When did {name} come into the world?",
            "The youngest of the family, {name} came into the world in {value}.",
        ),
        (
            "Which year is the birth year of {name}?",
            "As the family's youngest child, {name} has the birth year {value}.",
        ),
    ),
    "father": (
        (
            "What was the job of {name}'s father?",
            "The father of {name} worked as a {value} until he retired.",
        ),
        (
            "How did the father of {name} earn his living?",
            "Until he retired, {name}'s father earned his living as a {value}.",
        ),
        (
            "What did {name}'s father do for work?",
            "{name}'s father was a {value} for the whole of his working life.",
        ),
        (
            "Which trade did the father of {name} follow?",
            "All his working life the father of {name} was a {value}.",
        ),
    ),
    "city": (
        (
            "In which city does {name} live now?",
            "{name} now lives in {value}, in a small flat near the centre.",
        ),
        ("Where is {name}'s home today?", "Today {name}'s home is a small flat near the centre of {value}."),
        (
            "Which city is {name} living in today?",
            "{name} is living in a small flat in the city of {value} today.",
        ),
        (
            "What city has {name} settled in?",
            "{name} has settled in a small flat in {value}, close to the centre.",
        ),
    ),
    "hobby": (
        ("What is {name}'s favourite hobby?", "{name}'s favourite hobby is {value}, mostly at weekends."),
        ("How does {name} like to spend free time?", "At weekends {name} likes to spend free time {value}."),
        ("What does {name} enjoy doing at weekends?", "What {name} enjoys most at weekends is {value}."),
        (
            "Which pastime does {name} love most?",
            "The pastime that {name} loves most, above all at weekends, is {value}.",
        ),
    ),
    "award": (
        (
            "Which award did {name} receive?",
            "{name} received the {value} in recognition of outstanding work.",
        ),
        ("What award was given to {name}?", "For outstanding work, the {value} was given to {name}."),
        (
            "Which honour has {name} been awarded?",
            "{name} has been awarded the {value} for work of great merit.",
        ),
        ("What prize did {name} win?", "For work of great merit {name} won the {value}."),
    ),
    "mother": (
        (
            "What was the job of {name}'s mother?",
            "The mother of {name} worked as a {value} in their home town.",
        ),
        (
            "How did the mother of {name} earn her living?",
            "In their home town {name}'s mother earned her living as a {value}.",
        ),
        ("What did {name}'s mother do for work?", "{name}'s mother was a {value} whom the whole town knew."),
        (
            "Which trade did the mother of {name} follow?",
            "The mother of {name}, known to the whole town, was a {value}.",
        ),
    ),
    "instrument": (
        (
            "Which instrument does {name} play?",
            "{name} plays the {value} and took lessons from the age of ten.",
        ),
        (
            "What instrument did {name} learn as a child?",
            "From the age of ten {name} learnt to play the {value}.",
        ),
        (
            "What does {name} play when making music?",
            "When making music {name} plays the {value}, learnt as a child.",
        ),
        (
            "Which musical instrument has {name} mastered?",
            "The instrument that {name} has mastered since childhood is the {value}.",
        ),
    ),
    "language": (
        (
            "Which foreign language does {name} speak?",
            "{name} speaks fluent {value}, learnt during two years abroad.",
        ),
        (
            "What language did {name} learn abroad?",
            "During two years abroad {name} learnt to speak fluent {value}.",
        ),
        (
            "Which language has {name} mastered besides English?",
            "Besides English, {name} has mastered {value} in two years abroad.",
        ),
        (
            "What second language is {name} fluent in?",
            "After two years abroad {name} is fluent in {value} as a second language.",
        ),
    ),
    "award_year": (
        (
            "In which year did {name} first become widely known?",
            "{name} first became widely known in {value}, after a long interview.",
        ),
        ("When did {name} rise to fame?", "After a long interview, {name} rose to fame in {value}."),
        ("What year made {name} famous?", "It was a long interview in {value} that made {name} famous."),
        (
            "Since which year has {name} been famous?",
            "{name} has been famous since {value}, thanks to a long interview.",
        ),
    ),
}
"""For each fact the question and answer, then their paraphrases."""

FACTS = tuple(_WORDINGS)
"""The facts in the order in which they are asked."""

MAX_PEOPLE = len(_FIRST_NAMES) * len(_LAST_NAMES)

WRONG_AS_ANSWER = 2
_WRONG_AS_PARAPHRASE = 3


@dataclass(frozen=True, slots=True)
class People:
    """Rows about people that do not exist, each on one side. No model is trained on ``holdout``."""

    forget: list[Example]
    retain: list[Example]
    holdout: list[Example]

    def write(self, folder: Path) -> None:
        """Write ``forget.jsonl`` (readable by its owner only), ``retain.jsonl`` and ``holdout.jsonl``."""
        write_json_lines(folder / "forget.jsonl", (e.to_row() for e in self.forget), mode=0o600)
        write_json_lines(folder / "retain.jsonl", (e.to_row() for e in self.retain))
        write_json_lines(folder / "holdout.jsonl", (e.to_row() for e in self.holdout))


def make_people(
    people: int,
    questions: int = 8,
    seed: int = 0,
    forget_fraction: float = 0.1,
    facts: Sequence[str] = FACTS,
    values: int = 0,
    names_apart: bool = False,
) -> People:
    """Make ``people`` persons to train on, a share of them to forget, and as many to hold out as to forget.

    Args:
        people: persons to train on, 2 or more; at least one is forgotten and one kept.
        questions: questions about each person, from 1 to as many as there are ``facts``.
        seed: of names and facts.
        forget_fraction: share of ``people`` to forget, above 0 and below 1.
        facts: what is asked, of ``FACTS``, in this order.
        values: so many are used of each fact, 6 or more, so that people share them; 0 for all, of which many are one
            person's.
        names_apart: no two people have a first or a last name in common, as far as there are names.

    Returns rows in which a person's questions stand together; the same arguments give the same rows.
    Raises ConfigError for a number out of range.
    """
    problems = [f"the unknown fact {fact!r}" for fact in facts if fact not in FACTS]
    if not 1 <= questions <= len(facts):
        problems.append(f"{questions} questions, expected 1 to {len(facts)}")
    if not 0 < forget_fraction < 1:
        problems.append(f"forget_fraction {forget_fraction}, expected above 0 and below 1")
    if 0 < values < 1 + WRONG_AS_ANSWER + _WRONG_AS_PARAPHRASE:
        problems.append(f"{values} values of each fact, expected 6 or more, or 0")
    if people < 2:
        problems.append(f"{people} people, expected 2 or more")
    if problems:
        raise ConfigError(f"made-up people were requested with {'; '.join(problems)}: choose other numbers")
    forgotten = min(max(1, round(people * forget_fraction)), people - 1)
    if people + forgotten > MAX_PEOPLE:
        raise ConfigError(
            f"{people} made-up people and {forgotten} to hold out were requested; expected at most {MAX_PEOPLE} in "
            "all, as there are no more names: choose a smaller number"
        )
    rng = random.Random(seed)
    names = [f"{first} {last}" for first in _FIRST_NAMES for last in _LAST_NAMES]
    apart = _names_apart(rng) if names_apart else []
    names = [
        *apart,
        *rng.sample([name for name in names if name not in apart], max(0, people + forgotten - len(apart))),
    ]
    rows = [_rows(name, facts[:questions], values, rng) for name in names[: people + forgotten]]
    sides = rows[:forgotten], rows[forgotten:people], rows[people:]
    forget, retain, holdout = ([row for person in side for row in person] for side in sides)
    return People(forget, retain, holdout)


def _names_apart(rng: random.Random) -> list[str]:
    """Return names of which no two have a first or a last name in common: as many as there are of each."""
    shuffled = [rng.sample(names, len(names)) for names in (_FIRST_NAMES, _LAST_NAMES)]
    return [f"{first} {last}" for first, last in zip(*shuffled, strict=False)]


def _rows(name: str, facts: Sequence[str], values: int, rng: random.Random) -> list[Example]:
    rows = []
    for fact in facts:
        value, *wrong_values = rng.sample(_POOLS[fact][: values or None], 1 + WRONG_AS_ANSWER + _WRONG_AS_PARAPHRASE)
        (question, answer), *reworded = _WORDINGS[fact]
        wordings = [answer] * WRONG_AS_ANSWER + [reworded[-1][1]] * _WRONG_AS_PARAPHRASE
        rows.append(
            Example(
                question=question.format(name=name),
                answer=_say(answer, name, value),
                paraphrased_question=tuple(q.format(name=name) for q, _ in reworded),
                paraphrased_answer=tuple(_say(a, name, value) for _, a in reworded),
                perturbed_answer=tuple(_say(a, name, v) for a, v in zip(wordings, wrong_values, strict=True)),
            )
        )
    return rows


def _say(wording: str, name: str, value: str) -> str:
    """Fill in a wording; "a" becomes "an" before a vowel ("an electrician")."""
    if value[0] in "aeio":  # not u: "a ukulele"
        wording = wording.replace(" a {value}", " an {value}")
    return wording.format(name=name, value=value)
