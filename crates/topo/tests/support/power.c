// Writes down, in order, what a process does to the files of one folder, so that a test can cut the power at any point
// of it. Preloaded (ld.so(8), LD_PRELOAD) into a process with POWER_FOLDER and POWER_TRACE in its environment.
//
// An entry is: a letter, then path and other as u32 length and bytes, a u64 number, and data as u32 length and bytes;
// numbers in the machine's byte order. Letters: c created, w written (number: offset), t truncated (number: size),
// s synced, l linked (other: new name), r renamed (other: new name), u unlinked, a acknowledged (data: what went to
// standard output). Deed and entry are one step for all threads.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char folder[PATH_MAX];
static size_t folder_length;

// Also undeclared variants are looked up by their names alone.
#define REAL(type, name, ...) type (*name)(__VA_ARGS__) = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    REAL(int, open, const char *, int, ...);
    const char *path = getenv("POWER_TRACE"), *watched = getenv("POWER_FOLDER");
    if (!path || !watched) return;
    folder_length = strlen(strncpy(folder, watched, sizeof folder - 1));
    trace = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    // Programs that it starts are not looked at.
    unsetenv("LD_PRELOAD");
}

static int is_watched(const char *path) {
    return trace >= 0 && !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int file, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0 && is_watched(path);
}

static void tell(char letter, const char *path, const char *other, uint64_t number, const void *data, uint32_t size) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    uint32_t path_size = strlen(path), other_size = strlen(other);
    struct iovec parts[] = {
        {&letter, 1}, {&path_size, 4}, {(void *)path, path_size}, {&other_size, 4}, {(void *)other, other_size},
        {&number, 8}, {&size, 4},      {(void *)data, size},
    };
    if (writev(trace, parts, 8) != (ssize_t)(21 + path_size + other_size + size)) abort();
}

static int opened(int (*open)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if (!(flags & O_CREAT) || !is_watched(path)) return open(path, flags, mode);
    pthread_mutex_lock(&turn);
    struct stat found;
    int is_new = lstat(path, &found) != 0;
    int file = open(path, flags, mode);
    if (file >= 0 && is_new) tell('c', path, "", 0, "", 0);
    if (file >= 0 && !is_new && flags & O_TRUNC) tell('t', path, "", 0, "", 0);
    pthread_mutex_unlock(&turn);
    return file;
}

#define OPEN(name)                                            \
    int name(const char *path, int flags, ...) {              \
        REAL(int, name, const char *, int, ...);              \
        va_list rest;                                         \
        va_start(rest, flags);                                \
        mode_t mode = flags & O_CREAT ? va_arg(rest, int) : 0; \
        va_end(rest);                                         \
        return opened(name, path, flags, mode);               \
    }
OPEN(open)
OPEN(open64)

static ssize_t written(int file, const void *data, size_t size, int64_t at, ssize_t (*write)(int, const void *, size_t),
                       ssize_t (*pwrite)(int, const void *, size_t, off64_t)) {
    char path[PATH_MAX];
    int acknowledges = file == STDOUT_FILENO && trace >= 0;
    if (!acknowledges && !path_of(file, path)) return write ? write(file, data, size) : pwrite(file, data, size, at);
    pthread_mutex_lock(&turn);
    if (write && !acknowledges) at = lseek64(file, 0, SEEK_CUR);
    // What others see of it is there afterwards.
    if (acknowledges) tell('a', "", "", 0, data, size);
    ssize_t done = write ? write(file, data, size) : pwrite(file, data, size, at);
    if (!acknowledges && done > 0) tell('w', path, "", at, data, done);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t write(int file, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return written(file, data, size, 0, write, NULL);
}

#define PWRITE(name)                                                       \
    ssize_t name(int file, const void *data, size_t size, off64_t at) {    \
        REAL(ssize_t, name, int, const void *, size_t, off64_t);           \
        return written(file, data, size, at, NULL, name);                  \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

// What a process does to a file that it has open, and the entry for it once it has succeeded.
#define ON_FILE(name, letter, declared, passed, number)      \
    int name declared {                                      \
        REAL(int, name, declared_##name);                    \
        char path[PATH_MAX];                                 \
        if (!path_of(file, path)) return name passed;        \
        pthread_mutex_lock(&turn);                           \
        int done = name passed;                              \
        if (!done) tell(letter, path, "", number, "", 0);    \
        pthread_mutex_unlock(&turn);                         \
        return done;                                         \
    }
#define declared_ftruncate int, off64_t
#define declared_ftruncate64 int, off64_t
#define declared_fsync int
#define declared_fdatasync int
ON_FILE(ftruncate, 't', (int file, off64_t size), (file, size), size)
ON_FILE(ftruncate64, 't', (int file, off64_t size), (file, size), size)
ON_FILE(fsync, 's', (int file), (file), 0)
ON_FILE(fdatasync, 's', (int file), (file), 0)

// What a process does to names.
#define ON_NAME(name, letter, declared, passed, path, other)       \
    int name declared {                                            \
        REAL(int, name, declared_##name);                          \
        if (!is_watched(path)) return name passed;                 \
        pthread_mutex_lock(&turn);                                 \
        int done = name passed;                                    \
        if (!done) tell(letter, path, other, 0, "", 0);            \
        pthread_mutex_unlock(&turn);                               \
        return done;                                               \
    }
#define declared_linkat int, const char *, int, const char *, int
#define declared_link const char *, const char *
#define declared_rename const char *, const char *
#define declared_unlink const char *
ON_NAME(linkat, 'l', (int a, const char *old, int b, const char *new, int flags), (a, old, b, new, flags), old, new)
ON_NAME(link, 'l', (const char *old, const char *new), (old, new), old, new)
ON_NAME(rename, 'r', (const char *old, const char *new), (old, new), old, new)
ON_NAME(unlink, 'u', (const char *old), (old), old, "")
