/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integers and ranges in bytes that come from outside: every function here is pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* True when [offset, offset + len) lies inside [0, size); cannot wrap. */
static inline bool
im_range_fits (uint64_t offset, uint64_t len, uint64_t size)
{
  return offset <= size && len <= size - offset;
}

/* True and *ret_product set when a * b fits 64 bits. */
static inline bool
im_checked_mul (uint64_t a, uint64_t b, uint64_t *ret_product)
{
  return !__builtin_mul_overflow (a, b, ret_product);
}

/* True and *ret_sum set when a + b fits 64 bits. */
static inline bool
im_checked_add (uint64_t a, uint64_t b, uint64_t *ret_sum)
{
  return !__builtin_add_overflow (a, b, ret_sum);
}

static inline uint64_t
im_min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static inline uint64_t
im_max (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* Divides upwards; b > 0; cannot wrap. */
static inline uint64_t
im_div_up (uint64_t a, uint64_t b)
{
  return a / b + (a % b != 0);
}

static inline bool
im_is_power_of_2 (uint64_t n)
{
  return n != 0 && (n & (n - 1)) == 0;
}

static inline uint16_t
im_get_le16 (const void *p)
{
  const uint8_t *b = p;
  return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t
im_get_le32 (const void *p)
{
  const uint8_t *b = p;
  return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
         (uint32_t)b[3] << 24;
}

static inline uint64_t
im_get_le64 (const void *p)
{
  return im_get_le32 (p) | (uint64_t)im_get_le32 ((const uint8_t *)p + 4) << 32;
}

static inline uint16_t
im_get_be16 (const void *p)
{
  return __builtin_bswap16 (im_get_le16 (p));
}

static inline uint32_t
im_get_be32 (const void *p)
{
  return __builtin_bswap32 (im_get_le32 (p));
}

static inline uint64_t
im_get_be64 (const void *p)
{
  return __builtin_bswap64 (im_get_le64 (p));
}

static inline void
im_put_be16 (void *p, uint16_t v)
{
  uint8_t *b = p;
  b[0] = (uint8_t)(v >> 8);
  b[1] = (uint8_t)v;
}

static inline void
im_put_be32 (void *p, uint32_t v)
{
  im_put_be16 (p, (uint16_t)(v >> 16));
  im_put_be16 ((uint8_t *)p + 2, (uint16_t)v);
}

static inline void
im_put_be64 (void *p, uint64_t v)
{
  im_put_be32 (p, (uint32_t)(v >> 32));
  im_put_be32 ((uint8_t *)p + 4, (uint32_t)v);
}

/* A bounds-checked walk over LENGTH bytes.  A read past the end gives zeros and sets
 * overrun, which the reader tests once, at the end. */
typedef struct {
  const uint8_t *data;
  size_t length;
  size_t at;
  bool overrun;
} ImCursor;

static inline ImCursor
im_cursor (const void *data, size_t length)
{
  return (ImCursor){.data = data, .length = length};
}

/* The next N bytes, or NULL (and overrun) where fewer are left.  Borrowed. */
static inline const uint8_t *
im_cursor_bytes (ImCursor *c, size_t n)
{
  if (c->overrun || n > c->length - c->at) {
    c->overrun = true;
    return NULL;
  }
  c->at += n;
  return c->data + (c->at - n);
}

static inline uint8_t
im_cursor_u8 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 1);
  return p ? p[0] : 0;
}

static inline uint16_t
im_cursor_le16 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 2);
  return p ? im_get_le16 (p) : 0;
}

static inline uint32_t
im_cursor_le32 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 4);
  return p ? im_get_le32 (p) : 0;
}

static inline uint64_t
im_cursor_le64 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 8);
  return p ? im_get_le64 (p) : 0;
}

static inline uint16_t
im_cursor_be16 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 2);
  return p ? im_get_be16 (p) : 0;
}

static inline uint32_t
im_cursor_be32 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 4);
  return p ? im_get_be32 (p) : 0;
}

static inline uint64_t
im_cursor_be64 (ImCursor *c)
{
  const uint8_t *p = im_cursor_bytes (c, 8);
  return p ? im_get_be64 (p) : 0;
}

static inline size_t
im_cursor_left (const ImCursor *c)
{
  return c->overrun ? 0 : c->length - c->at;
}
