/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel's client needs of the server. */
#pragma once

#include "nbd/nbd-exports.h"
#include "nbd/nbd.h"

/* The disk's export.  Const. */
const ImNbdExport *im_nbd_server_disk (const ImNbdServer *server);

/* Its transmission flags for the kernel: plain requests, several connections. */
uint16_t im_nbd_server_kernel_flags (const ImNbdServer *server);

/* Serves the disk on the connected socket FD, which it takes, at once and on a thread of
 * its own: the client sends requests of SESSION, without a handshake.  It needs no place
 * among the clients.  The server ends when the last client of this kind has left, whoever
 * else is there. */
bool im_nbd_server_adopt (ImNbdServer *server, int fd, const ImNbdSession *session,
                          GError **error);
