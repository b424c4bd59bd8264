// nvrtcc compiles one CUDA C++ file with NVRTC: machine code for an architecture
// sm_NN, PTX for compute_NN. Messages, with the registers and spills of every
// kernel, go to standard error. It needs the library alone, no CUDA toolkit.
//
//   nvrtcc LIBRARY ARCH OUT FILE [OPTION...]
//   nvrtcc LIBRARY                             prints the version
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void* program;
static void* lib;
static void* symbol(const char* name) {
  void* p = dlsym(lib, name);
  if (!p) {
    fprintf(stderr, "nvrtcc: no %s in the library\n", name);
    exit(2);
  }
  return p;
}
#define FUNC(name, ...) int (*name)(__VA_ARGS__) = (int (*)(__VA_ARGS__))symbol("nvrtc" #name)

static char* read_all(const char* path) {
  FILE* f = fopen(path, "rb");
  if (!f) {
    perror(path);
    exit(2);
  }
  fseek(f, 0, SEEK_END);
  long n = ftell(f);
  rewind(f);
  char* s = calloc(n + 1, 1);
  if (!s || fread(s, 1, n, f) != (size_t)n) exit(2);
  fclose(f);
  return s;
}

int main(int argc, char** argv) {
  if (argc != 2 && argc < 5) {
    fprintf(stderr, "usage: nvrtcc LIBRARY [ARCH OUT FILE [OPTION...]]\n");
    return 2;
  }
  lib = dlopen(argv[1], RTLD_NOW);
  if (!lib) {
    fprintf(stderr, "nvrtcc: %s\n", dlerror());
    return 2;
  }
  FUNC(Version, int*, int*);
  if (argc == 2) {
    int major, minor;
    Version(&major, &minor);
    printf("%d.%d\n", major, minor);
    return 0;
  }
  FUNC(CreateProgram, program*, const char*, const char*, int, const char* const*, const char* const*);
  FUNC(CompileProgram, program, int, const char* const*);
  FUNC(GetProgramLogSize, program, size_t*);
  FUNC(GetProgramLog, program, char*);
  FUNC(GetPTXSize, program, size_t*);
  FUNC(GetPTX, program, char*);
  FUNC(GetCUBINSize, program, size_t*);
  FUNC(GetCUBIN, program, char*);

  const char *arch = argv[2], *out = argv[3], *name = argv[4];
  const char* base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name; // PTX must not depend on where the tree lies
  program p;
  if (CreateProgram(&p, read_all(name), base, 0, 0, 0)) return 1;
  char flag[64];
  snprintf(flag, sizeof flag, "--gpu-architecture=%s", arch);
  const char* options[32] = {flag, "--std=c++17", "--ptxas-options=-v"};
  int n = 3;
  for (int i = 5; i < argc && n < 32; i++) options[n++] = argv[i];
  int err = CompileProgram(p, n, options);
  size_t size;
  GetProgramLogSize(p, &size);
  char* log = malloc(size + 1);
  GetProgramLog(p, log);
  if (size > 1) fprintf(stderr, "%s\n", log);
  if (err) {
    fprintf(stderr, "nvrtcc: %s for %s: error %d\n", name, arch, err);
    return 1;
  }
  char* code;
  if (strncmp(arch, "sm_", 3) == 0) {
    GetCUBINSize(p, &size);
    code = malloc(size);
    GetCUBIN(p, code);
  } else {
    GetPTXSize(p, &size);
    code = malloc(size);
    GetPTX(p, code);
    size--; // its final zero
  }
  FILE* f = fopen(out, "wb");
  if (!f || fwrite(code, 1, size, f) != size || fclose(f)) {
    perror(out);
    return 2;
  }
  return 0;
}
