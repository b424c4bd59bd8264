// scheme.h: the four ways to multiply a tile of 4-bit weights by activations.
//
// Weights are the first operand of mma (16 rows of W), activations the second (8
// tokens), so that Y comes out transposed: a lane holds rows 2g, 2g+1 of tokens
// 2t, 2t+1. Eight codes of a lane are one 32-bit word, and become one operand by
// a few logic instructions; no weight passes through shared memory once unpacked.
//
// A scheme is
//   COLS          columns of a tile: 64, but for those of wide.h, whose residual tiles Tile multiplies
//   ROW           bytes of a token in a tile
//   A, unpack     operand of a tile, from the words of a lane
//   PARTS, part   addresses of X that a lane reads for the first 8 tokens, from the begin of X in a stage
//   B, load       operand of 8 tokens ("octet"), given these addresses; X of others lies a multiple of 8·ROW on
//   whole         d = sums over the 64 columns
//   HalfA .. half the same for 32 columns: half h of a tile
//   .. cell       and for the 16 columns of cell s
//   Start, Seldom what sums of integers start from, and how they are read: those of the base, and of a residual
//   unit          of the result: A holds q/unit. Only schemes with TOKEN_SCALES have one but 1
//   TOKEN_SCALES  a scale per token is applied at the end, GROUP_SCALES: with every tile
#pragma once
#include "dev.h"

// Rows of X in shared memory lie ROW bytes apart, their 16-byte chunks exchanged
// so that the 8 rows that ldmatrix reads at once fall into different banks.
template <int ROW> DEV u32 swizzle(u32 token, u32 chunk) {
  constexpr int TOKENS = ROW < 128 ? 128 / ROW : 1, CHUNKS = ROW < 128 ? ROW / 16 : 8; // of all banks
  return token * ROW + ((chunk ^ (token / TOKENS) % CHUNKS) * 16);
}

// W4A16, half. The word w and 0x6400, the half 1024, give 1024+u without an
// arithmetic instruction: its lowest ten bits count ones. A nibble four bits higher
// counts 16, which a product with 1/16 takes back: so one shift serves a word.
struct F16 {
  static INLINE void cell(u32* a, u32 w) { // u-8, twice a word
    UNROLL for (int i = 0; i < 2; i++, w >>= 8) {
      a[2 * i] = sub_f16x2(and_or(w, 0x000f000fu, 0x64006400u), 0x64086408u);
      a[2 * i + 1] = fma_f16x2(and_or(w, 0x00f000f0u, 0x64006400u), 0x2c002c00u, 0xd480d480u); // /16 - 72
    }
  }
  static INLINE void mma(float d[4], const u32* a, const u32* b, const float c[4]) { mma_m16n8k16_f16(d, a, b, c); }
};
// W4A16, bfloat16: 0x4300 is 128, whose lowest seven bits count ones. There is no
// room for 16 times a nibble.
struct BF16 {
  static INLINE void cell(u32* a, u32 w) {
    UNROLL for (int i = 0; i < 4; i++) a[i] = fma_bf16x2(and_or(w >> (4 * i), 0x000f000fu, 0x43004300u), 0x3f803f80u, 0xc308c308u); // ·1 - 136
  }
  static INLINE void mma(float d[4], const u32* a, const u32* b, const float c[4]) { mma_m16n8k16_bf16(d, a, b, c); }
};

template <class T> struct W4A16 {
  enum : int { COLS = 64, ROW = 128, PARTS = 2 };
  typedef W4A16 Tile;
  enum : bool { TOKEN_SCALES = false, GROUP_SCALES = false };
  struct Start {};
  typedef Start Seldom;
  struct A { u32 r[16]; };
  struct B { u32 r[8]; };
  static INLINE void unpack_cell(u32* a, u32 w) { T::cell(a, w); }
  static INLINE void unpack(A& a, const u32x4& w) { UNROLL for (int s = 0; s < 4; s++) unpack_cell(a.r + 4 * s, w.w[s]); }
  static INLINE u32 part(u32 i, u32 lane) { return swizzle<ROW>(lane % 8, lane / 8 + 4 * i); }
  static INLINE void load(B& b, const Shared* x, u32 octet) {
    UNROLL for (u32 i = 0; i < PARTS; i++) ldmatrix_x4(b.r + 4 * i, x[i] + octet * (8 * ROW));
  }
  static INLINE void whole(float d[4], const A& a, const B& b, const Start&) {
    const float zero[4] = {0, 0, 0, 0};
    T::mma(d, a.r, b.r, zero);
    UNROLL for (int s = 1; s < 4; s++) T::mma(d, a.r + 4 * s, b.r + 2 * s, d);
  }
  struct HalfA { u32 r[8]; };
  struct HalfB { u32 r[4]; };
  static INLINE void unpack_half(HalfA& a, const u32x2& w) { UNROLL for (int s = 0; s < 2; s++) unpack_cell(a.r + 4 * s, w.w[s]); }
  static INLINE void load_half(HalfB& b, Shared x, u32 octet, u32 h, u32 lane) {
    ldmatrix_x4(b.r, x + swizzle<ROW>(octet * 8 + lane % 8, 4 * h + lane / 8));
  }
  static INLINE void half(float d[4], const HalfA& a, const HalfB& b, const Start&) {
    const float zero[4] = {0, 0, 0, 0};
    T::mma(d, a.r, b.r, zero);
    T::mma(d, a.r + 4, b.r + 2, d);
  }
  static INLINE void load_cell(u32* b, Shared x, u32 octet, u32 s, u32 lane) {
    ldmatrix_x2(b, x + swizzle<ROW>(octet * 8 + lane % 8, 2 * s + lane / 8 % 2));
  }
  static INLINE void cell(float d[4], const u32* a, const u32* b, const Start&) {
    const float zero[4] = {0, 0, 0, 0};
    T::mma(d, a, b, zero);
  }
};

// Sums of integers start from the bits of 1.5·2^23, at which a float32 counts
// ones: subtracting that number makes them float32 at full rate, where a
// conversion would take a quarter of it. They stay below 2^22: 64·127·16·8.
struct Counter {
  int c[4];
  INLINE Counter() { UNROLL for (int i = 0; i < 4; i++) c[i] = 0x4b400000; }
  static INLINE void read(float d[4], const int c[4]) { UNROLL for (int i = 0; i < 4; i++) d[i] = bits_f32((u32)c[i]) - 12582912.0f; }
};

// A few sums begin with zero, for which there is a register, and are converted.
struct Converter {
  int c[4];
  INLINE Converter() { UNROLL for (int i = 0; i < 4; i++) c[i] = 0; }
  static INLINE void read(float d[4], const int c[4]) { UNROLL for (int i = 0; i < 4; i++) d[i] = int_to_f32(c[i]); }
};

// W4A8. A nibble in the upper half of a byte is 16·q, a signed byte, at the cost
// of one AND; the scale takes the 16 back.
struct W4A8 {
  enum : int { COLS = 64, ROW = 64, PARTS = 1 };
  typedef W4A8 Tile;
  enum : bool { TOKEN_SCALES = true, GROUP_SCALES = false };
  static INLINE float unit() { return 0.0625f; }
  typedef Counter Start;
  typedef Converter Seldom;
  struct A { u32 r[8]; };
  struct B { u32 r[4]; };
  static INLINE void unpack_cell(u32* a, u32 w) { a[0] = (w << 4) & 0xf0f0f0f0u; a[1] = w & 0xf0f0f0f0u; }
  static INLINE void unpack(A& a, const u32x4& w) { UNROLL for (int s = 0; s < 4; s++) unpack_cell(a.r + 2 * s, w.w[s]); }
  static INLINE u32 part(u32, u32 lane) { return swizzle<ROW>(lane % 8, lane / 8); }
  static INLINE void load(B& b, const Shared* x, u32 octet) { ldmatrix_x4(b.r, x[0] + octet * (8 * ROW)); }
  template <class S> static INLINE void whole(float d[4], const A& a, const B& b, const S& start) {
    int c[4];
    mma_m16n8k32_s8(c, a.r, b.r, start.c);
    mma_m16n8k32_s8(c, a.r + 4, b.r + 2, c);
    S::read(d, c);
  }
  struct HalfA { u32 r[4]; };
  struct HalfB { u32 r[2]; };
  static INLINE void unpack_half(HalfA& a, const u32x2& w) { UNROLL for (int s = 0; s < 2; s++) unpack_cell(a.r + 2 * s, w.w[s]); }
  static INLINE void load_half(HalfB& b, Shared x, u32 octet, u32 h, u32 lane) {
    ldmatrix_x2(b.r, x + swizzle<ROW>(octet * 8 + lane % 8, 2 * h + lane / 8 % 2));
  }
  static INLINE void half(float d[4], const HalfA& a, const HalfB& b, const Start& start) {
    int c[4];
    mma_m16n8k32_s8(c, a.r, b.r, start.c);
    Counter::read(d, c);
  }
  static INLINE void load_cell(u32* b, Shared x, u32 octet, u32 s, u32 lane) {
    ldmatrix_x1(b, x + swizzle<ROW>(octet * 8 + lane % 8, s));
  }
  template <class S> static INLINE void cell(float d[4], const u32* a, const u32* b, const S& start) {
    int c[4];
    mma_m16n8k16_s8(c, a, b, start.c);
    S::read(d, c);
  }
};

// W4A4: codes are operands as they are. Tensor cores of sm_80, 86 and 89 take
// them; on sm_90 the driver emulates these instructions.
struct W4A4 {
  enum : int { COLS = 64, ROW = 32, PARTS = 1 };
  typedef W4A4 Tile;
  enum : bool { TOKEN_SCALES = false, GROUP_SCALES = true };
  typedef Counter Start;
  typedef Converter Seldom;
  struct A { u32 r[4]; };
  struct B { u32 r[2]; };
  struct HalfA { u32 r[2]; };
  struct HalfB { u32 r[1]; };
  static INLINE void join(u32* a, u32 w0, u32 w1) { // rows 2g are the lower 16 bits of a cell's word, rows 2g+1 the upper
    a[0] = (w0 & 0xffffu) | w1 << 16;
    a[1] = w0 >> 16 | (w1 & 0xffff0000u);
  }
  static INLINE void unpack(A& a, const u32x4& w) { join(a.r, w.w[0], w.w[1]), join(a.r + 2, w.w[2], w.w[3]); }
  static INLINE void unpack_half(HalfA& a, const u32x2& w) { join(a.r, w.w[0], w.w[1]); }
  static INLINE u32 part(u32, u32 lane) { return swizzle<ROW>(lane % 8, lane / 8 % 2); }
  static INLINE void load(B& b, const Shared* x, u32 octet) { ldmatrix_x2(b.r, x[0] + octet * (8 * ROW)); }
  static INLINE void load_half(HalfB& b, Shared x, u32 octet, u32 h, u32 lane) {
    ldmatrix_x1(b.r, x + swizzle<ROW>(octet * 8 + lane % 8, h));
  }
  static INLINE void half(float d[4], const HalfA& a, const HalfB& b, const Start& start) {
    int c[4];
    mma_m16n8k32_s4(c, a.r, b.r, start.c);
    Counter::read(d, c);
  }
  template <class S> static INLINE void whole(float d[4], const A& a, const B& b, const S& start) {
    int c[4];
    mma_m16n8k64_s4(c, a.r, b.r, start.c);
    S::read(d, c);
  }
  // Two cells share a word of X: the other one's columns meet zeros. unpack_cell
  // leaves a cell in the lower half, load_cell brings its columns there.
  static INLINE void unpack_cell(u32* a, u32 w) { a[0] = w & 0xffffu; a[1] = w >> 16; }
  static INLINE void load_cell(u32* b, Shared x, u32 octet, u32 s, u32 lane) {
    ldmatrix_x1(b, x + swizzle<ROW>(octet * 8 + lane % 8, s / 2));
    b[0] >>= 16 * (s % 2);
  }
  template <class S> static INLINE void cell(float d[4], const u32* a, const u32* b, const S& start) {
    int c[4];
    mma_m16n8k32_s4(c, a, b, start.c);
    S::read(d, c);
  }
};
