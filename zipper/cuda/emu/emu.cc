// emu.cc: the scheduler of emu.h.
#include "../kernels/dev.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#ifdef EMU_THREADS
#include <pthread.h>
#include <thread>
#else
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>
#endif

namespace emu {
thread_local Thread* cur;
thread_local Dim3 block_id, block_dim, grid_dim;
thread_local u8* smem;

std::map<std::string, Kernel>& registry() {
  static std::map<std::string, Kernel> r;
  return r;
}

void fail(const char* what) {
  fprintf(stderr, "emu: %s (block %u,%u,%u", what, block_id.x, block_id.y, block_id.z);
  if (cur) fprintf(stderr, ", thread %u", cur->id.x);
  fprintf(stderr, ")\n");
  exit(3); // not abort: a caller may want to see which failure
}

static const size_t GUARD = 256; // bytes beyond shared memory that must stay as they are

// Block is what the threads of a block share.
struct Block {
  std::vector<Warp> warps;
  std::vector<Thread> threads;
  u8* mem;
  size_t bytes;

  Block(unsigned n, size_t smem_bytes) : warps(n / 32), threads(n), bytes(smem_bytes) {
    mem = (u8*)aligned_alloc(128, (bytes + GUARD + 127) / 128 * 128);
  }
  ~Block() { free(mem); }
  void reset() {
    memset(mem, 0xff, bytes);
    memset(mem + bytes, 0xa5, GUARD);
    for (unsigned i = 0; i < threads.size(); i++) threads[i] = Thread{{i, 0, 0}, i % 32, &warps[i / 32], 0, {}, {}};
  }
  void check() {
    for (size_t i = 0; i < GUARD; i++)
      if (mem[bytes + i] != 0xa5) fail("a write beyond shared memory");
    for (auto& t : threads)
      for (auto& g : t.groups)
        if (!g.empty()) fail("a kernel ended with copies under way");
  }
};

static unsigned count(Dim3 block) {
  if (block.y != 1 || block.z != 1 || block.x % 32) fail("blocks are of (multiple of 32, 1, 1) threads");
  return block.x;
}

template <class F> static void each_block(Dim3 grid, F run) {
  for (unsigned z = 0; z < grid.z; z++)
    for (unsigned y = 0; y < grid.y; y++)
      for (unsigned x = 0; x < grid.x; x++) run(Dim3{x, y, z});
}

#ifdef EMU_THREADS
static pthread_barrier_t block_bar;
static std::vector<pthread_barrier_t> warp_bar;

void block_barrier() { pthread_barrier_wait(&block_bar); }
void warp_barrier() { pthread_barrier_wait(&warp_bar[cur->id.x / 32]); }

void launch(Dim3 grid, Dim3 block, size_t smem_bytes, const std::function<void()>& body) {
  unsigned n = count(block);
  pthread_barrier_init(&block_bar, 0, n);
  warp_bar.resize(n / 32);
  for (auto& b : warp_bar) pthread_barrier_init(&b, 0, 32);
  Block mem(n, smem_bytes);
  each_block(grid, [&](Dim3 id) {
    mem.reset();
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < n; i++)
      threads.emplace_back([&, i] {
        cur = &mem.threads[i], block_id = id, block_dim = block, grid_dim = grid, smem = mem.mem;
        body();
      });
    for (auto& t : threads) t.join();
    mem.check();
  });
}
#else
// Fibers take turns: one runs until a barrier it must wait at. Switching by
// setjmp/longjmp avoids the system calls of swapcontext; ucontext only starts them.
static const size_t STACK = 64 << 10;
struct Fiber { jmp_buf at; bool started, done; };
struct Barrier { unsigned arrived, turn; };
static thread_local std::vector<Fiber> fibers;
static thread_local std::vector<Barrier> warp_bar;
static thread_local Barrier block_bar;
static thread_local Block* mem;
static thread_local unsigned self;
static thread_local u8* stacks;
static thread_local ucontext_t home;
static thread_local const std::function<void()>* body;

static void enter();
static void go(unsigned i) {
  self = i, cur = &mem->threads[i];
  if (fibers[i].started) _longjmp(fibers[i].at, 1);
  fibers[i].started = true;
  ucontext_t u;
  getcontext(&u);
  u.uc_stack.ss_sp = stacks + i * STACK, u.uc_stack.ss_size = STACK, u.uc_link = nullptr;
  makecontext(&u, enter, 0);
  setcontext(&u);
}
// other returns the next fiber that is not done, or self.
static unsigned other() {
  unsigned n = fibers.size(), i = self;
  do i = (i + 1) % n; while (fibers[i].done && i != self);
  return i;
}
static void enter() {
  (*body)();
  fibers[self].done = true;
  unsigned i = other();
  if (fibers[i].done) setcontext(&home);
  go(i);
}
static void wait(Barrier& b, unsigned n) {
  unsigned turn = b.turn;
  if (++b.arrived == n) {
    b.arrived = 0, b.turn++;
    return;
  }
  for (unsigned spins = 0; b.turn == turn; spins++) {
    unsigned i = other();
    if (i == self || spins > 100 * fibers.size()) fail("deadlock: a barrier that not all threads reach");
    if (!_setjmp(fibers[self].at)) go(i);
  }
}
void block_barrier() { wait(block_bar, fibers.size()); }
void warp_barrier() { wait(warp_bar[self / 32], 32); }

void launch(Dim3 grid, Dim3 block, size_t smem_bytes, const std::function<void()>& run) {
  unsigned n = count(block);
  Block shared(n, smem_bytes);
  stacks = (u8*)mmap(0, n * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stacks == MAP_FAILED) fail("no memory for stacks");
  mem = &shared, body = &run, block_dim = block, grid_dim = grid, smem = shared.mem;
  each_block(grid, [&](Dim3 id) {
    block_id = id;
    shared.reset();
    fibers.assign(n, Fiber{});
    warp_bar.assign(n / 32, Barrier{});
    block_bar = Barrier{};
    volatile bool started = false;
    getcontext(&home); // where the last fiber returns to
    if (!started) {
      started = true;
      go(0);
    }
    shared.check();
  });
  cur = nullptr;
  munmap(stacks, n * STACK);
}
#endif
} // namespace emu
