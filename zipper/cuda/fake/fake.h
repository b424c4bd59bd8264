// The seam between the fake driver and the kernels it runs.
#pragma once
#include <cstddef>
#include <functional>

namespace fake {
struct Dim {
  unsigned x, y, z;
};
struct Kernel {
  int parameters; // all 64 bits wide
  int threads;    // of a block, at most
  std::function<void(Dim grid, Dim block, size_t shared, void **parameters)> run;
};
// find returns the kernel of that name, or nullptr.
const Kernel *find(const char *name);
} // namespace fake
