/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every consumer sees every piece once, in order; a failure of one ends it for all. */
#include "base/error.h"
#include "job/ring.h"

#include <errno.h>
#include <string.h>

enum { PIECES = 500 };

typedef struct {
  uint64_t seen, fail_at;
} Consumer;

static bool
consume (void *data, const ImRingPiece *piece, GError **error)
{
  Consumer *consumer = data;
  g_assert_cmpuint (piece->offset, ==, consumer->seen);
  g_assert_cmpint (piece->data[0], ==, (uint8_t)consumer->seen);
  g_assert_cmpint (piece->data[IM_RING_PIECE - 1], ==, (uint8_t)consumer->seen);
  if (consumer->seen++ != consumer->fail_at)
    return true;
  im_set_errno (error, EIO, "piece %u", (unsigned)piece->offset);
  return false;
}

/* How many pieces went in. */
static uint64_t
produce (ImRing *ring)
{
  uint64_t n = 0;
  for (; n < PIECES; n++) {
    ImRingPiece *piece = im_ring_begin (ring);
    if (!piece)
      break;
    piece->offset = n;
    piece->length = IM_RING_PIECE;
    piece->data = piece->buffer;
    piece->data[0] = piece->data[IM_RING_PIECE - 1] = (uint8_t)n;
    im_ring_end (ring);
  }
  return n;
}

static void
test_all_see_all (void)
{
  Consumer a = {.fail_at = PIECES}, b = {.fail_at = PIECES};
  ImRingConsumer consumers[] = {{consume, &a}, {consume, &b}};
  ImRing *ring = im_ring_new (consumers, 2, NULL);
  g_assert_cmpuint (produce (ring), ==, PIECES);
  g_assert_true (im_ring_finish (ring, false, NULL));
  g_assert_cmpuint (a.seen, ==, PIECES);
  g_assert_cmpuint (b.seen, ==, PIECES);
}

static void
test_a_failure_ends_it (void)
{
  Consumer a = {.fail_at = PIECES}, b = {.fail_at = 7};
  ImRingConsumer consumers[] = {{consume, &a}, {consume, &b}};
  g_autoptr (GError) error = NULL;
  ImRing *ring = im_ring_new (consumers, 2, NULL);
  g_assert_cmpuint (produce (ring), <, PIECES);
  g_assert_false (im_ring_finish (ring, false, &error));
  g_assert_error (error, IM_ERRNO, EIO);
  g_assert_cmpuint (b.seen, ==, 8);
}

static void
test_an_abort_waits_for_nobody (void)
{
  Consumer a = {.fail_at = PIECES};
  ImRingConsumer consumer = {consume, &a};
  ImRing *ring = im_ring_new (&consumer, 1, NULL);
  g_assert_nonnull (im_ring_begin (ring));
  g_assert_true (im_ring_finish (ring, true, NULL));
  g_assert_cmpuint (a.seen, ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/job/ring/all-see-all", test_all_see_all);
  g_test_add_func ("/job/ring/a-failure-ends-it", test_a_failure_ends_it);
  g_test_add_func ("/job/ring/an-abort-waits-for-nobody", test_an_abort_waits_for_nobody);
  return g_test_run ();
}
