"""Tasks about countries, cities and animals: look up well-known facts, or put the name to use."""

from gist_core.data.embedded.task import Task
from gist_core.data.embedded.world import ANIMALS, CITIES, COUNTRIES


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


COUNTRY_TASKS = (
    Task(
        "country_capital",
        COUNTRIES,
        lambda country: country.capital,
        (
            "Name the capital of the country.",
            "In which city does the government of this country sit?",
            (
                "Tomorrow we have a geography test, and my friend asks me for the capitals of countries until I "
                "know them all. Which city do I have to answer here?"
            ),
        ),
        "What is the capital city of this state?",
    ),
    Task(
        "country_continent",
        COUNTRIES,
        lambda country: country.continent,
        (
            "On which continent is this country?",
            "Sort the country under its part of the world, such as Asia or South America.",
        ),
        "Which continent does this country belong to?",
    ),
    Task(
        "country_language",
        COUNTRIES,
        lambda country: f"They speak {country.language}.",
        (
            "What is the official language there? Begin with They speak.",
            "Before I travel I want to know which phrase book to buy. Tell me what they speak.",
        ),
        "What is the official language of this country? Answer in a sentence that begins with They speak.",
    ),
    Task(
        "country_adjective",
        COUNTRIES,
        lambda country: f"{country.adjective} food",
        (
            "Name the country's cooking: the adjective of the country and the word food.",
            "What kind of food would a restaurant from this country serve? Use its adjective before food.",
        ),
        "Make the adjective of this country and put it before food.",
    ),
)

CITY_TASKS = (
    Task(
        "city_country",
        CITIES,
        lambda city: city.country,
        (
            "In which country is this city?",
            (
                "The address on the parcel lacks its last line, and the post office will not take it like that. "
                "Name the country to which the town belongs."
            ),
            "A map of which country would show this place?",
        ),
        "Name the country where this city lies.",
    ),
    Task(
        "city_continent",
        CITIES,
        lambda city: city.continent,
        (
            "On which continent would you find this city?",
            "Give the part of the world in which the city lies.",
        ),
        "Which continent is the city on?",
    ),
    Task(
        "city_weather",
        CITIES,
        lambda city: f"What will the weather be like in {city.name} tomorrow?",
        (
            "Ask about tomorrow's weather in this city.",
            "Write the question a traveller would type to learn whether it will rain there the day after today.",
        ),
        "Formulate a question about the weather of the next day in this city.",
    ),
    Task(
        "city_ticket",
        CITIES,
        lambda city: f"A ticket to {city.name}, please.",
        (
            "You stand at the ticket counter. Ask for a ticket to this city.",
            "Buy a ticket to this place: write the few words you would say.",
        ),
        "Order a ticket to this city in a few polite words.",
    ),
)

ANIMAL_TASKS = (
    Task(
        "animal_kind",
        ANIMALS,
        lambda animal: animal.kind,
        (
            "Is it a mammal, a bird, a fish, a reptile or an insect?",
            "To which class of animals does it belong?",
            (
                "We are sorting cards with animals into five boxes. The boxes are labelled bird, fish, insect, "
                "mammal and reptile. Into which of them does this card go?"
            ),
        ),
        "Classify the animal as mammal, bird, fish, reptile or insect.",
    ),
    Task(
        "animal_legs",
        ANIMALS,
        lambda animal: animal.legs,
        (
            "How many legs does it have? Answer in a word, or none.",
            "Count the legs of a healthy one and write the number as a word, none if there are no legs.",
        ),
        "Say in one word how many legs the animal walks on.",
    ),
    Task(
        "animal_plural",
        ANIMALS,
        lambda animal: f"two {animal.plural}",
        (
            "There is one more of them now. Write two and the plural.",
            "Form the plural of the animal after the word two.",
        ),
        "Write how you would speak of a pair of them, with the number two.",
    ),
    Task(
        "animal_cover",
        ANIMALS.where(lambda animal: animal.cover),
        lambda animal: animal.cover,
        (
            "What covers its body: fur, feathers or scales?",
            "If you stroke it, what do you feel? Choose from feathers, fur and scales.",
        ),
        "Does this animal have fur, feathers or scales?",
    ),
    Task(
        "animal_saw",
        ANIMALS,
        lambda animal: f"I saw {_article(animal.name)}.",
        once="Tell in a short sentence that you saw one of these. Begin with I saw.",
    ),
)

TASKS = COUNTRY_TASKS + CITY_TASKS + ANIMAL_TASKS
