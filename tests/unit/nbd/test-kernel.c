/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's client, as far as no kernel is needed: names, users of a device, and
 * clients that the server adopts. */
#include "base/mount-table.h"
#include "fixture.h"
#include "nbd/kernel-device.h"
#include "nbd/kernel-holder.h"
#include "nbd/kernel-ready.h"
#include "nbd/kernel-use.h"
#include "nbd/kernel-way.h"
#include "nbd/nbd-server.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
test_names (void)
{
  static const struct {
    const char *name;
    bool ok;
    unsigned index, partition;
  } cases[] = {
      {"nbd0", true, 0, 0},
      {"nbd15", true, 15, 0},
      {"nbd1048575", true, 1048575, 0},
      {"nbd3p12", true, 3, 12},
      {"nbd", false, 0, 0},
      {"nbd01", false, 0, 0},
      {"nbd-1", false, 0, 0},
      {"nbd1048576", false, 0, 0},
      {"nbd99999999999999999999", false, 0, 0},
      {"nbd1p", false, 0, 0},
      {"nbd1p0", false, 0, 0},
      {"nbd1p01", false, 0, 0},
      {"nbd1p1p1", false, 0, 0},
      {"nbd1x", false, 0, 0},
      {"sda1", false, 0, 0},
      {"", false, 0, 0},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    unsigned index = 0, partition = 0;
    g_test_message ("%s", cases[i].name);
    g_assert_cmpint (im_nbd_device_parse_name (cases[i].name, &index, &partition), ==,
                     cases[i].ok);
    if (cases[i].ok) {
      g_assert_cmpuint (index, ==, cases[i].index);
      g_assert_cmpuint (partition, ==, cases[i].partition);
    }
  }
}

static void
test_partition_numbers (void)
{
  static const struct {
    ImExportKind kind;
    const char *name;
    unsigned number;
  } cases[] = {
      {IM_EXPORT_DISK, "disk", 0},        {IM_EXPORT_PARTITION, "p1", 1},
      {IM_EXPORT_PARTITION, "p128", 128}, {IM_EXPORT_PARTITION, "p5.1", 0},
      {IM_EXPORT_PARTITION, "swap", 0},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    ImExport export = {.kind = cases[i].kind, .name = (char *)cases[i].name};
    g_assert_cmpuint (im_nbd_ready_number (&export), ==, cases[i].number);
  }
}

/* /dev/nbd1 with a partition. */
static GPtrArray *
some_nodes (void)
{
  static ImNbdNode disk = {.path = (char *)"/dev/nbd1", .major = 43, .minor = 32};
  static ImNbdNode first = {.path = (char *)"/dev/nbd1p1", .major = 43, .minor = 33};
  GPtrArray *nodes = g_ptr_array_new ();
  g_ptr_array_add (nodes, &disk);
  g_ptr_array_add (nodes, &first);
  return nodes;
}

static char *
use_by_mount (const char *line)
{
  g_autoptr (GPtrArray) nodes = some_nodes ();
  g_autoptr (GPtrArray) mounts = im_mount_table_parse (line);
  g_assert_cmpuint (mounts->len, ==, 1);
  return im_nbd_use_by_mounts (mounts, nodes);
}

static void
test_mounts (void)
{
  g_autofree char *by_number = use_by_mount ("50 1 43:33 / /mnt rw - ext4 /dev/root rw");
  g_assert_cmpstr (by_number, ==, "/dev/nbd1p1 is mounted on /mnt");
  g_autofree char *by_name =
      use_by_mount ("50 1 0:44 / /a\\040b rw - btrfs /dev/nbd1 rw");
  g_assert_cmpstr (by_name, ==, "/dev/nbd1 is mounted on /a b");
  g_assert_null (use_by_mount ("50 1 43:34 / /mnt rw - ext4 /dev/nbd1p2 rw"));
  g_assert_null (use_by_mount ("50 1 0:44 / /mnt rw - btrfs /dev/nbd11 rw"));
}

static void
test_swaps (void)
{
  g_autoptr (GPtrArray) nodes = some_nodes ();
  const char *head = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
  g_autofree char *ours = g_strconcat (
      head, "/dev/nbd1p1                             partition\t4092\t0\t-2\n", NULL);
  g_autofree char *others = g_strconcat (
      head, "/dev/nbd1p11 partition\t4092\t0\t-2\n/dev/nbd partition 1 1 1\n", NULL);
  g_autofree char *use = im_nbd_use_by_swaps (ours, nodes);
  g_assert_cmpstr (use, ==, "/dev/nbd1p1 is used for swap");
  g_assert_null (im_nbd_use_by_swaps (others, nodes));
  g_assert_null (im_nbd_use_by_swaps ("", nodes));
}

static void
test_ways (void)
{
  const ImNbdWay *const *all = im_nbd_ways (false);
  g_assert_cmpstr (all[0]->name, ==, HAVE_NETLINK ? "netlink" : "ioctl");
  const ImNbdWay *const *one = im_nbd_ways (true);
  g_assert_cmpstr (one[0]->name, ==, "ioctl");
  g_assert_null (one[1]);
}

static void
test_holder (void)
{
  g_autofree char *name = NULL;
  g_assert_cmpint (im_nbd_holder_find (gettid (), &name), ==, getpid ());
  g_assert_nonnull (name);
  pid_t pid;
  int process = im_nbd_holder_watch (gettid (), &pid);
  g_assert_cmpint (pid, ==, getpid ());
  g_assert_cmpint (process, >=, 0);
  close (process);
  /* Another program's is none of ours; 0 and what is no process are nobody. */
  g_assert_cmpint (im_nbd_holder_watch (1, &pid), ==, -1);
  g_assert_cmpint (im_nbd_holder_watch (0, &pid), ==, -1);
  g_assert_cmpint (im_nbd_holder_watch (G_MAXINT, &pid), ==, -1);
}

static void
test_not_there (void)
{
  g_autoptr (GError) error = NULL;
  unsigned index;
  g_assert_false (im_nbd_device_find ("/dev/null", &index, &error));
  g_assert_cmpstr (error->message, ==, "/dev/null: is no block device");
  g_clear_error (&error);
  g_assert_false (im_nbd_device_find ("/dev/nbd1p1x", &index, &error));
  g_assert_cmpstr (error->message, ==, "/dev/nbd1p1x: is no NBD device");
  g_assert_false (im_nbd_device_exists (IM_NBD_DEVICE_MAX));
  g_assert_cmpint (im_nbd_device_pid (IM_NBD_DEVICE_MAX), ==, 0);
  g_assert_cmpuint (im_nbd_device_size (IM_NBD_DEVICE_MAX), ==, 0);
  g_autoptr (GPtrArray) nodes = im_nbd_device_nodes (IM_NBD_DEVICE_MAX);
  g_assert_cmpuint (nodes->len, ==, 0);
}

typedef struct {
  ImExportSet *set;
  ImNbdServer *server;
  char *folder, *path;
  pthread_t thread;
} Run;

static void *
run_thread (void *data)
{
  g_autoptr (GError) error = NULL;
  g_assert_true (im_nbd_server_run (data, &error));
  g_assert_no_error (error);
  return NULL;
}

static void
run_open (Run *run, bool listens)
{
  g_autoptr (GError) error = NULL;
  run->folder = g_dir_make_tmp ("imgmount-nbd-XXXXXX", &error);
  g_assert_no_error (error);
  run->path = g_build_filename (run->folder, "s", NULL);
  ImNbdOptions options = {
      .no_listener = !listens, .socket_path = run->path, .max_clients = 1};
  run->set = fixture_set ();
  run->server = im_nbd_server_new (run->set, fixture_resources (), &options, &error);
  g_assert_no_error (error);
}

static void
run_close (Run *run)
{
  im_nbd_server_free (run->server);
  im_export_set_free (run->set);
  g_assert_cmpint (rmdir (run->folder), ==, 0);
  g_free (run->path);
  g_free (run->folder);
}

/* A client as the kernel is one: no handshake. */
static Client *
adopted_client (Run *run)
{
  int fds[2];
  g_autoptr (GError) error = NULL;
  ImNbdSession session = {.size = DISK_SIZE / 512 * 512,
                          .flags = im_nbd_server_kernel_flags (run->server),
                          .mode = IM_NBD_MODE_SIMPLE};
  g_assert_cmpint (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
  g_assert_true (im_nbd_server_adopt (run->server, fds[0], &session, &error));
  g_assert_no_error (error);
  return client_on (fds[1]);
}

static Client *
socket_client (const Run *run)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  g_strlcpy (address.sun_path, run->path, sizeof address.sun_path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  g_assert_cmpint (connect (fd, (struct sockaddr *)&address, sizeof address), ==, 0);
  return client_on (fd);
}

/* The last MiB is read as far as the device goes, and not a byte further. */
static void
test_adopted_requests (void)
{
  Run run;
  run_open (&run, false);
  Client *first = adopted_client (&run), *second = adopted_client (&run);
  pthread_create (&run.thread, NULL, run_thread, run.server);
  g_assert_cmpuint (im_nbd_server_kernel_flags (run.server) & IM_NBD_FLAG_CAN_MULTI_CONN,
                    !=, 0);
  g_assert_cmpuint (client_read (first, 0, 0, 1 << 20), ==, 0);
  g_assert_cmpuint (client_read (second, 0, DISK_SIZE / 512 * 512 - 512, 512), ==, 0);
  client_request (second, IM_NBD_CMD_READ, 0, DISK_SIZE / 512 * 512, 100);
  g_assert_cmpuint (client_reply (second), ==, IM_NBD_EINVAL);
  client_free (first);
  g_assert_cmpuint (client_read (second, 0, 4 << 20, 2 << 20), ==, 0);
  /* The server ends with the last of them. */
  client_request (second, IM_NBD_CMD_DISC, 0, 0, 0);
  pthread_join (run.thread, NULL);
  client_free (second);
  run_close (&run);
}

static void
test_adopted_and_others (void)
{
  Run run;
  run_open (&run, true);
  Client *kernel = adopted_client (&run);
  pthread_create (&run.thread, NULL, run_thread, run.server);
  /* One place, and it is free; and the server does not end with the one who had it. */
  for (int i = 0; i < 3; i++) {
    g_autoptr (Client) other = socket_client (&run);
    client_go (other, IM_NBD_MODE_STRUCTURED, "", false);
    g_assert_cmpuint (client_read (other, 0, 0, 4096), ==, 0);
  }
  g_assert_cmpuint (client_read (kernel, 0, 0, 4096), ==, 0);
  Client *other = socket_client (&run);
  client_go (other, IM_NBD_MODE_STRUCTURED, "", false);
  client_free (kernel);
  pthread_join (run.thread, NULL);
  g_assert_true (client_at_end (other));
  client_free (other);
  run_close (&run);
}

static void
test_adopted_never_run (void)
{
  Run run;
  run_open (&run, false);
  Client *kernel = adopted_client (&run);
  g_assert_cmpuint (client_read (kernel, 0, 0, 4096), ==, 0);
  run_close (&run);
  g_assert_true (client_at_end (kernel));
  client_free (kernel);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  fixture_host (); /* ignores SIGPIPE */
  g_test_add_func ("/nbd/kernel/names", test_names);
  g_test_add_func ("/nbd/kernel/partition-numbers", test_partition_numbers);
  g_test_add_func ("/nbd/kernel/use/mounts", test_mounts);
  g_test_add_func ("/nbd/kernel/use/swaps", test_swaps);
  g_test_add_func ("/nbd/kernel/ways", test_ways);
  g_test_add_func ("/nbd/kernel/holder", test_holder);
  g_test_add_func ("/nbd/kernel/not-there", test_not_there);
  g_test_add_func ("/nbd/kernel/adopted/requests", test_adopted_requests);
  g_test_add_func ("/nbd/kernel/adopted/beside-others", test_adopted_and_others);
  g_test_add_func ("/nbd/kernel/adopted/server-never-runs", test_adopted_never_run);
  return g_test_run ();
}
