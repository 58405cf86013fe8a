"""All statements of a project at one moment, and who made what."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gist_core.lineage.statement import FOLDER, PREDICATE_TYPE, STATEMENT_TYPE


@dataclass(frozen=True)
class Statement:
    """A statement as read."""

    content: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str | bytes) -> "Statement":
        """Raises ValueError if it is not a statement of this pipeline."""
        try:
            content = json.loads(text)
            statement = cls(content)
            if content["_type"] != STATEMENT_TYPE or content["predicateType"] != PREDICATE_TYPE:
                raise ValueError("its types are not those of an in-toto Statement v1 with SLSA provenance v1")
            statement._read_all()
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"it is not a statement of this pipeline ({type(error).__name__}: {error})") from None
        return statement

    def _read_all(self) -> None:
        """Touches everything that is ever read from a statement, so that a damaged one fails here and not later."""
        for digest in (*self.outputs.values(), *self.inputs.values()):
            _ = digest["sha256"] + digest["md5"]
        _ = "".join((*self.outputs, *self.inputs))
        for notes in self.annotations.values():
            _ = (notes["size"], notes["row_ids_sha256"] + "" if "rows" in notes else "")
        for kind in ("deps", "outs"):
            for entry in self.declared[kind].values():
                _ = (entry["digest"]["md5"] + "", entry["size"], entry["nfiles"], entry["isexec"])
        _ = self.declared["params"].items()
        _ = (self.source["commit"], self.source["dirty"], self.source["changed_files"].items(), self.parameters.items())
        _ = (self.stage + self.command, self.facts.items(), self.not_reproducible)
        around = self.environment
        _ = around["python"] + around["hardware"]["cpu"] + "".join(gpu["name"] for gpu in around["hardware"]["gpus"])
        _ = (len(around["packages"]), around["lock_file"] and around["lock_file"]["digest"]["sha256"] + "")

    @property
    def _definition(self) -> Mapping[str, Any]:
        return self.content["predicate"]["buildDefinition"]

    @property
    def stage(self) -> str:
        return self._definition["externalParameters"]["stage"]

    @property
    def command(self) -> str:
        return " ".join(self._definition["externalParameters"]["command"])

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self._definition["externalParameters"]["parameters"]

    @property
    def facts(self) -> Mapping[str, Any]:
        return self._definition["internalParameters"]["facts"]

    @property
    def source(self) -> Mapping[str, Any]:
        return self._definition["internalParameters"]["source"]

    @property
    def environment(self) -> Mapping[str, Any]:
        return self._definition["internalParameters"]["environment"]

    @property
    def not_reproducible(self) -> str | None:
        return self._definition["internalParameters"]["reproducibility"]["reason"]

    @property
    def declared(self) -> Mapping[str, Mapping[str, Any]]:
        """What dvc.lock must have. {"deps": ..., "outs": ...}: path, as in dvc.yaml -> {"digest", "size", "nfiles",
        "isexec"}; "params": dotted key -> value."""
        return self._definition["internalParameters"]["declared"]

    @cached_property
    def outputs(self) -> dict[str, dict[str, str]]:
        """Digests of every file made, by path."""
        return {subject["name"]: subject["digest"] for subject in self.content["subject"]}

    @cached_property
    def annotations(self) -> dict[str, dict[str, Any]]:
        """Of every file made, by path: size and, if it holds rows, rows and row_ids_sha256."""
        return {subject["name"]: subject["annotations"] for subject in self.content["subject"]}

    @cached_property
    def inputs(self) -> dict[str, dict[str, str]]:
        """Digests of every file read, by path (the git commit is in `source`)."""
        dependencies = self._definition["resolvedDependencies"]
        return {entry["name"]: entry["digest"] for entry in dependencies if "sha256" in entry["digest"]}


class Ledger:
    """The readable statements of a project by stage; `unreadable` says why others are not."""

    def __init__(self, statements: Mapping[str, Statement], unreadable: Mapping[str, str] | None = None) -> None:
        self.statements = dict(statements)
        self.unreadable = dict(unreadable or {})

    @classmethod
    def of_workspace(cls, root: Path) -> "Ledger":
        """The statements under data/statements/."""
        statements, unreadable = {}, {}
        for path in sorted((root / FOLDER).glob("*.json")):
            try:
                statements[path.stem] = Statement.parse(path.read_bytes())
            except (ValueError, OSError) as error:
                unreadable[path.stem] = str(error)
        return cls(statements, unreadable)

    @cached_property
    def producers(self) -> dict[str, str]:
        """The stage that made each file."""
        return {path: name for name, statement in self.statements.items() for path in statement.outputs}

    @cached_property
    def names_by_sha256(self) -> dict[str, str]:
        """By SHA-256, a path that is stated to have this content (to recognise a file in another's place)."""
        return {digest["sha256"]: path for s in self.statements.values() for path, digest in s.outputs.items()}

    def maker(self, path: str) -> str | None:
        """The stage that made a file; for a statement, which does not state itself, the stage that it is about."""
        about = Path(path).stem if Path(path).parent == FOLDER else None
        return about if about in self.statements else self.producers.get(path)

    def upstream(self, name: str) -> list[str]:
        """The stages whose files this one read, sorted."""
        made = (self.maker(path) for path in self.statements[name].inputs)
        return sorted({stage for stage in made if stage and stage != name})

    def in_order(self) -> list[str]:
        """All stages, each after those whose files it read."""
        order: list[str] = []

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in order or name in path:
                return
            for other in self.upstream(name):
                visit(other, (*path, name))
            order.append(name)

        for name in sorted(self.statements):
            visit(name, ())
        return order

    def broken_links(self, name: str) -> Iterator[tuple[str, str]]:
        """(path, stage that made it) of each input of `name` that is not what its maker states to have made."""
        for path, digest in self.statements[name].inputs.items():
            maker = self.producers.get(path)
            if maker and self.statements[maker].outputs[path]["sha256"] != digest["sha256"]:
                yield path, maker
