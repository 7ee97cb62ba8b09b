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
    "recall": "the colour that one of two things was said to have, in the sentence before",
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


def planted_document(rng: random.Random) -> Document:
    """One document."""
    return read_marks(" ".join(rng.choice(_KINDS)(rng) for _ in range(SENTENCES_PER_DOCUMENT)))


def read_marks(marked: str) -> Document:
    """The text without its marks, and the places of the marked words."""
    text, places, end = "", [], 0
    for found in _MARK.finditer(marked):
        text += marked[end : found.start()]
        places.append((len(text), len(text) + len(found[2]), found[1]))
        text += found[2]
        end = found.end()
    return Document(text + marked[end:], places)


def _person(rng: random.Random) -> tuple[str, str]:
    """A name, and his or her."""
    kind = rng.randrange(2)
    return rng.choice((MALE, FEMALE)[kind]), ("his", "her")[kind]


def _agreement(rng: random.Random) -> str:
    noun, other = rng.sample(NOUNS, 2)
    number = rng.randrange(2)
    subject = f"{rng.choice(ADJECTIVES)} {noun[number]} {rng.choice(PLACES)} the {other[rng.randrange(2)]}"
    return f"The {subject} {{agreement:{('is', 'are')[number]}}} {rng.choice(ADJECTIVES)}."


def _meeting(rng: random.Random) -> str:
    (name, _), family_name = _person(rng), rng.choice(FAMILY_NAMES)
    place = f" in {rng.choice(list(CAPITALS))}" if rng.random() < 0.5 else ""
    said = f"{name} {family_name} spoke to the {rng.choice(NOUNS)[0]}{place}"
    return f"{said}, and we heard {name} {{family name:{family_name}}} too."


def _possession(rng: random.Random) -> str:
    name, possessive = _person(rng)
    return f"{name} lost {{possessive:{possessive}}} {rng.choice(THINGS)}."


def _bracket(rng: random.Random) -> str:
    opening, closing = rng.choice([("(", ")"), ("[", "]"), ("<", ">")])
    inner = rng.choice([f"a {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)[0]}", f"see page {rng.choice(NUMBERS)}"])
    return f"The {rng.choice(NOUNS)[0]} {opening} {inner} {{bracket:{closing}}} went home."


def _numbered(rng: random.Random) -> str:
    items = rng.sample(FRUIT, rng.randrange(3, 7))
    parts = [f"{{numbering:{place}}} {item}" if place > 1 else f"1 {item}" for place, item in enumerate(items, 1)]
    return f"List: {', '.join(parts)}."


def _lettered(rng: random.Random) -> str:
    items = rng.sample(THINGS, rng.randrange(3, 6))
    parts = [
        f"{{lettering:{letter}}} = {item}" if place else f"{letter} = {item}"
        for place, (letter, item) in enumerate(zip(LETTERS, items, strict=False))
    ]
    return f"Let {'; '.join(parts)}."


def _weekday(rng: random.Random) -> str:
    day = rng.randrange(7)
    following = WEEKDAYS[(day + 1) % 7]
    return f"On {WEEKDAYS[day]} it rained, and on {{weekday:{following}}} the sun shone."


def _months(rng: random.Random) -> str:
    month = rng.randrange(12)
    return f"After {MONTHS[month]} comes {{month:{MONTHS[(month + 1) % 12]}}}."


def _spelling(rng: random.Random) -> str:
    number = rng.randrange(1, len(NUMBERS) + 1)
    return f"We write {number} as {{spelling:{NUMBERS[number - 1]}}}."


def _sum(rng: random.Random) -> str:
    first, second = rng.randrange(1, 6), rng.randrange(1, 6)
    total = NUMBERS[first + second - 1]
    return f"The sum of {NUMBERS[first - 1]} and {NUMBERS[second - 1]} is {{sum:{total}}}."


def _recall(rng: random.Random) -> str:
    """Say what colours two things have, and ask for one of them."""
    things, colours = rng.sample(THINGS, 2), rng.sample(COLOURS, 2)
    said = " and ".join(f"the {thing} is {colour}" for thing, colour in zip(things, colours, strict=True))
    asked = rng.randrange(2)
    question = f"Question: what colour is the {things[asked]}?"
    return f"{said.capitalize()}. {question} Answer: {{recall:{colours[asked]}}}."


def _capital(rng: random.Random) -> str:
    country = rng.choice(list(CAPITALS))
    return f"The capital of {country} is {{capital:{CAPITALS[country]}}}."


def _opposite(rng: random.Random) -> str:
    pair = list(rng.choice(OPPOSITES))
    rng.shuffle(pair)
    return f"It was not {pair[0]} but {{opposite:{pair[1]}}}."


def _young(rng: random.Random) -> str:
    animal = rng.choice(list(YOUNG))
    return f"A young {animal} is called a {{young:{YOUNG[animal]}}}."


def _plural(rng: random.Random) -> str:
    one, many = rng.choice(NOUNS)
    return f"I had one {one} and you had {rng.choice(COUNTED)} {{plural:{many}}}."


def _past(rng: random.Random) -> str:
    verb, past = rng.choice(VERBS)
    return f"Today they {verb}, as yesterday they {{past:{past}}}."


def _repetition(rng: random.Random) -> str:
    words = [rng.choice(pool) for pool in (COLOURS, THINGS, FRUIT, LETTERS)]
    rng.shuffle(words)
    first, *others = words
    again = " ".join(f"{{repetition:{word}}}" for word in others)
    return f"Say {' '.join(words)}, again: {first} {again}."


_KINDS: tuple[Callable[[random.Random], str], ...] = (
    _agreement,
    _agreement,
    _agreement,
    _meeting,
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
    _recall,
    _recall,
    _capital,
    _opposite,
    _young,
    _plural,
    _plural,
    _past,
    _repetition,
    _repetition,
)
"""The kinds of sentences, as often as they are drawn."""
