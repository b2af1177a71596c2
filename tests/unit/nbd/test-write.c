/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What changes the disk: payloads, zeroes, trims, flushes, and their failures. */
#include "nbd/nbd.h"
#include "writable.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MIB (UINT64_C (1) << 20)
#define FUA IM_NBD_CMD_FLAG_FUA

static const ImNbdMode modes[] = {IM_NBD_MODE_SIMPLE, IM_NBD_MODE_STRUCTURED,
                                  IM_NBD_MODE_EXTENDED};

/* Bytes to write, different for each SEED, none of them zero. */
static uint8_t *
pattern (size_t length, uint32_t seed)
{
  uint8_t *data = g_malloc (length);
  for (size_t i = 0; i < length; i++) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (uint8_t)(seed >> 24 | 1);
  }
  return data;
}

/* A client of a disk that is all zeros. */
static Client *
client_in (ImNbdMode mode)
{
  writable_reset ();
  Client *client = client_new_of (writable_host ());
  client_go (client, mode, "", false);
  return client;
}

/* Waits until COUNTER is at least N. */
static void
await (const atomic_uint *counter, unsigned n)
{
  for (int i = 0; atomic_load (counter) < n; i++) {
    g_assert_cmpint (i, <, 10000);
    g_usleep (1000);
  }
}

static void
test_writes (gconstpointer data)
{
  unsigned bits = GPOINTER_TO_UINT (data);
  static const size_t lengths[] = {1,     512,    4096,    32768,   32769,
                                   65536, 100000, 1 << 20, 1234567, 32 << 20};
  g_autoptr (Client) client = client_in (modes[bits >> 1]);
  atomic_store (&writable_disk ()->in_place, bits & 1);
  for (size_t i = 0; i < G_N_ELEMENTS (lengths); i++) {
    uint64_t offset = 64 * MIB * i + (i % 2 ? 4096 : 77);
    g_autofree uint8_t *bytes = pattern (lengths[i], (uint32_t)i);
    g_assert_cmpuint (client_write (client, 0, offset, bytes, lengths[i]), ==, 0);
    g_assert_true (writable_holds (offset, bytes, lengths[i]));
    g_assert_true (writable_holds (offset - 77, NULL, 77));
    g_assert_true (writable_holds (offset + lengths[i], NULL, 4096));
  }
  g_assert_cmpuint (client_write (client, 0, WRITABLE_SIZE - 1, "x", 1), ==, 0);
  g_assert_true (writable_holds (WRITABLE_SIZE - 1, "x", 1));
}

static void
test_many_at_once (gconstpointer data)
{
  enum { N = 200 };
  g_autoptr (Client) client = client_in (IM_NBD_MODE_SIMPLE);
  atomic_store (&writable_disk ()->in_place, GPOINTER_TO_INT (data));
  g_autofree uint8_t *bytes = pattern (N * 4096 + 70000, 3);
  for (uint64_t i = 0; i < N; i++)
    client_send_write (client, 0, i * MIB, bytes + i * 4096, i % 7 ? 4096 : 70000);
  g_autofree bool *seen = g_new0 (bool, N + 1);
  for (unsigned i = 0; i < N; i++) {
    uint8_t reply[16];
    client_receive (client, reply, sizeof reply);
    g_assert_cmpuint (reply[7], ==, 0);
    g_assert_false (seen[reply[15]]);
    seen[reply[15]] = true;
  }
  for (uint64_t i = 0; i < N; i++)
    g_assert_true (writable_holds (i * MIB, bytes + i * 4096, i % 7 ? 4096 : 70000));
  /* Unless the machine was so busy that one of them took long. */
  g_assert_true ((atomic_load (&writable_disk ()->at_once) > 0) == (data != NULL));
}

static void
test_flags_reach_the_disk (void)
{
  WritableDisk *disk = writable_disk ();
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  atomic_store (&disk->in_place, true);
  g_autofree uint8_t *bytes = pattern (4096, 1);
  g_assert_cmpuint (client_write (client, FUA, 0, bytes, 4096), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flags), ==, IM_WRITE_FUA);
  const uint16_t zeroes = IM_NBD_CMD_WRITE_ZEROES, no_hole = IM_NBD_CMD_FLAG_NO_HOLE;
  g_assert_cmpuint (client_command (client, zeroes, 0, 0, 512), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flags), ==, IM_WRITE_MAY_UNMAP);
  g_assert_true (writable_holds (0, NULL, 512));
  g_assert_true (writable_holds (512, bytes + 512, 4096 - 512));
  g_assert_cmpuint (client_command (client, zeroes, no_hole, 0, 512), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flags), ==, 0);
  g_assert_cmpuint (
      client_command (client, zeroes, no_hole | IM_NBD_CMD_FLAG_FAST_ZERO, 0, 512), ==,
      0);
  g_assert_cmpuint (atomic_load (&disk->flags), ==, IM_WRITE_FAST);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 0);
}

static void
test_fua_of_all_is_durable (void)
{
  WritableDisk *disk = writable_disk ();
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_TRIM, 0, 0, 512), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 0);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_TRIM, FUA, 0, 512), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 1);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_WRITE_ZEROES, FUA, 0, 512), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 2);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_FLUSH, 0, 0, 0), ==, 0);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 3);
}

static void
test_long_ranges_are_done_in_pieces (void)
{
  WritableDisk *disk = writable_disk ();
  uint64_t length = WRITABLE_SIZE - 1234;
  g_autoptr (Client) client = client_in (IM_NBD_MODE_EXTENDED);
  g_assert_cmpuint (client_write (client, 0, 1000, "abc", 3), ==, 0);
  g_assert_cmpuint (client_write (client, 0, WRITABLE_SIZE - 3, "xyz", 3), ==, 0);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_WRITE_ZEROES, 0, 1001, length), ==,
                    0);
  g_assert_true (writable_holds (1000, "a\0\0", 3));
  g_assert_true (writable_holds (WRITABLE_SIZE - 3, "xyz", 3));
  g_assert_cmpuint (
      client_command (client, IM_NBD_CMD_TRIM, FUA, 1000, WRITABLE_SIZE - 1000), ==, 0);
  g_assert_true (writable_holds (WRITABLE_SIZE - 3, NULL, 3));
  g_assert_cmpuint (atomic_load (&disk->longest), <=, 256 * MIB);
  g_assert_cmpuint (atomic_load (&disk->flushes), ==, 1);
}

/* A range as long as this one shall not keep the server from ending. */
static void
test_cut_ends_a_long_range (void)
{
  WritableDisk *disk = writable_disk ();
  g_autoptr (Client) client = client_in (IM_NBD_MODE_EXTENDED);
  atomic_store (&disk->hold, true);
  client_request (client, IM_NBD_CMD_WRITE_ZEROES, 0, 0, WRITABLE_SIZE);
  await (&disk->begun, 1);
  im_nbd_connection_stop (client->connection);
  im_nbd_connection_cut (client->connection);
  atomic_store (&disk->hold, false);
  pthread_join (client->thread, NULL);
  im_nbd_connection_free (g_steal_pointer (&client->connection));
  g_assert_cmpuint (atomic_load (&disk->begun), ==, 1);
}

static void
test_wrong_requests_leave_it_in_step (void)
{
  g_autofree uint8_t *bytes = pattern ((32 << 20) + 1, 5);
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autoptr (Client) c = client_in (modes[i]);
    const uint16_t zeroes = IM_NBD_CMD_WRITE_ZEROES, trim = IM_NBD_CMD_TRIM;
    uint64_t end = WRITABLE_SIZE;
    g_assert_cmpuint (client_write (c, 0, end - 1, bytes, 2), ==, IM_NBD_ENOSPC);
    g_assert_cmpuint (client_write (c, 0, end, bytes, 100000), ==, IM_NBD_ENOSPC);
    g_assert_cmpuint (client_write (c, 0, UINT64_MAX, bytes, 4096), ==, IM_NBD_ENOSPC);
    g_assert_cmpuint (client_write (c, 0, 0, bytes, 32 * MIB + 1), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_write (c, 1 << 9, 0, bytes, 4096), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_write (c, IM_NBD_CMD_FLAG_NO_HOLE, 0, bytes, 70000), ==,
                      IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (c, zeroes, 0, end - 1, 2), ==, IM_NBD_ENOSPC);
    g_assert_cmpuint (client_command (c, zeroes, 0, UINT64_MAX, 1), ==, IM_NBD_ENOSPC);
    g_assert_cmpuint (client_command (c, zeroes, 1 << 7, 0, 512), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (c, trim, 0, end - 1, 2), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (c, trim, 0, UINT64_MAX, 4096), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (c, trim, IM_NBD_CMD_FLAG_FAST_ZERO, 0, 512), ==,
                      IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (c, IM_NBD_CMD_FLUSH, 0, 512, 0), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (atomic_load (&writable_disk ()->begun), ==, 0);
    g_assert_cmpuint (client_write (c, 0, end - 2, bytes, 2), ==, 0);
    g_assert_true (writable_holds (end - 2, bytes, 2));
  }
}

static void
test_nothing_is_nothing (void)
{
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  g_assert_cmpuint (client_write (client, 0, 0, NULL, 0), ==, 0);
  g_assert_cmpuint (client_write (client, FUA, WRITABLE_SIZE, NULL, 0), ==, 0);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_WRITE_ZEROES, 0, 0, 0), ==, 0);
  g_assert_cmpuint (client_command (client, IM_NBD_CMD_TRIM, 0, 0, 0), ==, 0);
}

static void
test_failures_of_the_disk (void)
{
  static const struct {
    int errnum;
    uint32_t error;
  } cases[] = {
      {ENOSPC, IM_NBD_ENOSPC}, {EDQUOT, IM_NBD_ENOSPC}, {EIO, IM_NBD_EIO},
      {EROFS, IM_NBD_EPERM},   {ENXIO, IM_NBD_EIO},     {ENOTSUP, IM_NBD_EIO},
  };
  g_autofree uint8_t *bytes = pattern (100000, 7);
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  WritableDisk *disk = writable_disk ();
  atomic_store (&disk->in_place, true);
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    uint32_t error = cases[i].error;
    atomic_store (&disk->errnum, cases[i].errnum);
    g_assert_cmpuint (client_write (client, 0, 0, bytes, 4096), ==, error);
    g_assert_cmpuint (client_write (client, FUA, 0, bytes, 100000), ==, error);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_WRITE_ZEROES, 0, 0, 512), ==,
                      error);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_TRIM, 0, 0, 512), ==, error);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_FLUSH, 0, 0, 0), ==, error);
  }
  /* The one place for this error. */
  g_assert_cmpuint (
      client_command (client, IM_NBD_CMD_WRITE_ZEROES, IM_NBD_CMD_FLAG_FAST_ZERO, 0, 512),
      ==, IM_NBD_ENOTSUP);
  atomic_store (&disk->errnum, 0);
  g_assert_cmpuint (client_write (client, 0, 0, bytes, 4096), ==, 0);
}

static void
test_half_a_payload_writes_nothing (void)
{
  static const size_t lengths[] = {4096, 65536, 4 << 20};
  for (unsigned i = 0; i < 2 * G_N_ELEMENTS (lengths); i++) {
    size_t length = lengths[i / 2];
    g_autofree uint8_t *bytes = pattern (length, i);
    g_autoptr (Client) client = client_in (IM_NBD_MODE_SIMPLE);
    atomic_store (&writable_disk ()->in_place, i % 2);
    client_request (client, IM_NBD_CMD_WRITE, 0, 0, length);
    client_send (client, bytes, length - 1);
    g_usleep (2000);
    client_free (g_steal_pointer (&client));
    g_assert_cmpuint (atomic_load (&writable_disk ()->begun), ==, 0);
    g_assert_cmpuint (atomic_load (&writable_host ()->budget.in_flight), ==, 0);
  }
}

static void
test_disc_finishes_what_is_under_way (void)
{
  WritableDisk *disk = writable_disk ();
  g_autofree uint8_t *bytes = pattern (100000, 1);
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  atomic_store (&disk->hold, true);
  client_send_write (client, 0, 0, bytes, 100000);
  client_request (client, IM_NBD_CMD_DISC, 0, 0, 0);
  await (&disk->begun, 1);
  atomic_store (&disk->hold, false);
  client->cookie--;
  g_assert_cmpuint (client_reply (client), ==, 0);
  g_assert_true (client_at_end (client));
  g_assert_true (writable_holds (0, bytes, 100000));
}

static void
test_vanished_client_s_writes_are_finished (void)
{
  WritableDisk *disk = writable_disk ();
  g_autofree uint8_t *bytes = pattern (100000, 1);
  g_autoptr (Client) client = client_in (IM_NBD_MODE_STRUCTURED);
  atomic_store (&disk->hold, true);
  client_send_write (client, 0, 0, bytes, 100000);
  await (&disk->begun, 1);
  close (client->fd);
  client->fd = -1;
  atomic_store (&disk->hold, false);
  client_free (g_steal_pointer (&client));
  g_assert_cmpuint (atomic_load (&disk->done), ==, 1);
  g_assert_cmpuint (atomic_load (&writable_host ()->budget.in_flight), ==, 0);
}

static void
test_stop_finishes_and_refuses (void)
{
  WritableDisk *disk = writable_disk ();
  g_autofree uint8_t *bytes = pattern (20 * MIB, 1);
  g_autoptr (Client) client = client_in (IM_NBD_MODE_SIMPLE);
  atomic_store (&disk->hold, true);
  /* The second waits behind the budget that the first takes. */
  client_send_write (client, 0, 0, bytes, 20 * MIB);
  client_send_write (client, 0, 32 * MIB, bytes, 4096);
  await (&disk->begun, 1);
  im_nbd_connection_stop (client->connection);
  atomic_store (&disk->hold, false);
  client->cookie--;
  g_assert_cmpuint (client_reply (client), ==, 0);
  client->cookie++;
  g_assert_cmpuint (client_reply (client), ==, IM_NBD_ESHUTDOWN);
  g_assert_true (client_at_end (client));
  g_assert_true (writable_holds (0, bytes, 20 * MIB));
  g_assert_true (writable_holds (32 * MIB, NULL, 4096));
}

enum { FLOOD = 40, FLOOD_LENGTH = 5 << 20 };

/* Sends more than the server may hold. */
static void *
flood (void *data)
{
  g_autofree uint8_t *bytes = pattern (FLOOD_LENGTH, 9);
  for (uint64_t i = 0; i < FLOOD; i++)
    client_send_write (data, 0, i * FLOOD_LENGTH, bytes, FLOOD_LENGTH);
  return NULL;
}

static void
test_what_waits_is_bounded (void)
{
  WritableDisk *disk = writable_disk ();
  pthread_t thread;
  g_autoptr (Client) client = client_in (IM_NBD_MODE_SIMPLE);
  atomic_store (&disk->hold, true);
  g_assert_cmpint (pthread_create (&thread, NULL, flood, client), ==, 0);
  await (&disk->begun, 3);
  size_t most = 0;
  for (int i = 0; i < 20; i++) {
    g_usleep (2000);
    most = MAX (most, atomic_load (&writable_host ()->budget.in_flight));
  }
  g_assert_cmpuint (most, <=, IM_NBD_MEMORY_MAX + FLOOD_LENGTH + (64u << 10));
  atomic_store (&disk->hold, false);
  for (unsigned i = 0; i < FLOOD; i++) {
    uint8_t reply[16];
    client_receive (client, reply, sizeof reply);
    g_assert_cmpuint (reply[7], ==, 0);
  }
  pthread_join (thread, NULL);
  g_assert_cmpuint (atomic_load (&disk->done), ==, FLOOD);
}

/* Runs a server that is to stop at once; returns how it ended. */
static bool
serve_briefly (GError **error)
{
  g_autofree char *folder = g_dir_make_tmp ("imgmount-nbd-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "s", NULL);
  g_autoptr (ImExportSet) set = writable_set ();
  const ImNbdOptions options = {.socket_path = path, .max_clients = 1};
  g_autoptr (ImNbdServer) server =
      im_nbd_server_new (set, fixture_resources (), &options, error);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (connect (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  im_nbd_server_stop (server);
  close (fd);
  bool ok = im_nbd_server_run (server, error);
  g_assert_cmpint (g_rmdir (folder), ==, 0);
  return ok;
}

static void
test_end_is_a_flush (void)
{
  g_autoptr (GError) error = NULL;
  writable_reset ();
  g_assert_true (serve_briefly (&error));
  g_assert_no_error (error);
  g_assert_cmpuint (atomic_load (&writable_disk ()->flushes), ==, 1);
  atomic_store (&writable_disk ()->errnum, EIO);
  g_assert_false (serve_briefly (&error));
  g_assert_nonnull (strstr (error->message, "disk.img: the last flush: "));
}

/* Writes a stripe of its own from each of several connections, flushing now and then. */
static void *
write_stripe (void *data)
{
  uint64_t stripe = GPOINTER_TO_UINT (data);
  g_autoptr (Client) client = client_new_of (writable_host ());
  client_go (client, modes[stripe % 3], "", false);
  g_autofree uint8_t *bytes = pattern (65536, (uint32_t)stripe);
  for (uint64_t i = 0; i < 50; i++) {
    uint64_t length = i % 3 ? 4096 : 65536;
    g_assert_cmpuint (client_write (client, 0, i * MIB + stripe * 65536, bytes, length),
                      ==, 0);
    if (i % 10 == 0)
      g_assert_cmpuint (client_command (client, IM_NBD_CMD_FLUSH, 0, 0, 0), ==, 0);
    g_assert_true (writable_holds (i * MIB + stripe * 65536, bytes, length));
  }
  return NULL;
}

static void
test_connections_write_side_by_side (void)
{
  pthread_t threads[6];
  writable_reset ();
  writable_host ();
  atomic_store (&writable_disk ()->in_place, true);
  for (unsigned i = 0; i < G_N_ELEMENTS (threads); i++)
    g_assert_cmpint (
        pthread_create (&threads[i], NULL, write_stripe, GUINT_TO_POINTER (i)), ==, 0);
  for (unsigned i = 0; i < G_N_ELEMENTS (threads); i++)
    pthread_join (threads[i], NULL);
  g_assert_cmpuint (atomic_load (&writable_host ()->budget.in_flight), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  static const char *names[] = {"simple", "structured", "extended"};
  for (unsigned bits = 0; bits < 6; bits++) {
    g_autofree char *path = g_strdup_printf ("/nbd/write/%s-%s", names[bits >> 1],
                                             bits & 1 ? "here" : "in-the-pool");
    g_test_add_data_func (path, GUINT_TO_POINTER (bits), test_writes);
  }
#define ADD(path, function) g_test_add_func ("/nbd/write/" path, function)
  g_test_add_data_func ("/nbd/write/many-at-once/in-the-pool", GINT_TO_POINTER (0),
                        test_many_at_once);
  g_test_add_data_func ("/nbd/write/many-at-once/here", GINT_TO_POINTER (1),
                        test_many_at_once);
  ADD ("flags-reach-the-disk", test_flags_reach_the_disk);
  ADD ("fua-of-all-is-durable", test_fua_of_all_is_durable);
  ADD ("long-ranges-are-done-in-pieces", test_long_ranges_are_done_in_pieces);
  ADD ("cut-ends-a-long-range", test_cut_ends_a_long_range);
  ADD ("wrong-requests-leave-it-in-step", test_wrong_requests_leave_it_in_step);
  ADD ("nothing-is-nothing", test_nothing_is_nothing);
  ADD ("failures-of-the-disk", test_failures_of_the_disk);
  ADD ("half-a-payload-writes-nothing", test_half_a_payload_writes_nothing);
  ADD ("disc-finishes-what-is-under-way", test_disc_finishes_what_is_under_way);
  ADD ("vanished-client-s-writes-are-finished",
       test_vanished_client_s_writes_are_finished);
  ADD ("stop-finishes-and-refuses", test_stop_finishes_and_refuses);
  ADD ("what-waits-is-bounded", test_what_waits_is_bounded);
  ADD ("end-is-a-flush", test_end_is_a_flush);
  ADD ("connections-write-side-by-side", test_connections_write_side_by_side);
#undef ADD
  return g_test_run ();
}
