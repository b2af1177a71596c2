/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Encryption by libgcrypt: one set of handles for each thread that is at it. */
#include "block/transform.h"
#include "base/bytes.h"
#include "base/error.h"

#include <gcrypt.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
  IV_MAX = 16,
  SECTORS_AT_ONCE = 64,  /* whose vectors are made together */
  PIECE = 64 << 10,      /* what one thread takes of a large request … */
  SPREAD_MIN = 256 << 10 /* … which begins here: below, waking others costs more */
};

typedef enum { IV_NONE, IV_PLAIN, IV_PLAIN64, IV_ESSIV } IvKind;

/* Handles hold the state of a message, so each has one user at a time. */
typedef struct Handles Handles;
struct Handles {
  gcry_cipher_hd_t data;
  gcry_cipher_hd_t essiv; /* NULL: none */
  Handles *next;
};

struct ImTransform {
  int cipher, mode;
  size_t iv_length;
  IvKind iv;
  int essiv_cipher;
  ImSecret *key, *essiv_key; /* the second NULL without ESSIV */
  pthread_mutex_t mutex;     /* of what follows; a leaf lock, for two pointers */
  Handles *idle;
  ImClaims *claims; /* const */
};

/* What key lengths of a cipher libgcrypt knows by which name. */
typedef struct {
  const char *name;
  struct {
    size_t key_length;
    int algorithm;
  } sizes[3];
} Cipher;

static const Cipher ciphers[] = {
    {"aes",
     {{16, GCRY_CIPHER_AES128}, {24, GCRY_CIPHER_AES192}, {32, GCRY_CIPHER_AES256}}},
    {"serpent",
     {{16, GCRY_CIPHER_SERPENT128},
      {24, GCRY_CIPHER_SERPENT192},
      {32, GCRY_CIPHER_SERPENT256}}},
    {"twofish", {{16, GCRY_CIPHER_TWOFISH128}, {32, GCRY_CIPHER_TWOFISH}}},
    {"cast5", {{16, GCRY_CIPHER_CAST5}}},
};

static const struct {
  const char *name;
  int algorithm;
} hashes[] = {
    {"sha1", GCRY_MD_SHA1},     {"sha224", GCRY_MD_SHA224},
    {"sha256", GCRY_MD_SHA256}, {"sha384", GCRY_MD_SHA384},
    {"sha512", GCRY_MD_SHA512}, {"ripemd160", GCRY_MD_RMD160},
    {"md5", GCRY_MD_MD5},       {"whirlpool", GCRY_MD_WHIRLPOOL},
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

/* Keys live in memory of ours; the library's handles wipe themselves. */
static void
start_library (void)
{
  if (gcry_control (GCRYCTL_INITIALIZATION_FINISHED_P))
    return;
  gcry_check_version (NULL);
  gcry_control (GCRYCTL_DISABLE_SECMEM, 0);
  gcry_control (GCRYCTL_INITIALIZATION_FINISHED, 0);
}

static bool
succeeded (gcry_error_t code, const char *what, GError **error)
{
  if (!code)
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED, "%s: %s", what,
               gcry_strerror (code));
  return false;
}

/* The number of CIPHER with a key of so many bytes; 0: there is none. */
static int
find_cipher (const char *name, size_t key_length)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ciphers); i++)
    for (size_t k = 0; k < G_N_ELEMENTS (ciphers[i].sizes); k++)
      if (strcmp (ciphers[i].name, name) == 0 && key_length != 0 &&
          ciphers[i].sizes[k].key_length == key_length)
        return ciphers[i].sizes[k].algorithm;
  return 0;
}

static int
find_hash (const char *name)
{
  pthread_once (&library_once, start_library);
  for (size_t i = 0; i < G_N_ELEMENTS (hashes); i++)
    if (strcmp (hashes[i].name, name) == 0)
      return hashes[i].algorithm;
  return GCRY_MD_NONE;
}

/* What ESSIV encrypts with is the digest of the key, all of it, so that the digest's
 * length chooses among the ciphers of the family. */
static bool
choose_essiv (ImTransform *t, const char *cipher, const char *hash, GError **error)
{
  size_t size = im_digest_size (hash);
  t->essiv_cipher = find_cipher (cipher, size);
  if (t->essiv_cipher == 0) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "cipher mode: essiv:%s is not supported with %s", hash, cipher);
    return false;
  }
  t->essiv_key = im_secret_new (NULL, size);
  im_digest (hash, t->key->bytes, t->key->length, t->essiv_key->bytes);
  return true;
}

static bool
choose_iv (ImTransform *t, const char *cipher, const char *name, GError **error)
{
  if (t->mode == GCRY_CIPHER_MODE_ECB)
    return true;
  if (name && g_str_has_prefix (name, "essiv:")) {
    t->iv = IV_ESSIV;
    return choose_essiv (t, cipher, name + strlen ("essiv:"), error);
  }
  /* A hash after these is ignored, as dm-crypt does. */
  size_t n = name ? strcspn (name, ":") : 0;
  if (n == strlen ("plain") && memcmp (name, "plain", n) == 0)
    t->iv = IV_PLAIN;
  else if (n == strlen ("plain64") && memcmp (name, "plain64", n) == 0)
    t->iv = IV_PLAIN64;
  else
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "cipher mode: '%s' is none of plain, plain64, essiv:HASH",
                 name ? name : "");
  return t->iv != IV_NONE;
}

static bool
choose_mode (ImTransform *t, const char *name, GError **error)
{
  static const struct {
    const char *name;
    int mode;
  } modes[] = {{"xts", GCRY_CIPHER_MODE_XTS},
               {"cbc", GCRY_CIPHER_MODE_CBC},
               {"ecb", GCRY_CIPHER_MODE_ECB}};
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++)
    if (strcmp (modes[i].name, name) == 0)
      t->mode = modes[i].mode;
  if (t->mode == GCRY_CIPHER_MODE_NONE)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "cipher mode: '%s' is none of xts, cbc, ecb", name);
  return t->mode != GCRY_CIPHER_MODE_NONE;
}

static bool
choose_cipher (ImTransform *t, const char *name, GError **error)
{
  bool xts = t->mode == GCRY_CIPHER_MODE_XTS;
  size_t length = t->key->length;
  t->cipher = xts && length % 2 ? 0 : find_cipher (name, xts ? length / 2 : length);
  if (t->cipher != 0)
    t->iv_length = gcry_cipher_get_algo_blklen (t->cipher);
  if (t->cipher != 0 && (!xts || t->iv_length == 16))
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "cipher '%s' with a key of %zu bytes%s is not supported", name, length,
               xts ? " in XTS mode" : "");
  return false;
}

static void
handles_free (Handles *h)
{
  gcry_cipher_close (h->data);
  gcry_cipher_close (h->essiv);
  g_free (h);
}

static bool
open_handle (gcry_cipher_hd_t *handle, int cipher, int mode, const ImSecret *key,
             GError **error)
{
  return succeeded (gcry_cipher_open (handle, cipher, mode, 0), "cipher", error) &&
         succeeded (gcry_cipher_setkey (*handle, key->bytes, key->length), "key", error);
}

static Handles *
handles_new (const ImTransform *t, GError **error)
{
  Handles *h = g_new0 (Handles, 1);
  if (open_handle (&h->data, t->cipher, t->mode, t->key, error) &&
      (!t->essiv_key || open_handle (&h->essiv, t->essiv_cipher, GCRY_CIPHER_MODE_ECB,
                                     t->essiv_key, error)))
    return h;
  handles_free (h);
  return NULL;
}

/* Handles that nobody else has until handles_give.  The mutex and the list behind it are
 * no part of what a transform is, so they change in a const one. */
static Handles *
handles_take (const ImTransform *transform, GError **error)
{
  ImTransform *t = (ImTransform *)transform;
  pthread_mutex_lock (&t->mutex);
  Handles *h = t->idle;
  if (h)
    t->idle = h->next;
  pthread_mutex_unlock (&t->mutex);
  return h ? h : handles_new (t, error);
}

static void
handles_give (const ImTransform *transform, Handles *h)
{
  ImTransform *t = (ImTransform *)transform;
  pthread_mutex_lock (&t->mutex);
  h->next = t->idle;
  t->idle = h;
  pthread_mutex_unlock (&t->mutex);
}

bool
im_transform_is_built (GError **error)
{
  return true;
}

ImTransform *
im_transform_new (const char *cipher, const char *mode, const ImSecret *key,
                  GError **error)
{
  g_autoptr (ImTransform) t = g_new0 (ImTransform, 1);
  g_auto (GStrv) words = g_strsplit (mode, "-", 2);
  pthread_once (&library_once, start_library);
  pthread_mutex_init (&t->mutex, NULL);
  t->claims = im_claims_new ();
  t->key = im_secret_new (key->bytes, key->length);
  if (!words[0]) {
    g_set_error (error, IM_ERROR, IM_ERROR_CORRUPT, "cipher mode: it is empty");
    return NULL;
  }
  if (!choose_mode (t, words[0], error) || !choose_cipher (t, cipher, error) ||
      !choose_iv (t, cipher, words[1], error))
    return NULL;
  /* A key that the library refuses is found here and not at the first read. */
  t->idle = handles_new (t, error);
  return t->idle ? g_steal_pointer (&t) : NULL;
}

void
im_transform_free (ImTransform *transform)
{
  if (!transform)
    return;
  for (Handles *h = transform->idle, *next; h; h = next) {
    next = h->next;
    handles_free (h);
  }
  im_secret_free (transform->key);
  im_secret_free (transform->essiv_key);
  im_claims_free (transform->claims);
  pthread_mutex_destroy (&transform->mutex);
  g_free (transform);
}

ImClaims *
im_transform_claims (const ImTransform *transform)
{
  return transform->claims;
}

/* The vectors of N sectors from SECTOR on, one behind the other. */
static gcry_error_t
make_ivs (const ImTransform *t, Handles *h, uint64_t sector, size_t n, uint8_t *ivs)
{
  size_t length = t->iv_length;
  memset (ivs, 0, n * length);
  for (size_t i = 0; i < n; i++) {
    uint64_t number = sector + i;
    for (size_t k = 0; k < (t->iv == IV_PLAIN ? 4 : 8); k++)
      ivs[i * length + k] = (uint8_t)(number >> 8 * k);
  }
  return t->iv == IV_ESSIV ? gcry_cipher_encrypt (h->essiv, ivs, n * length, NULL, 0) : 0;
}

static gcry_error_t
run_cipher (gcry_cipher_hd_t handle, ImTransformDirection direction, uint8_t *buf,
            size_t len)
{
  return direction == IM_ENCRYPT ? gcry_cipher_encrypt (handle, buf, len, NULL, 0)
                                 : gcry_cipher_decrypt (handle, buf, len, NULL, 0);
}

/* Sectors that each have a vector. */
static gcry_error_t
apply_sectors (const ImTransform *t, Handles *h, ImTransformDirection direction,
               uint64_t sector, uint8_t *buf, size_t n)
{
  uint8_t ivs[SECTORS_AT_ONCE * IV_MAX];
  gcry_error_t code = make_ivs (t, h, sector, n, ivs);
  for (size_t i = 0; i < n && !code; i++) {
    code = gcry_cipher_setiv (h->data, ivs + i * t->iv_length, t->iv_length);
    if (!code)
      code = run_cipher (h->data, direction, buf + i * IM_TRANSFORM_SECTOR,
                         IM_TRANSFORM_SECTOR);
  }
  return code;
}

static bool
apply_here (const ImTransform *t, ImTransformDirection direction, uint64_t position,
            uint8_t *buf, size_t len, GError **error)
{
  Handles *h = handles_take (t, error);
  gcry_error_t code = 0;
  if (!h)
    return false;
  if (t->iv == IV_NONE)
    code = run_cipher (h->data, direction, buf, len);
  for (size_t done = 0; t->iv != IV_NONE && done < len && !code;) {
    size_t n = im_min ((len - done) / IM_TRANSFORM_SECTOR, SECTORS_AT_ONCE);
    code = apply_sectors (t, h, direction, (position + done) / IM_TRANSFORM_SECTOR,
                          buf + done, n);
    done += n * IM_TRANSFORM_SECTOR;
  }
  handles_give (t, h);
  return succeeded (code, "cipher", error);
}

/* A large request, spread over threads. */
typedef struct {
  const ImTransform *transform;
  ImTransformDirection direction;
  uint64_t position;
  uint8_t *buf;
  size_t len;
  _Atomic (GError *) error; /* the first one */
} Spread;

static void
apply_piece (void *data, size_t i)
{
  Spread *s = data;
  GError *error = NULL, *none = NULL;
  size_t at = i * PIECE;
  if (!apply_here (s->transform, s->direction, s->position + at, s->buf + at,
                   im_min (PIECE, s->len - at), &error) &&
      !atomic_compare_exchange_strong (&s->error, &none, error))
    g_error_free (error);
}

bool
im_transform_apply (const ImTransform *transform, ImTransformDirection direction,
                    uint64_t position, void *buf, size_t len, ImPool *pool,
                    GError **error)
{
  if (!pool || len < SPREAD_MIN)
    return apply_here (transform, direction, position, buf, len, error);
  Spread spread = {.transform = transform,
                   .direction = direction,
                   .position = position,
                   .buf = buf,
                   .len = len};
  im_pool_each (pool, im_div_up (len, PIECE), apply_piece, &spread);
  GError *failure = atomic_load (&spread.error);
  if (!failure)
    return true;
  g_propagate_error (error, failure);
  return false;
}

size_t
im_digest_size (const char *hash)
{
  int algorithm = find_hash (hash);
  return algorithm == GCRY_MD_NONE ? 0 : gcry_md_get_algo_dlen (algorithm);
}

void
im_digest (const char *hash, const void *bytes, size_t len, uint8_t *ret_digest)
{
  gcry_md_hash_buffer (find_hash (hash), ret_digest, bytes, len);
}

bool
im_derive_key (const char *hash, const ImSecret *passphrase, const uint8_t *salt,
               size_t salt_len, uint32_t iterations, ImSecret *key, GError **error)
{
  int algorithm = find_hash (hash);
  return succeeded (gcry_kdf_derive (passphrase->bytes, passphrase->length,
                                     GCRY_KDF_PBKDF2, algorithm, salt, salt_len,
                                     iterations, key->length, key->bytes),
                    "PBKDF2", error);
}
