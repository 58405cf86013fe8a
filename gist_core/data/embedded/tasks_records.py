"""Tasks about names, records of people, file names and lines of code: select and reformat."""

import unicodedata

from gist_core.data.embedded.pools import FILES, FUNCTIONS, KIND_OF_FILE, NAMES, PEOPLE, Function, Name, Person
from gist_core.data.embedded.task import Task


def _plain(text: str) -> str:
    """Lower case without accents, as in an e-mail address."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()


def _address(name: Name) -> str:
    return f"{_plain(name.given)}.{_plain(name.surname)}@example.org"


def _introduction(person: Person) -> str:
    return f"{person.name} is {person.age} and lives in {person.city}."


def _call(function: Function) -> str:
    return f"{function.name}({', '.join(function.parameters)})"


NAME_TASKS = (
    Task(
        "name_surname",
        NAMES,
        lambda name: name.surname,
        (
            "Write only the family name of this person.",
            "What is the surname? Leave out the given name.",
        ),
        "Give the last name only.",
    ),
    Task(
        "name_given",
        NAMES,
        lambda name: name.given,
        (
            "What do friends call this person? Answer with the first name.",
            "Keep the given name and drop the rest.",
            (
                "We are printing badges for a friendly little conference, and the badges show no family names. "
                "Write what stands on the badge of this guest."
            ),
        ),
        "Shorten the full name to the first name.",
    ),
    Task(
        "name_index",
        NAMES,
        lambda name: f"{name.surname}, {name.given}",
        (
            "Write the name as in an index: surname, comma, given name.",
            "Our card catalogue sorts people by family name. Put this person's name into that order, with a comma.",
        ),
        "Reverse the order of the name for a bibliography and put a comma in the middle.",
    ),
    Task(
        "name_email",
        NAMES,
        _address,
        (
            "Make an e-mail address at example.org out of the name, all lower case, with a dot in the middle.",
            (
                "At example.org everybody has an e-mail address made of given name, dot and surname, without "
                "capitals and without accents. What is the address of the colleague below?"
            ),
            "Which e-mail address does this new member of example.org get? Write it in small letters.",
        ),
        "Create an e-mail account name for this person at example.org.",
    ),
    Task(
        "name_initials",
        NAMES,
        lambda name: f"{name.given[0]}. {name.surname[0]}.",
        (
            "Write the initials of the person with full stops.",
            "Shorten both names to their first letters, each with a dot.",
        ),
        "With which two letters would this person sign a note? Put a dot after each.",
    ),
    Task(
        "name_greeting",
        NAMES,
        lambda name: f"Dear {name.given}, thank you for your letter.",
        (
            "Begin a reply to this person: greet by first name and thank them for their letter.",
            "This friend wrote to me. Write the opening of my answer, with thanks for the letter.",
        ),
        "Somebody has sent us a letter. Thank the sender in one line, addressed by first name.",
    ),
)

RECORDS = (
    Task(
        "person_job",
        PEOPLE,
        lambda person: person.job,
        (
            "What does this person do for a living?",
            "Read the job from the record.",
            (
                "The staff list needs a column with the professions of our people, and I have only these records. "
                "Copy the right value out of this one."
            ),
        ),
        "Extract the occupation from this entry.",
    ),
    Task(
        "person_city",
        PEOPLE,
        lambda person: person.city,
        (
            "In which town does the person live?",
            "Copy the value of the field city.",
        ),
        "Extract the place of residence from this record.",
    ),
    Task(
        "person_age",
        PEOPLE,
        lambda person: f"{person.age} years",
        (
            "How old is the person in this record? Answer in years.",
            "Give the value of the field age, followed by the word years.",
        ),
        "State the age of the person in years.",
    ),
    Task(
        "person_sentence",
        PEOPLE,
        _introduction,
        (
            "Introduce the person in one sentence with name, age and city, but not the job.",
            "Make a sentence of the record that tells the age and the home town.",
        ),
        "Turn this record into a sentence about how old the person is and where the person lives.",
    ),
    Task(
        "person_work",
        PEOPLE,
        lambda person: f"{person.name} is a {person.job}.",
        once="Say in a short sentence what the person in the record works as.",
    ),
)

FILE_TASKS = (
    Task(
        "file_kind",
        FILES,
        lambda document: KIND_OF_FILE[document.extension],
        (
            "What kind of file is this, judging by its ending?",
            "My computer cannot open this. Tell me what sort of document it is.",
        ),
        "Guess from the extension what this file contains.",
    ),
    Task(
        "file_year",
        FILES,
        lambda document: str(document.year),
        (
            "Which year is in the name of the file?",
            (
                "I am sorting many years of documents into folders, one folder for each year, named by the four "
                "digits. Name the folder in which this file belongs."
            ),
            "Read the number from the file name.",
        ),
        "From what year is this document, going by its name?",
    ),
    Task(
        "file_topic",
        FILES,
        lambda document: document.topic,
        (
            "What is the file about? Answer with the word at the start of its name.",
            "Give the subject of this document without year and ending.",
        ),
        "Which word in the file name tells the topic?",
    ),
    Task(
        "file_extension",
        FILES,
        lambda document: document.extension,
        once="Write the extension of this file without the dot.",
    ),
)

CODE_TASKS = (
    Task(
        "function_name",
        FUNCTIONS,
        lambda function: function.name,
        (
            "What is the name of this function?",
            "Copy the name of the Python function, without brackets and parameters.",
            (
                "I am writing the manual of our program and want to mention the function that is defined in this "
                "line of code. Give me just its name."
            ),
        ),
        "Extract the identifier that is defined by this line of code.",
    ),
    Task(
        "function_first_parameter",
        FUNCTIONS,
        lambda function: function.parameters[0],
        (
            "Name the first parameter of this function.",
            "Which argument does the function expect before any other?",
        ),
        "Which value has to be passed to this function first?",
    ),
    Task(
        "function_call",
        FUNCTIONS,
        lambda function: "result = " + _call(function),
        (
            "Write a line that calls this function with its own parameter names and stores the value in result.",
            "Call it, and assign what comes back to the variable result.",
        ),
        "How would I use this function and keep its value in result?",
    ),
    Task(
        "function_javascript",
        FUNCTIONS,
        lambda function: f"function {_call(function)} {{",
        once="Translate the first line of this Python function into JavaScript.",
    ),
)

TASKS = NAME_TASKS + RECORDS + FILE_TASKS + CODE_TASKS
