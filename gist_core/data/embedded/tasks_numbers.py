"""Tasks about whole numbers and sums."""

from gist_core.data.embedded.pools import NUMBERS, SUMS
from gist_core.data.embedded.task import Task

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


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


NUMBER_TASKS = (
    Task(
        "number_words",
        NUMBERS,
        in_words,
        (
            "Write the number below in words.",
            "How is this figure spelled out in a letter?",
            (
                "On a cheque the amount must be given in figures and once more in words, so that nobody can change "
                "it. Write the words for this amount."
            ),
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
            "Which whole number comes right after this one?",
            "Add one to the number and write down what you get.",
        ),
        "Count one step up from this number.",
    ),
    Task(
        "number_parity",
        NUMBERS,
        lambda number: "even" if number % 2 == 0 else "odd",
        (
            "Is the number even or odd?",
            (
                "Can this many socks be sorted into pairs with none left over? Answer even if that is possible and "
                "odd if one sock stays alone."
            ),
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
            "Work out the sum and give only the result.",
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

TASKS = NUMBER_TASKS + SUM_TASKS
