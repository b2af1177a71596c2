/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LUKS: headers poked field by field, passphrases right and wrong, and writers that meet
 * in one sector. */
#include "base/bytes.h"
#include "base/error.h"
#include "config.h"
#include "formats/luks.h"
#include "luks-sample.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct {
  ImOpenContext context; /* first */
  ImResources shared;
  const char *answers[4]; /* to one attempt after the other */
  unsigned asked;
  ImSecret *given;
} Setup;

static const ImSecret *
answer (const ImOpenContext *context, ImFile *file, unsigned attempt, GError **error)
{
  Setup *s = (Setup *)context;
  g_assert_cmpuint (attempt, ==, s->asked);
  const char *text = s->answers[s->asked++];
  g_clear_pointer (&s->given, im_secret_free);
  if (text)
    s->given = im_secret_new (text, strlen (text));
  return s->given;
}

static ImBlock *
open_bytes (Setup *s, const uint8_t *bytes, size_t len, bool writable, GError **error)
{
  int fd = memfd_create ("luks", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_assert_cmpint (write (fd, bytes, len), ==, (ssize_t)len);
  g_autoptr (ImFile) file = writable
                                ? im_file_open_writable (path, IM_CACHE_WRITEBACK, error)
                                : im_file_open_read_only (path, error);
  close (fd);
  s->context.shared = &s->shared;
  s->context.find_key = answer;
  s->asked = 0;
  ImBlock *block = im_format_luks.open (file, &s->context, error);
  g_clear_pointer (&s->given, im_secret_free);
  return block;
}

static void
check_disk (ImBlock *block)
{
  uint8_t buf[LUKS_SAMPLE_DISK];
  g_autoptr (GError) error = NULL;
  g_assert_cmpuint (block->size, ==, sizeof buf);
  im_block_pread (block, buf, sizeof buf, 0, &error);
  g_assert_no_error (error);
  for (size_t i = 0; i < sizeof buf; i++)
    g_assert_cmpuint (buf[i], ==, (uint8_t)((i >> 8) + i));
}

static void
test_open (void)
{
  static const char *const modes[] = {"ecb", "cbc-plain64", "cbc-essiv:sha256"};
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
    g_autofree uint8_t *image = luks_sample (modes[i]);
    g_autoptr (GError) error = NULL;
    g_autoptr (ImBlock) block = open_bytes (&s, image, LUKS_SAMPLE_SIZE, false, &error);
    g_assert_no_error (error);
    check_disk (block);
  }
}

/* A sector that the end of the file cuts is not there. */
static void
test_cut (void)
{
  Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
  g_autofree uint8_t *image = luks_sample ("ecb");
  g_autoptr (ImBlock) block = open_bytes (&s, image, LUKS_SAMPLE_SIZE - 1, false, NULL);
  g_assert_cmpuint (block->size, ==, LUKS_SAMPLE_DISK - 512);
}

static void
test_attempts (void)
{
  Setup right = {.answers = {"no", "", LUKS_SAMPLE_PASSPHRASE}};
  Setup wrong = {.answers = {"no", "not this\n", NULL}};
  g_autofree uint8_t *image = luks_sample ("cbc-plain64");
  g_autoptr (GError) error = NULL;
  g_autoptr (ImBlock) block = open_bytes (&right, image, LUKS_SAMPLE_SIZE, false, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (right.asked, ==, 3);
  check_disk (block);
  g_assert_null (open_bytes (&wrong, image, LUKS_SAMPLE_SIZE, false, &error));
  g_assert_cmpstr (error->message, ==,
                   "wrong passphrase: it opens none of the key slots (it ends with a "
                   "newline, which counts)");
  g_assert_cmpuint (wrong.asked, ==, 3);
}

typedef struct {
  const char *name;
  unsigned offset, width;
  uint32_t value;
  ImError code;
  const char *part; /* of the message */
} Poke;

#define SLOT(field) (208 + LUKS_SAMPLE_SLOT * 48 + (field))

static const Poke pokes[] = {
    {"magic", 0, 4, 0x12345678, IM_ERROR_CORRUPT, "no LUKS signature"},
    {"version-2", 6, 2, 2, IM_ERROR_UNSUPPORTED, "version 2 is not supported"},
    {"version-0", 6, 2, 0, IM_ERROR_UNSUPPORTED, "version 0 is not supported"},
    {"cipher-empty", 8, 4, 0, IM_ERROR_CORRUPT, "cipher name is empty"},
    {"cipher-control", 8, 4, 0x611b6161, IM_ERROR_CORRUPT,
     "cipher name has the byte 0x1b"},
    {"cipher-unknown", 8, 4, 0x61616161, IM_ERROR_UNSUPPORTED, "cipher 'aaaa'"},
    {"mode-unknown", 40, 4, 0x6c727700, IM_ERROR_UNSUPPORTED, "'lrw' is none of"},
    {"hash-unknown", 72, 4, 0x61616161, IM_ERROR_UNSUPPORTED, "hash 'aaaa56'"},
    {"hash-empty", 72, 4, 0, IM_ERROR_CORRUPT, "hash is empty"},
    {"payload-0", 104, 4, 0, IM_ERROR_CORRUPT, "a detached header"},
    {"payload-in-material", 104, 4, 100, IM_ERROR_CORRUPT, "payload at 51200 is outside"},
    {"payload-past-end", 104, 4, 0xffffffff, IM_ERROR_CORRUPT, "is outside"},
    {"key-0", 108, 4, 0, IM_ERROR_CORRUPT, "a key of 0 bytes is outside 1 to 64"},
    {"key-65", 108, 4, 65, IM_ERROR_CORRUPT, "a key of 65 bytes"},
    {"key-17", 108, 4, 17, IM_ERROR_UNSUPPORTED, "with a key of 17 bytes"},
    {"key-all-ones", 108, 4, 0xffffffff, IM_ERROR_CORRUPT, "a key of 4294967295"},
    {"key-64", 108, 4, 64, IM_ERROR_CORRUPT, "runs past the end of its area"},
    {"digest", 112, 4, 0, IM_ERROR_USAGE, "wrong passphrase"},
    {"digest-salt", 132, 4, 0, IM_ERROR_USAGE, "wrong passphrase"},
    {"digest-iterations-0", 164, 4, 0, IM_ERROR_CORRUPT, "0 iterations for the master"},
    {"digest-iterations-huge", 164, 4, 0xffffffff, IM_ERROR_LIMIT,
     "4294967305 iterations are beyond the limit of 268435456"},
    {"state-unknown", SLOT (0), 4, 1, IM_ERROR_CORRUPT, "slot 2: state 0x00000001"},
    {"state-other-slot", 208, 4, 1, IM_ERROR_CORRUPT, "slot 0: state 0x00000001"},
    {"no-slot", SLOT (0), 4, 0x0000dead, IM_ERROR_CORRUPT, "no key slot is in use"},
    {"iterations-0", SLOT (4), 4, 0, IM_ERROR_CORRUPT, "slot 2: 0 iterations"},
    {"iterations-huge", SLOT (4), 4, 0x10000000, IM_ERROR_LIMIT, "beyond the limit"},
    {"iterations-other", SLOT (4), 4, 11, IM_ERROR_USAGE, "wrong passphrase"},
    {"salt", SLOT (8), 4, 0, IM_ERROR_USAGE, "wrong passphrase"},
    {"material-0", SLOT (40), 4, 0, IM_ERROR_CORRUPT, "lies in the header"},
    {"material-past-end", SLOT (40), 4, 0xffffffff, IM_ERROR_CORRUPT,
     "runs past the end"},
    {"material-other", SLOT (40), 4, 9, IM_ERROR_USAGE, "wrong passphrase"},
    {"stripes-1", SLOT (44), 4, 1, IM_ERROR_CORRUPT, "slot 2: 1 stripes are not 4000"},
    {"stripes-huge", SLOT (44), 4, 0xffffffff, IM_ERROR_CORRUPT, "4294967295 stripes"},
};

static void
test_poke (gconstpointer data)
{
  const Poke *poke = data;
  Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
  g_autofree uint8_t *image = luks_sample ("cbc-plain64");
  g_autoptr (GError) error = NULL;
  if (poke->width == 2)
    im_put_be16 (image + poke->offset, (uint16_t)poke->value);
  else
    im_put_be32 (image + poke->offset, poke->value);
  g_assert_null (open_bytes (&s, image, LUKS_SAMPLE_SIZE, false, &error));
  g_assert_error (error, IM_ERROR, (int)poke->code);
  if (!strstr (error->message, poke->part))
    g_error ("said: %s", error->message);
  /* What is wrong with the header is said before anybody is asked. */
  g_assert_cmpuint (s.asked > 0, ==, poke->code == IM_ERROR_USAGE);
}

static void
test_short (void)
{
  static const size_t lengths[] = {0,
                                   6,
                                   7,
                                   8,
                                   591,
                                   592,
                                   LUKS_SAMPLE_MATERIAL,
                                   LUKS_SAMPLE_MATERIAL + 63999,
                                   LUKS_SAMPLE_PAYLOAD - 1};
  g_autofree uint8_t *image = luks_sample ("ecb");
  for (size_t i = 0; i < G_N_ELEMENTS (lengths); i++) {
    Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
    g_autoptr (GError) error = NULL;
    g_assert_null (open_bytes (&s, image, lengths[i], false, &error));
    g_assert_error (error, IM_ERROR, IM_ERROR_CORRUPT);
  }
}

/* Each thread has bytes of its own, but none has a sector. */
typedef struct {
  ImBlock *block;
  unsigned number;
} Worker;

enum { WORKERS = 4, SHARE = 100 };

static void *
work (void *data)
{
  const Worker *w = data;
  uint8_t mine[SHARE];
  for (unsigned round = 0; round < 100; round++) {
    memset (mine, (int)(w->number * 50 + round % 50), sizeof mine);
    g_assert_true (
        im_block_pwrite (w->block, mine, sizeof mine, w->number * SHARE, 0, NULL));
  }
  return NULL;
}

static void
test_shared_sector (void)
{
  Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
  g_autofree uint8_t *image = luks_sample ("cbc-plain64");
  g_autoptr (ImBlock) block = open_bytes (&s, image, LUKS_SAMPLE_SIZE, true, NULL);
  Worker workers[WORKERS];
  GThread *threads[WORKERS];
  uint8_t buf[512];
  for (unsigned i = 0; i < WORKERS; i++) {
    workers[i] = (Worker){block, i};
    threads[i] = g_thread_new (NULL, work, &workers[i]);
  }
  for (unsigned i = 0; i < WORKERS; i++)
    g_thread_join (threads[i]);
  g_assert_true (im_block_pread (block, buf, sizeof buf, 0, NULL));
  for (size_t i = 0; i < sizeof buf; i++)
    g_assert_cmpuint (buf[i], ==,
                      i < WORKERS * SHARE ? (uint8_t)(i / SHARE * 50 + 49)
                                          : (uint8_t)((i >> 8) + i));
}

static void
test_zeroes (void)
{
  Setup s = {.answers = {LUKS_SAMPLE_PASSPHRASE}};
  g_autofree uint8_t *image = luks_sample ("cbc-plain64");
  g_autoptr (ImBlock) block = open_bytes (&s, image, LUKS_SAMPLE_SIZE, true, NULL);
  g_autoptr (GError) fast = NULL;
  uint8_t buf[LUKS_SAMPLE_DISK];
  g_assert_true (im_block_write_zeroes (block, 100, 3000, IM_WRITE_MAY_UNMAP, NULL));
  g_assert_false (im_block_write_zeroes (block, 0, 512, IM_WRITE_FAST, &fast));
  block->policy.pass_discards = true;
  g_assert_true (im_block_discard (block, 4096, 4096, NULL));
  g_assert_true (im_block_flush (block, NULL));
  g_assert_true (im_block_pread (block, buf, sizeof buf, 0, NULL));
  for (size_t i = 0; i < sizeof buf; i++)
    g_assert_cmpuint (buf[i], ==, i >= 100 && i < 3100 ? 0 : (uint8_t)((i >> 8) + i));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  if (!HAVE_GCRYPT) {
    printf ("1..0 # SKIP built without libgcrypt\n");
    return 0;
  }
  g_test_add_func ("/formats/luks/a-passphrase-opens-it", test_open);
  g_test_add_func ("/formats/luks/a-cut-sector-is-not-there", test_cut);
  g_test_add_func ("/formats/luks/wrong-passphrases-are-followed-by-others",
                   test_attempts);
  g_test_add_func ("/formats/luks/short-input-is-corrupt", test_short);
  g_test_add_func ("/formats/luks/writers-share-a-sector", test_shared_sector);
  g_test_add_func ("/formats/luks/zeros-are-written", test_zeroes);
  for (size_t i = 0; i < G_N_ELEMENTS (pokes); i++) {
    g_autofree char *path = g_strdup_printf ("/formats/luks/poke/%s", pokes[i].name);
    g_test_add_data_func (path, &pokes[i], test_poke);
  }
  return g_test_run ();
}
