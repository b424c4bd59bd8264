// What package driver asks of the CUDA driver beyond gorgonia.org/cu, declared
// here so that these files need no cuda.h.
#include <stddef.h>

// driver_start loads libcuda.so.1 and initialises it, once. It returns 0, the
// CUresult of cuInit, or -1 with the linker's words in *why.
int driver_start(const char **why);

int cuFuncSetAttribute(void *function, int attribute, int value);
int cuGetErrorName(int error, const char **name);
int cuMemHostAlloc(void **p, size_t bytes, unsigned flags);
int cuGraphDestroy(void *graph);
int cuGraphExecDestroy(void *exec);
int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags);
int cuGraphLaunch(void *exec, void *stream);
int cuStreamBeginCapture_v2(void *stream, int mode);
int cuStreamEndCapture(void *stream, void **graph);
int cuProfilerStart(void);
int cuProfilerStop(void);
