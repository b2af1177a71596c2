/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files in every cache mode and by every engine: requests of any alignment, sizes of any
 * kind, several threads whose bytes share blocks, against the same changes of a buffer.
 */
#include "base/error.h"
#include "block/file-internal.h"
#include "fixture.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RANGE_MAX = 20000 };

/* A file to be changed, and what it has to hold. */
typedef struct {
  char *path;
  ImFile *file;
  uint8_t *expected;
  size_t size;
} Subject;

/* False: this kernel, build or file system has no such thing, and the test was skipped.
 */
static bool
open_subject (Subject *s, const ImFileMode *mode, size_t size, uint32_t block)
{
  g_autoptr (GError) error = NULL;
  int fd = g_file_open_tmp ("imgmount-XXXXXX", &s->path, NULL);
  s->expected = fixture_pattern (size + 1, 5); /* never NULL */
  s->size = size;
  g_assert_cmpint (write (fd, s->expected, size), ==, (ssize_t)size);
  close (fd);
  s->file = im_file_open (s->path, mode, &error);
  if (s->file) {
    /* Greater blocks than the device's serve as well. */
    if (block && im_file_is_direct (s->file))
      s->file->block = s->file->memory = block;
    return true;
  }
  g_assert_true (g_error_matches (error, IM_ERROR, IM_ERROR_UNSUPPORTED) ||
                 g_error_matches (error, IM_ERRNO, EINVAL) ||
                 g_error_matches (error, IM_ERRNO, EPERM) ||
                 g_error_matches (error, IM_ERRNO, ENOSYS));
  g_test_skip (error->message);
  unlink (s->path);
  g_free (s->path);
  g_free (s->expected);
  return false;
}

/* What is in the file now, by others' eyes, and closes it. */
static void
close_subject (Subject *s)
{
  g_autofree char *found = NULL;
  gsize length;
  g_clear_pointer (&s->file, im_file_unref);
  g_assert_true (g_file_get_contents (s->path, &found, &length, NULL));
  g_assert_cmpmem (found, length, s->expected, s->size);
  unlink (s->path);
  g_free (s->path);
  g_free (s->expected);
}

static void
write_in_parts (Subject *s, GRand *rand, uint8_t *data, size_t length, size_t offset)
{
  size_t cut = length ? g_rand_int (rand) % length : 0;
  if (g_rand_boolean (rand))
    cut -= cut % 512;
  const struct iovec iov[] = {{data, cut}, {data + cut, length - cut}};
  g_autoptr (GError) error = NULL;
  im_file_pwritev (s->file, iov, 2, offset, g_rand_int (rand) % 16 == 0, &error);
  g_assert_no_error (error);
  memcpy (s->expected + offset, data, length);
}

/* Three ranges at once, the last of which begins where the second ends. */
static void
write_batch (Subject *s, GRand *rand, uint8_t *data, size_t length, size_t offset)
{
  size_t a = length / 4, b = g_rand_int (rand) % (length / 2 + 1) + a;
  const struct iovec iov[] = {{data, a / 2}, {data + a, b - a}, {data + b, length - b}};
  const ImFileRange ranges[] = {
      {&iov[0], 1, offset}, {&iov[1], 1, offset + a}, {&iov[2], 1, offset + b}};
  g_autoptr (GError) error = NULL;
  im_file_write_batch (s->file, ranges, 3, false, &error);
  g_assert_no_error (error);
  memcpy (s->expected + offset, data, a / 2);
  memcpy (s->expected + offset + a, data + a, length - a);
}

static void
read_and_compare (const Subject *s, uint8_t *buffer, size_t length, size_t offset)
{
  const struct iovec iov[] = {{buffer, length / 3},
                              {buffer + length / 3, length - length / 3}};
  const ImFileRange ranges[] = {{&iov[0], 1, offset}, {&iov[1], 1, offset + length / 3}};
  size_t inside = offset < s->size ? MIN (length, s->size - offset) : 0;
  g_assert_true (im_file_read_batch (s->file, ranges, 2, NULL));
  g_assert_cmpmem (buffer, inside, s->expected + offset, inside);
  for (size_t i = inside; i < length; i++)
    g_assert_cmpuint (buffer[i], ==, 0);
}

/* One change or look at [FIRST, FIRST + SPAN). */
static void
do_something (Subject *s, GRand *rand, uint8_t *memory, size_t first, size_t span)
{
  size_t length = g_rand_int (rand) % RANGE_MAX;
  length = MIN (length, span);
  size_t offset = first + g_rand_int (rand) % (span - length + 1);
  uint8_t *data = memory + (g_rand_boolean (rand) ? 0 : g_rand_int (rand) % 512);
  if (g_rand_boolean (rand) && offset - offset % 512 >= first) {
    offset -= offset % 512;
    length -= length % 512;
  }
  for (size_t i = 0; i < length; i += 8)
    data[i] = (uint8_t)g_rand_int (rand);
  switch (g_rand_int (rand) % 8) {
  case 0:
    g_assert_true (im_file_write_zeroes (s->file, offset, length, g_rand_boolean (rand),
                                         false, NULL));
    memset (s->expected + offset, 0, length);
    break;
  case 1:
    write_batch (s, rand, data, length, offset);
    break;
  case 2:
  case 3:
    read_and_compare (s, data, length, offset);
    break;
  default:
    write_in_parts (s, rand, data, length, offset);
  }
}

static uint8_t *
new_memory (void)
{
  return g_aligned_alloc0 (1, RANGE_MAX + 4096, 4096);
}

static const ImCacheMode caches[] = {IM_CACHE_WRITEBACK, IM_CACHE_WRITETHROUGH,
                                     IM_CACHE_NONE, IM_CACHE_DIRECTSYNC, IM_CACHE_UNSAFE};

/* Sizes around blocks and pages; and one that is many bounces long. */
static void
test_any_alignment (gconstpointer data)
{
  static const size_t sizes[] = {0, 1, 511, 512, 513, 4095, 4097, 70000, 3u << 20};
  static const uint32_t blocks[] = {0, 4096};
  g_autoptr (GRand) rand = g_rand_new_with_seed ((guint32)g_test_rand_int ());
  uint8_t *memory = new_memory ();
  for (size_t c = 0; c < G_N_ELEMENTS (caches); c++)
    for (size_t i = 0; i < 2 * G_N_ELEMENTS (sizes); i++) {
      ImFileMode mode = {
          .writable = true, .cache = caches[c], .aio = GPOINTER_TO_UINT (data)};
      Subject s;
      if (!open_subject (&s, &mode, sizes[i / 2], blocks[i % 2]))
        continue;
      for (unsigned k = 0; k < 60; k++)
        do_something (&s, rand, memory, 0, s.size);
      read_and_compare (&s, memory, RANGE_MAX, s.size / 2);
      read_and_compare (&s, memory, 100, s.size + 5);
      g_assert_true (im_file_sync (s.file, NULL));
      close_subject (&s);
    }
  g_aligned_free (memory);
}

/* Longer than what is bounced at one time, in one request. */
static void
test_long_requests (gconstpointer data)
{
  enum { LONG = (5 << 20) + 333 };
  static const size_t shifts[] = {0, 1, 512, 4096};
  g_autofree uint8_t *bytes = fixture_pattern (LONG, 77);
  g_autofree uint8_t *back = g_malloc (LONG);
  for (size_t i = 0; i < G_N_ELEMENTS (shifts); i++) {
    ImFileMode mode = {
        .writable = true, .cache = IM_CACHE_NONE, .aio = GPOINTER_TO_UINT (data)};
    Subject s;
    if (!open_subject (&s, &mode, LONG + 5000, 0))
      return;
    g_assert_true (im_file_pwrite (s.file, bytes, LONG, shifts[i], false, NULL));
    memcpy (s.expected + shifts[i], bytes, LONG);
    g_assert_true (im_file_pread (s.file, back, LONG, shifts[i], NULL));
    g_assert_cmpmem (back, LONG, bytes, LONG);
    close_subject (&s);
  }
}

static void
test_growing_and_shrinking (gconstpointer data)
{
  ImFileMode mode = {
      .writable = true, .cache = IM_CACHE_NONE, .aio = GPOINTER_TO_UINT (data)};
  Subject s;
  if (!open_subject (&s, &mode, 1000, 0))
    return;
  s.expected = g_realloc (s.expected, 100000);
  for (size_t size = 1000; size < 100000; size = size * 3 / 2 + 77) {
    memset (s.expected + s.size, 0, size - s.size);
    g_assert_true (im_file_extend (s.file, size, NULL));
    s.size = size;
    /* Up to two bytes before the end, so that shrinking stops there. */
    for (size_t at = 0; at + 10 <= size; at = at == size - 10 ? size : size - 10) {
      g_assert_true (im_file_pwrite (s.file, "12345678", 8, at, false, NULL));
      memcpy (s.expected + at, "12345678", 8);
    }
  }
  g_assert_true (im_file_shrink (s.file, 5, NULL));
  g_assert_cmpuint (im_file_size (s.file), ==, s.size - 2);
  s.size -= 2;
  close_subject (&s);
}

enum { THREADS = 6, STRIPE = 700, STRIPES = 120 };

typedef struct {
  Subject *subject;
  size_t self;
  guint32 seed;
} Worker;

/* Each has every sixth stripe, so that all share blocks with others. */
static void *
work (void *data)
{
  const Worker *worker = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (worker->seed);
  uint8_t *memory = new_memory ();
  for (unsigned i = 0; i < 250; i++) {
    size_t stripe = g_rand_int (rand) % (STRIPES / THREADS) * THREADS + worker->self;
    do_something (worker->subject, rand, memory, stripe * STRIPE, STRIPE);
  }
  g_aligned_free (memory);
  return NULL;
}

static void
test_threads_share_blocks (gconstpointer data)
{
  static const uint32_t blocks[] = {0, 4096};
  for (size_t b = 0; b < G_N_ELEMENTS (blocks); b++) {
    ImFileMode mode = {
        .writable = true, .cache = IM_CACHE_NONE, .aio = GPOINTER_TO_UINT (data)};
    Worker workers[THREADS];
    pthread_t threads[THREADS];
    Subject s;
    if (!open_subject (&s, &mode, (size_t)STRIPE * STRIPES, blocks[b]))
      return;
    for (size_t i = 0; i < THREADS; i++) {
      workers[i] = (Worker){&s, i, (guint32)g_test_rand_int ()};
      g_assert_cmpint (pthread_create (&threads[i], NULL, work, &workers[i]), ==, 0);
    }
    for (size_t i = 0; i < THREADS; i++)
      pthread_join (threads[i], NULL);
    /* Not even the kernel has seen direct and cached writes collide. */
    g_assert_true (im_file_sync (s.file, NULL));
    close_subject (&s);
  }
}

static void
test_read_only (gconstpointer data)
{
  ImFileMode mode = {.cache = IM_CACHE_NONE, .aio = GPOINTER_TO_UINT (data)};
  uint8_t *memory = new_memory ();
  Subject s;
  if (open_subject (&s, &mode, 50001, 0)) {
    g_assert_false (im_file_is_writable (s.file));
    read_and_compare (&s, memory, RANGE_MAX, 0);
    read_and_compare (&s, memory + 1, RANGE_MAX, 40000);
    read_and_compare (&s, memory, 1, 50000);
    g_assert_false (im_file_pread_nowait (s.file, memory, 1, 0));
    g_assert_cmpint (truncate (s.path, 30000), ==, 0);
    g_autoptr (GError) error = NULL;
    g_assert_false (im_file_pread (s.file, memory, 100, 29950, &error));
    g_assert_error (error, IM_ERRNO, EIO);
    g_assert_cmpint (truncate (s.path, 50001), ==, 0);
    memset (s.expected + 30000, 0, 20001);
    close_subject (&s);
  }
  g_aligned_free (memory);
}

static unsigned begun, ended;
static int refused; /* which change, from 1 on */

static int
before_change (ImFile *file, const ImFileChange *change)
{
  begun++;
  return (int)begun == refused ? ENOSPC : 0;
}

static void
after_change (ImFile *file, const ImFileChange *change)
{
  uint8_t byte;
  ended++;
  /* What was written is there when a test is told so, and told as it was asked for. */
  g_assert_true (im_file_pread (file, &byte, 1, change->offset, NULL));
  g_assert_cmpuint (byte, ==, *(uint8_t *)change->iov[0].iov_base);
}

static void
test_hooks_see_every_range (gconstpointer data)
{
  static const ImFileHooks hooks = {.before = before_change, .after = after_change};
  ImFileMode mode = {
      .writable = true, .cache = IM_CACHE_NONE, .aio = GPOINTER_TO_UINT (data)};
  uint8_t *memory = new_memory ();
  char first[] = "abc", last[] = "xyz";
  const struct iovec iov[] = {{first, 3}, {memory, 4096}, {last, 3}};
  const ImFileRange ranges[] = {{&iov[0], 1, 1}, {&iov[1], 1, 8192}, {&iov[2], 1, 19998}};
  Subject s;
  if (open_subject (&s, &mode, 20001, 0)) {
    atomic_store (&im_file_hooks, &hooks);
    begun = ended = 0;
    refused = 0;
    g_assert_true (im_file_write_batch (s.file, ranges, 3, true, NULL));
    g_assert_cmpuint (begun, ==, 3);
    g_assert_cmpuint (ended, ==, 3);
    begun = ended = 0;
    refused = 3;
    g_autoptr (GError) error = NULL;
    g_assert_false (im_file_write_batch (s.file, ranges, 3, true, &error));
    g_assert_error (error, IM_ERRNO, ENOSPC);
    g_assert_cmpuint (ended, ==, 2);
    atomic_store (&im_file_hooks, NULL);
    memcpy (s.expected + 1, "abc", 3);
    memset (s.expected + 8192, 0, 4096);
    memcpy (s.expected + 19998, "xyz", 3);
    close_subject (&s);
  }
  g_aligned_free (memory);
}

int
main (int argc, char **argv)
{
  static const char *const engines[] = {"threads", "io_uring", "native"};
  static const struct {
    const char *name;
    GTestDataFunc run;
  } tests[] = {
      {"any-alignment-and-size", test_any_alignment},
      {"long-requests", test_long_requests},
      {"growing-and-shrinking", test_growing_and_shrinking},
      {"threads-share-blocks", test_threads_share_blocks},
      {"read-only", test_read_only},
      {"hooks-see-every-range", test_hooks_see_every_range},
  };
  g_test_init (&argc, &argv, NULL);
  for (size_t e = 0; e < G_N_ELEMENTS (engines); e++)
    for (size_t t = 0; t < G_N_ELEMENTS (tests); t++) {
      g_autofree char *name =
          g_strdup_printf ("/block/direct/%s/%s", engines[e], tests[t].name);
      g_test_add_data_func (name, GSIZE_TO_POINTER (e), tests[t].run);
    }
  return g_test_run ();
}
