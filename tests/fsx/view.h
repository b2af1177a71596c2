/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file that shows the disk or a part of it, and all the ways through it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a view can be asked for. */
typedef enum {
  VIEW_FILE = 1,     /* a file of the mount */
  VIEW_DEVICE = 2,   /* a block device above one: past its page cache, in whole sectors */
  VIEW_WRITABLE = 4, /* else it is read alone */
} ViewKind;

typedef struct {
  const char *path;
  uint64_t base, size; /* where in the disk it begins; its length */
  unsigned kind;       /* of ViewKind */
  uint32_t sector;     /* what a device's requests are multiples of; 1 for a file */
} ViewPlace;

/* One worker's handles on it. */
typedef struct {
  const ViewPlace *place;
  int reader, writer, direct, durable;       /* -1: none */
  const uint8_t *shared, *private, *writers; /* maps: of reader; of writer, private */
} View;

/* Fills *RET_PLACE from PATH@BASE; ends the process where there is no such file. */
void view_place_parse (char *text, ViewPlace *ret_place);

void view_open (const ViewPlace *place, View *ret_view);
void view_close (View *view);

/* What is done through a view: N bytes at AT of it, from BUF or into it.  Aligned for
 * direct I/O are BUF always, AT and N of a device.  False: errno. */
typedef struct {
  const char *name;
  enum { DO_READ, DO_WRITE, DO_ZERO, DO_SEEK, DO_NOTHING } kind;
  unsigned on;     /* of ViewKind: all that are needed */
  unsigned weight; /* how often, among all */
  bool (*run) (View *view, uint8_t *buf, size_t n, uint64_t at);
} ViewAction;

extern const ViewAction view_actions[];
extern const unsigned n_view_actions;
