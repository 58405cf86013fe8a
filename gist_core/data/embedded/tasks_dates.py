"""Tasks about dates and times of day."""

from datetime import date, time, timedelta

from gist_core.data.embedded.pools import DATES, TIMES, month, weekday
from gist_core.data.embedded.task import Task


def season(day: date) -> str:
    """By months, in the northern hemisphere: winter is December to February."""
    return ("winter", "spring", "summer", "autumn")[day.month % 12 // 3]


def twelve_hours(moment: time) -> str:
    return f"{(moment.hour - 1) % 12 + 1}:{moment:%M} {'am' if moment.hour < 12 else 'pm'}"


def part_of_day(moment: time) -> str:
    """Night until 6, morning until 12, afternoon until 18, evening until 22."""
    for end, part in ((6, "night"), (12, "morning"), (18, "afternoon"), (22, "evening")):
        if moment.hour < end:
            return part
    return "night"


DATE_TASKS = (
    Task(
        "date_weekday",
        DATES,
        weekday,
        (
            "Which day of the week is it?",
            "Keep only the weekday of this date.",
        ),
        "Name the weekday in this date.",
    ),
    Task(
        "date_month",
        DATES,
        month,
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
            "Four digits, please: which year was this in?",
        ),
        "In which year was this day?",
    ),
    Task(
        "date_iso",
        DATES,
        lambda day: day.isoformat(),
        (
            "Convert the date to the form YYYY-MM-DD.",
            (
                "Our database refuses every date that is not written as year, month and day in digits with hyphens "
                "between them. Rewrite this one so that it will be accepted."
            ),
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
            (
                "Which clothes I pack depends on the time of year, and I am travelling to London. Tell me whether "
                "this day is in spring, summer, autumn or winter there."
            ),
        ),
        "Which of the four seasons does this day belong to in Europe?",
    ),
    Task(
        "date_next_weekday",
        DATES,
        lambda day: weekday(day + timedelta(days=1)),
        (
            "What day of the week comes right after this date?",
            "I have slept one night since then. Name the weekday on which I woke up.",
        ),
        "Which weekday was the following day?",
    ),
    Task(
        "date_month_year",
        DATES,
        lambda day: f"{month(day)} {day.year}",
        once="Shorten the date to month and year.",
    ),
    Task(
        "date_before",
        DATES,
        lambda day: weekday(day - timedelta(days=1)),
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
            (
                "The timetable uses the 24-hour clock, but the clock on my wall shows only twelve hours. How do I "
                "write this time with am or pm?"
            ),
            "Convert from the 24-hour clock to the 12-hour clock.",
        ),
        "An American visitor asks for the time. Rewrite it for the 12-hour clock.",
    ),
    Task(
        "time_part",
        TIMES.where(lambda moment: moment.hour not in (5, 12, 17, 22)),  # people disagree about these
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
        TIMES.where(lambda moment: 8 <= moment.hour < 18),
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

TASKS = DATE_TASKS + TIME_TASKS
