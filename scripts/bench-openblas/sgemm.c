//go:build ignore

// sgemm measures OpenBLAS: C = A·Bᵀ for square float32 matrices, best of the
// repetitions, one line per size in the format of Go benchmarks.
//
//   cc -O2 -o sgemm sgemm.c -lopenblas && OPENBLAS_NUM_THREADS=2 ./sgemm 3 1024 2048
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int argc, char **argv) {
	int repeats = argc > 1 ? atoi(argv[1]) : 0;
	if (repeats < 1 || argc < 3) {
		fprintf(stderr, "usage: %s REPEATS SIZE...\n", argv[0]);
		return 2;
	}
	for (int s = 2; s < argc; s++) {
		long n = atol(argv[s]);
		float *a = malloc(n * n * 4), *b = malloc(n * n * 4), *c = malloc(n * n * 4);
		if (n < 1 || !a || !b || !c) {
			fprintf(stderr, "size %s: cannot be allocated\n", argv[s]);
			return 1;
		}
		for (long i = 0; i < n * n; i++) {
			a[i] = i % 17 * 0.25f - 2;
			b[i] = i % 13 * 0.25f - 1.5f;
			c[i] = 0;
		}
		double best = 1e30;
		for (int r = 0; r <= repeats; r++) { // the first run warms up
			double t = now();
			cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1, a, n, b, n, 0, c, n);
			t = now() - t;
			if (r > 0 && t < best) best = t;
		}
		printf("OpenBLAS/%ld\t%d\t%.0f ns/op\t%.1f GFLOP/s\n", n, repeats, best * 1e9, 2e-9 * n * n * n / best);
		free(a), free(b), free(c);
	}
}
