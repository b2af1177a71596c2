/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes LUKS: the bytes are an image, whose header is decoded; where it asks for few
 * iterations the image is opened, described and read. */
#include "formats/luks-layout.h"
#include "formats/luks.h"
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* Of PBKDF2, for one input; what takes longer finds nothing more. */
#define ITERATIONS_MAX 200u

static const ImSecret *
answer (const ImOpenContext *context, ImFile *file, unsigned attempt, GError **error)
{
  static ImSecret *passphrase;

  if (!passphrase)
    passphrase = im_secret_new ("open sesame", 11);
  return attempt == 0 ? passphrase : NULL;
}

static bool
is_quick (const uint8_t *data, size_t size)
{
  LuksHeader header;
  uint64_t all = 0;

  if (!luks_header_decode (data, MIN (size, LUKS_HEADER_SIZE), size, &header, NULL))
    return true;
  for (unsigned i = 0; i < LUKS_SLOTS; i++)
    all += header.slots[i].active
               ? (uint64_t)header.slots[i].iterations + header.digest_iterations
               : 0;
  return all <= ITERATIONS_MAX;
}

static void
look_at (ImBlock *block)
{
  g_autoptr (GVariant) facts = g_variant_ref_sink (block->ops->describe (block));
  uint8_t buf[3000];

  g_assert_true (g_variant_is_normal_form (facts));
  for (uint64_t at = 0; at < MIN (block->size, 1 << 20); at += sizeof buf)
    im_block_pread (block, buf, MIN (block->size - at, sizeof buf), at, NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_autoptr (ImFile) file = NULL;
  ImResources shared = {0};
  ImOpenContext context = {.shared = &shared, .find_key = answer};

  if (write (fd, data, size) == (ssize_t)size && is_quick (data, size))
    file = im_file_open_read_only (path, NULL);
  close (fd);
  if (file) {
    g_autoptr (GError) error = NULL;
    g_autoptr (ImBlock) block = im_format_luks.open (file, &context, &error);

    g_assert_true ((block == NULL) == (error != NULL));
    if (block)
      look_at (block);
  }
  return 0;
}
