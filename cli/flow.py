"""`gist flow`: the pipeline as a Prefect flow. The commands are those of `python -m flows`."""

from flows.app import app

__all__ = ["app"]
