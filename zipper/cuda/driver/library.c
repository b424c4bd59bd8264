//go:build cuda && linux

#include "library.h"
#include <dlfcn.h>

// cublasStatus_t and nvmlReturn_t are ints, 0 for success. The enumerators below
// are those of cublas_api.h, library_types.h and nvml.h.

static struct {
  int (*create)(void **);
  int (*destroy)(void *);
  int (*version)(void *, int *);
  int (*stream)(void *, void *);
  int (*gemm)(void *, int, int, int, int, int, const void *, const void *, int, int,
              const void *, int, int, const void *, void *, int, int, int, int);
} cublas;

int cublas_start(const char *file, const char **why) {
  static const char *names[] = {"libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "libcublas.so"};
  static void *library;
  if (library)
    return 0;
  if (*file)
    library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  else
    for (unsigned i = 0; i < sizeof names / sizeof *names && !library; i++)
      library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    *why = dlerror();
    return -1;
  }
#define FIND(field, name)                              \
  if (!(*(void **)&cublas.field = dlsym(library, name))) { \
    *why = "no " name;                                 \
    library = NULL;                                    \
    return -1;                                         \
  }
  FIND(create, "cublasCreate_v2")
  FIND(destroy, "cublasDestroy_v2")
  FIND(version, "cublasGetVersion_v2")
  FIND(stream, "cublasSetStream_v2")
  FIND(gemm, "cublasGemmEx")
  return 0;
}

int cublas_create(void **handle) { return cublas.create(handle); }
int cublas_destroy(void *handle) { return cublas.destroy(handle); }
int cublas_version(void *handle, int *version) { return cublas.version(handle, version); }
int cublas_stream(void *handle, void *stream) { return cublas.stream(handle, stream); }

int cublas_gemm(void *handle, int m, int n, int k, unsigned long long y, unsigned long long x, int ldx,
                unsigned long long w, int wide, int more) {
  enum { none = 0, transposed = 1, float32 = 0, bfloat16 = 14, compute_32f = 68, default_algorithm = -1 };
  const float one = 1, zero = 0;
  // cuBLAS counts by columns: what it sees is yᵀ [n,m] = w · xᵀ.
  return cublas.gemm(handle, transposed, none, n, m, k, &one, (void *)w, bfloat16, k, (void *)x, bfloat16, ldx,
                     more ? &one : &zero, (void *)y, wide ? float32 : bfloat16, n, compute_32f, default_algorithm);
}

static struct {
  int (*init)(void);
  int (*by_uuid)(const char *, void **);
  int (*clock)(void *, int, unsigned *);
  int (*driver)(char *, unsigned);
  int (*power)(void *, unsigned *);
  int (*temperature)(void *, int, unsigned *);
} nvml;

int nvml_start(void) {
  static int status = 1;
  if (status != 1)
    return status;
  status = -1;
  void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library && (*(void **)&nvml.init = dlsym(library, "nvmlInit_v2")) &&
      (*(void **)&nvml.by_uuid = dlsym(library, "nvmlDeviceGetHandleByUUID")) &&
      (*(void **)&nvml.clock = dlsym(library, "nvmlDeviceGetClockInfo")) &&
      (*(void **)&nvml.driver = dlsym(library, "nvmlSystemGetDriverVersion")) &&
      (*(void **)&nvml.power = dlsym(library, "nvmlDeviceGetPowerUsage")) &&
      (*(void **)&nvml.temperature = dlsym(library, "nvmlDeviceGetTemperature")) && nvml.init() == 0)
    status = 0;
  return status;
}

int nvml_device(const char *uuid, void **device) { return nvml.by_uuid(uuid, device); }
int nvml_clock(void *device, int kind, unsigned *mhz) { return nvml.clock(device, kind, mhz); }
int nvml_driver(char *version, unsigned length) { return nvml.driver(version, length); }
int nvml_power(void *device, unsigned *milliwatts) { return nvml.power(device, milliwatts); }
int nvml_temperature(void *device, unsigned *celsius) { return nvml.temperature(device, 0, celsius); }
