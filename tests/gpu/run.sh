#!/usr/bin/env bash
# Serves a Llama of random weights on a GPU with continuous batching, examines it, runs a small study over it, looks for
# the rate that it carries, and prints a section in Markdown: date, card, versions, figures.
#
#     bash tests/gpu/run.sh                                          vLLM, 1b, on the first GPU
#     ENGINE=transformers MODEL_SIZE=3b bash tests/gpu/run.sh
#     ENGINE=llama-server MODEL_SIZE=tiny DEVICE=cpu SECONDS_A_RATE=3 bash tests/gpu/run.sh       without a GPU
#
# ENGINE          vllm, transformers or llama-server (with tiny only)
# MODEL_SIZE      tiny, small, 1b, 3b or 8b: layers like Llama's of that size
# DEVICE          cuda or cpu
# PYTHON          an interpreter with wardround and its test extra; by default that of .venv
# ENGINE_PYTHON   one with the engine; by default PYTHON, on a CPU that of .engines
# LLAMA_SERVER    llama.cpp's server built for GPUs; without it that of .engines
# SECONDS_A_RATE  how long the sweep stays at each rate
# MOST_RATE       the highest rate of the sweep, requests a second
# SLO             what an answer must keep for a rate to count as carried
# START_S         how long the engine may take to answer
# OUT             a folder: section.md, the engine's log and all results go there; by default they are removed again
set -euo pipefail
cd "$(dirname "$0")/../.."

ENGINE=${ENGINE:-vllm}
MODEL_SIZE=${MODEL_SIZE:-1b}
DEVICE=${DEVICE:-cuda}
SECONDS_A_RATE=${SECONDS_A_RATE:-20}
MOST_RATE=${MOST_RATE:-1000}
SLO=${SLO:-ttft=1s,tpot=100ms}
START_S=${START_S:-600}
if [ -z "${PYTHON:-}" ]; then
  if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi
fi

stop() {
  echo "tests/gpu/run.sh: $1" >&2
  exit 1
}

PYTHON=$(command -v "$PYTHON") || stop "there is no such PYTHON"
# It is called from other folders, too; what it is a link to has no packages.
PYTHON=$(realpath --no-symlinks "$PYTHON")

case $ENGINE in vllm | transformers | llama-server) ;; *) stop "ENGINE is vllm, transformers or llama-server" ;; esac
case $MODEL_SIZE in tiny | small | 1b | 3b | 8b) ;; *) stop "MODEL_SIZE is tiny, small, 1b, 3b or 8b" ;; esac
case $DEVICE in cuda | cpu) ;; *) stop "DEVICE is cuda or cpu" ;; esac
if [ "$ENGINE" = llama-server ] && [ "$MODEL_SIZE" != tiny ]; then
  stop "llama-server reads GGUF, which is written of the tiny model only: MODEL_SIZE=tiny"
fi
if [ "$DEVICE" = cuda ] && ! nvidia-smi >/dev/null 2>&1; then
  stop "nvidia-smi finds no GPU; without one: ENGINE=llama-server MODEL_SIZE=tiny DEVICE=cpu"
fi
if [ -n "${OUT:-}" ] && [ -e "$OUT/run" ]; then stop "$OUT holds the results of an earlier run; name another OUT"; fi
"$PYTHON" -c 'import wardround, tokenizers, safetensors, gguf' 2>/dev/null ||
  stop "$PYTHON lacks wardround or its test extra: pip install '.[test]', or name another with PYTHON"
if [ "$ENGINE" != llama-server ]; then
  engine_python=$("$PYTHON" -c "from tests.gpu.serve import interpreter; print(interpreter('$DEVICE'))")
  "$engine_python" -c "import importlib.util as i, sys; sys.exit(not i.find_spec('$ENGINE'))" 2>/dev/null ||
    stop "$engine_python has no $ENGINE: pip install vllm (or 'transformers[serving]' and torch) into an environment of its own and name it with ENGINE_PYTHON"
fi

work=$(mktemp -d)
results=${OUT:-$work/out}
mkdir -p "$results"
results=$(cd "$results" && pwd)
engine=
meter=
finish() {
  # The engine is the leader of its session, and its workers go with it.
  [ -z "$engine" ] || kill -TERM -- "-$engine" 2>/dev/null || true
  [ -z "$meter" ] || kill "$meter" 2>/dev/null || true
  [ -z "$engine" ] || { sleep 1 && kill -KILL -- "-$engine" 2>/dev/null; } || true
  rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ "$MODEL_SIZE" = tiny ]; then
  "$PYTHON" -m tests.engines.tiny "$work/model" >/dev/null
  parameters=139200 context=2048
  model=$work/model/hf
  if [ "$ENGINE" = llama-server ]; then model=$work/model; fi
else
  parameters=$("$PYTHON" -m tests.gpu.larger "$MODEL_SIZE" "$work/model")
  # Long notes on a CPU would take hours.
  context=16384
  if [ "$DEVICE" = cpu ]; then context=2048; fi
  model=$work/model
fi
port=$("$PYTHON" -c 'from tests.engines.serving import free_port; print(free_port())')

setsid "$PYTHON" -m tests.gpu.serve "$ENGINE" "$DEVICE" "$model" "$context" "$port" >"$results/engine.log" 2>&1 &
engine=$!
began=$(date +%s)
until curl --silent --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$port/health" >/dev/null; do
  kill -0 "$engine" 2>/dev/null || { tail -n 20 "$results/engine.log" >&2; stop "$ENGINE ended before it answered"; }
  [ $(($(date +%s) - began)) -lt "$START_S" ] || stop "$ENGINE does not answer after $START_S s; START_S allows more"
  sleep 0.5
done
start_s=$(($(date +%s) - began))

"$PYTHON" -m tests.gpu.study "$ENGINE" "$model" "$context" "$port" >"$results/study.yaml"
cd "$results"
if [ "$DEVICE" = cuda ]; then
  nvidia-smi --query-gpu=name,driver_version,memory.total,memory.used,power.draw,utilization.gpu \
    --format=csv,noheader,nounits --id="${CUDA_VISIBLE_DEVICES:-0}" --loop=1 >"$results/gpu.csv" &
  meter=$!
fi
# A red cell is a finding; only a model that cannot be asked ends it here.
"$PYTHON" -m wardround doctor --study study.yaml >"$results/doctor.txt"
"$PYTHON" -m wardround run study.yaml --out "$results/run" >"$results/run.txt"
"$PYTHON" -m wardround load test larger --study study.yaml --sweep --rate 1 --to-rate "$MOST_RATE" \
  --duration "$SECONDS_A_RATE" --slo "$SLO" --out "$results/load" --json "$results/load.json" >"$results/load.txt"
cd "$OLDPWD"
"$PYTHON" -m tests.gpu.section "$results" "$MODEL_SIZE" "$parameters" "$start_s" | tee "$results/section.md"
