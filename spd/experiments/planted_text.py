"""Text with planted regularities: sentences in which some words follow from earlier ones by a rule that is known.

A document is a run of sentences of the kinds below, drawn at random. Where a rule decides a word, the
kind's function marks it as {rule:word}; `planted_document` gives the plain text with the places of these words. Rules:
RULES says what each asks of a reader.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from spd.experiments.planted_words import (
    ADJECTIVES,
    CAPITALS,
    COLOURS,
    COUNTED,
    FAMILY_NAMES,
    FEMALE,
    FRUIT,
    LETTERS,
    MALE,
    MONTHS,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PLACES,
    THINGS,
    VERBS,
    WEEKDAYS,
    YOUNG,
)

RULES = {
    "agreement": "is or are, by the number of the subject, over a noun that may have another",
    "family name": "a person's second name, as it came after the first one before",
    "possessive": "his or her, by the person's name",
    "bracket": "the closing bracket is of the kind that was opened",
    "numbering": "the next number of a numbered list",
    "lettering": "the next letter of a lettered list",
    "weekday": "the day after the one that was named",
    "month": "the month after the one that was named",
    "spelling": "a numeral, spelled out",
    "sum": "the sum of two numbers from one to five",
    "recall": "the colour that a thing was said to have, a few sentences before",
    "capital": "a country's capital",
    "opposite": "an adjective's opposite",
    "young": "the name of an animal's young",
    "plural": "the plural of the noun that was just counted",
    "past": "the past of the verb that was just used",
    "repetition": "the next of four random words that are said again",
}
"""What a reader must do to know the marked word, by rule."""

SENTENCES_PER_DOCUMENT = 14

_MARK = re.compile(r"\{([^:{}]+):([^{}]*)\}")


@dataclass(frozen=True)
class Document:
    """A planted document.

    Attributes:
        text: as the model reads it.
        places: (first character, end, rule) of each word that a rule decides, in order, without the space before it.
    """

    text: str
    places: list[tuple[int, int, str]]


class _Scene:
    """What a document has said so far, and its source of chance."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.colours: dict[str, str] = {}

    def person(self) -> tuple[str, str]:
        """A name, and his or her."""
        kind = self.rng.randrange(2)
        return self.rng.choice((MALE, FEMALE)[kind]), ("his", "her")[kind]


def planted_document(rng: random.Random) -> Document:
    """One document."""
    scene = _Scene(rng)
    kinds = list(_KINDS)
    marked = " ".join(rng.choice(kinds)(scene) for _ in range(SENTENCES_PER_DOCUMENT))
    return read_marks(marked)


def read_marks(marked: str) -> Document:
    """The text without its marks, and the places of the marked words."""
    text, places, end = "", [], 0
    for found in _MARK.finditer(marked):
        text += marked[end : found.start()]
        places.append((len(text), len(text) + len(found[2]), found[1]))
        text += found[2]
        end = found.end()
    return Document(text + marked[end:], places)


def _agreement(scene: _Scene) -> str:
    rng = scene.rng
    noun, other = rng.sample(NOUNS, 2)
    number = rng.randrange(2)
    subject = f"{rng.choice(ADJECTIVES)} {noun[number]} {rng.choice(PLACES)} the {other[rng.randrange(2)]}"
    return f"The {subject} {{agreement:{('is', 'are')[number]}}} {rng.choice(ADJECTIVES)}."


def _meeting(scene: _Scene) -> str:
    rng = scene.rng
    (name, _), family_name = scene.person(), rng.choice(FAMILY_NAMES)
    place = f" in {rng.choice(list(CAPITALS))}" if rng.random() < 0.5 else ""
    said = f"{name} {family_name} spoke to the {rng.choice(NOUNS)[0]}{place}"
    return f"{said}, and we heard {name} {{family name:{family_name}}} too."


def _possession(scene: _Scene) -> str:
    name, possessive = scene.person()
    return f"{name} lost {{possessive:{possessive}}} {scene.rng.choice(THINGS)}."


def _bracket(scene: _Scene) -> str:
    rng = scene.rng
    opening, closing = rng.choice([("(", ")"), ("[", "]"), ("<", ">")])
    inner = rng.choice([f"a {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)[0]}", f"see page {rng.choice(NUMBERS)}"])
    return f"The {rng.choice(NOUNS)[0]} {opening} {inner} {{bracket:{closing}}} went home."


def _numbered(scene: _Scene) -> str:
    rng = scene.rng
    items = rng.sample(FRUIT, rng.randrange(3, 7))
    parts = [f"{{numbering:{place}}} {item}" if place > 1 else f"1 {item}" for place, item in enumerate(items, 1)]
    return f"List: {', '.join(parts)}."


def _lettered(scene: _Scene) -> str:
    rng = scene.rng
    items = rng.sample(THINGS, rng.randrange(3, 6))
    parts = [
        f"{{lettering:{letter}}} = {item}" if place else f"{letter} = {item}"
        for place, (letter, item) in enumerate(zip(LETTERS, items, strict=False))
    ]
    return f"Let {'; '.join(parts)}."


def _weekday(scene: _Scene) -> str:
    day = scene.rng.randrange(7)
    following = WEEKDAYS[(day + 1) % 7]
    return f"On {WEEKDAYS[day]} it rained, and on {{weekday:{following}}} the sun shone."


def _months(scene: _Scene) -> str:
    month = scene.rng.randrange(12)
    return f"After {MONTHS[month]} comes {{month:{MONTHS[(month + 1) % 12]}}}."


def _spelling(scene: _Scene) -> str:
    number = scene.rng.randrange(1, len(NUMBERS) + 1)
    return f"We write {number} as {{spelling:{NUMBERS[number - 1]}}}."


def _sum(scene: _Scene) -> str:
    first, second = scene.rng.randrange(1, 6), scene.rng.randrange(1, 6)
    total = NUMBERS[first + second - 1]
    return f"The sum of {NUMBERS[first - 1]} and {NUMBERS[second - 1]} is {{sum:{total}}}."


def _colour(scene: _Scene) -> str:
    """Say a thing's colour, or ask for one that was said."""
    rng = scene.rng
    if scene.colours and rng.random() < 0.6:
        thing = rng.choice(sorted(scene.colours))
        return f"Question: what colour is the {thing}? Answer: {{recall:{scene.colours[thing]}}}."
    thing = rng.choice([thing for thing in THINGS if thing not in scene.colours])
    scene.colours[thing] = rng.choice(COLOURS)
    return f"The {thing} is {scene.colours[thing]}."


def _capital(scene: _Scene) -> str:
    country = scene.rng.choice(list(CAPITALS))
    return f"The capital of {country} is {{capital:{CAPITALS[country]}}}."


def _opposite(scene: _Scene) -> str:
    pair = list(scene.rng.choice(OPPOSITES))
    scene.rng.shuffle(pair)
    return f"It was not {pair[0]} but {{opposite:{pair[1]}}}."


def _young(scene: _Scene) -> str:
    animal = scene.rng.choice(list(YOUNG))
    return f"A young {animal} is called a {{young:{YOUNG[animal]}}}."


def _plural(scene: _Scene) -> str:
    one, many = scene.rng.choice(NOUNS)
    return f"I had one {one} and you had {scene.rng.choice(COUNTED)} {{plural:{many}}}."


def _past(scene: _Scene) -> str:
    verb, past = scene.rng.choice(VERBS)
    return f"Today they {verb}, as yesterday they {{past:{past}}}."


def _repetition(scene: _Scene) -> str:
    words = [scene.rng.choice(pool) for pool in (COLOURS, THINGS, FRUIT, LETTERS)]
    scene.rng.shuffle(words)
    first, *others = words
    again = " ".join(f"{{repetition:{word}}}" for word in others)
    return f"Say {' '.join(words)}, again: {first} {again}."


_KINDS: tuple[Callable[[_Scene], str], ...] = (
    _agreement,
    _agreement,
    _meeting,
    _meeting,
    _possession,
    _bracket,
    _numbered,
    _lettered,
    _weekday,
    _months,
    _spelling,
    _sum,
    _colour,
    _colour,
    _colour,
    _capital,
    _opposite,
    _young,
    _plural,
    _past,
    _repetition,
)
"""The kinds of sentences, as often as they are drawn."""
