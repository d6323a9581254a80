// Counts the calls by which a program waits for the GPU or copies to and from main memory.
//
// Loaded by LD_PRELOAD. When the program ends, a line of JSON with the counts is written to the file that SER_SYNC_COUNTS
// names. The functions are those of CUDA's runtime library, which libtorch calls.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

enum { STREAM, DEVICE, EVENT, COPY, TO_DEVICE, TO_HOST, ON_DEVICE, KINDS };
static const char *const names[KINDS] = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy",
                                         "cudaMemcpyAsync to device", "cudaMemcpyAsync to host",
                                         "cudaMemcpyAsync on the device"};
static atomic_long counts[KINDS];

// CUDA's error for an operation that is not supported, if the runtime library is not loaded.
#define NOT_SUPPORTED 801

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

int cudaStreamSynchronize(void *stream) {
  static int (*call)(void *);
  if (!call) call = (int (*)(void *))real("cudaStreamSynchronize");
  counts[STREAM]++;
  return call ? call(stream) : NOT_SUPPORTED;
}

int cudaDeviceSynchronize(void) {
  static int (*call)(void);
  if (!call) call = (int (*)(void))real("cudaDeviceSynchronize");
  counts[DEVICE]++;
  return call ? call() : NOT_SUPPORTED;
}

int cudaEventSynchronize(void *event) {
  static int (*call)(void *);
  if (!call) call = (int (*)(void *))real("cudaEventSynchronize");
  counts[EVENT]++;
  return call ? call(event) : NOT_SUPPORTED;
}

int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
  static int (*call)(void *, const void *, size_t, int);
  if (!call) call = (int (*)(void *, const void *, size_t, int))real("cudaMemcpy");
  counts[COPY]++;
  return call ? call(to, from, bytes, kind) : NOT_SUPPORTED;
}

int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
  static int (*call)(void *, const void *, size_t, int, void *);
  if (!call) call = (int (*)(void *, const void *, size_t, int, void *))real("cudaMemcpyAsync");
  // cudaMemcpyHostToDevice is 1, cudaMemcpyDeviceToHost 2.
  counts[kind == 1 ? TO_DEVICE : kind == 2 ? TO_HOST : ON_DEVICE]++;
  return call ? call(to, from, bytes, kind, stream) : NOT_SUPPORTED;
}

__attribute__((destructor)) static void end(void) {
  const char *path = getenv("SER_SYNC_COUNTS");
  FILE *out = path ? fopen(path, "w") : NULL;
  if (!out) return;
  for (int i = 0; i < KINDS; i++) fprintf(out, "%s\"%s\": %ld", i ? ", " : "{", names[i], atomic_load(&counts[i]));
  fprintf(out, "}\n");
  fclose(out);
}
