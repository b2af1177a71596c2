/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MD5, SHA-1 and SHA-256: by libgcrypt, which knows the processor's instructions for
 * them, else by GLib, several times slower. */
#include "job/digest.h"
#include "base/bytes.h"
#include "config.h"

#if HAVE_GCRYPT
#include <gcrypt.h>
#endif

enum { ZEROS_AT_ONCE = 65536 };

typedef struct {
  const char *name;
  GChecksumType glib;
#if HAVE_GCRYPT
  int gcrypt;
#endif
} Kind;

#if HAVE_GCRYPT
#define KIND(name, id)                                                                   \
  {                                                                                      \
    name, G_CHECKSUM_##id, GCRY_MD_##id                                                  \
  }
#else
#define KIND(name, id)                                                                   \
  {                                                                                      \
    name, G_CHECKSUM_##id                                                                \
  }
#endif

static const Kind kinds[] = {
    KIND ("md5", MD5),
    KIND ("sha1", SHA1),
    KIND ("sha256", SHA256),
};

struct ImDigest {
  const Kind *kind;
  GChecksum *glib; /* NULL where the next is not */
#if HAVE_GCRYPT
  gcry_md_hd_t gcrypt;
#endif
  char *text;
};

const char *const *
im_digest_names (void)
{
  static const char *const names[] = {"md5", "sha1", "sha256", NULL};
  return names;
}

/* A machine that allows approved digests alone has no MD5 in libgcrypt. */
static void
open_digest (ImDigest *digest)
{
#if HAVE_GCRYPT
  gcry_check_version (NULL);
  if (gcry_md_open (&digest->gcrypt, digest->kind->gcrypt, 0) == 0)
    return;
#endif
  digest->glib = g_checksum_new (digest->kind->glib);
}

ImDigest *
im_digest_new (const char *name)
{
  for (size_t i = 0; i < G_N_ELEMENTS (kinds); i++) {
    if (strcmp (kinds[i].name, name) != 0)
      continue;
    ImDigest *digest = g_new0 (ImDigest, 1);
    digest->kind = &kinds[i];
    open_digest (digest);
    return digest;
  }
  return NULL;
}

void
im_digest_free (ImDigest *digest)
{
  if (!digest)
    return;
#if HAVE_GCRYPT
  gcry_md_close (digest->gcrypt);
#endif
  g_clear_pointer (&digest->glib, g_checksum_free);
  g_free (digest->text);
  g_free (digest);
}

const char *
im_digest_name (const ImDigest *digest)
{
  return digest->kind->name;
}

static void
update (ImDigest *digest, const uint8_t *data, size_t length)
{
#if HAVE_GCRYPT
  if (!digest->glib) {
    gcry_md_write (digest->gcrypt, data, length);
    return;
  }
#endif
  g_checksum_update (digest->glib, data, (gssize)length);
}

bool
im_digest_consume (void *data, const ImRingPiece *piece, GError **error)
{
  static const uint8_t zeros[ZEROS_AT_ONCE];
  ImDigest *digest = data;
  if (piece->data) {
    update (digest, piece->data, (size_t)piece->length);
    return true;
  }
  for (uint64_t left = piece->length, n; left > 0; left -= n) {
    n = im_min (left, sizeof zeros);
    update (digest, zeros, (size_t)n);
  }
  return true;
}

#if HAVE_GCRYPT
static char *
hex_of (const uint8_t *bytes, size_t n)
{
  GString *text = g_string_sized_new (n * 2);
  for (size_t i = 0; i < n; i++)
    g_string_append_printf (text, "%02x", bytes[i]);
  return g_string_free (text, FALSE);
}
#endif

const char *
im_digest_text (ImDigest *digest)
{
  if (digest->text)
    return digest->text;
#if HAVE_GCRYPT
  if (!digest->glib)
    digest->text = hex_of (gcry_md_read (digest->gcrypt, digest->kind->gcrypt),
                           gcry_md_get_algo_dlen (digest->kind->gcrypt));
#endif
  if (!digest->text)
    digest->text = g_strdup (g_checksum_get_string (digest->glib));
  return digest->text;
}
