"""Data and model lineage: statements of stages, the walk from a number to its sources, verification, comparison,
export.

It works on files only: in-toto Statements (v1) with a SLSA provenance predicate, `dvc.lock`, the layout of a DVC cache, and
the folders of this pipeline, by which a number finds its rows and runs."""
