"""What a study's arms search, and by what: corpora that the user brings, and services that embed, rerank and index."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from wardround.catalogue import EMBEDDED, Model
from wardround.task import Sensitivity


class Service(BaseModel):
    """A service that retrieval asks, and what of it decides what it gives.

    `model` is the name it is asked for; `revision`, if given, is recorded with it and tells vectors of two versions
    apart. Texts are sent with `query_prefix` or `passage_prefix` before them, as E5 and BGE want ("query: ").
    `shape` is how a reranker is spoken to: "tei" (text-embeddings-inference) or "jina" (Jina, Cohere, vLLM). Key and
    attestation as in a model's row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = EMBEDDED
    model: str = ""
    revision: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    shape: Literal["tei", "jina"] = "tei"
    key_env: str | None = None
    attestation: str | None = Field(default=None, min_length=10)
    batch: int = Field(default=32, ge=1, le=2048)

    @model_validator(mode="after")
    def _named(self) -> Service:
        if not self.model and self.base_url != EMBEDDED:
            raise ValueError("model: give the name under which the service has its model")
        self.row("service")
        return self

    def row(self, name: str) -> Model:
        """The service as a row of the catalogue: what the guard and the keys look at. Raises `ValueError`."""
        return Model(
            name=name,
            base_url=self.base_url,
            served_as=self.model or None,
            key_env=self.key_env,
            attestation=self.attestation,
        )


class Qdrant(BaseModel):
    """A Qdrant server that holds vectors: its REST address, `key_env` with the variable that has its key.

    A collection is named `collection_prefix`, a hyphen and the hash of what it holds, and is left there for the next
    run. `batch` vectors are sent at once. Attestation as in a model's row.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    collection_prefix: str = Field(default="wardround", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$")
    key_env: str | None = None
    attestation: str | None = Field(default=None, min_length=10)
    batch: int = Field(default=256, ge=1, le=4096)

    @model_validator(mode="after")
    def _a_server(self) -> Qdrant:
        if self.base_url == EMBEDDED:
            raise ValueError("base_url: the embedded server is no Qdrant; give the address of one")
        self.row()
        return self

    def row(self) -> Model:
        """The server as a row of the catalogue: what the guard and the keys look at. Raises `ValueError`."""
        return Model(
            name="qdrant",
            base_url=self.base_url,
            headers_env={"api-key": self.key_env} if self.key_env else {},
            attestation=self.attestation,
        )


class Retrieval(BaseModel):
    """How a study's arms search: the lengths of passages in words, their overlap, and the services.

    Without `embeddings` the embedded server embeds; it says which model it has. `engine` is what vectors are searched
    by, exactly in both cases: "numpy" here, or the server of `qdrant`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    length: int = Field(default=160, ge=8, le=2000)
    overlap: float = Field(default=0.25, ge=0, le=0.9)
    embeddings: Service = Service()
    rerank: Service | None = None
    engine: Literal["numpy", "qdrant"] = "numpy"
    qdrant: Qdrant | None = None

    @model_validator(mode="after")
    def _engine_is_there(self) -> Retrieval:
        if self.engine == "qdrant" and self.qdrant is None:
            raise ValueError("engine: 'qdrant' needs its server; give `qdrant: {base_url: …}`")
        if self.engine != "qdrant" and self.qdrant is not None:
            raise ValueError("qdrant: the server is only asked with `engine: qdrant`")
        return self


class CorpusChoice(BaseModel):
    """A corpus that arms search, for tasks whose cases bring no documents: a file of rows, or a folder of texts.

    `path`: rows with `id` and `text`, and perhaps `title` and `date` (JSON lines, JSON, CSV, xlsx), or a folder of .txt
    and .md files. `licence` is under which terms it may be used, `cut_off` the last day on which a text of it may have
    appeared: rows with a later `date` are left out. `sensitivity` is what the guard goes by, besides that of the cases.
    Documents that hold the text of a case are left out, or with `leaks: keep` only counted; those of `exclude`, by id,
    are left out, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    licence: str = Field(min_length=2)
    cut_off: date
    sensitivity: Sensitivity = "open"
    leaks: Literal["drop", "keep"] = "drop"
    exclude: tuple[str, ...] = ()
