/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's life: accepting clients, counting them, and ending.
 *
 *     listener ─► accept, while a place is free ─► handshake ─► place ─► served ─► gone
 *
 * A place is taken at the end of the handshake, so that a client which connects and says
 * nothing keeps no other out; one that finds the last place gone by then waits for it. */
#include "nbd/nbd-server.h"
#include "base/error.h"
#include "base/log.h"
#include "base/process.h"
#include "nbd/nbd-connection.h"
#include "nbd/nbd-listen.h"
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Clients that may be in their handshakes at one time. */
#define HANDSHAKES_MAX 64

/* How long clients may take to receive what is under way when the server stops. */
#define GRACE_SECONDS 5

/* The pause after accept found no descriptors or memory. */
#define SHORTAGE_MILLISECONDS 100

/* Threads for a server that was given none. */
#define OWN_POOL_THREADS 4

typedef struct {
  ImNbdServer *server;
  ImNbdConnection *connection;
  pthread_t thread;
  bool adopted;   /* const: counts for nothing but the server's end */
  bool has_place; /* lock */
  bool gone;      /* lock: the thread is about to end */
} Client;

struct ImNbdServer {
  ImNbdHost host; /* first: the connections' way back */
  ImNbdExports *exports;
  const char *image_path; /* borrowed from the set */
  ImPool *own_pool;
  ImNbdListener *listener; /* run's, once it runs; NULL: nobody can connect */
  unsigned max_clients;
  bool persistent;
  int wake_fd; /* an eventfd: a client is gone, or the server is to stop */
  atomic_bool stopping;
  pthread_mutex_t lock;
  pthread_cond_t place_free;
  /* Under the lock. */
  GPtrArray *clients; /* of Client */
  unsigned served;    /* clients that have a place */
  bool served_any;
  unsigned adopted; /* clients that never shook hands */
  bool adopted_any;
};

/* The client whose connection this thread runs. */
static _Thread_local Client *current;

static bool
is_stopping (ImNbdServer *server)
{
  return atomic_load_explicit (&server->stopping, memory_order_relaxed);
}

static bool
has_free_place_locked (const ImNbdServer *server)
{
  return server->max_clients == 0 || server->served < server->max_clients;
}

static bool
take_place (ImNbdHost *host)
{
  ImNbdServer *server = (ImNbdServer *)host;
  pthread_mutex_lock (&server->lock);
  while (!has_free_place_locked (server) && !is_stopping (server))
    pthread_cond_wait (&server->place_free, &server->lock);
  bool ok = !is_stopping (server);
  if (ok) {
    current->has_place = true;
    server->served++;
    server->served_any = true;
  }
  pthread_mutex_unlock (&server->lock);
  return ok;
}

static void *
client_thread (void *data)
{
  Client *client = data;
  ImNbdServer *server = client->server;
  current = client;
  im_nbd_connection_run (client->connection);
  /* The client sees its end at once, whatever the server is doing. */
  im_nbd_connection_cut (client->connection);
  pthread_mutex_lock (&server->lock);
  client->gone = true;
  server->adopted -= client->adopted;
  if (client->has_place) {
    server->served--;
    pthread_cond_signal (&server->place_free);
  }
  eventfd_write (server->wake_fd, 1);
  pthread_mutex_unlock (&server->lock);
  return NULL;
}

static void
client_free (Client *client)
{
  pthread_join (client->thread, NULL);
  im_nbd_connection_free (client->connection);
  g_free (client);
}

/* Joins the threads of clients that are gone. */
static void
reap (ImNbdServer *server)
{
  g_autoptr (GPtrArray) gone = g_ptr_array_new ();
  pthread_mutex_lock (&server->lock);
  for (guint i = server->clients->len; i-- > 0;) {
    Client *client = g_ptr_array_index (server->clients, i);
    if (client->gone) {
      g_ptr_array_add (gone, client);
      g_ptr_array_remove_index_fast (server->clients, i);
    }
  }
  pthread_mutex_unlock (&server->lock);
  for (guint i = 0; i < gone->len; i++)
    client_free (g_ptr_array_index (gone, i));
}

static bool
start_thread (Client *client, GError **error)
{
  int errnum = im_process_start_thread (&client->thread, client_thread, client);
  if (errnum != 0)
    im_set_errno (error, errnum, "thread for a client");
  return errnum == 0;
}

/* Serves CONNECTION, which may be NULL with ERROR set, on a thread of its own. */
static bool
start_client (ImNbdServer *server, ImNbdConnection *connection, bool adopted,
              GError **error)
{
  if (!connection)
    return false;
  Client *client = g_new0 (Client, 1);
  client->server = server;
  client->connection = connection;
  client->adopted = adopted;
  pthread_mutex_lock (&server->lock);
  bool started = start_thread (client, error);
  if (started) {
    g_ptr_array_add (server->clients, client);
    server->adopted += adopted;
    server->adopted_any |= adopted;
  }
  pthread_mutex_unlock (&server->lock);
  if (!started) {
    im_nbd_connection_free (connection);
    g_free (client);
  }
  return started;
}

bool
im_nbd_server_adopt (ImNbdServer *server, int fd, const ImNbdSession *session,
                     GError **error)
{
  ImNbdConnection *connection = im_nbd_connection_new_ready (
      &server->host, fd, im_nbd_server_disk (server), session, error);
  return start_client (server, connection, true, error);
}

const ImNbdExport *
im_nbd_server_disk (const ImNbdServer *server)
{
  return g_ptr_array_index (server->exports->list, 0);
}

uint16_t
im_nbd_server_kernel_flags (const ImNbdServer *server)
{
  uint16_t flags = im_nbd_exports_flags (server->exports, im_nbd_server_disk (server),
                                         IM_NBD_MODE_SIMPLE, 0);
  /* A flush on one connection covers the writes of all. */
  return flags | IM_NBD_FLAG_CAN_MULTI_CONN;
}

/* Accepts one client.  False: there is no room for another just now. */
static bool
accept_client (ImNbdServer *server, int listen_fd)
{
  int fd = accept4 (listen_fd, NULL, NULL, SOCK_CLOEXEC);
  if (fd < 0)
    return !(errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM);
  g_autoptr (GError) error = NULL;
  ImNbdConnection *connection = im_nbd_connection_new (&server->host, fd, &error);
  if (!start_client (server, connection, false, &error))
    im_log_warning ("nbd: client refused: %s", error->message);
  return true;
}

/* What the server is to do next, by the clients it has. */
typedef enum { STATE_ACCEPT, STATE_FULL, STATE_ENDED } State;

static State
current_state (ImNbdServer *server)
{
  pthread_mutex_lock (&server->lock);
  unsigned clients = server->clients->len;
  bool last_client_left = clients == 0 && server->served_any && !server->persistent;
  State state = STATE_FULL;
  if (server->adopted_any ? server->adopted == 0 : last_client_left)
    state = STATE_ENDED;
  else if (has_free_place_locked (server) &&
           clients - server->served - server->adopted < HANDSHAKES_MAX)
    state = STATE_ACCEPT;
  pthread_mutex_unlock (&server->lock);
  return state;
}

/* Waits for a client, where ACCEPTING, or for anything else that happened. */
static void
wait_and_accept (ImNbdServer *server, bool accepting)
{
  guint n = accepting && server->listener ? server->listener->fds->len : 0;
  g_autofree struct pollfd *fds = g_new0 (struct pollfd, n + 1);
  for (guint i = 0; i < n; i++)
    fds[i] = (struct pollfd){.fd = g_array_index (server->listener->fds, int, i),
                             .events = POLLIN};
  fds[n] = (struct pollfd){.fd = server->wake_fd, .events = POLLIN};
  if (poll (fds, n + 1, -1) <= 0)
    return;
  eventfd_t count;
  if (fds[n].revents)
    eventfd_read (server->wake_fd, &count);
  /* The last place may have been taken since. */
  for (guint i = 0; i < n && !is_stopping (server); i++)
    if (fds[i].revents && current_state (server) == STATE_ACCEPT &&
        !accept_client (server, fds[i].fd)) {
      poll (&fds[n], 1, SHORTAGE_MILLISECONDS);
      return;
    }
}

/* Does END to every client that is still there; returns their number. */
static unsigned
for_all_clients (ImNbdServer *server, void (*end) (ImNbdConnection *connection))
{
  pthread_mutex_lock (&server->lock);
  unsigned n = server->clients->len;
  for (unsigned i = 0; i < n; i++)
    end (((Client *)g_ptr_array_index (server->clients, i))->connection);
  pthread_cond_broadcast (&server->place_free);
  pthread_mutex_unlock (&server->lock);
  return n;
}

/* Hangs up on all clients: in order as long as the grace lasts, and then anyway. */
static void
hang_up (ImNbdServer *server)
{
  gint64 deadline = g_get_monotonic_time () + GRACE_SECONDS * G_USEC_PER_SEC;
  unsigned left = for_all_clients (server, im_nbd_connection_stop);
  bool cut = false;
  while (left > 0) {
    struct pollfd pollfd = {.fd = server->wake_fd, .events = POLLIN};
    gint64 wait = (deadline - g_get_monotonic_time () + 999) / 1000;
    eventfd_t count;
    if (poll (&pollfd, 1, cut ? -1 : (int)MAX (wait, 0)) > 0)
      eventfd_read (server->wake_fd, &count);
    reap (server);
    cut = cut || g_get_monotonic_time () >= deadline;
    left = for_all_clients (server, cut ? im_nbd_connection_cut : im_nbd_connection_stop);
  }
}

/* What was answered is durable once the server has ended in order.  Partitions are part
 * of the disk. */
static bool
flush_disk (ImNbdServer *server, GError **error)
{
  if (im_block_flush (im_nbd_server_disk (server)->block, error))
    return true;
  g_prefix_error (error, "%s: the last flush: ", server->image_path);
  return false;
}

bool
im_nbd_server_run (ImNbdServer *server, GError **error)
{
  State state = STATE_ACCEPT;
  while (!is_stopping (server) && state != STATE_ENDED) {
    wait_and_accept (server, state == STATE_ACCEPT);
    reap (server);
    state = current_state (server);
  }
  atomic_store (&server->stopping, true);
  g_clear_pointer (&server->listener, im_nbd_listener_free);
  hang_up (server);
  return flush_disk (server, error);
}

void
im_nbd_server_stop (ImNbdServer *server)
{
  atomic_store (&server->stopping, true);
  eventfd_write (server->wake_fd, 1);
}

static bool
server_open (ImNbdServer *server, const ImExportSet *set, const ImResources *shared,
             const ImNbdOptions *options, GError **error)
{
  server->exports =
      im_nbd_exports_new (set, options->export_name ? options->export_name : "",
                          options->description, options->max_clients != 1, error);
  if (!server->exports)
    return false;
  server->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (server->wake_fd < 0) {
    im_set_errno (error, errno, "eventfd");
    return false;
  }
  if (!shared->pool)
    server->own_pool = im_pool_new (OWN_POOL_THREADS);
  server->host.exports = server->exports;
  server->host.pool = shared->pool ? shared->pool : server->own_pool;
  if (!options->no_listener)
    server->listener = im_nbd_listener_new (options, error);
  return options->no_listener || server->listener;
}

ImNbdServer *
im_nbd_server_new (const ImExportSet *set, const ImResources *shared,
                   const ImNbdOptions *options, GError **error)
{
  g_autoptr (ImNbdServer) server = g_new0 (ImNbdServer, 1);
  server->host.handshake_limit = options->handshake_limit;
  server->host.tls = options->tls;
  server->host.take_place = take_place;
  server->max_clients = options->max_clients;
  server->persistent = options->persistent;
  server->image_path = set->image_path;
  server->wake_fd = -1;
  server->clients = g_ptr_array_new ();
  pthread_mutex_init (&server->lock, NULL);
  pthread_cond_init (&server->place_free, NULL);
  if (!server_open (server, set, shared, options, error))
    return NULL;
  return g_steal_pointer (&server);
}

void
im_nbd_server_free (ImNbdServer *server)
{
  if (!server)
    return;
  im_nbd_listener_free (server->listener);
  /* Clients that were adopted by a server which never ran. */
  atomic_store (&server->stopping, true);
  hang_up (server);
  g_clear_pointer (&server->own_pool, im_pool_free);
  im_nbd_exports_free (server->exports);
  g_ptr_array_unref (server->clients);
  if (server->wake_fd >= 0)
    close (server->wake_fd);
  pthread_mutex_destroy (&server->lock);
  pthread_cond_destroy (&server->place_free);
  g_free (server);
}
