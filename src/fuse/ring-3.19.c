/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FUSE over io_uring, with libfuse 3.19 and later. */
#include "base/error.h"
#include "base/pool.h"
#include "fuse/ops.h"
#include "fuse/ring.h"
#include "fuse/watch.h"
#include <pthread.h>
#include <sys/sysinfo.h>

/* The kernel's switch: Y or N; Linux 6.14 and later. */
#define SWITCH "/sys/module/fuse/parameters/enable_uring"

/* Requests of one ring at once, each with memory for the greatest; fewer where there are
 * so many processors that the rings would take more than this. */
#define MAX_DEPTH    8u
#define MIN_DEPTH    2u
#define MAX_REQUESTS 64u

/* A request that was served at once and took longer has waited. */
#define SLOW_MICROSECONDS 2000
/* More than this is not read twice. */
#define SMALL_READ (64u << 10)

struct ImFuseRing {
  struct fuse_lowlevel_ops ops;      /* those that may wait */
  const struct fuse_conn_info *conn; /* the session's */
  ImFuseWatcher wariness;            /* whether to try what needs no waiting */
  ImPool *waiters;
  pthread_mutex_t lock;
  bool closed; /* lock */
};

/* A request on its way to a waiter, or to one of ops. */
typedef struct Call Call;
struct Call {
  ImPoolTask task;
  void (*run) (const struct fuse_lowlevel_ops *ops, Call *call);
  fuse_req_t req;
  fuse_ino_t ino;
  const char *buf;
  size_t size;
  off_t off, length;
  int number; /* mode, whence, datasync */
  struct fuse_file_info fi;
};

/* An answer on its way to a waiter. */
typedef struct {
  ImPoolTask task;
  void (*send) (void *data);
  void *data;
} Answer;

static ImFuseRing *
ring_of (fuse_req_t req)
{
  return im_fuse_server_of (req)->ring;
}

/* Is this a ring's thread?  libfuse cancels those in the end, which must not happen amid
 * an operation; it wakes them besides. */
static bool
on_ring (fuse_req_t req)
{
  bool ring = fuse_req_is_uring (req);
  if (ring)
    pthread_setcancelstate (PTHREAD_CANCEL_DISABLE, NULL);
  return ring;
}

static void
run_task (ImPoolTask *task)
{
  Call *call = (Call *)task;
  call->run (&ring_of (call->req)->ops, call);
  g_free (call);
}

/* Gives TASK, newly allocated, to a waiter.  False: closed, and TASK is freed. */
static bool
submit (ImFuseRing *ring, ImPoolTask *task)
{
  pthread_mutex_lock (&ring->lock);
  bool open = !ring->closed;
  if (open)
    im_pool_submit (ring->waiters, task);
  pthread_mutex_unlock (&ring->lock);
  if (!open)
    g_free (task);
  return open;
}

/* False: closed. */
static bool
hand_over (ImFuseRing *ring, const Call *call)
{
  Call *copy = g_memdup2 (call, sizeof *call);
  copy->task.run = run_task;
  return submit (ring, &copy->task);
}

static void
run_answer (ImPoolTask *task)
{
  Answer *answer = (Answer *)task;
  answer->send (answer->data);
  g_free (answer);
}

bool
im_fuse_ring_answer (fuse_req_t req, void (*send) (void *data), void *data)
{
  if (!fuse_req_is_uring (req))
    return false;
  Answer *answer = g_new (Answer, 1);
  *answer = (Answer){.task.run = run_answer, .send = send, .data = data};
  return submit (ring_of (req), &answer->task);
}

static void
serve_waiting (Call *call)
{
  ImFuseRing *ring = ring_of (call->req);
  if (!on_ring (call->req) || !hand_over (ring, call))
    call->run (&ring->ops, call);
}

/* BEGAN at a request that was tried, and SERVED or not. */
static void
learn (ImFuseRing *ring, gint64 began, bool served, size_t size)
{
  bool slow = g_get_monotonic_time () - began > SLOW_MICROSECONDS;
  if (slow || (!served && size > SMALL_READ))
    im_fuse_watch_doubt (&ring->wariness);
}

static void
run_open (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->open (call->req, call->ino, &call->fi);
}

static void
ring_open (fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
  serve_waiting (&(Call){.run = run_open, .req = req, .ino = ino, .fi = *fi});
}

static void
run_read (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->read (call->req, call->ino, call->size, call->off, &call->fi);
}

static void
ring_read (fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
           struct fuse_file_info *fi)
{
  ImFuseRing *ring = ring_of (req);
  if (on_ring (req) && im_fuse_watch_dares (&ring->wariness)) {
    gint64 began = g_get_monotonic_time ();
    bool served = im_fuse_read_at_once (req, ino, size, off, fi);
    learn (ring, began, served, size);
    if (served)
      return;
  }
  serve_waiting (&(Call){
      .run = run_read, .req = req, .ino = ino, .size = size, .off = off, .fi = *fi});
}

static void
run_write (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->write (call->req, call->ino, call->buf, call->size, call->off, &call->fi);
}

/* BUF is the ring's, and stays until the reply. */
static void
ring_write (fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
            struct fuse_file_info *fi)
{
  ImFuseRing *ring = ring_of (req);
  if (on_ring (req) && im_fuse_watch_dares (&ring->wariness)) {
    gint64 began = g_get_monotonic_time ();
    bool served = im_fuse_write_at_once (req, ino, buf, size, off, fi);
    learn (ring, began, served, 0);
    if (served)
      return;
  }
  serve_waiting (&(Call){.run = run_write,
                         .req = req,
                         .ino = ino,
                         .buf = buf,
                         .size = size,
                         .off = off,
                         .fi = *fi});
}

static void
run_lseek (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->lseek (call->req, call->ino, call->off, call->number, &call->fi);
}

static void
ring_lseek (fuse_req_t req, fuse_ino_t ino, off_t off, int whence,
            struct fuse_file_info *fi)
{
  serve_waiting (&(Call){
      .run = run_lseek, .req = req, .ino = ino, .off = off, .number = whence, .fi = *fi});
}

static void
run_fallocate (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->fallocate (call->req, call->ino, call->number, call->off, call->length, &call->fi);
}

static void
ring_fallocate (fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
                struct fuse_file_info *fi)
{
  serve_waiting (&(Call){.run = run_fallocate,
                         .req = req,
                         .ino = ino,
                         .number = mode,
                         .off = off,
                         .length = length,
                         .fi = *fi});
}

static void
run_fsync (const struct fuse_lowlevel_ops *ops, Call *call)
{
  ops->fsync (call->req, call->ino, call->number, &call->fi);
}

static void
ring_fsync (fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
  serve_waiting (
      &(Call){.run = run_fsync, .req = req, .ino = ino, .number = datasync, .fi = *fi});
}

bool
im_fuse_ring_check (GError **error)
{
  g_autofree char *value = NULL;
  if (!g_file_get_contents (SWITCH, &value, NULL, NULL)) {
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "-o io_uring: this kernel has no FUSE over io_uring, which came with "
                 "Linux 6.14 (%s is not there)",
                 SWITCH);
    return false;
  }
  if (value[0] == 'Y')
    return true;
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "-o io_uring: switched off in the kernel, until root writes Y to %s",
               SWITCH);
  return false;
}

ImFuseRing *
im_fuse_ring_new (struct fuse_lowlevel_ops *ops, bool writable, unsigned threads)
{
  ImFuseRing *ring = g_new0 (ImFuseRing, 1);
  ring->ops = *ops;
  ring->wariness.watch = im_fuse_watch_new (1, 1);
  ring->waiters = im_pool_new (threads);
  pthread_mutex_init (&ring->lock, NULL);
  ops->open = ring_open;
  ops->read = ring_read;
  ops->lseek = ring_lseek;
  if (writable) {
    ops->write = ring_write;
    ops->fallocate = ring_fallocate;
    ops->fsync = ring_fsync;
  }
  return ring;
}

void
im_fuse_ring_free (ImFuseRing *ring)
{
  if (!ring)
    return;
  im_fuse_ring_close (ring);
  im_fuse_watch_free (ring->wariness.watch);
  pthread_mutex_destroy (&ring->lock);
  g_free (ring);
}

char *
im_fuse_ring_options (void)
{
  /* libfuse's count of rings, idle processors included. */
  unsigned depth = MAX_REQUESTS / (unsigned)MAX (get_nprocs_conf (), 1);
  return g_strdup_printf ("io_uring,io_uring_q_depth=%u",
                          CLAMP (depth, MIN_DEPTH, MAX_DEPTH));
}

void
im_fuse_ring_init (ImFuseRing *ring, struct fuse_conn_info *conn)
{
  if (!ring) {
    fuse_unset_feature_flag (conn, FUSE_CAP_OVER_IO_URING);
    return;
  }
  fuse_set_feature_flag (conn, FUSE_CAP_OVER_IO_URING);
  /* libfuse finds no request of a ring that is to be interrupted. */
  fuse_set_conn_flag (conn, FUSE_CONN_FLAG_NO_INTERRUPT);
  ring->conn = conn;
}

/* libfuse goes on without rings, and takes the wish back, where they fail. */
bool
im_fuse_ring_is_there (const ImFuseRing *ring, GError **error)
{
  if (ring->conn->want_ext & FUSE_CAP_OVER_IO_URING)
    return true;
  if (ring->conn->capable_ext & FUSE_CAP_OVER_IO_URING)
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "-o io_uring: libfuse cannot set up its rings");
  else
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "-o io_uring: the kernel does not offer it for this mount");
  return false;
}

void *
im_fuse_ring_buffer (fuse_req_t req)
{
  char *buffer;
  size_t size;
  return fuse_req_get_payload (req, &buffer, &size, NULL) == 0 ? buffer : NULL;
}

void
im_fuse_ring_close (ImFuseRing *ring)
{
  if (!ring)
    return;
  pthread_mutex_lock (&ring->lock);
  ring->closed = true;
  pthread_mutex_unlock (&ring->lock);
  g_clear_pointer (&ring->waiters, im_pool_free);
}

/* A loop of libfuse's own ends the rings when it is over, as this one is from the start;
 * nothing else does. */
void
im_fuse_ring_stop (ImFuseRing *ring, struct fuse_session *fuse)
{
  if (!ring || !fuse)
    return;
  fuse_session_exit (fuse);
  fuse_session_loop (fuse);
}
