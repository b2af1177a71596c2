/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Beacons: who lights one is found, and says its text; and which processes are dying. */
#include "base/beacon.h"
#include "base/process.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that nobody else uses. */
static char *
own_name (void)
{
  return g_strdup_printf ("test/%d", (int)getpid ());
}

static void
test_found (void)
{
  g_autofree char *name = own_name ();
  g_autoptr (ImBeacon) beacon = im_beacon_new (name, "some text");
  g_assert_nonnull (beacon);
  pid_t pid;
  int process = im_beacon_find (name, getuid (), &pid);
  g_assert_cmpint (process, >=, 0);
  g_assert_cmpint (pid, ==, getpid ());
  close (process);
  for (int i = 0; i < 3; i++) {
    g_autofree char *text = im_beacon_ask (name, pid);
    g_assert_cmpstr (text, ==, "some text");
  }
  /* Whoever is asked must be the one who is meant. */
  g_assert_null (im_beacon_ask (name, getppid ()));
}

static void
test_nothing_to_say (void)
{
  g_autofree char *name = own_name ();
  g_autoptr (ImBeacon) beacon = im_beacon_new (name, NULL);
  g_assert_nonnull (beacon);
  g_autofree char *text = im_beacon_ask (name, getpid ());
  g_assert_cmpstr (text, ==, "");
}

static void
test_gone (void)
{
  g_autofree char *name = own_name ();
  pid_t pid;
  g_assert_cmpint (im_beacon_find (name, getuid (), &pid), ==, -1);
  g_assert_null (im_beacon_ask (name, getpid ()));
  im_beacon_free (im_beacon_new (name, "text"));
  g_assert_cmpint (im_beacon_find (name, getuid (), &pid), ==, -1);
}

static void
test_dying (void)
{
  pid_t child = fork ();
  g_assert_cmpint (child, >=, 0);
  while (child == 0)
    pause ();
  g_assert_false (im_process_is_dying (getpid ()));
  g_assert_false (im_process_is_dying (child));
  kill (child, SIGKILL);
  /* From the very moment on, and for as long as nobody has waited for it. */
  g_assert_true (im_process_is_dying (child));
  siginfo_t info;
  g_assert_cmpint (waitid (P_PID, (id_t)child, &info, WEXITED | WNOWAIT), ==, 0);
  g_assert_true (im_process_is_dying (child));
  waitpid (child, NULL, 0);
  g_assert_true (im_process_is_dying (child));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/base/beacon/found", test_found);
  g_test_add_func ("/base/beacon/nothing-to-say", test_nothing_to_say);
  g_test_add_func ("/base/beacon/gone", test_gone);
  g_test_add_func ("/base/process/dying", test_dying);
  return g_test_run ();
}
