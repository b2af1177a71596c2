/* SPDX-License-Identifier: GPL-2.0-or-later */
/* By LD_PRELOAD: each thread seems to have used a hundred times the processor's time that
 * it has.  QEMU, which works out passwords' digests until one second of that is gone
 * before it makes an encrypted image, so has measured enough after the first few. */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/time.h>

/* The only symbol that is taken over. */
int getrusage (__rusage_who_t who, struct rusage *usage);

static void
stretch (struct timeval *time)
{
  long long us = (time->tv_sec * 1000000LL + time->tv_usec) * 100;

  time->tv_sec = us / 1000000;
  time->tv_usec = us % 1000000;
}

int
getrusage (__rusage_who_t who, struct rusage *usage)
{
  int (*real) (__rusage_who_t, struct rusage *) =
      (int (*) (__rusage_who_t, struct rusage *))dlsym (RTLD_NEXT, "getrusage");
  int status = real ? real (who, usage) : -1;

  if (status == 0) {
    stretch (&usage->ru_utime);
    stretch (&usage->ru_stime);
  }
  return status;
}
