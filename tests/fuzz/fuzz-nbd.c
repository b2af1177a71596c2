/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes a connection: the first byte chooses between a raw client, whose bytes are all
 * it says, and one that has shaken hands properly and says them afterwards. */
#include "base/bytes.h"
#include "base/log.h"
#include "nbd/nbd-connection.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* A small disk: data, zeros, damage, data, in turns of this many bytes. */
#define TURN      (48u << 10)
#define DISK_SIZE (8u * TURN)

typedef struct {
  ImBlock block;
  ImFile *file;
} Disk;

static bool
disk_map (ImBlock *block, uint64_t offset, uint64_t length, ImMapFlags flags,
          ImExtent *extents, size_t n, size_t *ret_n, GError **error)
{
  static const ImExtentKind kinds[] = {IM_EXTENT_FILE, IM_EXTENT_ZERO, IM_EXTENT_DAMAGED,
                                       IM_EXTENT_FILE};
  uint64_t turn = offset / TURN, left = TURN - offset % TURN;
  extents[0] = (ImExtent){.offset = offset,
                          .length = MIN (length, left),
                          .kind = kinds[turn % G_N_ELEMENTS (kinds)],
                          .stable = turn < 4,
                          .file = ((Disk *)block)->file,
                          .at = offset,
                          .reason = "damaged"};
  *ret_n = 1;
  return true;
}

static void
disk_free (ImBlock *block)
{
  im_file_unref (((Disk *)block)->file);
  g_free (block);
}

static bool
disk_pwrite (ImBlock *block, const void *buf, size_t len, uint64_t offset,
             ImWriteFlags flags, GError **error)
{
  return im_file_pwrite (((Disk *)block)->file, buf, len, offset, false, error);
}

static bool
disk_write_zeroes (ImBlock *block, uint64_t offset, uint64_t length, ImWriteFlags flags,
                   GError **error)
{
  return im_file_write_zeroes (((Disk *)block)->file, offset, length,
                               flags & IM_WRITE_MAY_UNMAP, flags & IM_WRITE_FAST, error);
}

static bool
disk_discard (ImBlock *block, uint64_t offset, uint64_t length, GError **error)
{
  return im_file_discard (((Disk *)block)->file, offset, length, error);
}

static bool
disk_flush (ImBlock *block, GError **error)
{
  return true;
}

static const ImBlockOps disk_ops = {.name = "fuzz",
                                    .map = disk_map,
                                    .pwrite = disk_pwrite,
                                    .write_zeroes = disk_write_zeroes,
                                    .discard = disk_discard,
                                    .flush = disk_flush,
                                    .free = disk_free};

static ImBlock *
disk_new (const ImResources *shared)
{
  Disk *disk = g_new0 (Disk, 1);
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);
  g_autofree char *path = g_strdup_printf ("/proc/self/fd/%d", fd);
  g_assert_cmpint (ftruncate (fd, DISK_SIZE), ==, 0);
  disk->file = im_file_open_writable (path, IM_CACHE_WRITEBACK, NULL);
  close (fd);
  im_block_init (&disk->block, &disk_ops, DISK_SIZE, NULL, shared);
  disk->block.writable = true;
  disk->block.policy.pass_discards = true;
  return &disk->block;
}

static bool
always_free (ImNbdHost *host)
{
  return true;
}

static ImNbdHost *
host_new (void)
{
  static ImResources shared;
  static ImExportSet *set;
  const struct stat st = {0};
  /* Each damaged read is worth a line to others. */
  im_log_set_file ("/dev/null", NULL);
  im_log_detach ();
  signal (SIGPIPE, SIG_IGN);
  shared.pool = im_pool_new (2);
  set = im_export_set_new ("fuzz", &st);
  im_export_set_add_block (set, IM_EXPORT_DISK, "disk", "a disk", disk_new (&shared), 0);
  set->read_only = false;
  ImNbdHost *host = g_new0 (ImNbdHost, 1);
  host->exports = im_nbd_exports_new (set, "", NULL, true, NULL);
  host->pool = shared.pool;
  host->take_place = always_free;
  return host;
}

/* Receives whatever comes, so that nothing waits for it. */
static void *
swallow (void *data)
{
  char buf[65536];
  while (recv (GPOINTER_TO_INT (data), buf, sizeof buf, 0) > 0)
    continue;
  return NULL;
}

static void
send_option (int fd, uint32_t number, const char *data, uint32_t length)
{
  uint8_t head[IM_NBD_OPTION_HEADER_SIZE];
  im_put_be64 (head, IM_NBD_OPTION_MAGIC);
  im_put_be32 (head + 8, number);
  im_put_be32 (head + 12, length);
  send (fd, head, sizeof head, MSG_NOSIGNAL);
  send (fd, data, length, MSG_NOSIGNAL);
}

/* Says all that leads to transmission in MODE. */
static void
shake_hands (int fd, ImNbdMode mode)
{
  static const char contexts[] = "\0\0\0\0\0\0\0\1\0\0\0\17base:allocation";
  send (fd, "\0\0\0\3", 4, MSG_NOSIGNAL);
  if (mode == IM_NBD_MODE_STRUCTURED)
    send_option (fd, IM_NBD_OPT_STRUCTURED_REPLY, NULL, 0);
  else if (mode == IM_NBD_MODE_EXTENDED)
    send_option (fd, IM_NBD_OPT_EXTENDED_HEADERS, NULL, 0);
  if (mode != IM_NBD_MODE_SIMPLE)
    send_option (fd, IM_NBD_OPT_SET_META_CONTEXT, contexts, sizeof contexts - 1);
  send_option (fd, IM_NBD_OPT_GO, "\0\0\0\0\0\0", 6);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static ImNbdHost *host;
  int fds[2];
  pthread_t thread;
  if (!host)
    host = host_new ();
  /* More would not fit the socket before somebody reads. */
  if (size == 0 || size > 65536 || socketpair (AF_UNIX, SOCK_STREAM, 0, fds) != 0)
    return 0;
  if (data[0] % 4 != 0)
    shake_hands (fds[0], data[0] % 4 - 1);
  send (fds[0], data + 1, size - 1, MSG_NOSIGNAL);
  shutdown (fds[0], SHUT_WR);
  pthread_create (&thread, NULL, swallow, GINT_TO_POINTER (fds[0]));
  g_autoptr (ImNbdConnection) connection = im_nbd_connection_new (host, fds[1], NULL);
  im_nbd_connection_run (connection);
  im_nbd_connection_cut (connection);
  pthread_join (thread, NULL);
  close (fds[0]);
  g_assert_cmpuint (atomic_load (&host->budget.in_flight), ==, 0);
  return 0;
}
