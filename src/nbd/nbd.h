/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NBD exporter. */
#pragma once

#include "export/export.h"
#include "nbd/nbd-tls.h"

typedef struct {
  bool no_listener;          /* nobody can connect: the kernel's device is all */
  int inherited;             /* so many listening sockets, from descriptor 3 on, are there
                              * already, and no other is made */
  const char *socket_path;   /* -k, absolute; NULL: TCP */
  const char *selinux_label; /* of that socket, or NULL */
  const char *bind;          /* -b; a name or an address, IPv4 or IPv6 */
  const char *port;          /* -p, in decimal */
  const char *export_name;   /* -x: the disk's name; "" by default */
  const char *description;   /* -D, or NULL */
  unsigned max_clients;      /* -e; 0: no limit */
  bool persistent;           /* -t */
  unsigned handshake_limit;  /* seconds; 0: none */
  const ImNbdTls *tls;       /* --tls-creds: nobody is served without; NULL: all are */
  const char *tls_hostname;  /* a client's: whom the server's certificate has to be for;
                              * NULL: BIND */
} ImNbdOptions;

typedef struct ImNbdServer ImNbdServer;

/* Binds and listens, unless told otherwise; nobody is served yet.  SET, SHARED
 * and OPTIONS->tls are borrowed and outlive it. */
ImNbdServer *im_nbd_server_new (const ImExportSet *set, const ImResources *shared,
                                const ImNbdOptions *options, GError **error);
void im_nbd_server_free (ImNbdServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (ImNbdServer, im_nbd_server_free)

/* Serves until im_nbd_server_stop, or until the last client has left where it is not
 * persistent, and flushes.  With a device of the kernel's (nbd/kernel.h) it ends with
 * that, and not with a client.  True: it ended in order, and all that was answered is
 * durable. */
bool im_nbd_server_run (ImNbdServer *server, GError **error);

/* Makes run return soon: stop listening, finish what is in flight, hang up.  Any thread,
 * more than once. */
void im_nbd_server_stop (ImNbdServer *server);
