/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzzes a connection: the first byte chooses between a raw client, whose bytes are all
 * it says, and one that has shaken hands properly and says them afterwards. */
#include "base/bytes.h"
#include "nbd-host.h"
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

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
  ImNbdHost *host = fuzz_host ();
  int fds[2];
  pthread_t thread;
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
