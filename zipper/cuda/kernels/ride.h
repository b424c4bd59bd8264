// ride.h: the scheme of the kernels whose residual rides. See ABI.md, Riding residual.
#pragma once
#include "wide.h"

// Groups of a multiple of 128, of 64 and of 32 columns.
#define RIDING(name, tile, scheme, ...)                      \
  MATRIX(name##_ride_##tile, scheme, RIDE, 1, __VA_ARGS__)   \
  MATRIX(name##_ride64_##tile, scheme, RIDE, 2, __VA_ARGS__) \
  MATRIX(name##_ride32_##tile, scheme, RIDE, 4, __VA_ARGS__)

// W4A8 with a residual that rides in the operand: base and residual of a weight are one
// number, 8·q and 4·halves·v of it, which is within int8 for up to 16 halves. A tile has
// 128 columns, the segment of which a row keeps just as many blocks.
struct RideA8 : WideA8 {
  static INLINE float unit() { return 0.125f; }
  // eight turns 16·q, a byte each, into 8·q.
  static INLINE u32 eight(u32 v) { return v >> 1 | (v & 0x80808080u); }
  static INLINE void unpack(A& a, const u32x4& left, const u32x4& right) {
    UNROLL for (int s = 0; s < 8; s++) {
      u32 w = s < 4 ? left.w[s % 4] : right.w[s % 4];
      a.r[s / 2].w[s % 2 * 2] = eight((w << 4) & 0xf0f0f0f0u), a.r[s / 2].w[s % 2 * 2 + 1] = eight(w & 0xf0f0f0f0u);
    }
  }
  enum : u32 { HALF = 4 }; // half of the base's step
  // plus adds a block to a row of a scratch, where its columns 0 to 3 are one word, and the others another.
  static INLINE void plus(u8* row, u32 steps, u32 codes, u32 place) {
    u32* at = (u32*)(row + place * 8);
    at[0] = plus(at[0], steps, codes);
    at[40] = plus(at[40], steps, codes >> 2);
  }
  // A byte 128 above is not negative, before and after, so that none borrows from the next.
  static INLINE u32 plus(u32 v, u32 steps, u32 codes) {
    return ((v ^ 0x80808080u) + permute(steps, steps, codes & 0x3333u) - HALF * 0x10101010u) ^ 0x80808080u;
  }
};

// W4A16 with a residual that rides. Codes are bytes first, of half steps and 48 above zero:
// 2·u + 32 + halves·v, from which a byte permutation makes the bits of 1024 or 128 and as
// much. The product that takes this back takes the half, too.
struct RideF16 {
  enum : u32 { BITS = 0x64646464u };
  static INLINE u32 number(u32 w) { return fma_f16x2(w, 0x38003800u, 0xe030e030u); } // /2 - 536
};
struct RideBF16 {
  enum : u32 { BITS = 0x43434343u };
  static INLINE u32 number(u32 w) { return fma_bf16x2(w, 0x3f003f00u, 0xc2b0c2b0u); } // /2 - 88
};
template <class T, class N> struct RideA16 {
  enum : int { COLS = 128, ROW = 256, PARTS = 4 };
  enum : bool { TOKEN_SCALES = false, GROUP_SCALES = false };
  typedef typename W4A16<T>::Start Start;
  typedef Start Seldom;
  struct Codes { u32x4 r[4]; };
  struct A { u32 r[32]; }; // of products of 16 columns each, which are a cell
  struct B { u32 r[16]; };
  static INLINE void unpack(Codes& c, const u32x4& left, const u32x4& right) {
    UNROLL for (int s = 0; s < 8; s++) {
      u32 w = s < 4 ? left.w[s % 4] : right.w[s % 4];
      c.r[s / 2].w[s % 2 * 2] = and_or(w << 1, 0x1e1e1e1eu, 0x20202020u), c.r[s / 2].w[s % 2 * 2 + 1] = and_or(w >> 3, 0x1e1e1e1eu, 0x20202020u);
    }
  }
  // A byte's columns are 2t, 2t+8, 2t+1, 2t+9 of the cell.
  static INLINE void expand(A& a, const Codes& c) {
    UNROLL for (int s = 0; s < 8; s++)
      UNROLL for (int i = 0; i < 4; i++)
        a.r[4 * s + i] = N::number(permute(c.r[s / 2].w[s % 2 * 2 + i % 2], N::BITS, i < 2 ? 0x4240u : 0x4341u));
  }
  enum : u32 { HALF = 1 };
  // plus adds a block to a row of a scratch, where each of four lanes has two of its columns: bytes 0
  // and 2 of a word, or 1 and 3 in the right half of a cell. The other half's block may be added
  // to the same word at this time, and no byte borrows from the next in the end.
  static INLINE void plus(u8* row, u32 steps, u32 codes, u32 place) {
    u32* at = (u32*)(row + (place & 13) * 8);
    bool right = place & 2;
    u32 less = right ? 0x10001000u : 0x00100010u;
    UNROLL for (int i = 0; i < 2; i++, codes >>= 2) {
      u32 four = permute(steps, steps, codes & 0x3333u);
      atomic_add(at + 4 * i, permute(four, 0, right ? 0x1404u : 0x4140u) - less);
      atomic_add(at + 4 * i + 40, permute(four, 0, right ? 0x3424u : 0x4342u) - less);
    }
  }
  static INLINE u32 part(u32 i, u32 lane) { return swizzle<ROW>(lane % 8, lane / 8 + 4 * i); }
  static INLINE void load(B& b, const Shared* x, u32 octet) {
    UNROLL for (u32 i = 0; i < PARTS; i++) ldmatrix_x4(b.r + 4 * i, x[i] + octet * (8 * ROW));
  }
  template <int GROUPS> static INLINE void sum(float d[4], const A& a, const B& b, int g, const Start&) {
    const float zero[4] = {0, 0, 0, 0};
    UNROLL for (int i = 0; i < 8 / GROUPS; i++) {
      int s = g * (8 / GROUPS) + i;
      T::mma(d, a.r + 4 * s, b.r + 2 * s, i == 0 ? zero : d);
    }
  }
};
