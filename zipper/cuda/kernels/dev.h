// dev.h: what kernels need beyond plain C++. It is the only file with inline
// assembly, and the only place where device and emulation differ: NVRTC and
// nvcc see the first half, a host compiler includes ../emu/emu.h instead.
//
// So that one source serves both, kernels keep to rules: shared memory only by
// DYN_SMEM and by pointer; every collective (mma, ldmatrix, shuffle, ballot,
// sync) reached by whole warps; blocks of a multiple of 32 threads; no CUDA header.
#pragma once
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
struct alignas(16) u32x4 { u32 w[4]; };
struct alignas(8) u32x2 { u32 w[2]; };
struct alignas(16) f32x4 { float v[4]; };
struct alignas(8) f32x2 { float v[2]; };

#ifdef __CUDACC__ // nvcc and NVRTC
#define INLINE __device__ __forceinline__
#define DEV static INLINE
#define KERNEL(threads, name) extern "C" __global__ void __launch_bounds__(threads) name
// KERNEL_BLOCKS also asks for room for some blocks on a multiprocessor. With 0, as
// with KERNEL, the compiler trades registers for blocks as it likes; with 1 it
// spends them rather than recompute addresses and spill.
#define KERNEL_BLOCKS(threads, blocks, name) extern "C" __global__ void __launch_bounds__(threads, blocks) name
extern __shared__ __align__(128) u8 dyn_smem_[];
#define DYN_SMEM (dyn_smem_)
#define UNROLL _Pragma("unroll")
#define ROLL _Pragma("unroll 1")
#define REGISTER(...)

// An address in shared memory as copies and ldmatrix take it. It is computed once:
// what the compiler makes of a pointer costs an instruction each time.
typedef u32 Shared;
DEV Shared shared_base() { return (u32)__cvta_generic_to_shared(DYN_SMEM); }

// pair stands for two addresses by their sum, to which one may add; other gives that which is not `one`.
typedef u32 SharedPair;
DEV SharedPair pair(Shared a, Shared b) { return a + b; }
DEV Shared other(SharedPair of, u32 on, Shared one) { return of + on - one; }
DEV u32 load_shared4(Shared p) { u32 v; asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(p) : "memory"); return v; }
DEV u32x4 load_shared16(Shared p) {
  u32x4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3]) : "r"(p) : "memory");
  return v;
}

// Matrix products d = a·b + c of a warp. a is 16 rows x k, b is k x 8; lane l,
// g = l/4, t = l%4, holds d[0..1]: row g, columns 2t, 2t+1; d[2..3]: row g+8.
#define MMA_F(name, shape, type)                                                              \
  DEV void name(float d[4], const u32* a, const u32* b, const float c[4]) {                   \
    asm("mma.sync.aligned." shape ".row.col.f32." type "." type ".f32 "                       \
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%11,%12,%13};"                              \
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])                                      \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(c[0]),        \
          "f"(c[1]), "f"(c[2]), "f"(c[3]));                                                   \
  }
#define MMA_I4(name, shape, type)                                                             \
  DEV void name(int d[4], const u32* a, const u32* b, const int c[4]) {                       \
    asm("mma.sync.aligned." shape ".row.col.s32." type "." type ".s32 "                       \
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%10,%11,%12,%13};"                              \
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                                      \
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]),        \
          "r"(c[1]), "r"(c[2]), "r"(c[3]));                                                   \
  }
#define MMA_I2(name, shape, type)                                                             \
  DEV void name(int d[4], const u32* a, const u32* b, const int c[4]) {                       \
    asm("mma.sync.aligned." shape ".row.col.s32." type "." type ".s32 "                       \
        "{%0,%1,%2,%3},{%4,%5},{%6},{%7,%8,%9,%10};"                                          \
        : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])                                      \
        : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));       \
  }
MMA_F(mma_m16n8k16_f16, "m16n8k16", "f16")   // a, b: two halves a word, columns 2t, 2t+1 (+8)
MMA_F(mma_m16n8k16_bf16, "m16n8k16", "bf16")
MMA_I4(mma_m16n8k32_s8, "m16n8k32", "s8")    // four bytes a word, columns 4t.. (+16)
MMA_I2(mma_m16n8k16_s8, "m16n8k16", "s8")
MMA_I4(mma_m16n8k64_s4, "m16n8k64", "s4")    // eight nibbles a word, columns 8t.. (+32)
MMA_I2(mma_m16n8k32_s4, "m16n8k32", "s4")

// ldmatrix: lanes 8i..8i+7 address the eight 16-byte rows of matrix i; lane l
// receives word l%4 of row l/4 of each.
DEV void ldmatrix_x1(u32* r, Shared p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(p) : "memory");
}
DEV void ldmatrix_x2(u32* r, Shared p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(p) : "memory");
}
DEV void ldmatrix_x4(u32* r, Shared p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(p) : "memory");
}
// ldmatrix_x4_trans gives lane l the elements l/4 of rows 2(l%4) and 2(l%4)+1 of each.
DEV void ldmatrix_x4_trans(u32* r, Shared p) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(p) : "memory");
}

// Asynchronous copies from global to shared memory, seen by this thread after
// the wait that covers their group, and by others after a barrier beyond it.
DEV void cp_async16(Shared s, const void* g) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(s), "l"(g) : "memory");
}
// Writes 16 zero bytes instead, and reads nothing, unless real.
DEV void cp_async16_or_zero(Shared s, const void* g, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(s), "l"(g), "r"(real ? 16 : 0) : "memory");
}
// Copies if real, and writes nothing else: without a branch.
DEV void cp_async16_if(Shared s, const void* g, bool real) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16; }" ::"r"(s), "l"(g), "r"((u32)real) : "memory");
}
DEV void cp_async4_or_zero(Shared s, const void* g, bool real) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(s), "l"(g), "r"(real ? 4 : 0) : "memory");
}
DEV void cp_async4_if(Shared s, const void* g, bool real) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.ca.shared.global [%0], [%1], 4; }" ::"r"(s), "l"(g), "r"((u32)real) : "memory");
}
DEV void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEV void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); } // all but the last N groups

DEV u16 f32_to_f16(float f) { u16 h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f)); return h; }
DEV float f16_to_f32(u16 h) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h)); return f; }
DEV u16 f32_to_bf16(float f) { u16 h; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f)); return h; }
DEV u32 sub_f16x2(u32 a, u32 b) { u32 d; asm("sub.f16x2 %0, %1, %2;" : "=r"(d) : "r"(a), "r"(b)); return d; }
DEV u32 fma_f16x2(u32 a, u32 b, u32 c) { u32 d; asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d; }
DEV u32 fma_bf16x2(u32 a, u32 b, u32 c) { u32 d; asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c)); return d; }
// and_or is (w & mask) | bits in one instruction; from C++ the compiler makes two.
DEV u32 and_or(u32 w, u32 mask, u32 bits) { u32 d; asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(w), "r"(mask), "r"(bits)); return d; }
// permute makes a word of bytes of a (0..3) and b (4..7): its byte i is that which nibble i of select names.
DEV u32 permute(u32 a, u32 b, u32 select) { u32 d; asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(select)); return d; }
// shift_left is v << n, and 0 from n = 32 on.
DEV u32 shift_left(u32 v, u32 n) { u32 d; asm("shl.b32 %0, %1, %2;" : "=r"(d) : "r"(v), "r"(n)); return d; }
// opaque is v, of which the compiler knows nothing: it keeps v in a register rather than make it anew.
DEV u32 opaque(u32 v) { u32 r; asm volatile("mov.u32 %0, %1;" : "=r"(r) : "r"(v)); return r; }
DEV int opaque(int v) { return (int)opaque((u32)v); }
DEV const u8* opaque(const u8* v) { const u8* r; asm volatile("mov.u64 %0, %1;" : "=l"(r) : "l"(v)); return r; }
DEV u32 f32_bits(float f) { return __float_as_uint(f); }
DEV float bits_f32(u32 u) { return __uint_as_float(u); }
DEV int f32_to_int(float f) { return __float2int_rn(f); } // ties to even
DEV float int_to_f32(int i) { return __int2float_rn(i); }
DEV float div_f32(float a, float b) { return __fdiv_rn(a, b); }
DEV float sqrt_f32(float f) { return __fsqrt_rn(f); }
DEV float exp_f32(float f) { return __expf(f); } // within 2 + |f| units in the last place

DEV void sync_warp() { __syncwarp(); }
DEV void sync_block() { __syncthreads(); }
DEV u32 warp_get(u32 v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEV u32 warp_xor(u32 v, int m) { return __shfl_xor_sync(0xffffffffu, v, m); }
DEV u32 warp_ballot(bool b) { return __ballot_sync(0xffffffffu, b); }
DEV int popcount(u32 v) { return __popc(v); }
DEV int lowest_bit(u32 v) { return __ffs(v) - 1; } // v != 0
DEV u64 clock_now() { return (u64)clock64(); } // of the multiprocessor

// For partial sums that other blocks read: fence after writing and before
// reading; load_uncached bypasses the L1 cache.
DEV void fence() { __threadfence(); }
DEV u32 atomic_add(u32* p, u32 v) { return atomicAdd(p, v); }
DEV f32x4 load_uncached(const f32x4* p) {
  f32x4 r;
  asm volatile("ld.global.cg.v4.f32 {%0,%1,%2,%3}, [%4];" : "=f"(r.v[0]), "=f"(r.v[1]), "=f"(r.v[2]), "=f"(r.v[3]) : "l"(p) : "memory");
  return r;
}
#else
#define UNROLL
#define ROLL
#include "../emu/emu.h"
#endif
