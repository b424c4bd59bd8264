// test_other.cc: the kernels of other.cu against plain code.
#include "test.h"

// Rows are activations as a model may have them: ordinary, zero, tiny, or not finite.
static Buffer activations(int type, int m, int k, int ld) {
  Buffer x((size_t)m * ld);
  int width = type == 0 ? 4 : type == 3 ? 1 : 2;
  for (int i = 0; i < m; i++) {
    double scale = type == 3 ? 1 : pick({1.0, 1.0, 1.0, 0.0, 1e-7, 1e4});
    for (int j = 0; j < k; j++) write_number(x, type, i * ld / width + j, type == 3 ? below(255) - 127 : (float)(real(-1, 1) * scale));
    if (type != 3 && below(8) == 0) write_number(x, type, i * ld / width + below(k), below(2) ? INFINITY : -NAN);
  }
  return x;
}

// expect is quant.Activations: the scale of v and the codes.
static void expect(const vector<float>& v, float top, float& scale, vector<int>& codes) {
  float most = 0;
  bool finite = true;
  for (float x : v) finite = finite && std::isfinite(x), most = std::max(most, std::fabs(x));
  scale = finite ? most / top : NAN;
  codes.clear();
  for (float x : v) codes.push_back(scale > 0 ? (int)std::max(-top, std::min(top, std::nearbyint(x / scale))) : 0);
}

static void quantize(const string& name, const emu::Kernel& k) {
  bool four = name == "quantize_a4";
  int type = below(3), m = 1 + below(4), cols = four || below(4) ? 1 + below(700) : 16000 + below(1500), kt = up(cols, 64), xgroup = four ? pick({64, 128, 256}) : 64 * kt;
  int width = type ? 2 : 4, ld = up(cols * width, 16) * 16 + 16 * below(2), groups = up(64 * kt, xgroup);
  int ldq = kt * (four ? 32 : 64) + 16 * below(2);
  Buffer x = activations(type, m, cols, ld), q((size_t)m * ldq), xs((size_t)4 * m * groups);
  vector<u64> args = {(u64)q.data, (u64)ldq, (u64)xs.data, (u64)x.data, (u64)type, (u64)ld, (u64)m, (u64)cols, (u64)kt};
  if (four) args.push_back(xgroup);
  launch(k, {(unsigned)m, 1, 1}, args);
  for (int t = 0; t < m; t++)
    for (int g = 0; g < groups; g++) {
      vector<float> v;
      for (int c = g * xgroup; c < std::min(cols, (g + 1) * xgroup); c++) v.push_back((float)read_number(x, type, t * ld / width + c));
      float scale, got = xs.as<float>()[t * groups + g];
      vector<int> codes;
      expect(v, four ? 7 : 127, scale, codes);
      if (!(got == scale || (std::isnan(got) && std::isnan(scale)))) die(name + ": scale");
      for (int c = g * xgroup; c < std::min(64 * kt, (g + 1) * xgroup); c++) {
        int s = c / 16 % 4, word = 4 * (s / 2) + c / 4 % 4, nibble = c % 4 + 4 * (s % 2);
        const u8* row = q.data + (size_t)t * ldq;
        int code = four ? (int)(((const u32*)(row + c / 64 * 32))[word] << (28 - 4 * nibble)) >> 28 : (signed char)row[c];
        int want = c < cols ? codes[c - g * xgroup] : 0;
        if (code != want) die(name + ": code of column " + std::to_string(c) + " is " + std::to_string(code) + ", want " + std::to_string(want));
      }
    }
  if (!q.clean() || !xs.clean()) die(name + ": a write beside a buffer");
}

static void convert(const string& name, const emu::Kernel& k) {
  int type = below(3), to = 1 + below(2), m = 1 + below(4), cols = 1 + below(500), kt = up(cols, 64);
  int width = type ? 2 : 4, ld = up(cols * width, 16) * 16, ldc = 128 * kt;
  Buffer x = activations(type, m, cols, ld), y((size_t)m * ldc);
  launch(k, {(unsigned)m, 1, 1}, {(u64)y.data, (u64)ldc, (u64)to, (u64)x.data, (u64)type, (u64)ld, (u64)m, (u64)cols, (u64)kt});
  for (int t = 0; t < m; t++)
    for (int c = 0; c < 64 * kt; c++) {
      float v = c < cols ? (float)read_number(x, type, t * ld / width + c) : 0;
      u16 want = to == 1 ? f32_to_f16(v) : f32_to_bf16(v);
      if (y.as<u16>()[t * 64 * kt + c] != want) die(name + ": column " + std::to_string(c));
    }
  if (!y.clean()) die(name + ": a write beside a buffer");
}

static void outliers(const string& name, const emu::Kernel& k) {
  int type = below(4), ytype = below(3), m = 1 + below(20), n = 1 + below(40), cols = 1 + below(300);
  int width = type == 0 ? 4 : type == 3 ? 1 : 2, ld = up(cols * width, 16) * 16;
  double density = pick({0.0, 0.02, 0.3, 1.0});
  vector<u32> ptr = {0}, at;
  vector<u16> values;
  for (int i = 0; i < n; i++) {
    for (int j = 0; j < cols; j++)
      if (real(0, 1) < density) at.push_back(j), values.push_back(f32_to_f16((float)real(-1, 1)));
    ptr.push_back((u32)at.size());
  }
  Buffer x((size_t)m * ld), y((size_t)(ytype ? 2 : 4) * m * n), xs(4 * m), p(4 * ptr.size()), c(4 * at.size() + 16), v(2 * at.size() + 16);
  memcpy(p.data, ptr.data(), 4 * ptr.size()), memcpy(c.data, at.data(), 4 * at.size()), memcpy(v.data, values.data(), 2 * at.size());
  for (int i = 0; i < m; i++) {
    xs.as<float>()[i] = (float)real(0.01, 0.1);
    for (int j = 0; j < cols; j++) write_number(x, type, i * ld / width + j, type == 3 ? below(255) - 127 : (float)real(-1, 1));
  }
  for (int i = 0; i < m * n; i++) write_number(y, ytype, i, below(9) - 4);
  vector<double> want(m * n), size(m * n);
  for (int t = 0; t < m; t++)
    for (int i = 0; i < n; i++) {
      want[t * n + i] = read_number(y, ytype, t * n + i);
      for (u32 e = ptr[i]; e < ptr[i + 1]; e++) {
        double d = f16_to_f32(values[e]) * read_number(x, type, t * ld / width + at[e]) * (type == 3 ? xs.as<float>()[t] : 1);
        want[t * n + i] += d, size[t * n + i] += std::fabs(d);
      }
    }
  launch(k, {(unsigned)up(n, 8), (unsigned)up(m, 8), 1},
         {(u64)y.data, (u64)ytype, (u64)x.data, (u64)type, (u64)ld, type == 3 ? (u64)xs.data : 0, (u64)p.data, (u64)c.data, (u64)v.data, (u64)m, (u64)n});
  double ulp = ytype == 0 ? 0x1p-24 : ytype == 1 ? 0x1p-11 : 0x1p-8;
  for (int i = 0; i < m * n; i++) {
    double bound = (cols + 8) * 0x1p-24 * (size[i] + 4) + 1.01 * ulp * std::fabs(want[i]) + 1e-30;
    if (!(std::fabs(read_number(y, ytype, i) - want[i]) <= bound)) die(name + ": Y[" + std::to_string(i) + "]");
  }
  if (!y.clean()) die(name + ": a write beside a buffer");
}

static void copy(const string& name, const emu::Kernel& k) {
  size_t n = 1 + below(3000);
  Buffer from(16 * n), to(16 * n);
  for (size_t i = 0; i < 16 * n; i++) from.data[i] = (u8)below(256);
  launch(k, {(unsigned)(1 + below(5)), 1, 1}, {(u64)to.data, (u64)from.data, n});
  if (memcmp(from.data, to.data, 16 * n) || !to.clean()) die(name);
}

// read: nothing is written where all is zero, and what is read is all there is.
static void read_only(const string& name, const emu::Kernel& k) {
  size_t n = 1 + below(3000);
  Buffer from(16 * n, 0), sink(16, 0);
  unsigned grid = 1 + below(5);
  launch(k, {grid, 1, 1}, {(u64)sink.data, (u64)from.data, n});
  if (sink.as<u32>()[0] || !sink.clean()) die(name + ": a write");
  from.as<u32>()[below(4 * n)] = 5;
  launch(k, {grid, 1, 1}, {(u64)sink.data, (u64)from.data, n});
  if (sink.as<u32>()[0] != 5 || !from.clean()) die(name + ": not all was read");
}

void test_other(const string& name, const emu::Kernel& k) {
  if (name == "quantize_a8" || name == "quantize_a4") return quantize(name, k);
  if (name == "convert_a16") return convert(name, k);
  if (name == "outliers") return outliers(name, k);
  if (name == "copy16") return copy(name, k);
  if (name == "read16") return read_only(name, k);
  if (name == "delay") return launch(k, {1, 1, 1}, {1000000}); // it ends
  // Kernels of model.cu have their tests in Go (work_test.go), on the fake driver or a GPU.
  for (const char* n : {"embed", "norm", "swiglu", "accumulate", "rope", "attend", "flash_d64", "flash_d128", "combine", "greedy"})
    if (name == n) return;
  die(name + " has no test");
}
