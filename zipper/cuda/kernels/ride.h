// ride.h: the scheme of the kernels whose residual rides. See ABI.md, Riding residual.
#pragma once
#include "wide.h"

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
  // plus adds to four bytes what steps has for the codes in the lower half of four nibbles. A byte
  // 128 above is not negative, before and after, so that none borrows from the next.
  static INLINE u32 plus(u32 v, u32 steps, u32 codes) {
    return ((v ^ 0x80808080u) + permute(steps, steps, codes & 0x3333u) - 0x40404040u) ^ 0x80808080u;
  }
};
