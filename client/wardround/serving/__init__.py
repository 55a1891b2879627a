"""Serving models on GPUs of one's own: what they need, what serves them, and the compose file that starts them."""

from wardround.serving.compose import Rendering, render
from wardround.serving.engines import ENGINES, Engine, describe, find_engine, traits_table
from wardround.serving.served import Served, served_models
from wardround.serving.sizing import CONCURRENT, Need, needed, smallest

__all__ = [
    "CONCURRENT",
    "ENGINES",
    "Engine",
    "Need",
    "Rendering",
    "Served",
    "describe",
    "find_engine",
    "needed",
    "render",
    "served_models",
    "smallest",
    "traits_table",
]
