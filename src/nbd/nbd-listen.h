/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sockets that a server listens on. */
#pragma once

#include "nbd/nbd.h"
#include <stdint.h>
#include <sys/types.h>

typedef struct {
  GArray *fds;       /* of int, not blocking */
  char *socket_path; /* NULL: TCP */
  dev_t device;      /* of the socket file, so that nobody else's is removed */
  ino_t inode;
} ImNbdListener;

/* Binds to all addresses that OPTIONS stand for, and listens. */
ImNbdListener *im_nbd_listener_new (const ImNbdOptions *options, GError **error);

/* Closes the sockets, and removes the socket file if it is still ours. */
void im_nbd_listener_free (ImNbdListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdListener, im_nbd_listener_free)
