// list.h: the matrix kernels. ABI.md says what the names mean.
//
// A block's shared memory fits into an SM of sm_86 and sm_89 (100 KB), and twice into
// one of sm_90 (228 KB); into one of sm_80 (164 KB) twice where it is below 81 KB.
// Only W4A4 has tiles of 128 tokens. Those of the others take more registers than there are: their
// loops spill, and execute for 64 tokens as much as tiles of 64 do.
#pragma once
#include "zipper.h"

#define PARAMS                                                                             \
  u64 y, u64 ytype, u64 x, u64 ldx, u64 xs, u64 xgroup, u64 w, u64 s, u64 group, u64 index, \
      u64 r, u64 rform, u64 m, u64 n, u64 kt, u64 part, u64 count
#define ARGS                                                                              \
  { (u8*)y, (u32)ytype, (const u8*)x, ldx, (const float*)xs, (u32)xgroup, (const u8*)w, (const u8*)s, \
    (u32)group, (const u32*)index, (const u8*)r, (u32)rform, (u32)m, (u32)n, (u32)kt, (f32x4*)part, (u32*)count }

// MATRIX(name, scheme, kind, groups of a tile, tokens, panels of a warp, warps, stages, along K)
#define MATRIX(name, ...)                                                          \
  typedef Shape<__VA_ARGS__> shape_##name;                                         \
  KERNEL_BLOCKS(shape_##name::THREADS, shape_##name::BLOCKS, name)(PARAMS) {       \
    Args a = ARGS;                                                                 \
    a.kt /= shape_##name::COLS / 64;                                               \
    multiply<shape_##name>(a);                                                     \
  }                                                                                \
  REGISTER(name, shape_##name::TOKENS, shape_##name::ROWS, shape_##name::THREADS, shape_##name::SMEM)

// The same tiles with and without the residual, so that a difference in time is
// the residual's.
#define DENSE_AND_ZIP(name, tile, scheme, ...)                    \
  MATRIX(name##_dense_##tile, scheme, DENSE, 1, __VA_ARGS__)  \
  MATRIX(name##_zip_##tile, scheme, ZIP, 1, __VA_ARGS__)      \
  MATRIX(name##_dense32_##tile, scheme, DENSE, 2, __VA_ARGS__) \
  MATRIX(name##_zip32_##tile, scheme, ZIP, 2, __VA_ARGS__)
#define RESIDUAL(name, tile, scheme, ...) MATRIX(name##_sparse_##tile, scheme, SPARSE, 1, __VA_ARGS__)

#define W4A16_KERNELS(name, scheme)                      \
  DENSE_AND_ZIP(name, t8, scheme, 8, 4, 4, 4, true)      \
  DENSE_AND_ZIP(name, t16, scheme, 16, 4, 4, 4, true)    \
  DENSE_AND_ZIP(name, t32, scheme, 32, 2, 4, 4, false)   \
  DENSE_AND_ZIP(name, t64, scheme, 64, 2, 4, 4, false)   \
  RESIDUAL(name, t8, scheme, 8, 2, 4, 6, true)           \
  RESIDUAL(name, t32, scheme, 32, 2, 4, 3, true)         \
  RESIDUAL(name, t64, scheme, 64, 2, 4, 2, true)

#define W4A8_KERNELS(name, scheme)                       \
  DENSE_AND_ZIP(name, t8, scheme, 8, 4, 4, 4, true)      \
  DENSE_AND_ZIP(name, t16, scheme, 16, 4, 4, 4, true)    \
  DENSE_AND_ZIP(name, t32, scheme, 32, 2, 4, 4, false)   \
  DENSE_AND_ZIP(name, t64, scheme, 64, 2, 4, 4, false)   \
  RESIDUAL(name, t8, scheme, 8, 2, 4, 6, true)           \
  RESIDUAL(name, t32, scheme, 32, 2, 4, 4, true)         \
  RESIDUAL(name, t64, scheme, 64, 2, 4, 3, true)

#define W4A4_KERNELS(name, scheme)                       \
  DENSE_AND_ZIP(name, t16, scheme, 16, 2, 4, 6, true)    \
  DENSE_AND_ZIP(name, t64, scheme, 64, 2, 4, 4, false)   \
  DENSE_AND_ZIP(name, t128, scheme, 128, 2, 4, 4, false) \
  RESIDUAL(name, t16, scheme, 16, 2, 4, 6, true)         \
  RESIDUAL(name, t64, scheme, 64, 2, 4, 4, true)
