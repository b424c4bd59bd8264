// A fake libcuda.so.1 for tests on machines without a GPU: memory of the device
// is memory of the host, and kernels are the very sources in ../kernels, run by
// the emulator. So the Go program, built with -tags cuda, runs as it is.
//
// It is stricter than a driver, where a driver would let a mistake pass:
//  - work in a stream is done when something waits for it, no earlier. Whoever
//    forgets to wait reads what was there before: fresh memory is all ones (NaN);
//  - asynchronous copies must be from or to pinned memory;
//  - device memory ends at an unreadable page, what is freed is unreadable, and
//    copies must lie within one allocation.
//
// Environment, read at every call:
//   FAKE_CUDA_FAIL=N:CODE  call number N (see calls below) returns CODE; destroying
//                          calls do their work and then return it
//   FAKE_CUDA_LATE=N       the launch with call number N fails when it runs, with
//                          CUDA_ERROR_ILLEGAL_ADDRESS, and so does every call after
//   FAKE_CUDA_MEMORY=BYTES of the device, 1 GiB unless told
//   FAKE_CUDA_SMS=N        multiprocessors, 4 unless told
//   FAKE_CUDA_CAPABILITY=N compute capability, 80 unless told
//   FAKE_CUDA_WITHOUT=A,B  the device has no attributes of these numbers
//   FAKE_CUDA_HIDDEN=1     attributes from 10000 on are unknown, so that nothing
//                          tells this driver from a real one
// and attributes of the device beyond CUDA's, see attribute().
#include "fake.h"
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <sys/mman.h>
#include <vector>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {
enum {
  SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700,
  OUT_OF_RESOURCES = 701, CAPTURE_UNSUPPORTED = 900
};

typedef uint64_t Pointer;
const size_t page = 4096;

typedef std::deque<std::function<void()>> Work;
struct Stream {
  bool blocking;
  Work work;
  Work *captured = nullptr; // where work goes while it is recorded
};
struct Event {
  bool recorded = false;     // Record was called
  bool reached = false;      // and the stream has come there
  Stream *stream = nullptr;
  double ms = 0;
};
struct Module {
  int dummy;
};
struct Function {
  std::string name;
  const fake::Kernel *kernel;
  size_t shared = 48 << 10;
};
struct Memory {
  size_t bytes, mapped;
  char *map;
};

std::mutex lock;
int calls, contexts, sticky, blas_handles, profiled, capturing;
bool profiling;
size_t used;
std::map<Pointer, Memory> device;
std::map<void *, size_t> pinned;
std::set<Stream *> streams;
std::set<Event *> events;
std::set<Module *> modules;
std::map<std::string, std::unique_ptr<Function>> functions;
Stream null_stream{true, {}, nullptr};

long environment(const char *name, long otherwise) {
  const char *v = getenv(name);
  return v && *v ? atol(v) : otherwise;
}

// enter counts a call and returns the code that it must fail with, or 0.
int enter() {
  calls++;
  int number = 0, code = 0;
  const char *fail = getenv("FAKE_CUDA_FAIL");
  if (fail && sscanf(fail, "%d:%d", &number, &code) == 2 && number == calls)
    return code;
  return sticky;
}

void drain(Stream *s) {
  while (!s->work.empty() && !sticky) {
    auto f = std::move(s->work.front());
    s->work.pop_front();
    f();
  }
}

// legacy does what the null stream waits for: all streams that block on it.
void legacy() {
  drain(&null_stream);
  for (auto *s : streams)
    if (s->blocking)
      drain(s);
}

void drain_all() {
  legacy();
  for (auto *s : streams)
    drain(s);
}

Stream *stream(void *s) { return s ? (Stream *)s : &null_stream; }
bool known(Stream *s) { return s == &null_stream || streams.count(s); }

bool within(Pointer p, size_t n) {
  auto it = device.upper_bound(p);
  if (it == device.begin())
    return false;
  --it;
  return p - it->first <= it->second.bytes && n <= it->second.bytes - (p - it->first);
}

bool in_pinned(const void *p, size_t n) {
  auto it = pinned.upper_bound((void *)p);
  if (it == pinned.begin())
    return false;
  --it;
  size_t at = (const char *)p - (char *)it->first;
  return at <= it->second && n <= it->second - at;
}

int enqueue(Stream *s, std::function<void()> f) {
  if (!known(s))
    return INVALID_HANDLE;
  (s->captured ? *s->captured : s->work).push_back(std::move(f));
  return SUCCESS;
}

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// lacks tells whether FAKE_CUDA_WITHOUT or FAKE_CUDA_HIDDEN names attribute a.
bool lacks(int a) {
  if (a >= 10000 && environment("FAKE_CUDA_HIDDEN", 0))
    return true;
  const char *list = getenv("FAKE_CUDA_WITHOUT");
  for (char *end; list && *list; list = *end ? end + 1 : end)
    if (strtol(list, &end, 10) == a)
      return true;
    else if (end == list)
      return false;
  return false;
}

int attribute(int a, int *v) {
  if (lacks(a))
    return INVALID_VALUE;
  switch (a) {
  case 13: *v = 1000000; return SUCCESS;                                // clock, kHz
  case 16: *v = (int)environment("FAKE_CUDA_SMS", 4); return SUCCESS;   // multiprocessors
  case 36: *v = 1000000; return SUCCESS;                                // memory clock, kHz
  case 37: *v = 128; return SUCCESS;                                    // bus, bits
  case 38: *v = 256 << 10; return SUCCESS;                              // L2
  case 75: *v = (int)environment("FAKE_CUDA_CAPABILITY", 80) / 10; return SUCCESS;
  case 76: *v = (int)environment("FAKE_CUDA_CAPABILITY", 80) % 10; return SUCCESS;
  case 97: *v = 163 << 10; return SUCCESS;                              // shared memory by opting in
  case 10000: *v = 1; return SUCCESS;                                   // this driver is the fake one
  case 10001: *v = calls; return SUCCESS;                               // so far, these not counted
  case 10002: *v = (int)device.size(); return SUCCESS;                  // objects that live
  case 10003: *v = (int)streams.size(); return SUCCESS;
  case 10004: *v = (int)events.size(); return SUCCESS;
  case 10005: *v = (int)modules.size(); return SUCCESS;
  case 10006: *v = (int)pinned.size(); return SUCCESS;
  case 10007: *v = contexts; return SUCCESS;
  case 10008: *v = blas_handles; return SUCCESS;
  case 10009: *v = profiled; return SUCCESS;                            // launches between cuProfilerStart and Stop
  }
  return INVALID_VALUE;
}
} // namespace

#define ENTER                                     \
  std::lock_guard<std::mutex> guard(lock);        \
  if (int code = enter())                         \
    return code;

// What may not be called while a stream is captured.
#define NOT_CAPTURING \
  if (capturing)      \
    return CAPTURE_UNSUPPORTED;

// LEAVE is ENTER for calls that destroy: they do so even when they fail.
#define LEAVE                              \
  std::lock_guard<std::mutex> guard(lock); \
  int code = enter();

API cuInit(unsigned) {
  ENTER return SUCCESS;
}
API cuGetErrorName(int code, const char **name) {
  static const std::map<int, const char *> names = {
      {0, "CUDA_SUCCESS"}, {1, "CUDA_ERROR_INVALID_VALUE"}, {2, "CUDA_ERROR_OUT_OF_MEMORY"},
      {100, "CUDA_ERROR_NO_DEVICE"}, {101, "CUDA_ERROR_INVALID_DEVICE"}, {200, "CUDA_ERROR_INVALID_IMAGE"},
      {201, "CUDA_ERROR_INVALID_CONTEXT"}, {400, "CUDA_ERROR_INVALID_HANDLE"}, {500, "CUDA_ERROR_NOT_FOUND"},
      {600, "CUDA_ERROR_NOT_READY"}, {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
      {701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"}, {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}, {719, "CUDA_ERROR_LAUNCH_FAILED"}, {999, "CUDA_ERROR_UNKNOWN"}};
  auto it = names.find(code);
  if (it == names.end())
    return INVALID_VALUE;
  *name = it->second;
  return SUCCESS;
}
API cuDriverGetVersion(int *v) {
  *v = 12080;
  return SUCCESS;
}
API cuDeviceGetCount(int *n) {
  ENTER *n = 1;
  return SUCCESS;
}
API cuDeviceGet(int *d, int i) {
  ENTER *d = i;
  return i == 0 ? SUCCESS : INVALID_DEVICE;
}
API cuDeviceGetName(char *s, int n, int) {
  ENTER snprintf(s, n, "host emulation (no GPU)");
  return SUCCESS;
}
API cuDeviceGetUuid(void *id, int) {
  ENTER memset(id, 0, 16);
  return SUCCESS;
}
API cuDeviceGetUuid_v2(void *id, int d) { return cuDeviceGetUuid(id, d); }
API cuDeviceTotalMem_v2(size_t *b, int) {
  ENTER *b = environment("FAKE_CUDA_MEMORY", 1 << 30);
  return SUCCESS;
}
API cuDeviceGetAttribute(int *v, int a, int) {
  if (a >= 10000) {
    std::lock_guard<std::mutex> guard(lock);
    return attribute(a, v);
  }
  ENTER return attribute(a, v);
}
API cuDevicePrimaryCtxRetain(void **c, int) {
  ENTER *c = &contexts;
  contexts++;
  return SUCCESS;
}
API cuDevicePrimaryCtxRelease_v2(int) {
  LEAVE if (contexts < 1) return INVALID_CONTEXT;
  drain_all();
  if (--contexts == 0)
    sticky = 0;
  return code;
}
API cuCtxSetCurrent(void *) {
  ENTER return SUCCESS;
}
API cuCtxSynchronize() {
  ENTER NOT_CAPTURING drain_all();
  return sticky;
}

API cuMemGetInfo_v2(size_t *free, size_t *total) {
  ENTER *total = environment("FAKE_CUDA_MEMORY", 1 << 30);
  *free = *total - used;
  return SUCCESS;
}
API cuMemAlloc_v2(Pointer *p, size_t n) {
  ENTER NOT_CAPTURING if (n == 0) return INVALID_VALUE;
  if (used + n > (size_t)environment("FAKE_CUDA_MEMORY", 1 << 30))
    return OUT_OF_MEMORY;
  size_t body = (n + page - 1) / page * page;
  char *map = (char *)mmap(nullptr, body + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED)
    return OUT_OF_MEMORY;
  mprotect(map + body, page, PROT_NONE);
  memset(map, 0xff, body);
  // As near to the unreadable page as the alignment of cuMemAlloc allows.
  *p = (Pointer)(map + (body - n) / 256 * 256);
  device[*p] = {n, body + page, map};
  used += n;
  return SUCCESS;
}
API cuMemFree_v2(Pointer p) {
  LEAVE NOT_CAPTURING drain_all();
  auto it = device.find(p);
  if (it == device.end())
    return INVALID_VALUE;
  // What lies between the end and the page was never ours to write.
  const char *end = (char *)p + it->second.bytes, *stop = it->second.map + it->second.mapped - page;
  for (const char *c = end; c < stop; c++)
    if (*c != (char)0xff) {
      fprintf(stderr, "fake driver: byte %zd of a buffer of %zu was written\n", c - (char *)p, it->second.bytes);
      abort();
    }
  used -= it->second.bytes;
  mprotect(it->second.map, it->second.mapped, PROT_NONE);
  munmap(it->second.map, it->second.mapped);
  device.erase(it);
  return code;
}
API cuMemHostAlloc(void **p, size_t n, unsigned) {
  ENTER if (n == 0) return INVALID_VALUE;
  *p = malloc(n);
  memset(*p, 0xff, n);
  pinned[*p] = n;
  return SUCCESS;
}
API cuMemFreeHost(void *p) {
  LEAVE drain_all();
  if (!pinned.erase(p))
    return INVALID_VALUE;
  free(p);
  return code;
}

API cuMemcpyHtoD_v2(Pointer d, const void *s, size_t n) {
  ENTER NOT_CAPTURING legacy();
  if (!within(d, n))
    return INVALID_VALUE;
  memcpy((void *)d, s, n);
  return sticky;
}
API cuMemcpyDtoH_v2(void *d, Pointer s, size_t n) {
  ENTER NOT_CAPTURING legacy();
  if (!within(s, n))
    return INVALID_VALUE;
  memcpy(d, (void *)s, n);
  return sticky;
}
API cuMemcpyHtoDAsync_v2(Pointer d, const void *s, size_t n, void *st) {
  ENTER if (!within(d, n) || !in_pinned(s, n)) return INVALID_VALUE;
  return enqueue(stream(st), [=] { memcpy((void *)d, s, n); });
}
API cuMemcpyDtoHAsync_v2(void *d, Pointer s, size_t n, void *st) {
  ENTER if (!within(s, n) || !in_pinned(d, n)) return INVALID_VALUE;
  return enqueue(stream(st), [=] { memcpy(d, (void *)s, n); });
}
API cuMemcpyDtoDAsync_v2(Pointer d, Pointer s, size_t n, void *st) {
  ENTER if (!within(d, n) || !within(s, n)) return INVALID_VALUE;
  return enqueue(stream(st), [=] { memmove((void *)d, (void *)s, n); });
}
API cuMemsetD8Async(Pointer d, unsigned char v, size_t n, void *st) {
  ENTER if (!within(d, n)) return INVALID_VALUE;
  return enqueue(stream(st), [=] { memset((void *)d, v, n); });
}

API cuModuleLoadDataEx(void **m, const void *image, unsigned options, const int *kinds, void **values) {
  ENTER const char *text = (const char *)image;
  bool code = text && !memcmp(text, "\177ELF", 4); // a cubin
  if (!text || (!code && !strstr(text, ".version"))) {
    const int error_log = 5; // CU_JIT_ERROR_LOG_BUFFER
    for (unsigned i = 0; i < options; i++)
      if (kinds[i] == error_log)
        strcpy((char *)values[i], "fake driver: the image has no .version directive");
    return INVALID_IMAGE;
  }
  auto *mod = new Module;
  modules.insert(mod);
  *m = mod;
  return SUCCESS;
}
API cuModuleUnload(void *m) {
  LEAVE drain_all();
  if (!modules.erase((Module *)m))
    return INVALID_HANDLE;
  delete (Module *)m;
  return code;
}
API cuModuleGetFunction(void **f, void *m, const char *name) {
  ENTER if (!modules.count((Module *)m)) return INVALID_HANDLE;
  const fake::Kernel *k = fake::find(name);
  if (!k)
    return NOT_FOUND;
  auto &slot = functions[name];
  if (!slot)
    slot.reset(new Function{name, k});
  slot->shared = 48 << 10;
  *f = slot.get();
  return SUCCESS;
}
API cuFuncSetAttribute(void *f, int a, int v) {
  const int max_dynamic_shared = 8;
  ENTER int limit;
  attribute(97, &limit);
  if (a != max_dynamic_shared || v < 0 || v > limit)
    return INVALID_VALUE;
  ((Function *)f)->shared = v;
  return SUCCESS;
}
API cuFuncGetAttribute(int *v, int, void *) {
  ENTER *v = 0;
  return SUCCESS;
}
API cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *, int threads, size_t shared) {
  ENTER *n = 2048 / threads;
  if (shared && *n > (int)((164 << 10) / shared))
    *n = (164 << 10) / shared;
  return SUCCESS;
}
API cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                   void *st, void **parameters, void **) {
  ENTER auto *fn = (Function *)f;
  if (!gx || !gy || !gz || gy > 65535 || gz > 65535 || !bx || !by || !bz || shared > fn->shared)
    return INVALID_VALUE;
  if ((int)(bx * by * bz) > fn->kernel->threads)
    return OUT_OF_RESOURCES;
  std::vector<uint64_t> values;
  for (int i = 0; i < fn->kernel->parameters; i++)
    values.push_back(*(uint64_t *)parameters[i]);
  bool late = environment("FAKE_CUDA_LATE", 0) == calls;
  profiled += profiling;
  return enqueue(stream(st), [=]() mutable {
    if (late) {
      sticky = ILLEGAL_ADDRESS;
      return;
    }
    std::vector<void *> slots;
    for (auto &v : values)
      slots.push_back(&v);
    fn->kernel->run({gx, gy, gz}, {bx, by, bz}, shared, slots.data());
  });
}

API cuProfilerStart() {
  ENTER profiling = true;
  return SUCCESS;
}
API cuProfilerStop() {
  LEAVE profiling = false;
  return code;
}
API cuStreamCreate(void **s, unsigned flags) {
  ENTER auto *n = new Stream{!(flags & 1), {}};
  streams.insert(n);
  *s = n;
  return SUCCESS;
}
API cuStreamDestroy_v2(void *s) {
  LEAVE if (!streams.count((Stream *)s)) return INVALID_HANDLE;
  drain((Stream *)s);
  streams.erase((Stream *)s);
  delete (Stream *)s;
  return code;
}
API cuStreamSynchronize(void *s) {
  ENTER NOT_CAPTURING if (!known(stream(s))) return INVALID_HANDLE;
  drain(stream(s));
  return sticky;
}
API cuStreamBeginCapture_v2(void *s, int) {
  ENTER if (!s || !known(stream(s)) || stream(s)->captured) return INVALID_HANDLE;
  stream(s)->captured = new Work;
  capturing++;
  return SUCCESS;
}
API cuStreamEndCapture(void *s, void **graph) {
  LEAVE if (!s || !known(stream(s)) || !stream(s)->captured) return INVALID_HANDLE;
  capturing--;
  *graph = stream(s)->captured;
  stream(s)->captured = nullptr;
  return code;
}
API cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long) {
  ENTER *exec = new Work(*(Work *)graph);
  return SUCCESS;
}
API cuGraphDestroy(void *graph) {
  LEAVE delete (Work *)graph;
  return code;
}
API cuGraphExecDestroy(void *exec) {
  LEAVE drain_all();
  delete (Work *)exec;
  return code;
}
API cuGraphLaunch(void *exec, void *s) {
  ENTER for (auto &f : *(Work *)exec) if (int code = enqueue(stream(s), f)) return code;
  return SUCCESS;
}
API cuStreamWaitEvent(void *s, void *e, unsigned) {
  ENTER auto *ev = (Event *)e;
  if (!events.count(ev))
    return INVALID_HANDLE;
  Stream *from = ev->stream;
  if (!ev->recorded || from == stream(s))
    return SUCCESS;
  return enqueue(stream(s), [=] {
    while (!ev->reached && known(from) && !from->work.empty() && !sticky) {
      auto f = std::move(from->work.front());
      from->work.pop_front();
      f();
    }
  });
}
API cuEventCreate(void **e, unsigned) {
  ENTER auto *n = new Event;
  events.insert(n);
  *e = n;
  return SUCCESS;
}
API cuEventDestroy_v2(void *e) {
  LEAVE if (!events.count((Event *)e)) return INVALID_HANDLE;
  drain_all(); // its record may be queued
  events.erase((Event *)e);
  delete (Event *)e;
  return code;
}
API cuEventRecord(void *e, void *s) {
  ENTER auto *ev = (Event *)e;
  if (!events.count(ev))
    return INVALID_HANDLE;
  ev->recorded = true, ev->reached = false, ev->stream = stream(s);
  return enqueue(ev->stream, [=] { ev->reached = true, ev->ms = now(); });
}
API cuEventSynchronize(void *e) {
  ENTER auto *ev = (Event *)e;
  if (!events.count(ev))
    return INVALID_HANDLE;
  while (ev->recorded && !ev->reached && !sticky) {
    auto f = std::move(ev->stream->work.front());
    ev->stream->work.pop_front();
    f();
  }
  return sticky;
}
API cuEventElapsedTime(float *ms, void *a, void *b) {
  ENTER auto *from = (Event *)a, *to = (Event *)b;
  if (!events.count(from) || !events.count(to) || !from->recorded || !to->recorded)
    return INVALID_HANDLE;
  if (!from->reached || !to->reached)
    return NOT_READY;
  *ms = (float)(to->ms - from->ms);
  return SUCCESS;
}
API cuEventElapsedTime_v2(float *ms, void *a, void *b) { return cuEventElapsedTime(ms, a, b); }

// cuBLAS: the library is also found as libcublas.so.12.
API cublasCreate_v2(void **h) {
  ENTER *h = new Stream *(&null_stream);
  blas_handles++;
  return SUCCESS;
}
API cublasDestroy_v2(void *h) {
  LEAVE delete (Stream **)h;
  blas_handles--;
  return code;
}
API cublasGetVersion_v2(void *, int *v) {
  *v = 120000;
  return SUCCESS;
}
API cublasSetStream_v2(void *h, void *s) {
  ENTER *(Stream **)h = stream(s);
  return SUCCESS;
}
API cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda,
                 const void *b, int bt, int ldb, const void *beta, void *c, int ct, int ldc, int compute, int) {
  // y [n,m] = beta · y + x [n,k] · w [m,k]ᵀ, as rows: bfloat16, or into float32.
  const float scale = *(const float *)beta;
  ENTER if (ta != 1 || tb != 0 || at != 14 || bt != 14 || (ct != 14 && ct != 0) || compute != 68 || *(float *)alpha != 1 ||
            (scale != 0 && (scale != 1 || ct != 0)) || lda < k || ldb < k || ldc < m)
    return INVALID_VALUE;
  const uint16_t *pa = (const uint16_t *)a, *pb = (const uint16_t *)b;
  return enqueue(*(Stream **)h, [=] {
    std::vector<float> row(k), column(k);
    auto widen = [=](std::vector<float> &to, const uint16_t *from) {
      for (int l = 0; l < k; l++) {
        uint32_t u = (uint32_t)from[l] << 16;
        memcpy(&to[l], &u, 4);
      }
    };
    for (int i = 0; i < m; i++) {
      widen(column, pa + (size_t)i * lda);
      for (int j = 0; j < n; j++) {
        widen(row, pb + (size_t)j * ldb);
        float part[8] = {}, s = 0;
        for (int l = 0; l < k; l++)
          part[l % 8] += row[l] * column[l];
        for (float v : part)
          s += v;
        if (ct == 0) {
          float &y = ((float *)c)[(size_t)j * ldc + i];
          y = scale ? y + s : s;
          continue;
        }
        uint32_t u;
        memcpy(&u, &s, 4);
        ((uint16_t *)c)[(size_t)j * ldc + i] = (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
      }
    }
  });
}
