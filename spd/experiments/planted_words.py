"""The words that planted text is made of."""

NOUNS = tuple(
    (one, many)
    for one, many in (pair.split("/") for pair in (
        "king/kings queen/queens child/children man/men woman/women farmer/farmers soldier/soldiers teacher/teachers"
        " friend/friends brother/brothers sister/sisters servant/servants priest/priests prophet/prophets judge/judges"
        " shepherd/shepherds stranger/strangers neighbour/neighbours captain/captains merchant/merchants"
    ).split())
)  # fmt: skip
"""(singular, plural) of people."""

VERBS = tuple(
    (third, plain, past)
    for third, plain, past in (triple.split("/") for triple in (
        "walks/walk/walked sings/sing/sang works/work/worked waits/wait/waited sleeps/sleep/slept writes/write/wrote"
        " reads/read/read laughs/laugh/laughed prays/pray/prayed runs/run/ran fights/fight/fought eats/eat/ate"
        " drinks/drink/drank weeps/weep/wept speaks/speak/spoke swims/swim/swam"
    ).split())
)  # fmt: skip
"""(with he, with they, past)."""

MALE = tuple("John Peter James Thomas Paul Mark Luke Simon Philip Henry Robert Walter".split())
FEMALE = tuple("Mary Anna Ruth Sarah Martha Alice Emma Clara Helen Lucy Rose Jane".split())
FAMILY_NAMES = tuple(
    "Smith Brown Miller Taylor Cooper Baker Carter Mason Fisher Hunter Potter Weaver Walker Turner Parker Cook".split()
)
ADJECTIVES = tuple("old young wise poor rich tall proud quiet good brave happy angry".split())
OPPOSITES = tuple(
    tuple(pair.split("/"))
    for pair in (
        "hot/cold big/small long/short high/low hard/soft light/dark early/late full/empty wet/dry near/far open/closed"
        " sweet/bitter strong/weak clean/dirty"
    ).split()
)
PLACES = ("near", "behind", "with")
THINGS = tuple("hat coat key book cup ring lamp bag shoe boat knife chair table box bell drum".split())
COLOURS = tuple("red blue green white black yellow brown grey".split())
FRUIT = tuple("apples pears plums figs grapes nuts beans olives cherries lemons onions peas".split())
COUNTED = ("two", "three", "four", "many", "some")
LETTERS = tuple("ABCDEFGH")
WEEKDAYS = tuple("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTHS = tuple("January February March April May June July August September October November December".split())
NUMBERS = tuple("one two three four five six seven eight nine ten eleven twelve".split())
CAPITALS = {
    country: capital
    for country, capital in (pair.split("/") for pair in (
        "France/Paris England/London Italy/Rome Spain/Madrid Germany/Berlin Russia/Moscow Greece/Athens Egypt/Cairo"
        " Japan/Tokyo China/Beijing Norway/Oslo Sweden/Stockholm Portugal/Lisbon Austria/Vienna Ireland/Dublin"
        " Poland/Warsaw"
    ).split())
}  # fmt: skip
YOUNG = {
    animal: young
    for animal, young in (pair.split("/") for pair in (
        "dog/puppy cat/kitten cow/calf sheep/lamb goat/kid horse/foal lion/cub duck/duckling pig/piglet hen/chick"
    ).split())
}  # fmt: skip
