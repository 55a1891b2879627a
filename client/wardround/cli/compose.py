"""`wardround compose`: the compose file that serves the catalogue's models."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class EngineChoice(StrEnum):
    """The engines, as words of the command line."""

    VLLM = "vllm"
    TGI = "tgi"
    SGLANG = "sglang"
    LLAMACPP = "llamacpp"
    OLLAMA = "ollama"


def compose(
    engine: Annotated[EngineChoice | None, typer.Option(help="Serve all models with it.")] = None,
    gpu: Annotated[float, typer.Option(min=1.0, help="Memory of one card.", metavar="GB")] = 80.0,
    gpus: Annotated[int, typer.Option(min=1, max=64, help="Number of cards at most for one model.")] = 8,
    concurrent: Annotated[int, typer.Option(min=1, help="Sequences of the whole context side by side.")] = 8,
    fp8: Annotated[
        list[str] | None, typer.Option(help="Quantize this model; may be repeated.", metavar="MODEL")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it there instead of printing it.", metavar="FILE")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Say whether FILE, or ./compose.yaml, is what would be written.")
    ] = False,
) -> None:
    """Render compose.yaml from the catalogue.

    One service and one profile a model. The models that the cards do not hold are named and left out. Paths in it are
    relative to where it lies. Exit code 1 with --check if the file is not in step.

    Example: wardround compose --gpu 141 --fp8 openbiollm-70b --fp8 llama-3-70b-instruct --out compose.yaml
    """
    from wardround.serving import render

    path = out or Path("compose.yaml")
    rendering = render(
        path.parent,
        engine=None if engine is None else engine.value,
        gpu_gb=gpu,
        most_gpus=gpus,
        concurrent=concurrent,
        fp8=fp8 or (),
        written_by=_command(engine, gpu, gpus, concurrent, fp8 or []),
    )
    if rendering.left_out:
        names = ", ".join(rendering.left_out)
        print(f"wardround: {gpus} × {gpu:g} GB do not hold, and so left out: {names}", file=sys.stderr)
    if check:
        _must_be_in_step(path, rendering.text)
    elif out is not None:
        out.write_text(rendering.text, encoding="utf-8")
    else:
        print(rendering.text, end="")


def _command(engine: EngineChoice | None, gpu: float, gpus: int, concurrent: int, fp8: list[str]) -> str:
    """The command line that renders the same again; what is the default is left out."""
    words = ["wardround compose"]
    words += [] if engine is None else [f"--engine {engine.value}"]
    words += [] if gpu == 80.0 else [f"--gpu {gpu:g}"]
    words += [] if gpus == 8 else [f"--gpus {gpus}"]
    words += [] if concurrent == 8 else [f"--concurrent {concurrent}"]
    return " ".join([*words, *(f"--fp8 {name}" for name in fp8)])


def _must_be_in_step(path: Path, text: str) -> None:
    from wardround.errors import DataError, RunFailed

    try:
        found = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if found != text:
        raise RunFailed(f"{path} is not in step with the catalogue; write it anew: the same options with --out {path}")
