"""Reading what comes back in every form, and the checks against the package."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gist_core.scoring.human_eval.answers import check_answers, read_answer_files
from gist_core.scoring.human_eval.files import COLUMNS, csv_of
from gist_core.scoring.human_eval.label_studio import labelling_config, tasks_of
from gist_core.scoring.human_eval.package import CHOICES, draw_package
from gist_core.scoring.human_eval.spreadsheet import guard, read_csv, unguard, write_csv
from gist_core.scoring.human_eval.store import import_answers, load_answers, other_packages
from tests.human_eval.packages import ANNOTATORS, AWKWARD, package, pairs, write_page_export

ONE, TWO, THREE = ANNOTATORS


@pytest.fixture
def drawn():
    return package()


def choices_for(drawn, start=0):
    return {row_id: CHOICES[(i + start) % 4] for i, row_id in enumerate(drawn.row_ids)}


def write_filled_csv(path, drawn, annotator, choices):
    rows = read_csv(csv_of(drawn, annotator))
    filled = [[*list(row.values())[:-1], choices.get(row["item"], "")] for row in rows]
    path.write_bytes(write_csv(COLUMNS, filled))
    return path


def label_studio_export(drawn, annotator, choices):
    """The tasks as Label Studio 1.x exports them as JSON (labelstud.io/guide/task_format)."""
    exported = []
    for number, task in enumerate(tasks_of(drawn, annotator), start=1):
        choice = choices.get(task["data"]["item"])
        result = {"id": f"r{number}", "type": "choices", "value": {"choices": [choice]}, "origin": "manual",
                  "to_name": "instruction", "from_name": "choice"}  # fmt: skip
        annotation = {
            "id": 100 + number,
            "completed_by": 1,
            "result": [result] if choice else [],
            "was_cancelled": False,
        }
        exported.append({"id": number, "annotations": [annotation], "predictions": [], "data": task["data"]})
    return exported


def read(path):
    entries, problems = read_answer_files([path])
    assert not problems
    return {entry.row_id: entry.choice for entry in entries}


def test_csv_keeps_every_text_and_runs_no_formula(drawn):
    content = csv_of(drawn, ONE)
    rows = read_csv(content)
    shown = drawn.shown_to(ONE)
    assert [(r["instruction"], r["input"], r["answer_a"], r["answer_b"]) for r in rows] == [
        (s.instruction, s.input, s.answer_a, s.answer_b) for s in shown
    ]
    cells = [cell for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert content.startswith(b"\xef\xbb\xbf")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_guard_is_reversible_for_every_text(text):
    assert unguard(guard(text)) == text
    assert not guard(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@given(
    st.lists(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=4)
)
def test_csv_round_trip_of_any_text(rows):
    columns = ["one", "two"]
    assert read_csv(write_csv(columns, rows)) == [dict(zip(columns, row, strict=True)) for row in rows]


def test_a_cell_as_long_as_a_field_of_the_data_may_be_is_read_back():
    assert read_csv(write_csv(["a", "b"], [["x" * 1_000_000, "y"]])) == [{"a": "x" * 1_000_000, "b": "y"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_saved_again_by_a_spreadsheet_is_read(tmp_path, drawn, delimiter):
    """Other delimiter, no quotes where not needed, no byte order mark, bare newlines, rows in another order."""
    choices = choices_for(drawn)
    rows = read_csv(csv_of(drawn, ONE))[::-1]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([*[guard(cell) for cell in list(row.values())[:-1]], f" {choices[row['item']].upper()} "])
    path = tmp_path / "saved.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert read(path) == choices


def test_a_csv_in_another_encoding_says_how_to_save_it(tmp_path, drawn):
    path = tmp_path / "latin.csv"
    path.write_bytes("package,assigned_to,item,choice\r\nÄ,Ö,Ü,A\r\n".encode("cp1252"))
    with pytest.raises(ValueError, match="CSV UTF-8"):
        check_answers(drawn, *read_answer_files([path]))


def test_every_form_of_the_same_answers_reads_the_same(tmp_path, drawn):
    choices = choices_for(drawn)
    page = write_page_export(tmp_path / "page.json", drawn, ONE, choices)
    sheet = write_filled_csv(tmp_path / "sheet.csv", drawn, ONE, choices)
    studio = tmp_path / "studio.json"
    studio.write_text(json.dumps(label_studio_export(drawn, ONE, choices)), encoding="utf-8")
    # Label Studio 1.23 adds columns of its own to these two forms, among them "annotator", its user number.
    flat = [
        task["data"]
        | {"id": i, "choice": choices[task["data"]["item"]], "annotator": 1, "annotation_id": i, "lead_time": 1.5}
        for i, task in enumerate(tasks_of(drawn, ONE), start=1)
    ]
    minimal = tmp_path / "studio-min.json"
    minimal.write_text(json.dumps(flat), encoding="utf-8")
    table = tmp_path / "studio.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, sorted(flat[0]), quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    for path in (page, sheet, studio, minimal, table):
        assert read(path) == choices, path.name
        assert check_answers(drawn, *read_answer_files([path])) == {ONE: choices}


def test_label_studio_tasks_keep_every_text(drawn):
    tasks = json.loads(json.dumps(tasks_of(drawn, TWO)))
    assert [(t["data"]["instruction"], t["data"]["answer_a"]) for t in tasks] == [
        (s.instruction, s.answer_a) for s in drawn.shown_to(TWO)
    ]
    assert {text for t in tasks for text in (t["data"]["answer_a"], t["data"]["answer_b"])} == set(AWKWARD)


def test_the_labelling_config_is_xml_that_names_only_fields_of_the_tasks(drawn):
    from xml.etree import ElementTree

    root = ElementTree.fromstring(labelling_config())
    fields = {e.get("value", "")[1:] for e in root.iter() if e.get("value", "").startswith("$")}
    assert fields <= set(tasks_of(drawn, ONE)[0]["data"])
    assert [e.get("alias") for e in root.iter("Choice")] == list(CHOICES)
    names = {e.get("name") for e in root.iter("Text")}
    assert root.find(".//Choices").get("toName") in names


def test_skipped_label_studio_tasks_are_missing_not_unknown(tmp_path, drawn):
    export = label_studio_export(drawn, ONE, choices_for(drawn))
    export[0]["annotations"][0]["was_cancelled"] = True
    export[1]["annotations"][0]["result"] = []
    export[2]["annotations"] = []
    path = tmp_path / "studio.json"
    path.write_text(json.dumps(export), encoding="utf-8")
    assert len(check_answers(drawn, *read_answer_files([path]))[ONE]) == len(drawn.pairs) - 3


def test_a_task_annotated_twice_names_both_annotations(tmp_path, drawn):
    export = label_studio_export(drawn, ONE, choices_for(drawn))
    second = json.loads(json.dumps(export[4]["annotations"][0])) | {"id": 999}
    export[4]["annotations"].append(second)
    path = tmp_path / "studio.json"
    path.write_text(json.dumps(export), encoding="utf-8")
    with pytest.raises(ValueError, match=r"answered twice(.|\n)*task 5, annotation 105(.|\n)*task 5, annotation 999"):
        check_answers(drawn, *read_answer_files([path]))


def test_an_item_answered_in_two_files_names_both_places_and_choices(tmp_path, drawn):
    row_id = drawn.row_ids[3]
    first = write_page_export(tmp_path / "first.json", drawn, ONE, {row_id: "A"})
    second = write_filled_csv(tmp_path / "second.csv", drawn, ONE, {row_id: "B"})
    with pytest.raises(ValueError, match="answered twice") as error:
        import_answers(drawn, [first, second], tmp_path / "annotations")
    for part in (row_id, ONE, "A in", "first.json (answer 1)", "B in", "second.csv (row 5)"):
        assert part in str(error.value)
    assert not (tmp_path / "annotations").exists()


def test_all_problems_of_all_files_are_reported_at_once(tmp_path, drawn):
    other = package(seed=1)
    files = [
        write_page_export(tmp_path / "other.json", other, ONE, {other.row_ids[0]: "A", other.row_ids[1]: "B"}),
        write_page_export(tmp_path / "who.json", drawn, "annotator-9", {drawn.row_ids[0]: "A"}),
        write_page_export(tmp_path / "item.json", drawn, ONE, {"f" * 32: "A"}),
    ]
    with pytest.raises(ValueError, match="problem") as error:
        import_answers(drawn, files, tmp_path / "annotations")
    message = str(error.value)
    assert message.startswith("3 problem(s)")
    assert f"other.json belongs to package {other.id}; this is package {drawn.id}" in message
    assert "'annotator-9'" in message
    assert "item '" + "f" * 32 in message


def test_every_bad_row_of_a_file_is_named_and_the_list_is_capped(tmp_path, drawn):
    rows = [f"{drawn.id},{ONE},{row_id},{choice}" for row_id, choice in zip(drawn.row_ids, "CADE" * 7, strict=False)]
    path = tmp_path / "sheet.csv"
    path.write_text("package,assigned_to,item,choice\n" + "\n".join(rows[:4]) + f"\n{drawn.id},{ONE},unknown,B\n")
    with pytest.raises(ValueError, match=r"^4 problem\(s\)") as error:
        check_answers(drawn, *read_answer_files([path]))
    for part in ("row 2: the choice is 'C'", "row 4: the choice is 'D'", "row 5: the choice is 'E'", "item 'unknown'"):
        assert part in str(error.value)
    path.write_text("package,assigned_to,item,choice\n" + "\n".join(rows))
    with pytest.raises(ValueError, match=r"^21 problem\(s\)(.|\n)*and 1 more$"):
        check_answers(drawn, *read_answer_files([path]))


def test_rows_of_empty_cells_are_skipped_and_counted(tmp_path, drawn):
    first, second = drawn.row_ids[:2]
    path = tmp_path / "sheet.csv"
    text = f"package,assigned_to,item,choice\n{drawn.id},{ONE},{first},A\n\n,,,\n,,\n{drawn.id},{ONE},{second},B\n,,,\n"
    path.write_text(text)
    assert check_answers(drawn, *read_answer_files([path])) == {ONE: {first: "A", second: "B"}}
    assert [entry.place for entry in read_answer_files([path])[0]] == ["row 2", "row 6"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("{", "not valid JSON"),
        ("{}", "none of the known kinds"),
        ('{"format": "gist-human-eval-answers", "package": "p", "annotator": "a", "answers": [3]}', "answer 1: is 3"),
        (
            '{"format": "gist-human-eval-answers", "package": "p", "answers": [{"item": "i", "choice": "A"}]}',
            "'assigned_to'",
        ),
        ("[3]", "entry 1"),
        ("package,assigned_to,item\r\np,a,i\r\n", "has no column 'choice'"),
        ("x\n", "has no column 'package', 'assigned_to', 'item', 'choice'"),
        ("null", "has no column 'package'"),
        ("package,assigned_to,item,choice,choice\r\np,a,i,A,B\r\n", "more than one column 'choice'"),
        ("[" * 100_000, "not valid JSON: .*recursion"),
        ('[{"id": 7, "data": {}, "annotations": [3]}]', "task 7: an annotation is 3, not an object"),
        ("package,assigned_to,item,choice\r\np,a,i,C\r\n", "row 2: the choice is 'C'"),
        ("package,assigned_to,item,choice\r\np,a,i,A,\r\n", "row 2 has 5 cells"),
        ('package,assigned_to,item,choice\r\np,a,i,"A\r\n', "not a CSV file"),
    ],
)
def test_a_file_of_no_known_kind_says_what_is_wrong(tmp_path, drawn, content, message):
    path = tmp_path / "answers"
    path.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(ValueError, match=message) as error:
        check_answers(drawn, *read_answer_files([path]))
    assert "answers" in str(error.value)


def test_a_mix_of_forms_and_annotators_is_imported_and_missing_is_counted(tmp_path, drawn):
    some = dict(list(choices_for(drawn).items())[:10])
    studio = tmp_path / "studio.json"
    studio.write_text(json.dumps(label_studio_export(drawn, THREE, choices_for(drawn, 2))), encoding="utf-8")
    files = [
        write_page_export(tmp_path / "page.json", drawn, ONE, choices_for(drawn)),
        write_filled_csv(tmp_path / "sheet.csv", drawn, TWO, some),
        studio,
    ]
    imported = import_answers(drawn, files, tmp_path / "annotations")
    assert [(i.annotator, i.new, i.missing) for i in imported] == [(ONE, 30, 0), (TWO, 10, 20), (THREE, 30, 0)]
    stored = load_answers(drawn, tmp_path / "annotations")
    assert stored == {ONE: choices_for(drawn), TWO: some, THREE: choices_for(drawn, 2)}
    lines = (tmp_path / "annotations" / drawn.id / f"{ONE}.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    run_is_a = drawn.row_ids[0] in drawn.run_is_a[ONE]
    assert (first["a"], first["b"]) == (("gist-1", "pos_control") if run_is_a else ("pos_control", "gist-1"))


def test_a_fuller_file_continues_an_earlier_import_and_a_contradiction_needs_replace(tmp_path, drawn):
    annotations = tmp_path / "annotations"
    full = choices_for(drawn)
    half = dict(list(full.items())[:15])
    import_answers(drawn, [write_page_export(tmp_path / "half.json", drawn, ONE, half)], annotations)
    [again] = import_answers(drawn, [write_page_export(tmp_path / "full.json", drawn, ONE, full)], annotations)
    assert (again.new, again.known, again.replaced, again.missing) == (15, 15, 0, 0)

    changed = write_page_export(tmp_path / "changed.json", drawn, ONE, {drawn.row_ids[0]: "B"})
    before = load_answers(drawn, annotations)
    with pytest.raises(ValueError, match=rf"item {drawn.row_ids[0]} by {ONE}: stored A, now B"):
        import_answers(drawn, [changed], annotations)
    assert load_answers(drawn, annotations) == before
    [replaced] = import_answers(drawn, [changed], annotations, replace=True)
    assert (replaced.new, replaced.known, replaced.replaced) == (0, 0, 1)
    assert load_answers(drawn, annotations)[ONE] == full | {drawn.row_ids[0]: "B"}


def test_answers_that_were_withdrawn_are_named_and_leave_only_if_told(tmp_path, drawn):
    small = draw_package(pairs(), run="gist-1", against="pos_control", num_items=20, annotators=ANNOTATORS, seed=0)
    large = draw_package(pairs(), run="gist-1", against="pos_control", num_items=25, annotators=ANNOTATORS, seed=0)
    annotations, choices = tmp_path / "annotations", choices_for(small)
    import_answers(small, [write_page_export(tmp_path / "one.json", small, ONE, choices)], annotations)
    import_answers(small, [write_page_export(tmp_path / "two.json", small, TWO, choices)], annotations)
    rest = dict(list(choices.items())[2:])
    file = write_page_export(tmp_path / "rest.json", small, ONE, rest)
    for changes in ({}, {"replace": True}):
        [imported] = import_answers(large, [file], annotations, **changes)
        assert (imported.known, imported.removed, imported.left_alone, imported.missing) == (18, 0, 2, 5)
    assert load_answers(large, annotations)[ONE] == choices
    [imported] = import_answers(large, [file], annotations, remove_missing=True)
    assert (imported.known, imported.removed, imported.left_alone, imported.missing) == (18, 2, 0, 7)
    for package_ in (small, large):  # the smaller package's answers do not bring them back
        assert load_answers(package_, annotations) == {ONE: rest, TWO: choices}
    nothing = write_page_export(tmp_path / "nothing.json", small, ONE, {})
    [imported] = import_answers(small, [nothing], annotations)
    assert (imported.left_alone, imported.removed) == (18, 0)
    [imported] = import_answers(small, [nothing], annotations, remove_missing=True)
    assert (imported.left_alone, imported.removed, imported.missing) == (0, 18, 20)
    assert load_answers(small, annotations) == {TWO: choices}
    assert import_answers(small, [nothing], annotations) == []


def test_an_import_that_cannot_write_a_file_changes_none(tmp_path, drawn):
    annotations = tmp_path / "annotations"
    files = [write_page_export(tmp_path / f"{name}.json", drawn, name, {drawn.row_ids[0]: "A"}) for name in (ONE, TWO)]
    import_answers(drawn, files, annotations)
    stored = {path: path.read_bytes() for path in annotations.rglob("*") if path.is_file()}
    more = [write_page_export(tmp_path / f"{name}.json", drawn, name, choices_for(drawn)) for name in (ONE, TWO)]
    (annotations / drawn.id / f"{TWO}.tmp").mkdir()
    with pytest.raises(OSError, match="directory"):
        import_answers(drawn, more, annotations)
    assert {path: path.read_bytes() for path in annotations.rglob("*") if path.is_file()} == stored


def test_contradictions_are_named_but_not_by_the_hundred(tmp_path, drawn):
    annotations = tmp_path / "annotations"
    choices = choices_for(drawn)
    import_answers(drawn, [write_page_export(tmp_path / "a.json", drawn, ONE, choices)], annotations)
    others = {row_id: "B" if choice == "A" else "A" for row_id, choice in choices.items()}
    with pytest.raises(ValueError, match="30 answer") as error:
        import_answers(drawn, [write_page_export(tmp_path / "b.json", drawn, ONE, others)], annotations)
    assert "  and 10 more" in str(error.value)
    assert len(str(error.value).splitlines()) == 23


def test_a_line_that_names_the_delimiter_is_no_heading(tmp_path, drawn):
    path = write_filled_csv(tmp_path / "sheet.csv", drawn, ONE, {drawn.row_ids[0]: "A"})
    text = path.read_bytes().decode("utf-8-sig")
    path.write_text("\ufeffsep=,\r\n" + text, encoding="utf-8", newline="")
    [imported] = import_answers(drawn, [path], tmp_path / "annotations")
    assert (imported.new, imported.missing) == (1, 29)


def test_cells_that_a_row_lacks_at_its_end_are_empty(tmp_path, drawn):
    path = write_filled_csv(tmp_path / "sheet.csv", drawn, ONE, {drawn.row_ids[0]: "A"})
    heading, *rows = path.read_bytes().decode("utf-8-sig").split("\r\n")
    assert heading.endswith('"choice"')
    path.write_text("\r\n".join([heading, *(row.removesuffix(',""') for row in rows)]), encoding="utf-8", newline="")
    [imported] = import_answers(drawn, [path], tmp_path / "annotations")
    assert (imported.new, imported.missing) == (1, 29)


def test_answers_to_another_package_stay_apart_and_are_counted(tmp_path, drawn):
    other = package(seed=1)
    export = write_page_export(tmp_path / "o.json", other, ONE, choices_for(other))
    import_answers(other, [export], tmp_path / "annotations")
    assert load_answers(drawn, tmp_path / "annotations") == {}
    assert other_packages(drawn, tmp_path / "annotations") == {other.id: 30}


def test_answers_to_a_package_with_fewer_items_and_annotators_count_for_the_larger_one(tmp_path):
    # The same 30 rows; in the larger package 25 items instead of 20, and one annotator more.
    small, large = (
        draw_package(pairs(), run="gist-1", against="pos_control", num_items=items, annotators=names, seed=0)
        for items, names in ((20, ANNOTATORS[:2]), (25, ANNOTATORS))
    )
    annotations = tmp_path / "annotations"
    first, second = choices_for(small), choices_for(small, 1)
    import_answers(small, [write_page_export(tmp_path / "one.json", small, ONE, first)], annotations)
    assert load_answers(large, annotations) == {ONE: first}
    assert other_packages(large, annotations) == {}

    # A page handed out before comes back after; the first annotator goes on with the new one, and changes an answer.
    late = write_page_export(tmp_path / "two.json", small, TWO, second)
    [imported] = import_answers(large, [late], annotations)
    assert (imported.annotator, imported.new, imported.missing) == (TWO, 20, 5)
    changed = {small.row_ids[0]: "B", large.row_ids[24]: "A"}
    more = write_page_export(tmp_path / "more.json", large, ONE, changed)
    with pytest.raises(ValueError, match=rf"item {small.row_ids[0]} by {ONE}: stored A, now B"):
        import_answers(large, [more], annotations)
    [imported] = import_answers(large, [more], annotations, replace=True)
    assert (imported.new, imported.replaced, imported.missing) == (1, 1, 4)
    assert load_answers(large, annotations) == {ONE: first | changed, TWO: second}
    for answers in (load_answers(large, annotations), {ONE: first, TWO: second}):
        for name, choices in answers.items():
            for row_id in set(choices) & set(small.row_ids):
                assert large.unblind(name, row_id, "A") == small.unblind(name, row_id, "A")

    # The other way round they are another package's; what was replaced does not come back.
    assert load_answers(small, annotations) == {
        ONE: {row: choice for row, choice in first.items() if row not in changed}
    }
    assert other_packages(small, annotations) == {large.id: 41}


@pytest.mark.parametrize(
    "edit",
    [
        "not json\n",
        "[]\n",
        '{"package": "p"}\n',
        '{"package": "p", "annotator": "a", "row_id": [1], "choice": "A"}\n',
        None,
    ],
)
def test_a_stored_file_that_was_edited_by_hand_is_refused_with_its_line(tmp_path, drawn, edit):
    annotations = tmp_path / "annotations"
    import_answers(drawn, [write_page_export(tmp_path / "p.json", drawn, ONE, choices_for(drawn))], annotations)
    path = annotations / drawn.id / f"{ONE}.jsonl"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + (edit or text.splitlines(keepends=True)[0]), encoding="utf-8")
    with pytest.raises(ValueError, match="line 31"):
        load_answers(drawn, annotations)
