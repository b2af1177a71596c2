/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A session: mount, answer INIT, serve on many threads, unmount. */
#include "base/beacon.h"
#include "base/error.h"
#include "base/log.h"
#include "fuse/channel.h"
#include "fuse/fuse.h"
#include "fuse/libfuse-session.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* More than processors, since a thread may wait for a device. */
#define MIN_THREADS 8u
#define MAX_THREADS 32u
/* Where there are rings, /dev/fuse is left with what needs no answer. */
#define BESIDE_RINGS 2u

/* Ends a read from the kernel that would wait for ever; nothing is done in its handler.
 */
#define WAKE_SIGNAL   SIGUSR2
#define WAKE_PAUSE_NS (20 * 1000 * 1000)

typedef struct {
  ImFuseSession *session;
  ImFuseChannel *channel;
  pthread_t thread;
} Worker;

struct ImFuseSession {
  ImFuseTree *tree;
  ImFuseServer server; /* what the operations see */
  ImFuseMount mount;
  ImBeacon *beacon; /* may be NULL */
  struct fuse_session *fuse;
  ImFuseWatch *watch; /* the workers' */
  atomic_uint stops;  /* calls of stop so far */

  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned running; /* lock: workers that have not ended */
  bool aborted;     /* lock: the workers are to end whatever is open */
  int failed;       /* lock: the errno that a worker ended with, or 0 */
};

static unsigned
serving_threads (void)
{
  return CLAMP (2 * g_get_num_processors (), MIN_THREADS, MAX_THREADS);
}

static bool
mount_session (ImFuseSession *session, const ImExportSet *set,
               const ImFuseOptions *options, GError **error)
{
  mode_t type;
  g_autofree char *path = im_fuse_mount_resolve (options->mountpoint, &type, error);
  if (!path)
    return false;
  session->tree = S_ISDIR (type) ? im_fuse_tree_new (set) : im_fuse_tree_new_file (set);
  session->server.tree = session->tree;
  g_autofree char *source = g_canonicalize_filename (set->image_path, NULL);
  return im_fuse_mount_open (path, type, source, options->options, set->read_only,
                             &session->mount, error);
}

ImFuseSession *
im_fuse_session_new (const ImExportSet *set, const ImFuseOptions *options, GError **error)
{
  g_autoptr (ImFuseSession) session = g_new0 (ImFuseSession, 1);
  session->mount = (ImFuseMount){.fd = -1, .keeper = -1};
  pthread_mutex_init (&session->lock, NULL);
  pthread_cond_init (&session->changed, NULL);
  if (!mount_session (session, set, options, error))
    return NULL;
  session->server.passthrough = im_fuse_passthrough_new (set);
  if (!im_libfuse_session_new (&session->server, &session->mount, serving_threads (),
                               error))
    return NULL;
  session->fuse = session->server.session;
  g_autofree char *name =
      im_fuse_mount_beacon (session->mount.major, session->mount.minor);
  if (session->mount.minor != 0)
    session->beacon = im_beacon_new (name, NULL);
  return g_steal_pointer (&session);
}

/* The kernel's descriptor, whoever owns it. */
static int
connection_of (const ImFuseSession *session)
{
  return session->fuse ? fuse_session_fd (session->fuse) : session->mount.fd;
}

void
im_fuse_session_free (ImFuseSession *session)
{
  g_autoptr (GError) error = NULL;
  if (session->mount.path &&
      !im_fuse_mount_detach (&session->mount, connection_of (session), &error))
    im_log_warning ("%s", error->message);
  g_clear_pointer (&session->beacon, im_beacon_free);
  im_fuse_ring_close (session->server.ring);
  im_fuse_ring_stop (session->server.ring, session->fuse);
  g_clear_pointer (&session->fuse, fuse_session_destroy);
  g_clear_pointer (&session->server.ring, im_fuse_ring_free);
  im_fuse_mount_clear (&session->mount);
  g_clear_pointer (&session->server.coherence, im_fuse_coherence_free);
  g_clear_pointer (&session->server.measure, im_fuse_measure_free);
  g_clear_pointer (&session->server.passthrough, im_fuse_passthrough_free);
  g_clear_pointer (&session->tree, im_fuse_tree_free);
  g_clear_pointer (&session->watch, im_fuse_watch_free);
  pthread_cond_destroy (&session->changed);
  pthread_mutex_destroy (&session->lock);
  g_free (session);
}

/* Receives and answers one request.  False: no more will come, *ret_errno says why, with
 * 0 for an end in order. */
static bool
serve_one (ImFuseSession *session, struct fuse_buf *buf, int *ret_errno)
{
  *ret_errno = 0;
  if (fuse_session_exited (session->fuse))
    return false;
  int got = fuse_session_receive_buf (session->fuse, buf);
  if (got == -EINTR || got == -EAGAIN)
    return true;
  if (got <= 0) {
    *ret_errno = -got;
    return false;
  }
  fuse_session_process_buf (session->fuse, buf);
  return true;
}

static void
allow_wake_signal (void)
{
  sigset_t set;
  sigemptyset (&set);
  sigaddset (&set, WAKE_SIGNAL);
  pthread_sigmask (SIG_UNBLOCK, &set, NULL);
}

static void *
work (void *data)
{
  Worker *worker = data;
  ImFuseSession *session = worker->session;
  struct fuse_buf buf = {.mem = NULL};
  int failed;
  allow_wake_signal ();
  im_fuse_channel_use (worker->channel);
  while (serve_one (session, &buf, &failed))
    ;
  im_fuse_channel_leave ();
  free (buf.mem);
  pthread_mutex_lock (&session->lock);
  session->running--;
  if (failed && session->failed == 0)
    session->failed = failed;
  pthread_cond_signal (&session->changed);
  pthread_mutex_unlock (&session->lock);
  return NULL;
}

static void
do_nothing (int signal)
{
}

static void
install_wake_signal (void)
{
  /* No SA_RESTART: the read is to end. */
  struct sigaction action = {.sa_handler = do_nothing};
  sigemptyset (&action.sa_mask);
  sigaction (WAKE_SIGNAL, &action, NULL);
}

/* Answers requests on this thread until INIT was among them. */
static bool
answer_init (ImFuseSession *session, GError **error)
{
  g_autoptr (ImFuseChannel) channel =
      im_fuse_channel_new (fuse_session_fd (session->fuse), NULL, error);
  if (!channel)
    return false;
  struct fuse_buf buf = {.mem = NULL};
  int failed = 0;
  bool more = true;
  im_fuse_channel_use (channel);
  while (more && !atomic_load (&session->server.initialised))
    more = serve_one (session, &buf, &failed);
  im_fuse_channel_use (NULL);
  free (buf.mem);
  if (more && !fuse_session_exited (session->fuse))
    return true;
  if (failed)
    im_set_errno (error, failed, "the kernel's FUSE cannot be read from");
  else
    g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
                 "unmounted, or not understood by the kernel's FUSE, at the start");
  return false;
}

/* The number of threads; makes their watch. */
static unsigned
prepare_workers (ImFuseSession *session)
{
  unsigned n = session->server.ring ? BESIDE_RINGS : serving_threads ();
  session->watch = im_fuse_watch_new (n, g_get_num_processors ());
  return n;
}

static bool
start_worker (ImFuseSession *session, Worker *worker, GError **error)
{
  worker->session = session;
  int fd = fuse_session_fd (session->fuse);
  /* libfuse does the I/O itself beside rings, and nobody needs to take a place. */
  ImFuseWatch *watch = session->server.ring ? NULL : session->watch;
  worker->channel = im_fuse_channel_new (fd, watch, error);
  if (!worker->channel)
    return false;
  pthread_mutex_lock (&session->lock);
  session->running++;
  pthread_mutex_unlock (&session->lock);
  int failed = pthread_create (&worker->thread, NULL, work, worker);
  if (failed == 0)
    return true;
  pthread_mutex_lock (&session->lock);
  session->running--;
  pthread_mutex_unlock (&session->lock);
  g_clear_pointer (&worker->channel, im_fuse_channel_free);
  im_set_errno (error, failed, "cannot make a thread");
  return false;
}

/* Starts up to N; how many it became.  ERROR is set where it became none. */
static unsigned
start_workers (ImFuseSession *session, Worker *workers, unsigned n, GError **error)
{
  g_autoptr (GError) local = NULL;
  unsigned started = 0;
  while (started < n && start_worker (session, &workers[started], &local))
    started++;
  if (started == 0)
    g_propagate_error (error, g_steal_pointer (&local));
  else if (local)
    im_log_warning ("serving with %u threads only: %s", started, local->message);
  return started;
}

/* Returns when the workers have ended by themselves, or are to end. */
static void
wait_for_workers (ImFuseSession *session)
{
  pthread_mutex_lock (&session->lock);
  while (session->running > 0 && !session->aborted)
    pthread_cond_wait (&session->changed, &session->lock);
  pthread_mutex_unlock (&session->lock);
  /* Before the workers: helpers wait for reads that these answer. */
  if (session->server.coherence)
    im_fuse_coherence_close (session->server.coherence);
  im_fuse_ring_close (session->server.ring);
  fuse_session_exit (session->fuse);
  im_fuse_watch_end (session->watch);
}

/* Wakes the workers again and again, since a signal can come just before its thread
 * begins to wait. */
static void
join_workers (ImFuseSession *session, Worker *workers, unsigned n)
{
  wait_for_workers (session);
  pthread_mutex_lock (&session->lock);
  while (session->running > 0) {
    for (unsigned i = 0; i < n; i++)
      pthread_kill (workers[i].thread, WAKE_SIGNAL);
    struct timespec until;
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_nsec += WAKE_PAUSE_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait (&session->changed, &session->lock, &until);
  }
  pthread_mutex_unlock (&session->lock);
  for (unsigned i = 0; i < n; i++) {
    pthread_join (workers[i].thread, NULL);
    im_fuse_channel_free (workers[i].channel);
  }
  im_fuse_ring_stop (session->server.ring, session->fuse);
}

/* Makes durable what was written; where nothing can be that is nothing. */
static bool
flush_disk (const ImFuseSession *session, GError **error)
{
  const ImExport *disk = session->tree->set->blocks->pdata[0];
  return im_block_flush (disk->block, error);
}

/* A kernel that drops the connection while a request is read from it calls that an abort.
 */
static bool
is_end_we_asked_for (const ImFuseSession *session)
{
  return session->failed == ECONNABORTED && atomic_load (&session->stops) > 0;
}

bool
im_fuse_session_run (ImFuseSession *session, void (*ready) (void *data), void *data,
                     GError **error)
{
  install_wake_signal ();
  session->server.measure = im_fuse_measure_new ();
  if (!session->tree->set->read_only)
    session->server.coherence = im_fuse_coherence_new (session->tree);
  g_autoptr (GError) early = NULL;
  if (!answer_init (session, &early)) {
    /* Told to stop before the kernel had asked for anything: an end like any other. */
    if (atomic_load (&session->stops) > 0)
      return true;
    g_propagate_error (error, g_steal_pointer (&early));
    return false;
  }
  if (session->server.ring && !im_fuse_ring_is_there (session->server.ring, error))
    return false;
  im_fuse_mount_raise_read_ahead (&session->mount);
  if (session->server.passthrough)
    im_fuse_passthrough_start (session->server.passthrough);
  unsigned n = prepare_workers (session);
  g_autofree Worker *workers = g_new0 (Worker, n);
  n = start_workers (session, workers, n, error);
  if (n == 0)
    return false;
  if (ready)
    ready (data);
  join_workers (session, workers, n);
  /* The device number, and with it the name, may be another mount's by now. */
  g_clear_pointer (&session->beacon, im_beacon_free);
  if (!flush_disk (session, error))
    return false;
  if (session->failed == 0 || is_end_we_asked_for (session))
    return true;
  im_set_errno (error, session->failed, "the kernel's FUSE cannot be read from");
  return false;
}

static void
abort_session (ImFuseSession *session)
{
  atomic_store (&session->server.aborting, true);
  pthread_mutex_lock (&session->lock);
  session->aborted = true;
  pthread_cond_signal (&session->changed);
  pthread_mutex_unlock (&session->lock);
}

void
im_fuse_session_stop (ImFuseSession *session)
{
  g_autoptr (GError) error = NULL;
  bool again = atomic_fetch_add (&session->stops, 1) > 0;
  /* Now, while all is served still, since it may take long; a failure comes to light at
   * the end once more. */
  if (!again && !flush_disk (session, &error))
    im_log_warning ("%s", error->message);
  g_clear_error (&error);
  if (!im_fuse_mount_detach (&session->mount, connection_of (session), &error))
    im_log_warning ("%s", error->message);
  if (again || error)
    abort_session (session);
}
