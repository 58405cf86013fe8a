"""Tasks about lists of things: choose by meaning or by place, reorder."""

from gist_core.data.embedded.pools import LISTS, Things
from gist_core.data.embedded.task import Task


def _joined(things: Things) -> str:
    return " and ".join((", ".join(things.words[:-1]), things.words[-1]))


def _one_of(kind: str, wordings: tuple[str, ...], once: str) -> Task:
    """Which thing of the list is of this kind?"""
    pool = LISTS.where(lambda things: kind in things.by_kind)
    return Task(f"list_{kind}", pool, lambda things: things.by_kind[kind], wordings, once)


TASKS = (
    _one_of(
        "fruit",
        (
            "Which of these could you buy at a greengrocer's?",
            "Choose the fruit from the list.",
            (
                "I am making a fruit salad, and my table is full of things that do not belong there. Find the one "
                "item in the list that I could use."
            ),
        ),
        "Spot the fruit among these words.",
    ),
    _one_of(
        "animal",
        (
            "Which of these is a living creature?",
            "Pick the animal out of these words.",
            "A vet looks through this list for a patient. Which entry could be one?",
        ),
        "Find the animal in the following list.",
    ),
    _one_of(
        "tool",
        (
            "Select the tool from the list.",
            "Which thing here belongs in a workshop, for work on wood, metal or the garden?",
        ),
        "One of these is used by craftsmen. Which one?",
    ),
    _one_of(
        "clothing",
        (
            "Which of the items do you wear?",
            "Find the piece of clothing in the list.",
            (
                "I am tidying up the whole house today and sorting things for my wardrobe. Name the one entry of "
                "the list that belongs there because people put it on."
            ),
        ),
        "Name the garment in this list.",
    ),
    _one_of(
        "vehicle",
        (
            "Which of these has wheels and is driven or ridden?",
            "Name the vehicle in this list.",
        ),
        "Pick the means of transport from these items.",
    ),
    _one_of(
        "instrument",
        (
            "Which item would a musician play?",
            "Choose the musical instrument from these words.",
            "The band has lost something, and it is in this list. Say what it is.",
        ),
        "Find the thing in the list that makes music.",
    ),
    Task(
        "list_first",
        LISTS,
        lambda things: things.words[0],
        (
            "Give only the first item of the list.",
            "What stands at the very beginning of this enumeration?",
            "I read lists from left to right and take one thing. Tell me the one I meet before all the others.",
        ),
        "Write down the item that the list starts with.",
    ),
    Task(
        "list_last",
        LISTS,
        lambda things: things.words[-1],
        (
            "Give only the last item of the list.",
            "With which word does the enumeration end?",
        ),
        "Write down the item that the list ends with.",
    ),
    Task(
        "list_joined",
        LISTS,
        _joined,
        once="Put the word and between the last two items instead of the comma.",
    ),
    Task(
        "list_second",
        LISTS,
        lambda things: things.words[1],
        once="Which item is the second in this list?",
    ),
)
