/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk with everything in it, a server's host around it, and a client that checks every
 * byte it is sent. */
#pragma once

#include "export/export.h"
#include "nbd/nbd-connection.h"

/* The disk, in MiB: 0 data, 1 zeros, 2 data with a damaged cluster in its middle, then
 * small data and zeros in turns, and data from 4 on. */
#define DISK_SIZE    ((40u << 20) + 123u)
#define DAMAGED_FROM ((2u << 20) + (512u << 10))
#define DAMAGED_TO   (DAMAGED_FROM + (64u << 10))

/* How the disk answers. */
typedef struct {
  atomic_bool blocks;   /* nothing can be had without waiting */
  atomic_bool unstable; /* its extents may not be sent from the file */
  int file_fd;          /* const: the memory file beneath */
} FixtureDisk;

/* One for the process, shared by all tests of it. */
FixtureDisk *fixture_disk (void);

/* An export set: the disk, and p1, its second MiB. */
ImExportSet *fixture_set (void);

/* A pool, caches and all; one for the process. */
const ImResources *fixture_resources (void);

/* What a host needs; one for the process.  Places are always free. */
ImNbdHost *fixture_host (void);

/* A client on one end of a socket. */
typedef struct {
  int fd;
  ImNbdMode mode;
  uint64_t cookie;
  /* Where the other end is a connection of ours on its own thread. */
  ImNbdConnection *connection;
  pthread_t thread;
} Client;

/* Starts a connection on one end of a pair. */
Client *client_new (void);
/* The same to another host. */
Client *client_new_of (ImNbdHost *host);
/* The same through a TCP connection. */
Client *client_new_tcp (void);
/* On a socket that is connected to a server. */
Client *client_on (int fd);
/* Hangs up and waits for the other end. */
void client_free (Client *client);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Client, client_free)

void client_send (Client *client, const void *data, size_t length);
void client_receive (Client *client, void *data, size_t length);
/* True when the server has hung up and nothing is left to receive. */
bool client_at_end (Client *client);

/* Greets, asks for MODE and, where CONTEXT, base:allocation, and goes to EXPORT. */
void client_go (Client *client, ImNbdMode mode, const char *export, bool context);

/* Sends an option, and a request with the next cookie. */
void client_option (Client *client, uint32_t option, const void *data, uint32_t length);
void client_request (Client *client, uint16_t type, uint16_t flags, uint64_t offset,
                     uint64_t length);

/* Receives the reply to the READ with COOKIE: every byte once, and what the disk holds.
 * Returns its error, 0 for success. */
uint32_t client_read_reply (Client *client, uint64_t cookie, uint64_t offset,
                            uint64_t length);

/* A request and its reply. */
uint32_t client_read (Client *client, uint16_t flags, uint64_t offset, uint64_t length);
/* For commands whose reply has no data. */
uint32_t client_command (Client *client, uint16_t type, uint16_t flags, uint64_t offset,
                         uint64_t length);

/* The error in a reply without data to the request with the last cookie. */
uint32_t client_reply (Client *client);
/* A WRITE of the LENGTH bytes at DATA, and its reply. */
uint32_t client_write (Client *client, uint16_t flags, uint64_t offset, const void *data,
                       uint64_t length);
/* The same without waiting for the reply. */
void client_send_write (Client *client, uint16_t flags, uint64_t offset, const void *data,
                        uint64_t length);

/* The head of a chunk. */
typedef struct {
  bool done;
  uint16_t type;
  uint64_t cookie;
  uint64_t length;
} Chunk;
Chunk client_chunk (Client *client);

/* What the disk holds at OFFSET. */
const uint8_t *fixture_bytes (uint64_t offset);
