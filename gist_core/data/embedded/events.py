"""Sentences about something that happened, kept in parts so that questions about them have computed answers."""

from typing import NamedTuple

from gist_core.data.embedded.task import Pool


class Event(NamedTuple):
    subject: str
    verb: str
    past: str
    object: str
    place: str
    time: str

    @property
    def text(self) -> str:
        return f"{self.subject} {self.past} {self.object} {self.place} {self.time}."

    @property
    def inner_subject(self) -> str:
        """The subject as it stands inside a sentence: a name keeps its capital."""
        first = self.subject.split()[0]
        return self.subject[0].lower() + self.subject[1:] if first in {"The", "My", "Our", "Two", "A"} else self.subject


_TABLE = """
Maria|paint|painted|the old fence|in the garden|on Monday
The baker|sell|sold|forty rolls|at the market|this morning
Our teacher|read|read|a long poem|in the library|yesterday
Tom|repair|repaired|his bicycle|in the garage|on Saturday
The twins|build|built|a sandcastle|on the beach|in July
My aunt|grow|grew|tomatoes|on her balcony|last summer
The nurse|check|checked|the new patients|on the ward|at midnight
Olga|lose|lost|her umbrella|on the train|last week
The gardener|plant|planted|three apple trees|behind the house|in October
My brother|cook|cooked|a pot of lentils|in the kitchen|on Sunday
The pilot|land|landed|the small plane|on a field|at noon
Ahmed|write|wrote|a letter|in the waiting room|on Tuesday
The choir|sing|sang|two carols|in the square|in December
The plumber|fix|fixed|the leaking tap|in the bathroom|on Friday
Grace|win|won|a silver medal|in Madrid|in 2019
The children|feed|fed|the ducks|by the pond|after lunch
Our neighbour|park|parked|a red van|outside the bakery|last night
The librarian|find|found|an old map|in the cellar|in spring
Kenji|take|took|forty photographs|at the zoo|on Wednesday
The waiter|drop|dropped|a tray of glasses|near the door|at eight
My grandfather|buy|bought|a clock|in Vienna|in 1974
The farmer|harvest|harvested|the wheat|on the hill|in August
Lena|record|recorded|a song|in a small studio|last month
The carpenter|make|made|a round table|in his workshop|in March
Two hikers|see|saw|a brown bear|near the lake|at dawn
The mayor|open|opened|a new school|in the old harbour|on Thursday
Paul|miss|missed|the last bus|at the station|on Friday
The engineer|test|tested|the brakes|on the bridge|before sunrise
My sister|learn|learned|Portuguese|in Lisbon|two years ago
The chef|bake|baked|a plum cake|in the hotel|for the wedding
The postman|deliver|delivered|a heavy parcel|at the farm|before breakfast
Ines|teach|taught|geometry|at a village school|last year
The students|paint|painted|a mural|in the corridor|in May
A fox|steal|stole|a hen|from the barn|during the night
The captain|hear|heard|a whistle|in the fog|at six
Daniel|sell|sold|his guitar|on the internet|in June
The dentist|treat|treated|eleven people|in the clinic|on Monday
The tailor|sew|sewed|a grey suit|in his shop|last winter
Sofia|keep|kept|bees|on the roof|for ten years
Our team|score|scored|two goals|in the stadium|on Saturday
The vet|help|helped|a lame horse|at the stables|at dusk
The judge|read|read|the verdict|in the courtroom|on Wednesday
Victor|catch|caught|a trout|in the river|at sunrise
The cleaner|find|found|a gold ring|under the sofa|on Thursday
My cousin|break|broke|a window|in the gym|in April
The actors|rehearse|rehearsed|the last scene|on the stage|in the evening
Amina|draw|drew|a portrait|in the park|on Sunday
The company|open|opened|a second office|in Dublin|in 2021
The guide|tell|told|a ghost story|in the castle|after dark
Peter|carry|carried|the suitcases|up the stairs|at ten
The painter|finish|finished|the ceiling|in the chapel|in September
Nadia|leave|left|her keys|in the car|this morning
The police|stop|stopped|a lorry|near the tunnel|at night
Emma|plant|planted|tulips|along the path|in November
The band|play|played|an old waltz|in the park|on Saturday
The electrician|replace|replaced|five lamps|in the hall|in January
Hugo|clean|cleaned|the windows|on the first floor|on Tuesday
The museum|show|showed|ancient coins|in the main hall|in February
My uncle|catch|caught|a cold|in the mountains|at Easter
Ruth|buy|bought|a wool coat|in Edinburgh|in winter
"""

EVENTS = Pool(tuple(Event(*line.split("|")) for line in _TABLE.strip().splitlines()), lambda event: event.text)
