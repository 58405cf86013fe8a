"""Fetches the base model and adds the gist token.

python -m tasks.base_model
"""

import json
import tempfile
from pathlib import Path

from gist_core.lineage.hashing import sha256_of_path
from tasks import paths
from tasks.stage import Stage, stage_main


def run(stage: Stage) -> None:
    import torch

    from gist_core.models.base import add_gist_token, load_base_model

    params = stage.params.model
    with tempfile.TemporaryDirectory(dir=stage.work_dir) as scratch:
        model, tokenizer = load_base_model(
            params.source,
            params.location,
            file=params.file,
            revision=params.revision,
            dtype=getattr(torch, params.dtype),
            scratch=Path(scratch),
        )
    gist_token_id = add_gist_token(model, tokenizer, params.gist_init)
    origin = params.model_dump(mode="json") | {
        "revision": sha256_of_path(Path(params.location)) if params.source == "folder" else params.revision,
        "gist_token_id": gist_token_id,
        "num_parameters": model.num_parameters(),
        "model_type": model.config.model_type,
        "is_encoder_decoder": bool(model.config.is_encoder_decoder),
    }
    with stage.out(paths.BASE_MODEL) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "origin.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    stage.facts |= {"base_model": origin}


if __name__ == "__main__":
    stage_main("base_model", run)
