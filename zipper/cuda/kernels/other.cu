// other.cu: what stands before, beside and against the matrix kernels: the
// quantization of activations, the fp16 outliers of a mixed-precision baseline,
// a plain copy, and what timing needs: a read of memory and a delay.
#include "rows.h"

// quantize_a8: quant.A8 of a token per block. With one token there is one block,
// and all that counts is how soon it is done: so 1024 threads, four elements a
// load, and all loads of a thread (up to 16384 columns) before the first use.
KERNEL(1024, quantize_a8)(u64 xq, u64 ldq, u64 xs, u64 x, u64 xtype, u64 ldx, u64 m, u64 k, u64 kt) {
  constexpr u32 KEPT = 4;
  u32* warps = (u32*)DYN_SMEM;
  u64 token = blockIdx.x;
  if (token >= m) return;
  const u8* from = (const u8*)x + token * ldx;
  u32 columns = (u32)k, words = 16 * (u32)kt, thread = threadIdx.x;
  float v[KEPT][4];
  UNROLL for (u32 i = 0; i < KEPT; i++) load4(v[i], from, xtype, thread + 1024 * i, columns);
  u32 largest = 0;
  UNROLL for (u32 i = 0; i < KEPT; i++) largest = largest4(largest, v[i]);
  ROLL for (u32 word = thread + 1024 * KEPT; word < words; word += 1024) {
    float more[4];
    load4(more, from, xtype, word, columns);
    largest = largest4(largest, more);
  }
  largest = warp_max(largest);
  if (thread % 32 == 0) warps[thread / 32] = largest;
  sync_block();
  largest = warp_max(warps[thread % 32]);
  float scale = scale_of(largest, 127);
  if (thread == 0) ((float*)xs)[token] = scale;
  u32* to = (u32*)((u8*)xq + token * ldq);
  UNROLL for (u32 i = 0; i < KEPT; i++)
    if (thread + 1024 * i < words) to[thread + 1024 * i] = codes4(v[i], scale);
  ROLL for (u32 word = thread + 1024 * KEPT; word < words; word += 1024) {
    float more[4];
    load4(more, from, xtype, word, columns);
    to[word] = codes4(more, scale);
  }
}
REGISTER(quantize_a8, 1, 0, 1024, 128)

// quantize_a4: quant.A4 of a token per block, a group of columns at a time per warp.
KERNEL(256, quantize_a4)(u64 xq, u64 ldq, u64 xs, u64 x, u64 xtype, u64 ldx, u64 m, u64 k, u64 kt, u64 xgroup) {
  u64 token = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (token >= m) return;
  u64 groups = (64 * kt + xgroup - 1) / xgroup;
  const u8* from = (const u8*)x + token * ldx;
  u32* to = (u32*)((u8*)xq + token * ldq);
  for (u64 g = warp; g < groups; g += 8) {
    u64 first = g * xgroup, last = first + xgroup;
    u32 largest = 0;
    for (u64 c = first + lane; c < last && c < k; c += 32) {
      u32 v = magnitude(read(from, xtype, c));
      largest = v > largest ? v : largest;
    }
    float scale = scale_of(warp_max(largest), 7);
    if (lane == 0) ((float*)xs)[token * groups + g] = scale;
    for (u64 word = first / 8 + lane; word < last / 8 && word < 8 * kt; word += 32) {
      u64 start = word / 8 * 64 + word / 4 % 2 * 32 + word % 4 * 4; // of its first column, see ABI.md
      u32 nibbles = 0;
      for (int i = 0; i < 8; i++) {
        u64 c = start + i / 4 * 16 + i % 4;
        if (c < k) nibbles |= (u32)(code(read(from, xtype, c), scale, 7) & 15) << 4 * i;
      }
      to[word] = nibbles;
    }
  }
}
REGISTER(quantize_a4, 1, 0, 256, 0)

// convert_a16: a token per block to half (ctype 1) or bfloat16 (2), padded with zeros.
KERNEL(256, convert_a16)(u64 xc, u64 ldc, u64 ctype, u64 x, u64 xtype, u64 ldx, u64 m, u64 k, u64 kt) {
  u64 token = blockIdx.x;
  if (token >= m) return;
  const u8* from = (const u8*)x + token * ldx;
  u16* to = (u16*)((u8*)xc + token * ldc);
  for (u64 c = threadIdx.x; c < 64 * kt; c += 256) {
    float v = c < k ? read(from, xtype, c) : 0;
    to[c] = ctype == HALF ? f32_to_f16(v) : f32_to_bf16(v);
  }
}
REGISTER(convert_a16, 1, 0, 256, 0)

// outliers: Y += X·Oᵀ, O in compressed sparse rows. A warp has a row of O and 8
// tokens; its lanes share the row's values and gather the columns of X, so that
// reads of X do not coalesce: what unstructured outliers cost.
KERNEL(256, outliers)(u64 y, u64 ytype, u64 x, u64 xtype, u64 ldx, u64 xs, u64 ptr, u64 cols, u64 values, u64 m, u64 n) {
  u64 row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, token = blockIdx.y * 8;
  if (row >= n) return;
  u32 first = ((const u32*)ptr)[row], last = ((const u32*)ptr)[row + 1];
  u32 tokens = m - token < 8 ? (u32)(m - token) : 8;
  float sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  for (u32 i = first + (u32)lane; i < last; i += 32) {
    u64 c = ((const u32*)cols)[i];
    float v = f16_to_f32(((const u16*)values)[i]);
    UNROLL for (u32 t = 0; t < 8; t++)
      if (t < tokens) sum[t] += v * read((const u8*)x + (token + t) * ldx, xtype, c);
  }
  UNROLL for (u32 t = 0; t < 8; t++) {
    for (int mask = 16; mask; mask /= 2) sum[t] += bits_f32(warp_xor(f32_bits(sum[t]), mask));
    if (lane != t || t >= tokens) continue;
    float v = sum[t];
    if (xtype == INT8) v *= ((const float*)xs)[token + t];
    u64 at = (token + t) * n + row;
    v += read((const u8*)y, ytype, at);
    if (ytype == F32) ((float*)y)[at] = v;
    else ((u16*)y)[at] = ytype == HALF ? f32_to_f16(v) : f32_to_bf16(v);
  }
}
REGISTER(outliers, 8, 8, 256, 0)

// copy16 copies n 16-byte words.
KERNEL(256, copy16)(u64 dst, u64 src, u64 n) {
  for (u64 i = (u64)blockIdx.x * 256 + threadIdx.x; i < n; i += (u64)gridDim.x * 256) ((u32x4*)dst)[i] = ((const u32x4*)src)[i];
}
REGISTER(copy16, 0, 0, 256, 0)

// read16 reads n 16-byte words and writes nothing, unless their bits have a sum
// that memory of zeros cannot have: then one word goes to sink.
KERNEL(256, read16)(u64 sink, u64 src, u64 n) {
  u32 all = 0;
  for (u64 i = (u64)blockIdx.x * 256 + threadIdx.x; i < n; i += (u64)gridDim.x * 256) {
    u32x4 v = ((const u32x4*)src)[i];
    all |= v.w[0] | v.w[1] | v.w[2] | v.w[3];
  }
  if (all) *(u32*)sink = all;
}
REGISTER(read16, 0, 0, 256, 0)

// delay keeps one multiprocessor busy for some of its clocks, and nothing else.
KERNEL(32, delay)(u64 clocks) {
  u64 start = clock_now();
  while (clock_now() - start < clocks) {}
}
REGISTER(delay, 0, 0, 32, 0)
