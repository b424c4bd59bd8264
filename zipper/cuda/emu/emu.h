// emu.h: the device half of dev.h for the CPU, so that a host compiler turns the
// very source of a kernel into a function that runs there.
//
// A CUDA thread is a fiber, or with -DEMU_THREADS an operating system thread
// (for ThreadSanitizer). Blocks run one after another. What goes wrong on a
// device goes wrong here, visibly:
//   - shared memory starts as 0xff (NaN, -1) in every block, with guard bytes beyond its end;
//   - cp.async copies nothing before the wait that covers it, so that a missing
//     wait reads what was there before;
//   - a collective that some lane of a warp does not reach, or reaches in another
//     instruction, aborts; so do misaligned copies and ldmatrix addresses.
// It says nothing about speed, bank conflicts, or the inline assembly of dev.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#define INLINE inline
#define DEV static inline
#define KERNEL(threads, name) static void name
#define KERNEL_BLOCKS(threads, blocks, name) static void name
#define DYN_SMEM (emu::smem)
#define REGISTER(name, tokens, rows, threads, smem) static emu::Register register_##name(#name, name, tokens, rows, threads, smem);

struct Dim3 { unsigned x, y, z; };

namespace emu {
struct Copy { void* to; const void* from; int bytes; bool real; };
struct Lane { u32 a[4], b[2]; float fa[8], fb[4]; const u8* p; u32 op; };
struct Warp { Lane lane[2][32]; }; // used in turn, so that one barrier per collective is enough
struct Thread {
  Dim3 id;
  unsigned lane;
  Warp* warp;
  unsigned turn;
  std::vector<Copy> open;
  std::vector<std::vector<Copy>> groups; // committed, oldest first
};
extern thread_local Thread* cur;
extern thread_local Dim3 block_id, block_dim, grid_dim;
extern thread_local u8* smem;

void block_barrier();
void warp_barrier();
void launch(Dim3 grid, Dim3 block, size_t smem_bytes, const std::function<void()>& body);
[[noreturn]] void fail(const char* what);

// Kernels by name, callable with an array of pointers to 64-bit arguments.
struct Kernel {
  std::function<void(void**)> run;
  unsigned tokens, rows, threads, smem;
  int parameters;
};
std::map<std::string, Kernel>& registry();
template <class... A, size_t... I> void call(void (*f)(A...), void** p, std::index_sequence<I...>) { f(*(A*)p[I]...); }
struct Register {
  template <class... A> Register(const char* name, void (*f)(A...), unsigned tokens, unsigned rows, unsigned threads, unsigned smem) {
    registry()[name] = Kernel{[f](void** p) { call(f, p, std::index_sequence_for<A...>()); }, tokens, rows, threads, smem, (int)sizeof...(A)};
  }
};

// collect exchanges what put writes among the lanes of a warp, and returns it.
template <class F> const Lane* collect(u32 op, F put) {
  Thread& t = *cur;
  Lane* all = t.warp->lane[t.turn++ % 2];
  all[t.lane].op = op;
  put(all[t.lane]);
  warp_barrier();
  if (all[(t.lane + 1) % 32].op != op) fail("lanes of a warp meet in different collectives");
  return all;
}
} // namespace emu

#define threadIdx (emu::cur->id)
#define blockIdx (emu::block_id)
#define blockDim (emu::block_dim)
#define gridDim (emu::grid_dim)

DEV float bits_f32(u32 u) { float f; memcpy(&f, &u, 4); return f; }
DEV u32 f32_bits(float f) { u32 u; memcpy(&u, &f, 4); return u; }
DEV float f16_to_f32(u16 h) {
  u32 sign = (u32)(h >> 15) << 31, e = h >> 10 & 31, m = h & 1023;
  if (e == 31) return bits_f32(sign | 0x7f800000 | m << 13);
  if (e == 0) return sign ? -(m * 0x1p-24f) : m * 0x1p-24f;
  return bits_f32(sign | (e + 112) << 23 | m << 13);
}
DEV u16 f32_to_f16(float f) { // ties to even
  u32 u = f32_bits(f), sign = u >> 16 & 0x8000, abs = u & 0x7fffffff;
  if (abs > 0x7f800000) return 0x7fff;
  if (abs >= 0x477ff000) return (u16)(sign | 0x7c00);
  if (abs < 0x38800000) return (u16)(sign | (f32_bits(bits_f32(abs) + 0.5f) - f32_bits(0.5f))); // 0.5 has ulp 2^-24
  abs += 0xfff + (abs >> 13 & 1);
  return (u16)(sign | (abs - 0x38000000) >> 13);
}
DEV float bf16_to_f32(u16 h) { return bits_f32((u32)h << 16); }
DEV u16 f32_to_bf16(float f) {
  u32 u = f32_bits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (u16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
DEV u32 sub_f16x2(u32 a, u32 b) {
  auto sub = [](u16 x, u16 y) { return (u32)f32_to_f16(f16_to_f32(x) - f16_to_f32(y)); };
  return sub((u16)a, (u16)b) | sub(a >> 16, b >> 16) << 16;
}
DEV u32 fma_f16x2(u32 a, u32 b, u32 c) {
  auto fma = [](u16 x, u16 y, u16 z) { return (u32)f32_to_f16(std::fma(f16_to_f32(x), f16_to_f32(y), f16_to_f32(z))); };
  return fma((u16)a, (u16)b, (u16)c) | fma(a >> 16, b >> 16, c >> 16) << 16;
}
DEV u32 fma_bf16x2(u32 a, u32 b, u32 c) {
  auto fma = [](u16 x, u16 y, u16 z) { return (u32)f32_to_bf16(std::fma(bf16_to_f32(x), bf16_to_f32(y), bf16_to_f32(z))); };
  return fma((u16)a, (u16)b, (u16)c) | fma(a >> 16, b >> 16, c >> 16) << 16;
}
template <class T> DEV T opaque(T v) { return v; }
DEV u32 and_or(u32 w, u32 mask, u32 bits) { return (w & mask) | bits; }
DEV u32 shift_left(u32 v, u32 n) { return n < 32 ? v << n : 0; }
DEV u32 permute(u32 a, u32 b, u32 select) {
  u32 d = 0;
  for (int i = 0; i < 4; i++) d |= (u32)(((u64)b << 32 | a) >> 8 * (select >> 4 * i & 7) & 0xff) << 8 * i;
  return d;
}
DEV int f32_to_int(float f) { return (int)nearbyintf(f); }
DEV float int_to_f32(int i) { return (float)i; }
DEV float div_f32(float a, float b) { return a / b; }
DEV float sqrt_f32(float f) { return sqrtf(f); }
DEV float exp_f32(float f) { return expf(f); }
DEV int popcount(u32 v) { return __builtin_popcount(v); }
DEV int lowest_bit(u32 v) { return __builtin_ctz(v); }
DEV u64 clock_now() { static thread_local u64 clocks; return clocks += 1000; } // whoever waits for it goes on

typedef u8* Shared;
DEV Shared shared_base() { return DYN_SMEM; }
typedef uintptr_t SharedPair;
DEV SharedPair pair(Shared a, Shared b) { return (uintptr_t)a + (uintptr_t)b; }
DEV Shared other(SharedPair of, u32 on, Shared one) { return (Shared)(of + on - (uintptr_t)one); }
DEV u32 load_shared4(Shared p) {
  if ((uintptr_t)p % 4) emu::fail("word of shared memory not aligned");
  return *(const u32*)p;
}
DEV u32x4 load_shared16(Shared p) {
  if ((uintptr_t)p % 16) emu::fail("four words of shared memory not aligned");
  return *(const u32x4*)p;
}

// A float product: lane l deposits its halves as float32, and sums 16 products
// of its four numbers in float32, in the order of columns.
template <class F> DEV void mma_float(u32 op, float d[4], const u32* a, const u32* b, const float c[4], F value) {
  auto* all = emu::collect(op, [&](emu::Lane& l) {
    for (int i = 0; i < 8; i++) l.fa[i] = value((u16)(a[i / 2] >> 16 * (i % 2)));
    for (int i = 0; i < 4; i++) l.fb[i] = value((u16)(b[i / 2] >> 16 * (i % 2)));
  });
  int g = emu::cur->lane / 4, t = emu::cur->lane % 4;
  for (int i = 0; i < 4; i++) {
    float sum = c[i];
    for (int k = 0; k < 16; k++) {
      int high = k / 8, from = k % 8 / 2;
      sum += all[g * 4 + from].fa[2 * (i / 2 + 2 * high) + k % 2] * all[(2 * t + i % 2) * 4 + from].fb[2 * high + k % 2];
    }
    d[i] = sum;
  }
}
DEV void mma_m16n8k16_f16(float d[4], const u32* a, const u32* b, const float c[4]) { mma_float(1, d, a, b, c, f16_to_f32); }
DEV void mma_m16n8k16_bf16(float d[4], const u32* a, const u32* b, const float c[4]) { mma_float(2, d, a, b, c, bf16_to_f32); }

// An integer product: words hold 32/bits numbers, columns (32/bits)·t + i, the
// words of b (and the pairs of words of a) 128/bits columns apart.
DEV void mma_int(u32 op, int bits, int words, int d[4], const u32* a, const u32* b, const int c[4]) {
  auto* all = emu::collect(op, [&](emu::Lane& l) { memcpy(l.a, a, 8 * words); memcpy(l.b, b, 4 * words); });
  int g = emu::cur->lane / 4, t = emu::cur->lane % 4;
  for (int i = 0; i < 4; i++) {
    int sum = c[i];
    for (int q = 0; q < words; q++)
      for (int from = 0; from < 4; from++) {
        u32 x = all[g * 4 + from].a[i / 2 + 2 * q], y = all[(2 * t + i % 2) * 4 + from].b[q];
        for (int k = 0; k < 32; k += bits) sum += ((int)(x << (32 - bits - k)) >> (32 - bits)) * ((int)(y << (32 - bits - k)) >> (32 - bits));
      }
    d[i] = sum;
  }
}
DEV void mma_m16n8k32_s8(int d[4], const u32* a, const u32* b, const int c[4]) { mma_int(3, 8, 2, d, a, b, c); }
DEV void mma_m16n8k16_s8(int d[4], const u32* a, const u32* b, const int c[4]) { mma_int(4, 8, 1, d, a, b, c); }
DEV void mma_m16n8k64_s4(int d[4], const u32* a, const u32* b, const int c[4]) { mma_int(5, 4, 2, d, a, b, c); }
DEV void mma_m16n8k32_s4(int d[4], const u32* a, const u32* b, const int c[4]) { mma_int(6, 4, 1, d, a, b, c); }

DEV void ldmatrix(int count, u32* r, const void* p) {
  if ((uintptr_t)p % 16) emu::fail("ldmatrix address not aligned to 16 bytes");
  auto* all = emu::collect(6 + count, [&](emu::Lane& l) { l.p = (const u8*)p; });
  unsigned l = emu::cur->lane;
  for (int i = 0; i < count; i++) memcpy(&r[i], all[i * 8 + l / 4].p + l % 4 * 4, 4);
}
DEV void ldmatrix_x1(u32* r, const void* p) { ldmatrix(1, r, p); }
DEV void ldmatrix_x2(u32* r, const void* p) { ldmatrix(2, r, p); }
DEV void ldmatrix_x4(u32* r, const void* p) { ldmatrix(4, r, p); }

DEV void ldmatrix_x4_trans(u32* r, const void* p) {
  if ((uintptr_t)p % 16) emu::fail("ldmatrix address not aligned to 16 bytes");
  auto* all = emu::collect(30, [&](emu::Lane& l) { l.p = (const u8*)p; });
  unsigned l = emu::cur->lane;
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 2; j++) memcpy((u8*)&r[i] + 2 * j, all[i * 8 + l % 4 * 2 + j].p + l / 4 * 2, 2);
}

DEV void cp_async(void* to, const void* from, int bytes, bool real) {
  if (((uintptr_t)to | (uintptr_t)from) % bytes) emu::fail("cp.async not aligned to its size");
  emu::cur->open.push_back({to, from, bytes, real});
}
DEV void cp_async16(void* s, const void* g) { cp_async(s, g, 16, true); }
DEV void cp_async16_or_zero(void* s, const void* g, bool real) { cp_async(s, g, 16, real); }
DEV void cp_async4_or_zero(void* s, const void* g, bool real) { cp_async(s, g, 4, real); }
DEV void cp_async16_if(void* s, const void* g, bool real) { if (real) cp_async(s, g, 16, true); }
DEV void cp_async4_if(void* s, const void* g, bool real) { if (real) cp_async(s, g, 4, true); }
DEV void cp_async_commit() {
  emu::cur->groups.push_back(std::move(emu::cur->open));
  emu::cur->open.clear();
}
template <int N> DEV void cp_async_wait() {
  auto& q = emu::cur->groups;
  while ((int)q.size() > N) {
    for (auto& c : q.front()) c.real ? (void)memcpy(c.to, c.from, c.bytes) : (void)memset(c.to, 0, c.bytes);
    q.erase(q.begin());
  }
}

DEV void sync_warp() { emu::collect(20, [](emu::Lane&) {}); }
DEV void sync_block() { emu::block_barrier(); }
DEV u32 warp_get(u32 v, int lane) { return emu::collect(21, [&](emu::Lane& l) { l.a[0] = v; })[lane & 31].a[0]; }
DEV u32 warp_xor(u32 v, int m) { return emu::collect(22, [&](emu::Lane& l) { l.a[0] = v; })[emu::cur->lane ^ m].a[0]; }
DEV u32 warp_ballot(bool b) {
  auto* all = emu::collect(23, [&](emu::Lane& l) { l.a[0] = b; });
  u32 r = 0;
  for (int i = 0; i < 32; i++) r |= all[i].a[0] << i;
  return r;
}

// Blocks run one after another, so that these need no order between them.
DEV void fence() {}
DEV u32 atomic_add(u32* p, u32 v) { return __atomic_fetch_add(p, v, __ATOMIC_RELAXED); }
DEV f32x4 load_uncached(const f32x4* p) { return *p; }
