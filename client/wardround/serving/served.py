"""The catalogue's models that are served on GPUs of one's own."""

from __future__ import annotations

from dataclasses import dataclass

from wardround.catalogue import Model, Weights, catalogue


@dataclass(frozen=True, slots=True)
class Served:
    """A model, its weights, and the number of tokens with which its engine is started."""

    model: Model
    weights: Weights
    context: int

    @property
    def name(self) -> str:
        """The model's name in the catalogue."""
        return self.model.name


def served_models() -> list[Served]:
    """Those of the catalogue's models that have weights to be served, in its order; baselines have none."""
    return [
        Served(model, model.serving, model.served_context)
        for model in catalogue().values()
        if model.serving is not None and model.served_context is not None
    ]
