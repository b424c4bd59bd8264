// zipper.h: the one kernel body behind all matrix kernels.
//
// A warp computes PW panels (16 rows of W each) for TOKENS tokens, and walks along
// K in tiles of 64 columns. All it needs of a tile is one stage of a ring of STAGES
// in shared memory, filled by cp.async STAGES-1 tiles ahead:
//
//   X    TOKENS x ROW bytes, swizzled       the activations, and W4A4's scales
//   W    PW x 512                           codes of the base, in lane order
//   S    PW x 32 (64 for groups of 32)      its scales, 1 or 2 groups of 16 rows
//
// A residual tile is multiplied by the activations that are there for the dense one, and goes
// into the same accumulators: no pass, no epilogue of its own. Only tiles that exist are
// copied. Those of a panel follow each other in memory, so a fused kernel needs no index to copy
// them: each panel has a small ring of its own, of two tiles or eight cells, and what has just been
// used makes room for the one after the next. Mostly it was copied long before its use;
// `recent` tells when not, and then the warp waits.
//
// Where there is no residual, a fused kernel should do what the dense one does: a turn
// compares one number. The index is fetched for 8 to 16 column tiles at once, a lane each,
// and as many tiles ahead, and gives the next turn at which there is something to do (Marks). All
// that a residual costs lies behind this one branch.
//
// A sparse kernel walks from tile to tile by the index, and has in every stage the entries of
// its panels (16 bytes) and room for PW tiles.
//
// A residual that rides (kind RIDE) is not multiplied at all: it is added to the codes
// of the base while these are unpacked, by way of a scratch in shared memory. What a stage
// has of it is of a fixed size and lies behind the scales.
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
// X 8, sums of a group 8, and addresses. At 128 tokens all 255 are taken, and only W4A4 spills
// nothing; table.tsv has the figures of every kernel, counts.tsv what a turn
// of the loop executes.
#pragma once
#include "scheme.h"

enum Kind { DENSE, ZIP, SPARSE, RIDE };
enum { WIDE = 1, ROW_SCALES = 2 };    // bits of rform
enum { OUT_F32, OUT_F16, OUT_BF16 };  // ytype
enum : u32 { NUMBER = 0x0fffffff };   // bits of an index entry: the number of its first tile

enum { MOST_RIDING = 160, SCRATCH = 2560 }; // bytes of a record of four blocks a row; see Task::sum

// The parameters of ABI.md.
struct Args {
  u8* y; u32 ytype;
  const u8* x; u64 ldx; const float* xs; u32 xgroup;
  const u8* w; const u8* s; u32 group;
  const u32* index; const u8* r; u32 rform;
  u32 m, n, kt;
  f32x4* part; u32* count;
};

template <class P, Kind KIND_, int GROUPS_, int TOKENS_, int PANELS, int WARPS_, int STAGES_, bool ALONG_K_> struct Shape {
  typedef P Scheme;
  // Constants are enumerators. Members would be variables of the image.
  enum : int { KIND = KIND_ };
  enum : int { COLS = P::COLS, TILE = 8 * COLS }; // columns of a tile, and bytes of its codes
  enum : int { GROUPS = GROUPS_ }; // that a tile lies in; with 1, groups are of one or more tiles
  enum : int { HALVES = COLS / 64, ENTRIES = PANELS * HALVES }; // of the index, for a tile of a warp
  enum : int { TOKENS = TOKENS_, PW = PANELS, WARPS = WARPS_, STAGES = STAGES_ };
  enum : bool { ALONG_K = ALONG_K_ };
  enum : int { THREADS = 32 * WARPS };
  // Up to 32 tokens, or 64 of wide tiles or with a residual, shared memory bounds the blocks of a multiprocessor, and
  // issue slots the time: registers are free. See KERNEL_BLOCKS.
  enum : int { BLOCKS = TOKENS <= (COLS == 128 || KIND == ZIP ? 64 : 32) ? 1 : 0 };
  enum : int { ROWS = 16 * PW * (ALONG_K ? 1 : WARPS) };
  enum : int { OCTETS = TOKENS / 8, FRAGMENTS = OCTETS * PW }; // of a warp: 8 tokens x 16 rows, 4 numbers a lane
  // Bytes of a stage: X, and after it the part of each warp.
  enum : int { XS = TOKENS * P::ROW }; // where W4A4 keeps the scales of X
  enum : int { X = XS + (P::GROUP_SCALES ? 4 * TOKENS : 0) };
  enum : int { GROUP = 32 * GROUPS }; // scales of a panel
  enum : int { S = KIND == SPARSE ? 0 : PW * TILE };
  enum : int { HEAD = S + (KIND == SPARSE ? 0 : PW * GROUP) };
  enum : int { R = HEAD + (KIND == SPARSE ? 16 : 0) };
  enum : int { RECORD = 640 }; // room for a residual tile, or for four cells, with scales
  enum : int { WARP = R + (KIND == SPARSE ? PW * RECORD : KIND == RIDE ? PW * MOST_RIDING : 0) };
  enum : int { STAGE = (ALONG_K ? WARPS : 1) * X + WARPS * WARP };
  enum : u32 { ONES = HALVES == 1 ? (1 << PANELS) - 1 : 5 }; // entries of all panels, in one half
  enum : int { RING = STAGES * STAGE };
  enum : int { RESIDUALS = WARPS * (KIND == RIDE ? SCRATCH : KIND == ZIP ? PW * 2 * RECORD : 0) };
  enum : int { SUMS = WARPS * FRAGMENTS * 32 * 16 };
  enum : int { SMEM = RING + RESIDUALS > SUMS ? RING + RESIDUALS : SUMS };
  static_assert(KIND != ZIP || HALVES == 1 || (HALVES == 2 && PANELS == 2), "ONES");
  static_assert(KIND != SPARSE || ALONG_K, "a sparse kernel's warps walk at their own pace");
  static_assert((KIND == DENSE || KIND == RIDE || ENTRIES <= 4) && PW <= 4 && TOKENS % 8 == 0 && STAGES >= 2 && STAGES <= 16 && SMEM <= 99 * 1024, "limits of the layout and of sm_86");
};

// Walk yields the column tiles of a warp. A sparse kernel skips those without a residual: the
// index entries of TILES tiles are with the lanes, entry e of tile start+i, which is that of panel e,
// with lane ENTRIES·i+e.
template <class C> struct Walk {
  enum : u32 { ENTRIES = C::ENTRIES, TILES = 32 / ENTRIES };
  u32 j, end;
  u32 start;        // of the present tiles
  u32 now, next;    // entries of these and of the following ones
  u32 kept;         // bit ENTRIES·i+e: there is a residual
  const u32* index; // what this lane fetches next, of tile `fetched`
  u32 fetched;

  INLINE void begin(const Args& a, u32 panel, u32 first, u32 last, u32 lane) {
    j = first, end = last;
    if constexpr (C::KIND == SPARSE) {
      fetched = first + lane / ENTRIES;
      index = a.index + (u64)(panel + lane % ENTRIES) * a.kt + fetched;
      fetch();
      turn();
      skip();
    }
  }
  INLINE bool more() const { return j < end; }
  INLINE u32 at() const { return (j - start) * ENTRIES; } // the lane that has the first entry
  INLINE u32 entry(int e) const { return warp_get(now, at() + e); }
  INLINE void advance() {
    j++;
    if constexpr (C::KIND == SPARSE) {
      if (j - start == TILES) turn();
      skip();
    }
  }

 private:
  INLINE void fetch() {
    next = fetched < end ? *index : 0;
    index += TILES, fetched += TILES;
  }
  // turn takes up the entries of the tiles from j on.
  INLINE void turn() {
    start = j, now = next;
    fetch();
    kept = warp_ballot(now >> 28 != 0);
  }
  // skip moves on to the first tile, from j, that has a residual in any panel.
  INLINE void skip() {
    while (j < end) {
      u32 rest = kept >> at();
      if (rest) {
        j += lowest_bit(rest) / ENTRIES;
        return;
      }
      j = start + TILES;
      turn();
    }
  }
};

// Marks tells a fused kernel which of its tiles have a residual. A tile is known by the number of index entries
// that are left when it is used, its own included. Entries of TILES tiles are with the lanes: entry e of
// the i-th with lane ENTRIES·i+e. It is of panel e/HALVES and of the 64 columns e mod HALVES of the tile.
template <class C> struct Marks {
  enum : u32 { ENTRIES = C::ENTRIES, HALVES = C::HALVES, TILES = 32 / ENTRIES };
  u32 event;        // the next tile that has a residual, or the first beyond the present ones
  u32 beyond;
  u32 now, next;    // entries of the present tiles and of the following ones
  u32 kept;         // those with a residual, from the tile `event` on
  const u32* index; // what this lane fetches next,
  int left;         // and the tiles from there on

  INLINE void begin(const Args& a, u32 panel, u32 first, u32 tiles, u32 lane) {
    left = (int)tiles - (int)(lane / ENTRIES);
    u32 place = (first + lane / ENTRIES) * HALVES + lane % HALVES;
    index = a.index + (u64)(panel + lane % ENTRIES / HALVES) * (a.kt * HALVES) + place;
    event = beyond = tiles * ENTRIES, now = 0, kept = 0;
    fetch();
  }
  // look, at an event, returns in a bit each which entries of the tile have a residual, and finds the next
  // event. cells, if wanted, has which cells these are, in four bits each.
  template <bool CELLS> INLINE u32 look(u32& cells) {
    constexpr u32 MASK = (1u << ENTRIES) - 1;
    u32 entries = opaque(kept & MASK), from = event;
    if constexpr (CELLS) cells = cells_at(beyond + TILES * ENTRIES - event);
    kept &= ~MASK;
    if (!kept) {
      from = beyond, beyond -= TILES * ENTRIES, now = next;
      fetch();
      kept = warp_ballot(now >> 28 != 0);
      if (!entries) { // it is the first of the new ones that is looked at
        entries = kept & MASK, kept &= ~MASK;
        if constexpr (CELLS) cells = cells_at(0);
      }
    }
    event = beyond;
    if (kept) {
      u32 skip = lowest_bit(kept) / ENTRIES * ENTRIES;
      event = from - skip, kept >>= skip;
    }
    return entries;
  }

 private:
  INLINE u32 cells_at(u32 lane) const {
    u32 cells = 0;
    UNROLL for (u32 e = 0; e < ENTRIES; e++) cells |= warp_get(now, lane + e) >> 28 << 4 * e;
    return cells;
  }
  INLINE void fetch() {
    next = left > 0 ? *index : 0;
    index += TILES * HALVES, left -= TILES;
  }
};

// Task is what a warp does with its tiles. Places in shared memory are offsets: a
// stage's begins at `slot`.
template <class C> struct Task {
  typedef typename C::Scheme P;
  enum : int { PW = C::PW, OCTETS = C::OCTETS };
  enum : u32 { CHUNKS = P::ROW / 16, STEP = C::ALONG_K ? 32 : C::THREADS };
  enum : u32 { ROUND = STEP / CHUNKS };        // tokens of X copied at once
  enum : u32 { XTO = ROUND < 8 ? 8 / ROUND : 1 }; // the swizzle repeats after 8 tokens
  enum : u32 { SCALES = 2 * C::GROUPS };         // lanes that copy those of a panel
  enum : bool { FEW = C::TOKENS <= (C::COLS == 128 ? 64 : 32) }; // registers are free
  const Args& a;
  const typename P::Start start;
  const typename P::Seldom seldom;
  u32 warp, lane, panel, token; // its first panel and token
  Walk<C> walk;
  u32 left;                 // tiles of the group at walk.j, with it
  // What this lane copies of tile walk.j; a sparse kernel's is that of tile 0.
  const u8 *xfrom, *wfrom, *sfrom;
  // Where it goes in the first stage; with few tokens kept, not computed again.
  Shared base; // of shared memory
  Shared xto[XTO], wto;
  Shared xat[P::PARTS], wat, sat; // what this lane reads of the first stage: X, codes and scales of the base
  u32 panel_bytes; // from a panel of W to the next
  enum : u32 { RIDING = C::KIND == RIDE ? (PW * MOST_RIDING / 16 + 31) / 32 : 1 };
  const u8* rfrom[RIDING]; // what this lane copies of riding residuals
  u32 riding_steps;        // what their codes add to four bytes, by code
  // The residual of a fused or sparse kernel: unit is what a tile or cell has with its scales, in 16 bytes.
  u32 unit;
  const u8 *rlane, *slane;  // where this lane reads of the first one, and the scale of its row in the first tile
  int scaled;               // from what a lane reads of the codes of a tile in a ring to its scale
  Marks<C> marks;
  enum : int { PANELS = C::KIND == ZIP ? PW : 1 };
  u32 offset[PANELS], stop[PANELS]; // in 16 bytes: what is copied next of a panel, and the end of its residual
  Shared rat[PANELS];       // where this lane finds the next one, + lane·16
  SharedPair rings;         // the two places of the first panel
  u32 recent, looked;       // entries with a residual at the tile before `looked` and, in higher bits, before that
  float acc[PW][OCTETS][4];

  template <class T> static INLINE T keep(T v) { if constexpr (FEW) return opaque(v); else return v; }
  // hold keeps what every turn adds to, unless sums take all registers.
  template <class T> static INLINE T hold(T v) { if constexpr (C::TOKENS <= 64) return opaque(v); else return v; }
  INLINE u32 first() const { return C::ALONG_K ? lane : threadIdx.x; }

  INLINE u32 first_token() const { return first() / CHUNKS; }
  INLINE u32 first_chunk() const { return first() % CHUNKS; }

  INLINE Task(const Args& args) : a(args), start(), seldom() {
    warp = warp_get(threadIdx.x / 32, 0), lane = threadIdx.x % 32; // the compiler learns that warp is the same for all
    base = keep(shared_base());
    UNROLL for (u32 i = 0; i < P::PARTS; i++) xat[i] = hold(base + (activations() + P::part(i, lane)));
    if constexpr (C::KIND != SPARSE) {
      wat = hold(base + (own() + lane * 16));
      sat = hold(base + (own() + C::S + lane / 4 * 4));
    }
    UNROLL for (u32 i = 0; i < XTO; i++)
      xto[i] = keep(base + (activations() + swizzle<P::ROW>(first_token() + i * ROUND, first_chunk())));
    wto = keep(base + (own() + lane * 16));
    panel_bytes = keep(a.kt * C::TILE);
    panel = blockIdx.x * (C::ROWS / 16) + (C::ALONG_K ? 0 : warp * PW);
    token = blockIdx.y * C::TOKENS;
    u32 slices = gridDim.z * (C::ALONG_K ? C::WARPS : 1);
    u32 slice = C::ALONG_K ? blockIdx.z * C::WARPS + warp : blockIdx.z;
    u32 whole = a.kt / slices, rest = a.kt % slices; // the first slices have one tile more
    u32 first = slice * whole + (slice < rest ? slice : rest);
    walk.begin(a, panel, first, first + whole + (slice < rest), lane);
    xfrom = a.x + (u64)(token + first_token()) * a.ldx + first_chunk() * 16;
    if constexpr (C::KIND != SPARSE) {
      u32 groups = C::GROUPS * a.kt, group = C::GROUPS * first; // of scales in a row, and the first
      if constexpr (C::GROUPS == 1) {
        u32 tiles = a.group / C::COLS;
        groups = (a.kt + tiles - 1) / tiles, group = first / tiles, left = tiles - first % tiles;
      }
      xfrom += (u64)first * P::ROW;
      wfrom = a.w + ((u64)panel * a.kt + first) * C::TILE + lane * 16;
      sfrom = a.s + ((u64)(panel + lane / SCALES) * groups + group) * 32 + lane % SCALES * 16;
    }
    if constexpr (C::KIND == ZIP || C::KIND == SPARSE) {
      unit = keep((a.rform & WIDE ? 32 : 8) + (a.rform & ROW_SCALES ? 2 : 1));
      rlane = keep(a.r + lane * 16);
      slane = keep(a.r + (512 + row_scale()));
      scaled = keep(512 - 12 * (int)lane);
    }
    if constexpr (C::KIND == ZIP) begin_residual(first, whole + (slice < rest));
    if constexpr (C::KIND == RIDE) {
      u32 size = riding_bytes(), chunks = size / 16;
      UNROLL for (u32 i = 0; i < RIDING; i++) {
        u32 p = (lane + 32 * i) / chunks, chunk = (lane + 32 * i) % chunks;
        rfrom[i] = a.r + ((u64)(panel + (p < PW ? p : 0)) * a.kt + first) * size + chunk * 16;
      }
      // A byte for each code, as two's complement: 0, halves, none, -halves, in half of the unit and above zero.
      u32 halves = P::HALF * (a.rform >> 16 & 0xff);
      riding_steps = keep(P::HALF * 0x10101010u + (halves << 8) - (halves << 24));
    }
    UNROLL for (int p = 0; p < PW; p++)
      UNROLL for (int o = 0; o < OCTETS; o++)
        UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] = 0;
  }

  // Places of a stage, from its begin.
  INLINE u32 activations() const { return C::ALONG_K ? warp * C::X : 0; }
  INLINE u32 own() const { return (C::ALONG_K ? C::WARPS : 1) * C::X + warp * C::WARP; }
  // ring is where the residual tiles of a panel go.
  INLINE Shared ring(int p) const { return base + (C::RING + (warp * PW + p) * (2 * C::RECORD) + lane * 16); }
  INLINE void sync() const { C::ALONG_K ? sync_warp() : sync_block(); }

  // fill starts the copies of tile walk.j into a stage, and moves on.
  INLINE void fill(u32 slot) {
    fill_activations(slot);
    if constexpr (C::KIND != SPARSE) fill_base(slot);
    if constexpr (C::KIND == RIDE) fill_riding(slot);
    if constexpr (C::KIND == SPARSE) {
      fill_head(slot);
      UNROLL for (int p = 0; p < PW; p++) {
        u32 entry = walk.entry(p);
        if (entry >> 28) fill_residual(slot + (own() + C::R + p * C::RECORD), entry);
      }
    }
    walk.advance();
  }
  INLINE void fill_activations(u32 slot) {
    const u8* from = C::KIND == SPARSE ? xfrom + (u64)walk.j * P::ROW : xfrom;
    u32 step = ROUND * (u32)a.ldx;
    UNROLL for (u32 i = 0; i * ROUND < C::TOKENS; i++, from += step) {
      u32 t = i * ROUND + first_token();
      if (C::TOKENS % ROUND != 0 && t >= C::TOKENS) break;
      cp_async16_or_zero(xto[i % XTO] + slot + i / XTO * XTO * ROUND * P::ROW, from, token + t < a.m);
    }
    if constexpr (P::GROUP_SCALES) {
      u32 tiles = a.xgroup / 64, groups = (a.kt + tiles - 1) / tiles, g = walk.j / tiles;
      for (u32 t = first(); t < C::TOKENS; t += STEP) {
        bool real = token + t < a.m;
        cp_async4_or_zero(base + (activations() + C::XS + 4 * t) + slot, real ? a.xs + (u64)(token + t) * groups + g : a.xs, real);
      }
    }
    if constexpr (C::KIND != SPARSE) xfrom += P::ROW;
  }
  INLINE void fill_base(u32 slot) {
    const u8* from = wfrom;
    Shared to = wto + slot;
    UNROLL for (int p = 0; p < PW; p++, from += panel_bytes)
      UNROLL for (int i = 0; i < C::TILE; i += 512) cp_async16(to + p * C::TILE + i, from + i);
    wfrom += C::TILE;
    cp_async16_if(to + C::S, sfrom, lane < PW * SCALES);
    if constexpr (C::GROUPS > 1) {
      sfrom += C::GROUP;
    } else if (--left == 0) {
      sfrom += 32, left = a.group / C::COLS;
    }
  }
  // riding is how many blocks a row keeps of a tile, riding_bytes the size of their record.
  INLINE u32 riding() const { return a.rform >> 8 & 0xff; }
  INLINE u32 riding_bytes() const { return (riding() * 40 + 15) / 16 * 16; }
  INLINE void fill_riding(u32 slot) {
    u32 size = riding_bytes();
    UNROLL for (u32 i = 0; i < RIDING; i++) {
      cp_async16_if(wto + slot + (C::R + i * 512), rfrom[i], (lane + 32 * i) * 16 < PW * size);
      rfrom[i] += size;
    }
  }
  // fill_head keeps the index entries of tile walk.j for when it is used.
  INLINE void fill_head(u32 slot) const {
    u32 entry = walk.entry(lane % C::ENTRIES);
    if (lane < C::ENTRIES) ((u32*)(DYN_SMEM + (own() + C::HEAD) + slot))[lane] = entry;
  }
  // fill_residual copies the tile, or the 1 to 4 cells, that the entry names.
  INLINE void fill_residual(u32 to, u32 entry) const {
    u32 units = (a.rform & WIDE ? 1 : popcount(entry >> 28)) * unit;
    const u8* from = rlane + (u64)((entry & NUMBER) * unit) * 16;
    UNROLL for (u32 i = 0; i < 2; i++)
      cp_async16_if(base + (to + lane * 16) + i * 512, from + i * 512, lane + 32 * i < units);
  }
  // begin_residual asks for the index, of which fill_rings is in need.
  INLINE void begin_residual(u32 first, u32 tiles) {
    marks.begin(a, panel, first, tiles, lane);
    const u32* index = a.index + (u64)(panel + lane % PW) * (a.kt * C::HALVES) + first * C::HALVES;
    offset[0] = index[0], stop[0] = index[tiles * C::HALVES]; // of the panel lane mod PW, so far
    // What fill_rings copies is there when the tile is that was copied last before the first turn:
    // as if it made room at two turns before the first.
    recent = C::ONES << C::ENTRIES | C::ONES, looked = tiles * C::ENTRIES;
  }
  // fill_rings copies what fits into the rings of the panels.
  INLINE void fill_rings() {
    u32 begin = (offset[0] & NUMBER) * unit, end = (stop[0] & NUMBER) * unit;
    UNROLL for (int p = 0; p < PANELS; p++)
      offset[p] = warp_get(begin, p), stop[p] = warp_get(end, p), rat[p] = ring(p);
    rings = keep(pair(ring(0), ring(0) + C::RECORD));
    u32 slots = a.rform & WIDE ? 2 : 8, size = a.rform & WIDE ? C::RECORD : unit * 16;
    ROLL for (u32 i = 0; i < slots; i++)
      UNROLL for (int p = 0; p < PANELS; p++)
        if (a.rform & WIDE) copy_tile(p, rat[p] + i * size); else copy_cell(p, rat[p] + i * size);
  }
  // copy_tile copies the next tile of a panel, if there is one, to where each lane reads it: 16 bytes of codes, and 4
  // with the scales of its two rows. So a lane may overwrite what it has read itself, without a barrier.
  INLINE void copy_tile(int p, Shared to) {
    bool more = offset[p] < stop[p];
    cp_async16_if(to, rlane + (u64)offset[p] * 16, more);
    cp_async4_if(to + scaled, slane + (u64)offset[p] * 16, more);
    offset[p] += unit;
  }
  // copy_cell copies the next cell of a panel, if there is one, as it is.
  INLINE void copy_cell(int p, Shared to) {
    cp_async16_if(to, rlane + (u64)offset[p] * 16, offset[p] < stop[p] && lane < unit);
    offset[p] += unit;
  }

  // scales are those of rows 2g and 2g+1.
  struct Scales { float row[2]; };
  static INLINE Scales scales(u32 both) { return {{f16_to_f32((u16)both), f16_to_f32((u16)(both >> 16))}}; }
  // row_scale is where they are among those of a residual tile, which has 16 or twice the same.
  INLINE u32 row_scale() const { return a.rform & ROW_SCALES ? lane / 4 * 4 : 0; }
  // add scales sums of one group and adds them to the accumulators.
  INLINE void add(int p, int o, const float d[4], const Scales& s, u32 x) {
    if constexpr (P::GROUP_SCALES) {
      const f32x2& t = ((const f32x2*)(DYN_SMEM + x + C::XS))[o * 4 + lane % 4];
      UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] += d[i] * t.v[i % 2] * s.row[i / 2];
    } else {
      UNROLL for (int i = 0; i < 4; i++) acc[p][o][i] += d[i] * s.row[i / 2];
    }
  }

  // use multiplies the tile in a stage.
  enum : bool { KEPT = OCTETS <= 2 && C::COLS == 64 && C::GROUPS == 1 };
  struct Kept { typename P::B b[KEPT ? OCTETS : 1]; }; // X in registers, for base and residual
  INLINE void use(u32 slot, u32 tile) {
    u32 x = slot + activations();
    Shared at[P::PARTS];
    UNROLL for (int i = 0; i < P::PARTS; i++) at[i] = xat[i] + slot;
    Kept kept;
    if constexpr (KEPT) UNROLL for (int o = 0; o < OCTETS; o++) P::load(kept.b[o], at, o);
    if constexpr (C::COLS == 128) {
      if constexpr (P::ROW > 128 && (OCTETS <= 2 || OCTETS > 8)) panels_apart(at, x, slot); else joined(at, x, slot);
    } else if constexpr (C::KIND != SPARSE) {
      if constexpr (C::GROUPS > 1) halves(x, slot); else whole(at, kept, x, slot);
    }
    if constexpr (C::KIND == SPARSE) stage_residuals(at, kept, x, slot);
    if constexpr (C::KIND == ZIP) {
      if (tile == marks.event) {
        tile = hold(tile);
        if (unit >= 32) ring_residuals<true>(at, kept, x, tile); else ring_residuals<false>(at, kept, x, tile);
      }
    }
  }
  // ring_residuals multiplies what the panels have in their rings for a tile, and refills them.
  template <bool TILES> INLINE void ring_residuals(const Shared* at, Kept& kept, u32 x, u32 tile) {
    u32 cells, entries = marks.template look<!TILES>(cells);
    recent = shift_left(recent, looked - tile);
    if (young(entries)) {
      cp_async_wait<0>();
      sync_warp(); // what was copied a moment ago is there for all
    }
    recent = (recent << C::ENTRIES) + entries, looked = tile - C::ENTRIES;
    UNROLL for (u32 e = 0; e < C::ENTRIES; e++) {
      if (!(entries >> e & 1)) continue;
      if constexpr (TILES) ring_tile(e / C::HALVES, at, kept, x, e % C::HALVES);
      else ring_cells(e / C::HALVES, x, cells >> 4 * e & 15, e % C::HALVES);
    }
  }
  // young reports whether a panel needs what was not copied STAGES turns ago. A ring has room for
  // two tiles, so this is when the panel had two others since then.
  INLINE bool young(u32 entries) const {
    u32 once = 0, twice = 0, late = 0;
    UNROLL for (int d = C::STAGES - 2; d >= 0; d--)
      UNROLL for (int h = 0; h < C::HALVES; h++) {
        u32 m = recent >> (d * C::ENTRIES + h);
        twice |= once & m, once |= m;
      }
    UNROLL for (int h = 0; h < C::HALVES; h++) {
      u32 m = entries >> h;
      late |= m & twice, twice |= once & m, once |= m;
    }
    return late & C::ONES;
  }
  INLINE void ring_tile(int p, const Shared* at, Kept& kept, u32 x, u32 half) {
    typename P::Tile::A w;
    P::Tile::unpack(w, load_shared16(rat[p]));
    Scales s = scales(load_shared4(rat[p] + scaled));
    copy_tile(p, rat[p]);
    rat[p] = other(rings, p * (4 * C::RECORD), rat[p]);
    multiply_tile<typename P::Tile>(p, w, s, at, kept, x, half);
  }
  INLINE void ring_cells(int p, u32 x, u32 cells, u32 half) {
    ROLL for (; cells; cells &= cells - 1) {
      u32 w[4];
      P::unpack_cell(w, load_shared4(rat[p] - lane * 12));
      Scales s = scales(load_shared4(rat[p] - lane * 16 + (128 + row_scale())));
      sync_warp(); // all have read the cell
      copy_cell(p, rat[p]);
      rat[p] += unit * 16;
      if (rat[p] == ring(p) + 8 * unit * 16) rat[p] = ring(p);
      multiply_cell(p, w, s, x, half * 4 + lowest_bit(cells));
    }
  }
  // stage_residuals multiplies what a sparse kernel has in a stage.
  INLINE void stage_residuals(const Shared* at, Kept& kept, u32 x, u32 slot) {
    UNROLL for (int p = 0; p < PW; p++) {
      u32 cells = ((const u32*)(DYN_SMEM + (own() + C::HEAD) + slot))[p] >> 28;
      Shared from = base + (own() + C::R + p * C::RECORD + slot + lane * 16);
      if (!cells) continue;
      if (a.rform & WIDE) {
        typename P::Tile::A w;
        P::Tile::unpack(w, load_shared16(from));
        Scales s = scales(load_shared4(from - lane * 16 + (512 + row_scale())));
        multiply_tile<typename P::Tile>(p, w, s, at, kept, x, 0);
        continue;
      }
      ROLL for (; cells; cells &= cells - 1, from += unit * 16) {
        u32 w[4];
        P::unpack_cell(w, load_shared4(from - lane * 12));
        multiply_cell(p, w, scales(load_shared4(from - lane * 16 + (128 + row_scale()))), x, lowest_bit(cells));
      }
    }
  }
  template <class T> INLINE void multiply_tile(int p, const typename T::A& w, const Scales& s, const Shared* at,
                                               Kept& kept, u32 x, u32 half) {
    UNROLL for (int o = 0; o < OCTETS; o++) {
      float d[4];
      if constexpr (KEPT) {
        T::whole(d, w, kept.b[o], seldom);
      } else {
        typename T::B fresh;
        T::load(fresh, at + half, o);
        T::whole(d, w, fresh, seldom);
      }
      add(p, o, d, s, x);
    }
  }
  INLINE void multiply_cell(int p, const u32* w, const Scales& s, u32 x, u32 cell) {
    UNROLL for (int o = 0; o < OCTETS; o++) {
      u32 b[2];
      P::load_cell(b, base + x, o, cell, lane);
      float d[4];
      P::cell(d, w, b, seldom);
      add(p, o, d, s, x);
    }
  }
  INLINE void whole(const Shared* at, Kept& kept, u32 x, u32 slot) {
    typename P::A w[PW];
    Scales s[PW];
    UNROLL for (int p = 0; p < PW; p++) {
      P::unpack(w[p], load_shared16(wat + slot + p * C::TILE));
      s[p] = scales(load_shared4(sat + slot + p * C::GROUP));
    }
    UNROLL for (int o = 0; o < OCTETS; o++) {
      typename P::B fresh;
      if constexpr (!KEPT) P::load(fresh, at, o);
      UNROLL for (int p = 0; p < PW; p++) {
        float d[4];
        if constexpr (KEPT) P::whole(d, w[p], kept.b[o], start); else P::whole(d, w[p], fresh, start);
        add(p, o, d, s[p], x);
      }
    }
  }
  // halves is whole for groups of 32 columns.
  INLINE void halves(u32 x, u32 slot) {
    const u8* from = DYN_SMEM + own() + slot;
    ROLL for (u32 h = 0; h < 2; h++) {
      typename P::HalfA w[PW];
      Scales s[PW];
      UNROLL for (int p = 0; p < PW; p++) {
        P::unpack_half(w[p], *(const u32x2*)(from + p * C::TILE + lane * 16 + h * 8));
        s[p] = scales(load_shared4(sat + slot + p * C::GROUP + h * 32));
      }
      UNROLL for (int o = 0; o < OCTETS; o++) {
        typename P::HalfB b;
        P::load_half(b, base + x, o, h, lane);
        UNROLL for (int p = 0; p < PW; p++) {
          float d[4];
          P::half(d, w[p], b, start);
          add(p, o, d, s[p], x);
        }
      }
    }
  }
  // joined is whole and halves for a tile of 128 columns.
  INLINE void joined(const Shared* at, u32 x, u32 slot) {
    typename P::A w[PW];
    Scales s[PW][C::GROUPS];
    UNROLL for (int p = 0; p < PW; p++) operand(w[p], s[p], slot, p);
    UNROLL for (int o = 0; o < OCTETS; o++) {
      typename P::B b;
      P::load(b, at, o);
      UNROLL for (int p = 0; p < PW; p++) sums(p, o, w[p], b, s[p], x);
    }
  }
  // panels_apart is joined where the operands of all panels are too many for the registers.
  INLINE void panels_apart(const Shared* at, u32 x, u32 slot) {
    constexpr int READ = OCTETS <= 2 ? OCTETS : 1; // X is read once where it may be kept
    typename P::B b[READ];
    if constexpr (READ == OCTETS) UNROLL for (int o = 0; o < READ; o++) P::load(b[o], at, o);
    UNROLL for (int p = 0; p < PW; p++) {
      typename P::A w;
      Scales s[C::GROUPS];
      operand(w, s, slot, p);
      UNROLL for (int o = 0; o < OCTETS; o++) {
        if constexpr (READ < OCTETS) P::load(b[0], at, o);
        sums(p, o, w, b[o % READ], s, x);
      }
    }
  }
  INLINE void operand(typename P::A& w, Scales* s, u32 slot, int p) {
    typename P::Codes c;
    P::unpack(c, load_shared16(wat + slot + p * C::TILE), load_shared16(wat + slot + (p * C::TILE + 512)));
    if constexpr (C::KIND == RIDE) sum(c, DYN_SMEM + (own() + C::R) + slot + p * riding_bytes());
    P::expand(w, c);
    UNROLL for (int g = 0; g < C::GROUPS; g++) s[g] = scales(load_shared4(sat + slot + (p * C::GROUP + g * 32)));
  }
  INLINE void sums(int p, int o, const typename P::A& w, const typename P::B& b, const Scales* s, u32 x) {
    UNROLL for (int g = 0; g < C::GROUPS; g++) {
      float d[4];
      P::template sum<C::GROUPS>(d, w, b, g, start);
      add(p, o, d, s[g], x);
    }
  }
  // sum adds a record to the codes of a tile. They go through the scratch of the warp, where
  // each block is added by one lane. Part i of the lane (g,t), four words of cells 2i and 2i+1, is at
  // g·320 + (t%2)·160 + i·32 + (t/2)·16, so that no lane meets another at a bank.
  template <class T> INLINE void sum(T& w, const u8* record) {
    u8* scratch = DYN_SMEM + C::RING + warp * SCRATCH;
    u8* mine = scratch + lane / 4 * 320 + lane % 2 * 160 + lane % 4 / 2 * 16;
    UNROLL for (int i = 0; i < 4; i++) *(u32x4*)(mine + i * 32) = w.r[i];
    sync_warp(); // the codes are there for all
    u8* row = scratch + lane % 16 / 2 * 320 + lane % 2 * 4;
    ROLL for (u32 i = lane; i < 16 * riding(); i += 32)
      P::plus(row, riding_steps, ((const u16*)record)[i], record[riding() * 32 + i / 2] >> (i % 2 * 4) & 15);
    sync_warp(); // and so are the sums
    UNROLL for (int i = 0; i < 4; i++) w.r[i] = *(const u32x4*)(mine + i * 32);
  }
  // run walks all tiles of the warp.
  INLINE void run() {
    u32 last = 0, slot = 0; // the stages of the tile before and of the present one
    u32 under_way = 0;
    ROLL for (int i = 0; i < C::STAGES - 1; i++) {
      if (i > 0) cp_async_commit();
      if (walk.more()) fill(last), under_way++;
      last += C::STAGE;
    }
    if constexpr (C::KIND == ZIP) fill_rings();
    cp_async_commit();
    constexpr u32 STEP = C::KIND == ZIP ? C::ENTRIES : 1;
    u32 end = walk.end - walk.j; // a sparse kernel skips tiles: it counts those under way
    if constexpr (C::KIND != SPARSE) end = (end + under_way) * STEP;
    ROLL while (C::KIND == SPARSE ? under_way : end) {
      cp_async_wait<C::STAGES - 2>();
      sync(); // the tile is here for all, and the stage before it is free
      under_way--;
      if (walk.more()) fill(last), under_way++;
      cp_async_commit();
      use(slot, end);
      end -= STEP;
      last = slot, slot = slot + C::STAGE == C::RING ? 0 : slot + C::STAGE;
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
      if constexpr (P::TOKEN_SCALES) {
        float scale = a.xs[m + i] * P::unit();
        x *= scale, y *= scale;
      }
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
