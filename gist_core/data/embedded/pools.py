"""Inputs that are short data: lists, names, dates, times, numbers, sums, records, file names, lines of code."""

from datetime import date, time, timedelta
from itertools import permutations
from typing import NamedTuple

from gist_core.data.embedded.task import Pool, rank


def _words(text: str) -> list[str]:
    return text.split()


def _sample(items: list, size: int, seed: str) -> tuple:
    """The first `size` items in a pseudo-random order that is fixed by the items and `seed`."""
    return tuple(sorted(items, key=lambda item: rank(seed, repr(item)))[:size])


THINGS = {
    "fruit": _words("apple banana pear cherry mango peach lemon grape plum orange"),
    "animal": _words("dog horse rabbit goat tiger sheep monkey cow wolf camel"),
    "tool": _words("hammer saw screwdriver pliers drill wrench axe chisel spade rake"),
    "clothing": _words("shirt jacket scarf trousers coat sweater skirt glove sock hat"),
    "vehicle": _words("car bus bicycle train lorry tractor taxi motorbike van tram"),
    "instrument": _words("piano violin guitar flute drum trumpet cello harp clarinet tuba"),
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
Fatima Yusuf|Martin Dubois|Sarah Cohen|Jonas Keller|Teresa Silva|Andrew Fraser|Mei Tanaka|Robert Hughes
Anna Kowalska|Paul Schneider
Victor Santos|Helen Murphy|Adam Horvath|Lucy Bennett|Karim Mansour|Irene Papadakis|Frank Jensen|Beatriz Costa
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

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def weekday(day: date) -> str:
    """In English, whatever the machine's locale is."""
    return WEEKDAYS[day.weekday()]


def month(day: date) -> str:
    return MONTHS[day.month - 1]


DATES = Pool(
    tuple(date(1990, 1, 1) + timedelta(days=rank("date", str(number)) % (36 * 365)) for number in range(90)),
    lambda day: f"{weekday(day)}, {day.day} {month(day)} {day.year}",
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


_JOBS = _words("baker nurse pilot carpenter dentist farmer lawyer painter plumber singer tailor teacher")
_TOWNS = _words("Oslo Lyon Turin Leeds Ghent Malaga Graz Bath Porto Bonn Cork Basel Split Lille Bergen")
_PEOPLE = _words("Nina Ben Carla Emil Rita Hugo Alma Finn Dora Leon Vera Max Lucia Otto Mara Ivan Nora Karl Elsa Felix")

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
_ENDINGS = {
    "budget": "xlsx docx pptx zip",
    "invoice": "xlsx docx zip",
    "survey": "xlsx docx pptx",
    "contract": "docx zip",
    "lecture": "mp3 mp4 pptx",
    "concert": "mp3 mp4 jpg",
    "wedding": "mp3 mp4 jpg",
    "birthday": "mp3 mp4 jpg",
    "holiday": "mp4 jpg zip",
    "garden": "mp4 jpg xlsx",
    "recipe": "docx jpg",
    "travel": "xlsx docx jpg pptx zip",
}
_DOCUMENTS = [
    Document(topic, year, ending)
    for topic, endings in _ENDINGS.items()
    for year in range(2009, 2026)
    for ending in endings.split()
]

FILES = Pool(
    _sample(_DOCUMENTS, 90, "files"),
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
