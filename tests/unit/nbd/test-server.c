/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The server's life: its sockets, its places, and its end. */
#include "base/error.h"
#include "fixture.h"
#include "nbd/nbd.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A server that runs on a thread, on a socket in a folder of its own. */
typedef struct {
  ImNbdServer *server;
  ImExportSet *set;
  char *folder, *path;
  pthread_t thread;
  bool running;
} Run;

static char *
make_path (Run *run)
{
  g_autoptr (GError) error = NULL;
  run->folder = g_dir_make_tmp ("imgmount-nbd-XXXXXX", &error);
  g_assert_no_error (error);
  run->path = g_build_filename (run->folder, "s", NULL);
  return run->path;
}

static void *
run_thread (void *data)
{
  g_autoptr (GError) error = NULL;
  g_assert_true (im_nbd_server_run (data, &error));
  g_assert_no_error (error);
  return NULL;
}

/* Starts a server with OPTIONS, on RUN's path unless they name a port. */
static void
run_begin (Run *run, ImNbdOptions options)
{
  g_autoptr (GError) error = NULL;
  run->set = fixture_set ();
  if (!run->path)
    make_path (run);
  if (!options.port)
    options.socket_path = run->path;
  run->server = im_nbd_server_new (run->set, fixture_resources (), &options, &error);
  g_assert_no_error (error);
  g_assert_cmpint (pthread_create (&run->thread, NULL, run_thread, run->server), ==, 0);
  run->running = true;
}

/* Waits until it has ended by itself. */
static void
run_wait (Run *run)
{
  pthread_join (run->thread, NULL);
  run->running = false;
}

static void
run_end (Run *run)
{
  if (run->running) {
    im_nbd_server_stop (run->server);
    im_nbd_server_stop (run->server);
    run_wait (run);
  }
  im_nbd_server_free (run->server);
  im_export_set_free (run->set);
  g_unlink (run->path);
  g_assert_cmpint (g_rmdir (run->folder), ==, 0);
  g_free (run->path);
  g_free (run->folder);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Run, run_end)

static struct sockaddr_un
address_of (const char *path)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_strlcpy (address.sun_path, path, sizeof address.sun_path);
  return address;
}

static Client *
connect_to (const Run *run)
{
  struct sockaddr_un address = address_of (run->path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (connect (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  return client_on (fd);
}

/* A client that has a place. */
static Client *
served_client (const Run *run)
{
  Client *client = connect_to (run);
  client_go (client, IM_NBD_MODE_STRUCTURED, "", false);
  return client;
}

/* Whether CLIENT has been sent something, or was hung up on, within so long. */
static bool
has_input (const Client *client, int milliseconds)
{
  struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
  return poll (&pollfd, 1, milliseconds) > 0;
}

static const ImNbdOptions persistent = {.max_clients = 0, .persistent = true};

static void
test_socket_file_is_removed (void)
{
  g_auto (Run) run = {0};
  mode_t before = umask (027);
  run_begin (&run, persistent);
  umask (before);
  GStatBuf st;
  g_assert_cmpint (g_lstat (run.path, &st), ==, 0);
  g_assert_true (S_ISSOCK (st.st_mode));
  g_assert_cmpuint (st.st_mode & 0777, ==, 0750);
  im_nbd_server_stop (run.server);
  run_wait (&run);
  g_assert_cmpint (g_access (run.path, F_OK), ==, -1);
}

static void
test_server_that_never_ran_removes_its_socket (void)
{
  g_auto (Run) run = {.set = fixture_set ()};
  g_autoptr (GError) error = NULL;
  ImNbdOptions options = {.socket_path = make_path (&run)};
  run.server = im_nbd_server_new (run.set, fixture_resources (), &options, &error);
  g_assert_no_error (error);
  g_clear_pointer (&run.server, im_nbd_server_free);
  g_assert_cmpint (g_access (run.path, F_OK), ==, -1);
}

/* Tries a second server on RUN's path; it must fail with that errno. */
static void
assert_refused (const Run *run, int errnum)
{
  g_autoptr (GError) error = NULL;
  ImNbdOptions options = {.socket_path = run->path};
  g_assert_null (im_nbd_server_new (run->set, fixture_resources (), &options, &error));
  g_assert_error (error, IM_ERRNO, errnum);
  g_assert_cmpint (g_access (run->path, F_OK), ==, 0);
}

static void
test_socket_in_use_is_left_alone (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, persistent);
  assert_refused (&run, EADDRINUSE);
  g_autoptr (Client) client G_GNUC_UNUSED = served_client (&run);
}

static void
test_other_file_is_left_alone (void)
{
  g_auto (Run) run = {.set = fixture_set ()};
  make_path (&run);
  g_assert_true (g_file_set_contents (run.path, "mine", 4, NULL));
  assert_refused (&run, EADDRINUSE);
  g_assert_true (g_file_test (run.path, G_FILE_TEST_IS_REGULAR));
}

static void
test_stale_socket_is_replaced (void)
{
  g_auto (Run) run = {0};
  struct sockaddr_un address = address_of (make_path (&run));
  int fd = socket (AF_UNIX, SOCK_STREAM, 0);
  g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  close (fd);
  run_begin (&run, persistent);
  g_autoptr (Client) client = served_client (&run);
  g_assert_cmpuint (client_read (client, 0, 0, 4096), ==, 0);
}

static void
test_foreign_socket_file_stays (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, persistent);
  struct sockaddr_un address = address_of (run.path);
  g_assert_cmpint (g_unlink (run.path), ==, 0);
  int fd = socket (AF_UNIX, SOCK_STREAM, 0);
  g_assert_cmpint (bind (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  im_nbd_server_stop (run.server);
  run_wait (&run);
  g_assert_cmpint (g_access (run.path, F_OK), ==, 0);
  close (fd);
}

static void
test_too_long_a_path_is_refused (void)
{
  g_autoptr (ImExportSet) set = fixture_set ();
  g_autofree char *path = g_strnfill (108, 'x');
  g_autoptr (GError) error = NULL;
  ImNbdOptions options = {.socket_path = path};
  path[0] = '/';
  g_assert_null (im_nbd_server_new (set, fixture_resources (), &options, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
}

static void
test_clashing_name_is_refused (void)
{
  g_auto (Run) run = {.set = fixture_set ()};
  g_autoptr (GError) error = NULL;
  ImNbdOptions options = {.socket_path = make_path (&run), .export_name = "p1"};
  g_assert_null (im_nbd_server_new (run.set, fixture_resources (), &options, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
  g_assert_cmpint (g_access (run.path, F_OK), ==, -1);
}

static void
test_ends_with_its_last_client (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 2});
  Client *first = served_client (&run);
  Client *second = served_client (&run);
  client_free (first);
  g_usleep (20000);
  g_assert_cmpuint (client_read (second, 0, 0, 4096), ==, 0);
  client_free (second);
  run_wait (&run);
  g_assert_cmpint (g_access (run.path, F_OK), ==, -1);
}

static void
test_unfinished_handshake_ends_nothing (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 1});
  client_free (connect_to (&run));
  Client *aborting = connect_to (&run);
  uint8_t greeting[IM_NBD_GREETING_SIZE], flags[4] = {0, 0, 0, 3}, reply[20];
  client_receive (aborting, greeting, sizeof greeting);
  client_send (aborting, flags, 4);
  client_option (aborting, IM_NBD_OPT_ABORT, NULL, 0);
  client_receive (aborting, reply, sizeof reply);
  g_assert_true (client_at_end (aborting));
  client_free (aborting);
  g_usleep (20000);
  Client *client = served_client (&run);
  g_assert_cmpuint (client_read (client, 0, 0, 4096), ==, 0);
  client_free (client);
  run_wait (&run);
}

static void
test_silent_client_takes_no_place (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 1, .persistent = true});
  g_autoptr (Client) silent = connect_to (&run);
  g_assert_true (has_input (silent, 5000));
  g_autoptr (Client) client = served_client (&run);
  g_assert_cmpuint (client_read (client, 0, 0, 4096), ==, 0);
}

static void
test_no_greeting_without_a_place (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 1, .persistent = true});
  Client *first = served_client (&run);
  g_autoptr (Client) second = connect_to (&run);
  g_assert_false (has_input (second, 50));
  client_free (first);
  client_go (second, IM_NBD_MODE_SIMPLE, "", false);
  g_assert_cmpuint (client_read (second, 0, 0, 4096), ==, 0);
}

static void
test_late_handshake_waits_for_a_place (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 1, .persistent = true});
  g_autoptr (Client) late = connect_to (&run);
  uint8_t rest[IM_NBD_GREETING_SIZE + 10], flags[4] = {0, 0, 0, 3};
  client_receive (late, rest, IM_NBD_GREETING_SIZE);
  Client *first = served_client (&run);
  client_send (late, flags, 4);
  client_option (late, IM_NBD_OPT_EXPORT_NAME, NULL, 0);
  g_assert_false (has_input (late, 50));
  client_free (first);
  client_receive (late, rest, 10);
  g_assert_cmpuint (client_read (late, 0, 0, 4096), ==, 0);
}

static void
test_stop_hangs_up (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, (ImNbdOptions){.max_clients = 1, .persistent = true});
  g_autoptr (Client) early = connect_to (&run);
  g_assert_true (has_input (early, 5000));
  g_autoptr (Client) served = served_client (&run);
  g_autoptr (Client) waiting = connect_to (&run);
  im_nbd_server_stop (run.server);
  run_wait (&run);
  g_assert_true (client_at_end (served));
  g_assert_true (client_at_end (waiting));
}

static void
test_stop_does_not_wait_for_ever (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, persistent);
  g_autoptr (Client) client = served_client (&run);
  for (int i = 0; i < 20; i++)
    client_request (client, IM_NBD_CMD_READ, 0, 4 << 20, 32 << 20);
  g_usleep (20000);
  im_nbd_server_stop (run.server);
  run_wait (&run);
}

static void
test_many_clients_come_and_go (void)
{
  g_auto (Run) run = {0};
  run_begin (&run, persistent);
  for (int round = 0; round < 5; round++) {
    Client *clients[20];
    for (size_t i = 0; i < G_N_ELEMENTS (clients); i++)
      clients[i] = served_client (&run);
    for (size_t i = 0; i < G_N_ELEMENTS (clients); i++)
      g_assert_cmpuint (client_read (clients[i], 0, i << 12, 70000), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS (clients); i++)
      client_free (clients[i]);
  }
}

/* A port nobody listens on, as far as anybody can tell. */
static char *
free_port (void)
{
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int fd = socket (AF_INET, SOCK_STREAM, 0);
  g_assert_cmpint (bind (fd, (struct sockaddr *)&address, length), ==, 0);
  g_assert_cmpint (getsockname (fd, (struct sockaddr *)&address, &length), ==, 0);
  close (fd);
  return g_strdup_printf ("%u", ntohs (address.sin_port));
}

/* Connects to each address of localhost; returns how many are served. */
static int
clients_of_localhost (const char *port)
{
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *addresses;
  int n = 0;
  g_assert_cmpint (getaddrinfo ("localhost", port, &hints, &addresses), ==, 0);
  for (struct addrinfo *a = addresses; a; a = a->ai_next) {
    int fd = socket (a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect (fd, a->ai_addr, a->ai_addrlen) != 0) {
      close (fd);
      continue;
    }
    g_autoptr (Client) client = client_on (fd);
    client_go (client, IM_NBD_MODE_SIMPLE, "p1", false);
    n++;
  }
  freeaddrinfo (addresses);
  return n;
}

static void
test_tcp_port_can_be_taken_again_at_once (void)
{
  g_autofree char *port = free_port ();
  for (int i = 0; i < 3; i++) {
    g_auto (Run) run = {0};
    run_begin (&run,
               (ImNbdOptions){.bind = "localhost", .port = port, .persistent = true});
    g_assert_cmpint (clients_of_localhost (port), >=, 1);
  }
}

static void
test_tcp_port_in_use_is_refused (void)
{
  g_autofree char *port = free_port ();
  g_auto (Run) run = {0};
  ImNbdOptions options = {.bind = "127.0.0.1", .port = port, .persistent = true};
  run_begin (&run, options);
  g_autoptr (GError) error = NULL;
  g_assert_null (im_nbd_server_new (run.set, fixture_resources (), &options, &error));
  g_assert_error (error, IM_ERRNO, EADDRINUSE);
}

static void
test_address_that_is_none_is_refused (void)
{
  g_autoptr (ImExportSet) set = fixture_set ();
  g_autoptr (GError) error = NULL;
  ImNbdOptions options = {.bind = "256.0.0.1.invalid", .port = "10809"};
  g_assert_null (im_nbd_server_new (set, fixture_resources (), &options, &error));
  g_assert_error (error, IM_ERROR, IM_ERROR_USAGE);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  signal (SIGPIPE, SIG_IGN);
#define ADD(path, function) g_test_add_func ("/nbd/server/" path, function)
  ADD ("socket-file-is-removed", test_socket_file_is_removed);
  ADD ("server-that-never-ran-removes-its-socket",
       test_server_that_never_ran_removes_its_socket);
  ADD ("socket-in-use-is-left-alone", test_socket_in_use_is_left_alone);
  ADD ("other-file-is-left-alone", test_other_file_is_left_alone);
  ADD ("stale-socket-is-replaced", test_stale_socket_is_replaced);
  ADD ("foreign-socket-file-stays", test_foreign_socket_file_stays);
  ADD ("too-long-a-path-is-refused", test_too_long_a_path_is_refused);
  ADD ("clashing-name-is-refused", test_clashing_name_is_refused);
  ADD ("ends-with-its-last-client", test_ends_with_its_last_client);
  ADD ("unfinished-handshake-ends-nothing", test_unfinished_handshake_ends_nothing);
  ADD ("silent-client-takes-no-place", test_silent_client_takes_no_place);
  ADD ("no-greeting-without-a-place", test_no_greeting_without_a_place);
  ADD ("late-handshake-waits-for-a-place", test_late_handshake_waits_for_a_place);
  ADD ("stop-hangs-up", test_stop_hangs_up);
  ADD ("stop-does-not-wait-for-ever", test_stop_does_not_wait_for_ever);
  ADD ("many-clients-come-and-go", test_many_clients_come_and_go);
  ADD ("tcp-port-can-be-taken-again-at-once", test_tcp_port_can_be_taken_again_at_once);
  ADD ("tcp-port-in-use-is-refused", test_tcp_port_in_use_is_refused);
  ADD ("address-that-is-none-is-refused", test_address_that_is_none_is_refused);
#undef ADD
  return g_test_run ();
}
