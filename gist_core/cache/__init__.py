"""Compress prompts, keep them, and generate from them.

gist_model = GistModel.from_pretrained("data/models/gist-1")
cache = compress(gist_model, ["Translate the sentence to French."])
answers = gist_model.decode(generate(gist_model, cache, ["Good morning.", "Thank you."], max_new_tokens=32))
"""

from gist_core.cache.compress import compress
from gist_core.cache.generate import generate
from gist_core.cache.gist_cache import GistCache
from gist_core.cache.storage import load_cache, save_cache

__all__ = ["GistCache", "compress", "generate", "load_cache", "save_cache"]
