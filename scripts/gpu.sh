#!/usr/bin/env bash
# Everything that needs a GPU, in one go, on a machine with a driver but without
# Go and without a network.
#
#	scripts/gpu.sh pack DIR       here: builds what is carried there, into DIR
#	DIR/gpu.sh run                there: results go to $OUT (default ./gpu-results)
#
# The order: correctness of every kernel against the float64 reference; the same
# once under compute-sanitizer; the ceilings and all timings (configs/kernels-gpu.yaml);
# a profile. A step that fails is reported, and the next one runs; the exit status
# is that of correctness. What is missing on the machine (compute-sanitizer, ncu,
# cuBLAS) is said in summary.txt, never silently left out. cuBLAS is looked for
# beside the toolkit and inside PyTorch.
#
# GPU_DRY=1 runs small matrices only, as on the fake driver. GPU_STEPS names the
# steps to run. GPU_SECONDS bounds the timings; bench resumes where it was stopped.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

pack() {
	set -e
	mkdir -p "$1"
	local dir
	dir=$(cd "$1" && pwd)
	cd "$here/.."
	eval "$(scripts/cuda-env)"
	go build -tags cuda -trimpath -ldflags=-s -o "$dir/mosaicquant" ./experiments
	go test -tags cuda -trimpath -ldflags=-s -c -o "$dir/driver.test" ./zipper/cuda/driver
	go test -tags cuda -trimpath -ldflags=-s -c -o "$dir/cuda.test" ./zipper/cuda
	cp configs/kernels-gpu.yaml configs/kernels-gpu-smoke.yaml scripts/gpu.sh "$dir/"
	git rev-parse HEAD >"$dir/commit"
	du -sh "$dir"
}

say() { echo "$*" | tee -a "$OUT/summary.txt"; }

# step NAME SECONDS COMMAND... runs a command with a limit and says how it went.
step() {
	local name=$1 limit=$2 start=$SECONDS status
	shift 2
	case " $GPU_STEPS " in *" $name "*) ;; *) return 0 ;; esac
	timeout -k 10 "$limit" "$@" >"$OUT/$name.log" 2>&1
	status=$?
	case $status in
	0) say "$name: ok ($((SECONDS - start)) s)" ;;
	124 | 137) say "$name: STOPPED after $limit s; $name.log has what there was" ;;
	*) say "$name: FAILED, exit $status ($((SECONDS - start)) s): $(tail -1 "$OUT/$name.log" | cut -c1-200)" ;;
	esac
	return $status
}

# libraries adds the folders of cuBLAS to the loader's path.
libraries() {
	local d
	for d in /usr/local/cuda/lib64 /usr/local/nvidia/lib64 $(python3 -c '
import glob, os, site, sys
for base in sys.path + site.getsitepackages():
    for f in glob.glob(os.path.join(base, "nvidia", "*", "lib")) + glob.glob(os.path.join(base, "torch", "lib")):
        print(f)
' 2>/dev/null | sort -u); do
		[ -d "$d" ] && LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$d
	done
	export LD_LIBRARY_PATH
}

tool() { command -v "$1" || ls /usr/local/cuda/bin/"$1" /opt/nvidia/nsight-compute/*/"$1" 2>/dev/null | head -1; }

run() {
	OUT=${OUT:-$PWD/gpu-results}
	mkdir -p "$OUT" && : >"$OUT/summary.txt"
	GPU_STEPS=${GPU_STEPS:-doctor driver correct sanitizer smoke timing profile}
	local config=$here/kernels-gpu.yaml sanitizer ncu worst=0 status
	[ -n "${GPU_DRY:-}" ] && config=$here/kernels-gpu-smoke.yaml
	libraries
	export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$OUT/cache} # tests write no cache; bench wants a folder
	say "commit $(cat "$here/commit" 2>/dev/null || echo unknown)"
	if command -v nvidia-smi >/dev/null; then
		nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu --format=csv >"$OUT/nvidia-smi.csv" 2>&1
		say "$(tail -1 "$OUT/nvidia-smi.csv")"
	else
		say "nvidia-smi: not here"
	fi

	step doctor 120 "$here/mosaicquant" doctor
	grep '^engine cuda' "$OUT/doctor.log" 2>/dev/null | tee -a "$OUT/summary.txt"
	if grep -q 'engaged cpu' "$OUT/doctor.log" 2>/dev/null; then
		say "there is no usable GPU: nothing else is run"
		return 1
	fi

	(cd "$OUT" && step driver 120 "$here/driver.test" -test.v) || worst=1
	# The fake driver takes minutes for all kernels, and runs them in its own check.
	if [ -n "${GPU_DRY:-}" ]; then
		step correct 300 "$here/cuda.test" -test.v -test.run 'TestNotFinite|TestCuBLAS' || worst=1
	else
		step correct 600 "$here/cuda.test" -test.v || worst=1
	fi
	say "correctness: $(grep -c '^--- PASS' "$OUT/correct.log") tests pass, $(grep -c '^--- FAIL' "$OUT/correct.log") fail, $(grep -c '^--- SKIP' "$OUT/correct.log") skipped"

	sanitizer=$(tool compute-sanitizer)
	if [ -n "$sanitizer" ]; then
		step sanitizer 150 "$sanitizer" --tool memcheck --error-exitcode 9 "$here/cuda.test" -test.run 'TestEveryKernel|TestNotFinite'
		status=$?
		cp "$OUT/sanitizer.log" "$OUT/memcheck.log" 2>/dev/null
		[ $status = 0 ] || say "memcheck: see memcheck.log"
		step sanitizer 150 "$sanitizer" --tool racecheck --error-exitcode 9 "$here/cuda.test" -test.run 'TestEveryKernel'
	else
		say "sanitizer: NOT RUN, compute-sanitizer is not here"
	fi

	step smoke 120 "$here/mosaicquant" bench -c "$here/kernels-gpu-smoke.yaml" -o "$OUT/smoke"
	step timing "${GPU_SECONDS:-900}" "$here/mosaicquant" bench -c "$config" -o "$OUT/kernels-gpu"
	[ -f "$OUT/kernels-gpu/rows.jsonl" ] && say "timing: $(grep -c '"status":"ok"' "$OUT/kernels-gpu/rows.jsonl") rows measured, $(grep -c '"status":"failed"' "$OUT/kernels-gpu/rows.jsonl") say why not"
	grep -q 'emulated on the CPU' "$OUT/kernels-gpu/rows.jsonl" 2>/dev/null && say "these kernels were emulated: no figure is one of a GPU"

	ncu=$(tool ncu)
	if [ -n "$ncu" ]; then
		cat >"$OUT/profile.yaml" <<'YAML'
{name: profile, engine: cuda, repeats: 3, cache: rotate, products: [{shapes: llama3-8b/gate_up, scheme: [w4a16, w4a8], tokens: [1, 2048], variants: [dense4, zipper]}]}
YAML
		step profile 300 "$ncu" --set full --launch-skip 60 --launch-count 16 -k regex:'w4a.*' -o "$OUT/profile" "$here/mosaicquant" bench -c "$OUT/profile.yaml" -o "$OUT/profile-rows" --fresh
	else
		say "profile: NOT RUN, ncu is not here"
	fi
	say "done in $SECONDS s; correctness $([ $worst = 0 ] && echo passed || echo FAILED)"
	return $worst
}

case ${1:-} in
pack) pack "${2:?usage: gpu.sh pack DIR}" ;;
run) run ;;
*) sed -n '2,20s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
