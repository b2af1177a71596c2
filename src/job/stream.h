/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing to pipes, FIFOs and character devices: whoever reads may be slow or absent, and
 * the wait for that can be ended. */
#pragma once

#include <glib.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A descriptor for writing to the FIFO or character device PATH, once somebody reads
 * there; -1 and an error, also where CANCEL (NULL: never) is set by another thread.
 * Messages are without PATH. */
int im_stream_open (const char *path, const atomic_bool *cancel, GError **error);

/* Standard output likewise, with a descriptor of our own where that can be had, so that
 * others who have it see no change; else, and for files and sockets, the common one. */
int im_stream_open_stdout (void);

/* All LENGTH bytes, in order; or an error, also where CANCEL is set meanwhile. */
bool im_stream_write (int fd, const uint8_t *data, uint64_t length,
                      const atomic_bool *cancel, GError **error);
