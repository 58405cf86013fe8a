"""Data and model lineage: statements of stages, the walk from a number to its sources, verification, comparison,
export.

It works on file formats only: in-toto Statements (v1) with a SLSA provenance predicate, `dvc.lock`, and the layout of a
DVC cache."""
