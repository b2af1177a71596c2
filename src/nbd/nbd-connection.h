/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One client, from the greeting to the end, on a thread of the caller's. */
#pragma once

#include "nbd/nbd-transmit.h"

typedef struct ImNbdConnection ImNbdConnection;

/* Takes over the connected socket FD.  HOST is borrowed. */
ImNbdConnection *im_nbd_connection_new (ImNbdHost *host, int fd, GError **error);
/* The same for a client that shakes no hands and goes on with the requests of SESSION on
 * EXPORT, which is borrowed.  Takes no place; what its requests need is allocated here,
 * not when memory is short because the kernel waits for them. */
ImNbdConnection *im_nbd_connection_new_ready (ImNbdHost *host, int fd,
                                              const ImNbdExport *export,
                                              const ImNbdSession *session,
                                              GError **error);
void im_nbd_connection_free (ImNbdConnection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdConnection, im_nbd_connection_free)

/* Serves the client; returns when it has left, or after im_nbd_connection_stop. */
void im_nbd_connection_run (ImNbdConnection *connection);

/* Ends it in order: nothing further is received, what is under way is finished.  Any
 * thread. */
void im_nbd_connection_stop (ImNbdConnection *connection);

/* Ends it although the client does not take what it is sent.  Any thread. */
void im_nbd_connection_cut (ImNbdConnection *connection);
