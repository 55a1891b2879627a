"""Prints the sizing table of docs/serving.md, reckoned from the catalogue."""

from __future__ import annotations

from collections import defaultdict

from wardround.serving import Served, needed, served_models, smallest

CARDS_GB = (24, 48, 80, 141)


def sizing_table() -> str:
    """The table as Markdown; models that need the same share a row."""
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for one in served_models():
        rows[_needs(one)].append(one.name)
    head = ("models", "10⁹", "context", "weights", "cache", "all", *(f"{card} GB" for card in CARDS_GB))
    lines = [head, ("---",) * len(head), *((", ".join(names), *needs) for needs, names in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _needs(one: Served) -> tuple[str, ...]:
    need = needed(one.weights, context=one.context)
    return (
        f"{one.weights.parameters:g}",
        f"{one.context:,}",
        f"{need.weights_gb:.1f}",
        f"{need.cache_gb:.1f}",
        f"{need.total_gb:.1f}",
        *(_cards(one, float(card)) for card in CARDS_GB),
    )


def _cards(one: Served, gpu_gb: float) -> str:
    """The number of cards in 16 bits, and behind it that in fp8 where it is another."""
    plain, fp8 = (
        smallest(one.weights, context=one.context, gpu_gb=gpu_gb, quantization=quantization)
        for quantization in (None, "fp8")
    )
    shown = str(plain.gpus) if plain else "–"
    return f"{shown} ({fp8.gpus})" if fp8 and (plain is None or fp8.gpus != plain.gpus) else shown


if __name__ == "__main__":
    print(sizing_table())
