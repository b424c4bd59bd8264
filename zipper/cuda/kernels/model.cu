// model.cu: what stands between the matrix products of a decoder-only model: the
// embedding, RMSNorm, rotary positions, attention over a cache of keys and values,
// SwiGLU, and the most likely token. Whatever a product reads is rounded by the
// kernel that makes it.
#include "rows.h"

// A row of at most 16 · blockDim.x columns stays in registers: element j of piece i
// of a thread is column 4·(threadIdx.x + i·blockDim.x) + j.
constexpr u32 KEPT = 4;
DEV u32 word_of(u32 i) { return threadIdx.x + i * blockDim.x; }

// block_sum and block_max of a value of each thread. Two of them in a row need 32
// words of shared memory each.
DEV float warp_sum(float v) {
  for (int m = 16; m; m /= 2) v += bits_f32(warp_xor(f32_bits(v), m));
  return v;
}
DEV float block_sum(float v, float* warps) {
  u32 lane = threadIdx.x % 32;
  v = warp_sum(v);
  if (lane == 0) warps[threadIdx.x / 32] = v;
  sync_block();
  return warp_sum(lane < blockDim.x / 32 ? warps[lane] : 0);
}
DEV u32 block_max(u32 v, u32* warps) {
  u32 lane = threadIdx.x % 32;
  v = warp_max(v);
  if (lane == 0) warps[threadIdx.x / 32] = v;
  sync_block();
  return warp_max(lane < blockDim.x / 32 ? warps[lane] : 0);
}

// Where a row goes and how it is rounded first: round is 8 for quant.A8, 4 for
// quant.A4, 0 for not at all. Of type INT8 and INT4 are its codes, with scales in s;
// SPLIT is bfloat16, and in lo, also bfloat16, what that leaves.
struct Out {
  u8* o;
  u64 ld;
  u32 type;
  float* s;
  u8* lo;
  u32 round;
};

DEV u32 bf16x2(float a, float b) { return f32_to_bf16(a) | (u32)f32_to_bf16(b) << 16; }
DEV u32 f16x2(float a, float b) { return f32_to_f16(a) | (u32)f32_to_f16(b) << 16; }
DEV float rest(float v) { return v - bits_f32((u32)f32_to_bf16(v) << 16); }

// write4 writes four columns as floats of a type.
DEV void write4(const Out& o, u64 row, u32 word, const float v[4]) {
  u8* to = o.o + row * o.ld;
  if (o.type == F32) {
    ((f32x4*)to)[word] = f32x4{{v[0], v[1], v[2], v[3]}};
  } else if (o.type == HALF) {
    ((u32x2*)to)[word] = u32x2{{f16x2(v[0], v[1]), f16x2(v[2], v[3])}};
  } else {
    ((u32x2*)to)[word] = u32x2{{bf16x2(v[0], v[1]), bf16x2(v[2], v[3])}};
    if (o.type == SPLIT)
      ((u32x2*)(o.lo + row * o.ld))[word] = u32x2{{bf16x2(rest(v[0]), rest(v[1])), bf16x2(rest(v[2]), rest(v[3]))}};
  }
}

// emit rounds and writes a row of k columns, zeros up to 64·kt behind them; as F32 k
// columns alone.
DEV void emit(float v[KEPT][4], const Out& o, u64 row, u32 k, u32 kt, u32* warps) {
  u32 words = o.type == F32 ? k / 4 : 16 * kt, lane = threadIdx.x % 32;
  float scale = 0;
  if (o.round == 8) {
    u32 largest = 0;
    UNROLL for (u32 i = 0; i < KEPT; i++) largest = largest4(largest, v[i]);
    scale = scale_of(block_max(largest, warps), 127);
    if (o.type == INT8 && threadIdx.x == 0) o.s[row] = scale;
  }
  UNROLL for (u32 i = 0; i < KEPT; i++) {
    u32 word = word_of(i);
    if (o.round == 4) { // 128 columns are those of a warp
      scale = scale_of(warp_max(largest4(0, v[i])), 7);
      if (o.type == INT4 && lane == 0 && word < words) o.s[row * ((words + 31) / 32) + word / 32] = scale;
    }
    if (word >= words) continue;
    if (o.type == INT8) {
      ((u32*)(o.o + row * o.ld))[word] = codes4(v[i], scale);
    } else if (o.type == INT4) {
      u32 nibbles = 0, cell = word / 4 % 4, quarter = word % 4; // see ABI.md
      UNROLL for (int j = 0; j < 4; j++) nibbles |= (u32)(code(v[i][j], scale, 7) & 15) << 4 * j;
      ((u16*)(o.o + row * o.ld))[word / 16 * 16 + (cell / 2 * 4 + quarter) * 2 + cell % 2] = (u16)nibbles;
    } else {
      float top = o.round == 8 ? 127 : 7;
      if (o.round)
        UNROLL for (int j = 0; j < 4; j++) v[i][j] = (float)code(v[i][j], scale, top) * scale;
      write4(o, row, word, v[i]);
    }
  }
}

#define OUT_PARAMS u64 o, u64 ldo, u64 otype, u64 os, u64 lo, u64 round
#define OUT \
  { (u8*)o, ldo, (u32)otype, (float*)os, (u8*)lo, (u32)round }

DEV u64 size_of(u64 type) { return type == F32 ? 4 : 2; }
DEV void add4(float v[4], const float a[4]) { UNROLL for (int j = 0; j < 4; j++) v[j] += a[j]; }

// note_bad remembers the first stage of a model that had a row which is not finite.
DEV void note_bad(u64 bad, u64 stage, u64 row) {
  if (*(u64*)bad == 0) *(u64*)bad = stage << 32 | (row + 1);
}

// embed: x [m,k] in float32 = rows ids of the table [V,k].
KERNEL(1024, embed)(u64 x, u64 table, u64 type, u64 ids, u64 m, u64 k) {
  u64 row = blockIdx.x;
  if (row >= m) return;
  const u8* from = (const u8*)table + ((const u32*)ids)[row] * k * size_of(type);
  for (u32 word = threadIdx.x; word < k / 4; word += blockDim.x) {
    float v[4];
    load4(v, from, type, word, (u32)k);
    ((f32x4*)(x + row * k * 4))[word] = f32x4{{v[0], v[1], v[2], v[3]}};
  }
}
REGISTER(embed, 1, 0, 1024, 0)

// norm: x += h + hbias where h is not 0, then RMSNorm of x with the gain w, or x itself
// where w is 0. With rows, row i of the output is of row rows[i] of x and h, and no other is touched.
KERNEL(1024, norm)(u64 x, u64 h, u64 htype, u64 hbias, u64 w, u64 eps, u64 rows, u64 m, u64 k, u64 kt, OUT_PARAMS,
                   u64 bad, u64 stage) {
  float* shared = (float*)DYN_SMEM;
  if (blockIdx.x >= m) return;
  u64 row = rows ? ((const u32*)rows)[blockIdx.x] : blockIdx.x;
  u8* stream = (u8*)x + row * k * 4;
  u32 columns = (u32)k;
  float v[KEPT][4], a[4], sum = 0;
  UNROLL for (u32 i = 0; i < KEPT; i++) {
    u32 word = word_of(i);
    load4(v[i], stream, F32, word, columns);
    if (h) {
      load4(a, (const u8*)h + row * k * size_of(htype), htype, word, columns);
      if (hbias) {
        float b[4];
        load4(b, (const u8*)hbias, F32, word, columns);
        add4(a, b);
      }
      add4(v[i], a);
      if (4 * word < columns) ((f32x4*)stream)[word] = f32x4{{v[i][0], v[i][1], v[i][2], v[i][3]}};
    }
    UNROLL for (int j = 0; j < 4; j++) sum += v[i][j] * v[i][j];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0 && magnitude(sum) >= 0x7f800000u) note_bad(bad, stage, row);
  float scale = div_f32(1, sqrt_f32(div_f32(sum, (float)columns) + bits_f32((u32)eps)));
  UNROLL for (u32 i = 0; i < KEPT; i++) {
    if (!w) continue;
    load4(a, (const u8*)w, F32, word_of(i), columns);
    UNROLL for (int j = 0; j < 4; j++) v[i][j] = a[j] * (v[i][j] * scale);
  }
  Out out = OUT;
  emit(v, out, blockIdx.x, columns, (u32)kt, (u32*)shared + 32);
}
REGISTER(norm, 1, 0, 1024, 256)

// swiglu: silu(gate)·up. Rows of gate and up lie ld elements apart.
KERNEL(1024, swiglu)(u64 gate, u64 up, u64 type, u64 ld, u64 gbias, u64 ubias, u64 m, u64 k, u64 kt, OUT_PARAMS) {
  u64 row = blockIdx.x;
  if (row >= m) return;
  u64 at = row * ld * size_of(type);
  u32 columns = (u32)k;
  float v[KEPT][4], u[4], b[4];
  UNROLL for (u32 i = 0; i < KEPT; i++) {
    u32 word = word_of(i);
    load4(v[i], (const u8*)gate + at, type, word, columns);
    load4(u, (const u8*)up + at, type, word, columns);
    if (gbias) {
      load4(b, (const u8*)gbias, F32, word, columns);
      add4(v[i], b);
      load4(b, (const u8*)ubias, F32, word, columns);
      add4(u, b);
    }
    UNROLL for (int j = 0; j < 4; j++) v[i][j] = div_f32(v[i][j], 1 + exp_f32(-v[i][j])) * u[j];
  }
  Out out = OUT;
  emit(v, out, row, columns, (u32)kt, (u32*)DYN_SMEM);
}
REGISTER(swiglu, 1, 0, 1024, 128)

// accumulate: y[i] += y[n+i] in float32, n a multiple of 4: the product of what
// rounding to 16 bits left.
KERNEL(256, accumulate)(u64 y, u64 n) {
  f32x4* to = (f32x4*)y;
  const f32x4* from = (const f32x4*)(y + 4 * n);
  for (u64 i = (u64)blockIdx.x * 256 + threadIdx.x; i < n / 4; i += (u64)gridDim.x * 256) {
    f32x4 a = to[i], b = from[i];
    add4(a.v, b.v);
    to[i] = a;
  }
}
REGISTER(accumulate, 0, 0, 256, 0)

// rope: a warp has a head of a token: bias, RMSNorm (where there is a gain), the
// turn of its position; queries go to qo, divided by the root of d, keys and values to the
// cache [slots, kvheads, room, d]. Heads are those of q, k and v, in this order.
KERNEL(256, rope)(u64 q, u64 k, u64 v, u64 type, u64 ldq, u64 ldk, u64 ldv, u64 qbias, u64 kbias, u64 vbias, u64 qgain,
                    u64 kgain, u64 eps, u64 table, u64 slot, u64 pos, u64 qo, u64 ck, u64 cv, u64 ctype, u64 m,
                    u64 heads, u64 kvheads, u64 d, u64 room) {
  constexpr u32 PAIRS = 4; // of a lane: heads of up to 256
  u64 row = blockIdx.x, lane = threadIdx.x % 32, head = blockIdx.y * 8 + threadIdx.x / 32;
  if (row >= m || head >= heads + 2 * kvheads) return;
  bool query = head < heads, value = head >= heads + kvheads;
  u64 h = query ? head : value ? head - heads - kvheads : head - heads;
  const u8* x = (const u8*)(query ? q : value ? v : k);
  const float* bias = (const float*)(query ? qbias : value ? vbias : kbias);
  const float* gain = (const float*)(query ? qgain : value ? 0 : kgain);
  u64 at = row * (query ? ldq : value ? ldv : ldk) + h * d, p = ((const u32*)pos)[row], half = d / 2;
  float a[PAIRS], b[PAIRS], sum = 0;
  UNROLL for (u32 i = 0; i < PAIRS; i++) {
    u64 j = lane + 32 * i;
    a[i] = b[i] = 0;
    if (j >= half) continue;
    a[i] = read(x, type, at + j), b[i] = read(x, type, at + half + j);
    if (bias) a[i] += bias[h * d + j], b[i] += bias[h * d + half + j];
    sum += a[i] * a[i] + b[i] * b[i];
  }
  sum = warp_sum(sum);
  float scale = div_f32(1, sqrt_f32(div_f32(sum, (float)d) + bits_f32((u32)eps))), root = div_f32(1, sqrt_f32((float)d));
  const float* turn = (const float*)table + p * d;
  u8* to = (u8*)(query ? qo : value ? cv : ck);
  u64 out = query ? (row * heads + h) * d : ((((const u32*)slot)[row] * kvheads + h) * room + p) * d;
  UNROLL for (u32 i = 0; i < PAIRS; i++) {
    u64 j = lane + 32 * i;
    if (j >= half) continue;
    float s = a[i], t = b[i];
    if (gain) s = gain[j] * (s * scale), t = gain[half + j] * (t * scale);
    if (!value) {
      float c = turn[j], n = turn[half + j], u = s * c - t * n;
      t = t * c + s * n, s = u;
    }
    if (query) s *= root, t *= root;
    if (ctype == F32) ((float*)to)[out + j] = s, ((float*)to)[out + half + j] = t;
    else ((u16*)to)[out + j] = f32_to_f16(s), ((u16*)to)[out + half + j] = f32_to_f16(t);
  }
}
REGISTER(rope, 1, 8, 256, 0)

// What attention needs to know of a block: rows, which are the query heads of one key
// head of one or several tokens in a row, and the keys of a split.
struct Part {
  u32 first, tokens, group, head; // token, how many, query heads of a key head, the first of them
  u32 rows, slot, position;       // position of the first token
  u32 from, to;                   // keys
};

// find reads which part of the work a block has. The keys that its tokens see are
// cut in gridDim.x splits, each a multiple of step.
DEV Part find(u64 tiles, u64 slot, u64 pos, u32 window, u32 heads, u32 kvheads, u32 step) {
  Part p;
  p.first = tiles ? ((const u32*)tiles)[2 * blockIdx.z] : blockIdx.z;
  p.tokens = tiles ? ((const u32*)tiles)[2 * blockIdx.z + 1] : 1;
  p.group = heads / kvheads, p.head = blockIdx.y * p.group, p.rows = p.tokens * p.group;
  p.slot = ((const u32*)slot)[p.first], p.position = ((const u32*)pos)[p.first];
  u32 low = window && p.position + 1 > window ? p.position + 1 - window : 0, high = p.position + p.tokens;
  u32 each = ((high - low + gridDim.x - 1) / gridDim.x + step - 1) / step * step;
  p.from = low + blockIdx.x * each;
  p.to = p.from + each < high ? p.from + each : high;
  return p;
}
DEV bool sees(u32 position, u32 key, u32 window) { return key <= position && (!window || key + window > position); }

// attend: softmax(q·kᵀ)·v of up to 16 rows over a split of their keys, in float32. What
// it writes is not yet divided: part [gridDim.x, m, heads, d], and stats, of each row
// the largest score and the sum of exponentials. A tile is a token and the number of
// tokens from there, of which a row is each of the query heads; without tiles each token is one.
KERNEL(128, attend)(u64 part, u64 stats, u64 q, u64 ck, u64 cv, u64 type, u64 tiles, u64 slot, u64 pos, u64 window, u64 m,
                    u64 heads, u64 kvheads, u64 d, u64 room) {
  constexpr u32 ROWS = 16, KEYS = 32, WARPS = 4, WIDE = 2; // WIDE: columns of a thread
  const float none = bits_f32(0xff800000u);
  Part p = find(tiles, slot, pos, (u32)window, (u32)heads, (u32)kvheads, KEYS);
  u32 thread = threadIdx.x, warp = thread / 32, lane = thread % 32, D = (u32)d, LD = D + 1;
  float *qs = (float*)DYN_SMEM, *ks = qs + ROWS * D, *ps = ks + KEYS * LD, *scales = ps + ROWS * KEYS;
  u64 cache = ((u64)p.slot * kvheads + blockIdx.y) * room;
  for (u32 i = thread; i < p.rows * D; i += 128)
    qs[i] = read((const u8*)q, type, ((u64)(p.first + i / D / p.group) * heads + p.head + i / D % p.group) * d + i % D);
  float o[ROWS][WIDE], top[ROWS / WARPS], sum[ROWS / WARPS];
  UNROLL for (u32 r = 0; r < ROWS; r++) UNROLL for (u32 c = 0; c < WIDE; c++) o[r][c] = 0;
  UNROLL for (u32 i = 0; i < ROWS / WARPS; i++) top[i] = none, sum[i] = 0;
  for (u32 key0 = p.from; key0 < p.to; key0 += KEYS) {
    u32 keys = p.to - key0 < KEYS ? p.to - key0 : KEYS;
    for (u32 i = thread; i < keys * D; i += 128) ks[i / D * LD + i % D] = read((const u8*)ck, type, (cache + key0 + i / D) * d + i % D);
    sync_block();
    UNROLL for (u32 i = 0; i < ROWS / WARPS; i++) {
      u32 r = warp + WARPS * i;
      if (r >= p.rows) continue;
      float s = none;
      if (lane < keys && sees(p.position + r / p.group, key0 + lane, (u32)window)) {
        s = 0;
        for (u32 j = 0; j < D; j++) s += qs[r * D + j] * ks[lane * LD + j];
      }
      float most = s > top[i] ? s : top[i]; // a NaN is not the largest, but makes the sum one
      for (int x = 16; x; x /= 2) {
        float other = bits_f32(warp_xor(f32_bits(most), x));
        most = other > most ? other : most;
      }
      float e = most == none || s == none ? 0 : exp_f32(s - most), keep = most == none ? 1 : exp_f32(top[i] - most);
      top[i] = most, sum[i] = sum[i] * keep + warp_sum(e);
      ps[r * KEYS + lane] = e;
      if (lane == 0) scales[r] = keep;
    }
    sync_block();
    UNROLL for (u32 c = 0; c < WIDE; c++) {
      u32 column = thread + 128 * c;
      if (column >= D) continue;
      UNROLL for (u32 r = 0; r < ROWS; r++)
        if (r < p.rows) o[r][c] *= scales[r];
      for (u32 key = 0; key < keys; key++) {
        float v = read((const u8*)cv, type, (cache + key0 + key) * d + column);
        UNROLL for (u32 r = 0; r < ROWS; r++)
          if (r < p.rows) o[r][c] += ps[r * KEYS + key] * v;
      }
    }
  }
  u64 base = blockIdx.x * m;
  UNROLL for (u32 r = 0; r < ROWS; r++) {
    if (r >= p.rows) continue;
    u64 row = (base + p.first + r / p.group) * heads + p.head + r % p.group;
    UNROLL for (u32 c = 0; c < WIDE; c++)
      if (thread + 128 * c < D) ((float*)part)[row * d + thread + 128 * c] = o[r][c];
  }
  UNROLL for (u32 i = 0; i < ROWS / WARPS; i++) {
    u32 r = warp + WARPS * i;
    if (r < p.rows && lane == 0)
      ((f32x2*)stats)[(base + p.first + r / p.group) * heads + p.head + r % p.group] = f32x2{{top[i], sum[i]}};
  }
}
REGISTER(attend, 16, 0, 128, (16 * 256 + 32 * 257 + 16 * 32 + 16) * 4)

// Attention on tensor cores: keys, values and queries in half precision, D elements a head. A warp has 16
// rows, its block 64, which read tiles of 64 keys; while one is used the next one comes.
template <int D> struct Flash {
  static constexpr u32 ROWS = 64, KEYS = 64, LD = 2 * D + 16; // bytes of a row: padded, so that 8 rows are in different banks
  static constexpr u32 TILE = KEYS * LD, SMEM = ROWS * LD + 4 * TILE; // queries, and two stages of keys and values

  // fetch copies keys and values from key0 on, zeros beyond p.to.
  static INLINE void fetch(Shared to, const Part& p, const u8* k, const u8* v, u32 key0) {
    for (u32 i = threadIdx.x; i < KEYS * D / 8; i += 128) {
      u32 key = i / (D / 8), at = i % (D / 8) * 16;
      bool real = key0 + key < p.to;
      u64 from = real ? (u64)(key0 + key) * D * 2 + at : 0;
      cp_async16_or_zero(to + key * LD + at, k + from, real);
      cp_async16_or_zero(to + TILE + key * LD + at, v + from, real);
    }
  }

  // scores sets s to the products of 16 queries with the 64 keys of a tile.
  static INLINE void scores(float s[8][4], u32 q[D / 16][4], Shared keys, u32 lane) {
    UNROLL for (u32 n = 0; n < 8; n++) UNROLL for (int i = 0; i < 4; i++) s[n][i] = 0;
    UNROLL for (u32 k = 0; k < D / 16; k++) UNROLL for (u32 n = 0; n < 8; n += 2) {
      u32 b[4];
      ldmatrix_x4(b, keys + (n * 8 + lane % 8 + lane / 16 * 8) * LD + k * 32 + lane / 8 % 2 * 16);
      mma_m16n8k16_f16(s[n], q[k], b, s[n]);
      mma_m16n8k16_f16(s[n + 1], q[k], b + 2, s[n + 1]);
    }
  }

  // add adds the values, weighted by the exponentials e, to o.
  static INLINE void add(float o[D / 8][4], float e[8][4], Shared values, u32 lane) {
    UNROLL for (u32 k = 0; k < 4; k++) {
      u32 a[4];
      UNROLL for (int i = 0; i < 4; i++) a[i] = f16x2(e[2 * k + i / 2][i % 2 * 2], e[2 * k + i / 2][i % 2 * 2 + 1]);
      UNROLL for (u32 n = 0; n < D / 8; n += 2) {
        u32 b[4];
        ldmatrix_x4_trans(b, values + (k * 16 + lane % 8 + lane / 8 % 2 * 8) * LD + n * 16 + lane / 16 * 16);
        mma_m16n8k16_f16(o[n], a, b, o[n]);
        mma_m16n8k16_f16(o[n + 1], a, b + 2, o[n + 1]);
      }
    }
  }

  static INLINE void run(u64 part, u64 stats, u64 q, u64 ck, u64 cv, u64 tiles, u64 slot, u64 pos, u64 window, u64 m,
                         u64 heads, u64 kvheads, u64 room) {
    const float none = bits_f32(0xff800000u);
    Part p = find(tiles, slot, pos, (u32)window, (u32)heads, (u32)kvheads, KEYS);
    u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Shared queries = shared_base(), stages = queries + ROWS * LD;
    u64 cache = ((u64)p.slot * kvheads + blockIdx.y) * room * D * 2;
    const u8 *k = (const u8*)ck + cache, *v = (const u8*)cv + cache;
    for (u32 i = threadIdx.x; i < ROWS * D / 8; i += 128) {
      u32 r = i / (D / 8), at = i % (D / 8) * 16;
      bool real = r < p.rows;
      u64 from = real ? ((u64)(p.first + r / p.group) * heads + p.head + r % p.group) * D * 2 + at : 0;
      cp_async16_or_zero(queries + r * LD + at, (const u8*)q + from, real);
    }
    fetch(stages, p, k, v, p.from);
    cp_async_commit();
    float o[D / 8][4], top[2] = {none, none}, sum[2] = {0, 0};
    UNROLL for (u32 n = 0; n < D / 8; n++) UNROLL for (int i = 0; i < 4; i++) o[n][i] = 0;
    u32 qs[D / 16][4], row = warp * 16 + lane / 4, stage = 0;
    u32 places[2] = {p.position + row / p.group, p.position + (row + 8) / p.group};
    for (u32 key0 = p.from; key0 < p.to; key0 += KEYS, stage ^= 1) {
      cp_async_wait<0>();
      sync_block(); // the tile is there, and nobody reads the one before
      if (key0 == p.from)
        UNROLL for (u32 i = 0; i < D / 16; i++)
          ldmatrix_x4(qs[i], queries + (warp * 16 + lane % 16) * LD + i * 32 + lane / 16 * 16);
      if (key0 + KEYS < p.to) fetch(stages + (stage ^ 1) * 2 * TILE, p, k, v, key0 + KEYS);
      cp_async_commit();
      Shared keys = stages + stage * 2 * TILE;
      float s[8][4];
      scores(s, qs, keys, lane);
      bool whole = !window && key0 + KEYS <= p.to && key0 + KEYS - 1 <= p.position;
      UNROLL for (int h = 0; h < 2; h++) { // the lane's two rows
        float most = top[h], more = 0;
        UNROLL for (u32 n = 0; n < 8; n++) UNROLL for (int j = 0; j < 2; j++) {
          float& x = s[n][2 * h + j];
          u32 key = key0 + n * 8 + lane % 4 * 2 + j;
          if (!whole && !(key < p.to && sees(places[h], key, (u32)window))) x = none;
          most = x > most ? x : most;
        }
        UNROLL for (int x = 1; x < 4; x *= 2) {
          float other = bits_f32(warp_xor(f32_bits(most), x));
          most = other > most ? other : most;
        }
        float keep = most == none ? 1 : exp_f32(top[h] - most);
        UNROLL for (u32 n = 0; n < 8; n++) UNROLL for (int j = 0; j < 2; j++) {
          float& x = s[n][2 * h + j];
          x = most == none || x == none ? 0 : exp_f32(x - most);
          more += x;
        }
        UNROLL for (int x = 1; x < 4; x *= 2) more += bits_f32(warp_xor(f32_bits(more), x));
        top[h] = most, sum[h] = sum[h] * keep + more;
        UNROLL for (u32 n = 0; n < D / 8; n++) o[n][2 * h] *= keep, o[n][2 * h + 1] *= keep;
      }
      add(o, s, keys + TILE, lane);
    }
    cp_async_wait<0>();
    UNROLL for (int h = 0; h < 2; h++) {
      u32 r = row + 8 * h;
      if (r >= p.rows) continue;
      u64 to = (blockIdx.x * m + p.first + r / p.group) * heads + p.head + r % p.group;
      UNROLL for (u32 n = 0; n < D / 8; n++)
        *(f32x2*)(part + (to * D + n * 8 + lane % 4 * 2) * 4) = f32x2{{o[n][2 * h], o[n][2 * h + 1]}};
      if (lane % 4 == 0) ((f32x2*)stats)[to] = f32x2{{top[h], sum[h]}};
    }
  }
};

// flash: attend for tiles of up to 64·kvheads/heads tokens, with a cache in half precision.
#define FLASH(name, D)                                                                                                     \
  KERNEL_BLOCKS(128, 2, name)                                                                                              \
  (u64 part, u64 stats, u64 q, u64 ck, u64 cv, u64 tiles, u64 slot, u64 pos, u64 window, u64 m, u64 heads, u64 kvheads,    \
   u64 room) {                                                                                                             \
    Flash<D>::run(part, stats, q, ck, cv, tiles, slot, pos, window, m, heads, kvheads, room);                              \
  }                                                                                                                        \
  REGISTER(name, 64, 0, 128, Flash<D>::SMEM)
FLASH(flash_d64, 64)
FLASH(flash_d128, 128)

// combine: the splits of attend become one row [heads·d], divided by their sum. A row
// that sees nothing but what is not a number is NaN.
KERNEL(1024, combine)(u64 part, u64 stats, u64 splits, u64 m, u64 heads, u64 d, u64 kt, OUT_PARAMS) {
  u64 row = blockIdx.x;
  if (row >= m) return;
  u32 columns = (u32)(heads * d);
  const float none = bits_f32(0xff800000u);
  float v[KEPT][4];
  UNROLL for (u32 i = 0; i < KEPT; i++) {
    u32 word = word_of(i), head = 4 * word / (u32)d;
    UNROLL for (int j = 0; j < 4; j++) v[i][j] = 0;
    if (4 * word >= columns) continue;
    float top = none, sum = 0;
    for (u64 s = 0; s < splits; s++) {
      float t = ((const f32x2*)stats)[(s * m + row) * heads + head].v[0];
      top = t > top ? t : top;
    }
    for (u64 s = 0; s < splits; s++) {
      f32x2 t = ((const f32x2*)stats)[(s * m + row) * heads + head];
      if (t.v[0] == none) continue;
      float scale = exp_f32(t.v[0] - top);
      f32x4 a = ((const f32x4*)(part + (s * m + row) * columns * 4))[word];
      sum += t.v[1] * scale;
      UNROLL for (int j = 0; j < 4; j++) v[i][j] += a.v[j] * scale;
    }
    UNROLL for (int j = 0; j < 4; j++) v[i][j] = div_f32(v[i][j], sum);
  }
  Out out = OUT;
  emit(v, out, row, columns, (u32)kt, (u32*)DYN_SMEM);
}
REGISTER(combine, 1, 0, 1024, 128)

// greedy: the index of the largest of n logits of each row, the first of equal ones. It goes to
// ids, and to row pos+1 of out [.., gridDim.x]; then pos is one further.
KERNEL(1024, greedy)(u64 ids, u64 pos, u64 out, u64 logits, u64 n, u64 bad, u64 stage) {
  float* values = (float*)DYN_SMEM;
  u32* places = (u32*)DYN_SMEM + 32;
  u64 row = blockIdx.x;
  const float* x = (const float*)logits + row * n;
  float best = bits_f32(0xff800000u);
  u32 at = 0xffffffffu, thread = threadIdx.x, lane = thread % 32, largest = 0;
  for (u32 i = thread; i < n; i += blockDim.x) {
    u32 mag = magnitude(x[i]);
    largest = mag > largest ? mag : largest;
    if (x[i] > best || at == 0xffffffffu) best = x[i], at = i;
  }
  largest = block_max(largest, (u32*)DYN_SMEM + 64);
  for (int phase = 0; phase < 2; phase++) {
    for (int m = 16; m; m /= 2) {
      float v = bits_f32(warp_xor(f32_bits(best), m));
      u32 a = warp_xor(at, m);
      if (v > best || (v == best && a < at)) best = v, at = a;
    }
    if (phase) break;
    if (lane == 0) values[thread / 32] = best, places[thread / 32] = at;
    sync_block();
    best = lane < blockDim.x / 32 ? values[lane] : bits_f32(0xff800000u);
    at = lane < blockDim.x / 32 ? places[lane] : 0xffffffffu;
  }
  if (thread) return;
  if (largest >= 0x7f800000u) note_bad(bad, stage, row), at = 0;
  u32 next = ((u32*)pos)[row] + 1;
  ((u32*)pos)[row] = next, ((u32*)ids)[row] = at, ((u32*)out)[next * gridDim.x + row] = at;
}
REGISTER(greedy, 1, 0, 1024, 384)
