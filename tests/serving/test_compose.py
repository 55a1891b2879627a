"""compose.yaml: in step with the catalogue, valid, closed to the outside, and every pair a profile away."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT
from wardround.catalogue import EngineName, as_composed, catalogue, find_model
from wardround.errors import CatalogueError
from wardround.serving import ENGINES, find_engine, render, served_models
from wardround.study import load_study

COMMITTED = (ROOT / "compose.yaml").read_text(encoding="utf-8")
PAIRS = [(one.name, other) for one in served_models() for other in one.model.counterparts]
PAPERS = sorted({pair for name in ("clue", "dorfner") for pair in load_study(ROOT / "studies" / f"{name}.yaml").pairs})
DOCKERFILES = sorted((ROOT / "servers").rglob("Dockerfile"))


def parsed(text: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text)
    return content


SERVICES: dict[str, Any] = parsed(COMMITTED)["services"]


def rendered(**options: Any) -> dict[str, Any]:
    services: dict[str, Any] = parsed(render(ROOT, **options).text)["services"]
    return services


def started_by(*profiles: str) -> set[str]:
    """The services that compose starts with these profiles; those without a profile always."""
    return {name for name, one in SERVICES.items() if not one.get("profiles") or set(one["profiles"]) & set(profiles)}


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def beside_python(name: str) -> Path:
    """An executable of the test extra; it lies where the interpreter does."""
    return Path(sys.executable).with_name(name)


def images() -> Iterator[str]:
    for name in ENGINES:
        yield find_engine(name).image
    for service in SERVICES.values():
        yield service["image"]
    for path in DOCKERFILES:
        text = path.read_text(encoding="utf-8")
        defaults = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.M))
        for image in re.findall(r"^FROM (\S+)", text, re.M):
            argument = re.fullmatch(r"\$\{(\w+)\}", image)
            yield defaults[argument[1]] if argument else image


def test_the_committed_file_is_what_the_catalogue_renders() -> None:
    assert render(ROOT).text == COMMITTED, "run `wardround compose --out compose.yaml`"


@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_it_validates_against_the_compose_specification(engine: EngineName | None, tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(render(tmp_path, engine=engine).text, encoding="utf-8")
    command = [str(beside_python("check-jsonschema")), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_have_no_lint(path: Path) -> None:
    done = subprocess.run([beside_python("hadolint"), path], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_is_pinned_to_a_version() -> None:
    found = list(images())
    assert len(found) > 10
    assert [image for image in found if not re.search(r":[\w.-]*\d[\w.-]*$", image) or "latest" in image] == []


def test_every_published_port_is_bound_to_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(served_models()) + 6
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


def test_no_port_is_published_twice() -> None:
    published = Counter(port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", []))
    assert [port for port, times in published.items() if times > 1] == []


@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_no_container_may_do_more_than_it_must(engine: EngineName | None) -> None:
    for name, service in rendered(engine=engine).items():
        assert not service.get("privileged"), name
        assert "network_mode" not in service, name
        assert "cap_add" not in service or service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name


def test_the_embedded_server_runs_without_rights_and_cannot_write() -> None:
    embedded = SERVICES["embedded"]
    assert (embedded["read_only"], embedded["cap_drop"], embedded["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    dockerfile = (ROOT / "servers" / "baseline" / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\S+)", dockerfile, re.M) == ["10001:10001"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_an_image_of_ours_runs_as_nobody_and_says_how_it_is(path: Path) -> None:
    last = path.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last, re.M) == ["10001:10001"]
    assert len(re.findall(r"^HEALTHCHECK ", last, re.M)) == 1


def test_the_example_of_an_environment_sets_nothing_and_holds_no_key() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []
    keys = [line for line in lines if re.match(r"#\w*KEY=", line)]
    assert len(keys) == 5
    assert [line for line in keys if not line.endswith("=")] == []


@pytest.mark.parametrize("engine", [None, *ENGINES])
def test_no_secret_stands_in_the_file(engine: EngineName | None) -> None:
    text = render(ROOT, engine=engine).text
    assert not re.search(r"hf_[A-Za-z0-9]{8,}", text)
    secretive = re.compile(r"(API_KEY|TOKEN|PASSWORD|SECRET)$")
    for name, service in parsed(text)["services"].items():
        for variable, value in (service.get("environment") or {}).items():
            # Null is taken over from .env or the shell.
            assert not secretive.search(variable) or value is None, f"{name}: {variable}"


def test_the_token_is_a_file_and_no_variable() -> None:
    content = parsed(COMMITTED)
    assert content["secrets"] == {"hf_token": {"file": "${HF_TOKEN_FILE:-/dev/null}"}}
    for one in served_models():
        service = SERVICES[one.name]
        assert service["secrets"] == ["hf_token"]
        assert service["environment"]["HF_TOKEN_PATH"] == "/run/secrets/hf_token"
        assert "HF_TOKEN" not in service["environment"]


def test_without_a_profile_only_the_embedded_server_starts() -> None:
    assert started_by() == {"embedded"}


def test_every_model_that_is_served_is_a_service_with_a_profile_of_its_name() -> None:
    for one in served_models():
        assert started_by(one.name) == {"embedded", one.name}


@pytest.mark.parametrize("profile", ["embed", "scale", "umls", "observe"])
def test_what_stands_beside_the_models_has_a_profile(profile: str) -> None:
    services = {"embed": {"embed"}, "scale": {"qdrant"}, "umls": {"umls"}, "observe": {"prometheus", "grafana"}}
    assert started_by(profile) == {"embedded"} | services[profile]


@pytest.mark.parametrize("pair", PAPERS, ids="/".join)
def test_each_of_the_papers_pairs_is_two_profiles_away(pair: tuple[str, str]) -> None:
    assert pair in PAIRS
    assert started_by(*pair) == {"embedded", *pair}


@pytest.mark.parametrize("name", [one.name for one in served_models() if one.model.counterparts])
def test_a_biomedical_model_and_its_first_counterpart_are_one_profile_away(name: str) -> None:
    assert started_by(f"pair-{name}") == {"embedded", name, find_model(name).counterparts[0]}


def default_gpus(service: dict[str, Any]) -> set[str]:
    (found,) = re.findall(r":-([\d,]+)\}", service["environment"]["CUDA_VISIBLE_DEVICES"])
    return set(found.split(","))


@pytest.mark.parametrize("name", [one.name for one in served_models() if one.model.counterparts])
def test_the_two_of_a_pair_share_no_gpu(name: str) -> None:
    pair = [SERVICES[name], SERVICES[find_model(name).counterparts[0]]]
    own, other = map(default_gpus, pair)
    assert not own & other
    assert [str(len(own)), str(len(other))] == [option(one["command"], "--tensor-parallel-size") for one in pair]


@pytest.mark.parametrize("one", served_models(), ids=lambda one: one.name)
def test_a_model_is_served_by_both_its_names_where_the_client_asks(one: Any) -> None:
    command = SERVICES[one.name]["command"]
    names = command[command.index("--served-model-name") + 1 :][:2]
    assert names == [one.model.served_as, one.name]
    (port,) = SERVICES[one.name]["ports"]
    asked = as_composed(one.model)
    assert asked.base_url == f"http://127.0.0.1:{port.split(':')[1]}/v1"
    assert asked.served_name in names
    (context,) = re.findall(r":-(\d+)\}", option(command, "--max-model-len"))
    assert asked.context is not None
    assert asked.context <= int(context)


def test_a_model_is_downloaded_by_its_id_at_its_revision() -> None:
    command = SERVICES["llama-3-8b-instruct"]["command"]
    assert command[0] == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert option(command, "--revision") == option(command, "--tokenizer-revision")
    assert re.fullmatch(r"[0-9a-f]{40}", option(command, "--revision"))


def test_engines_are_started_as_a_comparison_needs_them() -> None:
    for one in served_models():
        command = SERVICES[one.name]["command"]
        assert option(command, "--generation-config") == "vllm"
        assert option(command, "--gpu-memory-utilization") == "${GPU_MEMORY_UTILIZATION:-0.9}"
        assert "--enable-prefix-caching" in command
        assert "--quantization" not in command


def test_a_template_of_a_row_is_mounted_and_used() -> None:
    command = SERVICES["openbiollm-8b"]["command"]
    assert option(command, "--chat-template") == "/templates/llama-3.jinja"
    assert "./servers/templates:/templates:ro" in SERVICES["openbiollm-8b"]["volumes"]
    assert (ROOT / "servers" / "templates" / "llama-3.jinja").is_file()


def test_base_models_are_given_no_template() -> None:
    assert find_model("llama-3-8b").chat_template == "plain"
    assert "--chat-template" not in SERVICES["llama-3-8b"]["command"]


def test_a_first_start_may_take_as_long_as_a_download() -> None:
    for one in served_models():
        assert SERVICES[one.name]["healthcheck"]["start_period"] == "${START_PERIOD:-30m}"
        assert SERVICES[one.name]["restart"] == "unless-stopped"


def test_gpus_are_reserved_by_number_and_chosen_by_id_from_the_environment() -> None:
    service = SERVICES["openbiollm-8b"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "${GPU_COUNT:-all}", "capabilities": ["gpu"]}
    assert service["environment"]["CUDA_VISIBLE_DEVICES"] == "${OPENBIOLLM_8B_GPUS:-1}"


def test_every_variable_is_explained_in_the_example() -> None:
    texts = [render(ROOT, engine=engine).text for engine in (None, *ENGINES)]
    used = {name for text in texts for name in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)", text)}
    used |= {name for text in texts for name in re.findall(r"^ +([A-Z_]+): #", text, re.M)}
    general = {name for name in used if not re.search(r"_(GPUS|CONTEXT)$", name)}
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    explained = set(re.findall(r"^#?([A-Z0-9_]+)=", example, re.M))
    assert general <= explained
    assert {name for name in explained if name.endswith(("_GPUS", "_CONTEXT"))} <= used


def test_the_volumes_that_are_used_are_declared() -> None:
    for engine in (None, *ENGINES):
        content = parsed(render(ROOT, engine=engine).text)
        mounted = [volume for one in content["services"].values() for volume in one.get("volumes", [])]
        named = {volume.partition(":")[0] for volume in mounted if re.match(r"[a-z]", volume)}
        assert named <= content["volumes"].keys()


def test_what_is_mounted_from_the_checkout_is_there_and_read_only() -> None:
    mounted = {volume for one in SERVICES.values() for volume in one.get("volumes", []) if volume.startswith("./")}
    assert len(mounted) == 4
    for volume in mounted:
        source, _, mode = volume.split(":")
        assert mode == "ro"
        assert (ROOT / source).exists(), source


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_can_serve_all_models(engine: EngineName) -> None:
    services = rendered(engine=engine)
    for one in served_models():
        assert services[one.name]["image"] == find_engine(engine).image
        assert services[one.name]["ports"] == SERVICES[one.name]["ports"]


def test_a_context_for_each_slot_is_asked_of_llama_cpp() -> None:
    command = rendered(engine="llamacpp")["llama-3-8b-instruct"]["command"]
    assert int(option(command, "--ctx-size")) == 8192 * int(option(command, "--parallel"))
    assert option(command, "--model") == "/gguf/llama-3-8b-instruct.gguf"


def test_tgi_keeps_room_for_an_answer() -> None:
    command = rendered(engine="tgi")["llama-3-8b-instruct"]["command"]
    assert (option(command, "--max-total-tokens"), option(command, "--max-input-tokens")) == ("8192", "8191")


def test_ollama_is_told_the_context_that_it_would_else_cut_to() -> None:
    environment = rendered(engine="ollama")["llama-3-8b-instruct"]["environment"]
    assert environment["OLLAMA_CONTEXT_LENGTH"] == "${LLAMA_3_8B_INSTRUCT_CONTEXT:-8192}"


def test_larger_cards_are_fewer() -> None:
    command = rendered(gpu_gb=141)["llama-3-70b-instruct"]["command"]
    assert option(command, "--tensor-parallel-size") == "2"


def test_a_quantized_model_takes_fewer_cards_and_says_so() -> None:
    services = rendered(gpu_gb=141, fp8=["llama-3-70b-instruct"])
    command = services["llama-3-70b-instruct"]["command"]
    assert (option(command, "--quantization"), option(command, "--tensor-parallel-size")) == ("fp8", "1")
    assert "--quantization" not in services["openbiollm-70b"]["command"]


def test_what_the_cards_do_not_hold_is_left_out_and_named() -> None:
    rendering = render(ROOT, gpu_gb=80, most_gpus=1)
    assert "llama-3-70b-instruct" in rendering.left_out
    services = parsed(rendering.text)["services"]
    assert services.keys() & set(rendering.left_out) == set()
    assert "llama-3-8b-instruct" in services


def test_a_biomedical_model_whose_counterpart_does_not_fit_begins_with_the_first_gpu() -> None:
    services = rendered(gpu_gb=80, most_gpus=1, fp8=["gemma-3-27b-meditronfo"])
    assert "gemma-3-27b-it" not in services
    assert default_gpus(services["gemma-3-27b-meditronfo"]) == {"0"}


def test_an_unknown_model_cannot_be_quantized() -> None:
    with pytest.raises(CatalogueError, match="'llama-3-70b' is no model"):
        render(ROOT, fp8=["llama-3-70b"])


def test_paths_are_relative_to_where_the_file_lies(tmp_path: Path) -> None:
    folder = ROOT / "studies"
    volumes = parsed(render(folder).text)["services"]["prometheus"]["volumes"]
    assert volumes[0].startswith("../servers/observe/")
    assert (tmp_path / parsed(render(tmp_path).text)["services"]["embedded"]["build"]["context"]).resolve() == ROOT


def test_baselines_are_no_services_of_their_own() -> None:
    assert {name for name, model in catalogue().items() if model.group == "baseline"} & SERVICES.keys() == set()


def test_only_what_the_image_is_built_of_gets_into_a_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    dockerfile = (ROOT / "servers" / "baseline" / "Dockerfile").read_text(encoding="utf-8")
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.M) for word in line.split()}
    assert copied == let_in
