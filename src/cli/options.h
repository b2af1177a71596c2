/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line, parsed into one struct that is const afterwards. */
#pragma once

#include "image/image.h"

/* What the program is asked to do; a bit each, so that an option can say where it
 * belongs. */
typedef enum {
  IM_FORM_MOUNT = 1 << 0,
  IM_FORM_NBD = 1 << 1,
  IM_FORM_LIST = 1 << 2,
  IM_FORM_INFO = 1 << 3,
  IM_FORM_UNMOUNT = 1 << 4,
  IM_FORM_HELP = 1 << 5,
  IM_FORM_VERSION = 1 << 6,
  IM_FORM_FORMATS = 1 << 7, /* -f help */
  IM_FORM_EXTRACT = 1 << 8,
  IM_FORM_VERIFY = 1 << 9,
  IM_FORM_STATUS = 1 << 10,
} ImForm;

typedef struct {
  ImForm form;
  const char *image; /* every form but STATUS, UNMOUNT and NBD's -d and -L; borrowed from
                      * argv, like all strings */
  const char *mountpoint; /* MOUNT, UNMOUNT */

  /* Every form that opens an image. */
  const char *format;
  bool read_only;
  uint64_t partition;    /* -P; 0: none */
  uint64_t offset, size; /* size 0: up to the end */
  uint64_t sector_size;  /* 0: find out */
  const char *snapshot;  /* -l, unparsed */
  bool temporary;        /* -s: writes vanish */
  const char *overlay;   /* --overlay: writes go there */
  const char *backing;   /* --backing, unparsed */
  bool force_share;
  uint64_t zero_damage; /* --damage: 0: eio, 1: zero */
  GPtrArray *objects;   /* --object; of ImObject; owned */
  bool image_opts;      /* IMAGE was KEY=VALUE,…; `image` is the file it names then */
  ImNodeOptions *node;  /* what it said, or NULL; owned */
  uint64_t metadata_cache, chunk_cache;
  const char *log;
  uint64_t cache;         /* ImCacheMode */
  uint64_t aio;           /* ImAio */
  uint64_t discard;       /* 0: ignore, 1: unmap */
  uint64_t detect_zeroes; /* ImDetectZeroes */
  bool foreground;
  uint64_t verbosity;
  bool json;
  bool gaps;

  /* EXTRACT */
  const char *extract; /* disk, pN, gaps/… */
  const char *output;
  const char *digests; /* unparsed; NULL: all */
  bool force;          /* also NBD's -d */

  char *mount_options; /* -o of the MOUNT form, all joined by commas; owned */

  /* NBD */
  uint64_t port;
  const char *bind;
  const char *socket;
  uint64_t shared;
  bool persistent;
  const char *export_name;
  const char *description;
  const char *run;
  bool exit_with_parent;
  const char *selinux_label;
  const char *trace;
  int inherited;    /* listening sockets from the service manager */
  bool names_place; /* an option was given that says where to listen */
  bool allocation_depth;
  GPtrArray *bitmaps; /* -B: of char *, borrowed from argv; owned */
  bool fork;
  const char *pid_file;
  const char *connect; /* -c: the device, or "auto" */
  bool list_exports;   /* -L: of another server; no operand */
  bool disconnect;     /* -d: the operand is `device` and no image */
  const char *device;
  bool ioctl;
  uint64_t timeout;    /* seconds; 0: none */
  uint64_t block_size; /* of the device */
  uint64_t handshake_limit;
  const char *tls_creds;    /* --tls-creds: the id of an object, as */
  const char *tls_authz;    /* this is */
  const char *tls_hostname; /* a client's: whom the server's certificate is for */
  const char *tls_psk;      /* --tls-psk: a file of keys */
} ImOptions;

/* Parses and checks ARGV, whose order it changes.  PROGRAM is the name that it was called
 * by.  Errors are IM_ERROR_USAGE. */
ImOptions *im_options_parse (const char *program, int argc, char **argv, GError **error);
/* What goes together; done by parsing, and to be done again after a change. */
bool im_options_check (const ImOptions *options, GError **error);
void im_options_free (ImOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImOptions, im_options_free)
