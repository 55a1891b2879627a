"""compose.yaml, rendered from the catalogue: one service and one profile a model, and what else a study may need."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wardround
from wardround.catalogue import EngineName, Model
from wardround.errors import CatalogueError
from wardround.serving.engines import PORT, Engine, find_engine
from wardround.serving.served import Served, served_models
from wardround.serving.sizing import CONCURRENT, MOST_GPUS, UTILIZATION, smallest
from wardround.shipped import shipped

if TYPE_CHECKING:
    import jinja2

GPU_GB = 80.0
_PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Service:
    """A model as a service of the compose file. `environment` is what it has besides its engine's."""

    name: str
    title: str
    engine: EngineName
    profiles: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """The compose file's text, and the names of the models that the GPUs do not hold."""

    text: str
    left_out: tuple[str, ...]


def render(
    folder: Path,
    *,
    engine: EngineName | None = None,
    gpu_gb: float = GPU_GB,
    most_gpus: int = MOST_GPUS,
    concurrent: int = CONCURRENT,
    fp8: Sequence[str] = (),
    written_by: str = "wardround compose",
) -> Rendering:
    """The compose file as it lies in `folder`, for machines with up to `most_gpus` cards of `gpu_gb` GB.

    A model gets as many of them as hold it and `concurrent` sequences of its whole context side by side. `engine`
    serves all models, in the place of their own. The models `fp8` are quantized. `written_by` is the command that the
    file names at its head. Raises `CatalogueError` for an unknown model.
    """
    models = served_models()
    _must_be_served(fp8, models)
    quantized = {one.name: "fp8" if one.name in fp8 else one.weights.quantization for one in models}
    needs = {
        one.name: smallest(
            one.weights,
            context=one.context,
            gpu_gb=gpu_gb,
            most=most_gpus,
            concurrent=concurrent,
            quantization=quantized[one.name],
        )
        for one in models
    }
    gpus = {name: need.gpus for name, need in needs.items() if need is not None}
    services = [
        _service(one, models, gpus, engine or one.weights.engine, quantized[one.name])
        for one in models
        if one.name in gpus
    ]
    checkout = shipped("servers").parent
    text = _template().render(
        written_by=written_by,
        version=wardround.__version__,
        port=PORT,
        services=services,
        engines={name: find_engine(name) for name in dict.fromkeys(service.engine for service in services)},
        servers=_seen_from(folder, shipped("servers")),
        # From an installed wheel there is nothing to build the embedded server's image of.
        checkout=_seen_from(folder, checkout) if (checkout / "pyproject.toml").is_file() else None,
    )
    return Rendering(text, tuple(name for name in needs if name not in gpus))


def profiles_of(model: Model, models: Sequence[Model]) -> tuple[str, ...]:
    """The profiles that start a model: its own, and those of its pairs.

    `pair-NAME` starts the biomedical model NAME and the first of its counterparts.
    """
    first_of = [other.name for other in models if other.counterparts[:1] == (model.name,)]
    own = [model.name] if model.counterparts else []
    return (model.name, *(f"pair-{name}" for name in [*own, *first_of]))


def variable(model: str, what: str) -> str:
    """The variable of .env that says `what` of a model: LLAMA_3_8B_INSTRUCT_GPUS."""
    return f"{re.sub(r'[^A-Z0-9]', '_', model.upper())}_{what}"


def _service(
    one: Served, models: Sequence[Served], gpus: Mapping[str, int], name: EngineName, quantization: str | None
) -> Service:
    engine = find_engine(name)
    values = _values(one, engine, gpus[one.name], quantization)
    # A biomedical model's GPUs come after those of its first counterpart, so that a pair runs side by side.
    first = gpus.get(one.model.counterparts[0], 0) if one.model.counterparts else 0
    ids = ",".join(str(first + number) for number in range(gpus[one.name]))
    return Service(
        name=one.name,
        title=one.model.title,
        engine=name,
        profiles=profiles_of(one.model, [other.model for other in models]),
        command=(*engine.words(values), *one.weights.arguments.get(name, ())),
        environment={
            "CUDA_VISIBLE_DEVICES": f"${{{variable(one.name, 'GPUS')}:-{ids}}}",
            **engine.variables(values),
        },
        port=one.weights.port,
    )


def _values(one: Served, engine: Engine, gpus: int, quantization: str | None) -> dict[str, str | None]:
    """What the blanks of the engine's command line are filled with."""
    template = one.model.chat_template
    return {
        "name": one.name,
        "served_as": one.model.served_name,
        "weights": one.model.served_name,
        "revision": one.weights.revision,
        "context": f"${{{variable(one.name, 'CONTEXT')}:-{one.context}}}",
        "tokens": str(one.context),
        "prompt_tokens": str(one.context - 1),
        "all_tokens": str(one.context * engine.slots),
        "slots": str(engine.slots),
        "gpus": str(gpus),
        "utilization": f"${{GPU_MEMORY_UTILIZATION:-{UTILIZATION}}}",
        "dtype": None if one.weights.dtype == "auto" else one.weights.dtype,
        "quantization": quantization,
        "template": None if template in (None, _PLAIN) else f"/templates/{template}.jinja",
    }


def _must_be_served(names: Sequence[str], models: Sequence[Served]) -> None:
    served = [one.name for one in models]
    for name in names:
        if name not in served:
            raise CatalogueError(f"--fp8: {name!r} is no model that compose.yaml serves; see `wardround models`")


def _seen_from(folder: Path, path: Path) -> str:
    relative = os.path.relpath(path, folder.resolve())
    return relative if relative.startswith(".") else f"./{relative}"


def _in_yaml(value: Any) -> str:
    """As JSON, which is YAML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shipped("servers")),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = _in_yaml
    return environment.get_template("compose.yaml.jinja")
