// test.cc: every kernel, emulated, against a float64 reference.
//
//   test [-seed S] [-cases C] [-only PART-OF-NAME] [-small | -long]
//   test -table    name, tokens, rows, threads, shared memory of every kernel
//
// Weights, residual and activations are random; sizes are odd, outputs and
// workspaces poisoned, and every buffer ends at a page that cannot be touched.
// A case is either exact (small integers and powers of two, no rounding
// anywhere: results must be equal) or real (within the bound that float32 sums in any
// order allow). Layouts are built here from ABI.md alone.
#include "test.h"

enum Scheme { F16, BF16, A8, A4 };
static double widen(u16 h) { return f16_to_f32(h); }

struct Case {
  Scheme scheme;
  int m, n, k, group, xgroup; // group 0: per row
  bool wide, rows, exact;
  double density;
  int ytype, splits;
  bool even = false;          // the kernel's tiles have 128 columns
  int riding = 0, halves = 0; // blocks of 1x8 that a row keeps of 16, and their ratio in half steps; 0: no such residual
  string say() const {
    char s[200];
    if (riding) {
      snprintf(s, sizeof s, "M=%d N=%d K=%d group=%d, %d of 16 blocks ride, %d halves, ytype=%d splits=%d%s", m, n, k, group, riding, halves,
               ytype, splits, exact ? " exact" : "");
      return s;
    }
    snprintf(s, sizeof s, "M=%d N=%d K=%d group=%d xgroup=%d %s %s density=%.2f ytype=%d splits=%d%s", m, n, k, group, xgroup,
             wide ? "16x64" : "16x16", rows ? "row scales" : "tile scales", density, ytype, splits, exact ? " exact" : "");
    return s;
  }
};

// Problem is a case with its data: canonical, and laid out as ABI.md says.
struct Problem {
  Case c;
  int kt, p, groups, cols;          // column tiles, panels, groups, columns of a residual tile
  vector<int> q, rq;                // [16p, 64kt] codes of base and residual
  vector<u16> s;                    // [16p, groups]
  vector<double> rs;                // [16p, 64kt/16] scale of the residual at a row and cell
  vector<double> x;                 // [m, 64kt] as multiplied
  Buffer X, XS, W, S, Index, R; // laid out

  explicit Problem(const Case& c_) : c(c_) {
    kt = up(c.k, 64), p = 8 * up(c.n, 128);
    if (c.even) kt = 2 * up(c.k, 128);
    base();
    if (c.riding) ride(); else residual();
    activations();
  }
  double scale() { return c.exact ? std::ldexp(1.0, below(3) - 4) : real(0.002, 0.05); }
  void base() {
    int g = c.group ? c.group : 64 * kt;
    groups = up(64 * kt, g);
    q.assign(16 * p * 64 * kt, 0), s.assign(16 * p * groups, 0);
    for (int n = 0; n < c.n; n++) {
      for (int i = 0; i < groups; i++) s[n * groups + i] = f32_to_f16((float)scale());
      for (int k = 0; k < c.k; k++) q[n * 64 * kt + k] = below(16) - 8; // -8 too: affine-free formats leave it out, kernels need not
    }
    W = Buffer((size_t)512 * p * kt, 0);
    for (int i = 0; i < p; i++)
      for (int j = 0; j < kt; j++)
        for (int cell = 0; cell < 4; cell++) put_cell(q, i, j, cell, W.data + 512 * (i * kt + j) + 4 * cell, 16);
    S = Buffer((size_t)32 * p * groups);
    for (int i = 0; i < p; i++)
      for (int j = 0; j < groups; j++)
        for (int row = 0; row < 16; row++) S.as<u16>()[(i * groups + j) * 16 + row] = s[(i * 16 + row) * groups + j];
  }
  // put_cell writes the words of a 16x16 cell, stride bytes from lane to lane.
  void put_cell(const vector<int>& from, int panel, int tile, int cell, u8* to, int stride) {
    for (int lane = 0; lane < 32; lane++) {
      u32 word = 0;
      int g = lane / 4, t = lane % 4;
      for (int i = 0; i < 8; i++) {
        int row, col;
        switch (c.scheme) {
          case A8: row = 2 * g + i % 2, col = 4 * t + i / 2; break;
          case A4: row = 2 * g + i / 4, col = 4 * t + i % 4; break;
          default: row = 2 * g + i % 2, col = 2 * t + i / 4 + 8 * (i / 2 % 2);
        }
        int v = from[(size_t)(panel * 16 + row) * 64 * kt + tile * 64 + cell * 16 + col];
        if (c.scheme == F16 || c.scheme == BF16) v += 8;
        word |= (u32)(v & 15) << 4 * i;
      }
      memcpy(to + lane * stride, &word, 4);
    }
  }
  void residual() {
    cols = c.wide ? 64 : 16;
    rq.assign(16 * p * 64 * kt, 0), rs.assign(16 * p * 4 * kt, 0);
    Index = Buffer((size_t)4 * (p * kt + 1), 0);
    vector<u8> tiles;
    u32 number = 0;
    for (int i = 0; i < p; i++)
      for (int j = 0; j < kt; j++) {
        u32 entry = number;
        for (int cell = 0; cell < 4; cell += cols / 16) {
          if (16 * i >= c.n || 64 * j + 16 * cell >= c.k || !(real(0, 1) < c.density)) continue;
          entry |= (c.wide ? 15u : 1u << cell) << 28;
          number++;
          u16 one = f32_to_f16((float)scale()), scales[16];
          for (int row = 0; row < 16; row++) {
            // Some rows have none, as when thin blocks are carried.
            scales[row] = !c.rows ? one : below(3) ? f32_to_f16((float)scale()) : 0;
            double sc = widen(scales[row]);
            for (int k = 0; k < cols; k++)
              if (16 * i + row < c.n && 64 * j + 16 * cell + k < c.k && sc != 0) rq[(size_t)(16 * i + row) * 64 * kt + 64 * j + 16 * cell + k] = below(15) - 7;
            for (int e = 0; e < cols / 16; e++) rs[(16 * i + row) * 4 * kt + 4 * j + cell + e] = sc;
          }
          size_t at = tiles.size(), end = at + 8 * cols;
          tiles.resize(end + (c.rows ? 32 : 16), 0xff);
          for (int e = 0; e < cols / 16; e++) put_cell(rq, i, j, cell + e, tiles.data() + at + 4 * e, cols / 4);
          memcpy(&tiles[end], scales, c.rows ? 32 : 4);
        }
        Index.as<u32>()[i * kt + j] = entry;
      }
    Index.as<u32>()[p * kt] = number;
    R = Buffer(std::max<size_t>(tiles.size(), 16));
    if (number) memcpy(R.data, tiles.data(), tiles.size());
  }
  // ride makes a residual of blocks of 1x8 whose step is half that of the base's group.
  void ride() {
    int g = c.group ? c.group : 64 * kt, size = (40 * c.riding + 15) / 16 * 16;
    rq.assign(16 * p * 64 * kt, 0), rs.assign(16 * p * 4 * kt, 0);
    R = Buffer((size_t)p * kt / 2 * size, 0);
    for (int n = 0; n < 16 * p; n++)
      for (int cell = 0; cell < 4 * kt; cell++) rs[n * 4 * kt + cell] = widen(s[n * groups + 16 * cell / g]) / 2;
    for (int n = 0; n < 16 * p; n++)
      for (int j = 0; j < kt / 2; j++) {
        u8* record = R.data + ((size_t)n / 16 * (kt / 2) + j) * size;
        vector<int> places(16);
        for (int i = 0; i < 16; i++) places[i] = i;
        std::shuffle(places.begin(), places.end(), rng);
        for (int slot = 0; slot < c.riding; slot++) {
          int at = slot * 16 + n % 16, place = places[slot];
          u32 word = 0;
          for (int i = 0; i < 8; i++) {
            int k = 128 * j + 8 * place + i, v = n < c.n && k < c.k ? below(3) - 1 : 0;
            rq[(size_t)n * 64 * kt + k] = c.halves * v;
            word |= (u32)(v & 3) << (4 * (i % 4) + 2 * (i / 4));
          }
          ((u16*)record)[at] = (u16)word;
          record[32 * c.riding + at / 2] |= (place / 4 * 4 + place % 2 * 2 + place / 2 % 2) << 4 * (at % 2);
        }
      }
  }
  void activations() {
    x.assign((size_t)c.m * 64 * kt, 0);
    int row = ldx(), xgroups = c.scheme == A4 ? up(64 * kt, c.xgroup) : 1;
    X = Buffer((size_t)row * c.m, 0), XS = Buffer((size_t)4 * c.m * xgroups);
    for (int m = 0; m < c.m; m++) {
      for (int i = 0; i < xgroups; i++) XS.as<float>()[m * xgroups + i] = (float)(c.exact ? std::ldexp(1.0, below(3) - 1) : real(0.01, 0.1));
      u8* to = X.data + (size_t)m * row;
      for (int k = 0; k < c.k; k++) {
        double& v = x[(size_t)m * 64 * kt + k];
        int s = k / 16 % 4, t = k / 4 % 4, b = k % 4;
        switch (c.scheme) {
          case F16: v = put16(to, k, f32_to_f16((float)value(4)), f16_to_f32); break;
          case BF16: v = put16(to, k, f32_to_bf16((float)value(4)), bf16_to_f32); break;
          case A8: {
            int code = c.exact ? below(9) - 4 : below(255) - 127;
            to[k] = (u8)code, v = code * (double)XS.as<float>()[m];
            break;
          }
          case A4: {
            int code = below(15) - 7, nibble = b + 4 * (s % 2);
            ((u32*)(to + k / 64 * 32))[4 * (s / 2) + t] |= (u32)(code & 15) << 4 * nibble;
            v = code * (double)XS.as<float>()[m * xgroups + k / c.xgroup];
          }
        }
      }
    }
  }
  double value(int top) { return c.exact ? below(2 * top + 1) - top : real(-1, 1); }
  template <class F> static double put16(u8* to, int k, u16 h, F widen) {
    ((u16*)to)[k] = h;
    return widen(h);
  }
  int ldx() const { return kt * (c.scheme == A8 ? 64 : c.scheme == A4 ? 32 : 128); }

  // reference returns Y and the same sum of absolute values, in float64.
  void reference(bool with_base, bool with_residual, vector<double>& y, vector<double>& size) {
    y.assign((size_t)c.m * c.n, 0), size.assign((size_t)c.m * c.n, 0);
    int g = c.group ? c.group : 64 * kt;
    for (int n = 0; n < c.n; n++)
      for (int k = 0; k < c.k; k++) {
        double b = with_base ? q[(size_t)n * 64 * kt + k] * widen(s[n * groups + k / g]) : 0;
        double r = with_residual ? rq[(size_t)n * 64 * kt + k] * rs[n * 4 * kt + k / 16] : 0;
        for (int m = 0; m < c.m; m++) {
          double v = x[(size_t)m * 64 * kt + k];
          y[(size_t)m * c.n + n] += v * (b + r), size[(size_t)m * c.n + n] += std::fabs(v * b) + std::fabs(v * r);
        }
      }
  }
};

// run launches a matrix kernel and compares. It returns the largest error as a share of the bound.
static double run(const string& name, const emu::Kernel& k, Problem& p) {
  const Case& c = p.c;
  bool dense = name.find("_dense") != string::npos, sparse = name.find("_sparse") != string::npos;
  int width = c.ytype == 0 ? 4 : 2, splits = sparse ? 1 : c.splits;
  unsigned gx = up(c.n, k.rows), gy = up(c.m, k.tokens);
  Buffer Y((size_t)width * c.m * c.n), Part((size_t)4 * splits * k.tokens * k.rows * gx * gy), Count(4 * gx * gy, 0);
  vector<double> before((size_t)c.m * c.n, 0), want, size;
  if (sparse)
    for (size_t i = 0; i < before.size(); i++) {
      float v = below(17) - 8;
      write_number(Y, c.ytype, i, v);
      before[i] = v;
    }
  u64 part = splits > 1 ? (u64)Part.data : 0, count = splits > 1 ? (u64)Count.data : 0;
  launch(k, {gx, gy, (unsigned)splits},
         {(u64)Y.data, (u64)c.ytype, (u64)p.X.data, (u64)p.ldx(), c.scheme >= A8 ? (u64)p.XS.data : 0, c.scheme == A4 ? (u64)c.xgroup : 0,
          sparse ? 0 : (u64)p.W.data, sparse ? 0 : (u64)p.S.data, (u64)(c.group ? c.group : 64 * p.kt),
          dense ? 0 : (u64)p.Index.data, dense ? 0 : (u64)p.R.data,
          c.riding ? (u64)(4 | c.riding << 8 | c.halves << 16) : (u64)(c.wide + 2 * c.rows),
          (u64)c.m, (u64)c.n, (u64)p.kt, part, count});

  p.reference(!sparse, !dense, want, size);
  double worst = 0, ulp = c.ytype == 0 ? 0x1p-24 : c.ytype == 1 ? 0x1p-11 : 0x1p-8;
  for (size_t i = 0; i < want.size(); i++) {
    double w = want[i] + before[i], got = read_number(Y, c.ytype, i);
    // Each of the K products is rounded a few times and added K times at most.
    double bound = c.exact ? 0 : (c.k + 8) * 0x1p-24 * (size[i] + std::fabs(before[i]));
    bound += ulp * std::fabs(w) * 1.01 + (c.ytype == 1 ? 0x1p-25 : 1e-30); // of subnormal halves the last bit is 2^-24
    if (c.exact && c.ytype == 0) bound = 1e-30;
    double err = std::fabs(got - w);
    if (!(err <= bound)) {
      char s[200];
      snprintf(s, sizeof s, "%s %s: Y[%zu,%zu] = %g, want %g, bound %g", name.c_str(), c.say().c_str(), i / c.n, i % c.n, got, w, bound);
      die(s);
    }
    worst = std::max(worst, err / bound);
  }
  if (!Y.clean() || !Part.clean() || !Count.clean()) die(name + " " + c.say() + ": a write beside a buffer");
  for (unsigned i = 0; i < gx * gy; i++)
    if (Count.as<u32>()[i]) die(name + " " + c.say() + ": a counter is not zero");
  return worst;
}

enum Size { ORDINARY, SMALL, LONG }; // long: K beyond 32 tiles for every warp, where the index turns

static Case random_case(Scheme s, const emu::Kernel& k, Size size) {
  Case c;
  c.scheme = s;
  c.m = below(3) ? 1 + below(k.tokens + 3) : k.tokens;
  if (size != ORDINARY) c.m = std::min(c.m, 9);
  c.n = size == SMALL ? 1 + below(160) : size == LONG ? 1 + below(40) : pick({1, 15, 16, 17, 31, 33, 63, 96, 127, 128, 129, 160, 193, 255});
  c.k = size == SMALL ? 1 + below(300) : size == LONG ? (k.rows <= 64 ? 8300 : 2100) + below(200) : pick({1, 7, 16, 31, 63, 64, 65, 127, 128, 129, 191, 320, 511, 512, 513, 1000});
  c.group = pick({32, 64, 128, 0});
  c.xgroup = pick({64, 128});
  c.wide = below(2), c.rows = below(2), c.exact = below(2);
  c.density = pick({0.0, 0.05, 0.1, 0.3, 0.7, 1.0});
  c.ytype = below(3);
  c.splits = below(2) ? 1 : 1 + below(5);
  return c;
}

int main(int argc, char** argv) {
  unsigned seed = 1, cases = 8;
  string only;
  Size size = ORDINARY;
  for (int i = 1; i < argc; i++) {
    string a = argv[i];
    if (a == "-small") size = SMALL;
    else if (a == "-long") size = LONG;
    else if (a == "-seed" && i + 1 < argc) seed = atoi(argv[++i]);
    else if (a == "-cases" && i + 1 < argc) cases = atoi(argv[++i]);
    else if (a == "-only" && i + 1 < argc) only = argv[++i];
    else if (a == "-table") {
      for (auto& [name, k] : emu::registry()) printf("%s\t%u\t%u\t%u\t%u\n", name.c_str(), k.tokens, k.rows, k.threads, k.smem);
      return 0;
    } else die("unknown argument " + a);
  }
  rng.seed(seed);
  unsigned ran = 0, kernels = 0;
  double worst = 0;
  const vector<std::pair<string, Scheme>> schemes = {{"w4a16_f16", F16}, {"w4a16_bf16", BF16}, {"w4a8", A8}, {"w4a4", A4}};
  for (auto& [name, k] : emu::registry()) {
    if (name.find(only) == string::npos) continue;
    kernels++;
    for (unsigned i = 0; i < cases; i++, ran++) {
      bool matrix = false;
      for (auto& [prefix, scheme] : schemes) {
        if (name.rfind(prefix + "_", 0) != 0) continue;
        matrix = true;
        Case c = random_case(scheme, k, size);
        if (name.find("_ride") != string::npos) {
          c.even = true, c.riding = 1 + below(4), c.halves = pick({1, 2, 3, 5, 7, 8, 11, 15, 16});
          if (c.group != 0) c.group = pick({128, 256});
        }
        if (name.find("128_t") != string::npos) c.even = true, c.group = c.group < 128 ? 0 : 128;
        if (name.find("32_t") != string::npos) c.group = 32; // kernels for groups of 32 are others
        else if (name.find("64_t") != string::npos) c.group = 64;
        else if (name.find("_sparse_") == string::npos && c.group == 32) c.group = 64;
        Problem p(c);
        worst = std::max(worst, run(name, k, p));
      }
      if (!matrix) test_other(name, k);
    }
  }
  if (!ran) die("no kernel matches " + only);
  printf("%u kernels, %u passed, 0 failed; largest error %.2f of its bound\n", kernels, ran, worst);
}
