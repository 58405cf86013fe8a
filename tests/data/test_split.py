"""The split: equal to a literal transcription of the rules and, after the repairs, true to its meaning."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gist_core.data.build import Build, build
from gist_core.data.parse import Source
from gist_core.data.split import REASONS, split_by_the_papers_rules
from tests.data.literal_rules import Record, literal_split
from tests.data.random_sources import RECORDS, TASKS, human_source

SIZES = st.integers(1, 6)


def build_of(self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], seen: int, unseen: int) -> Build:
    return build(
        Source("s.jsonl", self_instruct),
        Source("a.json", alpaca),
        human_source(tasks),
        num_seen=seen,
        num_unseen=unseen,
    )


def pairs_of(built: Build, split: str) -> list[tuple[str, str]]:
    return [(built.instructions[p], built.inputs[p]) for p in getattr(built.splits, split)]


@settings(max_examples=300)
@given(RECORDS, RECORDS, TASKS, SIZES, SIZES)
def test_the_split_equals_a_literal_transcription_of_the_rules(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], num_seen: int, num_unseen: int
) -> None:
    human = human_source(tasks).records
    rows = [
        *({**record, "source": "self_instruct"} for record in self_instruct),
        *({**record, "source": "alpaca"} for record in alpaca),
        *({**record, "source": "self_instruct"} for record in human),
    ]
    splits = split_by_the_papers_rules(
        [row["instruction"] for row in rows],
        [row["input"] for row in rows],
        num_self_instruct=len(self_instruct),
        num_alpaca=len(alpaca),
        num_seen=num_seen,
        num_unseen=num_unseen,
    )
    expected = literal_split(self_instruct, alpaca, tasks, num_seen, num_unseen)
    for name, records in expected.items():
        assert [rows[p] for p in getattr(splits, name)] == records, name


@settings(max_examples=300)
@given(RECORDS, RECORDS, TASKS, SIZES, SIZES)
def test_no_pair_is_in_two_splits_and_seen_and_unseen_mean_what_they_say(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], num_seen: int, num_unseen: int
) -> None:
    built = build_of(self_instruct, alpaca, tasks, num_seen, num_unseen)
    pairs = {name: set(pairs_of(built, name)) for name in ("train", "seen", "unseen", "human")}
    for a in pairs:
        for b in pairs:
            assert a == b or not pairs[a] & pairs[b], (a, b)
    train_instructions = {instruction for instruction, _ in pairs["train"]}
    assert {instruction for instruction, _ in pairs["seen"]} <= train_instructions
    assert not {instruction for instruction, _ in pairs["unseen"]} & train_instructions
    assert all(text for _, text in pairs["seen"] | pairs["unseen"])


@settings(max_examples=200)
@given(RECORDS, RECORDS, TASKS, SIZES, SIZES)
def test_every_source_row_is_in_one_split_or_dropped_for_a_reason(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], num_seen: int, num_unseen: int
) -> None:
    built = build_of(self_instruct, alpaca, tasks, num_seen, num_unseen)
    splits = built.splits
    placed = [*splits.train, *splits.seen, *splits.unseen, *splits.human, *splits.dropped]
    assert sorted(placed) == list(range(len(built.instructions)))
    assert set(splits.dropped.values()) <= set(REASONS)
    assert len(splits.seen) <= num_seen
    assert len(splits.unseen) <= num_unseen
    assert len(splits.human) == len(human_source(tasks).records)
    # Where no repair was needed, the splits are as large as the rules make them.
    if set(splits.dropped.values()) <= {"duplicate"}:
        literal = literal_split(self_instruct, alpaca, tasks, num_seen, num_unseen)
        assert {name: len(rows) for name, rows in literal.items()} == {
            name: len(getattr(splits, name)) for name in literal
        }


@given(RECORDS, RECORDS, TASKS, st.integers(0, 3))
def test_dev_rows_are_chosen_by_content_and_leave_no_trace_in_train(
    self_instruct: list[Record], alpaca: list[Record], tasks: list[Record], seed: int
) -> None:
    parts = (Source("s.jsonl", self_instruct), Source("a.json", alpaca), human_source(tasks))
    without = build(*parts, num_seen=2, num_unseen=2)
    try:
        built = build(*parts, num_seen=2, num_unseen=2, num_dev=2, seed=seed)
    except ValueError:
        # Too few rows can leave: none may be left over, and the last one of a seen instruction stays.
        needed = {i for i, _ in pairs_of(without, "seen")}
        free = {pair for pair in pairs_of(without, "train") if pair[0] not in needed}
        assert len(free) < 2 or len(without.splits.train) <= 2
        return
    assert len(built.splits.dev) == 2
    dev = set(pairs_of(built, "dev"))
    for name in ("train", "seen", "unseen", "human"):
        assert not dev & set(pairs_of(built, name))
    assert set(built.splits.dev) <= set(without.splits.train)
    assert (built.splits.seen, built.splits.unseen) == (without.splits.seen, without.splits.unseen)
    assert {i for i, _ in pairs_of(built, "seen")} <= {i for i, _ in pairs_of(built, "train")}


def test_another_seed_holds_out_other_rows() -> None:
    source = Source("s.jsonl", [{"instruction": f"Do {n}.", "input": "", "output": ""} for n in range(200)])
    held = [build(source, Source("a", []), Source("h", []), num_dev=10, seed=seed).splits.dev for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]
