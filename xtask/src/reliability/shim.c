// Follows every change that a process makes to files below one folder, and makes one of them fail.
//
// Loaded by LD_PRELOAD. It wraps the functions of libc by which programs change files: creating open, write, truncate, sync,
// rename, mkdir, rmdir, unlink and link. Each such call is one operation; operations are counted from 1.
//
//   SER_FS_ROOT   the folder, absolute; nothing outside of it is followed
//   SER_FS_TRACE  a file to which every operation is written, with its data (the format is in trace.rs)
//   SER_FS_AT     the number of an operation
//   SER_FS_DO     what happens there:
//     kill-before, kill-after   SIGKILL before or after it
//     tear                      SIGKILL after half of the bytes of a write
//     full                      a write ends after half of its bytes; it and all later operations that take space fail
//                               with ENOSPC
//     sync                      a sync fails with EIO; later ones succeed
//     read-only                 it and all later operations except syncs fail with EROFS
//     no-locks                  every flock fails with ENOLCK
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536

static char root[PATH_MAX];
static size_t root_length;
static int trace = -1;
static long count, at;
static enum { NOTHING, KILL_BEFORE, KILL_AFTER, TEAR, FULL, SYNC, READ_ONLY, NO_LOCKS } action = NOTHING;
// The handle of each open file: a number that is never used again.
static uint32_t handles[FILES];
static uint32_t next_handle = 1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
  const char *folder = getenv("SER_FS_ROOT"), *number = getenv("SER_FS_AT"), *name = getenv("SER_FS_DO");
  if (folder && strlen(folder) < sizeof root) {
    strcpy(root, folder);
    root_length = strlen(root);
  }
  if (number) at = atol(number);
  if (name) {
    static const char *const names[] = {"", "kill-before", "kill-after", "tear", "full", "sync", "read-only", "no-locks"};
    for (int i = 1; i < 8; i++)
      if (!strcmp(name, names[i])) action = i;
  }
  const char *path = getenv("SER_FS_TRACE");
  if (path) trace = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

static void put(const void *data, size_t length) {
  const char *next = data;
  while (length > 0) {
    long n = syscall(SYS_write, trace, next, length);
    if (n <= 0) _exit(99);
    next += n;
    length -= (size_t)n;
  }
}

// Writes a record: the kind, two numbers, two texts or a text and bytes.
static void record(char kind, uint64_t a, uint64_t b, const char *path, const void *data, uint64_t length) {
  if (trace < 0) return;
  uint64_t path_length = path ? strlen(path) : 0;
  put(&kind, 1);
  put(&a, 8);
  put(&b, 8);
  put(&path_length, 8);
  put(path, path_length);
  put(&length, 8);
  put(data, length);
}

// The path below the root, without a leading slash; null if it lies elsewhere.
static const char *below(const char *path) {
  if (!root_length || strncmp(path, root, root_length)) return NULL;
  if (path[root_length] == '\0') return path + root_length;
  return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

// Makes a path absolute. Returns its part below the root, or null.
static const char *resolve(int folder, const char *path, char *buffer) {
  if (!root_length || !path) return NULL;
  if (path[0] == '/') {
    snprintf(buffer, PATH_MAX, "%s", path);
  } else {
    size_t length = 0;
    if (folder == AT_FDCWD) {
      if (!getcwd(buffer, PATH_MAX)) return NULL;
      length = strlen(buffer);
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      ssize_t n = readlink(link, buffer, PATH_MAX - 1);
      if (n < 0) return NULL;
      length = (size_t)n;
    }
    snprintf(buffer + length, PATH_MAX - length, "/%s", path);
  }
  // Without `.` and empty parts.
  char *to = buffer;
  for (const char *part = buffer; *part;) {
    size_t length = strcspn(part, "/");
    if (length > 0 && !(length == 1 && *part == '.')) {
      *to++ = '/';
      memmove(to, part, length);
      to += length;
    }
    part += length + (part[length] == '/');
  }
  *to = '\0';
  return below(buffer);
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Begins an operation. Returns 0, or the error with which it fails. The mutex is held until `end`.
static int begin(int takes_space, int is_sync) {
  pthread_mutex_lock(&mutex);
  count++;
  if (action == KILL_BEFORE && count == at) die();
  if (action == FULL && count >= at && takes_space) return ENOSPC;
  if (action == SYNC && count == at && is_sync) return EIO;
  if (action == READ_ONLY && count >= at && !is_sync) return EROFS;
  return 0;
}

static void end(void) {
  int error = errno;
  if (action == KILL_AFTER && count == at) die();
  pthread_mutex_unlock(&mutex);
  errno = error;
}

static int fail(int error) {
  pthread_mutex_unlock(&mutex);
  errno = error;
  return -1;
}

// An operation that failed by itself; it has a number all the same.
static void nothing(const char *path) { record('x', 0, 0, path, NULL, 0); }

static void named(int fd, const char *path, char kind) {
  if (fd < 0 || fd >= FILES) return;
  handles[fd] = next_handle++;
  record(kind, handles[fd], 0, path, NULL, 0);
}

// The handle of an open file below the root; 0 if it lies elsewhere.
static uint32_t handle(int fd) {
  if (fd < 0 || fd >= FILES || !root_length) return 0;
  return handles[fd];
}

static int open_any(int folder, const char *path, int flags, mode_t mode) {
  char buffer[PATH_MAX];
  const char *inside = resolve(folder, path, buffer);
  if (!inside) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && fd < FILES) handles[fd] = 0;
    return fd;
  }
  struct stat about;
  int exists = stat(buffer, &about) == 0;
  int creates = !exists && (flags & O_CREAT);
  int cuts = exists && (flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY && about.st_size > 0;
  if (!creates && !cuts) {
    int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&mutex);
    int error = errno;
    named(fd, inside, 'o');
    errno = error;
    pthread_mutex_unlock(&mutex);
    return fd;
  }
  int error = begin(creates, 0);
  if (error) return fail(error);
  int fd = (int)syscall(SYS_openat, folder, path, flags, mode);
  int failed = errno;
  if (fd < 0) {
    nothing(inside);
  } else {
    named(fd, inside, creates ? 'c' : 'o');
    if (cuts) record('t', handles[fd], 0, NULL, NULL, 0);
  }
  errno = failed;
  end();
  return fd;
}

#define MODE(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list list; \
    va_start(list, flags); \
    mode = va_arg(list, mode_t); \
    va_end(list); \
  }

int open(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return open_any(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return open_any(folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

int close(int fd) {
  if (fd >= 0 && fd < FILES) handles[fd] = 0;
  return (int)syscall(SYS_close, fd);
}

int closedir(DIR *folder) {
  static int (*real)(DIR *);
  if (!real) real = (int (*)(DIR *))dlsym(RTLD_NEXT, "closedir");
  int fd = dirfd(folder);
  if (fd >= 0 && fd < FILES) handles[fd] = 0;
  return real(folder);
}

// Writes at an offset, or at the file's own position (-1).
static ssize_t write_any(int fd, const void *data, size_t length, off_t offset) {
  uint32_t file = handle(fd);
  if (!file || length == 0)
    return offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
  int error = begin(1, 0);
  if (error && (error != ENOSPC || count > at || length == 1)) return fail(error);
  if (error || (action == TEAR && count == at)) length = (length + 1) / 2;
  ssize_t n = offset < 0 ? syscall(SYS_write, fd, data, length) : syscall(SYS_pwrite64, fd, data, length, offset);
  if (n > 0) {
    off_t from = offset < 0 ? lseek(fd, 0, SEEK_CUR) - n : offset;
    record('w', file, (uint64_t)from, NULL, data, (uint64_t)n);
  } else {
    nothing(NULL);
  }
  if (action == TEAR && count == at) die();
  end();
  return n;
}

ssize_t write(int fd, const void *data, size_t length) { return write_any(fd, data, length, -1); }
ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return write_any(fd, data, length, offset); }
ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset) { return write_any(fd, data, length, offset); }

ssize_t writev(int fd, const struct iovec *parts, int number) {
  if (!handle(fd)) return syscall(SYS_writev, fd, parts, number);
  // A short write is allowed: the first part that is not empty.
  for (int i = 0; i < number; i++)
    if (parts[i].iov_len > 0) return write_any(fd, parts[i].iov_base, parts[i].iov_len, -1);
  return 0;
}

// Copies inside the kernel are refused, so that programs fall back to read and write.
ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned flags) {
  if (handle(out)) {
    errno = ENOSYS;
    return -1;
  }
  return syscall(SYS_copy_file_range, in, in_offset, out, out_offset, length, flags);
}

static ssize_t sendfile_any(int out, int in, off_t *offset, size_t length) {
  if (handle(out)) {
    errno = EINVAL;
    return -1;
  }
  return syscall(SYS_sendfile, out, in, offset, length);
}
ssize_t sendfile(int out, int in, off_t *offset, size_t length) { return sendfile_any(out, in, offset, length); }
ssize_t sendfile64(int out, int in, off_t *offset, size_t length) { return sendfile_any(out, in, offset, length); }

static int sync_any(int fd, long number) {
  uint32_t file = handle(fd);
  if (!file) return (int)syscall(number, fd);
  int error = begin(0, 1);
  if (error) return fail(error);
  int result = (int)syscall(number, fd);
  if (result == 0) record('s', file, 0, NULL, NULL, 0);
  else nothing(NULL);
  end();
  return result;
}
int fsync(int fd) { return sync_any(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_any(fd, SYS_fdatasync); }

int flock(int fd, int operation) {
  if (action == NO_LOCKS && handle(fd)) {
    errno = ENOLCK;
    return -1;
  }
  return (int)syscall(SYS_flock, fd, operation);
}

static int truncate_any(int fd, off_t length) {
  uint32_t file = handle(fd);
  struct stat about;
  if (!file || fstat(fd, &about) != 0 || about.st_size == length) return (int)syscall(SYS_ftruncate, fd, length);
  int error = begin(about.st_size < length, 0);
  if (error) return fail(error);
  int result = (int)syscall(SYS_ftruncate, fd, length);
  if (result == 0) record('t', file, (uint64_t)length, NULL, NULL, 0);
  else nothing(NULL);
  end();
  return result;
}
int ftruncate(int fd, off_t length) { return truncate_any(fd, length); }
int ftruncate64(int fd, off_t length) { return truncate_any(fd, length); }

// An operation on one name.
static int on_name(char kind, int folder, const char *path, long number, long last) {
  char buffer[PATH_MAX];
  const char *inside = resolve(folder, path, buffer);
  if (!inside) return (int)syscall(number, folder, path, last);
  int error = begin(kind == 'm', 0);
  if (error) return fail(error);
  int result = (int)syscall(number, folder, path, last);
  int failed = errno;
  if (result == 0) record(kind, 0, 0, inside, NULL, 0);
  else nothing(inside);
  errno = failed;
  end();
  return result;
}

int mkdir(const char *path, mode_t mode) { return on_name('m', AT_FDCWD, path, SYS_mkdirat, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return on_name('m', folder, path, SYS_mkdirat, mode); }
int unlink(const char *path) { return on_name('u', AT_FDCWD, path, SYS_unlinkat, 0); }
int rmdir(const char *path) { return on_name('d', AT_FDCWD, path, SYS_unlinkat, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) {
  return on_name(flags & AT_REMOVEDIR ? 'd' : 'u', folder, path, SYS_unlinkat, flags);
}

// An operation on two names.
static int on_names(char kind, int from_folder, const char *from, int to_folder, const char *to, long number, long last) {
  char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
  const char *old = resolve(from_folder, from, from_buffer), *new = resolve(to_folder, to, to_buffer);
  if (!old && !new) return (int)syscall(number, from_folder, from, to_folder, to, last);
  int error = begin(kind == 'l', 0);
  if (error) return fail(error);
  int result = (int)syscall(number, from_folder, from, to_folder, to, last);
  int failed = errno;
  if (result == 0) record(kind, 0, 0, old ? old : "", new, new ? strlen(new) : 0);
  else nothing(old);
  errno = failed;
  end();
  return result;
}

int rename(const char *from, const char *to) { return on_names('r', AT_FDCWD, from, AT_FDCWD, to, SYS_renameat2, 0); }
int renameat(int f, const char *from, int t, const char *to) { return on_names('r', f, from, t, to, SYS_renameat2, 0); }
int renameat2(int f, const char *from, int t, const char *to, unsigned flags) {
  return on_names('r', f, from, t, to, SYS_renameat2, flags);
}
int link(const char *from, const char *to) { return on_names('l', AT_FDCWD, from, AT_FDCWD, to, SYS_linkat, 0); }
int linkat(int f, const char *from, int t, const char *to, int flags) {
  return on_names('l', f, from, t, to, SYS_linkat, flags);
}
