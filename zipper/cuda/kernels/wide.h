// wide.h: W4A8 in tiles of 128 columns, for groups of so many: what whole sums take,
// conversion and scale, is half as often.
#pragma once
#include "zipper.h"

struct WideA8 {
  enum : int { COLS = 128, ROW = 128, PARTS = 2 };
  enum : bool { TOKEN_SCALES = true, GROUP_SCALES = false };
  static INLINE float unit() { return W4A8::unit(); }
  typedef Counter Start;
  typedef Converter Seldom;
  struct A { u32x4 r[4]; }; // of products of 32 columns each, which are two cells
  struct B { u32 r[8]; };
  typedef A Codes; // what a residual may be added to
  static INLINE void expand(A& a, const Codes& c) { a = c; }
  // unpack takes the words of the left 64 columns and of the right ones.
  static INLINE void unpack(Codes& a, const u32x4& left, const u32x4& right) {
    UNROLL for (int s = 0; s < 8; s++) W4A8::unpack_cell(a.r[s / 2].w + s % 2 * 2, s < 4 ? left.w[s % 4] : right.w[s % 4]);
  }
  static INLINE u32 part(u32 i, u32 lane) { return swizzle<ROW>(lane % 8, lane / 8 + 4 * i); }
  static INLINE void load(B& b, const Shared* x, u32 octet) {
    UNROLL for (u32 i = 0; i < PARTS; i++) ldmatrix_x4(b.r + 4 * i, x[i] + octet * (8 * ROW));
  }
  // sum is that of the columns of group g of GROUPS.
  template <int GROUPS> static INLINE void sum(float d[4], const A& a, const B& b, int g, const Start& start) {
    int c[4];
    UNROLL for (int i = 0; i < 4 / GROUPS; i++) {
      int q = g * (4 / GROUPS) + i;
      mma_m16n8k32_s8(c, a.r[q].w, b.r + 2 * q, i == 0 ? start.c : c);
    }
    Counter::read(d, c);
  }
  // Tiles and cells of a residual are of 64 columns, and of 16: one part of X each, and cell s.
  struct Tile : W4A8 {
    static INLINE void load(B& b, const Shared* x, u32 octet) { ldmatrix_x4(b.r, x[0] + octet * (8 * WideA8::ROW)); }
  };
  static INLINE void unpack_cell(u32* a, u32 w) { W4A8::unpack_cell(a, w); }
  static INLINE void load_cell(u32* b, Shared x, u32 octet, u32 s, u32 lane) {
    ldmatrix_x1(b, x + swizzle<ROW>(octet * 8 + lane % 8, s));
  }
  static INLINE void cell(float d[4], const u32* a, const u32* b, const Seldom& start) { W4A8::cell(d, a, b, start); }
};
