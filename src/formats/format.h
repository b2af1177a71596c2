/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a format driver is, and the table of them.  To add one: a layout file, a map
 * function, an entry in formats.c (docs/HACKING.md has the six steps). */
#pragma once

#include "block/block.h"

/* What probing looks at: the first and the last bytes of a file. */
typedef struct {
  const uint8_t *head;
  size_t head_len;
  const uint8_t *tail;
  size_t tail_len;
  uint64_t file_size;
} ImProbeInput;

#define IM_PROBE_HEAD 4096u
#define IM_PROBE_TAIL 4096u

typedef struct ImOpenContext ImOpenContext;

/* What a driver is given to open an image; const, and valid during the open alone. */
struct ImOpenContext {
  const ImResources *shared;
  const char *snapshot_id;   /* -l: NULL or what must match; with both, both must */
  const char *snapshot_name; /* -l */
  const char *snapshot_any;  /* -l ID_OR_NAME: an id is looked for first, then a name */
  uint64_t raw_offset,
      raw_size; /* raw: the disk is this part of FILE; size 0: the rest */
  /* What the image is said to be encrypted with ("luks", "aes"), or NULL; one that it is
   * not must not be opened. */
  const char *encrypt_format;
  /* The passphrase of the image in FILE, borrowed for the time of the open.  ATTEMPT
   * counts the wrong ones that came before.  NULL with an error, or without one after a
   * wrong one where there is no other to be had.  The field is NULL where nobody has any.
   */
  const ImSecret *(*find_key) (const ImOpenContext *context, ImFile *file,
                               unsigned attempt, GError **error);
  /* Opens the parent that the image at FROM names NAME; FORMAT is what the image says
   * it is, or NULL: probe.  A relative NAME is relative to FROM's folder.  Returns NULL
   * without error where --backing=none forbids parents: the image then reads as if it had
   * none. */
  ImBlock *(*open_parent) (const ImOpenContext *context, ImFile *from, const char *name,
                           const char *format, GError **error);
  /* Opens a further file of the same image, such as a data file, by the same rules; for
   * writing where FROM is and that can be. */
  ImFile *(*open_file) (const ImOpenContext *context, ImFile *from, const char *name,
                        GError **error);
};

/* A new image: an empty disk over a parent, as it is to be made. */
typedef struct {
  uint64_t size;              /* of the disk, bytes */
  const char *backing_name;   /* the parent, as the new image is to name it */
  const char *backing_format; /* what QEMU calls the parent's format */
} ImNewImage;

typedef struct {
  const char *name;        /* for -f */
  const char *alias;       /* what QEMU calls it where that is another name, else NULL */
  const char *description; /* one line for -f help */
  /* True when the signature is there, whether or not the rest holds.  NULL: never
   * probed.  A pure function. */
  bool (*probe) (const ImProbeInput *input);
  /* Opens.  FILE is borrowed; the driver takes its own reference.  Nothing is written.
   * Errors name field, value and bound; the caller prefixes the path. */
  ImBlock *(*open) (ImFile *file, const ImOpenContext *context, GError **error);
  /* Makes FILE, which is new, empty, writable and nobody else's, an image as NEW says.
   * Its disk may be larger than NEW's by less than 512 bytes.  On success all of it is
   * durable; before that, nothing takes FILE for an image.  NULL: cannot. */
  bool (*create) (ImFile *file, const ImNewImage *new_image, GError **error);
  bool writable;      /* writes where FILE is writable; otherwise FILE never is */
  bool has_snapshots; /* understands the snapshot fields of the context */
} ImFormat;

/* QEMU's name of it, which other images record. */
static inline const char *
im_format_qemu_name (const ImFormat *format)
{
  return format->alias ? format->alias : format->name;
}

/* All formats, in the order in which they are probed, ended by NULL. */
const ImFormat *const *im_formats (void);

/* By name or alias; NULL: there is none. */
const ImFormat *im_format_by_name (const char *name);

/* Reads what there is to look at of FILE, into HEAD and TAIL of IM_PROBE_HEAD and
 * IM_PROBE_TAIL bytes, which RET_INPUT then points to. */
bool im_probe_input_read (ImProbeInput *ret_input, ImFile *file, uint8_t *head,
                          uint8_t *tail, GError **error);

/* The first whose signature is there; raw where none is that is known. */
const ImFormat *im_format_probe (const ImProbeInput *input);
