/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encrypted extents: any range of them is read, and written, as if they were plain. */
#include "block/crypt-io.h"
#include "block/file-internal.h"
#include "config.h"
#include "fixture.h"

#include <stdio.h>
#include <unistd.h>

enum { SIZE = 700 * 1024, AT = 4096, POSITION = 1 << 20 };

typedef struct {
  ImTransform *crypt;
  ImFile *file;
  uint8_t *plain; /* SIZE bytes, which the file has encrypted from AT on */
} Setup;

static ImTransform *
make_crypt (void)
{
  g_autoptr (ImSecret) key = im_secret_new (NULL, 32);
  memset (key->bytes, 7, 16);
  return im_transform_new ("aes", "xts-plain64", key, NULL);
}

static ImFile *
writable_file (const void *bytes, size_t len)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = NULL;
  int fd = g_file_open_tmp ("imgmount-crypt-XXXXXX", &path, NULL);
  g_assert_cmpint (write (fd, bytes, len), ==, len);
  close (fd);
  ImFile *file = im_file_open_writable (path, IM_CACHE_UNSAFE, &error);
  g_assert_no_error (error);
  unlink (path);
  return file;
}

static void
set_up (Setup *s)
{
  g_autofree uint8_t *bytes = g_malloc0 (AT + SIZE);
  s->crypt = make_crypt ();
  s->plain = fixture_pattern (SIZE, 3);
  memcpy (bytes + AT, s->plain, SIZE);
  im_transform_apply (s->crypt, IM_ENCRYPT, POSITION, bytes + AT, SIZE, NULL, NULL);
  s->file = writable_file (bytes, AT + SIZE);
}

static void
tear_down (Setup *s)
{
  im_file_unref (s->file);
  im_transform_free (s->crypt);
  g_free (s->plain);
}

static ImExtent
extent_of (const Setup *s, uint64_t offset, uint64_t length)
{
  return (ImExtent){.offset = offset,
                    .length = length,
                    .kind = IM_EXTENT_FILE,
                    .allocated = true,
                    .stable = true,
                    .file = s->file,
                    .at = AT + offset,
                    .crypt = s->crypt,
                    .crypt_at = POSITION + offset};
}

static void
check_range (ImBlock *block, const Setup *s, uint64_t at, size_t len)
{
  g_autofree uint8_t *buf = g_malloc (len);
  g_autoptr (GError) error = NULL;
  im_block_pread (block, buf, len, at, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (buf, len, s->plain + at, len);
}

static void
test_read (void)
{
  static const uint64_t edges[] = {0, 1, 511, 512, 513, 1000, 1024, 4096, 65535, 300000};
  Setup s;
  set_up (&s);
  ImExtent extent = extent_of (&s, 0, SIZE);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (edges); i++)
    for (size_t k = 0; k < G_N_ELEMENTS (edges); k++)
      if (edges[k] > 0)
        check_range (block, &s, edges[i], edges[k]);
  tear_down (&s);
}

/* Runs, holes and encrypted places in turn: transfers are shared, sectors are not. */
static void
test_read_mixed (void)
{
  Setup s;
  set_up (&s);
  ImExtent extents[3] = {extent_of (&s, 0, 4096), extent_of (&s, 4096, 4096),
                         extent_of (&s, 8192, 8192)};
  extents[1].kind = IM_EXTENT_ZERO;
  extents[1].crypt = NULL;
  memset (s.plain + 4096, 0, 4096);
  g_autoptr (ImBlock) block = fixture_block (extents, 3, 3, NULL);
  check_range (block, &s, 0, 16384);
  check_range (block, &s, 4000, 4400);
  check_range (block, &s, 100, 16000);
  tear_down (&s);
}

static void
test_nowait (void)
{
  uint8_t buf[4096];
  Setup s;
  set_up (&s);
  ImExtent extent = extent_of (&s, 0, SIZE);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  if (im_block_pread_nowait (block, buf, sizeof buf, 512))
    g_assert_cmpmem (buf, sizeof buf, s.plain + 512, sizeof buf);
  /* These take longer than a reader of requests may. */
  g_assert_false (im_block_pread_nowait (block, buf, 100, 512));
  g_autofree uint8_t *large = g_malloc (SIZE);
  g_assert_false (im_block_pread_nowait (block, large, SIZE, 0));
  tear_down (&s);
}

static void
test_no_holes (void)
{
  Setup s = {.crypt = make_crypt ()};
  ImExtent found;
  size_t n;
  g_autofree uint8_t *zeros = g_malloc0 (1);
  s.file = writable_file (zeros, 1);
  g_assert_true (im_file_extend (s.file, AT + SIZE, NULL));
  ImExtent extent = extent_of (&s, 0, SIZE);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  g_assert_true (im_block_map (block, 0, SIZE, IM_MAP_ZEROES, &found, 1, &n, NULL));
  g_assert_cmpint (found.kind, ==, IM_EXTENT_FILE);
  g_assert_cmpuint (found.length, ==, SIZE);
  tear_down (&s);
}

static void
test_continues (void)
{
  Setup s = {.crypt = (ImTransform *)&s, .file = (ImFile *)&s};
  ImExtent a = extent_of (&s, 0, 512), b = extent_of (&s, 512, 512);
  g_assert_true (im_extent_continues (&a, &b));
  b.crypt_at += 512;
  g_assert_false (im_extent_continues (&a, &b));
  b = extent_of (&s, 512, 512);
  b.crypt = NULL;
  g_assert_false (im_extent_continues (&a, &b));
}

static void
test_write (void)
{
  Setup s;
  set_up (&s);
  ImExtent extent = extent_of (&s, 0, SIZE);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  g_autoptr (GRand) rand = g_rand_new_with_seed (12);
  for (unsigned i = 0; i < 200; i++) {
    size_t most = (const size_t[]){3, 512, 4096, 20000, SIZE}[i % 5];
    size_t len = (size_t)g_rand_int_range (rand, 1, (gint)most);
    uint64_t at = (uint64_t)g_rand_int_range (rand, 0, (gint)(SIZE - len + 1));
    ImCryptPlace place = {s.crypt, POSITION + at, s.file, AT + at};
    g_autoptr (GError) error = NULL;
    memset (s.plain + at, (int)i, len);
    im_crypt_pwrite (&place, s.plain + at, len, false, fixture_resources ()->pool,
                     &error);
    g_assert_no_error (error);
  }
  check_range (block, &s, 0, SIZE);
  tear_down (&s);
}

/* What a hook has to do while a write is under way. */
static struct {
  ImBlock *block;
  unsigned writes;
} meanwhile;

static int
read_meanwhile (ImFile *file, const ImFileChange *change)
{
  uint8_t buf[512];
  meanwhile.writes++;
  g_assert_false (im_block_pread_nowait (meanwhile.block, buf, 512, 1024));
  g_assert_true (im_block_pread_nowait (meanwhile.block, buf, 512, 2048));
  return 0;
}

static void
ignore (ImFile *file, const ImFileChange *change)
{
}

/* Nobody reads a sector while it is being written. */
static void
test_while_written (void)
{
  static const ImFileHooks hooks = {.before = read_meanwhile, .after = ignore};
  uint8_t buf[512];
  Setup s;
  set_up (&s);
  ImExtent extent = extent_of (&s, 0, SIZE);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  block->writable = true;
  if (im_block_pread_nowait (block, buf, sizeof buf, 2048)) {
    ImCryptPlace place = {s.crypt, POSITION + 1100, s.file, AT + 1100};
    meanwhile.block = block;
    atomic_store (&im_file_hooks, &hooks);
    g_assert_true (im_crypt_pwrite (&place, "abc", 3, false, NULL, NULL));
    atomic_store (&im_file_hooks, NULL);
    g_assert_cmpuint (meanwhile.writes, ==, 1);
    memcpy (s.plain + 1100, "abc", 3);
  } else {
    g_test_skip ("nothing is read here without waiting");
  }
  check_range (block, &s, 0, 8192);
  tear_down (&s);
}

enum { ROUNDS = 3000, RACED = 4096 };

static void *
write_again_and_again (void *data)
{
  const Setup *s = data;
  uint8_t bytes[RACED];
  for (unsigned i = 0; i < ROUNDS; i++) {
    ImCryptPlace place = {s->crypt, POSITION, s->file, AT};
    memset (bytes, (int)(i % 256), RACED);
    g_assert_true (im_crypt_pwrite (&place, bytes, RACED, false, NULL, NULL));
  }
  return NULL;
}

/* Two writers and a reader of the same sectors: each is always one that was written. */
static void
test_races (void)
{
  g_autofree uint8_t *zeros = g_malloc0 (AT + RACED);
  g_autoptr (ImSecret) key = im_secret_new (NULL, 16);
  Setup s = {.crypt = im_transform_new ("aes", "cbc-plain64", key, NULL),
             .file = writable_file (zeros, AT + RACED)};
  ImExtent extent = extent_of (&s, 0, RACED);
  g_autoptr (ImBlock) block = fixture_block (&extent, 1, 1, NULL);
  block->writable = true;
  pthread_t writers[2];
  uint8_t bytes[RACED];
  im_transform_apply (s.crypt, IM_ENCRYPT, POSITION, zeros, RACED, NULL, NULL);
  g_assert_true (im_file_pwrite (s.file, zeros, RACED, AT, false, NULL));
  for (unsigned i = 0; i < 2; i++)
    pthread_create (&writers[i], NULL, write_again_and_again, &s);
  for (unsigned i = 0; i <= ROUNDS; i++) {
    if (i == ROUNDS) /* and once more when all is over */
      for (unsigned k = 0; k < 2; k++)
        pthread_join (writers[k], NULL);
    g_assert_true (im_block_pread (block, bytes, RACED, 0, NULL));
    for (size_t k = 0; k < RACED; k += 512)
      g_assert_cmpmem (bytes + k, 511, bytes + k + 1, 511);
  }
  tear_down (&s);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!HAVE_GCRYPT) {
    printf ("1..0 # SKIP built without libgcrypt\n");
    return 0;
  }
  g_test_add_func ("/block/crypt-io/any-range-is-read", test_read);
  g_test_add_func ("/block/crypt-io/neighbours-are-read-together", test_read_mixed);
  g_test_add_func ("/block/crypt-io/what-takes-long-waits-for-the-pool", test_nowait);
  g_test_add_func ("/block/crypt-io/holes-beneath-are-no-zeros", test_no_holes);
  g_test_add_func ("/block/crypt-io/positions-keep-extents-apart", test_continues);
  g_test_add_func ("/block/crypt-io/any-range-is-written", test_write);
  g_test_add_func ("/block/crypt-io/no-sector-is-read-while-written", test_while_written);
  g_test_add_func ("/block/crypt-io/races-tear-no-sector", test_races);
  return g_test_run ();
}
