"""Inputs that are language: customers' reviews, adjectives and verbs with their forms."""

from typing import NamedTuple

from gist_core.data.embedded.task import Pool


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
build built building builds|sell sold selling sells|send sent sending sends|shake shook shaking shakes
sit sat sitting sits|stand stood standing stands|steal stole stealing steals|tell told telling tells
think thought thinking thinks|throw threw throwing throws|wake woke waking wakes|wear wore wearing wears
win won winning wins|begin began beginning begins|walk walked walking walks|stop stopped stopping stops
carry carried carrying carries|watch watched watching watches
"""

VERBS = Pool(
    tuple(Verb(*entry.split()) for line in _VERBS.strip().splitlines() for entry in line.split("|")),
    lambda verb: verb.word,
)
