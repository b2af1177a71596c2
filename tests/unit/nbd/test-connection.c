/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections from end to end: every way a request can be answered, and every way a
 * client can misbehave. */
#include "base/bytes.h"
#include "fixture.h"
#include <sys/socket.h>
#include <unistd.h>

enum { DF = IM_NBD_CMD_FLAG_DF, ONE = IM_NBD_CMD_FLAG_REQ_ONE };

#define MIB (1u << 20)

static const ImNbdMode modes[] = {IM_NBD_MODE_SIMPLE, IM_NBD_MODE_STRUCTURED,
                                  IM_NBD_MODE_EXTENDED};

/* Ranges of the disk that can be read. */
static const struct {
  uint64_t offset, length;
} ranges[] = {
    {0, 1},
    {0, 4096},
    {511, 1025},
    {0, 32768},
    {1, 32767},
    {MIB - 100, 200},
    {MIB, 4096},
    {MIB - 65536, 131072},
    {0, 2 * MIB},
    {3 * MIB, MIB},
    {3 * MIB + 777, 300000},
    {3 * MIB - 10, MIB + 20},
    {4 * MIB, MIB},
    {4 * MIB + 1, MIB + 1},
    {5 * MIB, 32 * MIB},
    {DISK_SIZE - 1, 1},
    {DISK_SIZE - 123, 123},
    {DISK_SIZE - 3 * MIB, 3 * MIB},
    {DISK_SIZE, 0},
};

/* What is set for one run of a test, and undone after it. */
static void
set_disk (bool blocks, bool unstable)
{
  atomic_store (&fixture_disk ()->blocks, blocks);
  atomic_store (&fixture_disk ()->unstable, unstable);
}

static void
read_all_ranges (Client *client)
{
  for (size_t i = 0; i < G_N_ELEMENTS (ranges); i++) {
    g_assert_cmpuint (client_read (client, 0, ranges[i].offset, ranges[i].length), ==, 0);
    if (client->mode != IM_NBD_MODE_SIMPLE)
      g_assert_cmpuint (client_read (client, DF, ranges[i].offset, ranges[i].length), ==,
                        0);
  }
}

/* Data: bit 0, blocks; bit 1, unstable; bit 2, TCP. */
static void
test_reads (gconstpointer data)
{
  unsigned bits = GPOINTER_TO_UINT (data);
  set_disk (bits & 1, bits & 2);
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autoptr (Client) client = bits & 4 ? client_new_tcp () : client_new ();
    client_go (client, modes[i], "", false);
    read_all_ranges (client);
  }
  set_disk (false, false);
  g_assert_cmpuint (atomic_load (&fixture_host ()->budget.in_flight), ==, 0);
}

static void
test_df_is_one_chunk (void)
{
  for (int blocks = 0; blocks < 2; blocks++) {
    set_disk (blocks, false);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    client_request (client, IM_NBD_CMD_READ, DF, 0, 2 * MIB);
    Chunk chunk = client_chunk (client);
    g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_OFFSET_DATA);
    g_assert_cmpuint (chunk.length, ==, 2 * MIB + 8);
  }
  set_disk (false, false);
}

static void
test_zeros_are_holes (void)
{
  for (unsigned bits = 0; bits < 4; bits++) {
    set_disk (bits & 1, bits & 2);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    client_request (client, IM_NBD_CMD_READ, 0, MIB, MIB);
    Chunk chunk = client_chunk (client);
    uint8_t hole[12];
    g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_OFFSET_HOLE);
    client_receive (client, hole, 12);
    g_assert_cmpuint (im_get_be32 (hole + 8), ==, MIB);
  }
  set_disk (false, false);
}

static void
test_large_reads_leave_in_pieces (void)
{
  for (unsigned bits = 0; bits < 2; bits++) {
    set_disk (bits & 1, false);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 8 * MIB);
    Chunk chunk = client_chunk (client);
    g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_OFFSET_DATA);
    g_assert_cmpuint (chunk.length, <=, MIB + 8);
    g_assert_false (chunk.done);
  }
  set_disk (false, false);
}

static void
test_damage_is_an_error_of_its_range (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autoptr (Client) client = client_new ();
    client_go (client, modes[i], "", false);
    g_assert_cmpuint (client_read (client, 0, DAMAGED_FROM, 512), ==, IM_NBD_EIO);
    g_assert_cmpuint (client_read (client, 0, 0, 4 * MIB), ==, IM_NBD_EIO);
    g_assert_cmpuint (client_read (client, 0, DAMAGED_FROM - 512, 512), ==, 0);
    g_assert_cmpuint (client_read (client, 0, DAMAGED_TO, 512), ==, 0);
  }
}

static void
test_wrong_requests_leave_it_in_step (void)
{
  for (size_t i = 0; i < G_N_ELEMENTS (modes); i++) {
    g_autoptr (Client) client = client_new ();
    g_autofree uint8_t *payload = g_malloc0 (100000);
    uint16_t flags = modes[i] == IM_NBD_MODE_EXTENDED ? IM_NBD_CMD_FLAG_PAYLOAD_LEN : 0;
    client_go (client, modes[i], "", false);
    g_assert_cmpuint (client_read (client, 0, DISK_SIZE, 1), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_read (client, 0, UINT64_MAX, 4096), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_read (client, 0, 0, (32 << 20) + 1), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (client, 99, 0, 0, 0), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_TRIM, 0, 0, 512), ==,
                      IM_NBD_EPERM);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_WRITE_ZEROES, 0, 0, 512), ==,
                      IM_NBD_EPERM);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_BLOCK_STATUS, 0, 0, 512), ==,
                      IM_NBD_EINVAL);
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_FLUSH, 0, 0, 1), ==,
                      IM_NBD_EINVAL);
    client_request (client, IM_NBD_CMD_WRITE, flags, 0, 100000);
    client_send (client, payload, 100000);
    client_request (client, IM_NBD_CMD_FLUSH, 0, 0, 0);
    client->cookie -= 2;
    /* The write's refusal, and then the flush's success. */
    if (modes[i] == IM_NBD_MODE_SIMPLE) {
      uint8_t reply[32];
      client_receive (client, reply, 32);
      g_assert_cmpuint (im_get_be32 (reply + 4), ==, IM_NBD_EPERM);
      g_assert_cmpuint (im_get_be32 (reply + 20), ==, 0);
    } else {
      uint8_t text[IM_NBD_HEAD_MAX];
      Chunk chunk = client_chunk (client);
      client_receive (client, text, chunk.length);
      g_assert_cmpuint (im_get_be32 (text), ==, IM_NBD_EPERM);
      g_assert_cmpuint (client_chunk (client).type, ==, IM_NBD_REPLY_NONE);
    }
    client->cookie += 2;
    g_assert_cmpuint (client_command (client, IM_NBD_CMD_CACHE, 0, 0, DISK_SIZE), ==, 0);
    g_assert_cmpuint (client_read (client, 0, 4096, 512), ==, 0);
  }
}

static void
test_refusal_waits_for_the_payload (void)
{
  g_autoptr (Client) client = client_new ();
  g_autofree uint8_t *payload = g_malloc0 (MIB);
  uint8_t reply[IM_NBD_SIMPLE_REPLY_SIZE];
  client_go (client, IM_NBD_MODE_SIMPLE, "", false);
  client_request (client, IM_NBD_CMD_WRITE, 0, 0, MIB);
  client_send (client, payload, MIB - 1);
  g_usleep (10000);
  g_assert_cmpint (recv (client->fd, reply, 1, MSG_DONTWAIT), ==, -1);
  client_send (client, payload, 1);
  client_receive (client, reply, sizeof reply);
  g_assert_cmpuint (im_get_be32 (reply + 4), ==, IM_NBD_EPERM);
}

static void
test_payload_beyond_reason_hangs_up (void)
{
  g_autoptr (Client) client = client_new ();
  client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
  client_request (client, IM_NBD_CMD_WRITE, 0, 0, 0xffffffff);
  g_assert_true (client_at_end (client));
}

static void
test_wrong_magic_hangs_up (void)
{
  g_autoptr (Client) client = client_new ();
  uint8_t rubbish[64] = "GET / HTTP/1.1";
  client_go (client, IM_NBD_MODE_SIMPLE, "", false);
  client_send (client, rubbish, sizeof rubbish);
  g_assert_true (client_at_end (client));
}

static void
test_disc_finishes_what_is_under_way (void)
{
  for (int blocks = 0; blocks < 2; blocks++) {
    set_disk (blocks, false);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB);
    client_request (client, IM_NBD_CMD_DISC, 0, 0, 0);
    g_assert_cmpuint (client_read_reply (client, 1, 4 * MIB, 32 * MIB), ==, 0);
    g_assert_true (client_at_end (client));
  }
  set_disk (false, false);
}

static void
test_half_closed_client_gets_its_replies (void)
{
  set_disk (true, false);
  g_autoptr (Client) client = client_new ();
  client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
  client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB);
  shutdown (client->fd, SHUT_WR);
  g_assert_cmpuint (client_read_reply (client, 1, 4 * MIB, 32 * MIB), ==, 0);
  g_assert_true (client_at_end (client));
  set_disk (false, false);
}

/* Receives one reply of whatever cookie to a read of 4096 bytes at cookie * 4096. */
static void
take_any_small_reply (Client *client)
{
  uint8_t offset[8], data[4096];
  Chunk chunk = client_chunk (client);
  uint64_t at = 4 * MIB + chunk.cookie * 4096;
  g_assert_true (chunk.done);
  g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_OFFSET_DATA);
  client_receive (client, offset, 8);
  g_assert_cmpuint (im_get_be64 (offset), ==, at);
  client_receive (client, data, sizeof data);
  g_assert_true (memcmp (data, fixture_bytes (at), sizeof data) == 0);
}

static void
test_many_small_at_once (void)
{
  enum { ROUNDS = 20, DEPTH = 100 };
  for (int blocks = 0; blocks < 2; blocks++) {
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    for (int round = 0; round < ROUNDS; round++) {
      /* Changing minds in the middle mixes both ways of answering. */
      for (int i = 0; i < DEPTH; i++) {
        set_disk (blocks && i % 3, false);
        client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB + (client->cookie + 1) * 4096,
                        4096);
      }
      for (int i = 0; i < DEPTH; i++)
        take_any_small_reply (client);
    }
  }
  set_disk (false, false);
}

/* How much a client that reads nothing can make the server hold. */
static void
test_slow_client_is_bounded (void)
{
  for (unsigned bits = 0; bits < 4; bits++) {
    set_disk (bits & 1, bits & 2);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    for (int i = 0; i < 50; i++)
      client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB - i);
    size_t most = 0;
    for (int i = 0; i < 20; i++) {
      g_usleep (2000);
      most = MAX (most, atomic_load (&fixture_host ()->budget.in_flight));
    }
    /* Each worker may be about to queue one more piece. */
    g_assert_cmpuint (most, <=, IM_NBD_MEMORY_MAX + IM_NBD_QUEUE_HIGH + 4 * IM_NBD_PIECE);
    client_free (g_steal_pointer (&client));
    g_assert_cmpuint (atomic_load (&fixture_host ()->budget.in_flight), ==, 0);
  }
  set_disk (false, false);
}

static void
test_vanished_client_leaves_nothing (void)
{
  for (int i = 0; i < 20; i++) {
    set_disk (i % 2, i % 3 == 0);
    g_autoptr (Client) client = client_new ();
    client_go (client, i % 4 ? IM_NBD_MODE_STRUCTURED : IM_NBD_MODE_SIMPLE, "", false);
    for (int k = 0; k < 20; k++)
      client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, k % 3 ? 4096 : 2 * MIB);
    g_usleep (500 * (gulong)(i % 5));
    client_free (g_steal_pointer (&client));
    g_assert_cmpuint (atomic_load (&fixture_host ()->budget.in_flight), ==, 0);
  }
  set_disk (false, false);
}

static void
test_stop_finishes_and_refuses (void)
{
  g_autoptr (Client) client = client_new ();
  client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
  /* The first is under way; those behind it wait for the budget. */
  enum { REQUESTS = 6 };
  for (int i = 0; i < REQUESTS; i++)
    client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB);
  g_usleep (20000);
  im_nbd_connection_stop (client->connection);
  g_assert_cmpuint (client_read_reply (client, 1, 4 * MIB, 32 * MIB), ==, 0);
  uint32_t code = 0;
  for (uint64_t i = 2; i <= REQUESTS; i++) {
    code = client_read_reply (client, i, 4 * MIB, 32 * MIB);
    g_assert_true (code == 0 || code == IM_NBD_ESHUTDOWN);
  }
  g_assert_cmpuint (code, ==, IM_NBD_ESHUTDOWN);
  g_assert_true (client_at_end (client));
}

static void
test_cut_ends_a_client_that_does_not_read (void)
{
  for (int blocks = 0; blocks < 2; blocks++) {
    set_disk (blocks, false);
    g_autoptr (Client) client = client_new ();
    client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
    for (int i = 0; i < 6; i++)
      client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB);
    g_usleep (10000);
    im_nbd_connection_stop (client->connection);
    im_nbd_connection_cut (client->connection);
    pthread_join (client->thread, NULL);
    im_nbd_connection_free (g_steal_pointer (&client->connection));
  }
  set_disk (false, false);
}

/* Sends a read of 32 MiB and shortens the file while most of it is still to be sent. */
static Client *
client_with_shortened_file (ImNbdMode mode)
{
  Client *client = client_new ();
  client_go (client, mode, "", false);
  client_request (client, IM_NBD_CMD_READ, 0, 4 * MIB, 32 * MIB);
  g_usleep (20000);
  g_assert_cmpint (ftruncate (fixture_disk ()->file_fd, 5 * MIB), ==, 0);
  return client;
}

static void
restore_file (void)
{
  ssize_t n = DISK_SIZE - 5 * MIB;
  g_assert_cmpint (
      pwrite (fixture_disk ()->file_fd, fixture_bytes (5 * MIB), (size_t)n, 5 * MIB), ==,
      n);
}

static void
test_file_that_ends_early_is_padded (void)
{
  g_autoptr (Client) client = client_with_shortened_file (IM_NBD_MODE_STRUCTURED);
  g_autofree uint8_t *data = g_malloc (MIB + 8);
  uint64_t covered = 0;
  Chunk chunk = client_chunk (client);
  for (; !chunk.done; chunk = client_chunk (client)) {
    g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_OFFSET_DATA);
    client_receive (client, data, chunk.length);
    covered += chunk.length - 8;
  }
  g_assert_cmpuint (covered, ==, 32 * MIB);
  g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_ERROR);
  client_receive (client, data, chunk.length);
  g_assert_cmpuint (im_get_be32 (data), ==, IM_NBD_EIO);
  restore_file ();
  g_assert_cmpuint (client_read (client, 0, 4 * MIB, 32 * MIB), ==, 0);
}

static void
test_file_that_ends_early_ends_a_simple_client (void)
{
  g_autoptr (Client) client = client_with_shortened_file (IM_NBD_MODE_SIMPLE);
  g_autofree uint8_t *data = g_malloc (33 * MIB);
  ssize_t n = recv (client->fd, data, 33 * MIB, MSG_WAITALL);
  g_assert_cmpint (n, <, 32 * MIB);
  restore_file ();
}

/* One descriptor of a block status. */
typedef struct {
  uint64_t length, status;
} Status;

/* Asks for the status of a range and receives at most MAX descriptors. */
static size_t
block_status (Client *client, uint16_t flags, uint64_t offset, uint64_t length,
              Status *status, size_t max)
{
  bool wide = client->mode == IM_NBD_MODE_EXTENDED;
  client_request (client, IM_NBD_CMD_BLOCK_STATUS, flags, offset, length);
  Chunk chunk = client_chunk (client);
  g_assert_true (chunk.done);
  g_assert_cmpuint (chunk.type, ==,
                    wide ? IM_NBD_REPLY_BLOCK_STATUS_EXT : IM_NBD_REPLY_BLOCK_STATUS);
  g_autofree uint8_t *data = g_malloc (chunk.length);
  client_receive (client, data, chunk.length);
  ImCursor c = im_cursor (data, chunk.length);
  g_assert_cmpuint (im_cursor_be32 (&c), ==, 0);
  size_t n = wide ? im_cursor_be32 (&c) : (chunk.length - 4) / 8;
  g_assert_cmpuint (n, <=, max);
  g_assert_cmpuint (im_cursor_left (&c), ==, n * (wide ? 16 : 8));
  for (size_t i = 0; i < n; i++)
    status[i] = wide ? (Status){im_cursor_be64 (&c), im_cursor_be64 (&c)}
                     : (Status){im_cursor_be32 (&c), im_cursor_be32 (&c)};
  return n;
}

static void
test_block_status (void)
{
  for (ImNbdMode mode = IM_NBD_MODE_STRUCTURED; mode <= IM_NBD_MODE_EXTENDED; mode++) {
    g_autoptr (Client) client = client_new ();
    Status status[128];
    client_go (client, mode, "", true);
    g_assert_cmpuint (block_status (client, 0, 0, 3 * MIB, status, 128), ==, 3);
    g_assert_cmpuint (status[0].length, ==, MIB);
    g_assert_cmpuint (status[0].status, ==, 0);
    g_assert_cmpuint (status[1].length, ==, MIB);
    g_assert_cmpuint (status[1].status, ==, IM_NBD_STATE_HOLE | IM_NBD_STATE_ZERO);
    /* Damage is no hole, and is merged with the data around it. */
    g_assert_cmpuint (status[2].length, ==, MIB);
    g_assert_cmpuint (status[2].status, ==, 0);
    g_assert_cmpuint (block_status (client, ONE, 0, 3 * MIB, status, 128), ==, 1);
    g_assert_cmpuint (status[0].length, ==, MIB);
    g_assert_cmpuint (block_status (client, ONE, MIB + 5, 1000, status, 128), ==, 1);
    g_assert_cmpuint (status[0].length, ==, 1000);
    size_t n = block_status (client, 0, 0, DISK_SIZE, status, 128);
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
      sum += status[i].length;
      g_assert_cmpuint (status[i].length, >, 0);
      if (i > 0)
        g_assert_cmpuint (status[i].status, !=, status[i - 1].status);
    }
    g_assert_cmpuint (sum, ==, DISK_SIZE);
    g_assert_cmpuint (n, >, 30);
  }
}

static void
test_block_status_filter (void)
{
  g_autoptr (Client) client = client_new ();
  uint8_t payload[16];
  client_go (client, IM_NBD_MODE_EXTENDED, "", true);
  im_put_be64 (payload, MIB);
  im_put_be32 (payload + 8, 0);
  client_request (client, IM_NBD_CMD_BLOCK_STATUS, IM_NBD_CMD_FLAG_PAYLOAD_LEN, 0, 12);
  client_send (client, payload, 5);
  g_usleep (5000);
  client_send (client, payload + 5, 7);
  Chunk chunk = client_chunk (client);
  uint8_t reply[24];
  g_assert_cmpuint (chunk.length, ==, sizeof reply);
  client_receive (client, reply, sizeof reply);
  g_assert_cmpuint (im_get_be64 (reply + 8), ==, MIB);
  /* An id that is not there: refused, and still in step. */
  im_put_be32 (payload + 8, 1);
  client_request (client, IM_NBD_CMD_BLOCK_STATUS, IM_NBD_CMD_FLAG_PAYLOAD_LEN, 0, 12);
  client_send (client, payload, 12);
  chunk = client_chunk (client);
  g_assert_cmpuint (chunk.type, ==, IM_NBD_REPLY_ERROR);
  g_autofree uint8_t *text = g_malloc (chunk.length);
  client_receive (client, text, chunk.length);
  g_assert_cmpuint (im_get_be32 (text), ==, IM_NBD_EINVAL);
  g_assert_cmpuint (client_read (client, 0, 0, 512), ==, 0);
}

/* Longer than any filter, and yet a range that would do: refused, and still in step. */
static void
test_block_status_filter_too_long (void)
{
  g_autoptr (Client) client = client_new ();
  g_autofree uint8_t *payload = g_malloc0 (MIB);
  client_go (client, IM_NBD_MODE_EXTENDED, "", true);
  for (uint64_t n = IM_NBD_FILTER_MAX + 4; n <= MIB; n = n * 2 & ~UINT64_C (3)) {
    client_request (client, IM_NBD_CMD_BLOCK_STATUS, IM_NBD_CMD_FLAG_PAYLOAD_LEN, 0, n);
    client_send (client, payload, n);
    g_assert_cmpuint (client_reply (client), ==, IM_NBD_EINVAL);
    g_assert_cmpuint (client_read (client, 0, 0, 512), ==, 0);
  }
}

static void
test_partition_is_a_slice (void)
{
  g_autoptr (Client) client = client_new ();
  client_go (client, IM_NBD_MODE_SIMPLE, "p1", false);
  client_request (client, IM_NBD_CMD_READ, 0, MIB - 1, 1);
  uint8_t reply[17];
  client_receive (client, reply, 17);
  g_assert_cmpuint (reply[16], ==, fixture_bytes (2 * MIB - 1)[0]);
  g_assert_cmpuint (client_read (client, 0, MIB, 1), ==, IM_NBD_EINVAL);
}

static void
test_requests_may_follow_at_once (void)
{
  g_autoptr (Client) client = client_new ();
  uint8_t wire[4 + 16 + 28] = {0, 0, 0, 3, 'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T'};
  uint8_t reply[18 + 10 + 16 + 4096];
  im_put_be32 (wire + 12, IM_NBD_OPT_EXPORT_NAME);
  im_put_be32 (wire + 20, IM_NBD_REQUEST_MAGIC);
  im_put_be32 (wire + 44, 4096);
  client_send (client, wire, sizeof wire);
  client_receive (client, reply, sizeof reply);
  g_assert_true (memcmp (reply + 44, fixture_bytes (0), 4096) == 0);
}

static void
test_handshake_has_an_end (void)
{
  fixture_host ()->handshake_limit = 1;
  g_autoptr (Client) client = client_new ();
  uint8_t greeting[IM_NBD_GREETING_SIZE];
  client_receive (client, greeting, sizeof greeting);
  g_assert_true (client_at_end (client));
  fixture_host ()->handshake_limit = 0;
}

static void
add_reads (void)
{
  for (unsigned bits = 0; bits < 8; bits++) {
    g_autofree char *path =
        g_strdup_printf ("/nbd/connection/reads/%s-%s-%s", bits & 4 ? "tcp" : "unix",
                         bits & 1 ? "waiting" : "at-once", bits & 2 ? "copied" : "sent");
    g_test_add_data_func (path, GUINT_TO_POINTER (bits), test_reads);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  add_reads ();
#define ADD(path, function) g_test_add_func ("/nbd/connection/" path, function)
  ADD ("df-is-one-chunk", test_df_is_one_chunk);
  ADD ("zeros-are-holes", test_zeros_are_holes);
  ADD ("large-reads-leave-in-pieces", test_large_reads_leave_in_pieces);
  ADD ("damage-is-an-error-of-its-range", test_damage_is_an_error_of_its_range);
  ADD ("wrong-requests-leave-it-in-step", test_wrong_requests_leave_it_in_step);
  ADD ("refusal-waits-for-the-payload", test_refusal_waits_for_the_payload);
  ADD ("payload-beyond-reason-hangs-up", test_payload_beyond_reason_hangs_up);
  ADD ("wrong-magic-hangs-up", test_wrong_magic_hangs_up);
  ADD ("disc-finishes-what-is-under-way", test_disc_finishes_what_is_under_way);
  ADD ("half-closed-client-gets-its-replies", test_half_closed_client_gets_its_replies);
  ADD ("many-small-at-once", test_many_small_at_once);
  ADD ("slow-client-is-bounded", test_slow_client_is_bounded);
  ADD ("vanished-client-leaves-nothing", test_vanished_client_leaves_nothing);
  ADD ("stop-finishes-and-refuses", test_stop_finishes_and_refuses);
  ADD ("cut-ends-a-client-that-does-not-read", test_cut_ends_a_client_that_does_not_read);
  ADD ("file-that-ends-early-is-padded", test_file_that_ends_early_is_padded);
  ADD ("file-that-ends-early-ends-a-simple-client",
       test_file_that_ends_early_ends_a_simple_client);
  ADD ("block-status", test_block_status);
  ADD ("block-status-filter", test_block_status_filter);
  ADD ("block-status-filter-too-long", test_block_status_filter_too_long);
  ADD ("partition-is-a-slice", test_partition_is_a_slice);
  ADD ("requests-may-follow-at-once", test_requests_may_follow_at_once);
  ADD ("handshake-has-an-end", test_handshake_has_an_end);
#undef ADD
  return g_test_run ();
}
