// rows.h: how a row of activations is read, and rounded as quant.A8 and quant.A4 say.
#pragma once
#include "dev.h"

enum { F32, HALF, BFLOAT, INT8, INT4, SPLIT }; // types of activations; the last three are not read

DEV float read(const u8* x, u64 type, u64 i) {
  if (type == F32) return ((const float*)x)[i];
  if (type == INT8) return (float)((const signed char*)x)[i];
  u16 h = ((const u16*)x)[i];
  return type == HALF ? f16_to_f32(h) : bits_f32((u32)h << 16);
}

// Magnitudes are compared as bits, where infinities and NaN are the largest.
DEV u32 magnitude(float f) { return f32_bits(f) & 0x7fffffffu; }
DEV u32 warp_max(u32 v) {
  for (int m = 16; m; m /= 2) {
    u32 o = warp_xor(v, m);
    v = o > v ? o : v;
  }
  return v;
}

// A scale that makes the largest magnitude the code top, NaN if that is not finite.
DEV float scale_of(u32 largest, float top) {
  return largest >= 0x7f800000u ? bits_f32(0x7fc00000u) : div_f32(bits_f32(largest), top);
}
// code rounds to the nearest, ties to even; 0 where there is no scale to divide by.
DEV int code(float x, float scale, float top) {
  if (!(scale > 0)) return 0;
  float v = div_f32(x, scale);
  return f32_to_int(v > top ? top : v < -top ? -top : v);
}

// load4 reads elements 4·word to 4·word+3 of a row that begins on 16 bytes and
// has a multiple of 16 of them; those from k on are zero.
DEV void load4(float v[4], const u8* x, u64 type, u32 word, u32 k) {
  UNROLL for (int i = 0; i < 4; i++) v[i] = 0;
  if (4 * word >= k) return;
  if (type == F32) {
    f32x4 f = ((const f32x4*)x)[word];
    UNROLL for (int i = 0; i < 4; i++) v[i] = f.v[i];
  } else {
    u32x2 h = ((const u32x2*)x)[word];
    UNROLL for (int i = 0; i < 4; i++) {
      u16 e = (u16)(h.w[i / 2] >> 16 * (i % 2));
      v[i] = type == HALF ? f16_to_f32(e) : bits_f32((u32)e << 16);
    }
  }
  UNROLL for (int i = 1; i < 4; i++) v[i] = 4 * word + i < k ? v[i] : 0;
}
DEV u32 largest4(u32 largest, const float v[4]) {
  UNROLL for (int i = 0; i < 4; i++) {
    u32 m = magnitude(v[i]);
    largest = m > largest ? m : largest;
  }
  return largest;
}
DEV u32 codes4(const float v[4], float scale) {
  u32 bytes = 0;
  UNROLL for (int i = 0; i < 4; i++) bytes |= (u32)(code(v[i], scale, 127) & 255) << 8 * i;
  return bytes;
}
