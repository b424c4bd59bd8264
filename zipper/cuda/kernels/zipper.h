// zipper.h: the one kernel body behind all matrix kernels.
//
// A warp computes PW panels (16 rows of W each) for TOKENS tokens, and walks along
// K in tiles of 64 columns. All it needs of a tile is one stage of a ring of STAGES
// in shared memory, filled by cp.async STAGES-1 tiles ahead:
//
//   X    TOKENS x ROW bytes, swizzled       the activations, and W4A4's scales
//   W    PW x 512                           codes of the base, in lane order
//   S    PW x 64                            its scales, 1 or 2 groups of 16 rows
//   R    PW x 512                           what the residual has at this place
//   RS   PW x 128                           its scales
//   head 16                                 which cells R has, a word per panel
//
// So residual tiles ride in the stages of the dense ones, are multiplied by the
// activations already there, and go into the same accumulators: no pass, no
// epilogue of their own. Only tiles that exist are copied. Their index is
// fetched 32 column tiles at once, a lane each, and 32 to 64 tiles ahead.
//
// Two ways to share work in a block:
//   Along N: every warp has panels of its own; X is copied once for all, which
//     costs one block barrier per tile. For many tokens.
//   Along K: all warps have the same panels and each a slice of K, with an X of
//     its own and no barrier but the warp's; sums meet in shared memory at the
//     end. For few tokens, where reading W is all that takes time.
// Above that, gridDim.z slices K once more (split-K); the block that finishes
// last adds the partial sums, always in the same order.
//
// Registers of a lane, PW 2: accumulators TOKENS, operands of W 32 (W4A16) or 16, of
// X 8, sums of a group 8, and addresses. At 128 tokens all 255 are taken and a few
// bytes spilled; table.tsv has the figures of every kernel.
#pragma once
#include "scheme.h"

enum Kind { DENSE, ZIP, SPARSE };
enum { WIDE = 1, ROW_SCALES = 2 };    // bits of rform
enum { OUT_F32, OUT_F16, OUT_BF16 };  // ytype

// The parameters of ABI.md.
struct Args {
  u8* y; u32 ytype;
  const u8* x; u64 ldx; const float* xs; u32 xgroup;
  const u8* w; const u8* s; u32 group;
  const u32* index; const u8* r; const u8* rs; u32 rform;
  u32 m, n, kt;
  f32x4* part; u32* count;
};

template <class P, Kind KIND_, int TOKENS_, int PANELS, int WARPS_, int STAGES_, bool ALONG_K_> struct Shape {
  typedef P Scheme;
  static constexpr Kind KIND = KIND_;
  static constexpr int TOKENS = TOKENS_, PW = PANELS, WARPS = WARPS_, STAGES = STAGES_;
  static constexpr bool ALONG_K = ALONG_K_;
  static constexpr int THREADS = 32 * WARPS;
  // Up to 32 tokens, shared memory bounds the blocks of a multiprocessor, and
  // issue slots the time: registers are free. See KERNEL_BLOCKS.
  static constexpr int BLOCKS = TOKENS <= 32 ? 1 : 0;
  static constexpr int ROWS = 16 * PW * (ALONG_K ? 1 : WARPS);
  static constexpr int OCTETS = TOKENS / 8, FRAGMENTS = OCTETS * PW; // of a warp: 8 tokens x 16 rows, 4 numbers a lane
  // Bytes of a stage: X, and after it the part of each warp.
  static constexpr int XS = TOKENS * P::ROW; // where W4A4 keeps the scales of X
  static constexpr int X = XS + (P::GROUP_SCALES ? 4 * TOKENS : 0);
  static constexpr int S = KIND == SPARSE ? 0 : PW * 512;
  static constexpr int R = S + (KIND == SPARSE ? 0 : PW * 64);
  static constexpr int RS = R + (KIND == DENSE ? 0 : PW * 512);
  static constexpr int HEAD = RS + (KIND == DENSE ? 0 : PW * 128);
  static constexpr int WARP = HEAD + (KIND == DENSE ? 0 : 16);
  static constexpr int STAGE = (ALONG_K ? WARPS : 1) * X + WARPS * WARP;
  static constexpr int RING = STAGES * STAGE;
  static constexpr int SUMS = WARPS * FRAGMENTS * 32 * 16;
  static constexpr int SMEM = RING > SUMS ? RING : SUMS;
  static_assert(KIND != SPARSE || ALONG_K, "a sparse kernel's warps walk at their own pace");
  static_assert(PW <= 4 && TOKENS % 8 == 0 && STAGES >= 2 && SMEM <= 99 * 1024, "limits of the layout and of sm_86");
};

// Walk yields the column tiles of a warp and their index entries.
template <class C> struct Walk {
  static constexpr int PW = C::PW;
  u32 j, start, end, lane;
  u32 now[PW], next[PW]; // entries of tile start+32·c+lane, for the present c and the next
  u32 kept;              // bit i: tile start+32·c+i has a residual; only SPARSE asks
  const u32* index[PW];

  INLINE void begin(const Args& a, u32 panel, u32 first, u32 last, u32 lane_) {
    j = start = first, end = last, lane = lane_;
    if constexpr (C::KIND != DENSE) {
      UNROLL for (int p = 0; p < PW; p++) {
        index[p] = a.index + (u64)(panel + p) * a.kt;
        next[p] = fetch(p, first + lane);
      }
      turn();
    }
    if constexpr (C::KIND == SPARSE) skip();
  }
  INLINE bool more() const { return j < end; }
  INLINE u32 entry(int p) const { return warp_get(now[p], (j - start) % 32); }
  INLINE void advance() {
    j++;
    if constexpr (C::KIND != DENSE) {
      if ((j - start) % 32 == 0) turn();
    }
    if constexpr (C::KIND == SPARSE) skip();
  }

 private:
  INLINE u32 fetch(int p, u32 tile) const { return tile < end ? index[p][tile] : 0; }
  // turn takes up the 32 entries from tile j on.
  INLINE void turn() {
    u32 any = 0;
    UNROLL for (int p = 0; p < PW; p++) {
      now[p] = next[p], next[p] = fetch(p, j + 32 + lane);
      any |= now[p] >> 28;
    }
    if constexpr (C::KIND == SPARSE) kept = warp_ballot(any != 0);
  }
  // skip moves on to the first tile, from j, that has a residual in any panel.
  INLINE void skip() {
    while (j < end) {
      u32 at = (j - start) % 32, rest = kept >> at;
      if (rest) {
        j += lowest_bit(rest);
        return;
      }
      j += 32 - at;
      turn();
    }
  }
};

// Task is what a warp does with its tiles.
template <class C> struct Task {
  typedef typename C::Scheme P;
  static constexpr int PW = C::PW, OCTETS = C::OCTETS;
  const Args& a;
  u32 warp, lane, panel, token; // its first panel and token
  Walk<C> walk;
  u32 groups;      // of scales in a row of the base
  u32 group, left; // the one at walk.j, and its tiles left; groups of 32: 2·j
  // Where the copies of this lane begin at column tile 0: fill adds what j takes.
  const u8 *xfrom, *wfrom, *sfrom;
  float acc[PW][OCTETS][4];

  static constexpr u32 CHUNKS = P::ROW / 16, STEP = C::ALONG_K ? 32 : C::THREADS;
  static constexpr u32 ROUND = STEP / CHUNKS; // tokens of X copied at once
  INLINE u32 first() const { return C::ALONG_K ? lane : threadIdx.x; }

  INLINE Task(const Args& args) : a(args) {
    warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    panel = blockIdx.x * (C::ROWS / 16) + (C::ALONG_K ? 0 : warp * PW);
    token = blockIdx.y * C::TOKENS;
    u32 slices = gridDim.z * (C::ALONG_K ? C::WARPS : 1);
    u32 slice = C::ALONG_K ? blockIdx.z * C::WARPS + warp : blockIdx.z;
    u32 whole = a.kt / slices, rest = a.kt % slices; // the first slices have one tile more
    u32 first = slice * whole + (slice < rest ? slice : rest);
    walk.begin(a, panel, first, first + whole + (slice < rest), lane);
    if constexpr (C::KIND != SPARSE) {
      u32 tiles = a.group / 64;
      groups = tiles ? (a.kt + tiles - 1) / tiles : 2 * a.kt;
      group = tiles ? first / tiles : 2 * first;
      left = tiles ? tiles - first % tiles : 0;
      u32 count = tiles ? 1 : 2; // of groups in a tile, 32 bytes each
      wfrom = a.w + (u64)panel * a.kt * 512 + lane * 16;
      sfrom = a.s + (u64)(panel + lane / (2 * count)) * groups * 32 + lane % (2 * count) * 16;
    }
    xfrom = a.x + (u64)(token + this->first() / CHUNKS) * a.ldx + this->first() % CHUNKS * 16;
    UNROLL for (int p = 0; p < PW; p++)
      UNROLL for (int o = 0; o < OCTETS; o++)
        UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] = 0;
  }

  INLINE u8* activations(u32 slot) const { return DYN_SMEM + slot * C::STAGE + (C::ALONG_K ? warp * C::X : 0); }
  INLINE u8* own(u32 slot) const { return DYN_SMEM + slot * C::STAGE + (C::ALONG_K ? C::WARPS : 1) * C::X + warp * C::WARP; }
  INLINE void sync() const { C::ALONG_K ? sync_warp() : sync_block(); }

  // fill starts the copies of tile walk.j into a slot, and moves on.
  INLINE void fill(u32 slot) {
    fill_activations(activations(slot));
    u8* to = own(slot);
    if constexpr (C::KIND != SPARSE) fill_base(to);
    if constexpr (C::KIND != DENSE) {
      UNROLL for (int p = 0; p < PW; p++) fill_residual(to, p, walk.entry(p));
    }
    walk.advance();
  }
  INLINE void fill_activations(u8* to) const {
    u32 first = this->first(), chunk = first % CHUNKS;
    const u8* from = xfrom + (u64)walk.j * P::ROW;
    UNROLL for (u32 at = 0; at < C::TOKENS; at += ROUND, from += ROUND * a.ldx) {
      u32 t = at + first / CHUNKS;
      if (C::TOKENS % ROUND != 0 && t >= C::TOKENS) break;
      cp_async16_or_zero(to + swizzle<P::ROW>(t, chunk), from, token + t < a.m);
    }
    if constexpr (P::GROUP_SCALES) {
      u32 tiles = a.xgroup / 64, groups = (a.kt + tiles - 1) / tiles, g = walk.j / tiles;
      for (u32 t = first; t < C::TOKENS; t += STEP) {
        bool real = token + t < a.m;
        cp_async4_or_zero(to + C::XS + 4 * t, real ? a.xs + (u64)(token + t) * groups + g : a.xs, real);
      }
    }
  }
  INLINE void fill_base(u8* to) {
    const u8* from = wfrom + (u64)walk.j * 512;
    UNROLL for (int p = 0; p < PW; p++, from += (u64)a.kt * 512) cp_async16(to + p * 512 + lane * 16, from);
    u32 count = a.group == 32 ? 2 : 1; // of groups in this tile, 32 bytes each
    u32 p = lane / (2 * count), chunk = lane % (2 * count);
    if (p < PW) cp_async16(to + C::S + p * 64 + chunk * 16, sfrom + (u64)group * 32);
    if (count == 2) {
      group += 2;
    } else if (--left == 0) {
      group++, left = a.group / 64;
    }
  }
  // fill_residual copies the tile, or the 1 to 4 cells, that the entry names.
  INLINE void fill_residual(u8* to, int p, u32 entry) const {
    u32 cells = entry >> 28;
    if (lane == 0) ((u32*)(to + C::HEAD))[p] = cells;
    if (!cells) return;
    u64 first = entry & 0x0fffffffu;
    bool wide = a.rform & WIDE;
    u32 tiles = wide ? 1 : popcount(cells), bytes = wide ? 512 : 128;
    if (lane * 16 < tiles * bytes) cp_async16(to + C::R + p * 512 + lane * 16, a.r + first * bytes + lane * 16);
    u8* scales = to + C::RS + p * 128;
    if (a.rform & ROW_SCALES) {
      if (lane < tiles * 2) cp_async16(scales + lane * 16, a.rs + first * 32 + lane * 16);
    } else if (lane < tiles) {
      cp_async4_or_zero(scales + lane * 4, a.rs + (first + lane) * 4, true);
    }
  }

  // scales returns those of rows 2g and 2g+1, given 16 halves.
  struct Scales { float row[2]; };
  INLINE Scales scales(const u8* from) const {
    u32 both = ((const u32*)from)[lane / 4];
    return {{f16_to_f32((u16)both) * P::unit(), f16_to_f32((u16)(both >> 16)) * P::unit()}};
  }
  INLINE Scales residual_scales(const u8* from, u32 tile) const {
    if (a.rform & ROW_SCALES) return scales(from + tile * 32);
    float s = ((const float*)from)[tile] * P::unit();
    return {{s, s}};
  }
  // add scales sums of one group and adds them to the accumulators.
  INLINE void add(int p, int o, const float d[4], const Scales& s, const u8* x) {
    if constexpr (P::GROUP_SCALES) {
      const f32x2& t = ((const f32x2*)(x + C::XS))[o * 4 + lane % 4];
      UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] += d[i] * t.v[i % 2] * s.row[i / 2];
    } else {
      UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] += d[i] * s.row[i / 2];
    }
  }

  // use multiplies the tile in a slot.
  INLINE void use(u32 slot) {
    const u8 *x = activations(slot), *from = own(slot);
    if constexpr (C::KIND != SPARSE) {
      if (a.group == 32) halves(x, from); else whole(x, from);
    }
    if constexpr (C::KIND != DENSE) {
      UNROLL for (int p = 0; p < PW; p++) {
        u32 cells = ((const u32*)(from + C::HEAD))[p];
        if (!cells) continue;
        if (a.rform & WIDE) residual_tile(p, x, from); else residual_cells(p, x, from, cells);
      }
    }
  }
  INLINE void whole(const u8* x, const u8* from) {
    typename P::A w[PW];
    Scales s[PW];
    UNROLL for (int p = 0; p < PW; p++) {
      P::unpack(w[p], *(const u32x4*)(from + p * 512 + lane * 16));
      s[p] = scales(from + C::S + p * 64);
    }
    UNROLL for (int o = 0; o < OCTETS; o++) {
      typename P::B b;
      P::load(b, x, o, lane);
      UNROLL for (int p = 0; p < PW; p++) {
        float d[4];
        P::whole(d, w[p], b);
        add(p, o, d, s[p], x);
      }
    }
  }
  // halves is whole for groups of 32 columns.
  INLINE void halves(const u8* x, const u8* from) {
    ROLL for (u32 h = 0; h < 2; h++) {
      typename P::HalfA w[PW];
      Scales s[PW];
      UNROLL for (int p = 0; p < PW; p++) {
        P::unpack_half(w[p], *(const u32x2*)(from + p * 512 + lane * 16 + h * 8));
        s[p] = scales(from + C::S + p * 64 + h * 32);
      }
      UNROLL for (int o = 0; o < OCTETS; o++) {
        typename P::HalfB b;
        P::load_half(b, x, o, h, lane);
        UNROLL for (int p = 0; p < PW; p++) {
          float d[4];
          P::half(d, w[p], b);
          add(p, o, d, s[p], x);
        }
      }
    }
  }
  INLINE void residual_tile(int p, const u8* x, const u8* from) {
    typename P::A w;
    P::unpack(w, *(const u32x4*)(from + C::R + p * 512 + lane * 16));
    Scales s = residual_scales(from + C::RS + p * 128, 0);
    UNROLL for (int o = 0; o < OCTETS; o++) {
      typename P::B b;
      P::load(b, x, o, lane);
      float d[4];
      P::whole(d, w, b);
      add(p, o, d, s, x);
    }
  }
  INLINE void residual_cells(int p, const u8* x, const u8* from, u32 cells) {
    ROLL for (u32 i = 0; cells; i++, cells &= cells - 1) {
      u32 w[4], at = lowest_bit(cells);
      P::unpack_cell(w, ((const u32*)(from + C::R + p * 512 + i * 128))[lane]);
      Scales s = residual_scales(from + C::RS + p * 128, i);
      UNROLL for (int o = 0; o < OCTETS; o++) {
        u32 b[2];
        P::load_cell(b, x, o, at, lane);
        float d[4];
        P::cell(d, w, b);
        add(p, o, d, s, x);
      }
    }
  }

  // run walks all tiles of the warp.
  INLINE void run() {
    u32 filled = 0, slot = 0;
    ROLL for (int i = 0; i < C::STAGES - 1; i++) {
      if (walk.more()) fill(filled++);
      cp_async_commit();
    }
    u32 into = C::STAGES - 1; // the slot that was used one tile ago
    ROLL for (u32 used = 0; used < filled; used++) {
      cp_async_wait<C::STAGES - 2>();
      sync(); // the tile is here for all, and the slot before it is free
      if (walk.more()) fill(into), filled++;
      cp_async_commit();
      use(slot);
      slot = slot + 1 == C::STAGES ? 0 : slot + 1;
      into = into + 1 == C::STAGES ? 0 : into + 1;
    }
    cp_async_wait<0>();
  }

  // store writes fragment q = p + PW·o: row 2g of tokens 2t and 2t+1, then row 2g+1.
  INLINE void store(u32 q, f32x4 v) const {
    u32 n = (panel + q % PW) * 16 + lane / 4 * 2, m = token + q / PW * 8 + lane % 4 * 2;
    if (n >= a.n) return;
    bool both = n + 1 < a.n;
    UNROLL for (u32 i = 0; i < 2; i++) {
      if (m + i >= a.m) return;
      float x = v.v[i], y = v.v[i + 2];
      if constexpr (P::TOKEN_SCALES) x *= a.xs[m + i], y *= a.xs[m + i];
      write((u64)(m + i) * a.n + n, x, y, both);
    }
  }
  // write puts, or in a sparse kernel adds, x and (if both) y at element at of Y.
  INLINE void write(u64 at, float x, float y, bool both) const {
    if (a.ytype == OUT_F32) {
      float* to = (float*)a.y + at;
      bool pair = both && at % 2 == 0;
      if constexpr (C::KIND == SPARSE) {
        x += to[0];
        if (both) y += to[1];
      }
      if (pair) {
        *(f32x2*)to = {{x, y}};
        return;
      }
      to[0] = x;
      if (both) to[1] = y;
      return;
    }
    bool bf = a.ytype == OUT_BF16;
    u16* to = (u16*)a.y + at;
    if constexpr (C::KIND == SPARSE) {
      x += bf ? bits_f32((u32)to[0] << 16) : f16_to_f32(to[0]);
      if (both) y += bf ? bits_f32((u32)to[1] << 16) : f16_to_f32(to[1]);
    }
    u32 lo = bf ? f32_to_bf16(x) : f32_to_f16(x), hi = bf ? f32_to_bf16(y) : f32_to_f16(y);
    if (both && at % 2 == 0) {
      *(u32*)to = lo | hi << 16;
      return;
    }
    to[0] = (u16)lo;
    if (both) to[1] = (u16)hi;
  }

  // finish joins the sums of warps, then of blocks, and stores them. They go through
  // shared memory in either case, so that the code of a store is there once.
  INLINE void finish() {
    f32x4* sums = (f32x4*)DYN_SMEM; // [warp][fragment][lane], over the ring
    sync_block(); // the ring is free
    UNROLL for (int o = 0; o < OCTETS; o++)
      UNROLL for (int p = 0; p < PW; p++)
        sums[(warp * C::FRAGMENTS + p + PW * o) * 32 + lane] = {{acc[p][o][0], acc[p][o][1], acc[p][o][2], acc[p][o][3]}};
    if constexpr (C::ALONG_K) {
      sync_block();
      ROLL for (u32 q = warp; q < C::FRAGMENTS; q += C::WARPS) {
        f32x4 v = sums[q * 32 + lane];
        for (u32 w = 1; w < C::WARPS; w++) v = plus(v, sums[(w * C::FRAGMENTS + q) * 32 + lane]);
        emit(q, v);
      }
    } else {
      ROLL for (u32 q = 0; q < C::FRAGMENTS; q++) emit(q, sums[(warp * C::FRAGMENTS + q) * 32 + lane]); // its own
    }
    if (gridDim.z > 1) join();
  }
  static INLINE f32x4 plus(const f32x4& x, const f32x4& y) {
    return {{x.v[0] + y.v[0], x.v[1] + y.v[1], x.v[2] + y.v[2], x.v[3] + y.v[3]}};
  }
  // emit stores a fragment, or puts it among the partial sums.
  INLINE void emit(u32 q, f32x4 v) const {
    if (gridDim.z == 1) store(q, v); else *partial(q, blockIdx.z) = v;
  }
  INLINE u32 tile() const { return blockIdx.y * gridDim.x + blockIdx.x; }
  // part is [tile][split][warp, where they have panels of their own][fragment][lane].
  INLINE f32x4* partial(u32 q, u32 split) const {
    constexpr u32 OWN = C::ALONG_K ? 1 : C::WARPS;
    u64 at = ((u64)tile() * gridDim.z + split) * OWN + (C::ALONG_K ? 0 : warp);
    return a.part + (at * C::FRAGMENTS + q) * 32 + lane;
  }
  // join lets the block that comes last add the partial sums of all.
  INLINE void join() const {
    u32* last = (u32*)DYN_SMEM;
    fence();
    sync_block(); // all sums are out, and shared memory is free
    if (threadIdx.x == 0) {
      *last = atomic_add(a.count + tile(), 1) == gridDim.z - 1;
      if (*last) a.count[tile()] = 0; // for the next launch
    }
    sync_block();
    if (!*last) return;
    fence();
    u32 first = C::ALONG_K ? warp : 0, step = C::ALONG_K ? C::WARPS : 1;
    ROLL for (u32 q = first; q < C::FRAGMENTS; q += step) {
      f32x4 v = load_uncached(partial(q, 0));
      for (u32 z = 1; z < gridDim.z; z++) v = plus(v, load_uncached(partial(q, z)));
      store(q, v);
    }
  }
};

template <class C> DEV void multiply(const Args& a) {
  Task<C> task(a);
  task.run();
  task.finish();
}
