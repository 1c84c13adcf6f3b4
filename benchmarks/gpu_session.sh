#!/usr/bin/env bash
# One sitting on a machine with a GPU, with the jax that it has and without a network:
#   benchmarks/gpu_session.sh OUT                  # at most MINUTES=9
# Doctor, reference vectors and tests of updates; the fused step's kernels against the plain form; updates per second of
# one and five seeds beside what was predicted, and with the fused step; a profile; XLA's switches in turn; then 12m learns
# walker-walk for the minutes that are left. Every part writes OUT/PART.log as it goes, and OUT/session.jsonl has a line
# when it ends: what was cut off keeps what it has. The parts' limits add up to eight minutes, so that one is left to learn.
#   PYTHON   the interpreter with jax (python3)      WHEELS   a folder of wheels to install the other packages from
#   TINY=1   an agent of a few units: tries the path, on a CPU too; without it a machine where jax has no GPU is refused
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:?usage: benchmarks/gpu_session.sh OUT}" && cd "$1" && pwd)
python=${PYTHON:-python3}
minutes=${MINUTES:-9}
tiny=${TINY:+--tiny}
export PYTHONPATH="$PWD/src:$out/packages${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
end=$(($(date +%s) + minutes * 60))

# Where it is unset, tests would compute on the CPU (tests/conftest.py); where it is empty, JAX chooses.
export JAX_PLATFORMS="${JAX_PLATFORMS-}"
backend=$("$python" -c 'import jax; print(jax.default_backend())') || exit 1
if [ "$backend" != gpu ] && [ -z "$tiny" ]; then
  echo "jax computes on $backend here: install jax with CUDA, or try the path with TINY=1" >&2
  exit 1
fi

# Parts that compile the same program need not do it again; XLA's switches make it another one.
export JAX_COMPILATION_CACHE_DIR="$out/compiled" JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

left() { echo $((end - $(date +%s))); }

# part NAME SECONDS COMMAND…: runs it for at most so long, and no longer than is left
part() {
  local name=$1 limit=$2 begun status
  shift 2
  [ -n "${TINY:-}" ] && limit=$((limit * 4)) # a CPU that others share compiles slowly
  [ "$(left)" -lt "$limit" ] && limit=$(left)
  if [ "$limit" -le 5 ]; then
    echo "{\"part\": \"$name\", \"status\": \"no time left\"}" >>"$out/session.jsonl"
    return
  fi
  begun=$(date +%s)
  timeout --signal=INT --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  echo "{\"part\": \"$name\", \"status\": $status, \"seconds\": $(($(date +%s) - begun))}" | tee -a "$out/session.jsonl"
}

updates() { # NAME SECONDS FLAGS…
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$python" benchmarks/gpu_updates.py ${tiny:+$tiny --seconds 0.2 --count 1} \
    --out "$out/updates.jsonl" --label "$name" "$@"
}

if [ -n "${WHEELS:-}" ]; then
  part packages 20 "$python" -m pip install --quiet --no-index --find-links "$WHEELS" --no-deps --target "$out/packages" "$WHEELS"/*.whl
fi
part device 5 nvidia-smi
part doctor 20 "$python" -m sobolev doctor
tests="tests/agents/dreamer/test_reference_vectors.py tests/agents/dreamer/test_forms.py tests/agents/dreamer/test_updates.py"
# Usually a GPU multiplies float32 with the 10 bits of TF32: too few for reference vectors, and to compare forms.
pytest=(env JAX_DEFAULT_MATMUL_PRECISION=highest "$python" -m pytest -q -p no:cacheprovider)
part tests 60 "${pytest[@]}" ${TINY:+-k draws} $tests
part fused-tests 45 "${pytest[@]}" ${TINY:+-k draw} tests/agents/dreamer/test_fused.py

updates gpld 65 --profile
updates gpld-fused 60 --form fused --profile
updates gpld-seeds 55 --seeds 5
updates dsdpg 30 --method dsdpg
updates dsdpg-seeds 30 --method dsdpg --seeds 5

buffers="FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,DYNAMIC_SLICE_FUSION"
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_command_buffer=$buffers,WHILE,CONDITIONAL --xla_gpu_graph_min_graph_size=2" \
  updates command-buffers-with-loops 30
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_command_buffer=" updates no-command-buffers 30
XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true" updates latency-hiding 30

rest=$(($(left) - 15))
if [ -n "${TINY:-}" ]; then
  settings="--preset laptop --batch-size 2 --batch-length 8 --behavior.horizon 3 --model.deter 64 --model.hidden 16 --model.units 16 --env.workers 0 --steps 400 --evaluation.every 200 --log.no-tensorboard"
  part learning "$rest" "$python" -m sobolev train toy:point-mass $settings --run "$out/run"
else
  part learning "$rest" "$python" -m sobolev train walker-walk --size 12m --run "$out/run"
fi
echo "written: $out/session.jsonl, $out/updates.jsonl, and a log for each part"
