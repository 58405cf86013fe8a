"""The exports validate against what their standards publish.

The packages that carry the schemas are in the `dev` extra: `openlineage-python` (classes generated from
OpenLineage.json, spec 2-0-2; the JSON file itself is in no package, OPENLINEAGE_SPEC names a copy of it),
`prov` (the schema of the PROV-JSON submission), `in-toto-attestation` (protobuf of Statement v1 and SLSA
provenance v1), `mlcroissant`, `huggingface_hub`."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from gist_core.lineage.export import export
from gist_core.lineage.ledger import Ledger
from tests.lineage import project


def test_openlineage_events_fit_the_classes_of_the_specification(built: Path) -> None:
    base = pytest.importorskip("openlineage.client.generated.base")
    events = [json.loads(line) for line in export(built, "openlineage").splitlines()]
    assert [event["eventType"] for event in events[:2]] == ["START", "COMPLETE"]
    assert len(events) == 2 * len(Ledger.of_workspace(built).statements)
    for event in events:
        assert event.pop("schemaURL").startswith("https://openlineage.io/spec/2-0-2/OpenLineage.json#")
        _openlineage_event(base, event)
    with pytest.raises(ValueError, match="badly formed"):
        _openlineage_event(base, events[0] | {"run": {"runId": "no uuid", "facets": {}}})
    with pytest.raises(TypeError):
        _openlineage_event(base, events[0] | {"surplus": 1})


def test_openlineage_events_validate_against_the_published_schema(built: Path) -> None:
    """OPENLINEAGE_SPEC=spec/OpenLineage.json of a checkout of OpenLineage at its spec 2-0-2."""
    if "OPENLINEAGE_SPEC" not in os.environ:
        pytest.skip("OPENLINEAGE_SPEC does not name a copy of OpenLineage.json")
    import jsonschema

    schema = json.loads(Path(os.environ["OPENLINEAGE_SPEC"]).read_text(encoding="utf-8"))
    schema["oneOf"] = [{"$ref": "#/$defs/RunEvent"}]  # of the events that it defines, ours are these
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    for line in export(built, "openlineage").splitlines():
        event = json.loads(line)
        assert event["schemaURL"] == f"{schema['$id']}#/$defs/RunEvent"
        assert list(validator.iter_errors(event)) == []
        for key in ("run", "job", "eventTime"):
            assert list(validator.iter_errors({name: event[name] for name in event if name != key}))
        assert list(validator.iter_errors(event | {"run": {"runId": "no uuid"}}))


def test_openlineage_datasets_link_the_stages(built: Path) -> None:
    events = [json.loads(line) for line in export(built, "openlineage").splitlines()]
    made = {item["name"] for event in events for item in event["outputs"]}
    rouge = next(event for event in events if event["job"]["name"] == "rouge" and event["eventType"] == "COMPLETE")
    read = {item["name"] for item in rouge["inputs"] if item["name"].startswith("data/")}
    assert read
    assert read <= made


def test_prov_fits_the_schema_of_the_submission(built: Path) -> None:
    prov_tests = pytest.importorskip("prov.tests")
    import jsonschema
    from prov.model import ProvActivity, ProvDocument

    schema = json.loads((Path(prov_tests.__file__).parent / "schemas" / "prov-json.schema.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    content = json.loads(export(built, "prov"))
    assert list(validator.iter_errors(content)) == []
    assert list(validator.iter_errors(content | {"used": {"_:x": {"prov:activity": 5}}}))
    document = ProvDocument.deserialize(content=json.dumps(content), format="json")
    assert len(list(document.get_records(ProvActivity))) == len(Ledger.of_workspace(built).statements)


def test_a_croissant_is_one(built: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    content = json.loads(export(built, "croissant"))
    dataset = mlcroissant.Dataset(jsonld=content)
    assert dataset.metadata.ctx.issues.errors == set()
    assert {record.name for record in dataset.metadata.record_sets} == {"train", "seen", "unseen", "human"}
    content["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "nowhere"
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(jsonld=content)


def test_a_model_card_has_its_results_block(built: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(export(built, "model-card", "gist-1"))
    metrics = json.loads((built / "reports/metrics.json").read_text())
    results = {(r.dataset_split, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert card.data.model_name == "gist-1"
    assert results["human", "rougeL"] == metrics["human"]["rouge_l"]["gist-1"]["mean_pct"]
    assert len(results) == 9
    with pytest.raises(ValueError, match=r"--run, one of gist-1"):
        export(built, "model-card", "other")


def test_a_model_card_names_the_run_that_its_training_started_from(toy: Path) -> None:
    params = yaml.safe_load((toy / "params.yaml").read_text())
    params["runs"]["gist-1"]["start"] = "data/models/pos_control"
    (toy / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project.repro(toy, "train@gist-1")
    name = params["model"]["name"]
    assert f"Trained from the run pos_control, and through it from {name}" in export(toy, "model-card", "gist-1")
    assert f"Trained from {name}" in export(toy, "model-card", "neg_control")


def test_statements_are_in_toto_statements_with_slsa_provenance(built: Path) -> None:
    pytest.importorskip("in_toto_attestation")
    from google.protobuf.json_format import ParseDict, ParseError
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    for name, statement in Ledger.of_workspace(built).statements.items():
        content: dict[str, Any] = json.loads((built / f"data/statements/{name}.json").read_text())
        Statement.copy_from_pb(ParseDict(content, statement_pb2.Statement())).validate()
        provenance = ParseDict(content["predicate"], Provenance())
        assert provenance.build_definition.build_type
        assert provenance.run_details.builder.id
        assert len(provenance.build_definition.resolved_dependencies) == len(statement.inputs) + 1
    with pytest.raises(ParseError):
        ParseDict(content["predicate"] | {"surplus": 1}, Provenance())


def test_an_unknown_form_names_the_known_ones(built: Path) -> None:
    with pytest.raises(ValueError, match="openlineage, prov, model-card, croissant"):
        export(built, "csv")


def _openlineage_event(base: Any, event: dict[str, Any]) -> None:
    """Builds the event with the generated classes: unknown and missing keys, ids and times that are none raise."""

    def facets(cls: Any, found: dict[str, Any]) -> dict[str, Any]:
        for facet in found.values():
            assert {"_producer", "_schemaURL"} <= facet.keys()
        return {name: cls(producer=facet["_producer"]) for name, facet in found.items()}

    def dataset(cls: Any, found: dict[str, Any]) -> Any:
        extra = {key: value for key, value in found.items() if key == "outputFacets"}
        content = {key: found[key] for key in found.keys() - extra.keys() - {"facets"}}
        if extra:
            content["outputFacets"] = facets(base.OutputDatasetFacet, extra["outputFacets"])
        return cls(**content, facets=facets(base.DatasetFacet, found["facets"]))

    content = dict(event)
    content["eventType"] = base.EventType(event["eventType"])
    content["run"] = base.Run(runId=event["run"]["runId"], facets=facets(base.RunFacet, event["run"]["facets"]))
    content["job"] = base.Job(**{**event["job"], "facets": facets(base.JobFacet, event["job"]["facets"])})
    content["inputs"] = [dataset(base.InputDataset, item) for item in event["inputs"]]
    content["outputs"] = [dataset(base.OutputDataset, item) for item in event["outputs"]]
    base.RunEvent(**content)
