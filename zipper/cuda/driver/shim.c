//go:build cuda && linux

// The shim stands where libcuda would be linked. It defines every function of
// the driver that this program calls as a jump through a pointer, and fills the
// pointers from libcuda.so.1 when a device is first asked for. So one binary
// starts on every machine: gorgonia.org/cu exits the process when cuInit fails,
// and a program linked with libcuda does not even start where it is missing.
//
// The functions are hidden, so that no library in this process binds to them
// in place of the driver's own.
#include "shim.h"
#include "symbols.h"
#include <dlfcn.h>
#include <pthread.h>

static int not_started(void) { return 3; } // CUDA_ERROR_NOT_INITIALIZED
static int not_there(void) { return 801; } // CUDA_ERROR_NOT_SUPPORTED

// cuInit is called by gorgonia.org/cu when the program starts. The driver's own
// takes a while and may fail: driver_start calls it.
__attribute__((visibility("hidden"))) int cuInit(unsigned flags) {
  (void)flags;
  return 0;
}

#if defined(__x86_64__)
#define JUMP(name) "jmp *shim_" #name "(%rip)\n"
#elif defined(__aarch64__)
#define JUMP(name) "adrp x16, shim_" #name "\nldr x16, [x16, #:lo12:shim_" #name "]\nbr x16\n"
#else
#error "the shim has no jump for this processor"
#endif
#define DEFINE(name)                                                           \
  __attribute__((visibility("hidden"))) void *shim_##name = (void *)not_started; \
  __asm__(".text\n.p2align 4\n.globl " #name "\n.hidden " #name "\n.type " #name ",@function\n" #name ":\n" JUMP(name));
DRIVER_SYMBOLS(DEFINE)

static int status;
static const char *reason;

static void start(void) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    reason = dlerror();
    status = -1;
    return;
  }
  int (*init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
  if (!init) {
    reason = "libcuda.so.1 has no cuInit";
    status = -1;
    return;
  }
#define RESOLVE(name)                                   \
  shim_##name = dlsym(library, #name);                  \
  if (!shim_##name)                                     \
    shim_##name = (void *)not_there;
  DRIVER_SYMBOLS(RESOLVE)
  status = init(0);
}

int driver_start(const char **why) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start);
  *why = reason;
  return status;
}
