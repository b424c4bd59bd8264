#!/usr/bin/env bash
# Everything that needs a GPU, in parts of at most eight minutes, on a machine with
# a driver but without Go and without a network.
#
#	scripts/gpu.sh pack DIR       here: builds what is carried there, into DIR
#	scripts/gpu.sh parts          lists the parts
#	DIR/gpu.sh run PART...        there: results go to $OUT (default ./gpu-results)
#
# What comes back is one file, $OUT/results.tar.gz. Laid beside gpu.sh in DIR, it is
# unpacked before the next part, so that rows come together in one folder, and a part
# that was stopped goes on: `bench` measures again only what another program, or
# another device, has measured. So pack once, and keep DIR.
#
# A step that fails is reported, and the next one runs; the exit status is that of
# correctness. What is missing on the machine (compute-sanitizer, ncu, cuBLAS) is
# said in summary.txt, never silently left out. cuBLAS is looked for beside the
# toolkit and inside PyTorch.
#
# GPU_DRY=1 runs next to nothing of each part, for the fake driver.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# part: limit in seconds, what it does
parts() {
	cat <<'PARTS'
correct  450  every kernel against the float64 reference, models against the CPU; memcheck and racecheck; a small bench
first    420  gate_up and o of LLaMA-3-8B at M = 1, 16, 128, 2048, all variants
rest     450  all other products of kernels-gpu.yaml; run it again if it was stopped
whole    450  a model of Qwen3-8B's shape, end to end: prompt 2048, 128 tokens, batch 4, 8, 16
profile  420  ncu: the dense and the fused kernel, W4A16 and W4A8, M = 1, 16, 2048
PARTS
}
limit() { parts | awk -v p="$1" '$1 == p { print $2 }'; }

programs=(mosaicquant driver.test cuda.test cudallm.test)

pack() {
	set -e
	mkdir -p "$1"
	local dir
	dir=$(cd "$1" && pwd)
	cd "$here/.."
	eval "$(scripts/cuda-env)"
	# The kernels' images lie in the programs without compression: xz shrinks them to less
	# than half of what gzip does, since they have much in common.
	local images=$dir/images
	mkdir -p "$images"
	go run ./scripts/plain-images "$images" >"$images/overlay.json"
	local flags=(-tags cuda,nomodels -trimpath -ldflags="-s -w" -overlay "$images/overlay.json")
	go build "${flags[@]}" -o "$dir/mosaicquant" ./experiments
	go test "${flags[@]}" -c -o "$dir/driver.test" ./zipper/cuda/driver
	go test "${flags[@]}" -c -o "$dir/cuda.test" ./zipper/cuda
	go test "${flags[@]}" -c -o "$dir/cudallm.test" ./internal/cudallm
	# In one archive: the programs have much in common.
	tar -C "$dir" -cf - "${programs[@]}" | xz -9 >"$dir/programs.tar.xz"
	(cd "$dir" && rm -r images "${programs[@]}")
	cp configs/kernels-gpu*.yaml scripts/gpu.sh "$dir/"
	git rev-parse HEAD >"$dir/commit"
	du -sh --apparent-size "$dir"
}

# unpack makes the programs, once.
unpack() {
	local new
	[ -x "$here/${programs[0]}" ] && return
	new=$(mktemp -d "$here/new.XXXX") || return 1
	xz -dc "$here/programs.tar.xz" 2>/dev/null | tar -xf - -C "$new" 2>/dev/null ||
		python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$here/programs.tar.xz" "$new" ||
		{ say "cannot unpack programs.tar.xz: neither xz nor python3 with lzma is here"; return 1; }
	mv "$new"/* "$here/" && rmdir "$new"
}

say() { echo "$*" | tee -a "$OUT/summary.txt"; }

# step NAME SECONDS COMMAND... runs a command with a limit, within that of its part,
# and says how it went.
step() {
	local name=$1 limit=$2 start=$SECONDS status left
	shift 2
	left=$((deadline - SECONDS))
	if [ "$left" -lt 5 ]; then say "$name: NOT RUN, the part's time is up"; return 3; fi
	[ "$limit" -gt "$left" ] && limit=$left
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

correct() {
	local sanitizer
	(cd "$OUT" && step driver 60 "$here/driver.test" -test.v) || worst=1
	# The fake driver takes minutes for all kernels, and runs them in its own check.
	if [ -n "${GPU_DRY:-}" ]; then
		step correct 300 "$here/cuda.test" -test.v -test.run 'TestNotFinite|TestCuBLAS' || worst=1
		step models 300 "$here/cudallm.test" -test.v -test.run 'TestRepeat' || worst=1
	else
		step correct 200 "$here/cuda.test" -test.v || worst=1
		step models 100 "$here/cudallm.test" -test.v || worst=1
	fi
	say "correctness: $(grep -c '^--- PASS' "$OUT/correct.log") tests pass, $(grep -c '^--- FAIL' "$OUT/correct.log") fail, $(grep -c '^--- SKIP' "$OUT/correct.log") skipped"
	if [ -z "${GPU_DRY:-}" ]; then
		step smoke 60 "$here/mosaicquant" bench -c "$here/kernels-gpu-smoke.yaml" -o "$OUT/smoke" || worst=1
	fi
	sanitizer=$(tool compute-sanitizer)
	if [ -n "$sanitizer" ]; then
		local parts='TestNorm|TestSwiGLU|TestAttention|TestEmbedAndGreedy'
		step memcheck 120 "$sanitizer" --tool memcheck --error-exitcode 9 "$here/cuda.test" -test.run "TestEveryKernel|TestNotFinite|$parts"
		step racecheck 120 "$sanitizer" --tool racecheck --error-exitcode 9 "$here/cuda.test" -test.run "TestEveryKernel|$parts"
	else
		say "memcheck, racecheck: NOT RUN, compute-sanitizer is not here"
	fi
}

# whole measures a model end to end, into a folder of its own.
whole() {
	local rows=$OUT/end-to-end/rows.jsonl config=$here/kernels-gpu-end-to-end.yaml
	if [ -n "${GPU_DRY:-}" ]; then
		config=$OUT/dry-whole.yaml
		echo '{name: kernels-gpu-end-to-end, engine: cuda, generate: [{model: "random:tiny", prompt: 5, tokens: 3, repeats: 3, batch: [1, 2], group: 64, block: 16x16, variants: [w16a16, zipper]}]}' >"$config"
	fi
	step whole 450 "$here/mosaicquant" bench -c "$config" -o "$OUT/end-to-end"
	[ -f "$rows" ] && say "whole: $(grep -c '"status":"ok"' "$rows") rows measured, $(grep -c '"status":"failed"' "$rows") say why not"
	grep -h -E '^random:|  all ' "$OUT/whole.log" 2>/dev/null | sed 's/ *decode .*//' | tee -a "$OUT/summary.txt"
	grep -q 'emulated on the CPU' "$rows" 2>/dev/null && say "these kernels were emulated: no figure is one of a GPU"
}

# dry prints the path of a bench file that takes the fake driver seconds.
dry() {
	echo "$OUT/dry.yaml"
	echo '{name: kernels-gpu, engine: cuda, repeats: 3, cache: rotate, products: [{shapes: 32x128, scheme: [w4a16, w4a8], density: 20%, block: 16x16, variants: [dense4, zipper]}]}' >"$OUT/dry.yaml"
}

# timing NAME CONFIG measures into the folder that all parts share.
timing() {
	local rows=$OUT/kernels-gpu/rows.jsonl
	local config=$here/$2
	[ -n "${GPU_DRY:-}" ] && config=$(dry)
	step "$1" 600 "$here/mosaicquant" bench -c "$config" -o "$OUT/kernels-gpu"
	[ -f "$rows" ] && say "$1: $(grep -c '"status":"ok"' "$rows") rows measured, $(grep -c '"status":"failed"' "$rows") say why not"
	grep -q 'emulated on the CPU' "$rows" 2>/dev/null && say "these kernels were emulated: no figure is one of a GPU"
}

profile() {
	local ncu config=$here/kernels-gpu-profile.yaml
	ncu=$(tool ncu)
	[ -n "${GPU_DRY:-}" ] && config=$(dry)
	# Once without the profiler: its log says in which order what runs, with M.
	step launches 60 "$here/mosaicquant" bench --profile -c "$config"
	if [ -z "$ncu" ]; then say "profile: NOT RUN, ncu is not here"; return; fi
	step profile 400 "$ncu" --set full --clock-control none --profile-from-start off -k regex:'w4a.*_(dense|zip)(128)?_.*' \
		-f -o "$OUT/profile" "$here/mosaicquant" bench --profile -c "$config"
	step profile-text 60 "$ncu" --import "$OUT/profile.ncu-rep" --page details
}

run() {
	local part worst=0
	OUT=${OUT:-$PWD/gpu-results}
	for part in "$@"; do
		[ -n "$(limit "$part")" ] || { echo "no part $part; there are:"; parts; exit 2; }
	done
	mkdir -p "$OUT"
	OUT=$(cd "$OUT" && pwd)
	if [ -f "$here/results.tar.gz" ]; then tar -xzf "$here/results.tar.gz" -C "$OUT"; fi
	unpack || exit 1
	libraries
	export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$OUT/cache} # tests write no cache; bench wants a folder
	deadline=$((SECONDS + 60))
	say "commit $(cat "$here/commit" 2>/dev/null || echo unknown), $(date -u +%FT%TZ), parts: $*"
	clocks before
	step doctor 60 "$here/mosaicquant" doctor
	grep '^engine cuda' "$OUT/doctor.log" | tee -a "$OUT/summary.txt"
	if grep -q 'engaged cpu' "$OUT/doctor.log"; then
		say "there is no usable GPU: nothing else is run"
		worst=1
		set --
	fi
	for part in "$@"; do
		local start=$SECONDS
		deadline=$((SECONDS + $(limit "$part")))
		case $part in
		first) timing first kernels-gpu-first.yaml ;;
		rest) timing rest kernels-gpu.yaml ;;
		*) "$part" ;;
		esac
		say "part $part: $((SECONDS - start)) s of $(limit "$part")"
	done
	clocks after
	say "done in $SECONDS s; correctness $([ $worst = 0 ] && echo passed || echo FAILED)"
	local all
	all=$(mktemp) && (cd "$OUT" && tar --exclude=cache --exclude=results.tar.gz -czf "$all" -- *) && mv "$all" "$OUT/results.tar.gz" && chmod 644 "$OUT/results.tar.gz" || return 1
	find "$OUT" -mindepth 1 -maxdepth 1 ! -name results.tar.gz ! -name summary.txt -exec rm -rf {} +
	return $worst
}

# clocks notes what nvidia-smi says.
clocks() {
	if command -v nvidia-smi >/dev/null; then
		nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu --format=csv >"$OUT/nvidia-smi.$1.csv" 2>&1
		say "$1: $(tail -1 "$OUT/nvidia-smi.$1.csv")"
	else
		say "$1: nvidia-smi is not here"
	fi
}

case ${1:-} in
pack) pack "${2:?usage: gpu.sh pack DIR}" ;;
parts) parts ;;
run) shift && run "${@:?usage: gpu.sh run PART...}" ;;
*) sed -n '2,22s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
