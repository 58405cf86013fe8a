"""Tasks about sentences, reviews and single words."""

from gist_core.data.embedded.events import EVENTS, Event
from gist_core.data.embedded.task import Task
from gist_core.data.embedded.words import ADJECTIVES, REVIEWS, VERBS, Review


def _question(event: Event) -> str:
    return f"Did {event.inner_subject} {event.verb} {event.object} {event.place} {event.time}?"


def _denial(event: Event) -> str:
    return f"{event.subject} did not {event.verb} {event.object} {event.place} {event.time}."


def _reply(review: Review) -> str:
    return "Thank you, we are glad you liked it." if review.good else "We are sorry, we will do better."


SENTENCES = (
    Task(
        "sentence_who",
        EVENTS,
        lambda event: event.subject,
        (
            "Say who did it. Answer with the subject of the sentence only.",
            "Who is the person, animal or group that acts here? Copy just those words.",
            (
                "A reporter is checking a story and wants to know who carried out the action. Read the sentence, "
                "leave everything else aside, and name only the person, animal or group that did it."
            ),
        ),
        "Pick out the grammatical subject of this sentence.",
    ),
    Task(
        "sentence_what",
        EVENTS,
        lambda event: event.object,
        (
            "Find the direct object of the sentence.",
            "Who or what was acted upon? Copy only those words, without the verb.",
        ),
        "Copy the words that name what the action was done to.",
    ),
    Task(
        "sentence_where",
        EVENTS,
        lambda event: event.place,
        (
            "Where did this happen? Give the place exactly as it stands in the sentence.",
            "Pick out the phrase that tells the location of the event.",
            (
                "I am drawing a map on which every one of these events gets a flag. Copy the few words of the "
                "sentence that tell me the spot at which it took place, and nothing else."
            ),
        ),
        "Write down the phrase of place from this sentence.",
    ),
    Task(
        "sentence_when",
        EVENTS,
        lambda event: event.time,
        (
            "When did this happen? Copy the words of time.",
            "Take the time expression out of the sentence and write only that.",
            (
                "For my diary I need only the moment or the period that is mentioned in the sentence. Which words "
                "say it? Please copy them as they stand."
            ),
        ),
        "Which part of the sentence tells the time of the event?",
    ),
    Task(
        "sentence_question",
        EVENTS,
        _question,
        (
            "Turn the statement into a yes/no question that starts with Did.",
            "Somebody doubts this. Ask whether it really happened, in one question with all its details.",
        ),
        "Make a question out of this sentence that can be answered by yes or no.",
    ),
    Task(
        "sentence_denial",
        EVENTS,
        _denial,
        (
            "Make the sentence negative, using did not.",
            "Deny the claim: rewrite it so that it says that this never took place.",
        ),
        "Rewrite this statement so that it says the opposite, with the words did not.",
    ),
    Task(
        "sentence_verb",
        EVENTS,
        lambda event: event.verb,
        (
            "Give the verb of the sentence in its basic form, as a dictionary would list it.",
            "What is the infinitive of the action word used here? One word, without to.",
        ),
        "Find the verb and put it into the present tense form used after I.",
    ),
    Task(
        "sentence_future",
        EVENTS,
        lambda event: f"{event.subject} will {event.verb} {event.object}.",
        once="Say in a short sentence with will that the person will do this; leave out place and time.",
    ),
    Task(
        "sentence_past_verb",
        EVENTS,
        lambda event: event.past,
        once="Which single word in the sentence is the verb? Copy it as it stands.",
    ),
)

REVIEW_TASKS = (
    Task(
        "review_feeling",
        REVIEWS,
        lambda review: "positive" if review.good else "negative",
        (
            "Is this review positive or negative? Answer in one word.",
            "Judge the customer's mood and label it positive or negative.",
            (
                "Our shop gets hundreds of comments a week, and we sort them by sentiment. Write positive when the "
                "writer is pleased and negative when the writer complains."
            ),
        ),
        "Classify the sentiment of this opinion as positive or negative.",
    ),
    Task(
        "review_subject",
        REVIEWS,
        lambda review: review.subject,
        (
            "What is being reviewed here: a restaurant, a hotel, a film or a phone?",
            "Tell me which of these four the text is about: film, hotel, phone, restaurant.",
        ),
        "Which category does this comment belong to: phone, film, restaurant or hotel?",
    ),
    Task(
        "review_reply",
        REVIEWS.where(lambda review: review.subject in ("restaurant", "hotel")),
        _reply,
        (
            "Write a short reply from the owner: thanks for praise, an apology for a complaint.",
            "Answer for the company in one polite line. Thank the happy and apologise to the unhappy.",
        ),
    ),
    Task(
        "review_recommend",
        REVIEWS,
        lambda review: "yes" if review.good else "no",
        once="Would this writer recommend it to a friend? Answer yes or no.",
    ),
)

WORDS = (
    Task(
        "adjective_opposite",
        ADJECTIVES,
        lambda adjective: adjective.opposite,
        (
            "Give the opposite of this adjective.",
            "Which word means the contrary of the word below?",
            (
                "I am making cards for a vocabulary game in which the front shows a word and the back its opposite. "
                "Write the antonym that belongs on the back of this card."
            ),
        ),
        "Name an antonym for the given word.",
    ),
    Task(
        "adjective_comparative",
        ADJECTIVES,
        lambda adjective: f"{adjective.comparative} than",
        (
            "Write the comparative of the word, followed by than.",
            "How would you say that one thing has more of this quality than another? Use the -er form plus than.",
        ),
        "Put the adjective into the form used for comparing two things, and add than.",
    ),
    Task(
        "adjective_adverb",
        ADJECTIVES,
        lambda adjective: adjective.adverb,
        (
            "Change this adjective into the adverb that ends in -ly.",
            "What adverb is made from this word? Write it alone.",
        ),
        "Form the adverb of this word.",
    ),
    Task(
        "adjective_sentence",
        ADJECTIVES,
        lambda adjective: f"It was very {adjective.word}.",
        once="Write a sentence of four words about it, with very before this word.",
    ),
    Task(
        "verb_past",
        VERBS,
        lambda verb: verb.past,
        (
            "Write the simple past of this verb.",
            "Yesterday I did the same. Which form of the verb would I use?",
            "For the second column of a verb table, give the past tense of the verb below.",
        ),
        "What is the past tense of the following verb?",
    ),
    Task(
        "verb_ing",
        VERBS,
        lambda verb: f"is {verb.ing}",
        (
            "Put the verb into the present continuous for she, beginning with is.",
            "She is doing it at this very moment. Write is and the -ing form.",
        ),
        "Write is and the present participle of this verb.",
    ),
    Task(
        "verb_third",
        VERBS,
        lambda verb: f"he {verb.third}",
        (
            "Conjugate the verb in the present tense for he.",
            "Write he and the form of the verb that goes with it.",
        ),
        "Give the third person singular of the verb, with he in front.",
    ),
)

TASKS = SENTENCES + REVIEW_TASKS + WORDS
