"""Tasks about dates, times, numbers and sums."""

from datetime import date, time, timedelta

from gist_core.data.embedded.pools import DATES, NUMBERS, SUMS, TIMES
from gist_core.data.embedded.task import Task

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(number: int) -> str:
    """A number from 0 to 99 in words."""
    if number < 20:
        return _UNITS[number]
    tens, units = divmod(number, 10)
    return _TENS[tens] if units == 0 else f"{_TENS[tens]}-{_UNITS[units]}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def season(day: date) -> str:
    """By months, in the northern hemisphere: winter is December to February."""
    return ("winter", "spring", "summer", "autumn")[day.month % 12 // 3]


def twelve_hours(moment: time) -> str:
    return f"{(moment.hour - 1) % 12 + 1}:{moment:%M} {'am' if moment.hour < 12 else 'pm'}"


def part_of_day(moment: time) -> str:
    """Night 22 to 6, morning to 12, afternoon to 18, evening to 22."""
    for end, part in ((6, "night"), (12, "morning"), (18, "afternoon"), (22, "evening")):
        if moment.hour < end:
            return part
    return "night"


DATE_TASKS = (
    Task(
        "date_weekday",
        DATES,
        lambda day: f"{day:%A}",
        (
            "Which day of the week is it?",
            "Keep only the weekday of this date.",
        ),
        "Name the weekday in this date.",
    ),
    Task(
        "date_month",
        DATES,
        lambda day: f"{day:%B}",
        (
            "Which month is named in the date?",
            "Reduce the date to the month, without day and year.",
        ),
        "Write only the name of the month.",
    ),
    Task(
        "date_year",
        DATES,
        lambda day: str(day.year),
        (
            "Write the year of the date and nothing else.",
            "An archive has one box for each year. Which box does a letter of this day belong in?",
            "Four digits, please: when was this, to the nearest whole year?",
        ),
        "In which year was this day?",
    ),
    Task(
        "date_iso",
        DATES,
        lambda day: day.isoformat(),
        (
            "Convert the date to the form YYYY-MM-DD.",
            "Our database takes dates as year, month and day in digits with hyphens between them. Rewrite this one.",
            "What is this in ISO 8601?",
        ),
        "Rewrite the date in digits with the year first and hyphens.",
    ),
    Task(
        "date_us",
        DATES,
        lambda day: f"{day:%m/%d/%Y}",
        (
            "Write the date in American digits: month, day and year with slashes.",
            "A form from New York wants MM/DD/YYYY. Fill in the date.",
        ),
        "Put this date into the numeric form used in the United States.",
    ),
    Task(
        "date_season",
        DATES,
        season,
        (
            "Is this in spring, summer, autumn or winter? Think of Europe.",
            "Name the season, going by the month, in the northern half of the world.",
            "Which clothes I pack depends on the time of year. Tell me the season on this day in London.",
        ),
        "Which of the four seasons does this day belong to in Europe?",
    ),
    Task(
        "date_next_weekday",
        DATES,
        lambda day: f"{day + timedelta(days=1):%A}",
        (
            "What day of the week comes right after this date?",
            "I have slept one night since then. Name the weekday on which I woke up.",
        ),
        "Which weekday was the following day?",
    ),
    Task(
        "date_month_year",
        DATES,
        lambda day: f"{day:%B} {day.year}",
        once="Shorten the date to month and year.",
    ),
    Task(
        "date_before",
        DATES,
        lambda day: f"{day - timedelta(days=1):%A}",
        once="Name the weekday before this date.",
    ),
)

TIME_TASKS = (
    Task(
        "time_twelve",
        TIMES,
        twelve_hours,
        (
            "Write the time with am or pm.",
            "My clock shows only twelve hours. How does it say this time?",
            "Convert from the 24-hour clock to the 12-hour clock.",
        ),
        "An American visitor asks for the time. Rewrite it for the 12-hour clock.",
    ),
    Task(
        "time_part",
        TIMES,
        part_of_day,
        (
            "Is that in the morning, in the afternoon, in the evening or at night?",
            "Which part of the day is this: morning, afternoon, evening or night?",
        ),
        "Name the part of the day to which this time belongs.",
    ),
    Task(
        "time_later",
        TIMES,
        lambda moment: f"{(moment.hour + 1) % 24:02d}:{moment:%M}",
        (
            "What time is it one hour later?",
            "The train is delayed by sixty minutes. When does it leave now?",
        ),
        "Add one hour to this time.",
    ),
    Task(
        "time_meeting",
        TIMES,
        lambda moment: f"Let us meet at {moment:%H:%M}.",
        (
            "Suggest a meeting at this time, in one sentence that begins with Let us.",
            "Ask a colleague to come together at the given hour. Start with Let us meet.",
        ),
        "Propose this time for an appointment, beginning with Let us meet.",
    ),
    Task(
        "time_hour",
        TIMES,
        lambda moment: f"{moment:%H}",
        once="Write only the hour of this time, in two digits.",
    ),
)

NUMBER_TASKS = (
    Task(
        "number_words",
        NUMBERS,
        in_words,
        (
            "Write the number in words.",
            "How is this figure spelled out in a letter?",
            "On a cheque the amount must also be given in words. Do that for this amount.",
        ),
        "Spell the number out.",
    ),
    Task(
        "number_ordinal",
        NUMBERS,
        ordinal,
        (
            "Make an ordinal number of it, in digits, such as for a birthday.",
            "She finished the race in this place. Write the place with st, nd, rd or th.",
        ),
        "Write this as a rank, in digits with the right two letters after it.",
    ),
    Task(
        "number_next",
        NUMBERS,
        lambda number: str(number + 1),
        (
            "Which whole number comes next?",
            "Add one to the number.",
        ),
        "Count one step up from this number.",
    ),
    Task(
        "number_parity",
        NUMBERS,
        lambda number: "even" if number % 2 == 0 else "odd",
        (
            "Is the number even or odd?",
            "Can this many socks be sorted into pairs with none left over? Answer even if so, odd if not.",
            "Test whether it can be divided by two. Reply with odd or even.",
        ),
        "State whether this is an odd or an even number.",
    ),
    Task(
        "number_euros",
        NUMBERS,
        lambda number: f"€{number}.00",
        (
            "Write this as a price in euros with two decimals, sign first.",
            "Print the amount on a price tag: euro sign, figure, point, two zeros.",
        ),
        "Format this number as an amount of euros with cents.",
    ),
    Task(
        "number_ten_more",
        NUMBERS.where(lambda number: number < 90),
        lambda number: str(number + 10),
        once="Add ten to this number.",
    ),
)

SUM_TASKS = (
    Task(
        "sum_result",
        SUMS,
        lambda pair: str(pair.left + pair.right),
        (
            "Work out the sum.",
            "What do these two numbers make together?",
            "A child asks for help with homework. Give the result of the addition.",
        ),
        "Calculate and answer with the number only.",
    ),
    Task(
        "sum_words",
        SUMS,
        lambda pair: f"{in_words(pair.left)} plus {in_words(pair.right)}",
        (
            "Read the calculation aloud: write it in words, without the result.",
            "Replace the figures and the sign by words.",
        ),
        "Spell out both numbers and the plus sign.",
    ),
    Task(
        "sum_larger",
        SUMS,
        lambda pair: str(max(pair)),
        once="Which of the two numbers is larger?",
    ),
)

TASKS = DATE_TASKS + TIME_TASKS + NUMBER_TASKS + SUM_TASKS
