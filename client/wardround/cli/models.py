"""`wardround models`: the catalogue, and what of it fits on one's GPUs; and a model named on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wardround.catalogue import Model
    from wardround.serving import Need, Served

models = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

# The cards that the catalogue's needs are stated in, in GB.
_CARDS = (24.0, 48.0, 80.0)
_NUMERIC = {"billions", "context", "GPUs × GB", "fp8"}


@models.callback()
def _list(context: typer.Context) -> None:
    """List the models of the catalogue.

    Parameters, licence, whether the download is gated, the context they are served with, the cards that hold them with
    eight sequences of that context side by side, engine, and the endpoint where a study asks them if nothing else is
    said. "?" is what is not known for sure.

    Example: wardround models
    """
    from wardround.catalogue import catalogue
    from wardround.reports.table import aligned
    from wardround.serving import served_models

    if context.invoked_subcommand is not None:
        return
    served = {one.name: one for one in served_models()}
    header = ("model", "group", "billions", "licence", "gated", "context", "GPUs × GB", "engine", "endpoint", "title")
    rows = [_row(model, served.get(model.name)) for model in catalogue().values()]
    print("\n".join(aligned(header, rows, _NUMERIC)))


@models.command()
def fit(
    gpu: Annotated[float, typer.Option(min=1.0, help="Memory of one card.", metavar="GB")],
    gpus: Annotated[int, typer.Option(min=1, help="Number of cards.")] = 1,
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens a sequence; what each model is served with by default.")
    ] = None,
    concurrent: Annotated[int, typer.Option(min=1, help="Sequences of the whole context side by side.")] = 8,
) -> None:
    """Say which models fit on a machine's GPUs.

    On how many cards, and how much of each they take, in 16 bits and in fp8; "–" where they do not fit. A model is
    shared out over divisors of its attention heads only. The formula is in docs/serving.md. Both of a pair at once take
    the cards of both.

    Example: wardround models fit --gpu 80 --gpus 2
    """
    from wardround.reports.table import aligned
    from wardround.serving import served_models, smallest

    rows = []
    for one in served_models():
        tokens = min(context or one.context, one.context)
        needs = [
            smallest(one.weights, context=tokens, gpu_gb=gpu, most=gpus, concurrent=concurrent, quantization=form)
            for form in (None, "fp8")
        ]
        cells = (one.name, one.model.group, f"{one.weights.parameters:g}", f"{tokens:,}")
        rows.append((*cells, *map(_cards, needs)))
    print("\n".join(aligned(("model", "group", "billions", "context", "GPUs × GB", "fp8"), rows, _NUMERIC)))


@models.command()
def engines(
    engine: Annotated[str | None, typer.Argument(help="One engine: its traits in sentences.", metavar="ENGINE")] = None,
) -> None:
    """Say what the engines do where they differ.

    What becomes of another model's name, of a begun answer, of a prompt beyond the context, of a full queue and the
    like; "?" is what was not found out.

    Example: wardround models engines llamacpp
    """
    from wardround.reports.table import aligned
    from wardround.serving import describe, traits_table

    if engine is None:
        head, rows = traits_table()
        print("\n".join(aligned(head, rows, set())))
        return
    described = describe(engine)
    told = [(name.replace("_", " "), trait.does, trait.says) for name, trait in described.traits.known.items()]
    told += [(remark.name.replace("-", " "), "", remark.says) for remark in described.remarks]
    print("\n".join(aligned((described.title, "", ""), told, set())))


def model_named(name: str, base_url: str | None, key_env: str | None) -> Model:
    """The catalogue's row, completed by what the options say; raises `CatalogueError`."""
    from wardround.catalogue import as_composed, resolve_model
    from wardround.errors import CatalogueError

    row: dict[str, Any] = {"name": name}
    if base_url is not None:
        row["base_url"] = base_url
    if key_env is not None:
        row["key_env"] = key_env
    model = as_composed(resolve_model(row))
    if model.base_url is None:
        raise CatalogueError(f"model {name!r} has no endpoint: give --base-url")
    return model


def _row(model: Model, served: Served | None) -> tuple[str, ...]:
    from wardround.catalogue import as_composed

    endpoint = as_composed(model).base_url or "–"
    if served is None:
        context = "?" if model.context is None else f"{model.context:,}"
        return (model.name, model.group, "–", "–", "–", context, "–", "–", endpoint, model.title)
    weights = served.weights
    return (
        model.name,
        model.group,
        f"{weights.parameters:g}",
        weights.licence or "?",
        {True: "yes", False: "no", None: "?"}[weights.gated],
        f"{served.context:,}",
        _fewest_cards(served),
        weights.engine,
        endpoint,
        model.title,
    )


def _fewest_cards(served: Served) -> str:
    """One of the smallest cards that hold the model, or as many of the largest as do."""
    from wardround.serving import smallest

    for card in _CARDS:
        if smallest(served.weights, context=served.context, gpu_gb=card, most=1):
            return f"1 × {card:g}"
    need = smallest(served.weights, context=served.context, gpu_gb=_CARDS[-1])
    return f"{need.gpus} × {_CARDS[-1]:g}" if need else "–"


def _cards(need: Need | None) -> str:
    return f"{need.gpus} × {need.per_gpu_gb:.1f}" if need else "–"
