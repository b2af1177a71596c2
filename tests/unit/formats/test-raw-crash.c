/* SPDX-License-Identifier: GPL-2.0-or-later */
/* raw: what was flushed, or written through, is there after a crash. */
#include "crash-run.h"
#include "formats/raw.h"

static const char *const names[] = {"disk.raw", NULL};
static const char *const no_parents[] = {NULL};

typedef struct {
  CrashSubject subject;
  ImOpenContext context;
  ImAio aio;
  ImFile *file;
  ImBlock *block;
} Raw;

static void
raw_open (void *data, const char *folder, ImCacheMode cache, bool writable,
          ImBlock **ret_block)
{
  Raw *raw = data;
  g_autofree char *path = g_build_filename (folder, names[0], NULL);
  g_autoptr (GError) error = NULL;

  raw->file = im_file_open (
      path, &(ImFileMode){.writable = writable, .cache = cache, .aio = raw->aio}, &error);
  g_assert_no_error (error);
  raw->block = im_format_raw.open (raw->file, &raw->context, &error);
  g_assert_no_error (error);
  raw->block->policy.pass_discards = true;
  *ret_block = raw->block;
}

static void
raw_close (void *data)
{
  Raw *raw = data;

  g_clear_pointer (&raw->block, im_block_unref);
  g_clear_pointer (&raw->file, im_file_unref);
}

static bool
raw_check (void *data, const char *folder, const CrashBytes *found, char **ret_why)
{
  return true;
}

/* A disk of SIZE bytes of noise; crashes it. */
static unsigned
crash_raw (uint64_t size, ImAio aio, const CrashPlan *plan, char **ret_harm)
{
  static const ImResources shared;
  g_autofree char *folder = g_dir_make_tmp ("imgmount-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, names[0], NULL);
  g_autofree char *command = g_strdup_printf ("rm -r %s", folder);
  g_autofree char *bytes = g_malloc (size);
  Raw raw = {.context = {.shared = &shared}, .aio = aio};

  for (uint64_t i = 0; i < size; i++)
    bytes[i] = (char)(i * 2654435761u >> 13);
  g_assert_true (g_file_set_contents (path, bytes, (gssize)size, NULL));
  raw.subject = (CrashSubject){.names = names,
                               .parents = no_parents,
                               .folder = folder,
                               .unit = 4096,
                               .data = &raw,
                               .open = raw_open,
                               .close = raw_close,
                               .check = raw_check};
  unsigned rebuilt = crash_run (&raw.subject, plan, ret_harm);
  g_assert_true (g_spawn_command_line_sync (command, NULL, NULL, NULL, NULL));
  return rebuilt;
}

static CrashPlan
plan_of (ImCacheMode cache, uint32_t n)
{
  return (CrashPlan){.threads = 4,
                     .steps = 40,
                     .crashes = crash_wanted (40),
                     .again = 5,
                     .cache = cache,
                     .seed = crash_seed (n)};
}

static void
expect_none (ImCacheMode cache, ImAio aio, uint64_t size)
{
  CrashPlan plan = plan_of (cache, (uint32_t)cache);
  g_autofree char *harm = NULL;

  g_assert_cmpuint (crash_raw (size, aio, &plan, &harm), >=, plan.crashes);
  g_assert_null (harm);
}

static void
test_writeback (void)
{
  expect_none (IM_CACHE_WRITEBACK, IM_AIO_THREADS, 2 << 20);
  expect_none (IM_CACHE_WRITEBACK, IM_AIO_THREADS, 1000001);
}

static void
test_writethrough (void)
{
  expect_none (IM_CACHE_WRITETHROUGH, IM_AIO_THREADS, 2 << 20);
}

static void
test_direct (void)
{
  expect_none (IM_CACHE_NONE, IM_AIO_THREADS, 2 << 20);
  expect_none (IM_CACHE_DIRECTSYNC, IM_AIO_THREADS, 1000001);
}

static bool
has_engine (ImAio aio)
{
  g_autoptr (GError) error = NULL;

  if (!im_io_engine_find (aio, &error))
    g_test_skip (error->message);
  return !error;
}

static void
test_io_uring (void)
{
  if (!has_engine (IM_AIO_IO_URING))
    return;
  expect_none (IM_CACHE_WRITEBACK, IM_AIO_IO_URING, 2 << 20);
  expect_none (IM_CACHE_NONE, IM_AIO_IO_URING, 1000001);
}

static void
test_native (void)
{
  if (has_engine (IM_AIO_NATIVE))
    expect_none (IM_CACHE_NONE, IM_AIO_NATIVE, 1000001);
}

/* With cache=unsafe a flush is none, and the harness must find that out. */
static void
test_flush_is_needed (void)
{
  CrashPlan plan = plan_of (IM_CACHE_UNSAFE, 20);
  g_autofree char *harm = NULL;

  plan.crashes = 60;
  crash_raw (2 << 20, IM_AIO_THREADS, &plan, &harm);
  g_assert_nonnull (harm);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/formats/raw/crash/writeback", test_writeback);
  g_test_add_func ("/formats/raw/crash/writethrough", test_writethrough);
  g_test_add_func ("/formats/raw/crash/direct", test_direct);
  g_test_add_func ("/formats/raw/crash/io-uring", test_io_uring);
  g_test_add_func ("/formats/raw/crash/native", test_native);
  g_test_add_func ("/formats/raw/crash/flush-is-needed", test_flush_is_needed);
  return g_test_run ();
}
