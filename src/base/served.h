/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Something that a process of ours serves, as the system tells of it: a mount, a device.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef enum {
  IM_SERVED,         /* its server is there */
  IM_SERVED_DEAD,    /* its server has ended, and left it behind */
  IM_SERVED_UNKNOWN, /* neither could be found out */
} ImServedState;

typedef struct {
  char *where; /* the mount point, the device */
  char *image; /* NULL: the system does not tell */
  bool read_only;
  unsigned user; /* whose it is */
  pid_t pid;     /* 0: not known, or gone */
  ImServedState state;
} ImServed;

/* For lists of them. */
void im_served_free (void *served);
