"""The embedded sample: its shapes, its sizes, that held-out rows are held out, and that its computed answers are right.

The answers are checked from the text of the rows alone, by other means than the code that made them."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import combinations
from pathlib import Path
from statistics import mean

import pytest
from rouge_score.rouge_scorer import RougeScorer

from gist_core.data import embedded
from gist_core.data.embedded.sources import tasks
from gist_core.data.embedded.task import FEWEST_INSTANCES, MOST_INSTANCES, Pool, Task
from gist_core.data.split import split_by_the_papers_rules

TASKS = {task.name: task for task in tasks()}
TAUGHT = [task for task in TASKS.values() if task.wordings]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "made" / "here"
    embedded.write_sources(folder)
    return folder


@pytest.fixture(scope="module")
def self_instruct(folder: Path) -> list[dict]:
    lines = (folder / "all_instances_82K.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def alpaca(folder: Path) -> list[dict]:
    return json.loads((folder / "alpaca_data.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def user_oriented(folder: Path) -> list[dict]:
    lines = (folder / "user_oriented_instructions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def rows(self_instruct: list[dict], alpaca: list[dict], user_oriented: list[dict]) -> list[dict]:
    """All rows of all three files as {instruction, input, output}."""
    human = [{"instruction": task["instruction"]} | one for task in user_oriented for one in task["instances"]]
    return self_instruct + alpaca + human


def test_the_three_files_have_the_upstream_names_keys_and_layout(folder, self_instruct, alpaca, user_oriented):
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ("all_instances_82K.jsonl", "alpaca_data.json", "user_oriented_instructions.jsonl")
    )
    assert {tuple(row) for row in self_instruct + alpaca} == {("instruction", "input", "output")}
    assert {tuple(task) for task in user_oriented} == {("id", "motivation_app", "instruction", "instances")}
    assert {tuple(one) for task in user_oriented for one in task["instances"]} == {("input", "output")}
    assert [task["id"] for task in user_oriented] == [f"user_oriented_task_{n}" for n in range(len(user_oriented))]
    text = (folder / "alpaca_data.json").read_text(encoding="utf-8")
    assert text.startswith('[\n    {\n        "instruction": ')
    assert text.endswith("\n    }\n]")


def test_sizes_are_those_that_were_asked_for(self_instruct, alpaca, user_oriented):
    inputs = defaultdict(set)
    for row in self_instruct:
        inputs[row["instruction"]].add(row["input"])
    many = [instruction for instruction, given in inputs.items() if len(given) >= FEWEST_INSTANCES]
    assert len(TAUGHT) >= 60
    assert 150 <= len(many) <= 180
    assert 1700 <= len(self_instruct) <= 2000
    assert 0.03 <= mean(not row["input"] for row in self_instruct) <= 0.07
    assert len({row["instruction"] for row in alpaca}) == len(alpaca) >= 320
    assert 0.55 <= mean(bool(row["input"]) for row in alpaca) <= 0.70
    assert len({task["instruction"] for task in user_oriented}) == len(user_oriented) >= 64


def test_the_files_are_the_same_bytes_in_another_process_with_another_hash_seed(folder, tmp_path):
    code = "import sys, pathlib; from gist_core.data import embedded; embedded.write_sources(pathlib.Path(sys.argv[1]))"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "LC_ALL": "C"}
    root = Path(embedded.__file__).parents[3]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, cwd=root)
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_adding_an_input_or_reordering_the_pool_leaves_the_draw_in_order():
    wordings = ("Name the next number.", "Which number follows?")
    task = Task("plus_one", Pool(tuple(range(50))), lambda number: str(number + 1), wordings)
    turned = Task("plus_one", Pool(tuple(reversed(range(50)))), task.answer, wordings)
    longer = Task("plus_one", Pool(tuple(range(51))), task.answer, wordings)
    assert [turned.instances(wording) for wording in wordings] == [task.instances(wording) for wording in wordings]
    without = [pair for wording in wordings for pair in longer.instances(wording) if pair[0] != "50"]
    before = [pair for wording in wordings for pair in task.instances(wording)]
    assert without == before[: len(without)]


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_no_two_wordings_of_a_task_share_an_input(task):
    drawn = [given for wording in task.wordings for given, _ in task.instances(wording)]
    if task.once:
        drawn.append(task.once_instance()[0])
    assert len(drawn) == len(set(drawn))
    for wording in task.wordings:
        assert FEWEST_INSTANCES <= len(task.instances(wording)) <= MOST_INSTANCES


def test_every_row_is_distinct_and_no_instruction_stands_in_two_files(rows, self_instruct, alpaca, user_oriented):
    pairs = Counter((row["instruction"], row["input"]) for row in rows)
    assert [pair for pair, times in pairs.items() if times > 1] == []
    files = [{row["instruction"] for row in file} for file in (self_instruct, alpaca, user_oriented)]
    assert [one & other for one, other in combinations(files, 2)] == [set(), set(), set()]


def test_the_papers_rules_hold_out_a_row_of_sixty_tasks_and_sixty_unseen_instructions(self_instruct, alpaca):
    both = self_instruct + alpaca
    splits = split_by_the_papers_rules(
        [row["instruction"] for row in both],
        [row["input"] for row in both],
        num_self_instruct=len(self_instruct),
        num_alpaca=len(alpaca),
        num_seen=60,
        num_unseen=60,
    )
    task_of = {wording: task.name for task in TAUGHT for wording in task.wordings}
    task_of |= {task.once: task.name for task in TASKS.values() if task.once}
    assert splits.dropped == {}
    assert len({task_of[both[place]["instruction"]] for place in splits.seen}) == len(splits.seen) == 60
    assert len(splits.unseen) == 60
    assert all(both[place]["instruction"] in task_of for place in splits.unseen)
    # What is held out for a task is asked by no training row of the same task, however that row is worded.
    trained = {(task_of.get(both[place]["instruction"]), both[place]["input"]) for place in splits.train}
    for place in splits.seen + splits.unseen:
        assert (task_of[both[place]["instruction"]], both[place]["input"]) not in trained


def test_without_the_instruction_even_the_best_rule_per_kind_of_input_stays_below_half():
    """An answerer that knows the kind of input, and for each kind the one task that pays best, but not the task."""
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    kinds = defaultdict(list)
    for task in TAUGHT[:60]:
        kinds[task.name.split("_")[0]].append(task)
    ceiling = 0.0
    for group in kinds.values():
        answers = [{task.pool.show(item): task.answer(item) for item in task.pool.items} for task in group]
        guesses = [*answers, {text: text for truth in answers for text in truth}]
        ceiling += max(
            sum(
                mean(scorer.score(truth[text], guess.get(text, ""))["rougeL"].fmeasure for text in sorted(truth)[:5])
                for truth in answers
            )
            for guess in guesses
        )
    assert ceiling / 60 < 0.5


def test_rows_are_short_and_clean(rows, self_instruct, alpaca, user_oriented):
    for row in rows:
        text = "\n".join((row["instruction"], row["input"], row["output"]))
        assert "<GIST>" not in text
        assert "  " not in text
        assert all(part == part.strip() for part in (row["instruction"], row["input"], row["output"]))
        assert row["instruction"][-1] in ".?!:", row["instruction"]
        assert row["instruction"][0].isupper(), row["instruction"]
        assert row["output"], row
        assert len(row["output"].split()) <= 25, row
    for row in self_instruct:
        assert 4 <= len(row["instruction"].split()) <= 40, row
        assert len(row["input"].split()) <= 15, row
        assert len(row["output"].split()) <= 15, row
    assert all(len(row["output"].split()) <= 20 for row in alpaca)
    assert all(20 <= len(task["instruction"].split()) <= 60 for task in user_oriented)
    words = [len(f"{row['instruction']} {row['input']} {row['output']}".split()) for row in self_instruct]
    assert 14 <= mean(words) <= 25


def test_letters_outside_ascii_are_few(rows):
    exotic = Counter(letter for row in rows for part in row.values() for letter in part if ord(letter) > 127)
    assert set(exotic) <= set("ÁÖÉáéíöêèàù€°")
    assert sum(exotic.values()) < 100


UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
)
TENS = {"twenty": 2, "thirty": 3, "forty": 4, "fifty": 5, "sixty": 6, "seventy": 7, "eighty": 8, "ninety": 9}
VALUES = {word: value for value, word in enumerate([*UNITS.split(), "eighteen", "nineteen"])}
VALUES |= {ten: 10 * value for ten, value in TENS.items()}


def _value(words: str) -> int:
    return sum(VALUES[word] for word in words.split("-"))


def _day(text: str) -> datetime:
    return datetime.strptime(text, "%A, %d %B %Y")


def _clock(text: str) -> datetime:
    return datetime.strptime(text, "%H:%M")


def _fields(record: str) -> dict[str, str]:
    return dict(part.split(": ") for part in record.split("; "))


FACTS = {
    "country_capital": {"France": "Paris", "Japan": "Tokyo", "Egypt": "Cairo", "Australia": "Canberra", "Peru": "Lima"},
    "country_continent": {"China": "Asia", "Ghana": "Africa", "Cuba": "North America", "Chile": "South America"},
    "country_language": {"Brazil": "They speak Portuguese.", "Austria": "They speak German."},
    "city_country": {"Milan": "Italy", "Kyoto": "Japan", "Lagos": "Nigeria", "Toronto": "Canada", "Porto": "Portugal"},
    "animal_kind": {"owl": "bird", "ant": "insect", "trout": "fish", "otter": "mammal", "gecko": "reptile"},
    "animal_legs": {"bee": "six", "goose": "two", "horse": "four", "cobra": "none", "lizard": "four"},
    "animal_plural": {"mouse": "two mice", "goose": "two geese", "wolf": "two wolves", "fox": "two foxes"},
    "verb_past": {"go": "went", "teach": "taught", "swim": "swam", "carry": "carried", "stop": "stopped"},
    "adjective_opposite": {"loud": "quiet", "deep": "shallow", "cheap": "expensive"},
}

HOURS = {
    "night": ("23", "00", "01", "02", "03", "04"),
    "morning": ("06", "07", "08", "09", "10", "11"),
    "afternoon": ("13", "14", "15", "16"),
    "evening": ("18", "19", "20", "21"),
}

CHECKS = {
    "date_weekday": lambda given, answer: given.startswith(answer + ", ") and _day(given).strftime("%A") == answer,
    "date_month": lambda given, answer: _day(given).strftime("%B") == answer,
    "date_year": lambda given, answer: given.endswith(f" {answer}"),
    "date_iso": lambda given, answer: datetime.strptime(answer, "%Y-%m-%d") == _day(given),
    "date_us": lambda given, answer: datetime.strptime(answer, "%m/%d/%Y") == _day(given),
    "date_next_weekday": lambda given, answer: (_day(given) + timedelta(days=1)).strftime("%A") == answer,
    "date_before": lambda given, answer: (_day(given) + timedelta(days=6)).strftime("%A") == answer,
    "date_season": lambda given, answer: (
        _day(given).strftime("%b")
        in {"winter": "DecJanFeb", "spring": "MarAprMay", "summer": "JunJulAug", "autumn": "SepOctNov"}[answer]
    ),
    "time_twelve": lambda given, answer: datetime.strptime(answer, "%I:%M %p") == _clock(given),
    "time_later": lambda given, answer: (_clock(given) + timedelta(hours=1)).strftime("%H:%M") == answer,
    "time_part": lambda given, answer: given[:2] in HOURS[answer],
    "number_words": lambda given, answer: _value(answer) == int(given),
    "number_ordinal": lambda given, answer: (
        re.fullmatch(r"1[123]th|\d?(1st|2nd|3rd|[04-9]th)", answer) is not None and answer[:-2] == given
    ),
    "number_next": lambda given, answer: int(answer) - int(given) == 1,
    "number_ten_more": lambda given, answer: int(answer) - 10 == int(given),
    "number_parity": lambda given, answer: answer == ("odd" if given[-1] in "13579" else "even"),
    "number_euros": lambda given, answer: answer == f"€{float(given):.2f}",
    "sum_result": lambda given, answer: sum(map(int, given.split(" + "))) == int(answer),
    "sum_words": lambda given, answer: (
        [_value(word) for word in answer.split(" plus ")] == [int(part) for part in given.split(" + ")]
    ),
    "name_email": lambda given, answer: re.fullmatch(r"[a-z]+\.[a-z]+@example\.org", answer) is not None,
    "name_index": lambda given, answer: " ".join(reversed(answer.split(", "))) == given,
    "name_surname": lambda given, answer: given.endswith(" " + answer),
    "name_given": lambda given, answer: given.startswith(answer + " "),
    "name_initials": lambda given, answer: [part[0] for part in given.split()] == answer.replace(".", "").split(),
    "person_job": lambda given, answer: _fields(given)["job"] == answer,
    "person_city": lambda given, answer: _fields(given)["city"] == answer,
    "person_age": lambda given, answer: _fields(given)["age"] + " years" == answer,
    "person_sentence": lambda given, answer: answer == "{name} is {age} and lives in {city}.".format(**_fields(given)),
    "file_year": lambda given, answer: re.search(r"\d{4}", given)[0] == answer,
    "file_topic": lambda given, answer: given.startswith(answer + "_"),
    "list_first": lambda given, answer: given.split(", ")[0] == answer,
    "list_last": lambda given, answer: given.split(", ")[-1] == answer,
    "list_second": lambda given, answer: given.split(", ")[1] == answer,
    "function_name": lambda given, answer: re.match(r"def (\w+)\(", given)[1] == answer,
    "function_first_parameter": lambda given, answer: re.search(r"\((\w+)", given)[1] == answer,
    "function_call": lambda given, answer: answer == "result = " + given.removeprefix("def ").removesuffix(":"),
    "sentence_when": lambda given, answer: given.endswith(f" {answer}."),
    "sentence_who": lambda given, answer: given.startswith(answer + " "),
    "sentence_where": lambda given, answer: f" {answer} " in given,
    "sentence_what": lambda given, answer: f" {answer} " in given,
    "sentence_question": lambda given, answer: (
        answer.startswith("Did ") and answer.split()[-2:-1] == given.split()[-2:-1]
    ),
    "sentence_denial": lambda given, answer: given.split()[0] == answer.split()[0] and " did not " in answer,
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_second_way_to_compute_the_answer_agrees_on_every_input(name):
    task = TASKS[name]
    answers = [(task.pool.show(item), task.answer(item)) for item in task.pool.items]
    assert [one for one in answers if not CHECKS[name](*one)] == []


@pytest.mark.parametrize("name", FACTS)
def test_the_tables_hold_well_known_facts(name):
    task = TASKS[name]
    table = {task.pool.show(item): task.answer(item) for item in task.pool.items}
    assert {given: table[given] for given in FACTS[name]} == FACTS[name]


def test_a_denial_and_a_question_keep_every_detail_of_the_sentence():
    for event in TASKS["sentence_denial"].pool.items:
        denial, question = (TASKS[name].answer(event) for name in ("sentence_denial", "sentence_question"))
        kept = f"{event.object} {event.place} {event.time}"
        assert denial == f"{event.subject} did not {event.verb} {kept}."
        assert question.lower() == f"did {event.subject} {event.verb} {kept}?".lower()
