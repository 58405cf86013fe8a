"""Label Studio: the tasks of one annotator, and the labelling interface.

Formats: labelstud.io/guide/task_format (a list of `{"data": {...}}`) and labelstud.io/tags/choice."""

from typing import Any
from xml.sax.saxutils import quoteattr

from gist_core.scoring.human_eval.package import CHOICE_KEYS, CHOICE_LABELS, CHOICES, QUESTION, Package

CHOICE_FIELD = "choice"
# Not "annotator": Label Studio's JSON-MIN and CSV exports put its own user number there.
ASSIGNED_TO = "assigned_to"

Found = tuple[str, dict[str, Any] | str]
"""The place of an entry in an answer file, and its fields; or what is wrong with it, where it has none."""

_CONFIG = """\
<View>
  <Style>
    .pair {{ display: flex; gap: 1rem; align-items: flex-start; }}
    .answer {{ flex: 1; min-width: 0; padding: 0.75rem; border: 1px solid rgba(128, 128, 128, 0.4); }}
  </Style>
  <Header value="Instruction" size="5" />
  <Text name="instruction" value="$instruction" valueType="text" />
  <Header value="Input" size="5" />
  <Text name="input" value="$input" valueType="text" />
  <View className="pair">
    <View className="answer">
      <Header value="Answer A" size="5" />
      <Text name="answer_a" value="$answer_a" valueType="text" />
    </View>
    <View className="answer">
      <Header value="Answer B" size="5" />
      <Text name="answer_b" value="$answer_b" valueType="text" />
    </View>
  </View>
  <Header value={question} size="4" />
  <Choices name="{field}" toName="instruction" choice="single" showInLine="true" required="true">
{choices}
  </Choices>
</View>
"""


def labelling_config() -> str:
    """The labelling interface, to paste under Settings, Labeling Interface, Code. Because of the aliases, the export says
    A, B, tie or unknown, whatever the labels are."""
    choices = "\n".join(
        f"    <Choice value={quoteattr(CHOICE_LABELS[c])} alias={quoteattr(c)} hotkey={quoteattr(CHOICE_KEYS[c])} />"
        for c in CHOICES
    )
    return _CONFIG.format(question=quoteattr(QUESTION), field=CHOICE_FIELD, choices=choices)


def tasks_of(package: Package, annotator: str) -> list[dict[str, Any]]:
    """The tasks to import into this annotator's project."""
    return [
        {
            "data": {
                "package": package.id,
                ASSIGNED_TO: annotator,
                "item": shown.row_id,
                "instruction": shown.instruction,
                "input": shown.input,
                "answer_a": shown.answer_a,
                "answer_b": shown.answer_b,
            }
        }
        for shown in package.shown_to(annotator)
    ]


def read_export(tasks: list[Any]) -> list[Found]:
    """Label Studio's export "JSON" or "JSON-MIN", as (place, {package, assigned_to, item, choice}); one entry per
    annotation, so that a task annotated twice comes out twice. Skipped and empty annotations have the choice ""."""
    entries: list[Found] = []
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or not ("data" in task or "item" in task):
            entries.append((f"entry {number}", "neither a Label Studio task nor an entry of its JSON-MIN export"))
            continue
        place = f"task {task.get('id', number)}"
        if "data" not in task:
            entries.append((place, task | {"choice": task.get(CHOICE_FIELD, "")}))
        elif not isinstance(task["data"], dict) or not isinstance(task.get("annotations", []), list):
            entries.append((place, "data or annotations have the wrong form"))
        else:
            entries += [_found(task["data"], annotation, place) for annotation in task.get("annotations", [])]
    return entries


def _found(data: dict[str, Any], annotation: Any, place: str) -> Found:
    if not isinstance(annotation, dict):
        return place, f"an annotation is {annotation!r:.60}, not an object"
    where = f"{place}, annotation {annotation.get('id', '?')}"
    try:
        return where, data | {"choice": _choice_of(annotation)}
    except ValueError as error:
        return where, str(error)


def _choice_of(annotation: dict[str, Any]) -> str:
    if annotation.get("was_cancelled"):
        return ""
    try:
        values = [r["value"]["choices"] for r in annotation.get("result", []) if r.get("from_name") == CHOICE_FIELD]
        chosen = [choice for value in values for choice in value]
    except (KeyError, TypeError, AttributeError):
        raise ValueError("the annotation's result is not that of the labelling config") from None
    if len(chosen) > 1:
        raise ValueError(f"{len(chosen)} choices ({', '.join(map(str, chosen))}) where one is allowed")
    return chosen[0] if chosen else ""
