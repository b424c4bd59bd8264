#!/bin/sh
# run.sh [THREADS] [ROUNDS] [SIZE...]: our MulNT and OpenBLAS's sgemm in turn,
# so that both see the same state of the machine; best of 3 in every round.
# Needs a C compiler and OpenBLAS (Debian: libopenblas-dev).
# The first lines name the kernel that OpenBLAS has chosen. A release older than
# the CPU may not know it and take a slower one; OPENBLAS_CORETYPE=SkylakeX
# forces AVX-512, which is the fair comparison.
set -eu
threads=${1:-2} rounds=${2:-3}
[ $# -ge 2 ] && shift 2 || shift $#
[ $# -gt 0 ] || set -- 1024 2048 4096
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cc -O2 -o "$tmp/sgemm" sgemm.c -lopenblas
go build -o "$tmp/ours" .
OPENBLAS_VERBOSE=2 "$tmp/sgemm" 1 16 >/dev/null
round=0
while [ $round -lt "$rounds" ]; do
	for n in "$@"; do
		OPENBLAS_NUM_THREADS=$threads "$tmp/sgemm" 3 "$n"
		GOMAXPROCS=$threads "$tmp/ours" 3 "$n"
	done
	round=$((round + 1))
done
