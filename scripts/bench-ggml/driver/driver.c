// driver N K M THREADS TYPE... multiplies matrices [N,K] of the given types by M tokens
// with ggml's CPU backend. It says "ready" and its version, then, on a line each, what it
// has: a type, a layout and the bytes of the weights, and at last "go". For every line of
// its input, a type and a layout, it runs one product and writes the seconds it took.
// plain is the layout of files; repacked is what llama.cpp turns it into when it loads a
// model on a CPU that gains by it.
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

// quiet drops what ggml says of tensors that it repacks.
static void quiet(enum ggml_log_level level, const char *text, void *user) {
    if (level == GGML_LOG_LEVEL_ERROR) fputs(text, stderr);
    (void)user;
}

static float uniform(void) { return 2.0f * rand() / RAND_MAX - 1; }

struct product {
    struct ggml_context *ctx;
    struct ggml_tensor *w, *x, *y;
    struct ggml_cgraph *graph; // NULL: the layout does not take the type
};

// new_product allocates W in a buffer of type buft, the rest in plain memory.
static struct product new_product(ggml_backend_buffer_type_t buft, int repacks, enum ggml_type type, int n, int k, int m,
                                  const void *weights, const float *tokens) {
    struct ggml_init_params params = {16u << 20, NULL, true};
    struct product p = {0};
    struct ggml_context *wctx = ggml_init(params);
    p.w = ggml_new_tensor_2d(wctx, type, k, n);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors_from_buft(wctx, buft);
    if (!buffer) {
        fprintf(stderr, "driver: no memory for the weights\n");
        exit(1);
    }
    if (repacks && !p.w->extra) {
        ggml_backend_buffer_free(buffer);
        return p;
    }
    p.ctx = ggml_init(params);
    p.x = ggml_new_tensor_2d(p.ctx, GGML_TYPE_F32, k, m);
    p.y = ggml_mul_mat(p.ctx, p.w, p.x);
    ggml_backend_alloc_ctx_tensors_from_buft(p.ctx, ggml_backend_cpu_buffer_type());
    ggml_backend_tensor_set(p.w, weights, 0, ggml_nbytes(p.w));
    ggml_backend_tensor_set(p.x, tokens, 0, ggml_nbytes(p.x));
    p.graph = ggml_new_graph(p.ctx);
    ggml_build_forward_expand(p.graph, p.y);
    return p;
}

// type_of returns the type of that name, GGML_TYPE_COUNT if there is none.
static enum ggml_type type_of(const char *name) {
    int t = 0;
    while (t < GGML_TYPE_COUNT && !(ggml_type_name(t) && !strcmp(ggml_type_name(t), name))) t++;
    return t;
}

// same compares two products [m,n] of a type, each with roundings of its own.
static void same(ggml_backend_t cpu, const char *type, struct product *plain, struct product *other, size_t count) {
    float *a = malloc(sizeof(float) * count), *b = malloc(sizeof(float) * count);
    ggml_backend_graph_compute(cpu, plain->graph);
    ggml_backend_tensor_get(plain->y, a, 0, sizeof(float) * count);
    ggml_backend_graph_compute(cpu, other->graph);
    ggml_backend_tensor_get(other->y, b, 0, sizeof(float) * count);
    double lost = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        lost += (a[i] - b[i]) * (double)(a[i] - b[i]);
        total += a[i] * (double)a[i];
    }
    if (!(lost < 1e-6 * total)) {
        fprintf(stderr, "driver: %s: plain and repacked differ: %g of %g\n", type, lost, total);
        exit(1);
    }
    free(a);
    free(b);
}

static ggml_backend_buffer_type_t repack_type(ggml_backend_t cpu) {
    ggml_backend_dev_t dev = ggml_backend_get_device(cpu);
    ggml_backend_dev_get_extra_bufts_t extra = (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(dev), "ggml_backend_dev_get_extra_bufts");
    for (ggml_backend_buffer_type_t *b = extra ? extra(dev) : NULL; b && *b; b++) {
        if (strstr(ggml_backend_buft_name(*b), "REPACK")) return *b;
    }
    return NULL;
}

enum { most = 16 };

int main(int argc, char **argv) {
    if (argc < 6 || argc > 5 + most) {
        fprintf(stderr, "usage: driver N K M THREADS TYPE...\n");
        return 2;
    }
    int n = atoi(argv[1]), k = atoi(argv[2]), m = atoi(argv[3]), threads = atoi(argv[4]), types = argc - 5;
    if (n < 1 || k < 1 || m < 1 || threads < 1) {
        fprintf(stderr, "driver: impossible shape %dx%d, %d tokens, %d threads\n", n, k, m, threads);
        return 2;
    }
    ggml_log_set(quiet, NULL);
    ggml_backend_t cpu = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(cpu, threads);
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    struct ggml_threadpool *pool = ggml_threadpool_new(&params);
    ggml_backend_cpu_set_threadpool(cpu, pool);
    ggml_backend_buffer_type_t repack = repack_type(cpu);

    // 16 rows are quantized and repeated: time does not depend on values.
    const int rows = 16;
    float *source = malloc(sizeof(float) * rows * k), *tokens = malloc(sizeof(float) * (size_t)m * k);
    for (int i = 0; i < rows * k; i++) source[i] = uniform();
    for (int i = 0; i < m * k; i++) tokens[i] = uniform();
    struct product all[most][2], wake = {0};
    for (int t = 0; t < types; t++) {
        enum ggml_type type = type_of(argv[5 + t]);
        if (type == GGML_TYPE_COUNT || k % ggml_blck_size(type)) {
            fprintf(stderr, "driver: no type %s for %d columns\n", argv[5 + t], k);
            return 2;
        }
        size_t row = ggml_row_size(type, k);
        char *weights = malloc(row * n), *few = malloc(row * rows);
        ggml_quantize_chunk(type, source, few, 0, rows, k, NULL);
        for (int i = 0; i < n; i++) memcpy(weights + i * row, few + i % rows * row, row);
        all[t][0] = new_product(ggml_backend_cpu_buffer_type(), 0, type, n, k, m, weights, tokens);
        all[t][1] = repack ? new_product(repack, 1, type, n, k, m, weights, tokens) : (struct product){0};
        if (all[t][1].graph) same(cpu, argv[5 + t], &all[t][0], &all[t][1], (size_t)m * n);
        // A small product wakes the threads before each measured one.
        if (!wake.graph) wake = new_product(ggml_backend_cpu_buffer_type(), 0, type, 64, k, 1, weights, tokens);
        free(weights);
        free(few);
    }
    ggml_threadpool_pause(pool);
    printf("ready %s\n", BENCH_GGML_VERSION);
    for (int t = 0; t < types; t++) {
        for (int l = 0; l < 2; l++) {
            if (all[t][l].graph) printf("%s %s %zu\n", argv[5 + t], l ? "repacked" : "plain", ggml_nbytes(all[t][l].w));
        }
    }
    printf("go\n");
    fflush(stdout);

    char line[64], type[32], layout[32];
    while (fgets(line, sizeof line, stdin)) {
        struct product *p = NULL;
        if (sscanf(line, "%31s %31s", type, layout) == 2) {
            for (int t = 0; t < types; t++) {
                if (!strcmp(type, argv[5 + t])) p = &all[t][!strcmp(layout, "repacked")];
            }
        }
        if (!p || !p->graph) {
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
