// driver N K M THREADS multiplies a q4_K matrix [N,K] by M tokens with ggml's CPU
// backend. For every line of its input, "plain" or "repacked", it runs one product
// and writes the seconds it took. plain is the layout of files; repacked is what
// llama.cpp turns it into when it loads a model on a CPU that gains by it.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static float uniform(void) { return 2.0f * rand() / RAND_MAX - 1; }

struct product {
    struct ggml_context *ctx;
    struct ggml_tensor *w, *x, *y;
    struct ggml_cgraph *graph;
};

// new_product allocates W in a buffer of type buft, the rest in plain memory.
static struct product new_product(ggml_backend_buffer_type_t buft, int n, int k, int m, const void *weights, const float *tokens) {
    struct ggml_init_params params = {16u << 20, NULL, true};
    struct product p;
    struct ggml_context *wctx = ggml_init(params);
    p.ctx = ggml_init(params);
    p.w = ggml_new_tensor_2d(wctx, GGML_TYPE_Q4_K, k, n);
    p.x = ggml_new_tensor_2d(p.ctx, GGML_TYPE_F32, k, m);
    if (!ggml_backend_alloc_ctx_tensors_from_buft(wctx, buft)) {
        fprintf(stderr, "no memory for the weights\n");
        exit(1);
    }
    p.y = ggml_mul_mat(p.ctx, p.w, p.x);
    ggml_backend_alloc_ctx_tensors_from_buft(p.ctx, ggml_backend_cpu_buffer_type());
    ggml_backend_tensor_set(p.w, weights, 0, ggml_nbytes(p.w));
    ggml_backend_tensor_set(p.x, tokens, 0, ggml_nbytes(p.x));
    p.graph = ggml_new_graph(p.ctx);
    ggml_build_forward_expand(p.graph, p.y);
    return p;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: driver N K M THREADS\n");
        return 2;
    }
    int n = atoi(argv[1]), k = atoi(argv[2]), m = atoi(argv[3]), threads = atoi(argv[4]);
    if (n < 1 || k < 1 || m < 1 || threads < 1 || k % ggml_blck_size(GGML_TYPE_Q4_K)) {
        fprintf(stderr, "driver: impossible shape %dx%d, %d tokens, %d threads\n", n, k, m, threads);
        return 2;
    }
    // 16 rows are quantized and repeated: time does not depend on values.
    const int rows = 16;
    size_t row = ggml_row_size(GGML_TYPE_Q4_K, k);
    float *source = malloc(sizeof(float) * rows * k), *tokens = malloc(sizeof(float) * (size_t)m * k);
    char *weights = malloc(row * n);
    for (int i = 0; i < rows * k; i++) source[i] = uniform();
    for (int i = 0; i < m * k; i++) tokens[i] = uniform();
    char few[rows * row];
    ggml_quantize_chunk(GGML_TYPE_Q4_K, source, few, 0, rows, k, NULL);
    for (int i = 0; i < n; i++) memcpy(weights + i * row, few + i % rows * row, row);

    ggml_backend_t cpu = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(cpu, threads);
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    struct ggml_threadpool *pool = ggml_threadpool_new(&params);
    ggml_backend_cpu_set_threadpool(cpu, pool);

    struct product plain = new_product(ggml_backend_cpu_buffer_type(), n, k, m, weights, tokens);
    ggml_backend_dev_t dev = ggml_backend_get_device(cpu);
    ggml_backend_dev_get_extra_bufts_t extra = (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(dev), "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t repack = NULL;
    if (extra) {
        for (ggml_backend_buffer_type_t *b = extra(dev); b && *b; b++) {
            if (strstr(ggml_backend_buft_name(*b), "REPACK")) repack = *b;
        }
    }
    struct product other = {0};
    if (repack) other = new_product(repack, n, k, m, weights, tokens);

    // Both must give the same product.
    float *a = malloc(sizeof(float) * (size_t)m * n), *b = malloc(sizeof(float) * (size_t)m * n);
    ggml_backend_graph_compute(cpu, plain.graph);
    ggml_backend_tensor_get(plain.y, a, 0, ggml_nbytes(plain.y));
    if (repack) {
        ggml_backend_graph_compute(cpu, other.graph);
        ggml_backend_tensor_get(other.y, b, 0, ggml_nbytes(other.y));
        double lost = 0, total = 0;
        for (size_t i = 0; i < (size_t)m * n; i++) {
            lost += (a[i] - b[i]) * (double)(a[i] - b[i]);
            total += a[i] * (double)a[i];
        }
        if (!(lost < 1e-6 * total)) {
            fprintf(stderr, "driver: plain and repacked differ: %g of %g\n", lost, total);
            return 1;
        }
    }
    // A small product wakes the threads before each measured one.
    struct product wake = new_product(ggml_backend_cpu_buffer_type(), 64, k, 1, weights, tokens);
    ggml_threadpool_pause(pool);
    printf("ready %zu %s\n", ggml_nbytes(plain.w), repack ? "plain repacked" : "plain");
    fflush(stdout);

    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        struct product *p = !strcmp(line, "plain\n") ? &plain : repack && !strcmp(line, "repacked\n") ? &other : NULL;
        if (!p) {
            fprintf(stderr, "driver: cannot run %s", line);
            return 2;
        }
        ggml_threadpool_resume(pool); // its threads spin between products, and would disturb others
        for (int i = 0; i < 50; i++) ggml_backend_graph_compute(cpu, wake.graph);
        double start = now();
        enum ggml_status status = ggml_backend_graph_compute(cpu, p->graph);
        double took = now() - start;
        ggml_threadpool_pause(pool);
        if (status != GGML_STATUS_SUCCESS) return 1;
        printf("%.9f\n", took);
        fflush(stdout);
    }
    return 0;
}
