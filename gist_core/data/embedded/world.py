"""Countries, cities, animals: tables of well-known facts, and the inputs made from them."""

from typing import NamedTuple

from gist_core.data.embedded.task import Pool


class Country(NamedTuple):
    name: str
    capital: str
    continent: str
    language: str
    adjective: str


class City(NamedTuple):
    name: str
    country: str
    continent: str


class Animal(NamedTuple):
    name: str
    plural: str
    kind: str
    legs: str
    cover: str


_COUNTRIES = """
France|Paris|Europe|French|French
Germany|Berlin|Europe|German|German
Italy|Rome|Europe|Italian|Italian
Spain|Madrid|Europe|Spanish|Spanish
Portugal|Lisbon|Europe|Portuguese|Portuguese
Greece|Athens|Europe|Greek|Greek
Poland|Warsaw|Europe|Polish|Polish
Sweden|Stockholm|Europe|Swedish|Swedish
Norway|Oslo|Europe|Norwegian|Norwegian
Denmark|Copenhagen|Europe|Danish|Danish
Hungary|Budapest|Europe|Hungarian|Hungarian
Austria|Vienna|Europe|German|Austrian
Romania|Bucharest|Europe|Romanian|Romanian
Bulgaria|Sofia|Europe|Bulgarian|Bulgarian
Iceland|Reykjavik|Europe|Icelandic|Icelandic
Ukraine|Kyiv|Europe|Ukrainian|Ukrainian
Croatia|Zagreb|Europe|Croatian|Croatian
Japan|Tokyo|Asia|Japanese|Japanese
China|Beijing|Asia|Chinese|Chinese
Thailand|Bangkok|Asia|Thai|Thai
Vietnam|Hanoi|Asia|Vietnamese|Vietnamese
South Korea|Seoul|Asia|Korean|South Korean
Mongolia|Ulaanbaatar|Asia|Mongolian|Mongolian
Iran|Tehran|Asia|Persian|Iranian
Iraq|Baghdad|Asia|Arabic|Iraqi
Saudi Arabia|Riyadh|Asia|Arabic|Saudi
Jordan|Amman|Asia|Arabic|Jordanian
Lebanon|Beirut|Asia|Arabic|Lebanese
Nepal|Kathmandu|Asia|Nepali|Nepali
Bangladesh|Dhaka|Asia|Bengali|Bangladeshi
Egypt|Cairo|Africa|Arabic|Egyptian
Morocco|Rabat|Africa|Arabic|Moroccan
Tunisia|Tunis|Africa|Arabic|Tunisian
Senegal|Dakar|Africa|French|Senegalese
Ghana|Accra|Africa|English|Ghanaian
Nigeria|Abuja|Africa|English|Nigerian
Angola|Luanda|Africa|Portuguese|Angolan
Mexico|Mexico City|North America|Spanish|Mexican
Cuba|Havana|North America|Spanish|Cuban
Jamaica|Kingston|North America|English|Jamaican
Brazil|Brasilia|South America|Portuguese|Brazilian
Argentina|Buenos Aires|South America|Spanish|Argentinian
Chile|Santiago|South America|Spanish|Chilean
Peru|Lima|South America|Spanish|Peruvian
Colombia|Bogota|South America|Spanish|Colombian
Ecuador|Quito|South America|Spanish|Ecuadorian
Uruguay|Montevideo|South America|Spanish|Uruguayan
Australia|Canberra|Oceania|English|Australian
"""

# Well-known cities other than the capitals above, so that the two kinds of input stay apart.
_CITIES = """
Lyon|France|Europe
Marseille|France|Europe
Munich|Germany|Europe
Hamburg|Germany|Europe
Milan|Italy|Europe
Naples|Italy|Europe
Florence|Italy|Europe
Barcelona|Spain|Europe
Seville|Spain|Europe
Porto|Portugal|Europe
Krakow|Poland|Europe
Gothenburg|Sweden|Europe
Bergen|Norway|Europe
Manchester|England|Europe
Liverpool|England|Europe
Glasgow|Scotland|Europe
Edinburgh|Scotland|Europe
Geneva|Switzerland|Europe
Zurich|Switzerland|Europe
Rotterdam|Netherlands|Europe
Salzburg|Austria|Europe
Thessaloniki|Greece|Europe
Osaka|Japan|Asia
Kyoto|Japan|Asia
Hiroshima|Japan|Asia
Shanghai|China|Asia
Guangzhou|China|Asia
Mumbai|India|Asia
Kolkata|India|Asia
Chennai|India|Asia
Karachi|Pakistan|Asia
Lahore|Pakistan|Asia
Busan|South Korea|Asia
Dubai|United Arab Emirates|Asia
Casablanca|Morocco|Africa
Marrakesh|Morocco|Africa
Alexandria|Egypt|Africa
Lagos|Nigeria|Africa
Johannesburg|South Africa|Africa
Cape Town|South Africa|Africa
Mombasa|Kenya|Africa
Chicago|United States|North America
Boston|United States|North America
Seattle|United States|North America
Toronto|Canada|North America
Vancouver|Canada|North America
Montreal|Canada|North America
Guadalajara|Mexico|North America
Rio de Janeiro|Brazil|South America
Sao Paulo|Brazil|South America
Medellin|Colombia|South America
Sydney|Australia|Oceania
Melbourne|Australia|Oceania
Auckland|New Zealand|Oceania
"""

_ANIMALS = """
dog|dogs|mammal|four|fur
cat|cats|mammal|four|fur
horse|horses|mammal|four|fur
wolf|wolves|mammal|four|fur
fox|foxes|mammal|four|fur
lion|lions|mammal|four|fur
tiger|tigers|mammal|four|fur
rabbit|rabbits|mammal|four|fur
mouse|mice|mammal|four|fur
squirrel|squirrels|mammal|four|fur
otter|otters|mammal|four|fur
bear|bears|mammal|four|fur
eagle|eagles|bird|two|feathers
owl|owls|bird|two|feathers
sparrow|sparrows|bird|two|feathers
penguin|penguins|bird|two|feathers
parrot|parrots|bird|two|feathers
goose|geese|bird|two|feathers
duck|ducks|bird|two|feathers
crow|crows|bird|two|feathers
swan|swans|bird|two|feathers
stork|storks|bird|two|feathers
ostrich|ostriches|bird|two|feathers
pigeon|pigeons|bird|two|feathers
cod|cod|fish|none|scales
salmon|salmon|fish|none|scales
trout|trout|fish|none|scales
goldfish|goldfish|fish|none|scales
tuna|tuna|fish|none|scales
herring|herrings|fish|none|scales
sardine|sardines|fish|none|scales
carp|carp|fish|none|scales
snake|snakes|reptile|none|scales
cobra|cobras|reptile|none|scales
lizard|lizards|reptile|four|scales
crocodile|crocodiles|reptile|four|scales
python|pythons|reptile|none|scales
iguana|iguanas|reptile|four|scales
gecko|geckos|reptile|four|scales
bee|bees|insect|six|
ant|ants|insect|six|
butterfly|butterflies|insect|six|
beetle|beetles|insect|six|
wasp|wasps|insect|six|
fly|flies|insect|six|
mosquito|mosquitoes|insect|six|
"""


def _rows(table: str) -> list[list[str]]:
    return [line.split("|") for line in table.strip().splitlines()]


COUNTRIES = Pool(tuple(Country(*row) for row in _rows(_COUNTRIES)), lambda country: country.name)
CITIES = Pool(tuple(City(*row) for row in _rows(_CITIES)), lambda city: city.name)
ANIMALS = Pool(tuple(Animal(*row) for row in _rows(_ANIMALS)), lambda animal: animal.name)
