"""The words that planted text is made of."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _tuples(text: str) -> tuple[tuple[str, ...], ...]:
    """Words of the form a/b or a/b/c, taken apart."""
    return tuple(tuple(word.split("/")) for word in text.split())


def _mapping(text: str) -> dict[str, str]:
    return dict(_tuples(text))  # type: ignore[arg-type]


NOUNS = _tuples("""
    king/kings queen/queens child/children man/men woman/women farmer/farmers soldier/soldiers teacher/teachers
    friend/friends brother/brothers sister/sisters servant/servants priest/priests prophet/prophets judge/judges
    shepherd/shepherds stranger/strangers neighbour/neighbours captain/captains merchant/merchants
""")
"""(singular, plural) of people."""

VERBS = _tuples("""
    walk/walked sing/sang work/worked wait/waited sleep/slept write/wrote read/read laugh/laughed pray/prayed
    run/ran fight/fought eat/ate drink/drank weep/wept speak/spoke swim/swam
""")
"""(plain, past)."""

MALE = _words("""
    John Peter James Thomas Paul Mark Luke Simon Philip Henry Robert Walter
""")

FEMALE = _words("""
    Mary Anna Ruth Sarah Martha Alice Emma Clara Helen Lucy Rose Jane
""")

FAMILY_NAMES = _words("""
    Smith Brown Miller Taylor Cooper Baker Carter Mason Fisher Hunter Potter Weaver Walker Turner Parker Cook
""")

ADJECTIVES = _words("""
    old young wise poor rich tall proud quiet good brave happy angry
""")

OPPOSITES = _tuples("""
    hot/cold big/small long/short high/low hard/soft light/dark early/late full/empty wet/dry near/far
    open/closed sweet/bitter strong/weak clean/dirty
""")

PLACES = _words("""
    near behind with
""")

THINGS = _words("""
    hat coat key book cup ring lamp bag shoe boat knife chair table box bell drum
""")

COLOURS = _words("""
    red blue green white black yellow brown grey
""")

FRUIT = _words("""
    apples pears plums figs grapes nuts beans olives cherries lemons onions peas
""")

COUNTED = _words("""
    two three four many some
""")

LETTERS = _words("""
    A B C D E F G H
""")

WEEKDAYS = _words("""
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday
""")

MONTHS = _words("""
    January February March April May June July August September October November December
""")

NUMBERS = _words("""
    one two three four five six seven eight nine ten eleven twelve
""")

CAPITALS = _mapping("""
    France/Paris England/London Italy/Rome Spain/Madrid Germany/Berlin Russia/Moscow Greece/Athens Egypt/Cairo
    Japan/Tokyo China/Beijing Norway/Oslo Sweden/Stockholm Portugal/Lisbon Austria/Vienna Ireland/Dublin
    Poland/Warsaw
""")
"""Capital by country."""

YOUNG = _mapping("""
    dog/puppy cat/kitten cow/calf sheep/lamb goat/kid horse/foal lion/cub duck/duckling pig/piglet hen/chick
""")
"""Name of the young by animal."""
