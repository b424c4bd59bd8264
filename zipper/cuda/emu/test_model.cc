// test_model.cc: kernels of model.cu, for what Go tests of the fake driver cannot see: they run here on
// real threads, too, under ThreadSanitizer. The numbers are simple; work_test.go has all of them.
#include "test.h"

static void run(const emu::Kernel& k, Dim3 grid, unsigned threads, unsigned smem, vector<u64> args) {
  vector<void*> p;
  for (u64& a : args) p.push_back(&a);
  emu::launch(grid, {threads, 1, 1}, smem, [&] { k.run(p.data()); });
}

static Buffer normal(size_t n, int type) {
  Buffer b(n * (type ? 2 : 4));
  for (size_t i = 0; i < n; i++) write_number(b, type, i, (float)real(-1, 1));
  return b;
}
static void near(const string& name, double got, double want, double within) {
  if (!(std::fabs(got - want) <= within)) die(name + ": " + std::to_string(got) + ", want " + std::to_string(want));
}

// norm and swiglu, rounded to 8 bits.
static void rows(const string& name, const emu::Kernel& k) {
  int m = 2, cols = 8 * (1 + below(60)), kt = up(cols, 64);
  unsigned threads = 32 * std::max(1, up(cols, 512));
  Buffer x = normal(m * cols, 0), u = normal(m * cols, 0), w(4 * cols), o(m * 64 * kt), s(4 * m), bad(8, 0);
  for (int j = 0; j < cols; j++) w.as<float>()[j] = 1;
  vector<u64> out = {(u64)o.data, (u64)(64 * kt), 3, (u64)s.data, 0, 8};
  vector<u64> args = {(u64)x.data, 0, 0, 0, (u64)w.data, f32_bits(1e-6f), 0, (u64)m, (u64)cols, (u64)kt};
  if (name == "swiglu") args = {(u64)x.data, (u64)u.data, 0, (u64)cols, 0, 0, (u64)m, (u64)cols, (u64)kt};
  args.insert(args.end(), out.begin(), out.end());
  if (name == "norm") args.push_back((u64)bad.data), args.push_back(1);
  run(k, {(unsigned)m, 1, 1}, threads, k.smem, args);
  for (int i = 0; i < m; i++) {
    double square = 0, largest = 0;
    auto at = [&](Buffer& b, int j) { return (double)b.as<float>()[i * cols + j]; };
    for (int j = 0; j < cols; j++) square += at(x, j) * at(x, j);
    auto want = [&](int j) { return name == "norm" ? at(x, j) / std::sqrt(square / cols + 1e-6) : at(x, j) / (1 + std::exp(-at(x, j))) * at(u, j); };
    for (int j = 0; j < cols; j++) largest = std::max(largest, std::fabs(want(j)));
    for (int j = 0; j < cols; j++) near(name, ((signed char*)o.data)[i * 64 * kt + j], want(j) / largest * 127, 0.51);
  }
}

// Attention over values that depend on their column alone: that column is the result.
static void attention(const string& name, const emu::Kernel& k) {
  bool flash = name != "attend";
  int d = name == "flash_d128" ? 128 : 64, heads = 2, tokens = 20 + below(60), room = tokens, type = flash ? 1 : 0, each = flash ? 32 : 8, splits = 1 + below(2);
  Buffer q = normal((size_t)tokens * heads * d, type), ck = normal((size_t)room * d, type), cv((size_t)room * d * (type ? 2 : 4));
  for (int i = 0; i < room * d; i++) write_number(cv, type, i, (float)(i % d) / d);
  vector<u32> tiles;
  for (int i = 0; i < tokens; i += each) tiles.push_back(i), tiles.push_back(std::min(each, tokens - i));
  Buffer t(4 * tiles.size()), slot(4 * tokens, 0), pos(4 * tokens), part((size_t)4 * splits * tokens * heads * d), stats((size_t)8 * splits * tokens * heads);
  memcpy(t.data, tiles.data(), 4 * tiles.size());
  for (int i = 0; i < tokens; i++) pos.as<u32>()[i] = i;
  vector<u64> args = {(u64)part.data, (u64)stats.data, (u64)q.data, (u64)ck.data, (u64)cv.data};
  if (!flash) args.push_back(type);
  for (u64 a : {(u64)t.data, (u64)slot.data, (u64)pos.data, (u64)0, (u64)tokens, (u64)heads, (u64)1}) args.push_back(a);
  if (!flash) args.push_back(d);
  args.push_back(room);
  run(k, {(unsigned)splits, 1, (unsigned)tiles.size() / 2}, 128, k.smem, args);
  for (int i = 0; i < tokens * heads; i++)
    for (int c = 0; c < d; c++) {
      double sum = 0, weight = 0;
      for (int s = 0; s < splits; s++) {
        double scale = std::exp((double)stats.as<float>()[2 * (s * tokens * heads + i)]);
        if (scale == 0) continue;
        sum += scale * part.as<float>()[((size_t)s * tokens * heads + i) * d + c];
        weight += scale * stats.as<float>()[2 * (s * tokens * heads + i) + 1];
      }
      near(name, sum / weight, (double)c / d, 2e-3);
    }
  if (!part.clean() || !stats.clean()) die(name + ": a write beside a buffer");
}

static void greedy(const string& name, const emu::Kernel& k) {
  int n = 1 + below(3000), best = 0;
  Buffer x = normal(n, 0), ids(4), pos(4, 0), out(8), bad(8, 0);
  for (int i = 1; i < n; i++)
    if (x.as<float>()[i] > x.as<float>()[best]) best = i;
  run(k, {1, 1, 1}, 64 * (1 + below(3)), k.smem, {(u64)ids.data, (u64)pos.data, (u64)out.data, (u64)x.data, (u64)n, (u64)bad.data, 1});
  near(name, ids.as<u32>()[0], best, 0);
  near(name, out.as<u32>()[1], best, 0);
}

void test_model(const string& name, const emu::Kernel& k) {
  if (name == "norm" || name == "swiglu") return rows(name, k);
  if (name == "attend" || name.rfind("flash_", 0) == 0) return attention(name, k);
  if (name == "greedy") return greedy(name, k);
  // These have neither shared memory nor another thread's results: work_test.go is their test.
  for (const char* n : {"embed", "accumulate", "rope", "combine"})
    if (name == n) return;
  die(name + " has no test");
}
