// test.h: what the tests of emulated kernels share.
#pragma once
#include "../kernels/dev.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>

using std::string;
using std::vector;

inline std::mt19937 rng;
inline int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(rng); }
inline double real(double lo, double hi) { return std::uniform_real_distribution<double>(lo, hi)(rng); }
template <class T> T pick(std::initializer_list<T> of) { return of.begin()[below((int)of.size())]; }
inline int up(int a, int b) { return (a + b - 1) / b; }
[[noreturn]] inline void die(const string& what) {
  printf("FAIL %s\n", what.c_str());
  exit(1);
}

// Buffer is device memory: 16-byte aligned, its end (rounded up to 16) at a page without access.
struct Buffer {
  size_t bytes = 0, whole = 0;
  u8 *map = nullptr, *data = nullptr;
  Buffer() {}
  explicit Buffer(size_t n, int fill = 0xff) : bytes(n) {
    size_t page = sysconf(_SC_PAGESIZE), room = (n + 15) / 16 * 16;
    whole = (room + page - 1) / page * page + 2 * page;
    map = (u8*)mmap(0, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(map, page, PROT_NONE);
    mprotect(map + whole - page, page, PROT_NONE);
    data = map + whole - page - room;
    memset(map + page, 0xa5, whole - 2 * page);
    memset(data, fill, n);
  }
  Buffer(Buffer&& b) { *this = std::move(b); }
  Buffer& operator=(Buffer&& b) {
    std::swap(bytes, b.bytes), std::swap(whole, b.whole), std::swap(map, b.map), std::swap(data, b.data);
    return *this;
  }
  ~Buffer() {
    if (map) munmap(map, whole);
  }
  template <class T> T* as() { return (T*)data; }
  // clean says that the bytes around the buffer are as they were.
  bool clean() const {
    size_t page = sysconf(_SC_PAGESIZE);
    for (const u8* p = map + page; p < map + whole - page; p++)
      if ((p < data || p >= data + bytes) && *p != 0xa5) return false;
    return true;
  }
};

// launch runs a kernel on 64-bit arguments.
inline void launch(const emu::Kernel& k, Dim3 grid, std::vector<u64> args) {
  vector<void*> ptr;
  for (u64& a : args) ptr.push_back(&a);
  emu::launch(grid, {k.threads, 1, 1}, k.smem, [&] { k.run(ptr.data()); });
}

// read_number reads element i of a float32, half, bfloat16 or int8 array, by xtype.
inline double read_number(const Buffer& b, int type, size_t i) {
  if (type == 0) return ((const float*)b.data)[i];
  if (type == 3) return ((const signed char*)b.data)[i];
  u16 h = ((const u16*)b.data)[i];
  return type == 1 ? f16_to_f32(h) : bf16_to_f32(h);
}
inline void write_number(Buffer& b, int type, size_t i, float v) {
  if (type == 0) b.as<float>()[i] = v;
  else if (type == 3) b.as<signed char>()[i] = (signed char)v;
  else b.as<u16>()[i] = type == 1 ? f32_to_f16(v) : f32_to_bf16(v);
}

// test_model runs a random case of a kernel of model.cu.
void test_model(const string& name, const emu::Kernel& k);
// test_other runs a random case of a kernel of other.cu.
void test_other(const string& name, const emu::Kernel& k);
