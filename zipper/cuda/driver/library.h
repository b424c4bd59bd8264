// Libraries beside the driver, loaded when they are first asked for.
#include <stddef.h>

// cublas_start loads cuBLAS, once, from the named file or, where that is empty,
// under the names that its versions have. It returns 0, or -1 with the linker's
// words in *why.
int cublas_start(const char *file, const char **why);
int cublas_create(void **handle);
int cublas_destroy(void *handle);
int cublas_version(void *handle, int *version);
int cublas_stream(void *handle, void *stream);
// cublas_gemm computes y [m,n] = x [m,k] · w [n,k]ᵀ, summed in float32. Rows of x lie ldx
// elements apart; y and w are row by row. x and w are bfloat16, y too, or float32 where wide,
// and then added to where more.
int cublas_gemm(void *handle, int m, int n, int k, unsigned long long y, unsigned long long x, int ldx,
                unsigned long long w, int wide, int more);

// nvml_start loads NVML, once. It returns 0, or -1.
int nvml_start(void);
int nvml_device(const char *uuid, void **device);
int nvml_clock(void *device, int kind, unsigned *mhz);
int nvml_driver(char *version, unsigned length);
int nvml_power(void *device, unsigned *milliwatts);
int nvml_temperature(void *device, unsigned *celsius);
