/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory for secrets, and secrets from files. */
#include "base/secret.h"
#include "base/bytes.h"
#include "base/error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST_ROOM = 4096 }; /* bytes for a file's contents; doubled as it takes */

/* Whole pages of its own, so that locking and wiping concern nothing else. */
static size_t
mapped_size (size_t length)
{
  size_t page = (size_t)sysconf (_SC_PAGESIZE);
  return (length / page + 1) * page;
}

ImSecret *
im_secret_new (const void *bytes, size_t length)
{
  size_t size = mapped_size (length);
  void *pages =
      mmap (NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED)
    g_error ("no memory for a secret of %zu bytes", length);
  /* Both may be refused, by limits or kernels; the secret is then as safe as can be. */
  (void)mlock (pages, size);
  (void)madvise (pages, size, MADV_DONTDUMP);
  ImSecret *secret = g_new (ImSecret, 1);
  *secret = (ImSecret){.bytes = pages, .length = length};
  if (bytes)
    memcpy (secret->bytes, bytes, length);
  return secret;
}

void
im_secret_free (ImSecret *secret)
{
  if (!secret)
    return;
  size_t size = mapped_size (secret->length);
  explicit_bzero (secret->bytes, size);
  munmap (secret->bytes, size);
  g_free (secret);
}

/* Reads up to LEN bytes; -1 on failure. */
static ssize_t
read_some (int fd, uint8_t *to, size_t len)
{
  ssize_t got;
  do
    got = read (fd, to, len);
  while (got < 0 && errno == EINTR);
  return got;
}

/* What is left to read of FD, into a secret as large as it takes. */
static ImSecret *
read_all (int fd, GError **error)
{
  g_autoptr (ImSecret) room = im_secret_new (NULL, FIRST_ROOM);
  size_t length = 0;
  for (;;) {
    ssize_t got = read_some (fd, room->bytes + length, room->length - length);
    if (got < 0) {
      im_set_errno (error, errno, "cannot read");
      return NULL;
    }
    if (got == 0)
      return im_secret_new (room->bytes, length);
    length += (size_t)got;
    if (length > IM_SECRET_MAX) {
      g_set_error (error, IM_ERROR, IM_ERROR_LIMIT,
                   "more than %u bytes are no passphrase", IM_SECRET_MAX);
      return NULL;
    }
    if (length == room->length) {
      ImSecret *larger = im_secret_new (NULL, room->length * 2);
      memcpy (larger->bytes, room->bytes, length);
      im_secret_free (room);
      room = larger;
    }
  }
}

ImSecret *
im_secret_read_file (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    im_set_errno (error, errno, "%s: cannot open", path);
    return NULL;
  }
  ImSecret *secret = read_all (fd, error);
  close (fd);
  if (!secret)
    g_prefix_error (error, "%s: ", path);
  return secret;
}

/* Only what base64 is written in, so that a passphrase is not taken for some. */
static bool
is_base64 (const ImSecret *secret)
{
  for (size_t i = 0; i < secret->length; i++) {
    uint8_t c = secret->bytes[i];
    if (!g_ascii_isalnum (c) && !g_ascii_isspace (c) && c != '+' && c != '/' && c != '=')
      return false;
  }
  return true;
}

ImSecret *
im_secret_decode_base64 (const ImSecret *secret, GError **error)
{
  if (!is_base64 (secret)) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "this is not base64");
    return NULL;
  }
  g_autoptr (ImSecret) plain = im_secret_new (NULL, secret->length + 3);
  int state = 0;
  guint save = 0;
  size_t length = g_base64_decode_step ((const char *)secret->bytes, secret->length,
                                        plain->bytes, &state, &save);
  if (state != 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_USAGE, "this base64 is cut short");
    return NULL;
  }
  return im_secret_new (plain->bytes, length);
}
