/* SPDX-License-Identifier: GPL-2.0-or-later */
/* I/O engines: whatever the kernel answers, a transfer is carried out or has its error.
 */
#include "block/io.h"
#include "config.h"
#include "fixture.h"

#include <errno.h>
#include <unistd.h>

enum { LENGTH = 1 << 20 };

static const struct {
  const char *name;
  ImAio aio;
  bool there;
} engines[] = {
    {"threads", IM_AIO_THREADS, true},
    {"io_uring", IM_AIO_IO_URING, HAVE_IO_URING},
    {"native", IM_AIO_NATIVE, HAVE_LIBAIO},
};

/* What the engine below answers before each try that it lets through. */
static struct {
  const int *errors; /* ended by 0 */
  size_t most;       /* bytes that one try transfers; 0: all */
  unsigned tries;
} script;

static void
scripted_transfer (ImIo **ios, size_t n)
{
  for (size_t i = 0; i < n; i++) {
    ImIo cut = *ios[i], *one = &cut;
    struct iovec first = *cut.iov;
    script.tries++;
    if (script.errors && *script.errors) {
      ios[i]->result = -*script.errors++;
      continue;
    }
    if (script.most > 0) {
      first.iov_len = MIN (first.iov_len, script.most);
      cut.iov = &first;
      cut.n = 1;
    }
    im_io_engine_threads.transfer (&one, 1);
    ios[i]->result = cut.result;
  }
}

static const ImIoEngine scripted = {.transfer = scripted_transfer};

/* A file of a pattern, without a name. */
static int
pattern_file (uint8_t **ret_bytes)
{
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-XXXXXX", &path, NULL);
  *ret_bytes = fixture_pattern (LENGTH, 3);
  g_assert_cmpint (write (fd, *ret_bytes, LENGTH), ==, LENGTH);
  unlink (path);
  return fd;
}

static void
test_short_transfers_go_on (void)
{
  static const size_t most[] = {1, 7, 100, 512, 999};
  for (size_t i = 0; i < G_N_ELEMENTS (most); i++)
    for (unsigned write = 0; write < 2; write++) {
      g_autofree uint8_t *bytes = NULL;
      int fd = pattern_file (&bytes);
      uint8_t data[1000] = {0}, back[1000];
      struct iovec iov[] = {{data, 3}, {data + 3, 0}, {data + 3, 500}, {data + 503, 497}};
      const struct iovec before[] = {iov[0], iov[1], iov[2], iov[3]};
      ImIo io = {.fd = fd, .write = write, .unit = 1, .offset = 100, .iov = iov, .n = 4};
      script = (typeof (script)){.most = most[i]};
      im_io_run (&scripted, &io, 1);
      g_assert_cmpint (io.failure, ==, 0);
      g_assert_cmpuint (io.done, ==, 1000);
      g_assert_cmpmem (iov, sizeof iov, before, sizeof before);
      g_assert_cmpint (pread (fd, back, 1000, 100), ==, 1000);
      g_assert_cmpmem (data, 1000, back, 1000);
      g_assert_cmpmem (data, 1000, write ? (uint8_t[1000]){0} : bytes + 100, 1000);
      close (fd);
    }
}

static void
test_errors (void)
{
  static const struct {
    int errors[4];
    int failure;
    unsigned tries;
  } cases[] = {
      {{EINTR, EINTR, EINTR, 0}, 0, 4},
      {{EAGAIN, 0}, 0, 1}, /* by the caller's thread */
      {{EINTR, EIO, 0}, EIO, 2},
      {{ENOSPC, 0}, ENOSPC, 1},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree uint8_t *bytes = NULL;
    int fd = pattern_file (&bytes);
    uint8_t data[64];
    struct iovec iov = {data, sizeof data};
    ImIo io = {.fd = fd, .unit = 1, .offset = 5, .iov = &iov, .n = 1};
    script = (typeof (script)){.errors = cases[i].errors};
    im_io_run (&scripted, &io, 1);
    g_assert_cmpint (io.failure, ==, cases[i].failure);
    g_assert_cmpuint (script.tries, ==, cases[i].tries);
    if (io.failure == 0)
      g_assert_cmpmem (data, sizeof data, bytes + 5, sizeof data);
    close (fd);
  }
}

/* The end of the file cuts a block; nothing is then asked for from within it. */
static void
test_whole_blocks_only (void)
{
  g_autofree uint8_t *bytes = NULL;
  int fd = pattern_file (&bytes);
  uint8_t data[2048];
  struct iovec iov = {data, sizeof data};
  ImIo io = {.fd = fd, .unit = 512, .offset = LENGTH - 700, .iov = &iov, .n = 1};
  script = (typeof (script)){0};
  im_io_run (&scripted, &io, 1);
  g_assert_cmpint (io.failure, ==, 0);
  g_assert_cmpuint (io.done, ==, 700);
  g_assert_cmpuint (script.tries, ==, 1);
  io = (ImIo){.fd = fd, .write = true, .unit = 512, .iov = &iov, .n = 1};
  script = (typeof (script)){.most = 700};
  im_io_run (&scripted, &io, 1);
  g_assert_cmpint (io.failure, ==, EIO);
  close (fd);
}

/* As many as a batch has, some of them wrong, by each engine. */
static void
test_batches (gconstpointer data)
{
  const ImIoEngine *engine =
      im_io_engine_find (engines[GPOINTER_TO_SIZE (data)].aio, NULL);
  if (!engine) {
    g_test_skip ("the kernel or this build has no such engine");
    return;
  }
  g_autofree uint8_t *bytes = NULL, *buffers = g_malloc0 (IM_IO_BATCH * 1000);
  int fd = pattern_file (&bytes);
  for (size_t n = 1; n <= IM_IO_BATCH; n += 7) {
    ImIo ios[IM_IO_BATCH];
    struct iovec iov[IM_IO_BATCH];
    memset (buffers, 0, IM_IO_BATCH * 1000);
    for (size_t i = 0; i < n; i++) {
      iov[i] = (struct iovec){buffers + i * 1000, i % 5 == 4 ? 0 : 1000};
      ios[i] = (ImIo){.fd = i % 11 == 10 ? -1 : fd,
                      .unit = 1,
                      .offset = i % 7 == 6 ? LENGTH - 400 : i * 1234,
                      .iov = &iov[i],
                      .n = 1};
    }
    im_io_run (engine, ios, n);
    for (size_t i = 0; i < n; i++) {
      size_t length = i % 5 == 4 || i % 11 == 10 ? 0 : i % 7 == 6 ? 400 : 1000;
      uint64_t at = i % 7 == 6 ? LENGTH - 400 : i * 1234;
      g_assert_cmpint (ios[i].failure, ==, i % 11 == 10 && i % 5 != 4 ? EBADF : 0);
      g_assert_cmpuint (ios[i].done, ==, length);
      g_assert_cmpmem (buffers + i * 1000, length, bytes + at, length);
    }
  }
  close (fd);
}

enum { THREADS = 80, ROUNDS = 50 }; /* more than there are rings */

static const ImIoEngine *shared_engine;
static int shared_fd;

static void *
write_and_read (void *data)
{
  size_t self = GPOINTER_TO_SIZE (data);
  uint8_t bytes[4][700], back[4][700];
  for (unsigned round = 0; round < ROUNDS; round++) {
    ImIo ios[4];
    struct iovec iov[4];
    for (unsigned write = 2; write-- > 0;) {
      for (size_t i = 0; i < 4; i++) {
        memset (bytes[i], (int)(self + i + round), sizeof bytes[i]);
        iov[i] = (struct iovec){write ? bytes[i] : back[i], 700};
        ios[i] = (ImIo){.fd = shared_fd,
                        .write = write,
                        .unit = 1,
                        .offset = (self * 4 + i) * 700,
                        .iov = &iov[i],
                        .n = 1};
      }
      im_io_run (shared_engine, ios, 4);
      for (size_t i = 0; i < 4; i++)
        g_assert_cmpuint (ios[i].done, ==, 700);
    }
    g_assert_cmpmem (bytes, sizeof bytes, back, sizeof back);
  }
  return NULL;
}

static void
test_threads (gconstpointer data)
{
  g_autofree uint8_t *bytes = NULL;
  pthread_t threads[THREADS];
  shared_engine = im_io_engine_find (engines[GPOINTER_TO_SIZE (data)].aio, NULL);
  if (!shared_engine) {
    g_test_skip ("the kernel or this build has no such engine");
    return;
  }
  shared_fd = pattern_file (&bytes);
  for (size_t i = 0; i < THREADS; i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, write_and_read, GSIZE_TO_POINTER (i)), ==, 0);
  for (size_t i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  close (shared_fd);
}

static void
test_missing_library_is_named (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (engines); i++) {
    g_autoptr (GError) error = NULL;
    if (engines[i].there)
      continue;
    g_assert_null (im_io_engine_find (engines[i].aio, &error));
    g_assert_nonnull (strstr (error->message, "it was made without lib"));
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/block/io/short-transfers-go-on", test_short_transfers_go_on);
  g_test_add_func ("/block/io/errors", test_errors);
  g_test_add_func ("/block/io/whole-blocks-only", test_whole_blocks_only);
  g_test_add_func ("/block/io/a-missing-library-is-named", test_missing_library_is_named);
  for (size_t i = 0; i < G_N_ELEMENTS (engines); i++) {
    g_autofree char *batches = g_strconcat ("/block/io/batches/", engines[i].name, NULL);
    g_autofree char *threads = g_strconcat ("/block/io/threads/", engines[i].name, NULL);
    g_test_add_data_func (batches, GSIZE_TO_POINTER (i), test_batches);
    g_test_add_data_func (threads, GSIZE_TO_POINTER (i), test_threads);
  }
  return g_test_run ();
}
