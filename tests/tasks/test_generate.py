"""Which rows of a split are answered."""

from gist_core.data.rows import Row, row_id
from tasks.generate import draw_rows


def test_rows_are_drawn_over_the_whole_split_and_a_larger_draw_holds_a_smaller_one() -> None:
    rows = []
    for index in range(300):
        instruction = f"Do task {index // 100}."
        identity = row_id("alpaca", instruction, str(index), "done", 0)
        rows.append(Row(identity, "seen", instruction, str(index), "done", "alpaca", "made", index))
    drawn = draw_rows(rows, 60)
    assert len(drawn) == 60
    assert [row.source_index for row in drawn] == sorted(row.source_index for row in drawn)
    assert {row.instruction for row in drawn} == {"Do task 0.", "Do task 1.", "Do task 2."}
    assert {row.row_id for row in drawn} < {row.row_id for row in draw_rows(rows, 61)}
    assert draw_rows(rows[::-1], 60) == drawn[::-1]
    assert draw_rows(rows, None) == draw_rows(rows, 1000) == rows
