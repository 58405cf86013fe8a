"""The other kinds of input: lists, names, dates, times, numbers, sums, records, file names, code, reviews, words."""

from datetime import date, time, timedelta
from itertools import permutations
from typing import NamedTuple

from gist_core.data.embedded.task import Pool, rank


def _sample(items: list, size: int, seed: str) -> tuple:
    """The `size` items that come first in an order of their own."""
    return tuple(sorted(items, key=lambda item: rank(seed, repr(item)))[:size])


THINGS = {
    "fruit": "apple banana pear cherry mango peach lemon grape plum orange".split(),
    "animal": "dog horse rabbit goat tiger sheep monkey cow wolf camel".split(),
    "tool": "hammer saw screwdriver pliers drill wrench axe chisel spade rake".split(),
    "clothing": "shirt jacket scarf trousers coat sweater skirt glove sock hat".split(),
    "vehicle": "car bus bicycle train lorry tractor taxi motorbike van tram".split(),
    "instrument": "piano violin guitar flute drum trumpet cello harp clarinet organ".split(),
}


class Things(NamedTuple):
    """A list with at most one thing of each kind: {kind: thing} in the order of the list."""

    by_kind: dict[str, str]

    @property
    def words(self) -> list[str]:
        return list(self.by_kind.values())


def _things() -> tuple[Things, ...]:
    kinds = [*permutations(THINGS, 4), *permutations(THINGS, 5)]
    return tuple(
        Things({kind: THINGS[kind][rank(kind, *order) % len(THINGS[kind])] for kind in order})
        for order in _sample(kinds, 240, "things")
    )


LISTS = Pool(_things(), lambda things: ", ".join(things.words))

_NAMES = """
Maria Lopez|Thomas Berg|Aisha Khan|Peter Novak|Julia Weber|Samuel Okoro|Clara Rossi|David Miller|Hanna Lindgren
Omar Haddad|Emily Carter|Luis Moreno|Nadia Petrova|George Adams|Ingrid Olsen|Ravi Sharma|Laura Bianchi|Henry Walsh
Fatima Yusuf|Martin Dubois|Sarah Cohen|Jonas Keller|Teresa Silva|Andrew Fraser|Mei Tanaka|Robert Hughes|Anna Kowalska
Victor Santos|Helen Murphy|Adam Horvath|Lucy Bennett|Karim Mansour|Irene Papadakis|Frank Jensen|Beatriz Costa|Paul Schneider
Grace Mensah|Oliver Grant|Elena Popova|Daniel Fischer|Rosa Martinez|Walter Stone|Amina Diallo|Jack Turner|Sofia Conti
Marcus Reid|Leila Rahimi|Philip Moore|Eva Svensson|Noah Parker|Ruth Goldman|Carlos Vega|Monica Ferrari|Simon Clarke
Yuki Mori|Edward Hall|Lena Hoffmann|Isaac Osei|Valerie Laurent|Zoe Marsh|José Álvarez|Renée Martin|Björn Dahl
"""


class Name(NamedTuple):
    given: str
    surname: str


NAMES = Pool(
    tuple(Name(*name.split()) for line in _NAMES.strip().splitlines() for name in line.split("|")),
    lambda name: f"{name.given} {name.surname}",
)

DATES = Pool(
    tuple(date(1990, 1, 1) + timedelta(days=rank("date", str(number)) % (36 * 365)) for number in range(90)),
    lambda day: f"{day:%A}, {day.day} {day:%B %Y}",
)

TIMES = Pool(
    tuple(time(hour, minute) for hour in range(24) for minute in (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55)),
    lambda moment: f"{moment:%H:%M}",
)

NUMBERS = Pool(tuple(range(11, 100)))


class Sum(NamedTuple):
    left: int
    right: int


SUMS = Pool(
    _sample([Sum(left, right) for left in range(2, 16) for right in range(2, 11) if left != right], 100, "sums"),
    lambda pair: f"{pair.left} + {pair.right}",
)


class Person(NamedTuple):
    name: str
    age: int
    city: str
    job: str


_JOBS = "baker nurse pilot carpenter dentist farmer lawyer painter plumber singer tailor teacher".split()
_TOWNS = "Oslo Lyon Turin Leeds Ghent Malaga Graz Bath Porto Bonn Cork Basel Split Lille Bergen".split()
_PEOPLE = "Nina Ben Carla Emil Rita Hugo Alma Finn Dora Leon Vera Max Lucia Otto Mara Ivan Nora Karl Elsa Felix".split()

PEOPLE = Pool(
    tuple(
        Person(
            _PEOPLE[number % len(_PEOPLE)],
            20 + rank("age", str(number)) % 45,
            _TOWNS[rank("town", str(number)) % len(_TOWNS)],
            _JOBS[rank("job", str(number)) % len(_JOBS)],
        )
        for number in range(70)
    ),
    lambda person: f"name: {person.name}; age: {person.age}; city: {person.city}; job: {person.job}",
)


class Document(NamedTuple):
    topic: str
    year: int
    extension: str


KIND_OF_FILE = {
    "xlsx": "a spreadsheet",
    "jpg": "a picture",
    "mp3": "a sound file",
    "docx": "a text document",
    "pptx": "a slide show",
    "mp4": "a video",
    "zip": "an archive",
}
_TOPICS = "budget invoice holiday wedding recipe garden lecture survey contract birthday school travel".split()

FILES = Pool(
    _sample(
        [Document(topic, year, end) for topic in _TOPICS for year in range(2009, 2026) for end in KIND_OF_FILE],
        90,
        "files",
    ),
    lambda document: f"{document.topic}_{document.year}.{document.extension}",
)


class Function(NamedTuple):
    name: str
    parameters: tuple[str, ...]


_FUNCTIONS = """
add_tax price rate|send_mail address text|load_image path|count_words text|area width height|open_door room key
book_seat row number name|play_song title|draw_circle x y radius|save_file path data|greet name|sort_cards deck
pay_bill account amount|find_user email|resize image width height|plan_trip city days budget|weigh parcel
move_piece board start goal|translate text language|set_alarm hour minute|boil water minutes|print_label box
rename_file old new|mix_colours red blue|cut_bread loaf slices|rent_car model days|measure sensor|fill_tank litres
join_team player club|delete_row table index|wash_clothes load degrees|write_log message level|close_shop hour
ship_order customer address items|average values|shuffle songs|check_stock product shelf|rotate picture angle
water_plants garden litres|lock_screen seconds|build_index pages|split_bill total guests|copy_folder source target
grade_essay essay rubric|charge_battery device|scan_page printer page|score_goal team minute|parse_date text
hire_driver route day|cancel_order number reason|paint_wall colour coats|feed_cat cat grams|ring_bell times
"""

FUNCTIONS = Pool(
    tuple(
        Function(words[0], tuple(words[1:]))
        for line in _FUNCTIONS.strip().splitlines()
        for words in (entry.split() for entry in line.split("|"))
    ),
    lambda function: f"def {function.name}({', '.join(function.parameters)}):",
)


class Review(NamedTuple):
    subject: str
    good: bool
    text: str


_REVIEWS = """
restaurant|+|The soup was hot, the fish was fresh and the waiter was kind.
restaurant|-|We waited an hour and the soup was cold.
restaurant|+|Best pasta I have eaten in years, and not expensive.
restaurant|-|The meat was burnt and the plates were dirty.
restaurant|+|Lovely desserts and a friendly cook.
restaurant|-|The salad was brown and the bill was wrong.
restaurant|+|A wonderful dinner from the starter to the coffee.
restaurant|-|The waiter was rude and the rice was hard.
restaurant|+|Great pizza, quick service, happy children.
restaurant|-|Never again: raw chicken and sour wine.
restaurant|+|The menu is small, but every dish was delicious.
hotel|+|The room was quiet and the bed was very comfortable.
hotel|-|Our room smelled of smoke and the shower was broken.
hotel|+|Friendly reception, clean sheets and a lovely view.
hotel|-|The walls are thin and the neighbours shouted all night.
hotel|+|We slept well and the pool was perfect.
hotel|-|Dirty towels, no hot water and a broken lift.
hotel|+|A charming room with a balcony over the sea.
hotel|-|The bed was hard and the heating did not work.
hotel|+|The staff carried our suitcases and the lobby was beautiful.
hotel|-|The receptionist lost our booking and did not say sorry.
hotel|+|Spotless room, soft pillows, and breakfast in bed.
film|+|A moving story with brilliant actors.
film|-|The plot made no sense and the actors looked bored.
film|+|I laughed from the first scene to the last.
film|-|Two hours of my life that I will never get back: a dull script.
film|+|Beautiful pictures, clever dialogue and a great ending.
film|-|The ending was silly and the music was too loud.
film|+|The director has made a masterpiece.
film|-|I fell asleep in the cinema after twenty minutes.
film|+|The best comedy on the screen this year.
film|-|A weak sequel with terrible acting.
film|+|Great chase scenes and a hero you love.
phone|+|The battery lasts two days and the screen is bright.
phone|-|The screen cracked after a week.
phone|+|The camera is excellent and calls are clear.
phone|-|The battery is empty by noon and it gets hot.
phone|+|Light, fast and easy to set up, with a superb camera.
phone|-|It drops every call and the keyboard freezes.
phone|+|A sharp display and plenty of storage for the price.
phone|-|The charger broke and the speaker crackles.
phone|+|I love how quickly it charges.
phone|-|The camera is blurry and the apps keep crashing.
phone|+|Good sound, good screen, and it fits my pocket.
"""

REVIEWS = Pool(
    tuple(
        Review(subject, sign == "+", text)
        for subject, sign, text in (line.split("|") for line in _REVIEWS.strip().splitlines())
    ),
    lambda review: review.text,
)


class Adjective(NamedTuple):
    word: str
    opposite: str
    comparative: str
    adverb: str


_ADJECTIVES = """
quick slow quicker quickly|loud quiet louder loudly|soft hard softer softly|cheap expensive cheaper cheaply
strong weak stronger strongly|warm cool warmer warmly|brave cowardly braver bravely|happy sad happier happily
sad happy sadder sadly|heavy light heavier heavily|easy difficult easier easily|safe dangerous safer safely
rich poor richer richly|poor rich poorer poorly|deep shallow deeper deeply|wide narrow wider widely
narrow wide narrower narrowly|clean dirty cleaner cleanly|bright dark brighter brightly|polite rude politer politely
rude polite ruder rudely|sweet sour sweeter sweetly|calm nervous calmer calmly|slow fast slower slowly
weak strong weaker weakly|dark light darker darkly|quiet loud quieter quietly|tight loose tighter tightly
loose tight looser loosely|smooth rough smoother smoothly|rough smooth rougher roughly|clever stupid cleverer cleverly
lazy hard-working lazier lazily|proud ashamed prouder proudly|cold hot colder coldly|high low higher highly
sharp blunt sharper sharply|thick thin thicker thickly|thin thick thinner thinly|angry calm angrier angrily
kind cruel kinder kindly|cruel kind crueller cruelly|noisy quiet noisier noisily|fresh stale fresher freshly
"""

ADJECTIVES = Pool(
    tuple(Adjective(*entry.split()) for line in _ADJECTIVES.strip().splitlines() for entry in line.split("|")),
    lambda adjective: adjective.word,
)


class Verb(NamedTuple):
    word: str
    past: str
    ing: str
    third: str


_VERBS = """
go went going goes|write wrote writing writes|run ran running runs|take took taking takes|sing sang singing sings
swim swam swimming swims|drive drove driving drives|buy bought buying buys|teach taught teaching teaches
catch caught catching catches|fly flew flying flies|sleep slept sleeping sleeps|speak spoke speaking speaks
break broke breaking breaks|choose chose choosing chooses|drink drank drinking drinks|eat ate eating eats
fall fell falling falls|forget forgot forgetting forgets|give gave giving gives|grow grew growing grows
hide hid hiding hides|hold held holding holds|keep kept keeping keeps|dig dug digging digs|leave left leaving leaves
lose lost losing loses|make made making makes|meet met meeting meets|ride rode riding rides|ring rang ringing rings
build built building builds|sell sold selling sells|send sent sending sends|shake shook shaking shakes|sit sat sitting sits
stand stood standing stands|steal stole stealing steals|tell told telling tells|think thought thinking thinks
throw threw throwing throws|wake woke waking wakes|wear wore wearing wears|win won winning wins|begin began beginning begins
walk walked walking walks|stop stopped stopping stops|carry carried carrying carries|watch watched watching watches
"""

VERBS = Pool(
    tuple(Verb(*entry.split()) for line in _VERBS.strip().splitlines() for entry in line.split("|")),
    lambda verb: verb.word,
)
